/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pci.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/section.h"

enum {
	FUNCTION_SIZE = 4096,	/* of ECAM for one function */
	CAPS_START = 0x40,
	BAR_IO = 1,		/* low bits of a BAR register */
	BAR_64 = 4,
	ADDRESS_ENABLE = 1u << 31,
	ADDRESS_BITS = ADDRESS_ENABLE | 0xfffffc,
	PORT_ADDRESS = 0xcf8,
	PORT_DATA = 0xcfc,
};

static uint64_t all_ones(unsigned size)
{
	return size >= 8 ? UINT64_MAX : (1ULL << (8 * size)) - 1;
}

static uint64_t field_get(const uint8_t *at, unsigned size)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)at[i] << (8 * i);
	return val;
}

static void field_put(uint8_t *at, unsigned size, uint64_t val)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = val >> (8 * i);
}

uint64_t pci_get(const struct pci_dev *d, unsigned off, unsigned size)
{
	assert(size <= 8 && in_range(off, size, PCI_CONFIG_SIZE));
	return field_get(d->config + off, size);
}

void pci_put(struct pci_dev *d, unsigned off, unsigned size, uint64_t val)
{
	assert(size <= 8 && in_range(off, size, PCI_CONFIG_SIZE));
	field_put(d->config + off, size, val);
}

/* ------------------------------------------------------------------ BARs */

static unsigned bar_offset(unsigned i)
{
	return PCI_BAR0 + 4 * i;
}

/* The address in BAR I; *MASK: the bits of it that can be set. */
static uint64_t bar_address(const struct pci_dev *d, unsigned i, uint64_t *mask)
{
	unsigned width = d->bar[i].kind == PCI_BAR_MEM64 ? 8 : 4;

	*mask = field_get(d->writable + bar_offset(i), width);
	return pci_get(d, bar_offset(i), width) & *mask;
}

static struct bus *bar_bus(const struct pci_dev *d, unsigned i)
{
	return d->bar[i].kind == PCI_BAR_IO ? d->bus->plan.ports :
		d->bus->plan.memory;
}

static void bar_unmap(struct pci_dev *d, unsigned i)
{
	if (!d->bar[i].region.mapped)
		return;
	if (d->ops->bar_mapped)
		d->ops->bar_mapped(d, i, false);
	bus_remove(bar_bus(d, i), &d->bar[i].region);
}

static void bar_map(struct pci_dev *d, unsigned i, uint64_t base)
{
	struct region *r = &d->bar[i].region;
	int rc;

	r->base = base;
	rc = bus_add(bar_bus(d, i), r);
	if (rc < 0)
		log_limited(&d->bus->complaints,
			    "%s: BAR %u not decoded at 0x%llx: %s", d->name, i,
			    (unsigned long long)base, strerror(-rc));
	else if (d->ops->bar_mapped)
		d->ops->bar_mapped(d, i, true);
}

/* Makes BAR I decoded, or not, as the registers say. */
static void bar_update(struct pci_dev *d, unsigned i)
{
	struct pci_bar *bar = &d->bar[i];
	unsigned command = pci_get(d, PCI_COMMAND, 2);
	uint64_t mask, base;
	bool on;

	if (bar->kind == PCI_BAR_NONE)
		return;
	base = bar_address(d, i, &mask);
	on = command & (bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO :
			PCI_COMMAND_MEMORY);
	if (base == 0 || base == mask)
		on = false;
	if (on && bar->region.mapped && bar->region.base == base)
		return;
	bar_unmap(d, i);
	if (on)
		bar_map(d, i, base);
}

static void bars_update(struct pci_dev *d)
{
	for (unsigned i = 0; i < PCI_BARS; i++)
		bar_update(d, i);
}

/* Gives BAR I an address of the window. */
static int bar_assign(struct pci_bus *b, struct pci_dev *d, unsigned i)
{
	struct pci_bar *bar = &d->bar[i];
	struct pci_window *w;
	uint64_t at;

	if (bar->kind == PCI_BAR_NONE)
		return 0;
	w = bar->kind == PCI_BAR_IO ? &b->plan.io : &b->plan.mem;
	at = align_up(w->base + w->next, bar->region.size);
	if (!in_range(at - w->base, bar->region.size, w->size))
		return fail(ENOSPC, "%s: no addresses left for BAR %u", d->name,
			    i);
	w->next = at - w->base + bar->region.size;
	pci_put(d, bar_offset(i), 4, pci_get(d, bar_offset(i), 4) | at);
	if (bar->kind == PCI_BAR_MEM64)
		pci_put(d, bar_offset(i + 1), 4, at >> 32);
	return 0;
}

/* ------------------------------------------------------------------ INTx */

/* intx_lock held. */
static void intx_update(struct pci_dev *d)
{
	struct pci_bus *b = d->bus;
	unsigned slot = d->devfn >> 3, pin = d->config[PCI_IRQ_PIN];
	uint8_t *holders, bit = 1 << (d->devfn & 7);
	struct irq_line *line;

	if (!pin)
		return;
	holders = &b->intx[slot][pin - 1];
	line = b->plan.intx[(slot + pin - 1) % PCI_LINES];
	if (d->intx && !(pci_get(d, PCI_COMMAND, 2) & PCI_COMMAND_INTX_OFF))
		*holders |= bit;
	else
		*holders &= ~bit;
	/* One slot has one pin on each line: its number tells sources apart. */
	if (line)
		irq_set(line, slot, *holders != 0);
}

void pci_dev_intx(struct pci_dev *d, bool level)
{
	if (!d->bus)
		return;
	pthread_mutex_lock(&d->bus->intx_lock);
	d->intx = level;
	intx_update(d);
	pthread_mutex_unlock(&d->bus->intx_lock);
}

/* --------------------------------------------------- configuration space */

/* Whether [OFF, OFF+LEN) meets [AT, END). */
static bool touches(unsigned off, unsigned len, unsigned at, unsigned end)
{
	return off < end && at < off + len;
}

static uint8_t config_byte(struct pci_dev *d, unsigned off)
{
	uint8_t val;

	if (off >= PCI_CONFIG_SIZE)
		return 0;
	val = d->config[off];
	if (off == PCI_STATUS) {
		pthread_mutex_lock(&d->bus->intx_lock);
		val |= d->intx ? PCI_STATUS_INTX : 0;
		pthread_mutex_unlock(&d->bus->intx_lock);
	}
	return val;
}

uint64_t pci_config_read(struct pci_bus *b, unsigned devfn, unsigned off,
			 unsigned size)
{
	struct pci_dev *d;
	uint64_t val = 0;

	pthread_mutex_lock(&b->lock);
	d = devfn < ARRAY_SIZE(b->dev) ? b->dev[devfn] : NULL;
	if (!d || !in_range(off, size, FUNCTION_SIZE)) {
		val = all_ones(size);
	} else {
		if (d->ops->config_read)
			d->ops->config_read(d, off, size);
		for (unsigned i = 0; i < size; i++)
			val |= (uint64_t)config_byte(d, off + i) << (8 * i);
	}
	pthread_mutex_unlock(&b->lock);
	return val;
}

static void config_write(struct pci_dev *d, unsigned off, unsigned size,
			 uint64_t val)
{
	/* pci_dev_intx() reads the command register. */
	pthread_mutex_lock(&d->bus->intx_lock);
	for (unsigned i = 0; i < size && off + i < PCI_CONFIG_SIZE; i++) {
		uint8_t mask = d->writable[off + i];

		d->config[off + i] = (d->config[off + i] & ~mask) |
			((uint8_t)(val >> (8 * i)) & mask);
	}
	if (touches(off, size, PCI_COMMAND, PCI_STATUS))
		intx_update(d);
	pthread_mutex_unlock(&d->bus->intx_lock);

	if (touches(off, size, PCI_COMMAND, PCI_STATUS) ||
	    touches(off, size, PCI_BAR0, bar_offset(PCI_BARS)))
		bars_update(d);
	if (d->ops->config_written)
		d->ops->config_written(d, off, size);
}

void pci_config_write(struct pci_bus *b, unsigned devfn, unsigned off,
		      unsigned size, uint64_t val)
{
	struct pci_dev *d;

	pthread_mutex_lock(&b->lock);
	d = devfn < ARRAY_SIZE(b->dev) ? b->dev[devfn] : NULL;
	if (d && in_range(off, size, FUNCTION_SIZE))
		config_write(d, off, size, val);
	pthread_mutex_unlock(&b->lock);
}

static uint64_t ecam_read(void *dev, uint64_t off, unsigned size)
{
	return pci_config_read(dev, off / FUNCTION_SIZE, off % FUNCTION_SIZE,
			       size);
}

static void ecam_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	pci_config_write(dev, off / FUNCTION_SIZE, off % FUNCTION_SIZE, size,
			 val);
}

static const struct bus_ops ecam_ops = { ecam_read, ecam_write };

/* What answers an access of the reset door amid port 0xcf8; or NULL. */
static const struct region *cf9_of(const struct pci_bus *b, uint64_t off,
				   unsigned size)
{
	const struct region *r = b->plan.cf9;

	/* Below its base the difference wraps, and is in no range. */
	if (!r || !in_range(PORT_ADDRESS + off - r->base, size, r->size))
		return NULL;
	return r;
}

static uint64_t address_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_bus *b = dev;
	const struct region *r = cf9_of(b, off, size);

	if (size == 4)
		return __atomic_load_n(&b->address, __ATOMIC_RELAXED);
	if (!r)
		return all_ones(size);
	return r->ops->read(r->dev, PORT_ADDRESS + off - r->base, size);
}

static void address_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pci_bus *b = dev;
	const struct region *r = cf9_of(b, off, size);

	if (size == 4)
		__atomic_store_n(&b->address, val & ADDRESS_BITS,
				 __ATOMIC_RELAXED);
	else if (r)
		r->ops->write(r->dev, PORT_ADDRESS + off - r->base, size, val);
}

static const struct bus_ops address_ops = { address_read, address_write };

/* The function the address register names; none (out of range): not one. */
static unsigned address_devfn(uint32_t address)
{
	bool here = (address & ADDRESS_ENABLE) && !(address >> 16 & 0xff);

	return here ? address >> 8 & 0xff : PCI_SLOTS * PCI_FUNCTIONS;
}

static uint64_t data_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_bus *b = dev;
	uint32_t address = __atomic_load_n(&b->address, __ATOMIC_RELAXED);

	return pci_config_read(b, address_devfn(address),
			       (address & 0xfc) + off, size);
}

static void data_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pci_bus *b = dev;
	uint32_t address = __atomic_load_n(&b->address, __ATOMIC_RELAXED);

	pci_config_write(b, address_devfn(address), (address & 0xfc) + off,
			 size, val);
}

static const struct bus_ops data_ops = { data_read, data_write };

/* --------------------------------------------------------- the functions */

void pci_dev_init(struct pci_dev *d, const char *name,
		  const struct pci_ops *ops, const struct pci_ids *ids,
		  unsigned pin)
{
	assert(pin <= PCI_LINES);
	memset(d, 0, sizeof(*d));
	d->name = name;
	d->ops = ops;
	d->caps_end = CAPS_START;
	d->last_cap = PCI_CAPABILITIES;
	pci_put(d, PCI_VENDOR, 2, ids->vendor);
	pci_put(d, PCI_DEVICE, 2, ids->device);
	pci_put(d, PCI_REVISION, 1, ids->revision);
	pci_put(d, PCI_CLASS, 3, ids->class);
	pci_put(d, PCI_SUBSYSTEM_VENDOR, 2, ids->subsystem_vendor);
	pci_put(d, PCI_SUBSYSTEM, 2, ids->subsystem);
	pci_put(d, PCI_IRQ_PIN, 1, pin);
	field_put(d->writable + PCI_COMMAND, 2,
		  PCI_COMMAND_MASTER | PCI_COMMAND_INTX_OFF);
	d->writable[PCI_CACHE_LINE] = 0xff;
	d->writable[PCI_IRQ_LINE] = 0xff;
}

void pci_dev_bar(struct pci_dev *d, unsigned i, enum pci_bar_kind kind,
		 uint64_t size, const struct bus_ops *ops, void *dev)
{
	bool wide = kind == PCI_BAR_MEM64;

	assert(i + wide < PCI_BARS && !(size & (size - 1)));
	assert(size >= (kind == PCI_BAR_IO ? 4 : 16));
	d->bar[i].kind = kind;
	d->bar[i].region = (struct region){ .size = size, .ops = ops,
					    .dev = dev, .name = d->name };
	field_put(d->writable + bar_offset(i), wide ? 8 : 4, ~(size - 1));
	pci_put(d, bar_offset(i), 4, kind == PCI_BAR_IO ? BAR_IO :
		wide ? BAR_64 : 0);
	d->writable[PCI_COMMAND] |= kind == PCI_BAR_IO ? PCI_COMMAND_IO :
		PCI_COMMAND_MEMORY;
}

unsigned pci_dev_cap(struct pci_dev *d, uint8_t id, unsigned len)
{
	unsigned at = d->caps_end;

	assert(in_range(at, align_up(len, 4), PCI_CONFIG_SIZE - 1));
	d->config[PCI_STATUS] |= PCI_STATUS_CAPS;
	d->config[d->last_cap] = at;
	d->config[at] = id;
	d->last_cap = at + 1;
	d->caps_end = at + align_up(len, 4);
	return at;
}

/* A slot's functions are looked for only if function 0 says there are more. */
static void mark_multifunction(struct pci_bus *b, unsigned slot)
{
	struct pci_dev *first = b->dev[pci_devfn(slot, 0)];
	bool more = false;

	for (unsigned i = 1; i < PCI_FUNCTIONS; i++)
		more |= b->dev[pci_devfn(slot, i)] != NULL;
	if (!first || !more)
		return;
	first->config[PCI_HEADER_TYPE] |= PCI_MULTIFUNCTION;
	first->pristine[PCI_HEADER_TYPE] |= PCI_MULTIFUNCTION;
}

int pci_bus_add(struct pci_bus *b, struct pci_dev *d, unsigned devfn)
{
	unsigned pin = d->config[PCI_IRQ_PIN];
	struct irq_line *line;
	int rc;

	if (devfn >= ARRAY_SIZE(b->dev))
		return fail(EINVAL, "%s: no PCI slot %u", d->name, devfn >> 3);
	if (b->dev[devfn])
		return fail(EBUSY, "%s: PCI slot %u is taken by %s", d->name,
			    devfn >> 3, b->dev[devfn]->name);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		rc = bar_assign(b, d, i);
		if (rc < 0)
			return rc;
	}
	line = pin ? b->plan.intx[((devfn >> 3) + pin - 1) % PCI_LINES] : NULL;
	d->config[PCI_IRQ_LINE] = line ? line->gsi : 0xff;
	memcpy(d->pristine, d->config, sizeof(d->config));
	pthread_mutex_lock(&b->lock);
	d->devfn = devfn;
	d->bus = b;
	b->dev[devfn] = d;
	mark_multifunction(b, devfn >> 3);
	pthread_mutex_unlock(&b->lock);
	return 0;
}

void pci_bus_remove(struct pci_dev *d)
{
	struct pci_bus *b = d->bus;

	if (!b)
		return;
	pci_dev_intx(d, false);
	pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; i < PCI_BARS; i++)
		bar_unmap(d, i);
	b->dev[d->devfn] = NULL;
	d->bus = NULL;
	pthread_mutex_unlock(&b->lock);
}

static void dev_reset(struct pci_dev *d)
{
	if (d->ops->reset)
		d->ops->reset(d);
	pci_dev_intx(d, false);
	for (unsigned i = 0; i < PCI_BARS; i++)
		bar_unmap(d, i);
	pthread_mutex_lock(&d->bus->intx_lock);
	memcpy(d->config, d->pristine, sizeof(d->config));
	pthread_mutex_unlock(&d->bus->intx_lock);
}

void pci_bus_reset(struct pci_bus *b)
{
	pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < ARRAY_SIZE(b->dev); i++)
		if (b->dev[i])
			dev_reset(b->dev[i]);
	__atomic_store_n(&b->address, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&b->lock);
}

/* ---------------------------------------------------- saving and loading */

void pci_dev_save(struct pci_dev *d, struct section_out *s)
{
	pthread_mutex_lock(&d->bus->lock);
	put_bytes(s, d->config, sizeof(d->config));
	pthread_mutex_unlock(&d->bus->lock);
}

/* Whether CONFIG is of a function like D: equal in what cannot be written. */
static bool same_function(const struct pci_dev *d, const uint8_t *config)
{
	bool same = true;

	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
		same &= !((config[i] ^ d->pristine[i]) & ~d->writable[i]);
	return same;
}

int pci_dev_load(struct pci_dev *d, struct section *s)
{
	uint8_t config[PCI_CONFIG_SIZE];

	get_bytes(s, config, sizeof(config));
	if (s->failed)
		return section_done(s, false);
	if (!same_function(d, config))
		return fail(E_CONFIG, "%s: not the device that was saved",
			    d->name);
	pthread_mutex_lock(&d->bus->lock);
	pthread_mutex_lock(&d->bus->intx_lock);
	memcpy(d->config, config, sizeof(config));
	intx_update(d);
	pthread_mutex_unlock(&d->bus->intx_lock);
	bars_update(d);
	pthread_mutex_unlock(&d->bus->lock);
	return 0;
}

void pci_bus_save(struct pci_bus *b, struct buf *to)
{
	struct section_out s;

	section_begin(&s, to, "pci", 1);
	put_u32(&s, __atomic_load_n(&b->address, __ATOMIC_RELAXED));
	pci_dev_save(&b->bridge, &s);
	section_end(&s);
}

int pci_bus_load(struct pci_bus *b, struct sections *all)
{
	struct section s;
	uint32_t address;
	int rc = section_take(all, "pci", 1, &s);

	if (rc < 0)
		return rc;
	address = get_u32(&s);
	rc = section_done(&s, address & ~ADDRESS_BITS);
	if (rc == 0)
		rc = pci_dev_load(&b->bridge, &s);
	if (rc == 0)
		__atomic_store_n(&b->address, address, __ATOMIC_RELAXED);
	return rc;
}

/* --------------------------------------------------------------- the bus */

static int add_region(struct pci_bus *b, struct bus *bus, struct region *r,
		      uint64_t base, uint64_t size, const struct bus_ops *ops)
{
	int rc;

	*r = (struct region){ .base = base, .size = size, .ops = ops,
			      .dev = b, .name = "pci" };
	rc = bus_add(bus, r);
	if (rc < 0)
		return fail(-rc, "pci: %s 0x%llx: %s", bus->name,
			    (unsigned long long)base, strerror(-rc));
	return 0;
}

int pci_bus_init(struct pci_bus *b, const struct pci_plan *p)
{
	static const struct pci_ops bridge_ops = { 0 };
	int rc = 0;

	memset(b, 0, sizeof(*b));
	b->plan = *p;
	pthread_mutex_init(&b->lock, NULL);
	pthread_mutex_init(&b->intx_lock, NULL);
	if (p->ecam)
		rc = add_region(b, p->memory, &b->ecam, p->ecam, PCI_ECAM_SIZE,
				&ecam_ops);
	if (rc == 0)
		rc = add_region(b, p->ports, &b->cf8, PORT_ADDRESS, 4,
				&address_ops);
	if (rc == 0)
		rc = add_region(b, p->ports, &b->cfc, PORT_DATA, 4, &data_ops);
	if (rc == 0) {
		pci_dev_init(&b->bridge, "host bridge", &bridge_ops,
			     &p->bridge, 0);
		rc = pci_bus_add(b, &b->bridge, pci_devfn(0, 0));
	}
	if (rc < 0)
		pci_bus_release(b);
	return rc;
}

void pci_bus_release(struct pci_bus *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(b->dev); i++)
		if (b->dev[i])
			pci_bus_remove(b->dev[i]);
	bus_remove(b->plan.memory, &b->ecam);
	bus_remove(b->plan.ports, &b->cf8);
	bus_remove(b->plan.ports, &b->cfc);
	pthread_mutex_destroy(&b->lock);
	pthread_mutex_destroy(&b->intx_lock);
}
