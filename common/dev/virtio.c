/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/err.h"
#include "base/section.h"

enum {
	STATE_VERSION = 1,		/* of what is saved */
	NO_VECTOR = 0xffff,
	/* What a driver can set; NEEDS_RESET is ours. */
	DRIVER_BITS = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK |
		VIRTIO_FEATURES_OK | VIRTIO_FAILED,
};

static const uint64_t core_features = VIRTIO_F_BIT(VIRTIO_F_V1) |
	VIRTIO_F_BIT(VIRTIO_F_INDIRECT) | VIRTIO_F_BIT(VIRTIO_F_EVENT);

static void queue_clear(struct virtq *q)
{
	size_t keep = offsetof(struct virtq, size);

	memset((char *)q + keep, 0, sizeof(*q) - keep);
	q->vector = NO_VECTOR;
}

int virtio_init(struct virtio *v, const struct virtio_ops *ops,
		unsigned nqueues, const struct mem *mem, const char *name)
{
	int rc;

	assert(nqueues && nqueues <= VIRTIO_QUEUES);
	memset(v, 0, sizeof(*v));
	v->ops = ops;
	v->nqueues = nqueues;
	v->mem = mem;
	v->name = name;
	v->offered = ops->features | core_features;
	pthread_mutex_init(&v->lock, NULL);
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
		v->queue[i] = (struct virtq){ .dev = v, .index = i, .kick = -1 };
		queue_clear(&v->queue[i]);
	}
	for (unsigned i = 0; i < nqueues; i++) {
		v->queue[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (v->queue[i].kick >= 0)
			continue;
		rc = fail_sys("%s: eventfd", name);
		virtio_release(v);
		return rc;
	}
	return 0;
}

void virtio_release(struct virtio *v)
{
	pthread_mutex_lock(&v->lock);
	virtio_reset(v);
	pthread_mutex_unlock(&v->lock);
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
		close_fd(&v->queue[i].kick);
		v->queue[i].kick = -1;
	}
	pthread_mutex_destroy(&v->lock);
}

/* Whether what the driver took is a set we can work with (2.2.2, 6.1). */
static bool features_good(const struct virtio *v)
{
	return !(v->features & ~v->offered) && virtio_has(v, VIRTIO_F_V1);
}

static void status_add(struct virtio *v, uint8_t bits)
{
	__atomic_fetch_or(&v->status, bits, __ATOMIC_SEQ_CST);
}

static int start(struct virtio *v)
{
	int rc;

	if (__atomic_load_n(&v->broken, __ATOMIC_RELAXED))
		return 0;
	rc = v->ops->start(v);
	v->started = rc == 0;
	if (rc < 0)
		virtio_break(v, "cannot be started");
	return rc;
}

void virtio_set_status(struct virtio *v, uint8_t status)
{
	uint8_t now = virtio_status(v), added;

	if (!status) {
		virtio_reset(v);
		return;
	}
	/* Bits are only ever added; those taken away are ignored (2.1.1). */
	added = status & DRIVER_BITS & ~now;
	if ((added & VIRTIO_FEATURES_OK) && !features_good(v))
		added &= ~VIRTIO_FEATURES_OK;
	if (!((now | added) & VIRTIO_FEATURES_OK))
		added &= ~VIRTIO_DRIVER_OK;
	status_add(v, added);
	if (added & VIRTIO_DRIVER_OK)
		start(v);
}

void virtio_set_features(struct virtio *v, uint64_t features)
{
	if (!(virtio_status(v) & VIRTIO_FEATURES_OK))
		v->features = features;
}

static bool ring_good(const struct virtio *v, gpa_t gpa, uint64_t len,
		      unsigned align)
{
	return gpa % align == 0 && mem_valid(v->mem, gpa, len);
}

/* virtio 1.2, 2.7: sizes and alignments; NULL, or what is wrong. */
static const char *geometry_wrong(const struct virtio *v, uint16_t size,
				  gpa_t desc, gpa_t avail, gpa_t used)
{
	unsigned event = virtio_has(v, VIRTIO_F_EVENT) ? 2 : 0;

	if (!(virtio_status(v) & VIRTIO_FEATURES_OK))
		return "queue enabled before the features were agreed on";
	if (!size || (size & (size - 1)) || size > VIRTQ_MAX)
		return "queue size no power of two up to 256";
	if (!ring_good(v, desc, 16 * size, 16))
		return "descriptor table unaligned or outside RAM";
	if (!ring_good(v, avail, 4 + 2 * size + event, 2))
		return "available ring unaligned or outside RAM";
	if (!ring_good(v, used, 4 + 8 * size + event, 4))
		return "used ring unaligned or outside RAM";
	return NULL;
}

void virtio_enable_queue(struct virtio *v, unsigned i, uint16_t size,
			 gpa_t desc, gpa_t avail, gpa_t used)
{
	const char *wrong;
	struct virtq *q;

	if (i >= v->nqueues || v->queue[i].enabled || v->started)
		return;
	wrong = geometry_wrong(v, size, desc, avail, used);
	if (wrong) {
		virtio_break(v, wrong);
		return;
	}
	q = &v->queue[i];
	q->size = size;
	q->desc = desc;
	q->avail = avail;
	q->used = used;
	q->signalled_valid = true;
	q->enabled = true;
}

void virtio_reset(struct virtio *v)
{
	uint64_t kicks;

	if (v->started)
		v->ops->stop(v);
	v->started = false;
	for (unsigned i = 0; i < v->nqueues; i++) {
		queue_clear(&v->queue[i]);
		(void)!read(v->queue[i].kick, &kicks, sizeof(kicks));
	}
	v->features = 0;
	v->news = false;
	__atomic_store_n(&v->broken, false, __ATOMIC_SEQ_CST);
	__atomic_store_n(&v->status, 0, __ATOMIC_SEQ_CST);
}

void virtio_break(struct virtio *v, const char *why)
{
	if (__atomic_exchange_n(&v->broken, true, __ATOMIC_SEQ_CST))
		return;
	log_limited(&v->complaints, "%s: broken by its driver: %s", v->name,
		    why);
	status_add(v, VIRTIO_NEEDS_RESET);
	if (v->transport && (virtio_status(v) & VIRTIO_DRIVER_OK))
		v->transport->config_changed(v);
}

void virtio_config_changed(struct virtio *v)
{
	__atomic_fetch_add(&v->config_generation, 1, __ATOMIC_SEQ_CST);
	if (v->transport && (virtio_status(v) & VIRTIO_DRIVER_OK))
		v->transport->config_changed(v);
}

/* -- saving and loading -- */

static void save_queue(const struct virtq *q, struct section_out *s)
{
	put_u8(s, q->enabled);
	put_u16(s, q->size);
	put_u64(s, q->desc);
	put_u64(s, q->avail);
	put_u64(s, q->used);
	put_u16(s, q->last_avail);
	put_u16(s, q->used_idx);
	put_u16(s, q->signalled);
	put_u8(s, q->signalled_valid);
}

/* "disk0.virtio"; or "disk0" */
static const char *section_name(const struct virtio *v, const char *part,
				char name[SECTION_NAME])
{
	snprintf(name, SECTION_NAME, "%s%s", v->name, part);
	return name;
}

void virtio_save(struct virtio *v, struct buf *b)
{
	char name[SECTION_NAME];
	struct section_out s;

	section_begin(&s, b, section_name(v, ".virtio", name), STATE_VERSION);
	put_u8(&s, virtio_status(v));
	put_u8(&s, __atomic_load_n(&v->broken, __ATOMIC_SEQ_CST));
	put_u32(&s, __atomic_load_n(&v->config_generation, __ATOMIC_SEQ_CST));
	put_u64(&s, v->features);
	put_u8(&s, v->nqueues);
	for (unsigned i = 0; i < v->nqueues; i++)
		save_queue(&v->queue[i], &s);
	section_end(&s);
	if (!v->ops->save)
		return;
	section_begin(&s, b, section_name(v, "", name), STATE_VERSION);
	v->ops->save(v, &s);
	section_end(&s);
}

static void get_queue(struct virtq *q, struct section *s)
{
	q->enabled = get_u8(s);
	q->size = get_u16(s);
	q->desc = get_u64(s);
	q->avail = get_u64(s);
	q->used = get_u64(s);
	q->last_avail = get_u16(s);
	q->used_idx = get_u16(s);
	q->signalled = get_u16(s);
	q->signalled_valid = get_u8(s);
}

/* What the driver did not enable is as after a reset. */
static bool queue_good(const struct virtio *v, const struct virtq *q)
{
	if (!q->enabled)
		return !q->size && !q->last_avail && !q->used_idx;
	return !geometry_wrong(v, q->size, q->desc, q->avail, q->used) &&
		(uint16_t)(q->last_avail - q->used_idx) <= q->size;
}

/* Whether the status is one that virtio_set_status() lets come about. */
static bool status_good(const struct virtio *v)
{
	uint8_t status = virtio_status(v);

	return !(status & ~(DRIVER_BITS | VIRTIO_NEEDS_RESET)) &&
		v->broken == !!(status & VIRTIO_NEEDS_RESET) &&
		(!(status & VIRTIO_DRIVER_OK) ||
		 (status & VIRTIO_FEATURES_OK)) &&
		(!(status & VIRTIO_FEATURES_OK) || virtio_has(v, VIRTIO_F_V1));
}

static int load_core(struct virtio *v, struct section *s)
{
	uint8_t status = get_u8(s);
	bool broken = get_u8(s), wrong;
	unsigned n;

	__atomic_store_n(&v->status, status, __ATOMIC_SEQ_CST);
	__atomic_store_n(&v->broken, broken, __ATOMIC_SEQ_CST);
	__atomic_store_n(&v->config_generation, get_u32(s), __ATOMIC_SEQ_CST);
	v->features = get_u64(s);
	n = get_u8(s);
	if (s->failed || !status_good(v))
		return section_done(s, true);
	if (n != v->nqueues)
		return fail(E_CONFIG, "%s: saved with %u queues, has %u now",
			    v->name, n, v->nqueues);
	if ((status & VIRTIO_FEATURES_OK) && !features_good(v))
		return fail(E_CONFIG, "%s: its driver uses what it does not "
			    "offer now (0x%llx)", v->name,
			    (unsigned long long)(v->features & ~v->offered));
	wrong = false;
	for (unsigned i = 0; i < n; i++) {
		get_queue(&v->queue[i], s);
		wrong |= !queue_good(v, &v->queue[i]);
	}
	return section_done(s, wrong);
}

/* Whether a chain was taken that would now be never given back. */
static bool owes(const struct virtio *v)
{
	bool owed = false;

	for (unsigned i = 0; i < v->nqueues; i++)
		owed |= v->queue[i].last_avail != v->queue[i].used_idx;
	return owed && !v->broken;
}

int virtio_load(struct virtio *v, struct sections *all)
{
	char name[SECTION_NAME];
	struct section s;
	int rc;

	assert(!v->started && !virtio_status(v));
	rc = section_take(all, section_name(v, ".virtio", name), STATE_VERSION, &s);
	if (rc == 0)
		rc = load_core(v, &s);
	if (rc == 0 && v->ops->load) {
		rc = section_take(all, section_name(v, "", name), STATE_VERSION, &s);
		if (rc == 0)
			rc = v->ops->load(v, &s);
	}
	return rc == 0 ? section_done(&s, owes(v)) : rc;
}

/* What a driver may have missed: interrupts that were on their way. */
static void tell_again(struct virtio *v)
{
	bool broken = __atomic_load_n(&v->broken, __ATOMIC_SEQ_CST);

	if ((broken || v->news) && v->transport)
		v->transport->config_changed(v);
	v->news = false;
	for (unsigned i = 0; i < v->nqueues; i++)
		virtq_signal_again(&v->queue[i]);
}

int virtio_go_on(struct virtio *v)
{
	int rc = 0;

	pthread_mutex_lock(&v->lock);
	assert(!v->started);
	if (virtio_status(v) & VIRTIO_DRIVER_OK) {
		tell_again(v);
		rc = start(v);
	}
	pthread_mutex_unlock(&v->lock);
	return rc < 0 ? fail(-rc, "%s: cannot be started", v->name) : 0;
}
