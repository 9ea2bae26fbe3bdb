/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/vec.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "block/iov.h"

int vec_take(struct vec *v, uint64_t len, struct iovec *part)
{
	uint64_t left = len;
	int n = 0;

	for (; left && n < v->n; n++) {
		part[n].iov_base = v->iov[n].iov_base;
		part[n].iov_len = min_u64(left, v->iov[n].iov_len);
		left -= part[n].iov_len;
	}
	iov_advance(&v->iov, &v->n, len - left);
	return n;
}

void vec_zero(const struct iovec *iov, int n)
{
	for (int i = 0; i < n; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
}

void vec_zero_front(struct vec *v, uint64_t len)
{
	while (len) {
		size_t n = min_u64(len, v->iov->iov_len);

		memset(v->iov->iov_base, 0, n);
		iov_advance(&v->iov, &v->n, n);
		len -= n;
	}
}

void vec_fill(const struct iovec *iov, int n, const void *from)
{
	const char *p = from;

	for (int i = 0; i < n; p += iov[i++].iov_len)
		memcpy(iov[i].iov_base, p, iov[i].iov_len);
}

int vec_move(vec_move_fn *move, int fd, struct vec *v, uint64_t off)
{
	ssize_t done = 0;

	for (;;) {
		iov_advance(&v->iov, &v->n, done);
		if (!v->n)
			return 0;
		done = move(fd, v->iov, v->n < IOV_MAX ? v->n : IOV_MAX, off);
		if (done < 0 && errno != EINTR)
			return -errno;
		if (!done)
			return -ENODATA;
		if (done < 0)
			done = 0;
		off += done;
	}
}

int vec_read(int fd, struct iovec *iov, int n, uint64_t off)
{
	struct vec v = { iov, n };
	int rc = vec_move(preadv, fd, &v, off);

	if (rc != -ENODATA)
		return rc;
	vec_zero(v.iov, v.n);
	return 0;
}

int vec_write(int fd, struct iovec *iov, int n, uint64_t off)
{
	struct vec v = { iov, n };
	int rc = vec_move(pwritev, fd, &v, off);

	return rc == -ENODATA ? -EIO : rc;
}
