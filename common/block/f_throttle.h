/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * f_throttle.h - a disk over a disk that is only so fast.
 *
 * Theory: two token buckets, one for requests and one for their bytes. A
 * bucket of N a second holds `burst` tokens when it is full, as it is at the
 * start. A request takes its tokens when it comes, be they there or not, and
 * then waits until they would be: so they go in the order in which they came,
 * and one larger than the burst goes as well. Both buckets are asked at once.
 *
 * Reads and writes cost a request and their bytes, zeroing and discarding a
 * request, a flush nothing.
 *
 * Threads: the one that calls sleeps, with nothing locked. throttle_set() may
 * be called by any other meanwhile.
 */
#ifndef BLOCK_F_THROTTLE_H
#define BLOCK_F_THROTTLE_H

#include "block/block.h"

struct throttle_rate {
	uint64_t per_second;	/* 0: no limit */
	uint64_t burst;		/* 0: a tenth of a second's */
};

struct throttle_limits {
	struct throttle_rate requests, bytes;
};

/* Takes BELOW on success. 0 or -errno with a sentence. */
int throttle_open(struct block **out, struct block *below,
		  const struct throttle_limits *limits);

/*
 * Other limits from now on, with full buckets; those who sleep take their
 * tokens anew. Without limits nobody sleeps any more: that is how to end it
 * soon. B is of throttle_open().
 */
void throttle_set(struct block *b, const struct throttle_limits *limits);

#endif
