/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio_console.h"

#include <string.h>
#include <sys/epoll.h>

#include "base/err.h"
#include "base/section.h"

enum { PIECE = 4096 };	/* copied at once */

static struct virtio_console *console_of(struct virtio *v)
{
	return container_of(v, struct virtio_console, virtio);
}

/* Makes the loop look at the queue, as a kick does. */
static void ring(const struct virtq *q)
{
	static const uint64_t one = 1;

	(void)!write(q->kick, &one, sizeof(one));
}

static void clear_kick(const struct watch *w)
{
	uint64_t kicks;

	(void)!read(w->fd, &kicks, sizeof(kicks));
}

/* Sends up to MAX bytes of the chain `out`; how many. */
static size_t send_part(struct virtio_console *c, size_t max)
{
	uint8_t piece[PIECE];
	size_t n = min_u64(min_u64(max, PIECE), c->out.out_len - c->sent);

	n = chain_read(&c->virtio, &c->out, c->sent, piece, n);
	c->sent += n;
	if (n)
		chr_write(c->chr, piece, n);
	return n;
}

/* One turn of the transmit queue; whether there is more to do. */
static bool transmit(struct virtio_console *c)
{
	struct virtq *q = &c->virtio.queue[CONSOLE_TRANSMIT];
	size_t left = CONSOLE_TURN, chains = CONSOLE_TURN_CHAINS, n;

	virtq_want_kick(q, false);
	while (left && chains) {
		if (!c->sending && virtq_pop(q, &c->out) <= 0)
			break;
		if (!c->sending)	/* a load may have left a position */
			c->sent = min_u64(c->sent, c->out.out_len);
		c->sending = true;
		n = send_part(c, left);
		left -= n;
		if (n && c->sent < c->out.out_len)
			continue;
		virtq_push(q, &c->out, 0);
		c->sending = false;
		c->sent = 0;
		chains--;
	}
	virtq_signal(q);
	virtq_want_kick(q, true);
	return c->sending || virtq_pending(q);
}

static void on_transmit(struct watch *w, uint32_t events)
{
	struct virtio_console *c = container_of(w, struct virtio_console,
						watch[CONSOLE_TRANSMIT]);

	(void)events;
	clear_kick(w);
	pthread_mutex_lock(&c->lock);
	if (c->active && transmit(c))
		ring(&c->virtio.queue[CONSOLE_TRANSMIT]);
	pthread_mutex_unlock(&c->lock);
}

/* New buffers, if someone waits for them. */
static void on_receive(struct watch *w, uint32_t events)
{
	struct virtio_console *c = container_of(w, struct virtio_console,
						watch[CONSOLE_RECEIVE]);

	(void)events;
	clear_kick(w);
	pthread_mutex_lock(&c->lock);
	if (c->active && c->refused) {
		c->refused = false;
		chr_ready(c->chr);
	}
	pthread_mutex_unlock(&c->lock);
}

/* Copies to lent buffers, of which useless ones cannot keep it for ever. */
static size_t receive(struct virtio_console *c, const uint8_t *data,
		      size_t len)
{
	struct virtq *q = &c->virtio.queue[CONSOLE_RECEIVE];
	size_t taken = 0, n;

	for (int i = 0; i < VIRTQ_MAX && taken < len; i++) {
		if (virtq_pop(q, &c->in) <= 0)
			break;
		n = min_u64(len - taken, c->in.in_len);
		n = chain_write(&c->virtio, &c->in, 0, data + taken, n);
		virtq_push(q, &c->in, n);
		taken += n;
	}
	virtq_signal(q);
	virtq_want_kick(q, taken < len);
	if (taken < len && virtq_pending(q))
		ring(q);
	return taken;
}

static size_t console_input(struct chr_front *front, const void *data,
			    size_t len)
{
	struct virtio_console *c = container_of(front, struct virtio_console,
						front);
	size_t taken = 0;

	pthread_mutex_lock(&c->lock);
	if (c->active)
		taken = receive(c, data, len);
	c->refused = taken < len;
	pthread_mutex_unlock(&c->lock);
	return taken;
}

static int console_start(struct virtio *v)
{
	struct virtio_console *c = console_of(v);

	pthread_mutex_lock(&c->lock);
	c->active = true;
	pthread_mutex_unlock(&c->lock);
	for (int i = 0; i < CONSOLE_QUEUES; i++)
		ring(&v->queue[i]);
	return 0;
}

static void console_stop(struct virtio *v)
{
	struct virtio_console *c = console_of(v);

	pthread_mutex_lock(&c->lock);
	c->active = c->sending = false;
	c->sent = 0;
	pthread_mutex_unlock(&c->lock);
}

static void console_save(struct virtio *v, struct section_out *s)
{
	struct virtio_console *c = console_of(v);

	pthread_mutex_lock(&c->lock);
	put_u8(s, c->refused);
	put_u8(s, c->sending);
	put_u64(s, c->sent);
	pthread_mutex_unlock(&c->lock);
}

/* A chain half sent is taken once more, and sent from where that was. */
static int console_load(struct virtio *v, struct section *s)
{
	struct virtio_console *c = console_of(v);
	struct virtq *q = &v->queue[CONSOLE_TRANSMIT];
	bool refused = get_u8(s), sending = get_u8(s);
	uint64_t sent = get_u64(s);

	if (s->failed || sent > VIRTQ_BYTES || (sent && !sending) ||
	    (sending && !(virtio_status(v) & VIRTIO_DRIVER_OK && q->enabled)))
		return section_done(s, true);
	if (v->broken)
		return 0;
	pthread_mutex_lock(&c->lock);
	c->refused = refused;
	c->sent = sent;
	if (sending)
		q->last_avail--;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

int virtio_console_init(struct virtio_console *c, const struct mem *mem,
			struct loop *loop, struct chr *chr, const char *name)
{
	static const struct virtio_ops ops = {
		.name = "console",
		.id = 3,
		.pci_class = 0x078000,
		.start = console_start,
		.stop = console_stop,
		.save = console_save,
		.load = console_load,
	};
	static void (*const fn[])(struct watch *, uint32_t) = {
		[CONSOLE_RECEIVE] = on_receive,
		[CONSOLE_TRANSMIT] = on_transmit,
	};
	int rc;

	memset(c, 0, sizeof(*c));
	c->chr = chr;
	c->front.input = console_input;
	rc = virtio_init(&c->virtio, &ops, CONSOLE_QUEUES, mem, name);
	if (rc < 0)
		return rc;
	pthread_mutex_init(&c->lock, NULL);
	for (int i = 0; rc == 0 && i < CONSOLE_QUEUES; i++)
		rc = watch_add(loop, &c->watch[i], c->virtio.queue[i].kick,
			       EPOLLIN, fn[i]);
	if (rc < 0) {
		virtio_console_release(c);
		return fail_in(rc, "%s", name);
	}
	return 0;
}

void virtio_console_release(struct virtio_console *c)
{
	for (int i = 0; i < CONSOLE_QUEUES; i++)
		watch_remove(&c->watch[i]);
	virtio_release(&c->virtio);
	pthread_mutex_destroy(&c->lock);
}
