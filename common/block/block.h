/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block.h - disks: one ops table for formats, protocols and filters.
 *
 * Theory: a struct block is an open disk of `size` bytes. Formats (raw, later
 * qcow2) sit on files; filters are disks over disks and have the same table.
 * Calls are synchronous and come from a device's I/O thread; several threads
 * may be in one disk at once, so an implementation locks what it must.
 *
 * Contract of every call: OFF and LEN were checked by block.c against the
 * size, and are multiples of `block_size`; iovecs point at guest memory and
 * are not looked through. A write that returned is seen by later reads; it is
 * durable only after block_flush() returned 0. Errors are -errno, without a
 * sentence: they are the guest's to hear, by status byte.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <sys/uio.h>

#include "base/types.h"

struct block;

struct block_ops {
	const char *name;	/* "raw" */
	int (*readv)(struct block *b, struct iovec *iov, int n, uint64_t off,
		     uint64_t len);
	int (*writev)(struct block *b, struct iovec *iov, int n, uint64_t off,
		      uint64_t len);
	int (*flush)(struct block *b);
	int (*fd)(const struct block *b);
	void (*close)(struct block *b);		/* frees B */
};

struct block {
	const struct block_ops *ops;
	uint64_t size;		/* bytes, a multiple of block_size, not 0 */
	uint32_t block_size;	/* logical: 512 .. 4096, a power of two */
	bool readonly;
};

/*
 * Opens the regular file or block device PATH as a raw disk and locks it for
 * as long as it is open: one writer, or many readers. The lock is QEMU's
 * (its byte ranges, by OFD locks), so that neither qemu-img nor another VM
 * opens a disk in use. A size that is no multiple of 512 is cut, with a note in the
 * log. 0 or -errno with a sentence: -E_BUSY in use, -E_CONFIG not a file or
 * block device, or empty.
 */
int raw_open(struct block **out, const char *path, bool readonly);

/* -EIO out of range, -EROFS; else what the disk says. IOV may be changed. */
int block_readv(struct block *b, struct iovec *iov, int n, uint64_t off);
int block_writev(struct block *b, struct iovec *iov, int n, uint64_t off);
int block_flush(struct block *b);
void block_close(struct block *b);	/* NULL is fine */

/*
 * The descriptor of its file, B's to close: for a process that is to have the
 * same file, under the same lock.
 */
int block_fd(const struct block *b);

#endif
