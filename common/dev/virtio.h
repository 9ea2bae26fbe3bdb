/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio.h - a virtio device without its transport, and its queues
 * (virtio 1.2, sections 2 and 3).
 *
 * Theory of operation. A device (blk, console, rng) embeds a struct virtio
 * and fills in an ops table; the transport (virtio_pci.c, or a test's fake)
 * calls virtio_set_status() and the other functions below as the driver
 * writes registers. The state machine:
 *
 *	reset --ACK, DRIVER, FEATURES_OK--> features frozen, or refused
 *	      --DRIVER_OK--> start(): queues may be used
 *	      --status 0--> stop(), then everything as after reset
 *
 * A queue's geometry is copied into struct virtq when the driver enables it
 * and never read from registers again; what a driver writes later is ignored
 * until reset. Descriptors are copied before they are looked at. Every chain
 * is popped by one function, bounded in descriptors and bytes, and ends in
 * one used element - or the queue is broken: the device then sets
 * NEEDS_RESET, tells the driver once, and takes no more from any queue. A
 * guest can break its device, never the process.
 *
 * Threads. Register accesses come from vCPU threads and hold `lock`. start()
 * and stop() are called with `lock` held. A queue belongs, from start() to the
 * return of stop(), to the one thread the device chose for it (its I/O thread,
 * or the event loop); that thread does not take `lock` to use it. Kicks arrive
 * as the eventfd `kick` of the queue (non-blocking), which exists before
 * DRIVER_OK, so that no kick is lost between; start() must look at its queues
 * once by itself. The driver may kick a queue that nobody serves: whoever
 * watches the descriptor always reads it.
 *
 * Saving and restoring. A device is saved at rest: no vCPU runs, and every
 * chain that was taken has been given back (the device says in its header how
 * it is brought to rest). It is loaded into one as after power-on, with all
 * that a driver could have set checked as if it set it now; then, once
 * everything of the machine is loaded and interrupts can be delivered,
 * virtio_go_on() starts it, which is the only place to do so.
 */
#ifndef DEV_VIRTIO_H
#define DEV_VIRTIO_H

#include <pthread.h>
#include <sys/uio.h>

#include "base/log.h"
#include "vmm/mem.h"

struct buf;
struct section;
struct section_out;
struct sections;

enum {
	VIRTQ_MAX = 256,	/* descriptors in a queue; a power of two */
	VIRTQ_SEGS = VIRTQ_MAX,	/* segments in one chain, indirect included */
	VIRTIO_QUEUES = 8,	/* queues of a device at most */
};

struct virtio;

/* One direction of a chain: segments that were checked to be RAM. */
struct virtq_seg {
	gpa_t gpa;
	uint32_t len;
};

/*
 * A popped chain, a private copy: out[0..nout) the device reads, in[0..nin)
 * it writes. Total lengths in bytes; at most VIRTQ_BYTES each.
 */
#define VIRTQ_BYTES (1ULL << 30)
struct virtq_chain {
	uint16_t head;
	uint16_t nout, nin;
	uint64_t out_len, in_len;
	struct virtq_seg seg[VIRTQ_SEGS];	/* first the out, then the in */
};

struct virtq {
	struct virtio *dev;
	int kick;		/* eventfd the driver's notification writes */
	uint16_t index;
	/* A reset clears what follows. What is above any vCPU may read. */
	uint16_t size;		/* as the driver set it; power of two */
	bool enabled;
	gpa_t desc, avail, used;
	uint16_t last_avail;	/* next entry of the avail ring to take */
	uint16_t used_idx;	/* what was published last */
	uint16_t signalled;	/* used_idx at the last interrupt, EVENT_IDX */
	bool signalled_valid;	/* false: interrupt at the next signal */
	uint16_t vector;	/* MSI-X vector, 0xffff none: transport's */
};

/*
 * Takes the next chain into C. 1: taken; 0: none; -EPROTO: the ring is
 * malformed and the device broken now (virtio_break() was called).
 */
int virtq_pop(struct virtq *q, struct virtq_chain *c);

/*
 * Returns the chain to the driver: WRITTEN bytes were put into its in
 * segments. Makes it visible, does not interrupt. 0 or -EPROTO (as above).
 */
int virtq_push(struct virtq *q, const struct virtq_chain *c, uint32_t written);

/* Interrupts if the driver wants it for what was pushed since the last one. */
void virtq_signal(struct virtq *q);

/*
 * Interrupts if the driver waits for anything that is in the used ring, told
 * of or not: an interrupt that was on its way when the machine was saved may
 * be nowhere in what was saved.
 */
void virtq_signal_again(struct virtq *q);

/*
 * Asks for kicks (ON) or not, by EVENT_IDX or the flag. After asking, call
 * virtq_pending(): what came before the request is not kicked for.
 */
void virtq_want_kick(struct virtq *q, bool on);
bool virtq_pending(struct virtq *q);

/* Copies between a flat buffer and the chain from OFF on; bytes copied. */
size_t chain_read(const struct virtio *v, const struct virtq_chain *c,
		  uint64_t off, void *buf, size_t len);
size_t chain_write(const struct virtio *v, const struct virtq_chain *c,
		   uint64_t off, const void *buf, size_t len);

/*
 * The out (or in) part from OFF for LEN bytes as iovecs for bulk I/O. Number
 * of entries, or -EFAULT (not that much there, or more than MAX entries).
 */
int chain_out_iov(const struct virtio *v, const struct virtq_chain *c,
		  uint64_t off, uint64_t len, struct iovec *iov, int max);
int chain_in_iov(const struct virtio *v, const struct virtq_chain *c,
		 uint64_t off, uint64_t len, struct iovec *iov, int max);

struct virtio_ops {
	const char *name;		/* "blk", for messages */
	uint16_t id;			/* virtio device id, 1.2 section 5 */
	uint32_t pci_class;		/* 24-bit class code for virtio-pci */
	uint64_t features;		/* device bits, added to the core's */
	uint32_t config_size;		/* bytes of device configuration */
	/* Device configuration, any OFF and LEN within config_size. */
	void (*config_read)(struct virtio *v, uint32_t off, void *buf,
			    uint32_t len);
	/* NULL: nothing is writable. */
	void (*config_write)(struct virtio *v, uint32_t off, const void *buf,
			     uint32_t len);
	/*
	 * DRIVER_OK was set; v->features is final. 0 or -errno: the device is
	 * broken then, and stop() not called.
	 */
	int (*start)(struct virtio *v);
	/* All use of queues and memory ends before this returns. */
	void (*stop)(struct virtio *v);
	/*
	 * What the device has beside the core, as the section of its name;
	 * both may be NULL. load() comes behind the core's, `lock` held, the
	 * device not started: 0, or as virtio_load(). It may take a chain
	 * back (last_avail - 1) that is to be served from where it was.
	 */
	void (*save)(struct virtio *v, struct section_out *s);
	int (*load)(struct virtio *v, struct section *s);
};

/* What the transport does for the device. */
struct virtio_transport {
	/* Used-buffer notification of Q. */
	void (*interrupt)(struct virtio *v, struct virtq *q);
	/* Configuration change notification. */
	void (*config_changed)(struct virtio *v);
};

struct virtio {
	const struct virtio_ops *ops;
	const struct virtio_transport *transport;
	const struct mem *mem;
	const char *name;		/* "disk0", for messages */
	unsigned nqueues;
	pthread_mutex_t lock;
	uint64_t offered, features;	/* all bits; what the driver took */
	uint8_t status;			/* atomic; see virtio_status() */
	bool started;			/* between start() and stop() */
	bool news;			/* a load changed the configuration */
	bool broken;			/* NEEDS_RESET; atomic */
	uint32_t config_generation;	/* atomic */
	struct log_limit complaints;
	struct virtq queue[VIRTIO_QUEUES];
};

/* Core feature bits every device offers. */
#define VIRTIO_F_BIT(n) (1ULL << (n))
enum {
	VIRTIO_F_INDIRECT = 28,
	VIRTIO_F_EVENT = 29,
	VIRTIO_F_V1 = 32,
};

enum {
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 0x40,
	VIRTIO_FAILED = 0x80,
};

/* As the driver reads it. Any thread. */
static inline uint8_t virtio_status(const struct virtio *v)
{
	return __atomic_load_n(&v->status, __ATOMIC_SEQ_CST);
}

static inline bool virtio_has(const struct virtio *v, unsigned bit)
{
	return v->features & VIRTIO_F_BIT(bit);
}

/*
 * A device of NQUEUES queues (1 to VIRTIO_QUEUES). Makes the kick eventfds;
 * 0 or -errno with a sentence.
 */
int virtio_init(struct virtio *v, const struct virtio_ops *ops,
		unsigned nqueues, const struct mem *mem, const char *name);
void virtio_release(struct virtio *v);	/* stops it first */

/* For transports; LOCK held. */
void virtio_set_status(struct virtio *v, uint8_t status);
void virtio_set_features(struct virtio *v, uint64_t features);
/*
 * The driver enables queue I with this geometry, as its registers stand.
 * What is out of bounds leaves the queue disabled and breaks the device.
 */
void virtio_enable_queue(struct virtio *v, unsigned i, uint16_t size,
			 gpa_t desc, gpa_t avail, gpa_t used);
void virtio_reset(struct virtio *v);

/*
 * The sections NAME.virtio and, of a device that has more, NAME. LOCK held,
 * the device at rest.
 */
void virtio_save(struct virtio *v, struct buf *b);
/*
 * Into a device as after virtio_init() or virtio_reset(), LOCK held. 0;
 * -E_VERIFY damaged, -E_CONFIG not for this device, -ENOENT not there, with a
 * sentence: then virtio_reset() is to follow.
 */
int virtio_load(struct virtio *v, struct sections *all);

/*
 * A device that was loaded goes on: if its driver uses it, it is told again
 * of what it may not have heard, and the device is started. Once, behind all
 * loading; no vCPU runs. 0 or -errno with a sentence.
 */
int virtio_go_on(struct virtio *v);

/* Sets NEEDS_RESET, tells the driver, notes WHY (limited). Any thread. */
void virtio_break(struct virtio *v, const char *why);

/* For devices: the configuration changed; tells the driver. Any thread. */
void virtio_config_changed(struct virtio *v);

#endif
