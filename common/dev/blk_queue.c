/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread that serves one queue of virtio-blk. */
#include "dev/blk_queue.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>

#include "base/err.h"
#include "base/loop.h"

enum {
	STACK_BYTES = 128 << 10,
	BATCH = 64,		/* taken before what ended is looked at */
};

/* -- slots -- */

/* NULL: all are in use. Those never used are not even touched. */
static struct blk_request *slot_take(struct blk_queue *q)
{
	struct blk_request *r = q->spare;

	if (r) {
		q->spare = r->next;
	} else if (q->used < q->vq->size) {
		r = &q->slot[q->used++];
		r->queue = q;
	}
	return r;
}

static void slot_give(struct blk_request *r)
{
	r->next = r->queue->spare;
	r->queue->spare = r;
}

static bool has_slot(const struct blk_queue *q)
{
	return q->spare || q->used < q->vq->size;
}

/* The length given back reaches up to the status, which is the last byte. */
void blk_answer(struct blk_request *r, uint8_t status)
{
	struct virtio *v = &r->queue->blk->virtio;

	chain_write(v, &r->chain, r->chain.in_len - 1, &status, sizeof(status));
	virtq_push(r->queue->vq, &r->chain, r->chain.in_len);
	slot_give(r);
}

/* -- stalls -- */

void blk_park(struct blk_request *r, int rc)
{
	struct virtio_blk *b = r->queue->blk;
	int none = 0;

	r->next = r->queue->parked;
	r->queue->parked = r;
	if (atomic_compare_exchange_strong(&b->stall, &none, rc) &&
	    b->conf.stalled)
		b->conf.stalled(b->conf.owner, b);
}

static void take_up_parked(struct blk_queue *q)
{
	struct blk_request *r = q->parked, *next;

	q->parked = NULL;
	for (; r; r = next) {
		next = r->next;
		blk_run(r);
	}
}

/* -- limits -- */

/* Whether R may go now; else it is held. */
static bool may_go(struct blk_queue *q, struct blk_request *r)
{
	uint64_t bytes, now, when;

	if (!blk_counts(r, &bytes))
		return true;
	now = now_ns();
	when = limit_take(&q->blk->limit, bytes, now, &q->generation);
	if (when <= now)
		return true;
	q->held = r;
	q->held_ns = when;
	return false;
}

static unsigned let_go(struct blk_queue *q)
{
	struct blk_request *r = q->held;

	if (!r)
		return 0;
	if (limit_changed(&q->blk->limit, q->generation)) {
		q->held = NULL;
		if (!may_go(q, r))
			return 0;
	} else if (now_ns() < q->held_ns) {
		return 0;
	}
	q->held = NULL;
	blk_run(r);
	return 1;
}

/* -- the thread -- */

/* How many were taken off the queue. */
static unsigned take(struct blk_queue *q)
{
	struct blk_request *r;
	unsigned n = 0;

	while (n < BATCH && !q->held && (r = slot_take(q))) {
		if (virtq_pop(q->vq, &r->chain) <= 0) {
			slot_give(r);
			break;
		}
		n++;
		if (blk_read_request(r) == 0 && may_go(q, r))
			blk_run(r);
	}
	return n;
}

static int until_held(const struct blk_queue *q)
{
	uint64_t now = now_ns();

	if (!q->held)
		return -1;
	if (now >= q->held_ns)
		return 0;
	return min_u64((q->held_ns - now) / 1000000 + 1, INT_MAX);
}

/* Until there may be something to do. */
static void rest(struct blk_queue *q)
{
	bool takes = !q->held && has_slot(q);
	struct pollfd p[] = {
		{ .fd = q->bell, .events = POLLIN },
		{ .fd = queue_fd(q->io), .events = POLLIN },
		{ .fd = q->vq->kick, .events = POLLIN },
	};
	uint64_t n;

	if (takes) {
		virtq_want_kick(q->vq, true);
		if (virtq_pending(q->vq))
			goto out;
	}
	poll(p, takes ? 3 : 2, until_held(q));
	if (p[0].revents)
		(void)!read(q->bell, &n, sizeof(n));
	if (takes && p[2].revents)
		(void)!read(q->vq->kick, &n, sizeof(n));
out:
	virtq_want_kick(q->vq, false);
}

/* All that was taken is done, and the driver told. */
static void finish(struct blk_queue *q)
{
	struct blk_request *r = take_ptr(q->held);

	if (r)
		blk_run(r);
	queue_drain(q->io);
	virtq_signal(q->vq);
}

static void wait_for_unquiesce(struct blk_queue *q)
{
	struct virtio_blk *b = q->blk;

	pthread_mutex_lock(&b->rest_lock);
	/* Not until `pausing` ends: it may be set anew before we look. */
	q->quiet = b->pausing;
	pthread_cond_broadcast(&b->rest);
	while (q->quiet && !b->stopping)
		pthread_cond_wait(&b->rest, &b->rest_lock);
	q->quiet = false;
	pthread_mutex_unlock(&b->rest_lock);
}

static void *serve(void *arg)
{
	struct blk_queue *q = arg;
	unsigned n;

	virtq_want_kick(q->vq, false);
	while (!q->blk->stopping) {
		/* Read first: a retry before a quiesce comes before it. */
		bool pausing = q->blk->pausing;

		if (atomic_exchange(&q->again, false))
			take_up_parked(q);
		if (pausing) {
			finish(q);
			wait_for_unquiesce(q);
			continue;
		}
		n = let_go(q) + take(q);
		queue_kick(q->io);
		n += queue_reap(q->io);
		virtq_signal(q->vq);
		if (!n)
			rest(q);
	}
	queue_close(take_ptr(q->io));
	return NULL;
}

static int start_thread(struct blk_queue *q)
{
	pthread_attr_t attr;
	sigset_t all;
	int rc;

	sigfillset(&all);	/* signals are for other threads */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setsigmask_np(&attr, &all);
	rc = pthread_create(&q->thread, &attr, serve, q);
	pthread_attr_destroy(&attr);
	if (rc)
		return -rc;
	q->running = true;
	pthread_setname_np(q->thread, q->blk->virtio.name);
	return 0;
}

int blk_queue_start(struct blk_queue *q)
{
	struct virtio_blk *b = q->blk;
	int rc;

	q->used = 0;
	q->spare = q->parked = q->held = NULL;
	q->again = q->quiet = false;
	q->slot = calloc(q->vq->size, sizeof(*q->slot));
	rc = q->slot ? queue_open(&q->io, b->disk, q->vq->size,
				  !b->conf.threads) : -ENOMEM;
	if (rc == 0)
		rc = start_thread(q);
	if (rc < 0) {
		queue_close(take_ptr(q->io));
		free(take_ptr(q->slot));
	}
	return rc;
}

void blk_queue_join(struct blk_queue *q)
{
	uint64_t n;

	if (!q->running)
		return;
	pthread_join(q->thread, NULL);
	q->running = false;
	free(take_ptr(q->slot));
	(void)!read(q->bell, &n, sizeof(n));
}

void blk_queue_ring(struct blk_queue *q)
{
	static const uint64_t one = 1;

	(void)!write(q->bell, &one, sizeof(one));
}
