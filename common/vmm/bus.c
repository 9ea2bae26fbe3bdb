/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

/* All ones, as wide as an access of SIZE bytes. */
static uint64_t ones(unsigned size)
{
	return UINT64_MAX >> (64 - 8 * size);
}

void bus_init(struct bus *b, const char *name, struct bus_host *host)
{
	*b = (struct bus){ .name = name, .host = host };
	pthread_rwlock_init(&b->lock, NULL);
}

void bus_release(struct bus *b)
{
	for (int i = 0; i < b->nregions; i++)
		b->region[i]->mapped = false;
	for (int i = 0; i < b->nbells; i++)
		b->bell[i]->mapped = false;
	b->nregions = b->nbells = 0;
	pthread_rwlock_destroy(&b->lock);
}

/* The number of regions that begin at or below ADDR. */
static int regions_upto(const struct bus *b, uint64_t addr)
{
	int low = 0, high = b->nregions;

	while (low < high) {
		int mid = (low + high) / 2;

		if (b->region[mid]->base <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Whether [BASE, LAST] meets a region, given regions_upto(BASE). */
static bool overlaps(const struct bus *b, int at, uint64_t base, uint64_t last)
{
	const struct region *below = at ? b->region[at - 1] : NULL;

	if (below && base - below->base < below->size)
		return true;
	return at < b->nregions && b->region[at]->base <= last;
}

static int insert_region(struct bus *b, struct region *r, uint64_t last)
{
	int at = regions_upto(b, r->base);

	if (r->mapped || overlaps(b, at, r->base, last))
		return -EBUSY;
	if (b->nregions == BUS_REGIONS)
		return -ENOSPC;
	memmove(&b->region[at + 1], &b->region[at],
		(b->nregions - at) * sizeof(b->region[0]));
	b->region[at] = r;
	b->nregions++;
	r->mapped = true;
	return 0;
}

int bus_add(struct bus *b, struct region *r)
{
	uint64_t last;
	int rc;

	if (!r->size || ckd_add(&last, r->base, r->size - 1))
		return -EINVAL;
	pthread_rwlock_wrlock(&b->lock);
	rc = insert_region(b, r, last);
	pthread_rwlock_unlock(&b->lock);
	return rc;
}

void bus_remove(struct bus *b, struct region *r)
{
	pthread_rwlock_wrlock(&b->lock);
	if (r->mapped) {
		int at = regions_upto(b, r->base) - 1;

		b->nregions--;
		memmove(&b->region[at], &b->region[at + 1],
			(b->nregions - at) * sizeof(b->region[0]));
		r->mapped = false;
	}
	pthread_rwlock_unlock(&b->lock);
}

/* The number of doorbells below ADDR. */
static int bells_below(const struct bus *b, uint64_t addr)
{
	int low = 0, high = b->nbells;

	while (low < high) {
		int mid = (low + high) / 2;

		if (b->bell[mid]->addr < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct doorbell *find_bell(const struct bus *b, uint64_t addr)
{
	int at = bells_below(b, addr);

	return at < b->nbells && b->bell[at]->addr == addr ? b->bell[at] : NULL;
}

static int insert_bell(struct bus *b, struct doorbell *d)
{
	int at = bells_below(b, d->addr);

	if (d->mapped || find_bell(b, d->addr))
		return -EBUSY;
	if (b->nbells == BUS_DOORBELLS)
		return -ENOSPC;
	memmove(&b->bell[at + 1], &b->bell[at],
		(b->nbells - at) * sizeof(b->bell[0]));
	b->bell[at] = d;
	b->nbells++;
	d->mapped = true;
	return 0;
}

int bus_add_doorbell(struct bus *b, struct doorbell *d)
{
	int rc;

	pthread_rwlock_wrlock(&b->lock);
	rc = insert_bell(b, d);
	pthread_rwlock_unlock(&b->lock);
	/* In the table first, so that no write falls between the two. */
	if (rc == 0 && b->host)
		b->host->doorbell(b->host, d->addr, d->fd, true);
	return rc;
}

void bus_remove_doorbell(struct bus *b, struct doorbell *d)
{
	if (!d->mapped)
		return;
	if (b->host)
		b->host->doorbell(b->host, d->addr, d->fd, false);
	pthread_rwlock_wrlock(&b->lock);
	int at = bells_below(b, d->addr);

	b->nbells--;
	memmove(&b->bell[at], &b->bell[at + 1],
		(b->nbells - at) * sizeof(b->bell[0]));
	d->mapped = false;
	pthread_rwlock_unlock(&b->lock);
}

/* What answers an access: a copy, to be used without the lock. */
struct target {
	const struct bus_ops *ops;	/* NULL: nobody */
	void *dev;
	uint64_t off;
};

/* Under the lock. */
static struct target find(struct bus *b, uint64_t addr, unsigned size)
{
	int at = regions_upto(b, addr);
	const struct region *r = at ? b->region[at - 1] : NULL;

	if (!r || !in_range(addr - r->base, size, r->size)) {
		__atomic_fetch_add(&b->unclaimed, 1, __ATOMIC_RELAXED);
		return (struct target){ 0 };
	}
	return (struct target){ r->ops, r->dev, addr - r->base };
}

uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size)
{
	struct target t;

	pthread_rwlock_rdlock(&b->lock);
	t = find(b, addr, size);
	pthread_rwlock_unlock(&b->lock);
	return t.ops ? t.ops->read(t.dev, t.off, size) & ones(size) :
		       ones(size);
}

/*
 * Signals the doorbell at ADDR, if there is one. Under the lock, because its
 * descriptor may be closed as soon as it was removed; nothing here waits.
 */
static bool ring(const struct bus *b, uint64_t addr)
{
	static const uint64_t one = 1;
	const struct doorbell *d = find_bell(b, addr);

	if (d)
		(void)!write(d->fd, &one, sizeof(one));
	return d;
}

void bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t val)
{
	struct target t = { 0 };

	pthread_rwlock_rdlock(&b->lock);
	if (!ring(b, addr))
		t = find(b, addr, size);
	pthread_rwlock_unlock(&b->lock);
	if (t.ops)
		t.ops->write(t.dev, t.off, size, val & ones(size));
}
