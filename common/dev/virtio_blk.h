/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_blk.h - a disk for the guest (virtio 1.2, section 5.2).
 *
 * Theory: one request queue and one I/O thread, from DRIVER_OK to reset. The
 * thread takes requests while there are any, with kicks turned off, and
 * carries them out one after the other; bulk data goes by iovec between guest
 * memory and the disk. The driver is interrupted when the queue is empty, or
 * when the first finished request has waited for BLK_SIGNAL_NS.
 *
 * A request is a header of 16 bytes the device reads, data, and the status,
 * which is the last byte that the device writes; segments may lie across the
 * borders as they like (virtio 1.2, 2.7.4.1). A request that cannot be carried
 * out is answered by its status. One without room for a status breaks the
 * device.
 *
 * Cache: a driver that took VIRTIO_BLK_F_FLUSH says itself what must be
 * durable; for any other every write is, before it is answered.
 *
 * Threads: virtio_blk_init() and virtio_blk_release() are for the machine's
 * thread; start and stop come under virtio.lock; the members below `thread`
 * belong to the I/O thread.
 */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

#include <stdatomic.h>

#include "block/block.h"
#include "dev/virtio.h"

enum {
	BLK_SECTOR = 512,		/* of the protocol, whatever the disk's */
	BLK_SERIAL = 20,		/* bytes */
	BLK_SIGNAL_NS = 100 * 1000,
};

/* virtio 1.2, 5.2.3: feature bits; 5.2.6: request types and status. */
enum {
	VIRTIO_BLK_F_SEG_MAX = 2,
	VIRTIO_BLK_F_RO = 5,
	VIRTIO_BLK_F_BLK_SIZE = 6,
	VIRTIO_BLK_F_FLUSH = 9,

	VIRTIO_BLK_T_IN = 0,
	VIRTIO_BLK_T_OUT = 1,
	VIRTIO_BLK_T_FLUSH = 4,
	VIRTIO_BLK_T_GET_ID = 8,

	VIRTIO_BLK_S_OK = 0,
	VIRTIO_BLK_S_IOERR = 1,
	VIRTIO_BLK_S_UNSUPP = 2,
};

struct virtio_blk {
	struct virtio virtio;
	struct block *disk;
	char serial[BLK_SERIAL];	/* padded with NULs */
	int stop_fd;			/* eventfd that wakes the thread to end */
	atomic_bool stopping;
	bool running;			/* there is a thread to join */
	pthread_t thread;
	struct log_limit errors;
	struct virtq_chain chain;	/* the request under way */
	struct iovec iov[VIRTQ_SEGS];
};

/*
 * DISK and NAME ("disk0") must stay; of SERIAL ("": none) the first 20 bytes
 * are copied. 0 or -errno with a sentence.
 */
int virtio_blk_init(struct virtio_blk *b, const struct mem *mem,
		    struct block *disk, const char *serial, const char *name);
/* Finishes the request under way. The disk stays open. */
void virtio_blk_release(struct virtio_blk *b);

#endif
