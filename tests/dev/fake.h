/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake.h - a machine and a driver for device tests, without KVM.
 *
 * The machine: a few MiB of RAM at 0, a memory and a port bus, a PCI bus, an
 * event loop, an interrupt chip that remembers. The driver does with a
 * virtio-pci device what a guest's does, by the same registers:
 *
 *	struct fake f;
 *	struct fake_drv d;
 *	struct fake_queue q;
 *
 *	fake_init(&f);
 *	... virtio_pci_init(&pci, &dev.virtio, &f.chip.irqchip);
 *	pci_bus_add(&f.pci, &pci.pci, pci_devfn(1, 0));
 *
 *	fake_probe(&d, &f, pci_devfn(1, 0));
 *	fake_negotiate(&d, ~0ULL);	all that is offered
 *	fake_msix_on(&d, 2);		without it: INTx and ISR
 *	fake_queue_init(&q, &d, 0, 16, 0x10000);
 *	fake_driver_ok(&d);
 *
 *	fake_add(&q, (struct fake_seg[]){ { 0x20000, 16 }, { 0x21000, 512 } },
 *		 1, 1);			one the device reads, one it writes
 *	fake_kick(&q);
 *	OK(fake_wait(&q, &id, &len));
 *	EQ(fake_msi(&f, FAKE_MSI + 1), 1);
 *
 *	fake_reset(&d);
 *	fake_release(&f);
 *
 * Nothing here judges: what a hostile driver would do is done as told.
 */
#ifndef TESTS_DEV_FAKE_H
#define TESTS_DEV_FAKE_H

#include <poll.h>
#include <string.h>

#include "base/loop.h"
#include "dev/virtio_pci.h"

#ifndef FAKE_RAM
#define FAKE_RAM (8 << 20)	/* a test may want less */
#endif
enum {
	FAKE_MSI = 0x40,	/* data of vector 0's message */
	FAKE_DATA = 256,	/* messages are told apart by their low byte */
	FAKE_WAIT_MS = 5000,
};
#define FAKE_ECAM	0xe0000000ULL
#define FAKE_WINDOW	0xd0000000ULL
#define FAKE_MSI_ADDR	0xfee00000ULL

/* ------------------------------------------------------- the interrupts */

struct fake_route {
	bool on;
	uint64_t addr;
	uint32_t data;
	int fd;
};

struct fake_chip {
	struct irqchip irqchip;
	bool line[IRQ_PINS];
	unsigned edges[IRQ_PINS];	/* times the line went up */
	pthread_mutex_t lock;		/* of what follows: devices have threads */
	struct fake_route route[IRQ_GSIS];
	unsigned routings;		/* calls of route_msi() */
	bool refuse;			/* let route_msi() fail */
	uint64_t sent[FAKE_DATA];	/* by data; not asked for yet */
};

static inline void fake_drain(struct fake_chip *c, struct fake_route *r)
{
	struct pollfd p = { .fd = r->fd, .events = POLLIN };
	uint64_t n;

	while (r->on && poll(&p, 1, 0) == 1 &&
	       read(r->fd, &n, sizeof(n)) == sizeof(n))
		c->sent[r->data % FAKE_DATA] += n;
}

static inline void fake_line(struct irqchip *irqchip, unsigned gsi, bool level)
{
	struct fake_chip *c = container_of(irqchip, struct fake_chip, irqchip);

	c->edges[gsi] += level && !c->line[gsi];
	c->line[gsi] = level;
}

static inline int fake_route_msi(struct irqchip *irqchip, unsigned gsi,
				 uint64_t addr, uint32_t data, int fd)
{
	struct fake_chip *c = container_of(irqchip, struct fake_chip, irqchip);
	bool refuse;

	pthread_mutex_lock(&c->lock);
	c->routings++;
	refuse = c->refuse;
	if (!refuse) {
		fake_drain(c, &c->route[gsi]);
		c->route[gsi] = (struct fake_route){ true, addr, data, fd };
	}
	pthread_mutex_unlock(&c->lock);
	return refuse ? -28 : 0;
}

static inline void fake_unroute_msi(struct irqchip *irqchip, unsigned gsi,
				    int fd)
{
	struct fake_chip *c = container_of(irqchip, struct fake_chip, irqchip);

	(void)fd;
	pthread_mutex_lock(&c->lock);
	fake_drain(c, &c->route[gsi]);
	c->route[gsi].on = false;
	pthread_mutex_unlock(&c->lock);
}

/* ----------------------------------------------------------- the machine */

struct fake {
	struct mem mem;
	struct bus memory, ports;
	struct fake_chip chip;
	struct irq_line intx[PCI_LINES];	/* GSI 16..19 */
	struct pci_bus pci;
	struct loop loop;
	struct timer stop;
};

/* 0, or what failed: a test that goes on without it crashes. */
static inline int fake_init(struct fake *f)
{
	static const struct irqchip_ops ops = {
		.line = fake_line,
		.route_msi = fake_route_msi,
		.unroute_msi = fake_unroute_msi,
	};
	struct pci_plan plan = {
		.memory = &f->memory, .ports = &f->ports, .ecam = FAKE_ECAM,
		.mem = { .base = FAKE_WINDOW, .size = 1 << 24 },
		.io = { .base = 0xc000, .size = 0x1000 },
		.bridge = { .vendor = 0x8086, .device = 0x1237,
			    .class = 0x060000 },
	};
	int rc;

	memset(f, 0, sizeof(*f));
	rc = mem_init(&f->mem, FAKE_RAM, 1 << 30);
	if (rc == 0)
		rc = loop_init(&f->loop);
	if (rc < 0)
		return rc;
	bus_init(&f->memory, "memory", NULL);
	bus_init(&f->ports, "port", NULL);
	f->chip.irqchip.ops = &ops;
	pthread_mutex_init(&f->chip.lock, NULL);
	for (unsigned i = 0; i < PCI_LINES; i++) {
		f->intx[i] = (struct irq_line){ .chip = &f->chip.irqchip,
						.gsi = 16 + i };
		plan.intx[i] = &f->intx[i];
	}
	return pci_bus_init(&f->pci, &plan);
}

static inline void fake_release(struct fake *f)
{
	pci_bus_release(&f->pci);
	bus_release(&f->memory);
	bus_release(&f->ports);
	loop_release(&f->loop);
	mem_release(&f->mem);
}

/* How often the message DATA was sent since the last call. */
static inline unsigned fake_msi(struct fake *f, uint32_t data)
{
	struct fake_chip *c = &f->chip;
	unsigned n;

	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < IRQ_GSIS; i++)
		fake_drain(c, &c->route[i]);
	n = c->sent[data % FAKE_DATA];
	c->sent[data % FAKE_DATA] = 0;
	pthread_mutex_unlock(&c->lock);
	return n;
}

static inline void fake_stop(struct timer *t)
{
	loop_stop(&container_of(t, struct fake, stop)->loop);
}

/* Runs the event loop for MS milliseconds. */
static inline void fake_loop(struct fake *f, unsigned ms)
{
	timer_set(&f->loop, &f->stop, ms * 1000000ULL, fake_stop);
	loop_run(&f->loop);
}

/* Configuration space, by ECAM. */
static inline uint64_t fake_conf(struct fake *f, unsigned devfn, unsigned off,
				 unsigned size)
{
	return bus_read(&f->memory, FAKE_ECAM + (devfn << 12) + off, size);
}

static inline void fake_conf_set(struct fake *f, unsigned devfn, unsigned off,
				 unsigned size, uint64_t val)
{
	bus_write(&f->memory, FAKE_ECAM + (devfn << 12) + off, size, val);
}

/* ------------------------------------------------------------ the driver */

struct fake_drv {
	struct fake *f;
	unsigned devfn;
	/* Addresses of the structures; 0: there is no such capability. */
	gpa_t common, notify, isr, config, msix_table, msix_pba;
	unsigned window, msix;		/* offsets of these capabilities */
	uint32_t notify_step;
	uint64_t features;
	bool msix_on;
};

#define FAKE_COMMON(field) \
	offsetof(struct virtio_pci_common, field), \
	sizeof(((struct virtio_pci_common *)0)->field)

/* fake_reg(d, FAKE_COMMON(status)) */
static inline uint64_t fake_reg(struct fake_drv *d, unsigned off, unsigned size)
{
	return bus_read(&d->f->memory, d->common + off, size);
}

static inline void fake_reg_set(struct fake_drv *d, unsigned off,
				unsigned size, uint64_t val)
{
	bus_write(&d->f->memory, d->common + off, size, val);
}

static inline unsigned fake_status(struct fake_drv *d)
{
	return fake_reg(d, FAKE_COMMON(status));
}

static inline void fake_status_set(struct fake_drv *d, unsigned status)
{
	fake_reg_set(d, FAKE_COMMON(status), status);
}

static inline uint64_t fake_config(struct fake_drv *d, unsigned off,
				   unsigned size)
{
	return bus_read(&d->f->memory, d->config + off, size);
}

static inline void fake_config_set(struct fake_drv *d, unsigned off,
				   unsigned size, uint64_t val)
{
	bus_write(&d->f->memory, d->config + off, size, val);
}

static inline gpa_t fake_bar(struct fake_drv *d, unsigned bar)
{
	return fake_conf(d->f, d->devfn, PCI_BAR0 + 4 * bar, 4) & ~15ULL;
}

static inline void fake_take_cap(struct fake_drv *d, unsigned cap)
{
	struct fake *f = d->f;
	unsigned type = fake_conf(f, d->devfn, cap + 3, 1);
	gpa_t at = fake_bar(d, fake_conf(f, d->devfn, cap + 4, 1)) +
		fake_conf(f, d->devfn, cap + 8, 4);

	if (type == VIRTIO_PCI_CAP_COMMON)
		d->common = at;
	if (type == VIRTIO_PCI_CAP_ISR)
		d->isr = at;
	if (type == VIRTIO_PCI_CAP_CONFIG)
		d->config = at;
	if (type == VIRTIO_PCI_CAP_WINDOW)
		d->window = cap;
	if (type == VIRTIO_PCI_CAP_NOTIFY) {
		d->notify = at;
		d->notify_step = fake_conf(f, d->devfn, cap + 16, 4);
	}
}

static inline void fake_take_msix(struct fake_drv *d, unsigned cap)
{
	uint32_t table = fake_conf(d->f, d->devfn, cap + 4, 4);
	uint32_t pba = fake_conf(d->f, d->devfn, cap + 8, 4);

	d->msix = cap;
	d->msix_table = fake_bar(d, table & 7) + (table & ~7U);
	d->msix_pba = fake_bar(d, pba & 7) + (pba & ~7U);
}

/* Finds the device's structures and enables its memory; resets it. */
static inline void fake_probe(struct fake_drv *d, struct fake *f,
			      unsigned devfn)
{
	unsigned cap, id;

	*d = (struct fake_drv){ .f = f, .devfn = devfn };
	fake_conf_set(f, devfn, PCI_COMMAND, 2,
		      PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	cap = fake_conf(f, devfn, PCI_CAPABILITIES, 1);
	for (int i = 0; cap && i < 48; i++) {
		id = fake_conf(f, devfn, cap, 1);
		if (id == PCI_CAP_VENDOR)
			fake_take_cap(d, cap);
		if (id == PCI_CAP_MSIX)
			fake_take_msix(d, cap);
		cap = fake_conf(f, devfn, cap + 1, 1);
	}
	fake_status_set(d, 0);
}

static inline uint64_t fake_offered(struct fake_drv *d)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < 2; i++) {
		fake_reg_set(d, FAKE_COMMON(device_feature_select), i);
		bits |= fake_reg(d, FAKE_COMMON(device_feature)) << (32 * i);
	}
	return bits;
}

/* Takes FEATURES, offered or not; whether FEATURES_OK stayed. */
static inline bool fake_accept(struct fake_drv *d, uint64_t features)
{
	d->features = features;
	fake_status_set(d, VIRTIO_ACKNOWLEDGE);
	fake_status_set(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		fake_reg_set(d, FAKE_COMMON(driver_feature_select), i);
		fake_reg_set(d, FAKE_COMMON(driver_feature),
			     (uint32_t)(features >> (32 * i)));
	}
	fake_status_set(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER |
			VIRTIO_FEATURES_OK);
	return fake_status(d) & VIRTIO_FEATURES_OK;
}

/* The same with what of WANTED is offered. */
static inline bool fake_negotiate(struct fake_drv *d, uint64_t wanted)
{
	return fake_accept(d, fake_offered(d) & wanted);
}

static inline void fake_msix_entry(struct fake_drv *d, unsigned vector,
				   uint64_t addr, uint32_t data, bool masked)
{
	gpa_t at = d->msix_table + MSIX_ENTRY_SIZE * vector;

	bus_write(&d->f->memory, at, 4, (uint32_t)addr);
	bus_write(&d->f->memory, at + 4, 4, addr >> 32);
	bus_write(&d->f->memory, at + 8, 4, data);
	bus_write(&d->f->memory, at + 12, 4, masked);
}

static inline void fake_msix_control(struct fake_drv *d, bool enable, bool mask)
{
	fake_conf_set(d->f, d->devfn, d->msix + 2, 2,
		      enable << 15 | mask << 14);
}

/*
 * Enables MSI-X: vector 0 for configuration changes, i + 1 for queue i, each
 * sends FAKE_MSI + vector. Queues set up from now on use theirs.
 */
static inline void fake_msix_on(struct fake_drv *d, unsigned vectors)
{
	fake_msix_control(d, true, true);
	for (unsigned i = 0; i < vectors; i++)
		fake_msix_entry(d, i, FAKE_MSI_ADDR, FAKE_MSI + i, false);
	fake_msix_control(d, true, false);
	fake_reg_set(d, FAKE_COMMON(config_vector), 0);
	d->msix_on = true;
}

static inline void fake_driver_ok(struct fake_drv *d)
{
	fake_status_set(d, fake_status(d) | VIRTIO_DRIVER_OK);
}

/* Writes status 0; whether it reads back 0. */
static inline bool fake_reset(struct fake_drv *d)
{
	fake_status_set(d, 0);
	return fake_status(d) == 0;
}

/* ------------------------------------------------------------- the queue */

struct fake_queue {
	struct fake_drv *d;
	unsigned index;
	uint16_t size;
	gpa_t desc, avail, used;
	gpa_t bell;		/* where a kick is written */
	uint16_t next;		/* descriptor to use next, round and round */
	uint16_t avail_idx, used_idx;
};

enum { FAKE_NEXT = 1, FAKE_WRITE = 2, FAKE_INDIRECT = 4 };

struct fake_seg {
	gpa_t gpa;
	uint32_t len;
};

struct fake_desc {
	le64 addr;
	le32 len;
	le16 flags, next;
};

static inline struct mem *fake_queue_mem(struct fake_queue *q)
{
	return &q->d->f->mem;
}

/* Writes the queue's registers as Q says, without enabling it. */
static inline void fake_queue_regs(struct fake_queue *q)
{
	struct fake_drv *d = q->d;

	fake_reg_set(d, FAKE_COMMON(queue_select), q->index);
	fake_reg_set(d, FAKE_COMMON(queue_size), q->size);
	fake_reg_set(d, FAKE_COMMON(queue_desc), q->desc);
	fake_reg_set(d, FAKE_COMMON(queue_driver), q->avail);
	fake_reg_set(d, FAKE_COMMON(queue_device), q->used);
	if (d->msix_on)
		fake_reg_set(d, FAKE_COMMON(queue_vector), q->index + 1);
	q->bell = d->notify + d->notify_step *
		fake_reg(d, FAKE_COMMON(notify_off));
}

static inline bool fake_queue_enable(struct fake_queue *q)
{
	fake_reg_set(q->d, FAKE_COMMON(queue_select), q->index);
	fake_reg_set(q->d, FAKE_COMMON(queue_enable), 1);
	return fake_reg(q->d, FAKE_COMMON(queue_enable)) == 1;
}

/* Lays a queue of SIZE out at BASE (12 KiB for 256), zeroes and enables it. */
static inline bool fake_queue_init(struct fake_queue *q, struct fake_drv *d,
				   unsigned index, uint16_t size, gpa_t base)
{
	*q = (struct fake_queue){ .d = d, .index = index, .size = size,
				  .desc = base };
	q->avail = base + 16 * size;
	q->used = align_up(q->avail + 6 + 2 * size, 4);
	mem_zero(&d->f->mem, base, q->used + 6 + 8 * size - base);
	fake_queue_regs(q);
	return fake_queue_enable(q);
}

/* Descriptor I of the table at TABLE. */
static inline void fake_desc_at(struct fake_queue *q, gpa_t table, unsigned i,
				gpa_t addr, uint32_t len, uint16_t flags,
				uint16_t next)
{
	struct fake_desc desc = { to_le64(addr), to_le32(len), to_le16(flags),
				  to_le16(next) };

	mem_write(fake_queue_mem(q), table + 16 * i, &desc, sizeof(desc));
}

static inline void fake_desc(struct fake_queue *q, unsigned i, gpa_t addr,
			     uint32_t len, uint16_t flags, uint16_t next)
{
	fake_desc_at(q, q->desc, i, addr, len, flags, next);
}

/* Makes HEAD available, whatever it is. */
static inline void fake_offer(struct fake_queue *q, uint16_t head)
{
	gpa_t slot = q->avail + 4 + 2 * (q->avail_idx % q->size);

	mem_store16(fake_queue_mem(q), slot, head);
	mem_store16(fake_queue_mem(q), q->avail + 2, ++q->avail_idx);
}

/* Adds a chain: NOUT segments the device reads, then NIN it writes. */
static inline uint16_t fake_add(struct fake_queue *q,
				const struct fake_seg *seg, unsigned nout,
				unsigned nin)
{
	uint16_t head = q->next, flags, at;

	for (unsigned i = 0; i < nout + nin; i++) {
		at = q->next;
		q->next = (at + 1) % q->size;
		flags = (i < nout ? 0 : FAKE_WRITE) |
			(i + 1 < nout + nin ? FAKE_NEXT : 0);
		fake_desc(q, at, seg[i].gpa, seg[i].len, flags, q->next);
	}
	fake_offer(q, head);
	return head;
}

/* The same by an indirect table at TABLE. */
static inline uint16_t fake_add_indirect(struct fake_queue *q, gpa_t table,
					 const struct fake_seg *seg,
					 unsigned nout, unsigned nin)
{
	uint16_t head = q->next, flags;
	unsigned n = nout + nin;

	for (unsigned i = 0; i < n; i++) {
		flags = (i < nout ? 0 : FAKE_WRITE) |
			(i + 1 < n ? FAKE_NEXT : 0);
		fake_desc_at(q, table, i, seg[i].gpa, seg[i].len, flags, i + 1);
	}
	fake_desc(q, head, table, 16 * n, FAKE_INDIRECT, 0);
	q->next = (head + 1) % q->size;
	fake_offer(q, head);
	return head;
}

static inline void fake_kick(struct fake_queue *q)
{
	bus_write(&q->d->f->memory, q->bell, 2, q->index);
}

/* Takes the next used element; false: there is none. */
static inline bool fake_used(struct fake_queue *q, uint32_t *id, uint32_t *len)
{
	struct { le32 id, len; } elem = { 0 };
	uint16_t idx;

	if (mem_load16(fake_queue_mem(q), q->used + 2, &idx) < 0 ||
	    idx == q->used_idx)
		return false;
	mem_read(fake_queue_mem(q), q->used + 4 +
		 8 * (q->used_idx++ % q->size), &elem, sizeof(elem));
	if (id)
		*id = get_le32(elem.id);
	if (len)
		*len = get_le32(elem.len);
	return true;
}

/* The same, running the loop until there is one; false: not in time. */
static inline bool fake_wait(struct fake_queue *q, uint32_t *id, uint32_t *len)
{
	uint64_t end = now_ns() + FAKE_WAIT_MS * 1000000ULL;

	while (!fake_used(q, id, len)) {
		if (now_ns() > end)
			return false;
		fake_loop(q->d->f, 1);
	}
	return true;
}

/* Whether the device asked to be kicked for the next chain. */
static inline bool fake_kick_wanted(struct fake_queue *q)
{
	bool event = q->d->features & VIRTIO_F_BIT(VIRTIO_F_EVENT);
	uint16_t v = 0;

	mem_load16(fake_queue_mem(q), event ? q->used + 4 + 8 * q->size :
		   q->used, &v);
	return event ? v == q->avail_idx : !v;
}

/* EVENT_IDX: interrupt when used idx passes EVENT. */
static inline void fake_used_event(struct fake_queue *q, uint16_t event)
{
	mem_store16(fake_queue_mem(q), q->avail + 4 + 2 * q->size, event);
}

#endif
