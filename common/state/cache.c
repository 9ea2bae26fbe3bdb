/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "base/file.h"

enum {
	DAY = 24 * 60 * 60,
	TRIES = 100,
};

/* The name of SOURCE's entry. */
static int entry_name(int source, char *name)
{
	typedef unsigned long long ull;
	struct stat sb;

	if (fstat(source, &sb) < 0)
		return fail_sys("cache");
	snprintf(name, CACHE_NAME_BYTES,
		 "kernel-%llx-%llx-%llx-%llx.%lx-%llx.%lx",
		 (ull)sb.st_dev, (ull)sb.st_ino, (ull)sb.st_size,
		 (ull)sb.st_mtim.tv_sec, sb.st_mtim.tv_nsec,
		 (ull)sb.st_ctim.tv_sec, sb.st_ctim.tv_nsec);
	return 0;
}

/* Whether the mtime of SB is more than DAYS ago. */
static bool is_older(const struct stat *sb, int days)
{
	return sb->st_mtim.tv_sec < time(NULL) - (time_t)days * DAY;
}

/* Marks it used, once a day; on a read-only state nothing is swept either. */
static void touch(int fd)
{
	struct stat sb;

	if (fstat(fd, &sb) == 0 && is_older(&sb, 1))
		(void)!futimens(fd, NULL);
}

int cache_find(const struct store *st, int source)
{
	autoclose int dir = store_dir(st, "cache", false);
	char name[CACHE_NAME_BYTES];
	int rc = dir < 0 ? dir : entry_name(source, name), fd;

	if (rc < 0)
		return rc;
	fd = file_open(dir, name, O_RDONLY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fail_in(fd, "%s/cache", st->path);
	touch(fd);
	return fd;
}

int cache_begin(struct cache_entry *e, const struct store *st, int source)
{
	int rc;

	*e = (struct cache_entry){ .fd = -1, .source = source };
	e->dir = rc = store_dir(st, "cache", true);
	if (rc >= 0)
		rc = entry_name(source, e->name);
	for (int n = 0; rc == 0 && e->fd < 0 && n < TRIES; n++) {
		snprintf(e->tmp, sizeof(e->tmp), ".new.%d-%d", getpid(), n);
		e->fd = openat(e->dir, e->tmp, O_RDWR | O_CREAT | O_EXCL |
			       O_CLOEXEC, 0600);
		if (e->fd < 0 && errno != EEXIST)
			break;
	}
	if (rc == 0 && e->fd < 0)
		rc = fail_sys("%s/cache", st->path);
	if (rc < 0) {
		close_fd(&e->dir);
		e->dir = -1;
	}
	return rc < 0 ? rc : 0;
}

/*
 * Removes what was not used for long. What is being made is no older than a
 * day, so an older one's maker is gone.
 */
static void sweep(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat sb;

	if (!dir) {
		close_fd(&fd);
		return;
	}
	while ((e = readdir(dir)))
		if (fstatat(dirfd, e->d_name, &sb, AT_SYMLINK_NOFOLLOW) == 0 &&
		    !S_ISDIR(sb.st_mode) &&
		    is_older(&sb, e->d_name[0] == '.' ? 1 : CACHE_DAYS))
			unlinkat(dirfd, e->d_name, 0);
	closedir(dir);
}

int cache_commit(struct cache_entry *e)
{
	char now[CACHE_NAME_BYTES];
	int rc = entry_name(e->source, now);

	if (rc < 0)
		return rc;
	if (strcmp(now, e->name))
		return fail(E_AGAIN, "was changed while it was read");
	if (fsync(e->fd) < 0 ||
	    renameat(e->dir, e->tmp, e->dir, e->name) < 0)
		return fail_sys("cache: %s", e->name);
	e->tmp[0] = '\0';
	if (fsync(e->dir) < 0)
		return fail_sys("cache: %s", e->name);
	sweep(e->dir);
	return 0;
}

void cache_end(struct cache_entry *e)
{
	if (e->dir >= 0 && e->tmp[0])
		unlinkat(e->dir, e->tmp, 0);
	close_fd(&e->fd);
	close_fd(&e->dir);
	e->fd = e->dir = -1;
}
