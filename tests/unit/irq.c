/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test.h"

#include <errno.h>
#include <pthread.h>

#include "vmm/irq.h"

/* A chip that remembers. */
struct fake_chip {
	struct irqchip chip;
	bool level[IRQ_PINS];
	unsigned changes, routes, unroutes;
	unsigned gsi;
	uint64_t addr;
	uint32_t data;
	int fd, rc;
};

static void fake_line(struct irqchip *c, unsigned gsi, bool level)
{
	struct fake_chip *f = container_of(c, struct fake_chip, chip);

	f->level[gsi] = level;
	f->changes++;
}

static int fake_route(struct irqchip *c, unsigned gsi, uint64_t addr,
		      uint32_t data, int fd)
{
	struct fake_chip *f = container_of(c, struct fake_chip, chip);

	f->routes++;
	f->gsi = gsi;
	f->addr = addr;
	f->data = data;
	f->fd = fd;
	return f->rc;
}

static void fake_unroute(struct irqchip *c, unsigned gsi, int fd)
{
	struct fake_chip *f = container_of(c, struct fake_chip, chip);

	f->unroutes++;
	f->gsi = gsi;
	f->fd = fd;
}

static const struct irqchip_ops ops = { fake_line, fake_route, fake_unroute };

TEST(line_is_the_or_of_its_sources)
{
	struct fake_chip f = { .chip.ops = &ops };
	struct irq_line l = { .chip = &f.chip, .gsi = 16 };

	irq_set(&l, 0, true);
	irq_set(&l, 31, true);
	irq_set(&l, 0, true);
	OK(f.level[16]);
	EQ(f.changes, 1);
	irq_set(&l, 0, false);
	OK(f.level[16]);
	irq_set(&l, 5, false);
	irq_set(&l, 31, false);
	OK(!f.level[16]);
	EQ(f.changes, 2);
}

TEST(pulse_goes_up_and_down)
{
	struct fake_chip f = { .chip.ops = &ops };
	struct irq_line l = { .chip = &f.chip, .gsi = 4 };

	irq_pulse(&l);
	EQ(f.changes, 2);
	OK(!f.level[4]);
}

static void *toggle(void *arg)
{
	struct irq_line *l = ((void **)arg)[0];
	unsigned src = (uintptr_t)((void **)arg)[1];

	for (int i = 0; i < 5000; i++) {
		irq_set(l, src, true);
		irq_set(l, src, false);
	}
	return NULL;
}

TEST(line_ends_low_whoever_races)
{
	struct fake_chip f = { .chip.ops = &ops };
	struct irq_line l = { .chip = &f.chip, .gsi = 17 };
	void *args[3][2] = { { &l, (void *)0 }, { &l, (void *)1 },
			     { &l, (void *)2 } };
	pthread_t t[3];

	for (int i = 0; i < 3; i++)
		EQ(pthread_create(&t[i], NULL, toggle, args[i]), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	OK(!f.level[17]);
	EQ(l.holders, 0);
	EQ(f.changes % 2, 0);
}

TEST(msi_is_routed_when_set_and_only_when_it_changes)
{
	struct fake_chip f = { .chip.ops = &ops };
	struct msi m;
	uint64_t n = 0;
	int fd;

	msi_init(&m, &f.chip);
	msi_fire(&m);
	EQ(f.routes, 0);
	EQ(msi_set(&m, 0xfee00000, 0x41), 0);
	EQ(f.routes, 1);
	EQ(f.gsi, IRQ_PINS);
	EQ(f.fd, m.fd);
	EQ(msi_set(&m, 0xfee00000, 0x41), 0);
	EQ(f.routes, 1);
	fd = m.fd;
	EQ(msi_set(&m, 0xfee01000, 0x42), 0);
	EQ(f.routes, 2);
	EQ(m.fd, fd);
	EQ(f.data, 0x42);
	msi_fire(&m);
	msi_fire(&m);
	EQ(read(fd, &n, sizeof(n)), 8);
	EQ(n, 2);
	msi_release(&m);
	EQ(f.unroutes, 1);
	EQ(f.chip.used[0], 0);
	msi_fire(&m);
	msi_release(&m);
	EQ(f.unroutes, 1);
}

TEST(msi_that_cannot_be_routed_delivers_nothing)
{
	struct fake_chip f = { .chip.ops = &ops, .rc = -EINVAL };
	struct msi m;

	msi_init(&m, &f.chip);
	EQ(msi_set(&m, 1, 2), -EINVAL);
	EQ(m.fd, -1);
	EQ(f.chip.used[0], 0);
	msi_fire(&m);
	f.rc = 0;
	EQ(msi_set(&m, 1, 2), 0);
	f.rc = -EINVAL;
	EQ(msi_set(&m, 1, 3), -EINVAL);
	EQ(m.fd, -1);
	EQ(m.gsi, -1);
	EQ(f.unroutes, 1);
	EQ(f.chip.used[0], 0);
	/* and the message it had before is a new one now */
	f.rc = 0;
	EQ(msi_set(&m, 1, 2), 0);
	EQ(f.routes, 4);
	msi_release(&m);
}

TEST(message_gsis_are_distinct_and_run_out)
{
	struct fake_chip f = { .chip.ops = &ops };
	static struct msi m[IRQ_GSIS];
	static bool seen[IRQ_GSIS];
	int n = IRQ_GSIS - IRQ_PINS;

	for (int i = 0; i < n; i++) {
		msi_init(&m[i], &f.chip);
		EQ(msi_set(&m[i], 1, i), 0);
		OK(m[i].gsi >= IRQ_PINS && m[i].gsi < IRQ_GSIS);
		OK(!seen[m[i].gsi]);
		seen[m[i].gsi] = true;
	}
	msi_init(&m[n], &f.chip);
	EQ(msi_set(&m[n], 1, 0), -ENOSPC);
	EQ(m[n].fd, -1);
	for (int i = 0; i < n; i++)
		msi_release(&m[i]);
}

TESTS(T(line_is_the_or_of_its_sources),
      T(pulse_goes_up_and_down),
      T(line_ends_low_whoever_races),
      T(msi_is_routed_when_set_and_only_when_it_changes),
      T(msi_that_cannot_be_routed_delivers_nothing),
      T(message_gsis_are_distinct_and_run_out))
