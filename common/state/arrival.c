/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/arrival.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "base/file.h"
#include "state/record.h"

enum { TEXT_MAX = 256 << 10 };

static const char word[] = "part of a snapshot", place[] = "partial";

static int lock_it(struct arrival *a)
{
	int rc = record_lock(a->parent, word, a->id, a->dir, false, &a->lock);

	if (rc == 0)
		return fail(E_BUSY, "another command is receiving it");
	return rc < 0 ? rc : 0;
}

int arrival_open(struct arrival *a, const struct store *st, const char *id)
{
	int rc;

	snprintf(a->id, sizeof(a->id), "%s", id);
	a->parent = store_dir(st, place, false);
	if (a->parent < 0 && a->parent != -ENOENT)
		return a->parent;
	rc = a->dir = record_open(a->parent, word, id);
	return rc < 0 ? rc : lock_it(a);
}

/* Removes what is locked. */
static int clear(struct arrival *a)
{
	int rc = record_remove(a->parent, a->id, a->dir);

	close_fd(&a->lock);
	close_fd(&a->dir);
	a->lock = a->dir = -1;
	return rc;
}

int arrival_begin(struct arrival *a, const struct store *st, const char *id)
{
	int rc = arrival_open(a, st, id);

	if (rc == 0)
		rc = clear(a);
	if (rc < 0 && rc != -E_NOENT)
		return rc;
	if (a->parent < 0)
		rc = a->parent = store_dir(st, place, true);
	else
		rc = 0;
	if (rc < 0)
		return rc;
	if (mkdirat(a->parent, id, 0700) < 0 && errno != EEXIST)
		return fail_sys("%s/%s", place, id);
	rc = a->dir = record_open(a->parent, word, id);
	return rc < 0 ? rc : lock_it(a);
}

void arrival_close(struct arrival *a)
{
	close_fd(&a->lock);
	close_fd(&a->dir);
	close_fd(&a->parent);
	*a = (struct arrival)ARRIVAL_INIT;
}

void arrival_remove(struct arrival *a)
{
	if (a->lock >= 0)
		clear(a);
	arrival_close(a);
}

int arrival_put(const struct arrival *a, const char *file,
		const struct buf *text)
{
	if (text->failed)
		return fail(ENOMEM, "out of memory");
	return file_replace(a->dir, file, text->data, text->len, 0600);
}

int arrival_get(const struct arrival *a, const char *file, struct buf *text)
{
	return file_read(a->dir, file, text, TEXT_MAX);
}

/* Whether nobody will go on with the one in DIR. */
static bool is_stale(int dir)
{
	struct stat sb;

	return fstatat(dir, "point", &sb, AT_SYMLINK_NOFOLLOW) < 0 ||
	       sb.st_mtime < time(NULL) - ARRIVAL_DAYS * 86400L;
}

static void sweep_one(const struct store *st, const char *id)
{
	struct arrival a = ARRIVAL_INIT;

	if (arrival_open(&a, st, id) == 0 && is_stale(a.dir))
		arrival_remove(&a);
	arrival_close(&a);
}

void arrival_sweep(const struct store *st)
{
	autoclose int parent = store_dir(st, place, false);
	autofree char **names = NULL;
	size_t n;

	record_sweep(parent);
	if (parent < 0 || record_list(parent, place, &names, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		sweep_one(st, names[i]);
}

int arrival_each(const struct store *st,
		 void (*fn)(int dir, const char *id, void *arg), void *arg)
{
	autoclose int parent = store_dir(st, place, false);
	autofree char **names = NULL;
	size_t n;
	int rc;

	if (parent == -ENOENT)
		return 0;
	rc = parent < 0 ? parent : record_list(parent, place, &names, &n);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n; i++) {
		autoclose int dir = record_open(parent, word, names[i]);

		if (dir >= 0 && faccessat(dir, "point", F_OK,
					  AT_SYMLINK_NOFOLLOW) == 0)
			fn(dir, names[i], arg);
	}
	return 0;
}
