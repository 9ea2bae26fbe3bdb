/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/f_throttle.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/err.h"
#include "base/loop.h"
#include "block/filter.h"

static const uint64_t SECOND = 1000000000;

struct throttle {
	struct filter filter;
	struct limit limit;
	pthread_mutex_t lock;		/* of `changed` */
	pthread_cond_t changed;		/* by throttle_set() */
};

static struct throttle *throttle_of(struct block *b)
{
	return container_of(filter_of(b), struct throttle, filter);
}

/* Until WHEN; false: the rates became others than GENERATION before that. */
static bool wait_until(struct throttle *t, uint64_t when, unsigned generation)
{
	struct timespec at = { when / SECOND, when % SECOND };
	int rc = 0;

	pthread_mutex_lock(&t->lock);
	while (!rc && !limit_changed(&t->limit, generation))
		rc = pthread_cond_clockwait(&t->changed, &t->lock,
					    CLOCK_MONOTONIC, &at);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

static void pay(struct block *b, uint64_t bytes)
{
	struct throttle *t = throttle_of(b);
	uint64_t now, when;
	unsigned generation;

	do {
		now = now_ns();
		when = limit_take(&t->limit, bytes, now, &generation);
	} while (when > now && !wait_until(t, when, generation));
}

static int throttle_readv(struct block *b, struct iovec *iov, int n,
			  uint64_t off, uint64_t len)
{
	pay(b, len);
	return filter_readv(b, iov, n, off, len);
}

static int throttle_writev(struct block *b, struct iovec *iov, int n,
			   uint64_t off, uint64_t len)
{
	pay(b, len);
	return filter_writev(b, iov, n, off, len);
}

static int throttle_zero(struct block *b, uint64_t off, uint64_t len,
			 bool unmap)
{
	pay(b, 0);
	return filter_zero(b, off, len, unmap);
}

static int throttle_discard(struct block *b, uint64_t off, uint64_t len)
{
	pay(b, 0);
	return filter_discard(b, off, len);
}

static void throttle_close(struct block *b)
{
	struct throttle *t = throttle_of(b);

	filter_release(&t->filter);
	limit_release(&t->limit);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static const struct block_ops throttle_ops = {
	.name = "throttle",
	.readv = throttle_readv,
	.writev = throttle_writev,
	.flush = filter_flush,
	.zero = throttle_zero,
	.discard = throttle_discard,
	.resize = filter_resize,
	.status = filter_status,
	.fd = filter_fd,
	.freeze = filter_freeze,
	.close = throttle_close,
};

void throttle_set(struct block *b, const struct limit_rates *rates)
{
	struct throttle *t = throttle_of(b);

	pthread_mutex_lock(&t->lock);
	limit_set(&t->limit, rates);
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

int throttle_open(struct block **out, struct block *below,
		  const struct limit_rates *rates)
{
	struct throttle *t = calloc(1, sizeof(*t));

	if (!t)
		return fail(ENOMEM, "out of memory");
	filter_init(&t->filter, &throttle_ops, below);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	limit_init(&t->limit, rates);
	*out = &t->filter.block;
	return 0;
}
