/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-send - writes snapshots as a stream (vm-stream.5): whole ones, or what
 * differs from an earlier one.
 *
 * Only frozen layers are read, under the snapshots' own locks, shared: VMs
 * run on, and new snapshots are made meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "block/chain.h"
#include "cli/each.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "image/disk.h"
#include "state/image.h"
#include "state/snap.h"
#include "stream/write.h"

enum {
	CHUNK = 1 << 20,	/* bytes read at once */
	GRAIN = 4096,		/* compared at once */
};

static struct args {
	const char *from, *resume;
	bool size;
} args;

static const struct opt opts[] = {
	OPT('i', "from", OPT_STR, "SNAP", struct args, from,
	    "only what differs from this snapshot (@SNAP: of the same VM)"),
	OPT('n', "size", OPT_FLAG, NULL, struct args, size,
	    "only print how many bytes the stream would have"),
	OPT(0, "resume", OPT_STR, "TOKEN", struct args, resume,
	    "go on where vm-recv, which printed TOKEN, was cut off"),
	{ 0 }
};

/* One snapshot, locked. */
struct source {
	struct snap snap;
	struct snap_meta meta;
	struct config config;
	struct vmconf vc;
};

struct sender {
	struct store *store;
	struct stream_writer writer;
	uint64_t bytes;		/* put */
	struct stream_head token;	/* --resume: its names, */
	struct stream_point point;	/* and where */
	bool resuming;			/* that snapshot did not come yet */
	uint8_t *data, *old;		/* CHUNK bytes each */

	struct vm vm;		/* that of the snapshot that is sent */
	struct snaps snaps;
	struct source source, from;
	struct stream_head head;
};

/* -- a snapshot -- */

static void source_close(struct source *s)
{
	vmconf_release(&s->vc);
	config_release(&s->config);
	snap_meta_release(&s->meta);
	snap_close(&s->snap);
}

static int source_read(struct source *s)
{
	int rc = snap_lock(&s->snap, true);

	if (rc == 0)
		rc = snap_meta(&s->snap, &s->meta);
	if (rc == 0)
		rc = snap_config(&s->snap, &s->config);
	if (rc < 0)
		return rc;
	rc = vmconf_parse(&s->vc, &s->config, NULL);
	if (rc == 0 && !s->meta.id[0])
		rc = fail(E_CONFIG, "it has no id");
	return rc < 0 ? fail_in(rc, "%s", s->snap.label) : 0;
}

/* The one of that name, or ("") the newest; closed by source_close(). */
static int source_open(struct source *s, const struct snaps *snaps,
		       const char *name)
{
	int rc;

	*s = (struct source){ 0 };
	rc = snap_open(&s->snap, snaps, name);
	if (rc == -E_NOENT && !*name)
		return fail(E_NOENT, "%s: has no snapshot (vm-snap makes one)",
			    snaps->vm->name);
	return rc < 0 ? rc : source_read(s);
}

/* -- what is read: a file, or a disk -- */

struct input {
	int fd;			/* -1: none */
	struct block *disk;
	uint64_t size;
	unsigned shared;	/* of its layers, from the bottom, with FROM */
};
#define INPUT_INIT { .fd = -1 }

static void input_close(struct input *in)
{
	close_fd(&in->fd);
	block_close(in->disk);
	*in = (struct input)INPUT_INIT;
}

/* The file PATH of DIR. FLAGS: O_NOFOLLOW for what is ours. */
static int input_file(struct input *in, int dir, const char *path, int flags)
{
	struct stat sb;

	in->fd = file_open(dir, path, O_RDONLY | flags, 0);
	if (in->fd < 0)
		return in->fd;
	if (fstat(in->fd, &sb) < 0)
		return fail_sys("%s", path);
	in->size = sb.st_size;
	return 0;
}

static int input_disk(struct input *in, const struct sender *s,
		      const struct disk_conf *conf)
{
	int rc = disk_open_at(&in->disk, s->vm.dir, s->store, conf, DISK_READ,
			      NULL);

	if (rc == 0)
		in->size = block_bytes(in->disk);
	return rc;
}

/* Whether all is zeros at OFF, and for how many bytes that holds. */
static int file_status(int fd, uint64_t off, uint64_t len, uint64_t *n)
{
	off_t data = lseek(fd, off, SEEK_DATA);

	if (data < 0 && errno == ENXIO)
		return *n = len, BLOCK_ZERO;
	if (data > (off_t)off) {
		*n = min_u64(len, data - off);
		return BLOCK_ZERO;
	}
	*n = len;
	return BLOCK_DATA;
}

/* The same of IN, which reads as zeros behind its end, or if it is not open. */
static int input_status(const struct input *in, uint64_t off, uint64_t len,
			uint64_t *n)
{
	if (off >= in->size)
		return *n = len, BLOCK_ZERO;
	len = min_u64(len, in->size - off);
	return in->disk ? block_status(in->disk, off, len, n) :
			  file_status(in->fd, off, len, n);
}

/* LEN bytes, within what input_status() said. */
static int input_read(const struct input *in, void *to, uint64_t len,
		      uint64_t off)
{
	struct iovec iov = { to, len };

	return in->disk ? block_readv(in->disk, &iov, 1, off) :
			  pread_all(in->fd, to, len, off);
}

/* -- an object -- */

/* N bytes at OFF are s->data now, and were s->old in FROM. */
static int send_bytes(struct sender *s, uint64_t off, uint64_t n)
{
	int rc = 0;

	for (uint64_t i = 0, len; rc == 0 && i < n; i += len) {
		const uint8_t *data = s->data + i;

		len = min_u64(n - i, GRAIN);
		if (!memcmp(data, s->old + i, len))
			continue;
		rc = is_zero(data, len) ?
			stream_zero(&s->writer, off + i, len) :
			stream_data(&s->writer, off + i, data, len);
	}
	return rc;
}

/*
 * Whether what IN and FROM have at OFF can differ, going by the layers alone,
 * and for how many of LEN bytes that holds; or -errno.
 */
static int can_differ(const struct input *in, const struct input *from,
		      uint64_t off, uint64_t len, uint64_t *n)
{
	*n = len;
	if (!in->disk || !from->disk || off >= from->size)
		return 1;
	return chain_differs(in->disk, from->disk, in->shared, off,
			     min_u64(len, from->size - off), n);
}

/*
 * Reads LEN bytes at OFF, or fewer (*N). 0: they are the same in both; 1: they
 * are s->data and s->old now; -errno.
 */
static int read_both(struct sender *s, const struct input *in,
		     const struct input *from, uint64_t off, uint64_t len,
		     uint64_t *n)
{
	int rc = can_differ(in, from, off, len, n), now, before;

	if (rc <= 0)
		return rc;
	now = input_status(in, off, *n, n);
	before = now < 0 ? now : input_status(from, off, *n, n);
	rc = 0;
	if (before < 0 || (now == BLOCK_ZERO && before == BLOCK_ZERO))
		return before < 0 ? before : 0;
	memset(s->data, 0, *n);
	memset(s->old, 0, *n);
	if (now == BLOCK_DATA)
		rc = input_read(in, s->data, *n, off);
	if (rc == 0 && before == BLOCK_DATA)
		rc = input_read(from, s->old, *n, off);
	return rc < 0 ? rc : 1;
}

static int send_object(struct sender *s, unsigned object,
		       const struct input *in, const struct input *from)
{
	uint64_t n;
	int rc = stream_object(&s->writer, object);

	for (uint64_t off = 0; rc >= 0 && off < in->size; off += n) {
		rc = read_both(s, in, from, off,
			       min_u64(in->size - off, CHUNK), &n);
		if (rc < 0)
			return fail(-rc, "reading at %" PRIu64 ": %s", off,
				    strerror(-rc));
		if (rc > 0)
			rc = send_bytes(s, off, n);
	}
	return rc < 0 ? rc : 0;
}

/* Opens object I of SRC; 1, or 0: it has none. */
static int open_object(struct input *in, const struct sender *s,
		       const struct source *src, unsigned i)
{
	const char *file = i == STREAM_KERNEL ? src->vc.kernel :
			   i == STREAM_INITRD ? src->vc.initrd : NULL;
	char path[IMAGE_PATH], name[8];
	int rc = 0;

	if (i == STREAM_DEV || i == STREAM_MEM) {
		if (!src->meta.engine[0])
			return 0;
		rc = input_file(in, src->snap.dir, stream_object_name(i, name),
				O_NOFOLLOW);
	} else if (i >= STREAM_DISK) {
		const struct disk_conf *d = &src->vc.disk[i - STREAM_DISK];

		if (!d->path)
			return 0;
		rc = input_disk(in, s, d);
	} else {
		if (!file)
			return 0;
		stream_object_name(i, name);
		rc = input_file(in, s->vm.dir, image_path(path, sizeof(path),
							  file, name), 0);
	}
	return rc < 0 ? rc : 1;
}

/* -- what a stream has of each -- */

/* Whether the file A, which B named then, has not changed since FROM. */
static bool same_file(const struct sender *s, const char *a, const char *b,
		      const struct input *in)
{
	int fd = in->disk ? block_fd(in->disk) : in->fd;
	struct stat sb;

	return s->head.from[0] && a && b && !strcmp(a, b) &&
	       fstat(fd, &sb) == 0 &&
	       sb.st_ctime < (time_t)s->from.meta.created;
}

/*
 * Fills the head's row for object I, open as IN. Kernels and read-only disks
 * belong to no snapshot: they are in an increment if they are others than
 * before.
 */
static void describe(struct sender *s, unsigned i, const struct input *in)
{
	const struct vmconf *now = &s->source.vc, *old = &s->from.vc;
	struct stream_object_head *o = &s->head.object[i];

	o->size = in->size;
	if (!s->head.from[0])
		return;
	if (i == STREAM_KERNEL || i == STREAM_INITRD) {
		if (i == STREAM_KERNEL ?
		    same_file(s, now->kernel, old->kernel, in) :
		    same_file(s, now->initrd, old->initrd, in))
			o->size = 0;
	} else if (i == STREAM_MEM) {
		o->from = s->from.meta.engine[0];
	} else if (i != STREAM_DEV) {
		const struct disk_conf *a = &now->disk[i - STREAM_DISK];
		const struct disk_conf *b = &old->disk[i - STREAM_DISK];

		o->from = b->path && a->readonly == b->readonly &&
			  (!a->readonly || same_file(s, a->path, b->path, in));
	}
}

static int describe_all(struct sender *s)
{
	int rc = 0;

	for (unsigned i = 0; rc >= 0 && i < STREAM_OBJECTS; i++) {
		struct input in = INPUT_INIT;

		rc = open_object(&in, s, &s->source, i);
		if (rc > 0)
			describe(s, i, &in);
		input_close(&in);
	}
	return rc < 0 ? rc : 0;
}

/* Whether object I is a read-only disk that is the same file as in FROM. */
static bool is_same_disk(const struct sender *s, unsigned i)
{
	return i >= STREAM_DISK && i < STREAM_DEV && s->head.object[i].from &&
	       s->source.vc.disk[i - STREAM_DISK].readonly;
}

static int send_one_object(struct sender *s, unsigned i)
{
	struct input in = INPUT_INIT, from = INPUT_INIT;
	const struct stream_object_head *o = &s->head.object[i];
	char name[8];
	int rc = open_object(&in, s, &s->source, i);

	if (rc > 0 && o->from)
		rc = open_object(&from, s, &s->from, i);
	if (in.disk && from.disk)
		in.shared = chain_shared(in.disk, from.disk);
	if (rc > 0 && in.size != o->size)
		rc = fail(E_AGAIN, "changes while it is sent");
	if (rc > 0)
		rc = send_object(s, i, &in, &from);
	input_close(&in);
	input_close(&from);
	return rc < 0 ? fail_in(rc, "%s", stream_object_name(i, name)) : 0;
}

/* -- the texts -- */

static int send_meta(struct sender *s)
{
	autobuf struct buf text = BUF_INIT;
	struct snap_meta m = s->source.meta;

	snprintf(m.parent, sizeof(m.parent), "%s", s->head.from);
	snap_meta_format(&m, &text);
	return text.failed ? fail(ENOMEM, "out of memory") :
	       stream_text(&s->writer, PART_META, text.data, text.len);
}

static int move_disk(struct config *c, unsigned i)
{
	autobuf struct buf value = BUF_INIT;
	char key[8], path[32];

	stream_object_name(STREAM_DISK + i, key);
	snprintf(path, sizeof(path), "disk/%s.qcow2", key);
	disk_conf_move(config_get(c, key), path, FORMAT_QCOW2, &value);
	return value.failed ? fail(ENOMEM, "out of memory") :
			      config_set(c, key, value.data);
}

/* The config without the places where things are on this host. */
static int send_config(struct sender *s)
{
	autobuf struct buf text = BUF_INIT;
	const struct vmconf *vc = &s->source.vc;
	struct config *c = &s->source.config;
	int rc = config_set(c, "parent", NULL);

	if (rc == 0)
		rc = config_set(c, "restore", NULL);
	if (rc == 0 && vc->kernel)
		rc = config_set(c, "kernel", "kernel");
	if (rc == 0 && vc->initrd)
		rc = config_set(c, "initrd", "initrd");
	for (unsigned i = 0; rc == 0 && i < VMCONF_DISKS; i++)
		if (vc->disk[i].path)
			rc = move_disk(c, i);
	if (rc < 0)
		return rc;
	config_format(c, &text);
	return text.failed ? fail(ENOMEM, "out of memory") :
	       stream_text(&s->writer, PART_CONFIG, text.data, text.len);
}

/* -- one snapshot -- */

static void name_source(struct sender *s)
{
	const struct source *src = &s->source;
	struct stream_head *h = &s->head;

	*h = (struct stream_head){ .created = src->meta.created };
	snprintf(h->vm, sizeof(h->vm), "%s", s->vm.name);
	snprintf(h->snap, sizeof(h->snap), "%s", src->snap.name);
	snprintf(h->id, sizeof(h->id), "%s", src->meta.id);
}

/* FROM: what the difference is to, or NULL. */
static int open_from(struct sender *s, const char *from)
{
	struct stream_head *h = &s->head;
	struct snap_name n = { 0 };
	int rc = 0;

	if (from[0] != '@')
		rc = snap_name_parse(&n, from);
	else if (from[1])
		rc = name_check("snapshot", from + 1);
	if (rc < 0)
		return rc;
	if (from[0] == '@')
		snprintf(n.snap, sizeof(n.snap), "%.*s", NAME_MAX_LEN,
			 from + 1);
	else if (strcmp(n.vm, s->vm.name) != 0)
		return fail(E_USAGE, "--from %s: not a snapshot of %s", from,
			    s->vm.name);
	if (!n.snap[0])
		return fail(E_USAGE, "--from %s: names no snapshot", from);
	rc = source_open(&s->from, &s->snaps, n.snap);
	if (rc < 0)
		return rc;
	if (!strcmp(s->from.meta.id, h->id))
		return fail(E_USAGE, "--from %s: is the snapshot itself", from);
	snprintf(h->from, sizeof(h->from), "%s", n.snap);
	snprintf(h->from_id, sizeof(h->from_id), "%s", s->from.meta.id);
	return 0;
}

/* Opens what NAME is, with what --from says. Closed by close_names(). */
static int open_names(struct sender *s, const char *name)
{
	autofree char *from = NULL;
	struct snap_name n;
	int rc = snap_name_parse(&n, name);

	if (rc == 0)
		rc = vm_open(&s->vm, s->store, n.vm);
	if (rc < 0)
		return rc;
	rc = snaps_open(&s->snaps, &s->vm, false);
	if (rc == 0)
		rc = source_open(&s->source, &s->snaps, n.snap);
	if (rc < 0)
		return rc;
	name_source(s);
	if (args.from)
		return open_from(s, args.from);
	if (!s->resuming || !s->token.from[0] || strcmp(s->token.id, s->head.id))
		return 0;
	if (asprintf(&from, "@%s", s->token.from) < 0)
		return fail(ENOMEM, "out of memory");
	return open_from(s, from);
}

static void close_names(struct sender *s)
{
	source_close(&s->from);
	source_close(&s->source);
	snaps_close(&s->snaps);
	vm_close(&s->vm);
}

static void init_names(struct sender *s)
{
	s->vm = (struct vm){ .dir = -1, .lock = -1 };
	s->snaps = (struct snaps){ .dir = -1, .lock = -1 };
	s->source = s->from = (struct source){
		.snap = { .parent = -1, .dir = -1, .lock = -1 },
	};
}

/* 1: the stream that was cut had this one whole already. */
static int check_token(struct sender *s)
{
	if (!s->resuming)
		return 0;
	if (strcmp(s->token.id, s->head.id))
		return 1;
	s->resuming = false;
	s->writer.skip = &s->point;
	if (!strcmp(s->token.from, s->head.from))
		return 0;
	return fail(E_USAGE, "the token is of a stream %s%s",
		    s->token.from[0] ? "from @" : "of the whole snapshot",
		    s->token.from);
}

static int send_open(struct sender *s)
{
	int rc = check_token(s);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = describe_all(s);
	if (rc == 0)
		rc = stream_begin(&s->writer, &s->head);
	if (rc == 0)
		rc = send_meta(s);
	if (rc == 0)
		rc = send_config(s);
	for (unsigned i = 0; rc == 0 && i < STREAM_OBJECTS; i++)
		if (s->head.object[i].size && !is_same_disk(s, i))
			rc = send_one_object(s, i);
	return rc == 0 ? stream_end(&s->writer) : rc;
}

/* CHECK: only whether it can be. */
static int send_name(struct sender *s, const char *name, bool check)
{
	int rc;

	init_names(s);
	rc = open_names(s, name);
	if (rc == 0 && !check)
		rc = send_open(s);
	if (rc < 0 && !starts_with(err_text(), s->vm.dir < 0 ? name :
				   s->vm.name, NULL))
		fail_in(rc, "%s", name);
	close_names(s);
	return rc;
}

/* -- all -- */

static int put(struct stream_writer *w, const void *data, size_t len)
{
	struct sender *s = container_of(w, struct sender, writer);

	s->bytes += len;
	return args.size ? 0 : out_write(data, len);
}

static int send_names(struct sender *s, char **names, size_t n)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = send_name(s, names[i], true);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = send_name(s, names[i], false);
	if (rc == 0 && s->resuming)
		rc = fail(E_USAGE, "--resume: none of these is %s@%s",
			  s->token.vm, s->token.snap);
	return rc == 0 ? stream_close(&s->writer) : rc;
}

static int send_all(struct sender *s, int argc, char **argv)
{
	char token_name[STREAM_PREFIX], *alone = token_name, **names;
	size_t n;
	int rc;

	if (s->resuming && !argc) {
		snprintf(token_name, sizeof(token_name), "%s@%s",
			 s->token.vm, s->token.snap);
		return send_names(s, &alone, 1);
	}
	rc = each_names(false, argc, argv, &names, &n);
	if (rc < 0)
		return rc;
	rc = send_names(s, names, n);
	each_free(names, n);
	return rc;
}

static int print_size(uint64_t bytes)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, bytes);
	return out_name(text);
}

static int run(int argc, char **argv)
{
	autofree uint8_t *both = malloc(2 * CHUNK);
	struct store st;
	struct sender s = { .store = &st, .data = both, .old = both + CHUNK };
	int rc = 0;

	if (!both)
		return fail(ENOMEM, "out of memory");
	if (!args.size && isatty(STDOUT_FILENO))
		return fail(E_USAGE, "standard output is a terminal (send it "
			    "to a file, or through a pipe)");
	if (args.resume)
		rc = stream_token_parse(&s.token, &s.point, args.resume);
	s.resuming = args.resume;
	if (rc == 0)
		rc = store_open(&st, common.state, false);
	if (rc < 0)
		return rc;
	stream_init(&s.writer, put);
	rc = send_all(&s, argc, argv);
	if (rc == 0 && args.size)
		rc = print_size(s.bytes);
	stream_release(&s.writer);
	store_close(&st);
	return rc;
}

const struct command command = {
	.name = "vm-send",
	.operands = "[VM[@SNAP]...]",
	.summary = "write snapshots as a stream",
	.details = "One tar with all that each snapshot is, for vm-recv, on "
		   "standard output; of a VM\nthe newest. It needs nothing on "
		   "the other side, or, with --from, that snapshot.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.run = run,
};
