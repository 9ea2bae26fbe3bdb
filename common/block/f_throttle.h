/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * f_throttle.h - a disk over a disk that is only so fast, as limit.h says.
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
#include "block/limit.h"

/* Takes BELOW on success. 0 or -errno with a sentence. */
int throttle_open(struct block **out, struct block *below,
		  const struct limit_rates *rates);

/*
 * Other rates from now on; those who sleep take their tokens anew. Without
 * limits nobody sleeps any more: that is how to end it soon. B is of
 * throttle_open().
 */
void throttle_set(struct block *b, const struct limit_rates *rates);

#endif
