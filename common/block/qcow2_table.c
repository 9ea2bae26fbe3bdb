/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_table.c - the tables that say where a cluster lies, and the cache they
 * are kept in.
 */
#include "block/qcow2_int.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"

/* -- a set of clusters: open addressing, at most half full -- */

static uint64_t home(const struct qcow2_set *s, uint64_t key)
{
	return key * 0x9e3779b97f4a7c15ULL >> 20 & (s->size - 1);
}

/* Where KEY is, or the empty slot where it would be. */
static uint64_t find_slot(const struct qcow2_set *s, uint64_t key)
{
	uint64_t i = home(s, key);

	while (s->slot[i] && s->slot[i] != key)
		i = (i + 1) & (s->size - 1);
	return i;
}

bool qcow2_set_has(const struct qcow2_set *s, uint64_t cluster)
{
	return s->size && s->slot[find_slot(s, cluster + 1)];
}

static int set_grow(struct qcow2_set *s)
{
	struct qcow2_set wide = { .size = s->size ? 2 * s->size : 64 };

	wide.slot = calloc(wide.size, sizeof(*wide.slot));
	if (!wide.slot)
		return -ENOMEM;
	wide.used = s->used;
	for (uint64_t i = 0; i < s->size; i++)
		if (s->slot[i])
			wide.slot[find_slot(&wide, s->slot[i])] = s->slot[i];
	free(s->slot);
	*s = wide;
	return 0;
}

int qcow2_set_add(struct qcow2_set *s, uint64_t cluster)
{
	uint64_t i;

	if (2 * (s->used + 1) > s->size && set_grow(s) < 0)
		return -ENOMEM;
	i = find_slot(s, cluster + 1);
	if (s->slot[i])
		return -EEXIST;
	s->slot[i] = cluster + 1;
	s->used++;
	return 0;
}

void qcow2_set_drop(struct qcow2_set *s, uint64_t cluster)
{
	uint64_t mask = s->size - 1, hole, i;

	if (!qcow2_set_has(s, cluster))
		return;
	hole = find_slot(s, cluster + 1);
	/* Those behind move up, unless that puts them before their home. */
	for (i = (hole + 1) & mask; s->slot[i]; i = (i + 1) & mask) {
		if (((i - home(s, s->slot[i])) & mask) < ((i - hole) & mask))
			continue;
		s->slot[hole] = s->slot[i];
		hole = i;
	}
	s->slot[hole] = 0;
	s->used--;
}

/* -- the cache -- */

int qcow2_cache_init(struct qcow2_cache *c, const struct qcow2_header *h,
		     int (*clean)(struct qcow2 *))
{
	/* The one to go is found by looking at all. */
	enum { BYTES = 1 << 20, LEAST = 4, MOST = 512 };

	c->n = max_u64(LEAST, min_u64(MOST, BYTES >> h->cluster_bits));
	c->clean = clean;
	c->table = calloc(c->n, sizeof(*c->table));
	c->hash = calloc(c->n, sizeof(*c->hash));
	return c->table && c->hash ? 0 : -ENOMEM;
}

void qcow2_cache_release(struct qcow2_cache *c)
{
	for (unsigned i = 0; i < c->made; i++)
		free(c->table[i]);
	free(c->table);
	free(c->hash);
}

static struct qcow2_table **bucket(const struct qcow2 *q,
				   const struct qcow2_cache *c, uint64_t off)
{
	return &c->hash[(off >> q->h.cluster_bits) % c->n];
}

struct qcow2_table *qcow2_cache_find(const struct qcow2 *q,
				     struct qcow2_cache *c, uint64_t off)
{
	struct qcow2_table *t = *bucket(q, c, off);

	while (t && t->off != off)
		t = t->next;
	if (t)
		t->used = ++c->clock;
	return t;
}

void qcow2_cache_forget(const struct qcow2 *q, struct qcow2_cache *c,
			struct qcow2_table *t)
{
	struct qcow2_table **p = bucket(q, c, t->off);

	while (*p != t)
		p = &(*p)->next;
	*p = t->next;
	t->off = 0;
	t->lo = t->hi = 0;
	t->fresh = false;
}

/* The one not used for longest that need not be written first. */
static struct qcow2_table *oldest_clean(struct qcow2_cache *c)
{
	struct qcow2_table *old = NULL;

	for (unsigned i = 0; i < c->made; i++) {
		struct qcow2_table *t = c->table[i];

		if (t->lo == t->hi && (!old || t->used < old->used))
			old = t;
	}
	return old;
}

/* One that holds nothing yet, or is to hold it no longer. */
static int cache_take(struct qcow2 *q, struct qcow2_cache *c,
		      struct qcow2_table **out)
{
	struct qcow2_table *t;
	int rc;

	if (c->made < c->n) {
		t = calloc(1, sizeof(*t) + qcow2_cs(q));
		if (!t)
			return -ENOMEM;
		c->table[c->made++] = *out = t;
		return 0;
	}
	t = oldest_clean(c);
	rc = t ? 0 : c->clean(q);
	if (rc < 0)
		return rc;
	*out = t ? t : oldest_clean(c);
	if ((*out)->off)
		qcow2_cache_forget(q, c, *out);
	return 0;
}

/* An empty table of the cache, for what is at OFF. */
static int cache_make(struct qcow2 *q, struct qcow2_cache *c, uint64_t off,
		      struct qcow2_table **out)
{
	struct qcow2_table *t;
	int rc = cache_take(q, c, &t);

	if (rc < 0)
		return rc;
	t->off = off;
	t->used = ++c->clock;
	t->next = *bucket(q, c, off);
	*bucket(q, c, off) = t;
	*out = t;
	return 0;
}

int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *c, uint64_t off,
		    struct qcow2_table **out)
{
	int rc;

	*out = qcow2_cache_find(q, c, off);
	if (*out)
		return 0;
	rc = cache_make(q, c, off, out);
	if (rc < 0)
		return rc;
	rc = pread_all(q->fd, (*out)->data, qcow2_cs(q), off);
	if (rc < 0)
		qcow2_cache_forget(q, c, *out);
	return rc == -ENODATA ? qcow2_damaged(q, "a table that ends early", off)
			      : rc;
}

int qcow2_cache_new(struct qcow2 *q, struct qcow2_cache *c, uint64_t off,
		    struct qcow2_table **out)
{
	struct qcow2_table *t = qcow2_cache_find(q, c, off);
	int rc = t ? 0 : cache_make(q, c, off, &t);

	if (rc < 0)
		return rc;
	memset(t->data, 0, qcow2_cs(q));
	qcow2_table_touch(t, 0, qcow2_cs(q));
	*out = t;
	return 0;
}

void qcow2_table_touch(struct qcow2_table *t, size_t at, size_t len)
{
	unsigned lo = at / QCOW2_SECTOR * QCOW2_SECTOR;
	unsigned hi = align_up(at + len, QCOW2_SECTOR);

	if (t->lo == t->hi) {
		t->lo = lo;
		t->hi = hi;
	}
	t->lo = min_u64(t->lo, lo);
	t->hi = max_u64(t->hi, hi);
}

int qcow2_table_write(struct qcow2 *q, struct qcow2_table *t)
{
	int rc = 0;

	if (t->lo != t->hi)
		rc = qcow2_put(q, t->data + t->lo, t->hi - t->lo,
			       t->off + t->lo);
	if (rc == 0)
		t->lo = t->hi = 0;
	return rc;
}

/* -- entries -- */

bool qcow2_place_ok(const struct qcow2 *q, uint64_t off)
{
	return off >= qcow2_cs(q) && off < q->end &&
	       !qcow2_set_has(&q->meta, off >> q->h.cluster_bits);
}

/* qcow2.txt, "Compressed Clusters Descriptor" */
static int decode_packed(const struct qcow2 *q, uint64_t entry,
			 struct qcow2_map *m)
{
	unsigned bits = 62 - (q->h.cluster_bits - 8);
	uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> bits;
	uint64_t last;

	m->kind = QCOW2_PACKED;
	m->copied = false;
	m->host = entry & ((1ULL << bits) - 1);
	m->len = (sectors + 1) * QCOW2_SECTOR - m->host % QCOW2_SECTOR;
	if (m->host >= q->end)
		return -EIO;
	m->len = min_u64(m->len, q->end - m->host);
	last = m->host + m->len - 1;
	for (uint64_t at = m->host; at <= last; at += qcow2_cs(q))
		if (!qcow2_place_ok(q, at))
			return -EIO;
	return qcow2_place_ok(q, last) ? 0 : -EIO;
}

int qcow2_decode(const struct qcow2 *q, uint64_t entry, struct qcow2_map *m)
{
	bool zero = entry & QCOW2_ZERO;

	m->entry = entry;
	if (entry & QCOW2_COMPRESSED)
		return decode_packed(q, entry, m);
	m->host = entry & QCOW2_OFFSET;
	m->copied = m->host && entry & QCOW2_COPIED;
	m->len = qcow2_cs(q);
	if (entry & ~(QCOW2_OFFSET | QCOW2_COPIED | QCOW2_ZERO) ||
	    (zero && q->h.version < 3))
		return -EIO;
	if (!m->host) {
		m->kind = zero ? QCOW2_ZEROS : QCOW2_NONE;
		return 0;
	}
	m->kind = zero ? QCOW2_ZEROS_AT : QCOW2_DATA;
	return m->host % qcow2_cs(q) == 0 && qcow2_place_ok(q, m->host) ?
		0 : -EIO;
}

static uint64_t index_of(const struct qcow2 *q, uint64_t off)
{
	return (off >> q->h.cluster_bits) & (qcow2_cs(q) / 8 - 1);
}

uint64_t qcow2_l2_entry(const struct qcow2 *q, const struct qcow2_table *t,
			uint64_t off)
{
	const be64 *entry = (const be64 *)t->data;

	return get_be64(entry[index_of(q, off)]);
}

void qcow2_l2_set(struct qcow2 *q, struct qcow2_table *t, uint64_t off,
		  uint64_t entry)
{
	be64 *table = (be64 *)t->data;
	uint64_t i = index_of(q, off);

	table[i] = to_be64(entry);
	qcow2_table_touch(t, i * sizeof(*table), sizeof(*table));
}

/* Whether NEXT, DONE bytes behind M, goes on where M ended. */
static bool goes_on(const struct qcow2_map *m, const struct qcow2_map *next,
		    uint64_t done)
{
	if (next->kind != m->kind || next->copied != m->copied)
		return false;
	return m->kind == QCOW2_NONE || m->kind == QCOW2_ZEROS ||
	       next->host == m->host + done;
}

/* What T says of OFF, and of how much of the LEN bytes it says the same. */
static int run_of(struct qcow2 *q, const struct qcow2_table *t, uint64_t off,
		  uint64_t len, struct qcow2_map *m)
{
	uint64_t cs = qcow2_cs(q), in = off & (cs - 1), done = cs;
	int rc = qcow2_decode(q, qcow2_l2_entry(q, t, off), m);

	if (rc < 0 && qcow2_grew(q))
		rc = qcow2_decode(q, qcow2_l2_entry(q, t, off), m);
	if (rc < 0)
		return qcow2_damaged(q, "an L2 entry", m->entry);
	while (m->kind != QCOW2_PACKED && done < in + len) {
		uint64_t entry = qcow2_l2_entry(q, t, off - in + done);
		struct qcow2_map next;

		if (qcow2_decode(q, entry, &next) < 0 ||
		    !goes_on(m, &next, done))
			break;
		done += cs;
	}
	if (m->kind == QCOW2_DATA || m->kind == QCOW2_ZEROS_AT)
		m->host += in;
	if (m->kind != QCOW2_PACKED)
		m->len = min_u64(done - in, len);
	return 0;
}

/* LEN, cut to what the L2 table for OFF is about. */
static uint64_t within_table(const struct qcow2 *q, uint64_t off, uint64_t len)
{
	uint64_t span = 1ULL << qcow2_l2_bits(q);

	return min_u64(len, span - (off & (span - 1)));
}

int qcow2_lookup(struct qcow2 *q, uint64_t off, uint64_t len,
		 struct qcow2_map *m)
{
	struct qcow2_table *t;
	int rc = qcow2_l2_get(q, off, &t);

	len = within_table(q, off, len);
	if (rc < 0)
		return rc;
	if (t)
		return run_of(q, t, off, len, m);
	*m = (struct qcow2_map){ .kind = QCOW2_NONE, .len = len };
	return 0;
}

int qcow2_peek(struct qcow2 *q, uint64_t off, uint64_t len,
	       struct qcow2_map *m)
{
	uint64_t entry = q->l1[off >> qcow2_l2_bits(q)];
	struct qcow2_table *t = entry & QCOW2_OFFSET ?
		qcow2_cache_find(q, &q->l2, entry & QCOW2_OFFSET) : NULL;

	len = within_table(q, off, len);
	if (t)
		return run_of(q, t, off, len, m);
	*m = (struct qcow2_map){ .kind = QCOW2_NONE, .len = len };
	return entry ? -EAGAIN : 0;
}

/* -- L1 and L2 -- */

struct qcow2_table *qcow2_l2_peek(struct qcow2 *q, uint64_t off)
{
	uint64_t entry = q->l1[off >> qcow2_l2_bits(q)];

	return entry & QCOW2_COPIED ?
		qcow2_cache_find(q, &q->l2, entry & QCOW2_OFFSET) : NULL;
}

int qcow2_l2_get(struct qcow2 *q, uint64_t off, struct qcow2_table **t)
{
	uint64_t entry = q->l1[off >> qcow2_l2_bits(q)];
	uint64_t at = entry & QCOW2_OFFSET;

	*t = NULL;
	if (!entry)
		return 0;
	/* What writers have in `meta` was looked at when they opened it. */
	if (entry & ~(QCOW2_OFFSET | QCOW2_COPIED) || at < qcow2_cs(q) ||
	    at % qcow2_cs(q) || at >= q->end)
		return qcow2_damaged(q, "an L1 entry", entry);
	return qcow2_cache_get(q, &q->l2, at, t);
}

/* An L2 table of nothing, or of what is in FROM, at a new place. */
static int l2_new(struct qcow2 *q, uint64_t i, const void *from,
		  struct qcow2_table **t)
{
	uint64_t off;
	int64_t n = qcow2_alloc(q, 1, &off, NULL);
	int rc;

	if (n < 0)
		return n;
	rc = qcow2_cache_new(q, &q->l2, off, t);
	if (rc == 0) {
		rc = qcow2_set_add(&q->meta, off >> q->h.cluster_bits);
		if (rc < 0)
			qcow2_cache_forget(q, &q->l2, *t);
	}
	if (rc < 0) {
		qcow2_free_now(q, off, 1);
		return rc;
	}
	if (from)
		memcpy((*t)->data, from, qcow2_cs(q));
	(*t)->fresh = true;
	q->l1[i] = off | QCOW2_COPIED;
	if (q->l1_lo == q->l1_hi)
		q->l1_lo = q->l1_hi = i;
	q->l1_lo = min_u64(q->l1_lo, i);
	q->l1_hi = max_u64(q->l1_hi, i + 1);
	return 0;
}

int qcow2_l2_change(struct qcow2 *q, uint64_t off, struct qcow2_table **t)
{
	uint64_t i = off >> qcow2_l2_bits(q), old = q->l1[i];
	autofree void *copy = NULL;
	int rc = qcow2_l2_get(q, off, t);

	if (rc < 0 || old & QCOW2_COPIED)
		return rc;
	if (!old)
		return l2_new(q, i, NULL, t);
	/* A snapshot has it, too. */
	old &= QCOW2_OFFSET;
	copy = malloc(qcow2_cs(q));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, (*t)->data, qcow2_cs(q));
	rc = l2_new(q, i, copy, t);
	if (rc < 0)
		return rc;
	qcow2_set_drop(&q->meta, old >> q->h.cluster_bits);
	qcow2_free_later(q, old, 1);
	return 0;
}

/* -- to disk -- */

static int l1_write(struct qcow2 *q)
{
	uint64_t n = q->l1_hi - q->l1_lo;
	autofree be64 *part = NULL;
	int rc;

	if (!n)
		return 0;
	part = malloc(n * sizeof(*part));
	if (!part)
		return -ENOMEM;
	for (uint64_t i = 0; i < n; i++)
		part[i] = to_be64(q->l1[q->l1_lo + i]);
	rc = qcow2_put(q, part, n * sizeof(*part),
		       q->h.l1_off + q->l1_lo * sizeof(*part));
	if (rc == 0)
		q->l1_lo = q->l1_hi = 0;
	return rc;
}

/* Those that are fresh, or all. */
static int l2_write(struct qcow2 *q, bool all)
{
	struct qcow2_cache *c = &q->l2;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < c->made; i++)
		if (c->table[i]->off && (all || c->table[i]->fresh))
			rc = qcow2_table_write(q, c->table[i]);
	return rc;
}

static bool l2_waits(const struct qcow2 *q)
{
	for (unsigned i = 0; i < q->l2.made; i++)
		if (q->l2.table[i]->lo != q->l2.table[i]->hi)
			return true;
	return q->l1_lo != q->l1_hi;
}

int qcow2_fresh_write(struct qcow2 *q)
{
	return l2_write(q, false);
}

int qcow2_tables_write(struct qcow2 *q)
{
	/* The dirty bit stands for lazy refcounts. */
	int rc = q->lazy ? 0 : qcow2_refs_write(q);

	if (rc < 0 || !l2_waits(q))
		return rc;
	rc = qcow2_fresh_write(q);
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc == 0)
		rc = l2_write(q, true);
	if (rc == 0)
		rc = l1_write(q);
	for (unsigned i = 0; rc == 0 && i < q->l2.made; i++)
		q->l2.table[i]->fresh = false;
	return rc;
}
