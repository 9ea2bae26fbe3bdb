/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_blk.h - a disk for the guest (virtio 1.2, section 5.2).
 *
 * Theory. Each queue that the driver enables has a thread (blk_queue.c), from
 * DRIVER_OK to reset. It takes requests while there are any, with kicks turned
 * off, hands them to the disk's queue (block/queue.h), many under way at once,
 * and answers each as it ends, in any order; the driver is interrupted once
 * for all that ended together. Bulk data goes by iovec between guest memory
 * and the disk.
 *
 * A request (blk_request.c) is a header of 16 bytes the device reads, data,
 * and the status, which is the last byte that the device writes; segments may
 * lie across the borders as they like (virtio 1.2, 2.7.4.1). It is copied into
 * a slot of ours before anything is looked at, and the slot, not the driver's
 * index, owns it: there are as many as the queue has descriptors, so a driver
 * that offers one chain twice has no more under way than others. A request
 * that cannot be carried out is answered by its status. One without room for
 * a status breaks the device.
 *
 * Cache: a driver that took VIRTIO_BLK_F_FLUSH says itself what must be
 * durable; for any other, and for one that turned the write-back cache off,
 * every write is, before it is answered.
 *
 * Stalls: what is written to a disk whose host is full need not be lost. Such
 * a request is not answered: it is parked, the owner is told (`stalled`) and
 * is to stop the VM; virtio_blk_retry() carries it out again, from its copy.
 *
 * Limits: a request waits in its thread until the disk's rates allow it, and
 * the thread takes no other meanwhile: the queue fills, nothing sleeps.
 *
 * Rest: virtio_blk_quiesce() has every thread end what it took, what waits for
 * a limit too, give it back and wait; what the driver offers stays in the
 * queues. So the device can be saved, and the disk be replaced, until
 * virtio_blk_unquiesce(), after which each thread looks at its queue: the
 * driver, which may have been promised that no kick is needed, will not kick
 * again.
 *
 * Threads: virtio_blk_init(), virtio_blk_release() and the functions behind
 * them are for the machine's thread; start and stop come under virtio.lock;
 * each struct blk_queue says what is its thread's.
 */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

#include <assert.h>
#include <stdatomic.h>

#include "block/limit.h"
#include "block/queue.h"
#include "dev/virtio.h"

enum {
	BLK_SECTOR = 512,	/* of the protocol, whatever the disk's */
	BLK_SERIAL = 20,	/* bytes */
	BLK_RANGES = 64,	/* in one request to discard or zero */
	BLK_RANGE_SECTORS = 1 << 21,
};

/* virtio 1.2, 5.2.3: feature bits; 5.2.6: request types and status. */
enum {
	VIRTIO_BLK_F_SEG_MAX = 2,
	VIRTIO_BLK_F_RO = 5,
	VIRTIO_BLK_F_BLK_SIZE = 6,
	VIRTIO_BLK_F_FLUSH = 9,
	VIRTIO_BLK_F_TOPOLOGY = 10,
	VIRTIO_BLK_F_CONFIG_WCE = 11,
	VIRTIO_BLK_F_MQ = 12,
	VIRTIO_BLK_F_DISCARD = 13,
	VIRTIO_BLK_F_WRITE_ZEROES = 14,

	VIRTIO_BLK_T_IN = 0,
	VIRTIO_BLK_T_OUT = 1,
	VIRTIO_BLK_T_FLUSH = 4,
	VIRTIO_BLK_T_GET_ID = 8,
	VIRTIO_BLK_T_DISCARD = 11,
	VIRTIO_BLK_T_WRITE_ZEROES = 13,

	VIRTIO_BLK_S_OK = 0,
	VIRTIO_BLK_S_IOERR = 1,
	VIRTIO_BLK_S_UNSUPP = 2,
};

/* virtio 1.2, 5.2.4, as far as our features go. */
struct virtio_blk_config {
	le64 capacity;			/* sectors */
	le32 size_max, seg_max;
	le16 cylinders;
	uint8_t heads, sectors;
	le32 blk_size;
	uint8_t physical_block_exp, alignment_offset;
	le16 min_io_size;
	le32 opt_io_size;
	uint8_t writeback, unused0;
	le16 num_queues;
	le32 max_discard_sectors, max_discard_seg, discard_sector_alignment;
	le32 max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
} __attribute__((packed, aligned(4)));
static_assert(sizeof(struct virtio_blk_config) == 60, "virtio 1.2, 5.2.4");

enum blk_cache {
	BLK_WRITEBACK,		/* durable when the driver flushes */
	BLK_WRITETHROUGH,	/* durable before it is answered */
	BLK_UNSAFE,		/* when the host likes */
};

/* What of a failed write is a stall; the rest is the guest's to hear. */
enum blk_werror { BLK_STALL_FULL, BLK_STALL_ALL, BLK_STALL_NONE };

struct virtio_blk;

struct virtio_blk_conf {
	const char *serial;	/* "": none; the first 20 bytes count */
	unsigned queues;	/* 1 to VIRTIO_QUEUES */
	bool threads;		/* no io_uring */
	enum blk_cache cache;
	enum blk_werror werror;
	struct limit_rates rates;
	/* A request was parked, the first since a retry; from any thread. */
	void (*stalled)(void *owner, struct virtio_blk *b);
	void *owner;
};

struct blk_request;

/* A queue being served. All but `bell` and `again` is its thread's. */
struct blk_queue {
	struct virtio_blk *blk;
	struct virtq *vq;
	struct queue *io;
	pthread_t thread;
	bool running;			/* there is a thread to join */
	int bell;			/* eventfd: look at what is atomic */
	atomic_bool again;		/* take up what is parked */

	bool quiet;			/* it waits; under blk->rest_lock */

	struct blk_request *slot;	/* as many as vq->size */
	unsigned used;			/* of these, the ones ever used */
	struct blk_request *spare;	/* given back */
	struct blk_request *parked;
	struct blk_request *held;	/* for a limit, until ... */
	uint64_t held_ns;		/* ... now_ns() is this */
	unsigned generation;		/* of the rates it was held for */
};

/* What the driver knows of the disk, and another one must have as well. */
struct blk_shape {
	uint64_t bytes;
	uint32_t block_size;
	bool readonly;
};

struct virtio_blk {
	struct virtio virtio;
	struct blk_shape shape;
	struct block *disk;
	struct virtio_blk_conf conf;
	char serial[BLK_SERIAL];	/* padded with NULs */
	struct limit limit;
	atomic_bool writeback;		/* as the driver last said */
	atomic_bool stopping;
	atomic_bool pausing;		/* between quiesce and unquiesce */
	pthread_mutex_t rest_lock;
	pthread_cond_t rest;		/* a thread waits, or shall not any more */
	atomic_int stall;		/* -errno of a parked request, or 0 */
	struct log_limit errors;
	struct blk_queue queue[VIRTIO_QUEUES];
};

/*
 * DISK and NAME ("disk0") must stay; CONF is copied. 0 or -errno with a
 * sentence.
 */
int virtio_blk_init(struct virtio_blk *b, const struct mem *mem,
		    struct block *disk, const struct virtio_blk_conf *conf,
		    const char *name);
/* Finishes what is under way; what is parked is dropped. The disk stays open. */
void virtio_blk_release(struct virtio_blk *b);

/* Carries out what is parked. Harmless if nothing is. */
void virtio_blk_retry(struct virtio_blk *b);
/* -errno of what is parked, 0: nothing is. */
static inline int virtio_blk_stall(const struct virtio_blk *b)
{
	return atomic_load(&b->stall);
}

/*
 * Brings the device to rest; no vCPU runs. It takes as long as the disk does
 * with what is under way. 0, or -E_BUSY with a sentence: it keeps what could
 * not be written, and goes on as before.
 */
int virtio_blk_quiesce(struct virtio_blk *b);
/* Goes on, nothing if it is not at rest. */
void virtio_blk_unquiesce(struct virtio_blk *b);
/*
 * Puts DISK, which must stay, in the place of the disk, which is the caller's
 * and may be closed already; the device is at rest. 0; -E_CONFIG it is no such disk (size, block
 * size, read-only); -errno; with a sentence, and nothing has changed.
 */
int virtio_blk_set_disk(struct virtio_blk *b, struct block *disk);

/*
 * Grows the disk to SIZE bytes and tells the driver. 0; -E_CONFIG smaller, or
 * the disk cannot; -errno; with a sentence.
 */
int virtio_blk_resize(struct virtio_blk *b, uint64_t size);
/* Other rates from now on, for those who wait as well. */
void virtio_blk_limit(struct virtio_blk *b, const struct limit_rates *rates);

#endif
