/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_write.c - writes in place, and into clusters of their own first.
 */
#include "block/qcow2_int.h"

#include <errno.h>

/* A writer's request, as far as it is not done. */
struct request {
	struct vec left;
	struct iovec *part;	/* two longer than the vector was */
};

/* -- flights -- */

static bool flying(const struct qcow2 *q, uint64_t first, uint64_t last)
{
	for (const struct qcow2_flight *f = q->flights; f; f = f->next)
		if (first < f->first + f->n && f->first <= last)
			return true;
	return false;
}

void qcow2_wait_flights(struct qcow2 *q, uint64_t off, uint64_t len)
{
	uint64_t first = off >> q->h.cluster_bits;
	uint64_t last = (off + len - 1) >> q->h.cluster_bits;

	while (flying(q, first, last))
		pthread_cond_wait(&q->landed, &q->lock);
}

static void start(struct qcow2 *q, struct qcow2_flight *f)
{
	f->next = q->flights;
	q->flights = f;
}

static void land(struct qcow2 *q, const struct qcow2_flight *f)
{
	struct qcow2_flight **p = &q->flights;

	while (*p != f)
		p = &(*p)->next;
	*p = f->next;
	pthread_cond_broadcast(&q->landed);
}

/* -- clusters that are to be filled -- */

/* How many from OFF on, of those that LEN bytes touch, need a new cluster. */
static uint64_t lacking(const struct qcow2 *q, const struct qcow2_table *t,
			uint64_t off, uint64_t len)
{
	uint64_t cs = qcow2_cs(q), in = off & (cs - 1), n = 0;
	struct qcow2_map m;

	for (; n * cs < in + len; n++)
		if (qcow2_decode(q, qcow2_l2_entry(q, t, off - in + n * cs),
				 &m) < 0 || m.copied)
			break;
	return n;
}

/*
 * Gets clusters for what is at OFF, which M is about, and starts their
 * flight. How many bytes of LEN go there, or -errno.
 */
static int64_t allocate(struct qcow2 *q, uint64_t off, uint64_t len,
			const struct qcow2_map *m, struct qcow2_flight *f)
{
	uint64_t in = off & (qcow2_cs(q) - 1);
	struct qcow2_table *t;
	int64_t n = qcow2_l2_change(q, off, &t);

	if (n < 0)
		return n;
	*f = (struct qcow2_flight){ .first = off >> q->h.cluster_bits };
	if (m->kind == QCOW2_ZEROS_AT && m->copied) {
		f->own = true;
		f->host = m->host - in;
		n = 1;
	} else {
		n = qcow2_alloc(q, lacking(q, t, off, len), &f->host,
				&f->virgin);
	}
	if (n < 0)
		return n;
	f->n = n;
	start(q, f);
	return min_u64(len, n * qcow2_cs(q) - in);
}

/* What the disk shows, not the file; inside a cluster, perhaps behind its end. */
static int read_old(struct qcow2 *q, void *to, uint64_t off, uint64_t len)
{
	struct iovec iov = { to, len };

	return len ? qcow2_readv(&q->block, &iov, 1, off, len) : 0;
}

/*
 * LEN bytes for OFF into the clusters of F; around them what was there before,
 * so that these are whole.
 */
static int fill(struct qcow2 *q, struct request *r,
		const struct qcow2_flight *f, uint64_t off, uint64_t len)
{
	uint64_t mask = qcow2_cs(q) - 1, head = off & mask;
	uint64_t end = off + len, tail = -end & mask, host = f->host;
	autofree char *old = NULL;
	int n = 0, rc;

	if (f->virgin && qcow2_is_zero(q, off - head, head) &&
	    qcow2_is_zero(q, end, tail)) {
		host += head;
		head = tail = 0;
	}
	if (head + tail) {
		old = malloc(head + tail);
		rc = old ? read_old(q, old, off - head, head) : -ENOMEM;
		if (rc == 0)
			rc = read_old(q, old + head, end, tail);
		if (rc < 0)
			return rc;
	}
	if (head)
		r->part[n++] = (struct iovec){ old, head };
	n += vec_take(&r->left, len, r->part + n);
	if (tail)
		r->part[n++] = (struct iovec){ old + head, tail };
	return vec_write(q->fd, r->part, n, host);
}

/* The table for OFF names the clusters of F. */
static int name_clusters(struct qcow2 *q, const struct qcow2_flight *f,
			 uint64_t off)
{
	uint64_t cs = qcow2_cs(q);
	struct qcow2_table *t;
	int rc = q->corrupt ? -EIO : qcow2_l2_change(q, off, &t);

	if (rc < 0)
		return rc;
	for (uint64_t i = 0; i < f->n; i++) {
		uint64_t at = (f->first + i) << q->h.cluster_bits;
		uint64_t old = qcow2_l2_entry(q, t, at);

		qcow2_l2_set(q, t, at, (f->host + i * cs) | QCOW2_COPIED);
		if (!f->own)
			qcow2_free_entry(q, old);
	}
	/* The data is what the table must not overtake. */
	q->writes++;
	return 0;
}

static int finish(struct qcow2 *q, const struct qcow2_flight *f, uint64_t off,
		  int rc)
{
	pthread_mutex_lock(&q->lock);
	if (rc == 0)
		rc = name_clusters(q, f, off);
	if (rc < 0 && !f->own)
		qcow2_free_now(q, f->host, f->n);
	land(q, f);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

/* -- extents that are new -- */

/* That OFF is now in F's clusters, of which LEN bytes are to be written. */
static void extent(struct qcow2 *q, const struct qcow2_flight *f, uint64_t off,
		   uint64_t len, struct block_extent *e)
{
	uint64_t cs = qcow2_cs(q), in = off & (cs - 1);

	*e = (struct block_extent){
		.fd = q->fd, .off = f->host + in,
		.len = min_u64(len, f->n * cs - in),
	};
}

/*
 * Where zeros are seen, in a place that reads as zeros, nothing has to be done
 * but to name it: whatever is on disk of what is written there, now or after a
 * power loss, the rest is zeros as before.
 */
static int map_virgin(struct qcow2 *q, struct qcow2_table *t, uint64_t off,
		      uint64_t len, struct block_extent *e)
{
	uint64_t cs = qcow2_cs(q), in = off & (cs - 1);
	struct qcow2_flight f = { .first = off >> q->h.cluster_bits };
	int64_t n = qcow2_alloc_quick(q, (in + len + cs - 1) / cs, true,
				      &f.host);

	if (n < 0)
		return n;
	f.n = n;
	for (uint64_t i = 0; i < f.n; i++)
		qcow2_l2_set(q, t, off + i * cs,
			     (f.host + i * cs) | QCOW2_COPIED);
	q->writes++;
	extent(q, &f, off, len, e);
	e->token = qcow2_pin(q);
	return 0;
}

/* Whole clusters: nothing that was there before is needed. */
static int map_flight(struct qcow2 *q, struct qcow2_table *t, uint64_t off,
		      uint64_t len, struct block_extent *e)
{
	autofree struct qcow2_flight *f = calloc(1, sizeof(*f));
	int64_t n;

	if (!f)
		return -EAGAIN;
	f->first = off >> q->h.cluster_bits;
	n = qcow2_alloc_quick(q, lacking(q, t, off, len), false, &f->host);
	if (n < 0)
		return n;
	f->n = n;
	start(q, f);
	extent(q, f, off, len, e);
	e->token = (uintptr_t)take_ptr(f);
	return 0;
}

int qcow2_map_new(struct qcow2 *q, uint64_t off, uint64_t len,
		  const struct qcow2_map *m, struct block_extent *e)
{
	uint64_t mask = qcow2_cs(q) - 1, bits = q->h.cluster_bits;
	struct qcow2_table *t = qcow2_l2_peek(q, off);
	uint64_t same = min_u64(len, m->kind == QCOW2_PACKED ? mask + 1 :
				m->len);
	int rc = -EAGAIN;

	if (!t || qcow2_freed_many(q) ||
	    flying(q, off >> bits, (off + len - 1) >> bits))
		return -EAGAIN;
	if (m->kind == QCOW2_ZEROS ||
	    (m->kind == QCOW2_NONE && !qcow2_covered(q, off & ~mask)))
		rc = map_virgin(q, t, off, same, e);
	if (rc < 0 && !(off & mask) && same > mask)
		rc = map_flight(q, t, off, same & ~mask, e);
	return rc < 0 ? -EAGAIN : 0;
}

int qcow2_unmap_new(struct qcow2 *q, struct block_extent *e)
{
	autofree struct qcow2_flight *f = (void *)(uintptr_t)e->token;
	int rc = finish(q, f, f->first << q->h.cluster_bits, e->rc);

	return e->rc < 0 ? 0 : rc;
}

/* -- all of it -- */

/* The front of R to OFF, of LEN bytes. How much that was, or -errno. */
static int64_t write_some(struct qcow2 *q, struct request *r, uint64_t off,
			  uint64_t len)
{
	uint64_t span = 1ULL << qcow2_l2_bits(q);
	struct qcow2_flight f;
	struct qcow2_map m;
	unsigned pin = 0;
	bool in_place;
	int64_t rc;
	int n;

	len = min_u64(len, span - (off & (span - 1)));
	pthread_mutex_lock(&q->lock);
	qcow2_wait_flights(q, off, len);
	rc = q->corrupt ? -EIO : qcow2_lookup(q, off, len, &m);
	in_place = rc == 0 && m.kind == QCOW2_DATA && m.copied;
	if (in_place)
		pin = qcow2_pin(q);
	else if (rc == 0)
		rc = allocate(q, off, len, &m, &f);
	pthread_mutex_unlock(&q->lock);
	if (rc < 0)
		return rc;
	if (!in_place) {
		len = rc;
		rc = finish(q, &f, off, fill(q, r, &f, off, len));
		if (rc == 0)
			rc = qcow2_flush_if_many(q);
		return rc < 0 ? rc : (int64_t)len;
	}
	n = vec_take(&r->left, m.len, r->part);
	rc = vec_write(q->fd, r->part, n, m.host);
	qcow2_unpin(q, pin);
	return rc < 0 ? rc : (int64_t)m.len;
}

int qcow2_writev(struct block *b, struct iovec *iov, int n, uint64_t off,
		 uint64_t len)
{
	enum { FEW = 16, AROUND = 2 };
	struct qcow2 *q = qcow2_of(b);
	struct iovec few[FEW + AROUND];
	autofree struct iovec *many = NULL;
	struct request r = { { iov, n }, few };

	if (n > FEW)
		r.part = many = calloc(n + AROUND, sizeof(*many));
	if (!r.part)
		return -ENOMEM;
	while (len) {
		int64_t done = write_some(q, &r, off, len);

		if (done < 0)
			return done;
		off += done;
		len -= done;
	}
	return 0;
}
