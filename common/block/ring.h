/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring.h - io_uring: reads and writes that the kernel carries out while the
 * queue's owner goes on.
 *
 * Theory: a request lies in the ring with where its data is (block_extent). A
 * completion that brought a part of it is followed by another submission for
 * the rest. The eventfd is registered with the ring, and so is the disk's
 * file, which spares the kernel looking it up each time; what block_map() says
 * to lie in another file (a backing file) goes by that one's descriptor.
 *
 * Threads: all calls come from the owner's thread.
 */
#ifndef BLOCK_RING_H
#define BLOCK_RING_H

#include <liburing.h>

#include "block/queue.h"

struct ring {
	struct io_uring uring;
	int fd;			/* the file that is registered, or -1 */
};

/*
 * For at most DEPTH requests at once, of the disk whose file is FD. 0 or
 * -errno, without a sentence: the kernel has none for us, which is no failure.
 */
int ring_init(struct ring *r, unsigned depth, int fd, int event_fd);
void ring_release(struct ring *r);

/*
 * Puts IO, a read or write of which the next bytes lie at IO->extent, into the
 * ring, as far as that goes.
 */
void ring_move(struct ring *r, struct queue_io *io);
/* Hands what was put there to the kernel; false: not all, try again. */
bool ring_submit(struct ring *r);

/* How many completions there are now. */
unsigned ring_ready(const struct ring *r);
/*
 * Takes one of them: the request whose move it ends, with its rc; NULL when
 * that goes on (by the next ring_submit()).
 */
struct queue_io *ring_take(struct ring *r);

#endif
