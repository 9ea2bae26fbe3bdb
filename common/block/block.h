/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block.h - disks: one ops table for formats, protocols and filters.
 *
 * Theory: a struct block is an open disk of `size` bytes. Formats (raw, qcow2)
 * sit on files; filters are disks over disks and have the same table. Calls
 * are synchronous; several threads may be in one disk at once, so an
 * implementation locks what it must. Whoever wants many requests under way at
 * once has a struct queue (queue.h), which asks block_map() where the data
 * lies and lets the kernel move it, and gives a thread of its own to what has
 * to be done first (a cluster to be allocated, a table to be read).
 *
 * Contract of every call: OFF and LEN were checked by block.c against the
 * size, and are multiples of `block_size`; iovecs point at guest memory and
 * are not looked through. A write that returned is seen by later reads; it is
 * durable only after block_flush() returned 0. Requests that overlap while
 * they are under way leave either's data, in any mixture, and never anything
 * else's. Errors are -errno, without a sentence: they are the guest's to
 * hear, by status byte. Those that only a person asks for (resize) have one.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <sys/uio.h>

#include "base/types.h"
#include "block/lock.h"

struct block;

/*
 * Where data lies: `len` bytes at `off` of the file `fd`, in one piece. What is
 * to be read and lies nowhere, being zeros, has no file.
 */
struct block_extent {
	int fd;			/* or -1: zeros */
	uint64_t off, len;
	int rc;			/* the asker's: 0, or why it was not written */
	uint64_t token;		/* the implementation's */
	struct block *owner;	/* the disk that said so: block.c's */
};

struct block_ops {
	const char *name;	/* "raw" */
	int (*readv)(struct block *b, struct iovec *iov, int n, uint64_t off,
		     uint64_t len);
	int (*writev)(struct block *b, struct iovec *iov, int n, uint64_t off,
		      uint64_t len);
	int (*flush)(struct block *b);
	/*
	 * These may be NULL: -EOPNOTSUPP, nothing, -EAGAIN. `map` may ask
	 * block_map() of a disk below, and give on what that said; without a
	 * length, the extent is as long as was asked for.
	 */
	int (*zero)(struct block *b, uint64_t off, uint64_t len, bool unmap);
	int (*discard)(struct block *b, uint64_t off, uint64_t len);
	int (*resize)(struct block *b, uint64_t size);
	int (*map)(struct block *b, uint64_t off, uint64_t len, bool write,
		   struct block_extent *e);
	int (*unmap)(struct block *b, struct block_extent *e);
	int (*status)(struct block *b, uint64_t off, uint64_t len,
		      uint64_t *n);
	int (*fd)(const struct block *b);
	int (*freeze)(struct block *b);
	void (*close)(struct block *b);		/* frees B */
};

struct block {
	const struct block_ops *ops;
	uint64_t size;		/* see block_bytes() */
	uint32_t block_size;	/* logical: 512 .. 4096, a power of two */
	bool readonly;
	struct block *backing;	/* shows through, closed with it; or NULL */
};

/* Its size: bytes, a multiple of block_size, not 0. It may grow at any time. */
static inline uint64_t block_bytes(const struct block *b)
{
	return __atomic_load_n(&b->size, __ATOMIC_RELAXED);
}

/* For implementations of `resize`. */
static inline void block_set_bytes(struct block *b, uint64_t size)
{
	__atomic_store_n(&b->size, size, __ATOMIC_RELAXED);
}

/*
 * Opens the regular file or block device PATH as a raw disk and locks it for
 * as long as it is open: one writer, or many readers. The lock is QEMU's
 * (its byte ranges, by OFD locks), so that neither qemu-img nor another VM
 * opens a disk in use. A size that is no multiple of 512 is cut, with a note in the
 * log. 0 or -errno with a sentence: -E_BUSY in use, -E_CONFIG not a file or
 * block device, or empty.
 */
int raw_open(struct block **out, const char *path, bool readonly);
/*
 * The same with NAME in DIRFD, which is no symbolic link, for USE (lock.h).
 */
int raw_open_at(struct block **out, int dirfd, const char *name,
		enum lock_use use);

/* -EIO out of range, -EROFS; else what the disk says. IOV may be changed. */
int block_readv(struct block *b, struct iovec *iov, int n, uint64_t off);
int block_writev(struct block *b, struct iovec *iov, int n, uint64_t off);
int block_flush(struct block *b);

/*
 * Ends all writing to B, which nobody is in: as after a clean close all is on
 * disk, B is readonly from here on, and its file is locked as that of a
 * backing file that others may read, too. 0 or -errno without a sentence; then
 * B is as it was, but for what its error said of it. Frozen twice is fine.
 */
int block_freeze(struct block *b);

/* LEN bytes at OFF into TO, of any alignment: for whoever parses a disk. */
int block_read(struct block *b, void *to, size_t len, uint64_t off);

/*
 * OFF to OFF + LEN reads as zeros from here on. With UNMAP its space may go
 * back to the host. -EOPNOTSUPP: write zeros instead.
 */
int block_zero(struct block *b, uint64_t off, uint64_t len, bool unmap);

/*
 * Nobody needs what is there any more: it may be given back, or stay. What is
 * read there later is what was there, or zeros; never what lies below it in a
 * chain, never anybody else's data.
 */
int block_discard(struct block *b, uint64_t off, uint64_t len);

/*
 * What lies at OFF, of LEN bytes at most: BLOCK_DATA or BLOCK_ZERO (reads as
 * zeros, known without reading), with *N, the bytes for which that holds.
 */
enum { BLOCK_DATA, BLOCK_ZERO };
int block_status(struct block *b, uint64_t off, uint64_t len, uint64_t *n);

/*
 * Grows or shrinks the disk; what is new reads as zeros. Nobody else is in B
 * meanwhile but readers and writers within the smaller size. With a sentence.
 */
int block_resize(struct block *b, uint64_t size);

/*
 * From here on B's blocks have SIZE bytes, a power of two from what they have
 * to BLOCK_SIZE_MAX. 0, or -E_CONFIG with a sentence: that, or the disk is no
 * multiple of it. Nobody is in B meanwhile.
 */
enum { BLOCK_SIZE_MAX = 4096 };
int block_set_block_size(struct block *b, uint32_t size);

/*
 * Where the data lies, or the first part of it (e->len, LEN at most, a multiple
 * of the block size), if that can be said at once, without I/O and without
 * waiting: 0, and it stays there, to be read, or (WRITE) to be written as a
 * whole, until block_unmap() with the same E. -EAGAIN: take block_readv() or
 * block_writev().
 *
 * What was mapped to be written counts as written once block_unmap() returned
 * 0; if it could not be, E->rc says why, and the old data stays. Until then
 * others who change the same place may have to wait: so who has it mapped does
 * not change it by another call.
 */
int block_map(struct block *b, uint64_t off, uint64_t len, bool write,
	      struct block_extent *e);
int block_unmap(struct block *b, struct block_extent *e);
void block_close(struct block *b);	/* NULL is fine */

/*
 * The descriptor of its file, B's to close: for a process that is to have the
 * same file, under the same lock.
 */
int block_fd(const struct block *b);

#endif
