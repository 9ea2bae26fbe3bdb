/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * layers_tidy.c - what nothing refers to is removed, or merged with its child.
 */
#include "image/layers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/err.h"
#include "base/file.h"
#include "block/merge.h"
#include "block/qcow2.h"
#include "image/disk.h"
#include "image/layers_graph.h"

struct tidy {
	const struct snaps *s;
	const struct layers_live *live;
	struct layers *l;
	bool *merged;
	char (*later)[LINK_NAME];	/* lower layers that are in use */
	size_t nlater;
};

enum way { WAY_NONE, WAY_DOWN, WAY_UP };

static int sync_dir(const struct tidy *t)
{
	return fsync(t->l->dir) < 0 ? fail_sys("%s: disk", t->s->vm->name) : 0;
}

static int unlink_file(const struct tidy *t, const char *name)
{
	if (unlinkat(t->l->dir, name, 0) < 0 && errno != ENOENT)
		return fail_sys("%s: disk/%s", t->s->vm->name, name);
	return 0;
}

/* -- the first layers -- */

/*
 * A first layer has no number by which it is known as ours once nothing rests
 * on it. So before the last that does is told to rest elsewhere, it is noted,
 * as the empty file .drop.NAME beside it.
 */
static const char drop[] = ".drop.";
enum { DROP_NAME = LINK_NAME + sizeof(drop) };

static int note_drop(const struct tidy *t, const char *name)
{
	char note[DROP_NAME];
	autoclose int fd = -1;
	uint64_t k;
	unsigned n;

	if (layers_number(name, &n, &k))
		return 0;
	snprintf(note, sizeof(note), "%s%s", drop, name);
	fd = openat(t->l->dir, note, O_WRONLY | O_CREAT | O_NOFOLLOW |
		    O_CLOEXEC, 0600);
	if (fd < 0)
		return fail_sys("%s: disk/%s", t->s->vm->name, note);
	return sync_dir(t);
}

static int heed_drop(const struct tidy *t, const char *note)
{
	const char *name = note + strlen(drop);
	int i = layers_find(t->l, name), rc = 0;
	const struct layer_file *f = i < 0 ? NULL : &t->l->file[i];

	if (f && !f->names && !f->children)
		rc = unlink_file(t, name);
	if (rc == 0)
		rc = sync_dir(t);
	return rc == 0 ? unlink_file(t, note) : rc;
}

/* What a merge that was killed wanted to remove. */
static int heed_drops(const struct tidy *t)
{
	int fd = openat(t->l->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int rc = 0;

	if (!list) {
		close_fd(&fd);
		return fail_sys("%s: disk", t->s->vm->name);
	}
	while (rc == 0 && (e = readdir(list)))
		if (starts_with(e->d_name, drop, NULL))
			rc = heed_drop(t, e->d_name);
	closedir(list);
	return rc;
}

/* -- what nothing refers to -- */

static int remove_unused(const struct tidy *t)
{
	bool any = false;
	int rc = 0;

	for (size_t i = 0; i < t->l->nfiles && rc == 0; i++)
		if (!t->l->file[i].used) {
			rc = unlink_file(t, t->l->file[i].name);
			any = true;
		}
	return rc == 0 && any ? sync_dir(t) : rc;
}

/* -- a merge: LOWER, and UPPER, its only child -- */

/* One that is to be left in peace this time. */
static int leave(struct tidy *t, const struct layer_file *lower)
{
	void *more = reallocarray(t->later, t->nlater + 1, sizeof(*t->later));

	if (!more)
		return fail(ENOMEM, "%s: out of memory", t->s->vm->name);
	t->later = more;
	snprintf(t->later[t->nlater++], sizeof(*t->later), "%s", lower->name);
	return 0;
}

static bool is_left(const struct tidy *t, const struct layer_file *f)
{
	for (size_t i = 0; i < t->nlater; i++)
		if (!strcmp(t->later[i], f->name))
			return true;
	return false;
}

static bool is_live(const struct tidy *t, const struct layer_file *f)
{
	return t->live && f->top_of >= 0;
}

/* Whether F can be the lower one of a merge. */
static bool can_merge(const struct tidy *t, const struct layer_file *f)
{
	const struct layer_file *upper;

	if (!f->used || f->pinned || f->names || f->children != 1)
		return false;
	upper = &t->l->file[f->child];
	return f->links == 1 && upper->links == 1 && !is_live(t, upper) &&
		!is_left(t, f);
}

/* Whether those who rest on file UPPER can be told to rest elsewhere. */
static bool can_rest_elsewhere(const struct tidy *t, int upper)
{
	for (size_t i = 0; i < t->l->nfiles; i++) {
		const struct layer_file *f = &t->l->file[i];

		if (f->below == upper && is_live(t, f) && !t->live->rest)
			return false;
	}
	return true;
}

/*
 * The disk whose layers F belongs to, as far as what lies outside of disk/ is
 * concerned: some config that names what rests on F.
 */
static const struct disk_conf *conf_of(const struct layers *l, int f)
{
	for (size_t u = 0; u < l->nusers; u++)
		for (int d = 0; d < VMCONF_DISKS; d++)
			for (int i = l->user[u].file[d]; i >= 0;
			     i = l->file[i].below)
				if (i == f)
					return &l->user[u].conf.disk[d];
	return NULL;
}

/* File I, to be read, with what lies below it. */
static int open_below(const struct tidy *t, int i, const struct disk_conf *d,
		      struct block **out)
{
	char path[LINK_NAME + 8];
	struct disk_conf below = *d;

	snprintf(path, sizeof(path), "disk/%s", t->l->file[i].name);
	below.path = path;
	below.format = t->l->file[i].format;
	below.block_size = 0;
	return disk_open_below(out, t->s->vm->dir, t->s->vm->store, &below);
}

/*
 * File LOWER, for USE, over what it rests on; and UPPER over it. All are *OUT's
 * to close.
 */
static int open_pair(const struct tidy *t, int lower, enum lock_use lower_use,
		     enum lock_use upper_use, struct block **out)
{
	const struct layer_file *f = &t->l->file[lower];
	const struct layer_file *up = &t->l->file[f->child];
	const struct disk_conf *d = conf_of(t->l, lower);
	struct block *below = NULL, *b = NULL;
	int rc = d ? 0 : fail(E_CONFIG, "disk/%s: no disk's", f->name);

	if (rc == 0 && f->format == FORMAT_QCOW2)
		rc = open_below(t, lower, d, &below);
	if (rc == 0)
		rc = f->format == FORMAT_RAW ?
			raw_open_at(&b, t->l->dir, f->name, lower_use) :
			qcow2_open_at(&b, t->l->dir, f->name, lower_use, below);
	if (rc < 0) {
		block_close(below);
		return rc;
	}
	rc = qcow2_open_at(out, t->l->dir, up->name, upper_use, b);
	if (rc < 0)
		block_close(b);
	return rc;
}

/* Which way LOWER is to be merged with its child. */
static int choose(const struct tidy *t, int lower, enum way *way)
{
	struct merge_cost cost = { 0 };
	struct block *b;
	bool down, up;
	int rc = open_pair(t, lower, LOCK_READER, LOCK_READER, &b);

	*way = WAY_NONE;
	if (rc < 0)
		return rc;
	rc = merge_cost(b, &cost);
	block_close(b);
	if (rc < 0)
		return rc;
	down = cost.down != UINT64_MAX &&
	       can_rest_elsewhere(t, t->l->file[lower].child);
	up = cost.up != UINT64_MAX;
	if (t->live && t->live->qemu) {
		down = down && cost.beside_qemu;
		up = false;
	}
	if (down && (!up || cost.down <= cost.up))
		*way = WAY_DOWN;
	else if (up)
		*way = WAY_UP;
	return 0;
}

/* The header of the file NAME names BACKING from here on. */
static int rename_below(const struct tidy *t, const char *name,
			const char *backing, const char *format)
{
	autoclose int fd = file_open(t->l->dir, name, O_RDWR | O_NOFOLLOW, 0);
	int rc = fd < 0 ? fd : qcow2_rebase(fd, backing, format);

	return rc < 0 && fd >= 0 ? fail_in(rc, "%s", name) : rc;
}

/* -- up -- */

/* UPPER rests on what LOWER rests on. */
static int skip_lower(const struct tidy *t, const struct layer_file *lower,
		      const struct layer_file *upper)
{
	autoclose int fd = -1;
	struct qcow2_info info = { 0 };
	int rc = 0;

	if (lower->format == FORMAT_QCOW2) {
		rc = fd = file_open(t->l->dir, lower->name, O_RDONLY |
				    O_NOFOLLOW, 0);
		if (rc >= 0)
			rc = qcow2_info(fd, &info);
	}
	if (rc == 0)
		rc = rename_below(t, upper->name, info.backing,
				  info.backing_format);
	qcow2_info_release(&info);
	return rc;
}

static int merge_with_upper(const struct tidy *t, int i)
{
	const struct layer_file *lower = &t->l->file[i];
	const struct layer_file *upper = &t->l->file[lower->child];
	struct block *b;
	int rc = open_pair(t, i, LOCK_READER, LOCK_MERGER, &b);

	if (rc < 0)
		return rc;
	rc = merge_up(b);
	block_close(b);
	if (rc == 0)
		rc = note_drop(t, lower->name);
	if (rc == 0)
		rc = skip_lower(t, lower, upper);
	if (rc < 0)
		return rc;
	*t->merged = true;
	rc = unlink_file(t, lower->name);
	if (rc == 0)
		rc = sync_dir(t);
	if (rc == 0) {
		char note[DROP_NAME];

		snprintf(note, sizeof(note), "%s%s", drop, lower->name);
		rc = unlink_file(t, note);
	}
	return rc;
}

/* -- down -- */

/* Those that rest on file UPPER rest on LOWER. */
static int move_children(const struct tidy *t, int upper,
			 const struct layer_file *lower)
{
	int rc = 0;

	for (size_t i = 0; i < t->l->nfiles && rc == 0; i++) {
		const struct layer_file *f = &t->l->file[i];

		if (f->below != upper)
			continue;
		if (!is_live(t, f))
			rc = rename_below(t, f->name, lower->name,
					  disk_formats[lower->format]);
		else if (t->live->rest(t->live->arg, f->top_of, lower->name,
				       lower->format) < 0)
			rc = -E_BUSY;	/* both stay, and show the same */
	}
	return rc;
}

static int set_config(const struct tidy *t, const struct layer_user *u)
{
	struct snap sn;
	int rc;

	if (!u->snap[0])
		return vm_set_config(t->s->vm, &u->config);
	rc = snap_open(&sn, t->s, u->snap);
	if (rc < 0)
		return rc;
	rc = snap_set_config(&sn, &u->config);
	snap_close(&sn);
	return rc;
}

/* If U names file UPPER, it names LOWER. */
static int move_user(const struct tidy *t, struct layer_user *u, int upper,
		     const struct layer_file *lower)
{
	char path[LINK_NAME + 8], key[16];
	bool any = false;
	int rc = 0;

	snprintf(path, sizeof(path), "disk/%s", lower->name);
	for (int d = 0; d < VMCONF_DISKS && rc == 0; d++) {
		autobuf struct buf line = BUF_INIT;

		if (u->file[d] != upper)
			continue;
		any = true;
		snprintf(key, sizeof(key), "disk%d", d);
		layers_edit(config_get(&u->config, key), path, lower->format,
			    NULL, &line);
		rc = line.failed ? fail(ENOMEM, "out of memory") :
				   config_set(&u->config, key, line.data);
	}
	return rc == 0 && any ? set_config(t, u) : rc;
}

static int merge_with_lower(const struct tidy *t, int i)
{
	const struct layer_file *lower = &t->l->file[i];
	int upper = lower->child;
	struct block *b;
	int rc = open_pair(t, i, LOCK_MERGER, LOCK_READER, &b);

	if (rc < 0)
		return rc;
	rc = merge_down(b);
	block_close(b);
	/* both show the same from here on */
	if (rc == 0)
		rc = move_children(t, upper, lower);
	for (size_t u = 0; u < t->l->nusers && rc == 0; u++)
		rc = move_user(t, &t->l->user[u], upper, lower);
	if (rc < 0)
		return rc;
	*t->merged = true;
	rc = unlink_file(t, t->l->file[upper].name);
	return rc == 0 ? sync_dir(t) : rc;
}

/* -- all -- */

static int merge(struct tidy *t, int i)
{
	enum way way;
	int rc = choose(t, i, &way);

	if (rc == 0 && way == WAY_UP)
		rc = merge_with_upper(t, i);
	else if (rc == 0 && way == WAY_DOWN)
		rc = merge_with_lower(t, i);
	if (rc == -E_BUSY || (rc == 0 && way == WAY_NONE))
		return leave(t, &t->l->file[i]);
	return rc < 0 ? fail_in(rc, "%s: merging disk/%s", t->s->vm->name,
				t->l->file[i].name) : 0;
}

/* 1: something was merged or left for later, 0: there was nothing. */
static int step(struct tidy *t)
{
	int rc = layers_load(&t->l, t->s);

	if (rc < 0 || t->l->dir < 0)
		return rc;
	rc = remove_unused(t);
	for (size_t i = 0; i < t->l->nfiles && rc == 0; i++)
		if (can_merge(t, &t->l->file[i])) {
			rc = merge(t, i);
			return rc < 0 ? rc : 1;
		}
	return rc;
}

static int begin(struct tidy *t)
{
	int rc = layers_load(&t->l, t->s);

	if (rc == 0 && t->l->dir >= 0)
		rc = heed_drops(t);
	layers_free(take_ptr(t->l));
	return rc;
}

int layers_tidy(const struct snaps *s, const struct layers_live *live,
		bool *merged)
{
	bool ignored;
	struct tidy t = { .s = s, .live = live,
			  .merged = merged ? merged : &ignored };
	int rc = begin(&t);

	*t.merged = false;
	record_sweep(s->dir);
	do {
		if (rc >= 0)
			rc = step(&t);
		layers_free(take_ptr(t.l));
	} while (rc > 0);
	free(t.later);
	return rc;
}
