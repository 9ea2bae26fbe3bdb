/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * filter.h - what disks over a disk have in common: they have the size and
 * the file of the one below, and pass on to it what they do not change.
 *
 * A filter sees reads and writes because it has no `map`, so that they come
 * through its table (-EAGAIN, block.h).
 */
#ifndef BLOCK_FILTER_H
#define BLOCK_FILTER_H

#include "block/block.h"

struct filter {
	struct block block;
	struct block *below;	/* closed by filter_release() */
};

static inline struct filter *filter_of(struct block *b)
{
	return container_of(b, struct filter, block);
}

/* Takes BELOW. */
void filter_init(struct filter *f, const struct block_ops *ops,
		 struct block *below);
/* Closes what is below; F stays the caller's. */
void filter_release(struct filter *f);

/* For tables: what is asked of B is asked of the disk below. */
int filter_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		 uint64_t len);
int filter_writev(struct block *b, struct iovec *iov, int n, uint64_t off,
		  uint64_t len);
int filter_flush(struct block *b);
int filter_zero(struct block *b, uint64_t off, uint64_t len, bool unmap);
int filter_discard(struct block *b, uint64_t off, uint64_t len);
int filter_resize(struct block *b, uint64_t size);
int filter_status(struct block *b, uint64_t off, uint64_t len, uint64_t *n);
int filter_freeze(struct block *b);
int filter_fd(const struct block *b);

#endif
