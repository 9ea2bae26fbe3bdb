/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/filter.h"

void filter_init(struct filter *f, const struct block_ops *ops,
		 struct block *below)
{
	f->block = (struct block){
		.ops = ops,
		.size = below->size,
		.block_size = below->block_size,
		.readonly = below->readonly,
	};
	f->below = below;
}

void filter_release(struct filter *f)
{
	block_close(f->below);
}

int filter_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		 uint64_t len)
{
	(void)len;
	return block_readv(filter_of(b)->below, iov, n, off);
}

int filter_writev(struct block *b, struct iovec *iov, int n, uint64_t off,
		  uint64_t len)
{
	(void)len;
	return block_writev(filter_of(b)->below, iov, n, off);
}

int filter_flush(struct block *b)
{
	return block_flush(filter_of(b)->below);
}

int filter_zero(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
	return block_zero(filter_of(b)->below, off, len, unmap);
}

int filter_discard(struct block *b, uint64_t off, uint64_t len)
{
	return block_discard(filter_of(b)->below, off, len);
}

int filter_resize(struct block *b, uint64_t size)
{
	int rc = block_resize(filter_of(b)->below, size);

	block_set_bytes(b, filter_of(b)->below->size);
	return rc;
}

int filter_status(struct block *b, uint64_t off, uint64_t len, uint64_t *n)
{
	return block_status(filter_of(b)->below, off, len, n);
}

int filter_freeze(struct block *b)
{
	return block_freeze(filter_of(b)->below);
}

int filter_fd(const struct block *b)
{
	return block_fd(container_of(b, struct filter, block)->below);
}
