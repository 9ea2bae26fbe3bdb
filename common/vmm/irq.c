/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/irq.h"

#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>

/*
 * A lock of one byte, held for one system call at most: too short to sleep
 * for, and small enough for every line to have its own.
 */
static void lock(bool *busy)
{
	while (__atomic_test_and_set(busy, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void unlock(bool *busy)
{
	__atomic_clear(busy, __ATOMIC_RELEASE);
}

void irq_set(struct irq_line *l, unsigned src, bool level)
{
	uint32_t old;

	lock(&l->busy);
	old = l->holders;
	if (level)
		l->holders |= 1U << src;
	else
		l->holders &= ~(1U << src);
	/* Within the lock: the chip must see changes in their order. */
	if (!old != !l->holders)
		l->chip->ops->line(l->chip, l->gsi, level);
	unlock(&l->busy);
}

void irq_pulse(struct irq_line *l)
{
	lock(&l->busy);
	l->chip->ops->line(l->chip, l->gsi, true);
	l->chip->ops->line(l->chip, l->gsi, false);
	unlock(&l->busy);
}

void msi_init(struct msi *m, struct irqchip *chip)
{
	*m = (struct msi){ .chip = chip, .fd = -1, .gsi = -1 };
}

/* A message GSI for us alone, or -ENOSPC. */
static int gsi_take(struct irqchip *c)
{
	for (int gsi = IRQ_PINS; gsi < IRQ_GSIS; gsi++) {
		uint64_t bit = 1ULL << gsi % 64;

		if (!(__atomic_fetch_or(&c->used[gsi / 64], bit,
					__ATOMIC_RELAXED) & bit))
			return gsi;
	}
	return -ENOSPC;
}

static void gsi_give(struct irqchip *c, int gsi)
{
	__atomic_fetch_and(&c->used[gsi / 64], ~(1ULL << gsi % 64),
			   __ATOMIC_RELAXED);
}

/* First use: an eventfd and a GSI, bound to the message. */
static int msi_open(struct msi *m, uint64_t addr, uint32_t data)
{
	autoclose int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int gsi, rc;

	if (fd < 0)
		return -errno;
	gsi = gsi_take(m->chip);
	if (gsi < 0)
		return gsi;
	rc = m->chip->ops->route_msi(m->chip, gsi, addr, data, fd);
	if (rc < 0) {
		gsi_give(m->chip, gsi);
		return rc;
	}
	m->gsi = gsi;
	lock(&m->busy);
	m->fd = take_fd(&fd);
	unlock(&m->busy);
	return 0;
}

int msi_set(struct msi *m, uint64_t addr, uint32_t data)
{
	int rc;

	if (m->gsi < 0)
		rc = msi_open(m, addr, data);
	else if (m->addr == addr && m->data == data)
		return 0;
	else
		rc = m->chip->ops->route_msi(m->chip, m->gsi, addr, data,
					     m->fd);
	if (rc < 0) {
		msi_release(m);
		return rc;
	}
	m->addr = addr;
	m->data = data;
	return 0;
}

void msi_fire(struct msi *m)
{
	static const uint64_t one = 1;

	lock(&m->busy);
	if (m->fd >= 0)
		(void)!write(m->fd, &one, sizeof(one));
	unlock(&m->busy);
}

void msi_release(struct msi *m)
{
	int fd;

	if (m->gsi < 0)
		return;
	lock(&m->busy);
	fd = take_fd(&m->fd);
	unlock(&m->busy);
	m->chip->ops->unroute_msi(m->chip, m->gsi, fd);
	gsi_give(m->chip, m->gsi);
	m->gsi = -1;
	close(fd);
}
