/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * merge.h - of two layers of a chain, one is made superfluous.
 *
 *	down	what UPPER has of its own, data and zeros, is committed into
 *		LOWER, which it rests on; then whoever rests on UPPER can rest
 *		on LOWER, which shows the same
 *	up	what LOWER has and UPPER has not is copied into UPPER; then UPPER
 *		can rest on what LOWER rests on
 *
 * The layers are frozen; the merger's process has opened them for itself, the
 * one that is written to with LOCK_MERGER (lock.h). When the call returned 0
 * all is on disk, and the names can be changed (qcow2_rebase()).
 *
 * At every instant UPPER shows what it showed before: in this process and in
 * others that have both open, those that open them meanwhile, and after kill -9
 * or a power loss anywhere. The merge can then be begun again, from its
 * beginning. For down, LOWER is written to only where UPPER has something of
 * its own, so that nobody who comes through UPPER looks at it there (LOWER by
 * itself becomes what UPPER is bit by bit: nobody may need it). For up,
 * UPPER gets what shows through there anyway, and names it only when it is on
 * disk.
 *
 * What other processes remember of the file that is written to does no harm:
 *
 *	L1, L2	an old entry leads where it led: no cluster or table is used
 *		for something else as long as anybody else has the file open,
 *		so it shows what it did, which for all places they look
 *		at is what the new one shows. Data is in the file before a table
 *		names it, and a table before L1 does.
 *	refcounts	no reader looks at them
 *	length	a new entry may lead behind the end that was found at open;
 *		our readers then look again. QEMU does not, and would see
 *		zeros: so while it has them open, only merge_down() is right,
 *		and if LOWER's clusters are not larger than UPPER's, or it is
 *		raw (`beside_qemu` of the costs)
 *	size	LOWER is grown to UPPER's size first, and zeros are what
 *		was seen behind its end
 *
 * A merge writes no zeros over what is zeros already, and leaves holes.
 */
#ifndef BLOCK_MERGE_H
#define BLOCK_MERGE_H

#include "block/block.h"

/* Bytes that each way would copy; UINT64_MAX: not possible. */
struct merge_cost {
	uint64_t down, up;
	bool beside_qemu;	/* down, while QEMU has the files open */
};

/*
 * UPPER is an open qcow2 image and rests on another disk (qcow2_below()); both
 * may be open to be read only. 0 or negative with a sentence.
 */
int merge_cost(struct block *upper, struct merge_cost *cost);

/*
 * The merges. What UPPER rests on (down), or UPPER (up), is open with
 * LOCK_MERGER. 0, or negative with a sentence (ENOSPC, E_CONFIG: LOWER is larger
 * than UPPER, ...); then UPPER shows what it did as well.
 */
int merge_down(struct block *upper);
int merge_up(struct block *upper);

#endif
