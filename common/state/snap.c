/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/snap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "base/file.h"
#include "base/loop.h"

enum {
	DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
	META_MAX = 64 << 10,
	NAME_TRIES = 1000,
	WAIT_FIRST_NS = 1000000,
	WAIT_MOST_NS = 50000000,
};

static const char word[] = "snapshot", lock_name[] = ".lock";

/* -- names -- */

static int set_name(char *to, const char *kind, const char *from, size_t len)
{
	autofree char *name = strndup(from, len);
	int rc = name ? name_check(kind, name) : fail(ENOMEM, "out of memory");

	if (rc == 0)
		memcpy(to, name, len + 1);
	return rc;
}

int snap_name_parse(struct snap_name *n, const char *text)
{
	const char *at = strchr(text, '@');
	size_t len = at ? (size_t)(at - text) : strlen(text);
	int rc;

	*n = (struct snap_name){ .named = at };
	rc = set_name(n->vm, "VM", text, len);
	if (rc == 0 && at && at[1])
		rc = set_name(n->snap, word, at + 1, strlen(at + 1));
	return rc;
}

/* -- those of a VM -- */

/* Makes snap/ in the VM's directory, durably. */
static int make_dir(const struct vm *vm)
{
	if (mkdirat(vm->dir, "snap", 0700) < 0 && errno != EEXIST)
		return fail_sys("%s: snap", vm->name);
	return fsync(vm->dir) < 0 ? fail_sys("%s", vm->name) : 0;
}

int snaps_open(struct snaps *s, const struct vm *vm, bool create)
{
	int rc = 0;

	*s = (struct snaps){ .vm = vm, .dir = -1, .lock = -1 };
	s->dir = openat(vm->dir, "snap", DIR_FLAGS);
	if (s->dir < 0 && errno == ENOENT) {
		if (!create)
			return 0;
		rc = make_dir(vm);
		if (rc == 0)
			s->dir = openat(vm->dir, "snap", DIR_FLAGS);
	}
	if (rc == 0 && s->dir < 0)
		rc = errno == ENOTDIR ?
			fail(E_CONFIG, "%s: snap: not a directory", vm->name) :
			fail_sys("%s: snap", vm->name);
	return rc;
}

/* 1: the file of FD is locked by us, 0: by someone else. */
static int try_lock(int fd)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
		return 1;
	return errno == EAGAIN || errno == EACCES ? 0 : -errno;
}

int snaps_lock(struct snaps *s, uint64_t wait_ns)
{
	uint64_t start = now_ns(), pause = WAIT_FIRST_NS;
	autoclose int fd = -1;
	int rc;

	if (s->dir < 0)
		return fail(E_NOENT, "%s: has no snapshot", s->vm->name);
	fd = file_open(s->dir, lock_name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail_in(fd, "%s: snap", s->vm->name);
	while ((rc = try_lock(fd)) == 0) {
		uint64_t waited = now_ns() - start;

		if (waited >= wait_ns)
			return fail(E_BUSY, "%s: its snapshots are in use by "
				    "another command", s->vm->name);
		pause = min_u64(pause, wait_ns - waited);
		nanosleep(&(struct timespec){ .tv_nsec = pause }, NULL);
		pause = min_u64(2 * pause, WAIT_MOST_NS);
	}
	if (rc < 0)
		return fail(-rc, "%s: snap: lock: %s", s->vm->name,
			    strerror(-rc));
	s->lock = take_fd(&fd);
	return 0;
}

void snaps_close(struct snaps *s)
{
	close_fd(&s->lock);
	close_fd(&s->dir);
	s->lock = s->dir = -1;
}

/* -- one of them -- */

static int open_newest(struct snap *sn, const struct snaps *s)
{
	struct snap_entry *e;
	size_t n;
	int rc = snaps_list(s, &e, &n);

	if (rc < 0)
		return rc;
	rc = n ? snap_open(sn, s, e[n - 1].name) :
		fail(E_NOENT, "%s: has no snapshot", s->vm->name);
	snaps_list_free(e, n);
	return rc;
}

int snap_open(struct snap *sn, const struct snaps *s, const char *name)
{
	int rc;

	*sn = (struct snap){ .parent = -1, .dir = -1, .lock = -1 };
	if (!*name)
		return open_newest(sn, s);
	rc = sn->dir = record_open(s->dir, word, name);
	if (rc == -E_NOENT)
		return fail(E_NOENT, "%s@%s: no such snapshot", s->vm->name,
			    name);
	if (rc < 0)
		return fail_in(rc, "%s", s->vm->name);
	snprintf(sn->vm, sizeof(sn->vm), "%s", s->vm->name);
	snprintf(sn->name, sizeof(sn->name), "%s", name);
	snprintf(sn->label, sizeof(sn->label), "%s@%s", sn->vm, sn->name);
	sn->parent = fcntl(s->dir, F_DUPFD_CLOEXEC, 0);
	if (sn->parent >= 0)
		return 0;
	rc = fail_sys("%s", sn->label);
	snap_close(sn);
	return rc;
}

void snap_close(struct snap *sn)
{
	close_fd(&sn->lock);
	close_fd(&sn->dir);
	close_fd(&sn->parent);
	sn->lock = sn->dir = sn->parent = -1;
}

int snap_lock(struct snap *sn, bool shared)
{
	int rc = record_lock(sn->parent, word, sn->name, sn->dir, shared,
			     &sn->lock);

	if (rc > 0)
		return 0;
	if (rc == 0)
		return fail(E_BUSY, "%s: in use by another command", sn->label);
	if (rc == -E_NOENT)
		return fail(E_NOENT, "%s: no such snapshot", sn->label);
	return fail_in(rc, "%s", sn->vm);
}

/* Makes TEXT the file NAME of SN. */
static int put_file(const struct snap *sn, const char *name,
		    const struct buf *text)
{
	int rc;

	if (text->failed)
		return fail(ENOMEM, "%s: out of memory", sn->label);
	rc = file_replace(sn->dir, name, text->data, text->len, 0600);
	return rc < 0 ? fail_in(rc, "%s", sn->label) : 0;
}

int snap_config(const struct snap *sn, struct config *c)
{
	autobuf struct buf b = BUF_INIT;
	int rc = file_read(sn->dir, "config", &b, CONFIG_MAX);

	if (rc < 0)
		return fail_in(rc == -EFBIG ? -E_CONFIG : rc, "%s", sn->label);
	rc = config_parse(c, b.data, b.len);
	return rc < 0 ? fail_in(rc, "%s: config", sn->label) : 0;
}

int snap_set_config(const struct snap *sn, const struct config *c)
{
	autobuf struct buf text = BUF_INIT;

	config_format(c, &text);
	return put_file(sn, "config", &text);
}

/* -- meta -- */

static int read_parent(struct snap_meta *m, const char *parent)
{
	int rc = parent ? name_check(word, parent) : 0;

	if (rc == 0 && parent)
		snprintf(m->parent, sizeof(m->parent), "%s", parent);
	return rc;
}

static int read_id(struct snap_meta *m, const char *id)
{
	if (!id)
		return 0;
	if (strlen(id) != SNAP_ID - 1 ||
	    strspn(id, "0123456789abcdef") != SNAP_ID - 1)
		return fail(E_CONFIG, "id '%s': not an id", id);
	memcpy(m->id, id, SNAP_ID);
	return 0;
}

/* The words of engines are for engines to know. */
static int read_engine(struct snap_meta *m, const char *engine)
{
	if (!engine)
		return 0;
	if (!name_ok(engine) || strlen(engine) >= sizeof(m->engine))
		return fail(E_CONFIG, "engine '%s': not an engine's name",
			    engine);
	snprintf(m->engine, sizeof(m->engine), "%s", engine);
	return 0;
}

static int read_note(struct snap_meta *m, const char *note)
{
	m->note = note ? strdup(note) : NULL;
	return note && !m->note ? fail(ENOMEM, "out of memory") : 0;
}

static int read_meta(struct snap_meta *m, const struct config *c)
{
	const char *created = config_get(c, "created");
	const char *keep = config_get(c, "protected");
	const char *memory = config_get(c, "memory");
	int rc = parse_u64("created", created ? created : "", &m->created);

	if (rc == 0)
		rc = read_id(m, config_get(c, "id"));
	if (rc == 0)
		rc = read_parent(m, config_get(c, "parent"));
	if (rc == 0 && keep)
		rc = parse_bool("protected", keep, &m->is_protected);
	if (rc == 0)
		rc = read_engine(m, config_get(c, "engine"));
	if (rc == 0 && memory)
		rc = parse_u64("memory", memory, &m->memory);
	return rc == 0 ? read_note(m, config_get(c, "note")) : rc;
}

int snap_meta_parse(struct snap_meta *m, const char *text, size_t len)
{
	struct config c = CONFIG_INIT;
	int rc = config_parse(&c, text, len);

	*m = (struct snap_meta){ 0 };
	if (rc == 0)
		rc = read_meta(m, &c);
	config_release(&c);
	if (rc < 0)
		snap_meta_release(m);
	return rc == -E_USAGE ? -E_CONFIG : rc;
}

/* That of the snapshot DIR. 0 or negative with a sentence without its name. */
static int load_meta(int dir, struct snap_meta *m)
{
	autobuf struct buf b = BUF_INIT;
	int rc = file_read(dir, "meta", &b, META_MAX);

	*m = (struct snap_meta){ 0 };
	if (rc < 0)
		return rc == -EFBIG || rc == -ENOENT ? -E_CONFIG : rc;
	rc = snap_meta_parse(m, b.data, b.len);
	return rc < 0 ? fail_in(rc, "meta") : 0;
}

int snap_meta(const struct snap *sn, struct snap_meta *m)
{
	int rc = load_meta(sn->dir, m);

	return rc < 0 ? fail_in(rc, "%s", sn->label) : 0;
}

void snap_meta_release(struct snap_meta *m)
{
	free(m->note);
	*m = (struct snap_meta){ 0 };
}

/* A line; what a line cannot hold becomes '?'. */
static void put(struct buf *text, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	buf_printf(text, "%s=", key);
	for (; *value; value++)
		buf_char(text, (unsigned char)*value < ' ' || *value == 127 ?
			 '?' : *value);
	buf_char(text, '\n');
}

void snap_meta_format(const struct snap_meta *m, struct buf *text)
{
	buf_printf(text, "created=%" PRIu64 "\n", m->created);
	put(text, "id", m->id);
	put(text, "parent", m->parent);
	put(text, "note", m->note);
	put(text, "protected", m->is_protected ? "yes" : NULL);
	put(text, "engine", m->engine);
	if (m->engine[0])
		buf_printf(text, "memory=%" PRIu64 "\n", m->memory);
}

int snap_set_meta(const struct snap *sn, const struct snap_meta *m)
{
	autobuf struct buf text = BUF_INIT;

	snap_meta_format(m, &text);
	return put_file(sn, "meta", &text);
}

/* -- new ones -- */

int snap_stage(struct stage *st, const struct snaps *s, const char *name)
{
	int rc;

	record_sweep(s->dir);
	rc = stage_open(st, s->dir, word, name);
	if (rc == -E_EXISTS)
		return fail(E_EXISTS, "%s@%s: already exists", s->vm->name,
			    name);
	return rc < 0 ? fail_in(rc, "%s", s->vm->name) : 0;
}

int snap_stage_config(struct stage *st, const struct config *c)
{
	return vm_stage_config(st, c);
}

static void published(struct stage *st, int rc, void *arg)
{
	(void)st, (void)rc, (void)arg;	/* its result is the call's */
}

int snap_new_id(char id[static SNAP_ID])
{
	uint8_t byte[SNAP_ID / 2];

	if (getrandom(byte, sizeof(byte), 0) != sizeof(byte))
		return fail_sys("random numbers");
	for (size_t i = 0; i < sizeof(byte); i++)
		snprintf(id + 2 * i, 3, "%02x", byte[i]);
	return 0;
}

int snap_publish(struct stage *st, const struct snap_meta *m)
{
	autobuf struct buf text = BUF_INIT;
	struct snap_meta named = *m;
	int rc = named.id[0] ? 0 : snap_new_id(named.id);

	if (rc < 0)
		return fail_in(rc, "%s", st->name);
	snap_meta_format(&named, &text);
	if (text.failed)
		return fail(ENOMEM, "%s: out of memory", st->name);
	rc = stage_write(st, "meta", text.data, text.len);
	return rc < 0 ? rc : stage_publish(st, 1, published, NULL);
}

/* -- copies -- */

/* The file NAME of FROM to TO, byte for byte. -errno without a sentence. */
static int copy_file(int from, int to, const char *name)
{
	autoclose int in = openat(from, name, O_RDONLY | O_NOFOLLOW |
				  O_CLOEXEC);
	autoclose int out = -1;
	ssize_t n;

	if (in < 0)
		return -errno;
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	while ((n = copy_file_range(in, NULL, out, NULL, 1 << 30, 0)) > 0)
		;
	return n < 0 ? -errno : 0;
}

/* Memory is never changed: one file serves many. */
static int share_file(int from, int to, const char *name)
{
	if (linkat(from, name, to, name, 0) == 0 || errno == ENOENT)
		return 0;
	return copy_file(from, to, name);
}

static int link_files(const struct snap *sn, const struct snap_meta *meta,
		      int dir)
{
	autobuf struct buf text = BUF_INIT;
	autoclose int lock = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC,
				    0600);
	int rc;

	if (lock < 0)
		return -errno;
	if (meta) {
		snap_meta_format(meta, &text);
		rc = text.failed ? -ENOMEM : file_replace(dir, "meta",
			text.data, text.len, 0600);
	} else {
		rc = copy_file(sn->dir, dir, "meta");
	}
	if (rc == 0)
		rc = copy_file(sn->dir, dir, "config");
	if (rc == 0)
		rc = share_file(sn->dir, dir, "dev");
	return rc == 0 ? share_file(sn->dir, dir, "mem") : rc;
}

int snap_link(const struct snap *sn, const struct snap_meta *meta,
	      int stage_dir)
{
	autoclose int snaps = -1, dir = -1;
	int rc;

	if (mkdirat(stage_dir, "snap", 0700) < 0 && errno != EEXIST)
		return fail_sys("%s: snap", sn->label);
	snaps = openat(stage_dir, "snap", DIR_FLAGS);
	if (snaps < 0 || mkdirat(snaps, sn->name, 0700) < 0)
		return fail_sys("%s", sn->label);
	dir = openat(snaps, sn->name, DIR_FLAGS);
	if (dir < 0)
		return fail_sys("%s", sn->label);
	rc = link_files(sn, meta, dir);
	return rc < 0 ? fail(-rc, "%s: %s", sn->label, strerror(-rc)) : 0;
}

/* -- removing -- */

/* Who names the snapshot NAME as its parent names PARENT from now on. */
static int adopt(const struct snaps *s, const struct snap_entry *e,
		 const char *name, const char *parent)
{
	struct snap_meta m = e->meta;
	struct snap sn;
	int rc;

	if (e->bad || strcmp(m.parent, name) != 0)
		return 0;
	rc = snap_open(&sn, s, e->name);
	if (rc < 0)
		return rc == -E_NOENT ? 0 : rc;
	snprintf(m.parent, sizeof(m.parent), "%s", parent);
	rc = snap_set_meta(&sn, &m);
	snap_close(&sn);
	return rc;
}

int snap_remove(struct snap *sn, const struct snaps *s)
{
	struct snap_meta m = { 0 };
	struct snap_entry *e;
	size_t n;
	int rc = snaps_list(s, &e, &n);

	if (rc < 0)
		return rc;
	if (snap_meta(sn, &m) < 0)	/* a damaged one can be removed */
		m = (struct snap_meta){ 0 };
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = adopt(s, &e[i], sn->name, m.parent);
	snap_meta_release(&m);
	snaps_list_free(e, n);
	if (rc < 0)
		return rc;
	rc = record_remove(s->dir, sn->name, sn->dir);
	return rc < 0 ? fail_in(rc, "%s", sn->vm) : 0;
}

/* -- all -- */

static void read_entry(const struct snaps *s, struct snap_entry *e,
		       const char *name)
{
	autoclose int dir = openat(s->dir, name, DIR_FLAGS);

	snprintf(e->name, sizeof(e->name), "%s", name);
	e->bad = dir < 0 || load_meta(dir, &e->meta) < 0;
}

static int by_age(const void *a, const void *b)
{
	const struct snap_entry *x = a, *y = b;

	if (x->meta.created != y->meta.created)
		return x->meta.created < y->meta.created ? -1 : 1;
	return strverscmp(x->name, y->name);
}

int snaps_list(const struct snaps *s, struct snap_entry **e, size_t *n)
{
	autofree char **names = NULL;
	int rc = record_list(s->dir, "snap", &names, n);

	*e = NULL;
	if (rc < 0)
		return fail_in(rc, "%s", s->vm->name);
	*e = calloc(*n + 1, sizeof(**e));
	if (!*e)
		return fail(ENOMEM, "%s: out of memory", s->vm->name);
	for (size_t i = 0; i < *n; i++)
		read_entry(s, &(*e)[i], names[i]);
	qsort(*e, *n, sizeof(**e), by_age);
	return 0;
}

void snaps_list_free(struct snap_entry *e, size_t n)
{
	for (size_t i = 0; i < n; i++)
		snap_meta_release(&e[i].meta);
	free(e);
}

int snap_new_name(const struct snaps *s, uint64_t t,
		  char name[NAME_MAX_LEN + 1])
{
	time_t when = t;
	struct stat sb;
	size_t len;
	struct tm tm;

	if (!gmtime_r(&when, &tm))
		return fail(E_USAGE, "%" PRIu64 ": not a time", t);
	len = strftime(name, NAME_MAX_LEN + 1, "%Y%m%d-%H%M%S", &tm);
	for (int i = 2; i < NAME_TRIES; i++) {
		if (s->dir < 0 || (fstatat(s->dir, name, &sb,
					   AT_SYMLINK_NOFOLLOW) < 0 &&
				   errno == ENOENT))
			return 0;
		snprintf(name + len, NAME_MAX_LEN + 1 - len, "-%d", i);
	}
	return fail(E_EXISTS, "%s: %s and others already exist", s->vm->name,
		    name);
}
