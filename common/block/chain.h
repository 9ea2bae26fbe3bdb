/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * chain.h - a disk of many layers, whose lookups do not go through all of them.
 *
 * Theory. The disk is a filter over the top of a chain of qcow2 images, the
 * last of which may rest on anything. For every unit of 64 KiB it remembers
 * one layer: none above that one has anything of its own there. So a read that
 * goes straight to that layer is right, and when what is remembered is too
 * high, it is only slower. That is what makes it simple: a writer puts the top
 * in before he writes, a reader puts in what he found only where nothing is
 * remembered yet, and so it never becomes too low, without a lock.
 *
 * Layers are numbered from the bottom, 0, so that what is remembered stays
 * right when another one is put on top. It costs 32 KiB for a GiB
 * of disk that was looked at (more than 256 TiB: larger units).
 *
 * Threads: any, as block.h says.
 */
#ifndef BLOCK_CHAIN_H
#define BLOCK_CHAIN_H

#include "block/block.h"

enum {
	CHAIN_MOST = 1024,	/* layers */
	CHAIN_PAYS = 4,		/* fewer are as fast without */
};

/*
 * A chain over TOP, which is taken on success. One of fewer than CHAIN_PAYS
 * layers, and what is no qcow2 image, is TOP itself. 0, or with a
 * sentence: -E_CONFIG more than CHAIN_MOST layers; ENOMEM.
 */
int chain_open(struct block **out, struct block *top);

/* What B was opened over, still B's; B itself if it is no chain. */
struct block *chain_top(struct block *b);

/*
 * What B was opened over, no longer B's, which is freed: for who puts another
 * layer on top of it or changes what is below it, and opens a chain again.
 */
struct block *chain_release(struct block *b);

/* How many layers B has, chain or not: 1 and what shows through. */
unsigned chain_depth(const struct block *b);

/*
 * The layer that has OFF, numbered from the bottom (0), or -1: nobody has,
 * zeros; of *N bytes, LEN at most, that holds. Or less than -1: -errno. B is a chain
 * or not. The bottom has all up to its end, if it is not qcow2. Layers that
 * two chains share (they are the same files) have the same numbers in both.
 */
int chain_owner(struct block *b, uint64_t off, uint64_t len, uint64_t *n);

/*
 * Whether A and B may differ at OFF, both being that long, and for how many
 * of LEN bytes that holds (*N): 0 if both show what lies in a layer of the
 * SHARED lowest ones, as chain_shared() says. Or -errno.
 */
int chain_differs(struct block *a, struct block *b, unsigned shared,
		  uint64_t off, uint64_t len, uint64_t *n);

/* How many layers from the bottom on are the same files in A and B. */
unsigned chain_shared(struct block *a, struct block *b);

#endif
