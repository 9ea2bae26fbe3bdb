/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split virtqueues (virtio 1.2, 2.7). */
#include "dev/virtio.h"

#include <assert.h>
#include <errno.h>

struct desc {
	le64 addr;
	le32 len;
	le16 flags, next;
};
static_assert(sizeof(struct desc) == 16, "virtio 1.2, 2.7.5");

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

struct used_elem {
	le32 id, len;
};
static_assert(sizeof(struct used_elem) == 8, "virtio 1.2, 2.7.8");

enum {
	RING_FLAGS = 0,		/* offsets, the same in both rings */
	RING_IDX = 2,
	RING_ENTRIES = 4,
	AVAIL_NO_INTERRUPT = 1,
	USED_NO_NOTIFY = 1,
};

static int broken(struct virtq *q, const char *why)
{
	virtio_break(q->dev, why);
	return -EPROTO;
}

/* Where the index beyond each ring is: used_event and avail_event (2.7.10). */
static gpa_t used_event(const struct virtq *q)
{
	return q->avail + RING_ENTRIES + 2 * q->size;
}

static gpa_t avail_event(const struct virtq *q)
{
	return q->used + RING_ENTRIES + sizeof(struct used_elem) * q->size;
}

static bool usable(struct virtq *q)
{
	return q->enabled && !__atomic_load_n(&q->dev->broken, __ATOMIC_RELAXED);
}

/* -------------------------------------------------------- taking a chain */

/* A table of descriptors on the way through it: the queue's, or an indirect. */
struct walk {
	gpa_t table;
	unsigned size;		/* of the table */
	unsigned steps;		/* left, before it must be a loop */
	bool indirect;
};

static const char *add_segment(struct virtq *q, struct virtq_chain *c,
			       const struct desc *d)
{
	struct virtq_seg s = { get_le64(d->addr), get_le32(d->len) };
	bool in = get_le16(d->flags) & DESC_WRITE;
	uint64_t *total = in ? &c->in_len : &c->out_len;

	if (!s.len)
		return "empty descriptor";
	if (!in && c->nin)
		return "readable descriptor after a writable one";
	if (c->nout + c->nin == VIRTQ_SEGS)
		return "chain of too many descriptors";
	if (s.len > VIRTQ_BYTES - *total)
		return "chain of too many bytes";
	if (!mem_valid(q->dev->mem, s.gpa, s.len))
		return "buffer outside RAM";
	c->seg[c->nout + c->nin] = s;
	*(in ? &c->nin : &c->nout) += 1;
	*total += s.len;
	return NULL;
}

/* Turns W to the table that D describes (2.7.5.3). */
static const char *enter_indirect(struct virtq *q, struct walk *w,
				  const struct desc *d)
{
	uint32_t len = get_le32(d->len);

	if (!virtio_has(q->dev, VIRTIO_F_INDIRECT))
		return "indirect descriptor, not negotiated";
	if (w->indirect)
		return "indirect descriptor within an indirect table";
	if (get_le16(d->flags) & DESC_NEXT)
		return "indirect descriptor with a next one";
	if (len % sizeof(*d))
		return "indirect table of odd length";
	if (!mem_valid(q->dev->mem, get_le64(d->addr), len))
		return "indirect table outside RAM";
	*w = (struct walk){
		.table = get_le64(d->addr), .size = len / sizeof(*d),
		.steps = len / sizeof(*d), .indirect = true,
	};
	return NULL;
}

/* Follows the chain from its head; NULL, or what is wrong with it. */
static const char *take_chain(struct virtq *q, struct virtq_chain *c)
{
	struct walk w = { .table = q->desc, .size = q->size, .steps = q->size };
	unsigned at = c->head;
	const char *wrong;
	struct desc d;
	unsigned flags;

	for (;;) {
		if (at >= w.size)
			return "descriptor index out of range";
		if (!w.steps--)
			return "descriptor loop";
		if (mem_read(q->dev->mem, w.table + at * sizeof(d), &d,
			     sizeof(d)) < 0)
			return "descriptor outside RAM";
		flags = get_le16(d.flags);
		wrong = flags & DESC_INDIRECT ? enter_indirect(q, &w, &d) :
			add_segment(q, c, &d);
		if (wrong)
			return wrong;
		if (flags & DESC_INDIRECT)
			at = 0;
		else if (flags & DESC_NEXT)
			at = get_le16(d.next);
		else
			return NULL;
	}
}

int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	const char *wrong;
	uint16_t idx, head;
	gpa_t entry;

	if (!usable(q))
		return q->enabled ? -EPROTO : 0;
	if (mem_load16(q->dev->mem, q->avail + RING_IDX, &idx) < 0)
		return broken(q, "available ring outside RAM");
	if (idx == q->last_avail)
		return 0;
	if ((uint16_t)(idx - q->last_avail) > q->size)
		return broken(q, "available index jumped");
	entry = q->avail + RING_ENTRIES + 2 * (q->last_avail % q->size);
	if (mem_load16(q->dev->mem, entry, &head) < 0)
		return broken(q, "available ring outside RAM");
	c->head = head;
	c->nout = c->nin = 0;
	c->out_len = c->in_len = 0;
	wrong = take_chain(q, c);
	if (wrong)
		return broken(q, wrong);
	q->last_avail++;
	return 1;
}

bool virtq_pending(struct virtq *q)
{
	uint16_t idx;

	return usable(q) &&
		mem_load16(q->dev->mem, q->avail + RING_IDX, &idx) == 0 &&
		idx != q->last_avail;
}

void virtq_want_kick(struct virtq *q, bool on)
{
	const struct mem *m = q->dev->mem;
	int rc = 0;

	if (!usable(q))
		return;
	/*
	 * With EVENT_IDX, not to move the index is not to be kicked: the
	 * driver kicks when it passes it, once.
	 */
	if (!virtio_has(q->dev, VIRTIO_F_EVENT))
		rc = mem_store16(m, q->used + RING_FLAGS,
				 on ? 0 : USED_NO_NOTIFY);
	else if (on)
		rc = mem_store16(m, avail_event(q), q->last_avail);
	if (rc < 0)
		broken(q, "used ring outside RAM");
	/* Before the caller reads the available index again. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* ----------------------------------------------------- giving it back */

int virtq_push(struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
	struct used_elem e = { to_le32(c->head), to_le32(written) };
	const struct mem *m = q->dev->mem;
	gpa_t entry;

	if (!usable(q))
		return -EPROTO;
	assert(written <= c->in_len);
	entry = q->used + RING_ENTRIES + sizeof(e) * (q->used_idx % q->size);
	if (mem_write(m, entry, &e, sizeof(e)) < 0 ||
	    mem_store16(m, q->used + RING_IDX, q->used_idx + 1) < 0)
		return broken(q, "used ring outside RAM");
	q->used_idx++;
	return 0;
}

/* Whether the driver wants to hear of used_idx going from OLD to NEW. */
static bool wants_interrupt(struct virtq *q, uint16_t old, uint16_t new)
{
	const struct mem *m = q->dev->mem;
	uint16_t v;

	if (!virtio_has(q->dev, VIRTIO_F_EVENT))
		return mem_load16(m, q->avail + RING_FLAGS, &v) < 0 ||
			!(v & AVAIL_NO_INTERRUPT);
	return mem_load16(m, used_event(q), &v) < 0 ||
		(uint16_t)(new - v - 1) < (uint16_t)(new - old);
}

void virtq_signal(struct virtq *q)
{
	uint16_t old = q->signalled, new = q->used_idx;
	bool first = !q->signalled_valid;

	if (!usable(q) || (!first && old == new))
		return;
	q->signalled = new;
	q->signalled_valid = true;
	/* What was pushed is visible before the driver's wish is read. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if ((first || wants_interrupt(q, old, new)) && q->dev->transport)
		q->dev->transport->interrupt(q->dev, q);
}

/* As if all that is in the ring had been put there just now. */
void virtq_signal_again(struct virtq *q)
{
	q->signalled = q->used_idx - q->size;
	q->signalled_valid = true;
	virtq_signal(q);
}

/* ------------------------------------------------- what is in the chain */

/* Visits the bytes [OFF, OFF+LEN) of N segments; how many FN was given. */
static size_t each_part(const struct virtq_seg *seg, unsigned n, uint64_t off,
			uint64_t len, int (*fn)(void *arg, gpa_t gpa,
						uint64_t done, uint64_t part),
			void *arg)
{
	uint64_t done = 0, part;

	for (; n && done < len; n--, seg++) {
		if (off >= seg->len) {
			off -= seg->len;
			continue;
		}
		part = min_u64(seg->len - off, len - done);
		if (fn(arg, seg->gpa + off, done, part) < 0)
			break;
		done += part;
		off = 0;
	}
	return done;
}

struct copy {
	const struct mem *mem;
	uint8_t *to;
	const uint8_t *from;
};

static int copy_from_guest(void *arg, gpa_t gpa, uint64_t done, uint64_t part)
{
	const struct copy *c = arg;

	return mem_read(c->mem, gpa, c->to + done, part);
}

static int copy_to_guest(void *arg, gpa_t gpa, uint64_t done, uint64_t part)
{
	const struct copy *c = arg;

	return mem_write(c->mem, gpa, c->from + done, part);
}

size_t chain_read(const struct virtio *v, const struct virtq_chain *c,
		  uint64_t off, void *buf, size_t len)
{
	struct copy copy = { .mem = v->mem, .to = buf };

	return each_part(c->seg, c->nout, off, len, copy_from_guest, &copy);
}

size_t chain_write(const struct virtio *v, const struct virtq_chain *c,
		   uint64_t off, const void *buf, size_t len)
{
	struct copy copy = { .mem = v->mem, .from = buf };

	return each_part(c->seg + c->nout, c->nin, off, len, copy_to_guest,
			 &copy);
}

struct iov_list {
	const struct mem *mem;
	struct iovec *iov;
	int n, max;
};

static int add_iovec(void *arg, gpa_t gpa, uint64_t done, uint64_t part)
{
	struct iov_list *l = arg;

	(void)done;
	if (l->n == l->max || mem_iov(l->mem, gpa, part, &l->iov[l->n]) < 0)
		return -EFAULT;
	l->n++;
	return 0;
}

int chain_out_iov(const struct virtio *v, const struct virtq_chain *c,
		  uint64_t off, uint64_t len, struct iovec *iov, int max)
{
	struct iov_list l = { .mem = v->mem, .iov = iov, .max = max };

	if (each_part(c->seg, c->nout, off, len, add_iovec, &l) != len)
		return -EFAULT;
	return l.n;
}

int chain_in_iov(const struct virtio *v, const struct virtq_chain *c,
		 uint64_t off, uint64_t len, struct iovec *iov, int max)
{
	struct iov_list l = { .mem = v->mem, .iov = iov, .max = max };

	if (each_part(c->seg + c->nout, c->nin, off, len, add_iovec, &l) != len)
		return -EFAULT;
	return l.n;
}
