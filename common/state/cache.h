/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache.h - what can be made again: the unpacked kernels (PATH/cache).
 *
 * An entry stands for one source file as it was: its name is made of the
 * source's device, inode, size, mtime and ctime, so a source that was replaced
 * or written to has another entry, or none. Anyone may delete entries at any
 * time. Finding one touches it; adding one removes those that nobody used for
 * CACHE_DAYS, and what killed makers left.
 */
#ifndef STATE_CACHE_H
#define STATE_CACHE_H

#include "state/store.h"

enum { CACHE_DAYS = 90, CACHE_NAME_BYTES = 160 };

/*
 * Opens the entry of the file open as SOURCE for reading. A descriptor;
 * -ENOENT when there is none; else negative. A sentence is set.
 */
int cache_find(const struct store *st, int source);

/*
 * A new entry: begin, write to `fd`, commit.
 *
 *	rc = cache_begin(&e, st, source);
 *	...
 *	rc = cache_commit(&e);
 *	...
 *	cache_end(&e);
 */
struct cache_entry {
	int dir, fd;
	int source;	/* borrowed */
	char name[CACHE_NAME_BYTES], tmp[CACHE_NAME_BYTES];
};

/* 0 or negative with a sentence; E then needs no cache_end(). */
int cache_begin(struct cache_entry *e, const struct store *st, int source);

/*
 * Makes it durable and gives it its name. -E_AGAIN when the source changed
 * since cache_begin(), else 0 or -errno with a sentence.
 */
int cache_commit(struct cache_entry *e);

/* Frees E; what was not committed is removed. */
void cache_end(struct cache_entry *e);

#endif
