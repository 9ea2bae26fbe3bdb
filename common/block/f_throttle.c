/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/f_throttle.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/err.h"
#include "base/loop.h"
#include "block/filter.h"

static const uint64_t SECOND = 1000000000;

/*
 * A bucket's content as a time: when it will be full, if nothing more is
 * taken. Past: it is full.
 */
struct bucket {
	uint64_t per_second;
	uint64_t fill_ns;		/* from empty to full */
	uint64_t full_ns;
};

enum { REQUESTS, BYTES, BUCKETS };

struct throttle {
	struct filter filter;
	pthread_mutex_t lock;
	pthread_cond_t changed;		/* by throttle_set() */
	unsigned generation;		/* counts those */
	struct bucket bucket[BUCKETS];
};

static struct throttle *throttle_of(struct block *b)
{
	return container_of(filter_of(b), struct throttle, filter);
}

/* The time in which B gains N tokens; far in the future at most. */
static uint64_t gain_ns(const struct bucket *b, uint64_t n)
{
	unsigned __int128 ns = (unsigned __int128)n * SECOND / b->per_second;

	return ns < INT64_MAX / 2 ? ns : INT64_MAX / 2;
}

/* Takes N tokens; when they will be there, on the clock of NOW. */
static uint64_t take(struct bucket *b, uint64_t n, uint64_t now)
{
	if (!b->per_second)
		return now;
	b->full_ns = max_u64(b->full_ns, now) + gain_ns(b, n);
	b->full_ns = min_u64(b->full_ns, INT64_MAX);
	return b->full_ns - min_u64(b->full_ns, b->fill_ns);
}

/* Until WHEN, or throttle_set(). */
static void wait_until(struct throttle *t, uint64_t when)
{
	struct timespec at = { when / SECOND, when % SECOND };
	unsigned generation = t->generation;

	while (t->generation == generation)
		if (pthread_cond_clockwait(&t->changed, &t->lock,
					   CLOCK_MONOTONIC, &at))
			break;
}

static void pay(struct block *b, uint64_t bytes)
{
	struct throttle *t = throttle_of(b);
	uint64_t now, when;
	unsigned generation;

	pthread_mutex_lock(&t->lock);
	do {
		generation = t->generation;
		now = now_ns();
		when = max_u64(take(&t->bucket[REQUESTS], 1, now),
			       take(&t->bucket[BYTES], bytes, now));
		if (when > now)
			wait_until(t, when);
	} while (t->generation != generation);
	pthread_mutex_unlock(&t->lock);
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
	.close = throttle_close,
};

static struct bucket bucket_of(const struct throttle_rate *r)
{
	struct bucket b = { .per_second = r->per_second };
	uint64_t burst = r->burst ? r->burst : r->per_second / 10;

	if (b.per_second)
		b.fill_ns = gain_ns(&b, max_u64(burst, 1));
	return b;
}

static void fill(struct throttle *t, const struct throttle_limits *l)
{
	t->bucket[REQUESTS] = bucket_of(&l->requests);
	t->bucket[BYTES] = bucket_of(&l->bytes);
}

void throttle_set(struct block *b, const struct throttle_limits *limits)
{
	struct throttle *t = throttle_of(b);

	pthread_mutex_lock(&t->lock);
	fill(t, limits);
	t->generation++;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

int throttle_open(struct block **out, struct block *below,
		  const struct throttle_limits *limits)
{
	struct throttle *t = calloc(1, sizeof(*t));

	if (!t)
		return fail(ENOMEM, "out of memory");
	filter_init(&t->filter, &throttle_ops, below);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	fill(t, limits);
	*out = &t->filter.block;
	return 0;
}
