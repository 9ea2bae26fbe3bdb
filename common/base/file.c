/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/err.h"

enum {
	NAME_BYTES = 256,
	REPLACERS_MAX = 64,	/* of one file at the same time */
};

ssize_t read_up_to(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += n;
	}
	return done;
}

int read_all(int fd, void *buf, size_t len)
{
	ssize_t n = read_up_to(fd, buf, len);

	if (n < 0)
		return n;
	return (size_t)n < len ? -ENODATA : 0;
}

int write_all(int fd, const void *buf, size_t len)
{
	for (const char *p = buf; len;) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= n;
	}
	return 0;
}

int pread_all(int fd, void *buf, size_t len, off_t off)
{
	for (char *p = buf; len;) {
		ssize_t n = pread(fd, p, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

int pwrite_all(int fd, const void *buf, size_t len, off_t off)
{
	for (const char *p = buf; len;) {
		ssize_t n = pwrite(fd, p, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

/* As file_open(); *SB is what the file was then. */
static int open_regular(int dirfd, const char *name, int flags, mode_t mode,
			struct stat *sb)
{
	autoclose int fd = openat(dirfd, name, flags | O_CLOEXEC | O_NONBLOCK |
				  O_NOCTTY, mode);

	if (fd < 0 && errno == ELOOP && (flags & O_NOFOLLOW))
		return fail(E_CONFIG, "%s: a symbolic link", name);
	/* what cannot be opened for writing because of its kind */
	if (fd < 0 && (errno == ENXIO || errno == EISDIR))
		return fail(E_CONFIG, "%s: not a regular file", name);
	if (fd < 0 || fstat(fd, sb) < 0)
		return fail_sys("%s", name);
	if (!S_ISREG(sb->st_mode))
		return fail(E_CONFIG, "%s: not a regular file", name);
	return take_fd(&fd);
}

int file_open(int dirfd, const char *name, int flags, mode_t mode)
{
	struct stat sb;

	return open_regular(dirfd, name, flags, mode, &sb);
}

bool file_same(int dirfd, const char *name, int fd)
{
	struct stat a, b;

	return fstatat(dirfd, name, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstat(fd, &b) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Goes on until the end, or, SIZE not 0, until there are so many bytes. */
static int read_on(int fd, const char *name, struct buf *b, size_t max,
		   uint64_t size)
{
	size_t start = b->len;
	ssize_t n;

	for (;;) {
		if (!buf_grow(b, 4096))
			return fail(ENOMEM, "%s: out of memory", name);
		n = read(fd, b->data + b->len, b->size - b->len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_sys("%s", name);
		if (n == 0)
			return 0;
		b->len += n;
		b->data[b->len] = '\0';
		if (b->len - start > max)
			return fail(EFBIG, "%s: larger than %zu bytes", name,
				    max);
		if (b->len - start == size)
			return 0;
	}
}

int file_read(int dirfd, const char *name, struct buf *b, size_t max)
{
	struct stat sb;
	autoclose int fd = open_regular(dirfd, name, O_RDONLY | O_NOFOLLOW, 0,
					&sb);

	/* of a file in /proc the size is 0 */
	return fd < 0 ? fd : read_on(fd, name, b, max, sb.st_size);
}

int fd_read(int fd, const char *name, struct buf *b, size_t max)
{
	return read_on(fd, name, b, max, 0);
}

/*
 * Opens the temporary file TMP for this process alone: its lock goes with a
 * process that dies, so what that one left is taken over. -EBUSY: another
 * process is just writing it.
 */
static int open_tmp(int dirfd, const char *tmp, mode_t mode)
{
	autoclose int fd = file_open(dirfd, tmp, O_WRONLY | O_CREAT |
				     O_NOFOLLOW, mode);

	if (fd < 0)
		return fd;
	/* between open and lock its former owner may have renamed it */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 || !file_same(dirfd, tmp, fd))
		return fail(EBUSY, "%s: in use", tmp);
	if (ftruncate(fd, 0) < 0)
		return fail_sys("%s", tmp);
	return take_fd(&fd);
}

/* Makes DATA durable in FD, open as TMP, and renames it to NAME. */
static int write_rename(int dirfd, int fd, const char *tmp, const char *name,
			const void *data, size_t len)
{
	int rc = write_all(fd, data, len);

	if (rc == 0 && (fsync(fd) < 0 ||
			renameat(dirfd, tmp, dirfd, name) < 0))
		rc = -errno;
	if (rc < 0) {
		unlinkat(dirfd, tmp, 0);
		return fail(-rc, "%s: %s", name, strerror(-rc));
	}
	return fsync(dirfd) < 0 ? fail_sys("%s", name) : 0;
}

int file_replace(int dirfd, const char *name, const void *data, size_t len,
		 mode_t mode)
{
	autoclose int fd = -EBUSY;
	char tmp[NAME_BYTES];

	for (int i = 0; fd == -EBUSY && i < REPLACERS_MAX; i++) {
		if (snprintf(tmp, sizeof(tmp), ".%s.new%d", name, i) >=
		    (int)sizeof(tmp))
			return fail(ENAMETOOLONG, "%s: name too long", name);
		fd = open_tmp(dirfd, tmp, mode);
	}
	if (fd < 0)	/* NAME is what the caller knows */
		return fd > -E_BASE ? fail(-fd, "%s: %s", name, strerror(-fd))
				    : fd;
	return write_rename(dirfd, fd, tmp, name, data, len);
}

/* Makes the directory PATH, its name durable; one that is there will do. */
static int make_dir(const char *path)
{
	autoclose int fd = -1, parent = -1;

	if (mkdir(path, 0700) < 0) {
		/* a read-only parent of one that exists is no reason */
		if (errno != EEXIST && access(path, F_OK) < 0)
			return fail_sys("%s", path);
		return 0;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* a parent that may be searched and written but not read: its loss */
	if (parent >= 0 && fsync(parent) < 0)
		return fail_sys("%s", path);
	return 0;
}

int make_dirs(const char *path)
{
	autofree char *copy = strdup(path);

	if (!copy)
		return fail(ENOMEM, "%s: out of memory", path);
	for (char *p = copy + (*copy == '/');; p++) {
		if (*p && *p != '/')
			continue;
		char sep = *p;
		int rc;

		*p = '\0';
		rc = make_dir(copy);
		if (rc < 0)
			return rc;
		*p = sep;
		if (!sep)
			return 0;
	}
}

/* Empties the directory FD, which closedir() closes. */
static int remove_entries(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	int rc = 0;

	if (!dir) {
		rc = fail_sys("open directory");
		close(fd);
		return rc;
	}
	while (rc == 0 && (e = readdir(dir)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			rc = remove_tree(dirfd(dir), e->d_name);
	closedir(dir);
	return rc;
}

int remove_tree(int dirfd, const char *name)
{
	int fd, rc;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return fail_sys("%s", name);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
		    O_CLOEXEC);
	if (fd < 0)
		return fail_sys("%s", name);
	rc = remove_entries(fd);
	if (rc < 0)
		return fail_in(rc, "%s", name);
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return fail_sys("%s", name);
	return 0;
}
