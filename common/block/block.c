/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/block.h"

#include <errno.h>

/* The length of IOV; -EIO if the transfer is none the disk can be asked. */
static int check(const struct block *b, const struct iovec *iov, int n,
		 uint64_t off, uint64_t *len)
{
	*len = 0;
	for (int i = 0; i < n; i++)
		if (ckd_add(len, *len, iov[i].iov_len))
			return -EIO;
	if (!in_range(off, *len, b->size))
		return -EIO;
	if (off % b->block_size || *len % b->block_size)
		return -EIO;
	return 0;
}

int block_readv(struct block *b, struct iovec *iov, int n, uint64_t off)
{
	uint64_t len;
	int rc = check(b, iov, n, off, &len);

	if (rc < 0 || !len)
		return rc;
	return b->ops->readv(b, iov, n, off, len);
}

int block_writev(struct block *b, struct iovec *iov, int n, uint64_t off)
{
	uint64_t len;
	int rc = b->readonly ? -EROFS : check(b, iov, n, off, &len);

	if (rc < 0 || !len)
		return rc;
	return b->ops->writev(b, iov, n, off, len);
}

int block_flush(struct block *b)
{
	return b->readonly ? 0 : b->ops->flush(b);
}

void block_close(struct block *b)
{
	if (b)
		b->ops->close(b);
}

int block_fd(const struct block *b)
{
	return b->ops->fd(b);
}
