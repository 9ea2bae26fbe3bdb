/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"

enum { CHUNK = 1 << 20, PAGE = 4096, SECTOR = 512 };

/* Writes LEN bytes at OFF of the file TO, but for whole pages of zeros. */
static int write_sparse(int to, const uint8_t *data, size_t len, uint64_t off)
{
	while (len) {
		size_t n = min_u64(len, PAGE), run = 0;
		int rc;

		while (run < len && !is_zero(data + run, n)) {
			run += n;
			n = min_u64(len - run, PAGE);
		}
		rc = pwrite_all(to, data, run, off);
		if (rc < 0)
			return rc;
		if (run < len)	/* a page of zeros */
			run += n;
		data += run;
		off += run;
		len -= run;
	}
	return 0;
}

struct sink {
	int fd;
	struct block *disk;
	/* 0 or -errno; DATA NULL: zeros */
	int (*put)(struct sink *s, uint8_t *data, uint64_t off, size_t len);
};

static int put_file(struct sink *s, uint8_t *data, uint64_t off, size_t len)
{
	return data ? write_sparse(s->fd, data, len, off) : 0;
}

static int put_stream(struct sink *s, uint8_t *data, uint64_t off, size_t len)
{
	static const uint8_t zeros[PAGE];
	int rc = 0;

	(void)off;
	if (data)
		return write_all(s->fd, data, len);
	for (size_t n; len && rc == 0; len -= n) {
		n = min_u64(len, sizeof(zeros));
		rc = write_all(s->fd, zeros, n);
	}
	return rc;
}

static int put_disk(struct sink *s, uint8_t *data, uint64_t off, size_t len)
{
	struct iovec iov = { data, len };

	if (!data || is_zero(data, len))
		return 0;
	return block_writev(s->disk, &iov, 1, off);
}

/* Hands all of FROM to S in order, a chunk at a time. */
static int pump(struct block *from, struct sink *s)
{
	autofree uint8_t *data = malloc(CHUNK);
	uint64_t n;

	if (!data)
		return fail(ENOMEM, "out of memory");
	for (uint64_t off = 0; off < from->size; off += n) {
		int rc = block_status(from, off, min_u64(from->size - off,
							 CHUNK), &n);
		bool zero = rc == BLOCK_ZERO;
		struct iovec iov = { data, n };

		if (rc >= 0 && !zero)
			rc = block_readv(from, &iov, 1, off);
		if (rc < 0)
			return fail(-rc, "reading at %" PRIu64 ": %s", off,
				    strerror(-rc));
		rc = s->put(s, zero ? NULL : data, off, n);
		if (rc < 0)
			return fail(-rc, "writing: %s", strerror(-rc));
	}
	return 0;
}

int copy_to_file(struct block *from, int to)
{
	struct sink s = { .fd = to, .put = put_file };
	int rc = pump(from, &s);

	if (rc == 0 && ftruncate(to, from->size) < 0)
		return fail_sys("writing");
	return rc;
}

int copy_to_stream(struct block *from, int to)
{
	struct sink s = { .fd = to, .put = put_stream };

	return pump(from, &s);
}

int copy_to_disk(struct block *from, struct block *to)
{
	struct sink s = { .disk = to, .put = put_disk };

	return pump(from, &s);
}

int copy_from_stream(int from, const void *head, size_t len, int to,
		     uint64_t max)
{
	autofree uint8_t *data = malloc(CHUNK);
	uint64_t off = 0;
	ssize_t n = min_u64(len, CHUNK);
	int rc;

	if (!data)
		return fail(ENOMEM, "out of memory");
	if (n)
		memcpy(data, head, n);
	else
		n = read_up_to(from, data, CHUNK);
	while (n > 0) {
		if (off + n > max)
			return fail(EFBIG, "more than %" PRIu64 " bytes", max);
		rc = write_sparse(to, data, n, off);
		if (rc < 0)
			return fail(-rc, "writing: %s", strerror(-rc));
		off += n;
		n = read_up_to(from, data, CHUNK);
	}
	if (n < 0)
		return fail(-n, "reading: %s", strerror(-n));
	if (ftruncate(to, (off + SECTOR - 1) / SECTOR * SECTOR) < 0)
		return fail_sys("writing");
	return 0;
}
