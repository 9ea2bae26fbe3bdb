/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test.h"

#include <errno.h>
#include <sys/eventfd.h>

#include "vmm/bus.h"

/* A device that remembers its last access; reads as its number, repeated. */
struct dev {
	struct region region;
	struct bus *bus;
	uint64_t off, val, answer;
	unsigned size, reads, writes;
	bool leaves;		/* removes itself when written */
};

static uint64_t dev_read(void *p, uint64_t off, unsigned size)
{
	struct dev *d = p;

	d->off = off;
	d->size = size;
	d->reads++;
	return d->answer;
}

static void dev_write(void *p, uint64_t off, unsigned size, uint64_t val)
{
	struct dev *d = p;

	d->off = off;
	d->size = size;
	d->val = val;
	d->writes++;
	if (d->leaves)
		bus_remove(d->bus, &d->region);
}

static const struct bus_ops ops = { dev_read, dev_write };

static int add(struct bus *b, struct dev *d, uint64_t base, uint64_t size)
{
	d->bus = b;
	d->region = (struct region){ base, size, &ops, d, "test", false };
	return bus_add(b, &d->region);
}

TEST(access_reaches_its_device_with_a_relative_offset)
{
	struct dev a = { .answer = UINT64_MAX }, z = { .answer = 7 };
	struct bus b;

	bus_init(&b, "port", NULL);
	EQ(add(&b, &z, 0x200, 8), 0);
	EQ(add(&b, &a, 0x100, 0x100), 0);
	EQ(bus_read(&b, 0x1f8, 8), UINT64_MAX);
	EQ(a.off, 0xf8);
	EQ(bus_read(&b, 0x1fc, 4), 0xffffffff);
	EQ(bus_read(&b, 0x1fe, 2), 0xffff);
	EQ(bus_read(&b, 0x1ff, 1), 0xff);
	EQ(bus_read(&b, 0x203, 1), 7);
	EQ(z.off, 3);
	bus_write(&b, 0x200, 2, 0x123456);
	EQ(z.val, 0x3456);
	EQ(z.size, 2);
	EQ(b.unclaimed, 0);
	bus_release(&b);
}

TEST(regions_never_overlap)
{
	static const struct { uint64_t base, size; int rc; } cases[] = {
		{ 0x1000, 0x100, -EBUSY }, { 0x0fff, 2, -EBUSY },
		{ 0x10ff, 1, -EBUSY }, { 0x1050, 4, -EBUSY },
		{ 0, 0x2000, -EBUSY }, { 0, UINT64_MAX, -EBUSY },
		{ 0x5000, 0, -EINVAL }, { UINT64_MAX, 2, -EINVAL },
		{ 2, UINT64_MAX, -EINVAL }, { 0x0ff0, 0x10, 0 },
		{ 0x1100, 1, 0 }, { UINT64_MAX, 1, 0 },
	};
	struct dev d[1 + ARRAY_SIZE(cases)] = { 0 };
	struct bus b;

	bus_init(&b, "memory", NULL);
	EQ(add(&b, &d[0], 0x1000, 0x100), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		EQ(add(&b, &d[1 + i], cases[i].base, cases[i].size),
		   cases[i].rc);
	EQ(bus_add(&b, &d[0].region), -EBUSY);
	EQ(b.nregions, 4);
	bus_write(&b, UINT64_MAX, 1, 1);
	EQ(d[ARRAY_SIZE(cases)].writes, 1);
	bus_release(&b);
	OK(!d[0].region.mapped);
}

TEST(access_over_an_edge_reads_ones_and_writes_nothing)
{
	struct dev a = { .answer = 1 }, z = { .answer = 2 };
	struct bus b;

	bus_init(&b, "memory", NULL);
	EQ(add(&b, &a, 0x100, 6), 0);
	EQ(add(&b, &z, 0x106, 2), 0);
	EQ(bus_read(&b, 0x104, 4), 0xffffffff);
	EQ(bus_read(&b, 0xff, 2), 0xffff);
	EQ(bus_read(&b, 0x108, 1), 0xff);
	EQ(bus_read(&b, UINT64_MAX, 8), UINT64_MAX);
	bus_write(&b, 0x105, 2, 0);
	bus_write(&b, UINT64_MAX, 4, 0);
	EQ(a.reads + a.writes + z.reads + z.writes, 0);
	EQ(b.unclaimed, 6);
	bus_release(&b);
}

TEST(removed_region_is_gone_and_its_place_free)
{
	struct dev a = { 0 }, z = { 0 };
	struct bus b;

	bus_init(&b, "memory", NULL);
	EQ(add(&b, &a, 0x100, 4), 0);
	bus_remove(&b, &a.region);
	bus_remove(&b, &a.region);
	EQ(b.nregions, 0);
	EQ(add(&b, &z, 0x102, 4), 0);
	bus_write(&b, 0x102, 1, 0);
	EQ(a.writes, 0);
	EQ(z.writes, 1);
	bus_release(&b);
}

TEST(device_may_remove_itself_when_written)
{
	struct dev a = { .leaves = true };
	struct bus b;

	bus_init(&b, "memory", NULL);
	EQ(add(&b, &a, 0x100, 4), 0);
	bus_write(&b, 0x100, 4, 1);
	bus_write(&b, 0x100, 4, 2);
	EQ(a.val, 1);
	EQ(a.writes, 1);
	bus_release(&b);
}

TEST(table_of_regions_is_bounded)
{
	static struct dev d[BUS_REGIONS + 1];
	struct bus b;

	bus_init(&b, "memory", NULL);
	for (int i = BUS_REGIONS; i > 0; i--)
		EQ(add(&b, &d[i], i * 4, 4), 0);
	EQ(add(&b, &d[0], 0, 4), -ENOSPC);
	for (int i = 1; i <= BUS_REGIONS; i++) {
		bus_write(&b, i * 4, 4, i);
		EQ(d[i].val, i);
	}
	bus_release(&b);
}

struct fake_host {
	struct bus_host host;
	int on, off, rc;
};

static int fake_doorbell(struct bus_host *h, uint64_t addr, int fd, bool on)
{
	struct fake_host *f = container_of(h, struct fake_host, host);

	(void)addr;
	(void)fd;
	f->on += on;
	f->off += !on;
	return f->rc;
}

static uint64_t rung(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

TEST(doorbell_rings_even_where_the_host_cannot)
{
	struct fake_host f = { .host.doorbell = fake_doorbell, .rc = -ENOSYS };
	struct doorbell d = { .addr = 0x102 };
	struct dev a = { 0 };
	struct bus b;

	d.fd = eventfd(0, EFD_NONBLOCK);
	bus_init(&b, "memory", &f.host);
	EQ(add(&b, &a, 0x100, 8), 0);
	EQ(bus_add_doorbell(&b, &d), 0);
	EQ(f.on, 1);
	bus_write(&b, 0x102, 2, 0);
	bus_write(&b, 0x102, 4, 9);
	EQ(rung(d.fd), 2);
	EQ(a.writes, 0);
	bus_write(&b, 0x101, 1, 0);	/* beside it: the device */
	bus_write(&b, 0x100, 4, 0);	/* over it, too */
	EQ(rung(d.fd), 0);
	EQ(a.writes, 2);
	bus_read(&b, 0x102, 2);		/* reading rings nothing */
	EQ(a.reads, 1);
	EQ(rung(d.fd), 0);
	bus_remove_doorbell(&b, &d);
	bus_remove_doorbell(&b, &d);
	EQ(f.off, 1);
	bus_write(&b, 0x102, 2, 0);
	EQ(a.writes, 3);
	EQ(rung(d.fd), 0);
	close(d.fd);
	bus_release(&b);
}

TEST(doorbells_outside_regions_and_many_of_them)
{
	static struct doorbell d[BUS_DOORBELLS + 1];
	int fd = eventfd(0, EFD_NONBLOCK);
	struct bus b;

	bus_init(&b, "memory", NULL);
	for (int i = BUS_DOORBELLS; i >= 0; i--) {
		d[i] = (struct doorbell){ .addr = i * 2, .fd = fd };
		EQ(bus_add_doorbell(&b, &d[i]), i ? 0 : -ENOSPC);
	}
	EQ(bus_add_doorbell(&b, &d[3]), -EBUSY);
	bus_remove_doorbell(&b, &d[5]);
	d[0].addr = 6;
	EQ(bus_add_doorbell(&b, &d[0]), -EBUSY);
	for (int i = 1; i <= BUS_DOORBELLS; i++) {
		bus_write(&b, i * 2, 2, 0);
		EQ(rung(fd), i != 5);
	}
	bus_release(&b);
	close(fd);
}

/* Readers of one device while another comes and goes. */
static void *reader(void *arg)
{
	struct bus *b = arg;
	uint64_t bad = 0;

	for (int i = 0; i < 20000; i++)
		bad += bus_read(b, 0x100, 1) != 1;
	return (void *)(uintptr_t)bad;
}

TEST(regions_come_and_go_under_readers)
{
	struct dev fixed = { .answer = 1 }, moving = { .answer = 2 };
	struct bus b;
	pthread_t t;
	void *bad;

	bus_init(&b, "memory", NULL);
	EQ(add(&b, &fixed, 0x100, 4), 0);
	EQ(pthread_create(&t, NULL, reader, &b), 0);
	for (int i = 0; i < 2000; i++) {
		EQ(add(&b, &moving, i % 2 ? 0x80 : 0x180, 4), 0);
		bus_remove(&b, &moving.region);
	}
	pthread_join(t, &bad);
	EQ((uintptr_t)bad, 0);
	bus_release(&b);
}

TESTS(T(access_reaches_its_device_with_a_relative_offset),
      T(regions_never_overlap),
      T(access_over_an_edge_reads_ones_and_writes_nothing),
      T(removed_region_is_gone_and_its_place_free),
      T(device_may_remove_itself_when_written),
      T(table_of_regions_is_bounded),
      T(doorbell_rings_even_where_the_host_cannot),
      T(doorbells_outside_regions_and_many_of_them),
      T(regions_come_and_go_under_readers))
