/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue.h - many requests to a disk under way at once, for one thread.
 *
 * Theory: the owner's thread submits requests and reaps them when the queue's
 * descriptor is readable. Two ways lead to the disk:
 *
 *	io_uring	where block_map() knows where the data lies: the kernel
 *			moves it between the iovec and the file, which is
 *			registered with the ring
 *	threads		for everything else, and for all where the kernel has
 *			no io_uring (or the caller wants none): a thread calls
 *			block_readv() and the like, and the eventfd tells
 *
 * Both end in the same place: done() is called by queue_reap(), in the owner's
 * thread, exactly once a request, in any order. Requests that must be in order
 * (a flush behind writes) are the owner's to hold back.
 *
 * A short read or write of the ring is gone on with, -EAGAIN and -EINTR tried
 * again, so that a request has all of its bytes or an error. What lies in
 * several pieces is moved one piece after the other.
 *
 * Threads: all calls come from the owner's thread.
 */
#ifndef BLOCK_QUEUE_H
#define BLOCK_QUEUE_H

#include <sys/uio.h>

#include "block/block.h"

enum queue_op {
	QUEUE_READ, QUEUE_WRITE, QUEUE_FLUSH, QUEUE_ZERO, QUEUE_ZERO_UNMAP,
	QUEUE_DISCARD,
};

/* One request: the owner's, and may live inside a larger struct. */
struct queue_io {
	enum queue_op op;
	struct iovec *iov;	/* may be changed; must stay until done() */
	int n;
	uint64_t off, len;	/* READ, WRITE: len by queue_submit() */
	bool durable;		/* block_flush() after it, before done() */
	void (*done)(struct queue_io *io, int rc);	/* 0 or -errno */
	/* the queue's */
	struct queue_io *next;
	enum queue_op todo;	/* a thread's part */
	struct block_extent extent;
	struct iovec *rest;	/* what is yet to be moved, of iov */
	int nrest;
	uint64_t moved, until;	/* bytes; so far, and by what is in the ring */
	struct iovec *cut;	/* which was made shorter for that, or NULL */
	size_t cut_len;		/* by so much */
	int rc;
};

struct queue;

enum { QUEUE_DEPTH_MAX = 1024 };

/*
 * A queue for at most DEPTH requests at once (1 to QUEUE_DEPTH_MAX; more wait
 * inside). URING: use io_uring if the kernel lets us. 0 or -errno with a
 * sentence. It may be opened by another thread than the owner's.
 */
int queue_open(struct queue **q, struct block *b, unsigned depth, bool uring);

/*
 * Waits for all that is under way (their done() is called), and frees it. NULL
 * is fine.
 */
void queue_close(struct queue *q);

/* Readable when queue_reap() has something to do. */
int queue_fd(const struct queue *q);
/* "io_uring" or "threads". */
const char *queue_kind(const struct queue *q);

/*
 * Takes IO in; what was taken in since goes to the kernel by queue_kick(). A
 * disk that cannot zero has zeros written. From done() too.
 */
void queue_submit(struct queue *q, struct queue_io *io);
void queue_kick(struct queue *q);

/*
 * Calls done() of all that finished, and kicks what that made possible. How
 * many that were.
 */
unsigned queue_reap(struct queue *q);

/* Until nothing is under way. */
void queue_drain(struct queue *q);

#endif
