/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_console.h - a console without a UART (virtio 1.2, section 5.3): one
 * port, hvc0 to Linux, on two queues.
 *
 * Theory: both queues are used on the event loop's thread. What the guest
 * sends is copied to the backend piece by piece, CONSOLE_TURN bytes or
 * buffers at one turn of the loop; the rest of a longer buffer waits, with
 * its position, for the next turn. What the backend offers is copied into the
 * buffers the guest has lent; with none left the rest is refused, kicks of the
 * receive queue are asked for, and the next one becomes chr_ready().
 *
 * Threads: init, release and input() belong to the loop's thread. start and
 * stop come from vCPU threads under virtio.lock and take `lock`, under which
 * the queues are used; so none is in use when stop returns. chr_write() and
 * chr_ready() are called under `lock`.
 */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "base/loop.h"
#include "dev/chr.h"
#include "dev/virtio.h"

enum {
	CONSOLE_TURN = 64 << 10,	/* bytes sent at one turn */
	CONSOLE_TURN_CHAINS = 64,
};

enum { CONSOLE_RECEIVE, CONSOLE_TRANSMIT, CONSOLE_QUEUES };

struct virtio_console {
	struct virtio virtio;
	struct chr_front front;		/* for chr->front */
	struct chr *chr;
	struct watch watch[CONSOLE_QUEUES];	/* of the kicks */

	pthread_mutex_t lock;		/* after virtio.lock; of what follows */
	bool active;			/* between start and stop */
	bool refused;			/* the backend holds back some input */
	bool sending;			/* `out` is a chain not yet given back */
	uint64_t sent;			/* of its bytes */
	struct virtq_chain out, in;
};

/* CHR, LOOP and NAME must stay. 0 or -errno with a sentence. */
int virtio_console_init(struct virtio_console *c, const struct mem *mem,
			struct loop *loop, struct chr *chr, const char *name);
/* The backend calls input() no more. */
void virtio_console_release(struct virtio_console *c);

#endif
