/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * chr.h - a character backend: what stands behind a serial port or a virtio
 * console. The machine's console implements it; a test keeps a buffer.
 *
 * Two directions. Guest to host: the device calls chr_write(), which takes
 * everything, never blocks and never fails (the backend bounds what it
 * keeps). Host to guest: the backend offers bytes through the front's
 * input(), which says how many it took (its FIFO has room, the queue has
 * buffers); when it can take more again the device calls chr_ready(), and the
 * backend offers the rest. Nothing is lost between the two.
 *
 * Threads: chr_write() and chr_ready() come from any thread, and with the
 * device's lock held: the backend must not call input() from within them but
 * from its own thread (the event loop's), and holds no lock meanwhile that its
 * write() or ready() take. input() comes from the loop thread.
 */
#ifndef DEV_CHR_H
#define DEV_CHR_H

#include "base/types.h"

struct chr;

struct chr_ops {
	void (*write)(struct chr *c, const void *data, size_t len);
	void (*ready)(struct chr *c);
};

/* What a device gives: takes up to LEN bytes for the guest, says how many. */
struct chr_front {
	size_t (*input)(struct chr_front *f, const void *data, size_t len);
};

struct chr {
	const struct chr_ops *ops;
	struct chr_front *front;	/* set by the machine; NULL: no input */
};

static inline void chr_write(struct chr *c, const void *data, size_t len)
{
	c->ops->write(c, data, len);
}

static inline void chr_ready(struct chr *c)
{
	c->ops->ready(c);
}

#endif
