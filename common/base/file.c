/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"

enum { NAME_BYTES = 256 };

int read_all(int fd, void *buf, size_t len)
{
	for (char *p = buf; len;) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		p += n;
		len -= n;
	}
	return 0;
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

int file_read(int dirfd, const char *name, struct buf *b, size_t max)
{
	autoclose int fd = openat(dirfd, name,
				  O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	size_t start = b->len;
	ssize_t n;

	if (fd < 0)
		return fail_sys("%s", name);
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
	}
}

/* Writes DATA into the new file TMP and makes it durable. */
static int write_new(int dirfd, const char *tmp, const void *data, size_t len,
		     mode_t mode)
{
	autoclose int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC |
				  O_CLOEXEC | O_NOFOLLOW, mode);
	int rc;

	if (fd < 0)
		return -errno;
	rc = write_all(fd, data, len);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	return rc;
}

int file_replace(int dirfd, const char *name, const void *data, size_t len,
		 mode_t mode)
{
	char tmp[NAME_BYTES];
	int rc;

	if (snprintf(tmp, sizeof(tmp), ".%s.new", name) >= (int)sizeof(tmp))
		return fail(ENAMETOOLONG, "%s: name too long", name);
	rc = write_new(dirfd, tmp, data, len, mode);
	if (rc == 0 && renameat(dirfd, tmp, dirfd, name) < 0)
		rc = -errno;
	if (rc < 0) {
		unlinkat(dirfd, tmp, 0);
		return fail(-rc, "%s: %s", name, strerror(-rc));
	}
	if (fsync(dirfd) < 0)
		return fail_sys("%s", name);
	return 0;
}

int make_dirs(const char *path)
{
	autofree char *copy = strdup(path);

	if (!copy)
		return fail(ENOMEM, "%s: out of memory", path);
	for (char *p = copy + 1;; p++) {
		if (*p && *p != '/')
			continue;
		char sep = *p;

		*p = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST) {
			/* a read-only parent that exists is no reason */
			if (access(copy, F_OK) < 0)
				return fail_sys("%s", copy);
		}
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
