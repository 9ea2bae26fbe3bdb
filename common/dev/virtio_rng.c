/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio_rng.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

#include "base/err.h"

enum {
	REQUESTS = 0,		/* the queue */
	CHUNK = 4096,
};

static struct virtio_rng *rng_of(struct virtio *v)
{
	return container_of(v, struct virtio_rng, virtio);
}

/* Makes the loop look at the queue (again). */
static void kick(struct virtio_rng *r)
{
	uint64_t one = 1;

	(void)!write(r->virtio.queue[REQUESTS].kick, &one, sizeof(one));
}

/* Fills the buffer, as far as one is filled; bytes. */
static uint32_t fill(struct virtio_rng *r, const struct virtq_chain *c)
{
	uint32_t len = min_u64(c->in_len, RNG_BYTES), done = 0;
	uint8_t chunk[CHUNK];
	ssize_t n;

	while (done < len) {
		n = getrandom(chunk, min_u64(len - done, CHUNK), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || chain_write(&r->virtio, c, done, chunk, n) == 0)
			break;
		done += n;
	}
	return done;
}

/* Serves up to RNG_BUFFERS; the lock is held. */
static void serve(struct virtio_rng *r)
{
	struct virtq *q = &r->virtio.queue[REQUESTS];
	struct virtq_chain c;

	for (int i = 0; i < RNG_BUFFERS && virtq_pop(q, &c) > 0; i++)
		if (virtq_push(q, &c, fill(r, &c)) < 0)
			break;
	virtq_signal(q);
	virtq_want_kick(q, true);
	if (virtq_pending(q))
		kick(r);
}

static void on_kick(struct watch *w, uint32_t events)
{
	struct virtio_rng *r = container_of(w, struct virtio_rng, watch);
	uint64_t kicks;

	(void)events;
	(void)!read(w->fd, &kicks, sizeof(kicks));
	pthread_mutex_lock(&r->lock);
	if (r->active)
		serve(r);
	pthread_mutex_unlock(&r->lock);
}

static int rng_start(struct virtio *v)
{
	struct virtio_rng *r = rng_of(v);

	pthread_mutex_lock(&r->lock);
	r->active = true;
	pthread_mutex_unlock(&r->lock);
	kick(r);
	return 0;
}

static void rng_stop(struct virtio *v)
{
	struct virtio_rng *r = rng_of(v);

	/* Taken only once serve() is through. */
	pthread_mutex_lock(&r->lock);
	r->active = false;
	pthread_mutex_unlock(&r->lock);
}

static const struct virtio_ops rng_ops = {
	.name = "rng",
	.id = 4,
	.pci_class = 0xff0000,	/* in no defined class */
	.start = rng_start,
	.stop = rng_stop,
};

int virtio_rng_init(struct virtio_rng *r, const struct mem *mem,
		    struct loop *loop, const char *name)
{
	int rc;

	memset(r, 0, sizeof(*r));
	rc = virtio_init(&r->virtio, &rng_ops, 1, mem, name);
	if (rc < 0)
		return rc;
	pthread_mutex_init(&r->lock, NULL);
	rc = watch_add(loop, &r->watch, r->virtio.queue[REQUESTS].kick, EPOLLIN,
		       on_kick);
	if (rc < 0) {
		virtio_release(&r->virtio);
		pthread_mutex_destroy(&r->lock);
		return fail_in(rc, "%s", name);
	}
	return 0;
}

void virtio_rng_release(struct virtio_rng *r)
{
	watch_remove(&r->watch);
	virtio_release(&r->virtio);
	pthread_mutex_destroy(&r->lock);
}
