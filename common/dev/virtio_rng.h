/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_rng.h - entropy for the guest (virtio 1.2, section 5.4).
 *
 * One queue; each buffer is filled from the host's generator, up to
 * RNG_BYTES, and given back. It runs on the event loop and yields it after
 * RNG_BUFFERS, so that a greedy guest does not keep others waiting.
 *
 * Threads: virtio_rng_init() and virtio_rng_release() belong to the thread of
 * the loop. The queue is used under `lock`, which start and stop take.
 */
#ifndef DEV_VIRTIO_RNG_H
#define DEV_VIRTIO_RNG_H

#include "base/loop.h"
#include "dev/virtio.h"

enum {
	RNG_BYTES = 64 << 10,	/* put into one buffer at most */
	RNG_BUFFERS = 4,	/* at one turn of the loop */
};

struct virtio_rng {
	struct virtio virtio;
	struct watch watch;
	pthread_mutex_t lock;	/* after virtio.lock */
	bool active;
};

/* 0 or -errno with a sentence. LOOP, MEM and NAME must stay. */
int virtio_rng_init(struct virtio_rng *r, const struct mem *mem,
		    struct loop *loop, const char *name);
void virtio_rng_release(struct virtio_rng *r);

#endif
