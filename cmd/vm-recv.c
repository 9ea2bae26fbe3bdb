/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-recv - reads a stream (vm-stream.5): new VMs, and new snapshots of VMs.
 *
 * What arrives waits in the state directory (state/arrival.h) until all of a
 * snapshot has come and is right; only then it is given to a VM
 * (image/received.h). Of a stream that breaks off, what has come waits on, and
 * a token says where vm-send goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/loop.h"
#include "block/qcow2.h"
#include "cli/boot_check.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "image/copy.h"
#include "image/disk.h"
#include "image/received.h"
#include "stream/read.h"

/* How long what has come may be on its way to the disk. */
static const uint64_t keep_ns = 5000000000;

static struct args {
	bool verify, token;
	const char *boot_check, *timeout;
} args = { .timeout = "300" };

static const struct opt opts[] = {
	OPT(0, "verify", OPT_FLAG, NULL, struct args, verify,
	    "only check the stream"),
	OPT(0, "token", OPT_FLAG, NULL, struct args, token,
	    "print what vm-send --resume needs to go on"),
	OPT(0, "boot-check", OPT_STR, "COND", struct args, boot_check,
	    "what came must boot, on a throw-away copy, until COND (vm-wait)"),
	OPT('t', "timeout", OPT_STR, "TIME", struct args, timeout,
	    "how long that may take (default 300)"),
	{ 0 }
};

/* Where an object is written: a file, or a disk in one. */
struct output {
	int fd;			/* -1: none */
	struct block *disk;
};

struct receiver {
	struct stream_reader reader;
	struct store *store;
	const char *name;	/* the operand, or NULL */
	char first[NAME_MAX_LEN + 1];	/* the VM that it stands for */

	/* of the snapshot that comes */
	char vm[NAME_MAX_LEN + 1];	/* its VM here */
	char label[STREAM_PREFIX];	/* vm@snap */
	bool is_there;			/* already; only read on */
	struct arrival arrival;
	struct output out[STREAM_OBJECTS];
	struct buf head, meta, config;
	struct stream_point point;	/* handed out up to there */
	bool has_point, kept;		/* there is one; it is on disk */
	uint64_t kept_at;
};

static struct receiver *receiver(struct stream_reader *r)
{
	return container_of(r, struct receiver, reader);
}

/* -- what is written to -- */

static bool is_disk(unsigned object)
{
	return object >= STREAM_DISK && object < STREAM_DEV;
}

static void file_name(unsigned object, char name[static 16])
{
	char word[8];

	snprintf(name, 16, "%s%s", stream_object_name(object, word),
		 is_disk(object) ? ".qcow2" : "");
}

static void close_outputs(struct receiver *r)
{
	for (unsigned i = 0; i < STREAM_OBJECTS; i++) {
		close_fd(&r->out[i].fd);
		block_close(r->out[i].disk);
		r->out[i] = (struct output){ .fd = -1 };
	}
}

/* The disk of FROM, to show through disk I. */
static int open_below(struct receiver *r, const struct received_base *base,
		      unsigned i, struct block **below)
{
	const struct disk_conf *d = &base->vc.disk[i - STREAM_DISK];

	if (!d->path)
		return fail(E_VERIFY, "%s has no such disk", base->snap.label);
	return disk_open_at(below, base->vm.dir, r->store, d, DISK_READ, NULL);
}

/* Opens disk I, over BELOW, which is taken in any case. */
static int open_disk(struct receiver *r, unsigned i, struct block *below)
{
	char name[16], path[64];
	int rc;

	file_name(i, name);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", r->arrival.dir,
		 name);
	rc = qcow2_open(&r->out[i].disk, path, false, below);
	if (rc < 0)
		block_close(below);
	return rc;
}

static int make_disk(struct receiver *r, const struct received_base *base,
		     unsigned i, bool fresh)
{
	const struct stream_object_head *o = &r->reader.head.object[i];
	struct qcow2_create c = { .size = o->size };
	struct block *below = NULL;
	char name[16];
	int rc = 0;

	file_name(i, name);
	if (o->from) {
		if (base->vc.disk[i - STREAM_DISK].path &&
		    base->vc.disk[i - STREAM_DISK].readonly)
			return 0;	/* it is the same */
		c.backing = name;	/* until it is placed */
		c.backing_format = disk_formats[FORMAT_QCOW2];
		rc = open_below(r, base, i, &below);
	}
	if (rc == 0 && fresh)
		rc = qcow2_create(r->arrival.dir, name, &c);
	if (rc < 0) {
		block_close(below);
		return rc;
	}
	return open_disk(r, i, below);
}

/* What FROM has, or nothing, in FD; as long as object I. */
static int begin_file(struct receiver *r, const struct received_base *base,
		      unsigned i, int fd)
{
	const struct stream_object_head *o = &r->reader.head.object[i];
	autoclose int from = -1;
	char name[16];
	int rc = 0;

	file_name(i, name);
	if (o->from) {
		rc = from = file_open(base->snap.dir, name, O_RDONLY |
				      O_NOFOLLOW, 0);
		if (rc == -ENOENT)
			return fail(E_VERIFY, "%s has none", base->snap.label);
		if (rc >= 0)
			rc = copy_from_stream(from, NULL, 0, fd, INT64_MAX);
	}
	if (rc >= 0 && ftruncate(fd, o->size) < 0)
		return fail_sys("%s", name);
	return rc < 0 ? rc : 0;
}

static int make_file(struct receiver *r, const struct received_base *base,
		     unsigned i, bool fresh)
{
	char name[16];
	int fd;

	file_name(i, name);
	fd = file_open(r->arrival.dir, name, O_RDWR | O_NOFOLLOW |
		       (fresh ? O_CREAT | O_EXCL : 0), 0600);
	r->out[i].fd = fd;
	if (fd < 0)
		return fd;
	return fresh ? begin_file(r, base, i, fd) : 0;
}

/* All that the head names: FRESH, or as it was left. */
static int make_outputs(struct receiver *r, const struct received_base *base,
			bool fresh)
{
	char name[8];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < STREAM_OBJECTS; i++) {
		if (!r->reader.head.object[i].size)
			continue;
		rc = is_disk(i) ? make_disk(r, base, i, fresh) :
				  make_file(r, base, i, fresh);
		if (rc < 0)
			fail_in(rc, "%s", stream_object_name(i, name));
	}
	return rc;
}

/* 0, or -errno with a sentence: all that was written is on disk. */
static int sync_outputs(struct receiver *r)
{
	char name[8];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < STREAM_OBJECTS; i++) {
		struct output *out = &r->out[i];

		if (out->disk)
			rc = block_flush(out->disk);
		else if (out->fd >= 0 && fsync(out->fd) < 0)
			rc = -errno;
		if (rc < 0)
			return fail(-rc, "%s: %s", stream_object_name(i, name),
				    strerror(-rc));
	}
	return 0;
}

/* -- what is kept of what breaks off -- */

/* All up to r->point is on disk, and it says so. */
static int keep(struct receiver *r)
{
	autobuf struct buf text = BUF_INIT;
	int rc = sync_outputs(r);

	if (rc < 0)
		return rc;
	if (r->meta.len)
		rc = arrival_put(&r->arrival, "meta", &r->meta);
	if (rc == 0 && r->config.len)
		rc = arrival_put(&r->arrival, "config", &r->config);
	stream_point_format(&r->point, &text);
	if (rc == 0)
		rc = arrival_put(&r->arrival, "point", &text);
	r->kept |= rc == 0;
	r->kept_at = now_ns();
	return rc;
}

static void print_token(const struct stream_head *h,
			const struct stream_point *p)
{
	char token[STREAM_TOKEN];

	stream_token_format(h, p, token);
	say("to go on: vm-send --resume %s", token);
}

/* What has come waits, if it can; the sentence of what went wrong stays. */
static void break_off(struct receiver *r)
{
	autofree char *why = strdup(err_text());

	if (r->arrival.lock < 0)
		return;
	if (r->has_point && keep(r) == 0)
		print_token(&r->reader.head, &r->point);
	close_outputs(r);
	if (!r->kept)
		arrival_remove(&r->arrival);
	arrival_close(&r->arrival);
	if (why)
		err_adopt(-1, why);
}

/* -- one snapshot -- */

static void release_texts(struct receiver *r)
{
	buf_release(&r->head);
	buf_release(&r->meta);
	buf_release(&r->config);
}

static void forget(struct receiver *r)
{
	close_outputs(r);
	arrival_close(&r->arrival);
	release_texts(r);
	r->is_there = r->has_point = r->kept = false;
}

/* Which VM it is to be of: the operand stands for the first that comes. */
static int name_it(struct receiver *r, const char *vm, const char *snap)
{
	if (!r->first[0])
		snprintf(r->first, sizeof(r->first), "%s", vm);
	if (r->name && strcmp(r->first, vm) != 0)
		return fail(E_USAGE, "%s: the stream has %s, and then %s",
			    r->name, r->first, vm);
	snprintf(r->vm, sizeof(r->vm), "%s", r->name ? r->name : vm);
	snprintf(r->label, sizeof(r->label), "%s@%s", r->vm, snap);
	return 0;
}

/* What image/received.h is to know; R as long as it lives. */
static void describe(struct receiver *r, struct received *d)
{
	const struct stream_head *h = &r->reader.head;

	*d = (struct received){
		.store = r->store, .arrival = &r->arrival, .vm = r->vm,
		.snap = h->snap,
		.from = h->from[0] ? h->from : NULL, .from_id = h->from_id,
		.kernel = h->object[STREAM_KERNEL].size,
		.initrd = h->object[STREAM_INITRD].size,
		.live = h->object[STREAM_MEM].size,
	};
	for (unsigned i = 0; i < STREAM_DISKS; i++) {
		d->disk[i].size = h->object[STREAM_DISK + i].size;
		d->disk[i].from = h->object[STREAM_DISK + i].from;
	}
}

/* 1: the VM has this snapshot; 0: it may get it. */
static int look_for(const struct received_base *base,
		    const struct stream_head *h)
{
	struct snap_meta m;
	struct snap snap;
	bool same;
	int rc = snap_open(&snap, &base->snaps, h->snap);

	if (rc < 0)
		return rc == -E_NOENT ? 0 : rc;
	rc = snap_meta(&snap, &m);
	snap_close(&snap);
	if (rc < 0)
		return rc;
	same = !strcmp(m.id, h->id);
	snap_meta_release(&m);
	return same ? 1 : fail(E_EXISTS, "%s@%s: already exists, and is "
			       "another one", base->vm.name, h->snap);
}

static int check_free(struct receiver *r)
{
	struct vm vm;
	int rc = vm_open(&vm, r->store, r->vm);

	if (rc == -E_NOENT)
		return 0;
	if (rc < 0)
		return rc;
	vm_close(&vm);
	return fail(E_EXISTS, "%s: already exists", r->vm);
}

static int begin_arrival(struct receiver *r)
{
	autobuf struct buf name = BUF_INIT;
	int rc = arrival_begin(&r->arrival, r->store, r->reader.head.id);

	buf_str(&name, r->vm);
	if (rc == 0)
		rc = arrival_put(&r->arrival, "head", &r->head);
	return rc == 0 ? arrival_put(&r->arrival, "name", &name) : rc;
}

/* Opens where it goes, or (not FRESH) goes on. */
static int enter(struct receiver *r, bool fresh)
{
	const struct stream_head *h = &r->reader.head;
	struct received_base base = { 0 };
	struct received d;
	int rc;

	describe(r, &d);
	rc = d.from ? received_base_open(&base, &d) : check_free(r);
	if (rc < 0)
		return rc;
	if (d.from)
		rc = look_for(&base, h);
	r->is_there = rc > 0;
	if (rc == 0 && fresh)
		rc = begin_arrival(r);
	if (rc == 0)
		rc = make_outputs(r, &base, fresh);
	if (d.from)
		received_base_close(&base);
	return rc < 0 ? fail_in(rc, "%s", r->label) : 0;
}

static int on_begin(struct stream_reader *reader)
{
	struct receiver *r = receiver(reader);
	int rc;

	forget(r);
	stream_head_format(&reader->head, &r->head);
	rc = name_it(r, reader->head.vm, reader->head.snap);
	return rc < 0 || args.verify ? rc : enter(r, true);
}

/* The head and the texts of what came before. */
static int load(struct receiver *r)
{
	struct stat sb;
	int rc = arrival_get(&r->arrival, "head", &r->head);

	if (rc == 0)
		rc = stream_head_parse(&r->reader.head, r->head.data,
				       r->head.len);
	if (rc < 0 || fstatat(r->arrival.dir, "config", &sb,
			      AT_SYMLINK_NOFOLLOW) < 0)
		return rc;
	rc = arrival_get(&r->arrival, "meta", &r->meta);
	return rc == 0 ? arrival_get(&r->arrival, "config", &r->config) : rc;
}

static int check_point(const struct receiver *r, const struct stream_point *p)
{
	autobuf struct buf text = BUF_INIT, want = BUF_INIT;
	int rc = arrival_get(&r->arrival, "point", &text);

	stream_point_format(p, &want);
	if (rc == -ENOENT || (rc == 0 && strcmp(text.data, want.data) != 0))
		return fail(E_VERIFY, "the stream goes on from where none was "
			    "cut off");
	return rc;
}

static int on_resume(struct stream_reader *reader,
		     const struct stream_point *p)
{
	struct receiver *r = receiver(reader);
	autobuf struct buf name = BUF_INIT;
	int rc;

	forget(r);
	if (args.verify)
		return fail(E_VERIFY, "the stream is the rest of one");
	rc = arrival_open(&r->arrival, r->store, p->id);
	if (rc == -E_NOENT)
		return fail(E_VERIFY, "the stream goes on where none was cut "
			    "off");
	if (rc == 0)
		rc = check_point(r, p);
	if (rc == 0)
		rc = load(r);
	if (rc == 0)
		rc = arrival_get(&r->arrival, "name", &name);
	if (rc == 0 && r->name && strcmp(r->name, name.data) != 0)
		rc = fail(E_USAGE, "%s: what came before is to be %s", r->name,
			  name.data);
	if (rc < 0)
		return rc;
	snprintf(r->first, sizeof(r->first), "%s", reader->head.vm);
	snprintf(r->vm, sizeof(r->vm), "%s", name.data);
	snprintf(r->label, sizeof(r->label), "%s@%s", r->vm,
		 reader->head.snap);
	r->kept = true;
	r->point = *p;
	return enter(r, false);
}

static int on_text(struct stream_reader *reader, enum part_kind kind,
		   const char *text, size_t len)
{
	struct receiver *r = receiver(reader);
	struct buf *b = kind == PART_META ? &r->meta : &r->config;

	buf_clear(b);
	buf_add(b, text, len);
	return b->failed ? fail(ENOMEM, "out of memory") : 0;
}

static int wrote(const struct receiver *r, unsigned object, int rc)
{
	char name[8];

	return rc < 0 ? fail(-rc, "%s: %s: %s", r->label,
			     stream_object_name(object, name), strerror(-rc)) :
			0;
}

/* Nothing that is only checked or there already; else there is one. */
static int output_of(const struct receiver *r, unsigned object,
		     const struct output **out)
{
	*out = NULL;
	if (args.verify || r->is_there)
		return 0;
	*out = &r->out[object];
	if (!(*out)->disk && (*out)->fd < 0)
		return fail(E_VERIFY, "%s: data of a disk that is the same",
			    r->label);
	return 0;
}

static int on_data(struct stream_reader *reader, unsigned object, uint64_t off,
		   const void *data, size_t len)
{
	struct receiver *r = receiver(reader);
	struct iovec iov = { (void *)data, len };
	const struct output *out;
	int rc = output_of(r, object, &out);

	if (rc < 0 || !out)
		return rc;
	rc = out->disk ? block_writev(out->disk, &iov, 1, off) :
			 pwrite_all(out->fd, data, len, off);
	return wrote(r, object, rc);
}

/* Zeros become holes of a file where it can have them. */
static int zero_file(int fd, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[4096];
	int rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			   len);

	for (uint64_t n; rc < 0 && len; off += n, len -= n) {
		n = min_u64(len, sizeof(zeros));
		if (pwrite_all(fd, zeros, n, off) < 0)
			return -EIO;
	}
	return 0;
}

static int on_zero(struct stream_reader *reader, unsigned object, uint64_t off,
		   uint64_t len)
{
	struct receiver *r = receiver(reader);
	const struct output *out;
	int rc = output_of(r, object, &out);

	if (rc < 0 || !out)
		return rc;
	rc = out->disk ? block_zero(out->disk, off, len, false) :
			 zero_file(out->fd, off, len);
	return wrote(r, object, rc);
}

static int on_point(struct stream_reader *reader)
{
	struct receiver *r = receiver(reader);

	if (args.verify || r->is_there)
		return 0;
	r->point = reader->point;
	r->has_point = true;
	if (!r->kept_at)
		r->kept_at = now_ns();
	return now_ns() - r->kept_at < keep_ns ? 0 : keep(r);
}

/* Reads the texts of what has come, for D. */
static int parse_texts(const struct receiver *r, struct received *d)
{
	int rc = snap_meta_parse(d->meta, r->meta.data, r->meta.len);

	if (rc < 0)
		return fail_in(rc, "meta");
	if (d->meta->created != r->reader.head.created ||
	    strcmp(d->meta->id, r->reader.head.id) != 0 ||
	    strcmp(d->meta->parent, r->reader.head.from) != 0)
		return fail(E_VERIFY, "meta: of another snapshot");
	rc = config_parse(d->config, r->config.data, r->config.len);
	if (rc < 0)
		return fail_in(rc, "config");
	return received_check(d);
}

/* All has come: it becomes a snapshot. */
static int place(struct receiver *r, const struct received *d)
{
	int rc = keep(r);

	close_outputs(r);
	if (rc < 0)
		return rc;
	return d->from ? received_onto(d, common.lock_wait) : received_new(d);
}

static int finish(struct receiver *r)
{
	struct snap_meta meta = { 0 };
	struct config config = CONFIG_INIT;
	struct received d;
	int rc;

	describe(r, &d);
	d.meta = &meta;
	d.config = &config;
	rc = parse_texts(r, &d);
	if (rc == 0 && !args.verify)
		rc = r->is_there ? received_move(&d, common.lock_wait) :
				   place(r, &d);
	config_release(&config);
	snap_meta_release(&meta);
	return rc < 0 ? fail_in(rc, "%s", r->label) : 0;
}

static int on_end(struct stream_reader *reader)
{
	struct receiver *r = receiver(reader);
	int rc = finish(r);

	/* who finds the VM busy comes back with the token, and little more */
	if (rc != -E_BUSY) {
		close_outputs(r);
		arrival_remove(&r->arrival);
	}
	if (rc == 0 && args.boot_check)
		rc = boot_check(r->label, args.boot_check, args.timeout);
	return rc < 0 ? rc : out_name(r->label);
}

static const struct stream_ops ops = {
	.begin = on_begin, .resume = on_resume, .text = on_text,
	.data = on_data, .zero = on_zero, .point = on_point, .end = on_end,
};

/* -- tokens -- */

struct tokens {
	const char *name;
	unsigned n;
	int rc;
};

static void print_one(int dir, const char *id, void *arg)
{
	autobuf struct buf name = BUF_INIT, head = BUF_INIT, point = BUF_INIT;
	struct tokens *t = arg;
	struct stream_head h;
	struct stream_point p;
	char token[STREAM_TOKEN];

	(void)id;
	if (file_read(dir, "name", &name, NAME_MAX_LEN) < 0 ||
	    file_read(dir, "head", &head, STREAM_RUN) < 0 ||
	    file_read(dir, "point", &point, STREAM_RUN) < 0 ||
	    strcmp(name.data, t->name) != 0 ||
	    stream_head_parse(&h, head.data, head.len) < 0 ||
	    !stream_point_parse(&p, point.data, point.len))
		return;
	stream_token_format(&h, &p, token);
	t->n++;
	if (t->rc == 0)
		t->rc = out_name(token);
}

static int print_tokens(const struct store *st, const char *name)
{
	struct tokens t = { .name = name };
	int rc = arrival_each(st, print_one, &t);

	if (rc < 0)
		return rc;
	if (!t.n)
		return fail(E_NOENT, "%s: nothing was cut off", name);
	return t.rc;
}

/* -- all -- */

static int receive(struct store *st, const char *name)
{
	struct receiver r = {
		.store = st, .name = name, .arrival = ARRIVAL_INIT,
		.head = BUF_INIT, .meta = BUF_INIT, .config = BUF_INIT,
	};
	int rc;

	for (unsigned i = 0; i < STREAM_OBJECTS; i++)
		r.out[i].fd = -1;
	rc = stream_read(&r.reader, STDIN_FILENO, &ops);
	if (rc < 0)
		break_off(&r);
	forget(&r);
	return rc;
}

static int run(int argc, char **argv)
{
	struct store st;
	int rc;

	if (args.boot_check && (args.verify || args.token))
		return fail(E_USAGE, "--boot-check is for what is received");
	if (argc > 1 || (args.token && !argc))
		return fail(E_USAGE, args.token ? "--token wants a VM's name" :
						  "one name at most");
	rc = argc ? name_check("VM", argv[0]) : 0;
	if (rc == 0 && !args.token && isatty(STDIN_FILENO))
		rc = fail(E_USAGE, "standard input is a terminal (a stream of "
			  "vm-send is wanted)");
	if (rc == 0)
		rc = store_open(&st, common.state, !args.token && !args.verify);
	if (rc < 0)
		return rc;
	if (args.token) {
		rc = print_tokens(&st, argv[0]);
	} else {
		if (!args.verify)
			arrival_sweep(&st);
		rc = receive(&st, argv[0]);
	}
	store_close(&st);
	return rc;
}

const struct command command = {
	.name = "vm-recv",
	.operands = "[NAME]",
	.summary = "read a stream of snapshots",
	.details = "From standard input comes what vm-send wrote. Each snapshot "
		   "appears when all of it\nhas come and every byte is right: "
		   "a new VM (NAME), or a new one of its VM.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
