/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio_pci.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/section.h"

enum {
	ISR_QUEUE = 1,
	ISR_CONFIG = 2,
	REVISION = 1,		/* 4.1.2.1: non-transitional */
	PIN_INTA = 1,
	STATE_VERSION = 1,		/* of what is saved */
	PART_SIZE = 0x800,	/* of the BAR for the ISR and what is short */
	CAP_LEN = 16,
	NOTIFY_CAP_LEN = 20,
	WINDOW_CAP_LEN = 20,
	WINDOW_DATA = 16,	/* pci_cfg_data in that capability */
};

/* 4.1.4: struct virtio_pci_cap */
enum {
	CAP_TOTAL = 2,
	CAP_TYPE = 3,
	CAP_BAR = 4,
	CAP_OFFSET = 8,
	CAP_LENGTH = 12,
	CAP_NOTIFY_STEP = 16,
};

/* ------------------------------------------------------------ interrupts */

/* The pin says what the ISR does, while MSI-X is disabled. */
static void pin_update(struct virtio_pci *p)
{
	pci_dev_intx(&p->pci, p->isr && !msix_enabled(&p->msix));
}

static void isr_add(struct virtio_pci *p, uint8_t bit)
{
	pthread_mutex_lock(&p->isr_lock);
	p->isr |= bit;
	pin_update(p);
	pthread_mutex_unlock(&p->isr_lock);
}

/* Reading the register takes what is in it (4.1.4.5). */
static uint8_t isr_take(struct virtio_pci *p)
{
	uint8_t isr;

	pthread_mutex_lock(&p->isr_lock);
	isr = p->isr;
	p->isr = 0;
	pin_update(p);
	pthread_mutex_unlock(&p->isr_lock);
	return isr;
}

static void interrupt(struct virtio_pci *p, const uint16_t *vector, uint8_t bit)
{
	if (msix_enabled(&p->msix))
		msix_fire(&p->msix, __atomic_load_n(vector, __ATOMIC_RELAXED));
	else
		isr_add(p, bit);
}

static struct virtio_pci *pci_of(struct virtio *v)
{
	return container_of(v->transport, struct virtio_pci, transport);
}

static void queue_interrupt(struct virtio *v, struct virtq *q)
{
	interrupt(pci_of(v), &q->vector, ISR_QUEUE);
}

static void config_interrupt(struct virtio *v)
{
	interrupt(pci_of(v), &pci_of(v)->config_vector, ISR_CONFIG);
}

/* ------------------------------------------------- common configuration */

/* dev->lock held from here to the accesses of the BAR. */

static void registers_reset(struct virtio_pci *p)
{
	p->device_select = p->driver_select = 0;
	p->driver_features = 0;
	p->queue_select = 0;
	for (unsigned i = 0; i < p->dev->nqueues; i++)
		p->queue[i] = (struct virtio_pci_queue){ .size = VIRTQ_MAX };
	__atomic_store_n(&p->config_vector, MSIX_NONE, __ATOMIC_RELAXED);
	isr_take(p);
}

static bool queue_selected(const struct virtio_pci *p)
{
	return p->queue_select < p->dev->nqueues;
}

static uint32_t half(uint64_t bits, uint32_t select)
{
	return select < 2 ? bits >> (32 * select) : 0;
}

static void image_queue(struct virtio_pci *p, struct virtio_pci_common *c)
{
	const struct virtio_pci_queue *r = &p->queue[p->queue_select];
	const struct virtq *q = &p->dev->queue[p->queue_select];

	c->queue_size = to_le16(r->size);
	c->queue_vector = to_le16(q->vector);
	c->queue_enable = to_le16(q->enabled);
	c->notify_off = to_le16(p->queue_select);
	c->queue_desc = to_le64(r->desc);
	c->queue_driver = to_le64(r->driver);
	c->queue_device = to_le64(r->device);
}

/* The registers as a driver reads them now. */
static void image(struct virtio_pci *p, struct virtio_pci_common *c)
{
	const struct virtio *v = p->dev;

	*c = (struct virtio_pci_common){
		.device_feature_select = to_le32(p->device_select),
		.device_feature = to_le32(half(v->offered, p->device_select)),
		.driver_feature_select = to_le32(p->driver_select),
		.driver_feature = to_le32(half(p->driver_features,
					       p->driver_select)),
		.config_vector = to_le16(p->config_vector),
		.num_queues = to_le16(v->nqueues),
		.status = virtio_status(v),
		.generation = __atomic_load_n(&v->config_generation,
					      __ATOMIC_SEQ_CST),
		.queue_select = to_le16(p->queue_select),
	};
	if (queue_selected(p))
		image_queue(p, c);
}

static void set_device_select(struct virtio_pci *p,
			      const struct virtio_pci_common *c)
{
	p->device_select = get_le32(c->device_feature_select);
}

static void set_driver_select(struct virtio_pci *p,
			      const struct virtio_pci_common *c)
{
	p->driver_select = get_le32(c->driver_feature_select);
}

static void set_driver_feature(struct virtio_pci *p,
			       const struct virtio_pci_common *c)
{
	unsigned shift = 32 * p->driver_select;

	if (p->driver_select >= 2 ||
	    (virtio_status(p->dev) & VIRTIO_FEATURES_OK))
		return;
	p->driver_features &= ~(0xffffffffULL << shift);
	p->driver_features |= (uint64_t)get_le32(c->driver_feature) << shift;
	virtio_set_features(p->dev, p->driver_features);
}

/* 4.1.5.1.2: a vector that is not there reads back as none. */
static uint16_t good_vector(const struct virtio_pci *p, le16 vector)
{
	return get_le16(vector) < p->msix.n ? get_le16(vector) : MSIX_NONE;
}

static void set_config_vector(struct virtio_pci *p,
			      const struct virtio_pci_common *c)
{
	__atomic_store_n(&p->config_vector, good_vector(p, c->config_vector),
			 __ATOMIC_RELAXED);
}

static void set_status(struct virtio_pci *p, const struct virtio_pci_common *c)
{
	virtio_set_status(p->dev, c->status);
	if (!c->status)
		registers_reset(p);
}

static void set_queue_select(struct virtio_pci *p,
			     const struct virtio_pci_common *c)
{
	p->queue_select = get_le16(c->queue_select);
}

static void set_queue_vector(struct virtio_pci *p,
			     const struct virtio_pci_common *c)
{
	if (queue_selected(p))
		__atomic_store_n(&p->dev->queue[p->queue_select].vector,
				 good_vector(p, c->queue_vector),
				 __ATOMIC_RELAXED);
}

/* The registers of the geometry; NULL while they cannot be written. */
static struct virtio_pci_queue *geometry(struct virtio_pci *p)
{
	if (!queue_selected(p) || p->dev->queue[p->queue_select].enabled)
		return NULL;
	return &p->queue[p->queue_select];
}

static void set_queue_size(struct virtio_pci *p,
			   const struct virtio_pci_common *c)
{
	if (geometry(p))
		geometry(p)->size = get_le16(c->queue_size);
}

static void set_queue_desc(struct virtio_pci *p,
			   const struct virtio_pci_common *c)
{
	if (geometry(p))
		geometry(p)->desc = get_le64(c->queue_desc);
}

static void set_queue_driver(struct virtio_pci *p,
			     const struct virtio_pci_common *c)
{
	if (geometry(p))
		geometry(p)->driver = get_le64(c->queue_driver);
}

static void set_queue_device(struct virtio_pci *p,
			     const struct virtio_pci_common *c)
{
	if (geometry(p))
		geometry(p)->device = get_le64(c->queue_device);
}

static void set_queue_enable(struct virtio_pci *p,
			     const struct virtio_pci_common *c)
{
	const struct virtio_pci_queue *r = geometry(p);

	if (r && get_le16(c->queue_enable) == 1)
		virtio_enable_queue(p->dev, p->queue_select, r->size, r->desc,
				    r->driver, r->device);
}

#define FIELD(field, fn) { \
	offsetof(struct virtio_pci_common, field), \
	sizeof(((struct virtio_pci_common *)0)->field), fn \
}

/* The registers a driver can write, enabling a queue last of all. */
static const struct {
	uint8_t off, size;
	void (*set)(struct virtio_pci *p, const struct virtio_pci_common *c);
} fields[] = {
	FIELD(device_feature_select, set_device_select),
	FIELD(driver_feature_select, set_driver_select),
	FIELD(driver_feature, set_driver_feature),
	FIELD(config_vector, set_config_vector),
	FIELD(status, set_status),
	FIELD(queue_select, set_queue_select),
	FIELD(queue_size, set_queue_size),
	FIELD(queue_vector, set_queue_vector),
	FIELD(queue_desc, set_queue_desc),
	FIELD(queue_driver, set_queue_driver),
	FIELD(queue_device, set_queue_device),
	FIELD(queue_enable, set_queue_enable),
};

static uint64_t common_read(struct virtio_pci *p, uint32_t off, unsigned size)
{
	struct virtio_pci_common c;
	le64 val = { 0 };

	if (off >= sizeof(c))
		return 0;
	image(p, &c);
	memcpy(&val, (uint8_t *)&c + off, min_u64(size, sizeof(c) - off));
	return get_le64(val);
}

static void common_write(struct virtio_pci *p, uint32_t off, unsigned size,
			 uint64_t val)
{
	struct virtio_pci_common c;
	le64 raw = to_le64(val);

	if (off >= sizeof(c))
		return;
	image(p, &c);
	memcpy((uint8_t *)&c + off, &raw, min_u64(size, sizeof(c) - off));
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (off < fields[i].off + fields[i].size &&
		    fields[i].off < off + size)
			fields[i].set(p, &c);
}

/* --------------------------------------------------- the rest of the BAR */

static uint64_t isr_read(struct virtio_pci *p, uint32_t off, unsigned size)
{
	(void)size;
	return off == 0 ? isr_take(p) : 0;
}

static uint64_t config_read(struct virtio_pci *p, uint32_t off, unsigned size)
{
	const struct virtio_ops *ops = p->dev->ops;
	le64 val = { 0 };

	if (off < ops->config_size)
		ops->config_read(p->dev, off, &val,
				 min_u64(size, ops->config_size - off));
	return get_le64(val);
}

static void config_write(struct virtio_pci *p, uint32_t off, unsigned size,
			 uint64_t val)
{
	const struct virtio_ops *ops = p->dev->ops;
	le64 raw = to_le64(val);

	if (ops->config_write && off < ops->config_size)
		ops->config_write(p->dev, off, &raw,
				  min_u64(size, ops->config_size - off));
}

/* A kick that did not come by the doorbell. */
static void notify_write(struct virtio_pci *p, uint32_t off, unsigned size,
			 uint64_t val)
{
	unsigned i = off / VIRTIO_PCI_NOTIFY_STEP;
	uint64_t one = 1;

	(void)size;
	(void)val;
	if (i < p->dev->nqueues && off % VIRTIO_PCI_NOTIFY_STEP == 0)
		(void)!write(p->dev->queue[i].kick, &one, sizeof(one));
}

static uint64_t table_read(struct virtio_pci *p, uint32_t off, unsigned size)
{
	return msix_table_read(&p->msix, off, size);
}

static void table_write(struct virtio_pci *p, uint32_t off, unsigned size,
			uint64_t val)
{
	msix_table_write(&p->msix, off, size, val);
}

static uint64_t pba_read(struct virtio_pci *p, uint32_t off, unsigned size)
{
	return msix_pba_read(&p->msix, off, size);
}

/* What the BAR holds, in its order; a function may be missing. */
static const struct part {
	uint32_t base, size;
	bool locks;		/* dev->lock is to be held */
	uint64_t (*read)(struct virtio_pci *p, uint32_t off, unsigned size);
	void (*write)(struct virtio_pci *p, uint32_t off, unsigned size,
		      uint64_t val);
} parts[] = {
	{ VIRTIO_PCI_COMMON, PART_SIZE, true, common_read, common_write },
	{ VIRTIO_PCI_ISR, PART_SIZE, false, isr_read, NULL },
	{ VIRTIO_PCI_CONFIG, 0x1000, true, config_read, config_write },
	{ VIRTIO_PCI_NOTIFY, 0x1000, false, NULL, notify_write },
	{ VIRTIO_PCI_TABLE, PART_SIZE, false, table_read, table_write },
	{ VIRTIO_PCI_PBA, PART_SIZE, false, pba_read, NULL },
};

/* The part an access at OFF begins in; there are no gaps. */
static const struct part *part_at(uint64_t off)
{
	const struct part *part = parts;

	assert(off < VIRTIO_PCI_BAR_SIZE);
	while (off >= part->base + part->size)
		part++;
	return part;
}

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
	const struct part *part = part_at(off);
	struct virtio_pci *p = dev;
	uint64_t val;

	if (!part->read)
		return 0;
	if (part->locks)
		pthread_mutex_lock(&p->dev->lock);
	val = part->read(p, off - part->base, size);
	if (part->locks)
		pthread_mutex_unlock(&p->dev->lock);
	return val;
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	const struct part *part = part_at(off);
	struct virtio_pci *p = dev;

	if (!part->write)
		return;
	if (part->locks)
		pthread_mutex_lock(&p->dev->lock);
	part->write(p, off - part->base, size, val);
	if (part->locks)
		pthread_mutex_unlock(&p->dev->lock);
}

static const struct bus_ops bar_ops = { bar_read, bar_write };

/* -------------------------------------------------- configuration space */

static struct virtio_pci *of(struct pci_dev *d)
{
	return container_of(d, struct virtio_pci, pci);
}

/*
 * What the window (4.1.4.9) points at: an offset in the BAR, *SIZE bytes
 * there; -1: nothing that can be accessed. All of it is the driver's.
 */
static int64_t window_target(struct virtio_pci *p, unsigned *size)
{
	uint32_t off = pci_get(&p->pci, p->window + CAP_OFFSET, 4);
	uint32_t len = pci_get(&p->pci, p->window + CAP_LENGTH, 4);

	if (p->pci.config[p->window + CAP_BAR] != VIRTIO_PCI_BAR ||
	    (len != 1 && len != 2 && len != 4) || off % len ||
	    !in_range(off, len, VIRTIO_PCI_BAR_SIZE))
		return -1;
	*size = len;
	return off;
}

static bool meets_window(struct virtio_pci *p, unsigned off, unsigned len)
{
	unsigned data = p->window + WINDOW_DATA;

	return off < data + 4 && data < off + len;
}

static void window_read(struct pci_dev *d, unsigned off, unsigned len)
{
	struct virtio_pci *p = of(d);
	unsigned size;
	int64_t at;

	if (!meets_window(p, off, len))
		return;
	at = window_target(p, &size);
	if (at >= 0)
		pci_put(d, p->window + WINDOW_DATA, 4, bar_read(p, at, size));
}

static void window_write(struct virtio_pci *p)
{
	unsigned size;
	int64_t at = window_target(p, &size);

	if (at >= 0)
		bar_write(p, at, size,
			  pci_get(&p->pci, p->window + WINDOW_DATA, size));
}

static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct virtio_pci *p = of(d);

	if (meets_window(p, off, len))
		window_write(p);
	msix_config_written(&p->msix);
	pthread_mutex_lock(&p->isr_lock);
	pin_update(p);
	pthread_mutex_unlock(&p->isr_lock);
}

static void bar_mapped(struct pci_dev *d, unsigned bar, bool on)
{
	struct virtio_pci *p = of(d);
	struct bus *bus = d->bus->plan.memory;

	for (unsigned i = 0; i < p->dev->nqueues; i++) {
		if (!on) {
			bus_remove_doorbell(bus, &p->bell[i]);
			continue;
		}
		p->bell[i].fd = p->dev->queue[i].kick;
		p->bell[i].addr = d->bar[bar].region.base + VIRTIO_PCI_NOTIFY +
			i * VIRTIO_PCI_NOTIFY_STEP;
		/* Where there is no room for one, notify_write() kicks. */
		bus_add_doorbell(bus, &p->bell[i]);
	}
}

static void reset(struct pci_dev *d)
{
	struct virtio_pci *p = of(d);

	pthread_mutex_lock(&p->dev->lock);
	virtio_reset(p->dev);
	registers_reset(p);
	pthread_mutex_unlock(&p->dev->lock);
	msix_reset(&p->msix);
}

static const struct pci_ops pci_ops = {
	.config_read = window_read,
	.config_written = config_written,
	.bar_mapped = bar_mapped,
	.reset = reset,
};

static unsigned add_cap(struct virtio_pci *p, uint8_t type, unsigned cap_len,
			uint32_t off, uint32_t len)
{
	unsigned at = pci_dev_cap(&p->pci, PCI_CAP_VENDOR, cap_len);

	pci_put(&p->pci, at + CAP_TOTAL, 1, cap_len);
	pci_put(&p->pci, at + CAP_TYPE, 1, type);
	pci_put(&p->pci, at + CAP_BAR, 1, VIRTIO_PCI_BAR);
	pci_put(&p->pci, at + CAP_OFFSET, 4, off);
	pci_put(&p->pci, at + CAP_LENGTH, 4, len);
	return at;
}

static void add_caps(struct virtio_pci *p)
{
	const struct virtio_ops *ops = p->dev->ops;
	unsigned at;

	add_cap(p, VIRTIO_PCI_CAP_COMMON, CAP_LEN, VIRTIO_PCI_COMMON,
		sizeof(struct virtio_pci_common));
	add_cap(p, VIRTIO_PCI_CAP_ISR, CAP_LEN, VIRTIO_PCI_ISR, 1);
	if (ops->config_size)
		add_cap(p, VIRTIO_PCI_CAP_CONFIG, CAP_LEN, VIRTIO_PCI_CONFIG,
			ops->config_size);
	at = add_cap(p, VIRTIO_PCI_CAP_NOTIFY, NOTIFY_CAP_LEN,
		     VIRTIO_PCI_NOTIFY, p->dev->nqueues * VIRTIO_PCI_NOTIFY_STEP);
	pci_put(&p->pci, at + CAP_NOTIFY_STEP, 4, VIRTIO_PCI_NOTIFY_STEP);

	at = add_cap(p, VIRTIO_PCI_CAP_WINDOW, WINDOW_CAP_LEN, 0, 0);
	p->window = at;
	p->pci.writable[at + CAP_BAR] = 0xff;
	memset(p->pci.writable + at + CAP_OFFSET, 0xff,
	       WINDOW_CAP_LEN - CAP_OFFSET);
}

void virtio_pci_init(struct virtio_pci *p, struct virtio *v,
		     struct irqchip *chip)
{
	uint16_t id = VIRTIO_PCI_DEVICE + v->ops->id;
	struct pci_ids ids = {
		.vendor = VIRTIO_PCI_VENDOR, .device = id,
		.subsystem_vendor = VIRTIO_PCI_VENDOR, .subsystem = id,
		.revision = REVISION, .class = v->ops->pci_class,
	};

	assert(v->ops->config_size <= VIRTIO_PCI_NOTIFY - VIRTIO_PCI_CONFIG);
	memset(p, 0, sizeof(*p));
	p->dev = v;
	p->transport = (struct virtio_transport){
		.interrupt = queue_interrupt,
		.config_changed = config_interrupt,
	};
	pthread_mutex_init(&p->isr_lock, NULL);
	pci_dev_init(&p->pci, v->name, &pci_ops, &ids, PIN_INTA);
	pci_dev_bar(&p->pci, VIRTIO_PCI_BAR, PCI_BAR_MEM32, VIRTIO_PCI_BAR_SIZE,
		    &bar_ops, p);
	add_caps(p);
	msix_init(&p->msix, &p->pci, chip, v->nqueues + 1, VIRTIO_PCI_BAR,
		  VIRTIO_PCI_TABLE, VIRTIO_PCI_PBA);
	registers_reset(p);
	v->transport = &p->transport;
}

void virtio_pci_release(struct virtio_pci *p)
{
	pthread_mutex_lock(&p->dev->lock);
	virtio_reset(p->dev);
	p->dev->transport = NULL;
	pthread_mutex_unlock(&p->dev->lock);
	pci_bus_remove(&p->pci);
	msix_release(&p->msix);
	pthread_mutex_destroy(&p->isr_lock);
}

/* ---------------------------------------------------- saving and loading */

static void save_registers(struct virtio_pci *p, struct section_out *s)
{
	put_u32(s, p->device_select);
	put_u32(s, p->driver_select);
	put_u64(s, p->driver_features);
	put_u16(s, p->queue_select);
	put_u16(s, p->config_vector);
	for (unsigned i = 0; i < p->dev->nqueues; i++) {
		put_u16(s, p->queue[i].size);
		put_u64(s, p->queue[i].desc);
		put_u64(s, p->queue[i].driver);
		put_u64(s, p->queue[i].device);
		put_u16(s, p->dev->queue[i].vector);
	}
	pthread_mutex_lock(&p->isr_lock);
	put_u8(s, p->isr);
	pthread_mutex_unlock(&p->isr_lock);
}

void virtio_pci_save(struct virtio_pci *p, struct buf *b)
{
	char name[SECTION_NAME];
	struct section_out s;

	snprintf(name, sizeof(name), "%s.pci", p->dev->name);
	section_begin(&s, b, name, STATE_VERSION);
	pci_dev_save(&p->pci, &s);
	msix_save(&p->msix, &s);
	pthread_mutex_lock(&p->dev->lock);
	save_registers(p, &s);
	section_end(&s);
	virtio_save(p->dev, b);
	pthread_mutex_unlock(&p->dev->lock);
}

/* A vector, none where there is no such; dev->lock held from here on. */
static uint16_t get_vector(const struct virtio_pci *p, struct section *s)
{
	return good_vector(p, to_le16(get_u16(s)));
}

/* An enabled queue's registers do not change any more. */
static bool registers_good(const struct virtio_pci *p, unsigned i)
{
	const struct virtio_pci_queue *r = &p->queue[i];
	const struct virtq *q = &p->dev->queue[i];

	return !q->enabled || (r->size == q->size && r->desc == q->desc &&
			       r->driver == q->avail && r->device == q->used);
}

/* Behind the core's, whose features and queues must be the same. */
static int load_registers(struct virtio_pci *p, struct section *s)
{
	uint8_t isr;
	bool wrong;

	p->device_select = get_u32(s);
	p->driver_select = get_u32(s);
	p->driver_features = get_u64(s);
	p->queue_select = get_u16(s);
	wrong = p->driver_features != p->dev->features;
	__atomic_store_n(&p->config_vector, get_vector(p, s), __ATOMIC_RELAXED);
	for (unsigned i = 0; i < p->dev->nqueues; i++) {
		p->queue[i].size = get_u16(s);
		p->queue[i].desc = get_u64(s);
		p->queue[i].driver = get_u64(s);
		p->queue[i].device = get_u64(s);
		__atomic_store_n(&p->dev->queue[i].vector, get_vector(p, s),
				 __ATOMIC_RELAXED);
		wrong |= !registers_good(p, i);
	}
	isr = get_u8(s);
	wrong |= isr & ~(ISR_QUEUE | ISR_CONFIG);
	if (!s->failed && !wrong)
		isr_add(p, isr);
	return section_done(s, wrong);
}

static int load(struct virtio_pci *p, struct section *s, struct sections *all)
{
	int rc = pci_dev_load(&p->pci, s);

	if (rc == 0)
		rc = msix_load(&p->msix, s);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&p->dev->lock);
	rc = virtio_load(p->dev, all);
	if (rc == 0)
		rc = load_registers(p, s);
	pthread_mutex_unlock(&p->dev->lock);
	return rc;
}

int virtio_pci_load(struct virtio_pci *p, struct sections *all)
{
	char name[SECTION_NAME];
	struct section s;
	int rc;

	snprintf(name, sizeof(name), "%s.pci", p->dev->name);
	rc = section_take(all, name, STATE_VERSION, &s);
	if (rc < 0)
		return rc;
	rc = load(p, &s, all);
	if (rc < 0)
		reset(&p->pci);
	return rc;
}
