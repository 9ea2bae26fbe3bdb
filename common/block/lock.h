/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lock.h - a disk's file in use: one writer, or many readers and one merger.
 *
 * Theory: QEMU's protocol, so that its tools and ours keep out of each
 * other's way. Nobody takes an exclusive lock. Each user holds shared locks
 * on single bytes that say what he does and what he does not suffer others
 * to do, and then looks whether anybody's bytes contradict:
 *
 *	byte 100 + p	"I have permission p"
 *	byte 200 + p	"nobody else may have permission p"
 *
 * for p = 0 consistent read, 1 write, 2 write what is there already, 3
 * resize. The bytes need not exist in the file. Two that come at the same
 * instant may both be refused; never are both admitted.
 *
 * A merger (merge.h) has permission 2: what he writes changes nothing of what
 * is read through the chain. Whoever has the file open as a backing file, we
 * and QEMU alike, suffers that; writers and other mergers he does not.
 *
 * The locks are OFD locks: they belong to the open file, are inherited with
 * its descriptor, and go when its last descriptor is closed, however its
 * process ended.
 */
#ifndef BLOCK_LOCK_H
#define BLOCK_LOCK_H

#include "base/types.h"

enum lock_use { LOCK_READER, LOCK_WRITER, LOCK_MERGER };

/*
 * Locks FD for USE until it is closed, or until it is locked for another one:
 * a writer can always become a reader. 0; -E_BUSY "in use by another process";
 * -errno with a sentence: the file system has no locks. What it holds after a
 * failure goes when FD is closed.
 */
int lock_disk(int fd, enum lock_use use);

/* Whether nobody else, by another descriptor, has the file of FD open. */
bool lock_alone(int fd);

#endif
