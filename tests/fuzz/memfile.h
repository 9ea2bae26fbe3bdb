/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memfile.h - one file, in memory, in the place of all files there are while
 * `memfile.on` holds: what the code under test opens, locks, reads and writes
 * is this one, and no system call is made for it. Included by one C file.
 *
 * It has at most MEMFILE_MOST bytes: what goes beyond is ENOSPC. With
 * `countdown` not 0, that many calls that change it succeed and the next one
 * fails with EIO, having changed nothing. Both are noted in `failed`.
 */
#ifndef TESTS_FUZZ_MEMFILE_H
#define TESTS_FUZZ_MEMFILE_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/types.h"

enum {
	MEMFILE_FD = 1 << 20,	/* no descriptor of the process */
	MEMFILE_MOST = 16 << 20, MEMFILE_PAGE = 4096,
	MEMFILE_PAGES = MEMFILE_MOST / MEMFILE_PAGE,
};

/* A copy of it: the pages that are not all zeros. */
struct memfile_copy {
	unsigned char *pages;
	uint16_t *place;
	unsigned n;
	uint64_t size;
};

static struct {
	bool on, failed;
	unsigned countdown;
	unsigned char *data;
	uint64_t size;
	bool used[MEMFILE_PAGES];	/* may hold other than zeros */
	uint16_t list[MEMFILE_PAGES];	/* of those */
	unsigned n;
} memfile;

static void memfile_use(uint64_t off, uint64_t len)
{
	for (uint64_t p = off / MEMFILE_PAGE;
	     len && p <= (off + len - 1) / MEMFILE_PAGE; p++) {
		if (memfile.used[p])
			continue;
		memfile.used[p] = true;
		memfile.list[memfile.n++] = p;
	}
}

/* It is empty, and nothing fails. */
static void memfile_reset(void)
{
	if (!memfile.data)
		memfile.data = mmap(NULL, MEMFILE_MOST, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memfile.data == MAP_FAILED)
		abort();
	for (unsigned i = 0; i < memfile.n; i++) {
		memset(memfile.data + memfile.list[i] * MEMFILE_PAGE, 0,
		       MEMFILE_PAGE);
		memfile.used[memfile.list[i]] = false;
	}
	memfile.n = 0;
	memfile.size = 0;
	memfile.countdown = 0;
	memfile.failed = false;
}

static void memfile_save(struct memfile_copy *c)
{
	c->n = memfile.n;
	c->size = memfile.size;
	c->pages = malloc((size_t)c->n * MEMFILE_PAGE + 1);
	c->place = malloc(c->n * sizeof(*c->place) + 1);
	if (!c->pages || !c->place)
		abort();
	memcpy(c->place, memfile.list, c->n * sizeof(*c->place));
	for (unsigned i = 0; i < c->n; i++)
		memcpy(c->pages + (size_t)i * MEMFILE_PAGE,
		       memfile.data + c->place[i] * MEMFILE_PAGE,
		       MEMFILE_PAGE);
}

static void memfile_load(const struct memfile_copy *c)
{
	memfile_reset();
	memfile.size = c->size;
	for (unsigned i = 0; i < c->n; i++) {
		uint64_t off = c->place[i] * MEMFILE_PAGE;

		memfile_use(off, MEMFILE_PAGE);
		memcpy(memfile.data + off, c->pages + (size_t)i * MEMFILE_PAGE,
		       MEMFILE_PAGE);
	}
}

/* -1 with errno, or 0: what reaches to END may be changed. */
static int memfile_may(uint64_t end)
{
	errno = 0;
	if (end > MEMFILE_MOST)
		errno = ENOSPC;
	else if (memfile.countdown && !--memfile.countdown)
		errno = EIO;
	if (!errno)
		return 0;
	memfile.failed = true;
	return -1;
}

static void memfile_zero(uint64_t off, uint64_t len)
{
	for (uint64_t n; len; off += n, len -= n) {
		n = min_u64(len, MEMFILE_PAGE - off % MEMFILE_PAGE);
		if (memfile.used[off / MEMFILE_PAGE])
			memset(memfile.data + off, 0, n);
	}
}

static ssize_t memfile_write(const struct iovec *iov, int n, uint64_t off)
{
	uint64_t at = off, len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	if (memfile_may(off + len) < 0)
		return -1;
	memfile_use(off, len);
	for (int i = 0; i < n; at += iov[i++].iov_len)
		memcpy(memfile.data + at, iov[i].iov_base, iov[i].iov_len);
	memfile.size = max_u64(memfile.size, at);
	return len;
}

static ssize_t memfile_read(const struct iovec *iov, int n, uint64_t off)
{
	uint64_t at = off;

	for (int i = 0; i < n && at < memfile.size; i++) {
		uint64_t len = min_u64(iov[i].iov_len, memfile.size - at);

		memcpy(iov[i].iov_base, memfile.data + at, len);
		at += len;
	}
	return at - off;
}

/* These stand before the C library's, and before the sanitizers'. */

ssize_t pread(int fd, void *data, size_t len, off_t off)
{
	struct iovec iov = { data, len };

	return memfile.on ? memfile_read(&iov, 1, off) :
		syscall(SYS_pread64, fd, data, len, off);
}

ssize_t preadv(int fd, const struct iovec *iov, int n, off_t off)
{
	return memfile.on ? memfile_read(iov, n, off) :
		syscall(SYS_preadv, fd, iov, n, off, 0);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t off)
{
	struct iovec iov = { (void *)data, len };

	return memfile.on ? memfile_write(&iov, 1, off) :
		syscall(SYS_pwrite64, fd, data, len, off);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	return memfile.on ? memfile_write(iov, n, off) :
		syscall(SYS_pwritev, fd, iov, n, off, 0);
}

int ftruncate(int fd, off_t size)
{
	if (!memfile.on)
		return syscall(SYS_ftruncate, fd, size);
	if (memfile_may(size) < 0)
		return -1;
	if ((uint64_t)size < memfile.size)
		memfile_zero(size, memfile.size - size);
	memfile.size = size;
	return 0;
}

/* A hole, which is all that is asked for. */
int fallocate(int fd, int mode, off_t off, off_t len)
{
	if (!memfile.on)
		return syscall(SYS_fallocate, fd, mode, off, len);
	if (memfile_may(0) < 0)
		return -1;
	if ((uint64_t)off < memfile.size)
		memfile_zero(off, min_u64(len, memfile.size - off));
	return 0;
}

int fdatasync(int fd)
{
	return memfile.on ? memfile_may(0) : syscall(SYS_fdatasync, fd);
}

int fstat(int fd, struct stat *st)
{
	if (!memfile.on)
		return syscall(SYS_fstat, fd, st);
	*st = (struct stat){
		.st_mode = S_IFREG | 0600, .st_size = memfile.size,
	};
	return 0;
}

int openat(int dirfd, const char *name, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & O_CREAT)
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return memfile.on ? MEMFILE_FD :
		syscall(SYS_openat, dirfd, name, flags, mode);
}

int close(int fd)
{
	return memfile.on ? 0 : syscall(SYS_close, fd);
}

/* Nobody else holds a lock. */
int fcntl(int fd, int cmd, ...)
{
	void *arg;
	va_list ap;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!memfile.on)
		return syscall(SYS_fcntl, fd, cmd, arg);
	if (cmd == F_OFD_GETLK)
		((struct flock *)arg)->l_type = F_UNLCK;
	return 0;
}

/* What is said in the log is expected here, and slow. */
ssize_t write(int fd, const void *data, size_t len)
{
	return memfile.on ? (ssize_t)len : syscall(SYS_write, fd, data, len);
}

#endif
