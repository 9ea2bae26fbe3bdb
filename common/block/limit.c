/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/limit.h"

static const uint64_t SECOND = 1000000000;

/* The time in which B gains N tokens; far in the future at most. */
static uint64_t gain_ns(const struct limit_bucket *b, uint64_t n)
{
	unsigned __int128 ns = (unsigned __int128)n * SECOND / b->per_second;

	return ns < INT64_MAX / 2 ? ns : INT64_MAX / 2;
}

/* Takes N tokens; when they will be there, on the clock of NOW. */
static uint64_t take(struct limit_bucket *b, uint64_t n, uint64_t now)
{
	if (!b->per_second)
		return now;
	b->full_ns = max_u64(b->full_ns, now) + gain_ns(b, n);
	b->full_ns = min_u64(b->full_ns, INT64_MAX);
	return max_u64(now, b->full_ns - min_u64(b->full_ns, b->fill_ns));
}

static struct limit_bucket bucket_of(const struct limit_rate *r)
{
	struct limit_bucket b = { .per_second = r->per_second };
	uint64_t burst = r->burst ? r->burst : r->per_second / 10;

	if (b.per_second)
		b.fill_ns = gain_ns(&b, max_u64(burst, 1));
	return b;
}

static void fill(struct limit *l, const struct limit_rates *rates)
{
	l->requests = bucket_of(&rates->requests);
	l->bytes = bucket_of(&rates->bytes);
}

void limit_init(struct limit *l, const struct limit_rates *rates)
{
	l->generation = 0;
	pthread_mutex_init(&l->lock, NULL);
	fill(l, rates);
}

void limit_release(struct limit *l)
{
	pthread_mutex_destroy(&l->lock);
}

void limit_set(struct limit *l, const struct limit_rates *rates)
{
	pthread_mutex_lock(&l->lock);
	fill(l, rates);
	l->generation++;
	pthread_mutex_unlock(&l->lock);
}

uint64_t limit_take(struct limit *l, uint64_t bytes, uint64_t now,
		    unsigned *generation)
{
	uint64_t when;

	pthread_mutex_lock(&l->lock);
	when = max_u64(take(&l->requests, 1, now), take(&l->bytes, bytes, now));
	*generation = l->generation;
	pthread_mutex_unlock(&l->lock);
	return when;
}

bool limit_changed(struct limit *l, unsigned generation)
{
	bool changed;

	pthread_mutex_lock(&l->lock);
	changed = l->generation != generation;
	pthread_mutex_unlock(&l->lock);
	return changed;
}
