/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * limit.h - how fast a disk may be: two token buckets, one for requests and
 * one for their bytes.
 *
 * Theory: a bucket of N a second holds `burst` tokens when it is full, as it
 * is at the start. A request takes its tokens when it comes, be they there or
 * not, and then waits until they would be: so requests go in the order in
 * which they came, and one larger than the burst goes as well. Both buckets
 * are asked at once.
 *
 * Threads: any; nobody sleeps in here.
 */
#ifndef BLOCK_LIMIT_H
#define BLOCK_LIMIT_H

#include <pthread.h>

#include "base/types.h"

struct limit_rate {
	uint64_t per_second;	/* 0: no limit */
	uint64_t burst;		/* 0: a tenth of a second's */
};

struct limit_rates {
	struct limit_rate requests, bytes;
};

/*
 * A bucket's content as a time: when it will be full, if nothing more is
 * taken. Past: it is full.
 */
struct limit_bucket {
	uint64_t per_second;
	uint64_t fill_ns;		/* from empty to full */
	uint64_t full_ns;
};

struct limit {
	pthread_mutex_t lock;
	unsigned generation;		/* counts limit_set() */
	struct limit_bucket requests, bytes;
};

void limit_init(struct limit *l, const struct limit_rates *rates);
void limit_release(struct limit *l);

/* Other rates from now on, with full buckets. */
void limit_set(struct limit *l, const struct limit_rates *rates);

/*
 * Takes the tokens of a request of BYTES bytes at the time NOW (now_ns()).
 * When it may go, on that clock: NOW if at once. *GENERATION is that of the
 * rates: who waits while it changes takes anew.
 */
uint64_t limit_take(struct limit *l, uint64_t bytes, uint64_t now,
		    unsigned *generation);
/* Whether limit_set() was called since. */
bool limit_changed(struct limit *l, unsigned generation);

#endif
