/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * f_fault.h - a disk over a disk that fails and lingers as told, for tests.
 *
 * Theory: a table of rules. A rule counts the requests of its operations, and
 * their bytes; it hits the `count` of them from the `first` on, and those
 * whose bytes go beyond `bytes`. What a rule hits first waits, and then ends
 * with its error, or goes on if it has none. Rules are asked in order; those
 * behind one that failed a request do not count it.
 *
 *	{ .ops = FAULT_WRITE, .bytes = 1 << 20, .rc = -ENOSPC }
 *			a disk that is full after a MiB written
 *	{ .ops = FAULT_FLUSH, .first = 3, .count = 1, .rc = -EIO }
 *			the third flush fails, and the fourth does not
 *	{ .ops = FAULT_ALL, .delay_ns = 1000000 }
 *			a millisecond for everything
 *
 * Threads: as every disk, any.
 */
#ifndef BLOCK_F_FAULT_H
#define BLOCK_F_FAULT_H

#include "block/block.h"

enum {
	FAULT_READ = 1 << 0,
	FAULT_WRITE = 1 << 1,
	FAULT_FLUSH = 1 << 2,
	FAULT_ZERO = 1 << 3,
	FAULT_DISCARD = 1 << 4,
	FAULT_ALL = 31,

	FAULT_RULES = 8,
};

struct fault_rule {
	unsigned ops;
	uint64_t first;		/* from 1; 0 as well is the first */
	uint64_t count;		/* 0: all from there on */
	uint64_t bytes;		/* 0: however many */
	uint64_t delay_ns;
	int rc;			/* -errno; 0: it is not failed */
};

/*
 * Takes BELOW on success; N rules, FAULT_RULES at most, are copied. 0 or
 * -errno with a sentence.
 */
int fault_open(struct block **out, struct block *below,
	       const struct fault_rule *rules, size_t n);

/* How many requests rule I has failed or delayed. B is of fault_open(). */
uint64_t fault_hits(struct block *b, size_t i);

#endif
