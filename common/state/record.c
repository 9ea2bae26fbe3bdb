/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"

enum {
	DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
	TRIES = 100,		/* of a name for a temporary directory */
	SYNC_EACH = 4,		/* new records made durable one by one */
};

/* -- a record that is there -- */

static int no_such(const char *what, const char *name)
{
	return fail(E_NOENT, "%s: no such %s", name, what);
}

int record_open(int parent, const char *what, const char *name)
{
	int rc = name_check(what, name), fd;

	if (rc < 0)
		return rc;
	if (parent < 0)
		return no_such(what, name);
	fd = openat(parent, name, DIR_FLAGS);
	if (fd >= 0)
		return fd;
	if (errno == ENOENT)
		return no_such(what, name);
	if (errno == ENOTDIR)
		return fail(E_CONFIG, "%s: not a directory", name);
	return fail_sys("%s", name);
}

/* 1: FD's file is ours by TYPE, 0: someone else's, -errno. */
static int lock_file(int fd, short type)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
		return 1;
	return errno == EAGAIN || errno == EACCES ? 0 : -errno;
}

int record_lock(int parent, const char *what, const char *name, int dir,
		bool shared, int *lock)
{
	autoclose int fd = file_open(dir, "lock", (shared ? O_RDONLY :
				     O_RDWR | O_CREAT) | O_NOFOLLOW, 0600);
	int rc;

	if (fd == -ENOENT)	/* the directory itself was removed */
		return no_such(what, name);
	if (fd < 0)
		return fail_in(fd, "%s", name);
	rc = lock_file(fd, shared ? F_RDLCK : F_WRLCK);
	if (rc < 0)
		return fail(-rc, "%s: lock: %s", name, strerror(-rc));
	if (rc == 0 || !file_same(dir, "lock", fd))
		return 0;
	if (!file_same(parent, name, dir))
		return no_such(what, name);
	*lock = take_fd(&fd);
	return 1;
}

int record_locked(const char *name, int dir)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	autoclose int fd = file_open(dir, "lock", O_RDONLY | O_NOFOLLOW, 0);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fail_in(fd, "%s", name);
	if (fcntl(fd, F_OFD_GETLK, &fl) < 0)
		return fail_sys("%s: lock", name);
	return fl.l_type != F_UNLCK;
}

/* -- directories on their way in and out: .NAME.new.PID-N, .NAME.old.PID-N -- */

static void tmp_name(char *tmp, size_t size, const char *name,
		     const char *kind, int n)
{
	snprintf(tmp, size, ".%s.%s.%d-%d", name, kind, getpid(), n);
}

static bool is_tmp_name(const char *name)
{
	return name[0] == '.' && (strstr(name, ".new.") ||
				  strstr(name, ".old."));
}

/* A stream of the names in directory FD, which stays the caller's. */
static DIR *list_dir(int fd)
{
	int again = openat(fd, ".", DIR_FLAGS);
	DIR *dir = again < 0 ? NULL : fdopendir(again);

	if (!dir)
		close_fd(&again);
	return dir;
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/*
 * Removes the directory NAME, open as DIR, whose lock the caller holds. The
 * lock's file goes last: one without it is empty, or was never filled.
 */
static int remove_record(int parent, const char *name, int dir)
{
	DIR *list = list_dir(dir);
	struct dirent *e;
	int rc = 0;

	if (!list)
		return fail_sys("%s", name);
	while (rc == 0 && (e = readdir(list)))
		if (!is_dots(e->d_name) && strcmp(e->d_name, "lock"))
			rc = remove_tree(dir, e->d_name);
	closedir(list);
	if (rc < 0)
		return fail_in(rc, "%s", name);
	if ((unlinkat(dir, "lock", 0) < 0 && errno != ENOENT) ||
	    unlinkat(parent, name, AT_REMOVEDIR) < 0)
		return fail_sys("%s", name);
	return 0;
}

/* Renames NAME to TMP of KIND "old", a name that was free. */
static int rename_away(int parent, const char *name, char *tmp, size_t size)
{
	for (int n = 0; n < TRIES; n++) {
		tmp_name(tmp, size, name, "old", n);
		if (renameat(parent, name, parent, tmp) == 0)
			return fsync(parent) < 0 ? fail_sys("%s", name) : 0;
		if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
			break;
	}
	return fail_sys("%s", name);
}

int record_remove(int parent, const char *name, int dir)
{
	char tmp[STAGE_TMP_BYTES];
	int rc = rename_away(parent, name, tmp, sizeof(tmp));

	if (rc < 0)
		return rc;
	rc = remove_record(parent, tmp, dir);
	return rc < 0 ? fail_in(rc, "%s: removed, but not all of it", name) :
			0;
}

/*
 * A maker locks its directory's lock as soon as it made it, and looks whether
 * both are still there; so what has no lock file, or a free one, is nobody's
 * or its maker will notice. The lock may also be free because what was opened
 * as NAME has become a record meanwhile.
 */
static void sweep(int parent, const char *name)
{
	autoclose int dir = openat(parent, name, DIR_FLAGS), lock = -1;

	if (dir < 0)
		return;
	lock = file_open(dir, "lock", O_RDWR | O_NOFOLLOW, 0);
	if (lock == -ENOENT)
		unlinkat(parent, name, AT_REMOVEDIR);
	else if (lock >= 0 && lock_file(lock, F_WRLCK) == 1 &&
		 file_same(parent, name, dir))
		remove_record(parent, name, dir);
}

void record_sweep(int parent)
{
	DIR *list = parent < 0 ? NULL : list_dir(parent);
	struct dirent *e;

	if (!list)
		return;
	while ((e = readdir(list)))
		if (is_tmp_name(e->d_name))
			sweep(parent, e->d_name);
	closedir(list);
}

/* -- new records -- */

/* The lock of DIR, which is S's new directory. As make_stage(). */
static int lock_stage(struct stage *s, int dir)
{
	autoclose int lock = openat(dir, "lock", O_RDWR | O_CREAT | O_EXCL |
				    O_CLOEXEC, 0600);
	int rc;

	if (lock < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = lock_file(lock, F_WRLCK);
	if (rc <= 0)
		return rc;
	if (!file_same(dir, "lock", lock))
		return 0;
	s->lock = take_fd(&lock);
	return 1;
}

/* 1: made and locked, 0: the name was taken or swept away, -errno. */
static int make_stage(struct stage *s)
{
	autoclose int dir = -1;
	int rc;

	if (mkdirat(s->parent, s->tmp, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	dir = openat(s->parent, s->tmp, DIR_FLAGS);
	if (dir < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = lock_stage(s, dir);
	if (rc > 0)
		s->dir = take_fd(&dir);
	if (rc < 0) {
		unlinkat(dir, "lock", 0);
		unlinkat(s->parent, s->tmp, AT_REMOVEDIR);
	}
	return rc;
}

static int exists(const char *name)
{
	return fail(E_EXISTS, "%s: already exists", name);
}

int stage_open(struct stage *s, int parent, const char *what, const char *name)
{
	struct stat sb;
	int rc = name_check(what, name);

	*s = (struct stage){ .parent = parent, .dir = -1, .lock = -1 };
	if (rc < 0)
		return rc;
	snprintf(s->name, sizeof(s->name), "%s", name);
	if (fstatat(parent, name, &sb, AT_SYMLINK_NOFOLLOW) == 0)
		return exists(name);
	for (int n = 0; rc == 0 && n < TRIES; n++) {
		tmp_name(s->tmp, sizeof(s->tmp), name, "new", n);
		rc = make_stage(s);
	}
	if (rc == 0)
		return fail(E_BUSY, "%s: %s and others are in the way", name,
			    s->tmp);
	return rc < 0 ? fail(-rc, "%s: %s", name, strerror(-rc)) : 0;
}

int stage_write(struct stage *s, const char *file, const void *data,
		size_t len)
{
	autoclose int fd = openat(s->dir, file, O_WRONLY | O_CREAT | O_TRUNC |
				  O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc = fd < 0 ? -errno : write_all(fd, data, len);

	return rc < 0 ? fail(-rc, "%s: %s: %s", s->name, file, strerror(-rc))
		      : 0;
}

static int sync_entry(int dir, const struct dirent *e);

/* fsync() of directory DIR and of all below it. 0 or -errno. */
static int sync_tree(int dir)
{
	DIR *list = list_dir(dir);
	struct dirent *e;
	int rc = 0;

	if (!list)
		return -errno;
	while (rc == 0 && (e = readdir(list)))
		if (!is_dots(e->d_name))
			rc = sync_entry(dir, e);
	closedir(list);
	return rc == 0 && fsync(dir) < 0 ? -errno : rc;
}

static int sync_entry(int dir, const struct dirent *e)
{
	autoclose int fd = openat(dir, e->d_name, O_RDONLY | O_NOFOLLOW |
				  O_NONBLOCK | O_CLOEXEC);
	struct stat sb;

	if (fd < 0 && (errno == ELOOP || errno == ENXIO))
		return 0;	/* a link or a socket has nothing to sync */
	if (fd < 0 || fstat(fd, &sb) < 0)
		return -errno;
	if (S_ISDIR(sb.st_mode))
		return sync_tree(fd);
	return S_ISREG(sb.st_mode) && fsync(fd) < 0 ? -errno : 0;
}

/*
 * A few are cheaper one by one, and need not wait for what everyone else on
 * the file system wrote; many are cheaper in one go: 1,000 VMs take 20 ms
 * instead of 230 ms.
 */
static void sync_stages(struct stage *s, size_t n)
{
	int rc = 0;

	if (n > SYNC_EACH && syncfs(s->parent) < 0)
		rc = -errno;
	for (size_t i = 0; i < n; i++)
		s[i].rc = n > SYNC_EACH ? rc : sync_tree(s[i].dir);
}

/*
 * A directory replaces no other that holds something, and a record's holds at
 * least its lock; so this rename never hides a record.
 */
static void rename_stage(struct stage *s)
{
	if (s->rc < 0)
		return;
	if (renameat(s->parent, s->tmp, s->parent, s->name) == 0)
		s->published = true;
	else if (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR)
		s->rc = -E_EXISTS;
	else
		s->rc = -errno;
}

/* Sets the sentence for what became of S. */
static int stage_result(const struct stage *s)
{
	if (s->rc == -E_EXISTS)
		return exists(s->name);
	return s->rc < 0 ? fail(-s->rc, "%s: %s", s->name, strerror(-s->rc))
			 : 0;
}

int stage_publish(struct stage *s, size_t n,
		  void (*done)(struct stage *s, int rc, void *arg), void *arg)
{
	int rc = 0, first = 0;

	if (!n)
		return 0;
	sync_stages(s, n);
	for (size_t i = 0; i < n; i++)
		rename_stage(&s[i]);
	if (fsync(s->parent) < 0)
		rc = -errno;
	for (size_t i = 0; i < n; i++) {
		/* whoever hears of it may use it at once */
		if (s[i].published) {
			close_fd(&s[i].lock);
			s[i].lock = -1;
			s[i].rc = rc;
		}
		first = first < 0 ? first : s[i].rc;
		done(&s[i], stage_result(&s[i]), arg);
	}
	return first;
}

void stage_close(struct stage *s)
{
	if (s->dir >= 0 && !s->published)
		remove_record(s->parent, s->tmp, s->dir);
	close_fd(&s->dir);
	close_fd(&s->lock);
	s->dir = s->lock = -1;
}

/* -- all of them -- */

static bool is_record(int parent, const struct dirent *e)
{
	struct stat sb;

	if (!name_ok(e->d_name))
		return false;
	if (e->d_type != DT_UNKNOWN)
		return e->d_type == DT_DIR;
	return fstatat(parent, e->d_name, &sb, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISDIR(sb.st_mode);
}

/* Appends the names with a NUL behind each; their number or -errno. */
static ssize_t read_names(int parent, const char *path, struct buf *b)
{
	DIR *list = list_dir(parent);
	struct dirent *e;
	ssize_t n = 0;

	if (!list)
		return fail_sys("%s", path);
	while ((errno = 0, e = readdir(list)))
		if (is_record(parent, e)) {
			buf_add(b, e->d_name, strlen(e->d_name) + 1);
			n++;
		}
	if (errno)
		n = fail_sys("%s", path);
	closedir(list);
	return n;
}

static int by_version(const void *a, const void *b)
{
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

int record_list(int parent, const char *path, char ***names, size_t *n)
{
	autobuf struct buf b = BUF_INIT;
	ssize_t count = parent < 0 ? 0 : read_names(parent, path, &b);
	char *text;

	*names = NULL;
	*n = 0;
	if (count < 0)
		return count;
	if (!b.failed)
		*names = malloc(count * sizeof(**names) + b.len + 1);
	if (!*names)
		return fail(ENOMEM, "%s: out of memory", path);
	text = (char *)(*names + count);
	memcpy(text, b.data, b.len);
	for (ssize_t i = 0; i < count; i++, text += strlen(text) + 1)
		(*names)[i] = text;
	qsort(*names, count, sizeof(**names), by_version);
	*n = count;
	return 0;
}
