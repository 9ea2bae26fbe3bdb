/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blk_queue.h - a queue of virtio-blk while it is served: between
 * virtio_blk.c, which starts and stops them, blk_queue.c, which is their
 * thread, and blk_request.c, which carries out one request.
 */
#ifndef DEV_BLK_QUEUE_H
#define DEV_BLK_QUEUE_H

#include "dev/virtio_blk.h"

/* virtio 1.2, 5.2.6: what is to be discarded or zeroed. */
struct blk_range {
	le64 sector;
	le32 sectors, flags;
};
static_assert(sizeof(struct blk_range) == 16, "virtio 1.2, 5.2.6");

/* A request in its slot: all that was read of the driver's, a private copy. */
struct blk_request {
	struct queue_io io;
	struct blk_queue *queue;
	struct blk_request *next;	/* in a list of its queue's */
	const struct blk_kind *kind;
	uint64_t sector;
	unsigned ranges, done;		/* how many; carried out of them */
	struct virtq_chain chain;
	union {
		struct iovec iov[VIRTQ_SEGS];
		struct blk_range range[BLK_RANGES];
	};
};

/* -- blk_queue.c -- */

/*
 * A thread for the virtqueue Q->vq, whose `bell` is open. 0 or -errno, then
 * there is none.
 */
int blk_queue_start(struct blk_queue *q);
/* Waits for the thread, which has seen `stopping`. */
void blk_queue_join(struct blk_queue *q);
/* Makes the thread look. Any thread. */
void blk_queue_ring(struct blk_queue *q);

/* Answers R with STATUS and frees its slot. The queue's thread. */
void blk_answer(struct blk_request *r, uint8_t status);
/* Keeps R, which the disk refused with RC, until a retry. */
void blk_park(struct blk_request *r, int rc);

/* -- blk_request.c; the queue's thread -- */

/*
 * Reads what the chain in R asks for. 0; else it was answered, or could not
 * be and the device is broken.
 */
int blk_read_request(struct blk_request *r);
/*
 * Whether R counts for the disk's limits, and with how many BYTES: reads and
 * writes do with theirs, zeroing and discarding with none.
 */
bool blk_counts(const struct blk_request *r, uint64_t *bytes);
/* Carries out R, from its beginning or where it was parked. */
void blk_run(struct blk_request *r);

#endif
