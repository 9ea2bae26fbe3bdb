/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/msix.h"

#include <assert.h>
#include <string.h>

#include "base/section.h"

enum {
	CAP_CONTROL = 2,	/* offsets in the capability */
	CAP_TABLE = 4,
	CAP_PBA = 8,
	CAP_LEN = 12,
	CONTROL_ENABLE = 1 << 15,
	CONTROL_MASK = 1 << 14,

	ENTRY_ADDR = 0,		/* offsets in an entry */
	ENTRY_DATA = 8,
	ENTRY_CONTROL = 12,
	ENTRY_MASK = 1 << 0,
};

static uint64_t entry_get(const struct msix *m, unsigned i, unsigned off,
			  unsigned size)
{
	const uint8_t *at = m->table + i * MSIX_ENTRY_SIZE + off;
	uint64_t val = 0;

	for (unsigned b = 0; b < size; b++)
		val |= (uint64_t)at[b] << (8 * b);
	return val;
}

static bool may_deliver(const struct msix *m, unsigned i)
{
	return m->enabled && !m->masked &&
		!(entry_get(m, i, ENTRY_CONTROL, 1) & ENTRY_MASK);
}

/* Makes the route say what the entry says; false: there is none. */
static bool vector_route(struct msix *m, unsigned i)
{
	struct msix_vector *v = &m->vector[i];
	int rc;

	if (v->routed && !v->stale)
		return true;
	rc = msi_set(&v->msi, entry_get(m, i, ENTRY_ADDR, 8),
		     entry_get(m, i, ENTRY_DATA, 4));
	v->routed = rc == 0;
	v->stale = false;
	if (rc < 0)
		log_limited(&m->complaints, "%s: vector %u has no route: %s",
			    m->dev->name, i, strerror(-rc));
	return rc == 0;
}

/* After an unmask, or anything that may be one. */
static void vector_unmasked(struct msix *m, unsigned i)
{
	struct msix_vector *v = &m->vector[i];

	if (!may_deliver(m, i))
		return;
	if (v->routed && v->stale)
		vector_route(m, i);
	if (v->pending && vector_route(m, i))
		msi_fire(&v->msi);
	v->pending = false;
}

static void vectors_reset(struct msix *m)
{
	m->enabled = m->masked = false;
	memset(m->table, 0, sizeof(m->table));
	for (unsigned i = 0; i < m->n; i++) {
		m->table[i * MSIX_ENTRY_SIZE + ENTRY_CONTROL] = ENTRY_MASK;
		m->vector[i].stale = true;
		m->vector[i].pending = false;
	}
}

void msix_init(struct msix *m, struct pci_dev *d, struct irqchip *chip,
	       unsigned n, unsigned bar, uint32_t table, uint32_t pba)
{
	assert(n >= 1 && n <= MSIX_VECTORS && !(table & 7) && !(pba & 7));
	memset(m, 0, sizeof(*m));
	m->dev = d;
	m->n = n;
	pthread_mutex_init(&m->lock, NULL);
	for (unsigned i = 0; i < n; i++)
		msi_init(&m->vector[i].msi, chip);
	vectors_reset(m);
	m->cap = pci_dev_cap(d, PCI_CAP_MSIX, CAP_LEN);
	pci_put(d, m->cap + CAP_CONTROL, 2, n - 1);
	pci_put(d, m->cap + CAP_TABLE, 4, table | bar);
	pci_put(d, m->cap + CAP_PBA, 4, pba | bar);
	d->writable[m->cap + CAP_CONTROL + 1] =
		(CONTROL_ENABLE | CONTROL_MASK) >> 8;
}

void msix_release(struct msix *m)
{
	for (unsigned i = 0; i < m->n; i++)
		msi_release(&m->vector[i].msi);
	pthread_mutex_destroy(&m->lock);
}

void msix_reset(struct msix *m)
{
	pthread_mutex_lock(&m->lock);
	vectors_reset(m);
	pthread_mutex_unlock(&m->lock);
}

void msix_config_written(struct msix *m)
{
	unsigned control = pci_get(m->dev, m->cap + CAP_CONTROL, 2);

	pthread_mutex_lock(&m->lock);
	m->enabled = control & CONTROL_ENABLE;
	m->masked = control & CONTROL_MASK;
	for (unsigned i = 0; i < m->n; i++)
		vector_unmasked(m, i);
	pthread_mutex_unlock(&m->lock);
}

/* How many of the SIZE bytes at OFF are in the table. */
static unsigned table_bytes(const struct msix *m, uint64_t off, unsigned size)
{
	uint64_t end = (uint64_t)m->n * MSIX_ENTRY_SIZE;

	return off < end ? min_u64(size, end - off) : 0;
}

uint64_t msix_table_read(struct msix *m, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	size = table_bytes(m, off, size);
	pthread_mutex_lock(&m->lock);
	for (unsigned b = 0; b < size; b++)
		val |= (uint64_t)m->table[off + b] << (8 * b);
	pthread_mutex_unlock(&m->lock);
	return val;
}

static void table_write_byte(struct msix *m, uint64_t off, uint8_t val)
{
	unsigned i = off / MSIX_ENTRY_SIZE, at = off % MSIX_ENTRY_SIZE;

	/* Of the vector control only the mask bit is there. */
	if (at >= ENTRY_CONTROL)
		val = at == ENTRY_CONTROL ? val & ENTRY_MASK : 0;
	else if (m->table[off] != val)
		m->vector[i].stale = true;
	m->table[off] = val;
}

void msix_table_write(struct msix *m, uint64_t off, unsigned size,
		      uint64_t val)
{
	size = table_bytes(m, off, size);
	pthread_mutex_lock(&m->lock);
	for (unsigned b = 0; b < size; b++)
		table_write_byte(m, off + b, val >> (8 * b));
	/* Only now: 8 bytes may hold the data, then the mask. */
	for (unsigned b = 0; b < size; b++)
		if ((off + b) % MSIX_ENTRY_SIZE == ENTRY_CONTROL)
			vector_unmasked(m, (off + b) / MSIX_ENTRY_SIZE);
	pthread_mutex_unlock(&m->lock);
}

uint64_t msix_pba_read(struct msix *m, uint64_t off, unsigned size)
{
	uint64_t bits = 0;

	if (off >= 8)
		return 0;
	pthread_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->n; i++)
		bits |= (uint64_t)m->vector[i].pending << i;
	pthread_mutex_unlock(&m->lock);
	bits >>= 8 * off;
	return size >= 8 ? bits : bits & ((1ULL << (8 * size)) - 1);
}

bool msix_enabled(struct msix *m)
{
	bool enabled;

	pthread_mutex_lock(&m->lock);
	enabled = m->enabled;
	pthread_mutex_unlock(&m->lock);
	return enabled;
}

void msix_fire(struct msix *m, uint16_t vector)
{
	if (vector >= m->n)
		return;
	pthread_mutex_lock(&m->lock);
	if (m->enabled && !may_deliver(m, vector))
		m->vector[vector].pending = true;
	else if (m->enabled && vector_route(m, vector))
		msi_fire(&m->vector[vector].msi);
	pthread_mutex_unlock(&m->lock);
}

void msix_save(struct msix *m, struct section_out *s)
{
	pthread_mutex_lock(&m->lock);
	put_u8(s, m->n);
	for (unsigned i = 0; i < m->n; i++) {
		put_bytes(s, m->table + i * MSIX_ENTRY_SIZE, MSIX_ENTRY_SIZE);
		put_u8(s, m->vector[i].pending);
	}
	pthread_mutex_unlock(&m->lock);
}

/* As a guest writes it: so what it cannot write is not set here either. */
static void load_vector(struct msix *m, unsigned i, struct section *s)
{
	uint8_t entry[MSIX_ENTRY_SIZE];

	get_bytes(s, entry, sizeof(entry));
	for (unsigned b = 0; b < MSIX_ENTRY_SIZE; b++)
		table_write_byte(m, i * MSIX_ENTRY_SIZE + b, entry[b]);
	m->vector[i].pending = get_u8(s) & 1;
}

int msix_load(struct msix *m, struct section *s)
{
	unsigned control = pci_get(m->dev, m->cap + CAP_CONTROL, 2);
	bool wrong = get_u8(s) != m->n;

	pthread_mutex_lock(&m->lock);
	vectors_reset(m);
	for (unsigned i = 0; i < m->n && !wrong && !s->failed; i++)
		load_vector(m, i, s);
	if (wrong || s->failed)
		vectors_reset(m);
	m->enabled = control & CONTROL_ENABLE;
	m->masked = control & CONTROL_MASK;
	/* One that is not masked has been sent; if not, it is now. */
	for (unsigned i = 0; i < m->n; i++)
		vector_unmasked(m, i);
	pthread_mutex_unlock(&m->lock);
	return section_done(s, wrong);
}
