/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/block.h"

#include <errno.h>
#include <inttypes.h>

#include "base/err.h"

/* The length of IOV; -EIO if the transfer is none the disk can be asked. */
static int check(const struct block *b, const struct iovec *iov, int n,
		 uint64_t off, uint64_t *len)
{
	*len = 0;
	for (int i = 0; i < n; i++)
		if (ckd_add(len, *len, iov[i].iov_len))
			return -EIO;
	if (!in_range(off, *len, block_bytes(b)))
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

int block_freeze(struct block *b)
{
	int rc;

	if (b->readonly)
		return 0;
	rc = b->ops->freeze ? b->ops->freeze(b) : -EOPNOTSUPP;
	if (rc == 0)
		b->readonly = true;
	return rc;
}

void block_close(struct block *b)
{
	struct block *backing = b ? b->backing : NULL;

	if (b)
		b->ops->close(b);
	if (backing)
		block_close(backing);
}

int block_fd(const struct block *b)
{
	return b->ops->fd(b);
}

/* A part of one logical block, which is not to be read in part. */
static int read_part(struct block *b, void *to, size_t len, uint64_t off)
{
	char data[BLOCK_SIZE_MAX];
	size_t skip = off & (b->block_size - 1);
	struct iovec iov = { data, b->block_size };
	int rc = block_readv(b, &iov, 1, off - skip);

	if (rc == 0)
		memcpy(to, data + skip, len);
	return rc;
}

int block_read(struct block *b, void *to, size_t len, uint64_t off)
{
	uint32_t mask = b->block_size - 1;
	int rc = in_range(off, len, b->size) ? 0 : -EIO;

	for (size_t n; len && rc == 0; len -= n, off += n) {
		struct iovec iov = { to, len & ~(size_t)mask };

		n = iov.iov_len;
		if (!(off & mask) && n) {
			rc = block_readv(b, &iov, 1, off);
		} else {
			n = min_u64(len, b->block_size - (off & mask));
			rc = read_part(b, to, n, off);
		}
		to = (char *)to + n;
	}
	return rc;
}

/* -- what not every disk has -- */

static int check_range(const struct block *b, uint64_t off, uint64_t len)
{
	uint32_t mask = b->block_size - 1;

	if (!in_range(off, len, block_bytes(b)))
		return -EIO;
	return off & mask || len & mask ? -EIO : 0;
}

int block_zero(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
	int rc = b->readonly ? -EROFS : check_range(b, off, len);

	if (rc < 0 || !len)
		return rc;
	return b->ops->zero ? b->ops->zero(b, off, len, unmap) : -EOPNOTSUPP;
}

int block_discard(struct block *b, uint64_t off, uint64_t len)
{
	int rc = b->readonly ? -EROFS : check_range(b, off, len);

	if (rc < 0 || !len)
		return rc;
	return b->ops->discard ? b->ops->discard(b, off, len) : 0;
}

int block_status(struct block *b, uint64_t off, uint64_t len, uint64_t *n)
{
	int rc = check_range(b, off, len);

	*n = len;
	if (rc < 0 || !len)
		return rc;
	return b->ops->status ? b->ops->status(b, off, len, n) : BLOCK_DATA;
}

int block_resize(struct block *b, uint64_t size)
{
	if (b->readonly)
		return fail(EROFS, "is read-only");
	if (!size || size % b->block_size)
		return fail(E_CONFIG, "a size of %" PRIu64 " bytes is not a "
			    "multiple of %u", size, b->block_size);
	if (!b->ops->resize)
		return fail(E_CONFIG, "cannot change its size");
	return b->ops->resize(b, size);
}

int block_set_block_size(struct block *b, uint32_t size)
{
	if (size & (size - 1) || size < b->block_size || size > BLOCK_SIZE_MAX)
		return fail(E_CONFIG, "blocks of %u bytes: %u to %d, a power "
			    "of two", size, b->block_size, BLOCK_SIZE_MAX);
	if (b->size % size)
		return fail(E_CONFIG, "blocks of %u bytes: its %" PRIu64
			    " bytes are no multiple of that", size, b->size);
	b->block_size = size;
	return 0;
}

int block_map(struct block *b, uint64_t off, uint64_t len, bool write,
	      struct block_extent *e)
{
	int rc = write && b->readonly ? -EROFS : check_range(b, off, len);

	if (rc < 0)
		return rc;
	*e = (struct block_extent){ .fd = -1 };
	rc = b->ops->map && len ? b->ops->map(b, off, len, write, e) : -EAGAIN;
	if (rc == 0 && !e->owner)	/* else a disk below is */
		e->owner = b;
	if (rc == 0 && !e->len)
		e->len = len;
	return rc;
}

int block_unmap(struct block *b, struct block_extent *e)
{
	(void)b;
	return e->owner->ops->unmap ? e->owner->ops->unmap(e->owner, e) : 0;
}
