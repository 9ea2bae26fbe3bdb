/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_refcount.c - which clusters of the file are used, and how often.
 *
 * A refcount block is a cluster of refcounts; the refcount table, all of it
 * in memory, says where the blocks are. A new block lies at the beginning of
 * the clusters it counts, so it counts itself; it is on disk before the table
 * names it.
 */
#include "block/qcow2_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Freed entries that are worth a flush of their own. */
enum { FREED_MOST = 4096 };

/* -- entries of any width -- */

uint64_t qcow2_ref_load(const void *block, unsigned order, uint64_t i)
{
	const uint8_t *p = block;
	unsigned bits = 1U << order;

	switch (order) {
	case 4:
		return get_be16(((const be16 *)block)[i]);
	case 5:
		return get_be32(((const be32 *)block)[i]);
	case 6:
		return get_be64(((const be64 *)block)[i]);
	default:
		return p[i * bits / 8] >> (i * bits % 8) & ((1U << bits) - 1);
	}
}

void qcow2_ref_store(void *block, unsigned order, uint64_t i, uint64_t val)
{
	uint8_t *p = block;
	unsigned bits = 1U << order, mask = (1U << (bits & 15)) - 1;
	unsigned shift = i * bits % 8;

	switch (order) {
	case 4:
		((be16 *)block)[i] = to_be16(val);
		break;
	case 5:
		((be32 *)block)[i] = to_be32(val);
		break;
	case 6:
		((be64 *)block)[i] = to_be64(val);
		break;
	default:
		p += i * bits / 8;
		*p = (*p & ~(mask << shift)) | (val & mask) << shift;
	}
}

static uint64_t per_block(const struct qcow2 *q)
{
	return 1ULL << qcow2_refs_bits(&q->h);
}

/* The block that counts CLUSTER; *T is NULL if there is none. */
static int block_of(struct qcow2 *q, uint64_t cluster, struct qcow2_table **t)
{
	uint64_t r = cluster >> qcow2_refs_bits(&q->h), off;

	*t = NULL;
	if (r >= q->h.reftable_n || !q->reftable[r])
		return 0;
	off = q->reftable[r];
	if (off < qcow2_cs(q) || off % qcow2_cs(q) || off >= q->end)
		return qcow2_damaged(q, "a refcount table entry", off);
	return qcow2_cache_get(q, &q->refs, off, t);
}

static int ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
	struct qcow2_table *t;
	int rc = block_of(q, cluster, &t);

	*count = 0;
	if (rc == 0 && t)
		*count = qcow2_ref_load(t->data, q->h.refcount_order,
					cluster & (per_block(q) - 1));
	return rc;
}

/* One more or one less; the new count, or -errno. */
static int64_t ref_change(struct qcow2 *q, uint64_t cluster, int by)
{
	uint64_t i = cluster & (per_block(q) - 1), count;
	unsigned order = q->h.refcount_order;
	size_t at = i << order >> 3;
	struct qcow2_table *t;
	int rc = block_of(q, cluster, &t);

	if (rc < 0)
		return rc;
	count = t ? qcow2_ref_load(t->data, order, i) : 0;
	if (!t || (by < 0 && !count))
		return qcow2_damaged(q, "a used cluster's refcount of 0",
				     cluster << q->h.cluster_bits);
	count += by;
	qcow2_ref_store(t->data, order, i, count);
	qcow2_table_touch(t, at, order > 3 ? 1U << (order - 3) : 1);
	return count > INT64_MAX ? INT64_MAX : (int64_t)count;
}

int qcow2_refs_write(struct qcow2 *q)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < q->refs.made; i++)
		if (q->refs.table[i]->off)
			rc = qcow2_table_write(q, q->refs.table[i]);
	return rc;
}

/* -- new blocks -- */

/* The file has at least CLUSTERS clusters. */
static int extend(struct qcow2 *q, uint64_t clusters)
{
	uint64_t end;

	if (ckd_mul(&end, clusters, qcow2_cs(q)) || end > QCOW2_OFFSET)
		return -EFBIG;
	if (end <= q->end)
		return 0;
	if (ftruncate(q->fd, end) < 0)
		return -errno;
	q->end = end;
	return 0;
}

static int meta_add(struct qcow2 *q, uint64_t first, uint64_t n)
{
	int rc = 0;
	uint64_t i;

	for (i = 0; i < n; i++) {
		rc = qcow2_set_add(&q->meta, first + i);
		if (rc < 0)
			break;
	}
	if (rc == 0)
		return 0;
	while (i--)
		qcow2_set_drop(&q->meta, first + i);
	return rc == -EEXIST ? qcow2_damaged(q, "a table that is not counted",
					     first << q->h.cluster_bits) : rc;
}

static void meta_drop(struct qcow2 *q, uint64_t first, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		qcow2_set_drop(&q->meta, first + i);
}

/* How many blocks count themselves and N clusters more. */
static uint64_t blocks_for(const struct qcow2 *q, uint64_t n)
{
	uint64_t others = per_block(q) - 1;

	return n ? (n + others - 1) / others : 1;
}

/*
 * Writes, for the parts of the file from R on that no block counts, BLOCKS of
 * them, which lie there, with N clusters for something else behind them.
 */
static int write_blocks(struct qcow2 *q, uint64_t r, uint64_t blocks,
			uint64_t n)
{
	uint64_t first = r << qcow2_refs_bits(&q->h), used = blocks + n;
	autofree void *data = malloc(qcow2_cs(q));
	int rc = data ? extend(q, first + used) : -ENOMEM;

	for (uint64_t b = 0; rc == 0 && b < blocks; b++) {
		memset(data, 0, qcow2_cs(q));
		for (uint64_t i = 0; i < per_block(q) && used; i++, used--)
			qcow2_ref_store(data, q->h.refcount_order, i, 1);
		rc = qcow2_put(q, data, qcow2_cs(q),
			       (first + b) << q->h.cluster_bits);
	}
	return rc;
}

/* Names those blocks in the table, in memory and on disk. */
static int name_blocks(struct qcow2 *q, uint64_t r, uint64_t blocks)
{
	uint64_t first = r << qcow2_refs_bits(&q->h);
	int rc = q->lazy ? 0 : qcow2_barrier(q);

	for (uint64_t b = 0; rc == 0 && b < blocks; b++) {
		uint64_t off = (first + b) << q->h.cluster_bits;
		be64 entry = to_be64(off);

		q->reftable[r + b] = off;
		rc = qcow2_put(q, &entry, sizeof(entry),
			       q->h.reftable_off + (r + b) * sizeof(entry));
		if (rc < 0)	/* memory and disk disagree from here on */
			q->lost = rc;
	}
	return rc;
}

/* How long the table becomes that has an entry R. */
static uint64_t longer_table(const struct qcow2 *q, uint64_t r)
{
	uint64_t step = qcow2_cs(q) / 8, old = q->h.reftable_n;
	uint64_t n = align_up(max_u64(2 * old, r + 2), step);

	while (n < old + blocks_for(q, n / step))
		n += step;
	return n;
}

static int write_reftable(struct qcow2 *q, const uint64_t *table, uint64_t n,
			  uint64_t off)
{
	autofree be64 *disk = malloc(n * sizeof(*disk));

	if (!disk)
		return -ENOMEM;
	for (uint64_t i = 0; i < n; i++)
		disk[i] = to_be64(table[i]);
	return qcow2_put(q, disk, n * sizeof(*disk), off);
}

/* The header names the table of N entries at OFF; once that is on disk. */
static int name_reftable(struct qcow2 *q, uint64_t off, uint64_t n)
{
	size_t at = offsetof(struct qcow2_disk_header, reftable_off);
	struct { be64 off; be32 clusters; } named = {
		to_be64(off), to_be32(n * 8 >> q->h.cluster_bits),
	};
	int rc = qcow2_barrier(q);

	if (rc < 0)
		return rc;
	rc = qcow2_put(q, &named, sizeof(named.off) + sizeof(named.clusters),
		       at);
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc < 0)
		q->lost = rc;
	return rc;
}

/* Makes the refcount table longer, to have an entry R. */
static int grow_reftable(struct qcow2 *q, uint64_t r)
{
	unsigned bits = q->h.cluster_bits;
	uint64_t old = q->h.reftable_n, n = longer_table(q, r);
	uint64_t clusters = n * 8 >> bits, blocks = blocks_for(q, clusters);
	uint64_t first = old << qcow2_refs_bits(&q->h);
	uint64_t off = (first + blocks) << bits, old_off = q->h.reftable_off;
	autofree uint64_t *table = NULL;
	int rc;

	if (n > QCOW2_REFTABLE_MAX)
		return -EFBIG;
	table = calloc(n, sizeof(*table));
	if (!table)
		return -ENOMEM;
	memcpy(table, q->reftable, old * sizeof(*table));
	for (uint64_t b = 0; b < blocks; b++)
		table[old + b] = (first + b) << bits;
	rc = meta_add(q, first, blocks + clusters);
	if (rc < 0)
		return rc;
	rc = write_blocks(q, old, blocks, clusters);
	if (rc == 0)
		rc = write_reftable(q, table, n, off);
	if (rc == 0)
		rc = name_reftable(q, off, n);
	if (rc < 0) {
		meta_drop(q, first, blocks + clusters);
		return rc;
	}
	free(q->reftable);
	q->reftable = take_ptr(table);
	q->h.reftable_off = off;
	q->h.reftable_n = n;
	meta_drop(q, old_off >> bits, old * 8 >> bits);
	qcow2_free_later(q, old_off, old * 8 >> bits);
	return 0;
}

/* BLOCKS of them from R on, with N clusters behind them, all counted. */
static int new_blocks(struct qcow2 *q, uint64_t r, uint64_t blocks, uint64_t n)
{
	uint64_t first = r << qcow2_refs_bits(&q->h);
	int rc = meta_add(q, first, blocks);

	if (rc < 0)
		return rc;
	rc = write_blocks(q, r, blocks, n);
	if (rc == 0)
		rc = name_blocks(q, r, blocks);
	if (rc < 0)
		meta_drop(q, first, blocks);
	return rc;
}

/* -- taking clusters -- */

/* The dirty bit is on disk before the first refcount that is not. */
static int become_dirty(struct qcow2 *q)
{
	be64 bits = to_be64(q->h.incompatible | QCOW2_DIRTY);
	int rc;

	if (!q->lazy || q->dirty)
		return 0;
	rc = qcow2_put(q, &bits, sizeof(bits),
		       offsetof(struct qcow2_disk_header, incompatible));
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc < 0)
		return rc;
	q->h.incompatible |= QCOW2_DIRTY;
	q->dirty = true;
	return 0;
}

/* The refcount of CLUSTER, for which there is a block afterwards. */
static int ref_ready(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
	uint64_t r = cluster >> qcow2_refs_bits(&q->h);
	int rc = 0;

	if (r >= q->h.reftable_n)
		rc = grow_reftable(q, r);
	if (rc == 0 && !q->reftable[r])
		rc = new_blocks(q, r, 1, 0);
	return rc < 0 ? rc : ref_get(q, cluster, count);
}

/* The first LEAST to MOST free clusters in one piece. How many, or -errno. */
static int64_t find_free(struct qcow2 *q, uint64_t least, uint64_t most,
			 uint64_t *first)
{
	uint64_t run = 0, at = q->hint;

	for (; run < most; at++) {
		uint64_t count;
		int rc = ref_ready(q, at, &count);

		if (rc < 0 && run < least)
			return rc;
		if (rc < 0 || (count && run >= least))
			break;
		run = count ? 0 : run + 1;
	}
	*first = at - run;
	return run;
}

/* Counts the N clusters from FIRST on as used, which are free. 0 or -errno. */
static int count_up(struct qcow2 *q, uint64_t first, uint64_t n)
{
	uint64_t off = first << q->h.cluster_bits, done;
	int64_t rc = extend(q, first + n);

	for (done = 0; rc >= 0 && done < n; done++) {
		if (qcow2_set_has(&q->meta, first + done))
			return qcow2_damaged(q, "a table that is not counted",
					     off);
		rc = ref_change(q, first + done, 1);
		if (rc < 0)
			break;
	}
	if (rc < 0)
		qcow2_free_now(q, off, done);
	return rc < 0 ? rc : 0;
}

static int64_t take(struct qcow2 *q, uint64_t least, uint64_t most,
		    uint64_t *off, bool *virgin)
{
	uint64_t first = 0;
	int64_t n = become_dirty(q), rc;

	if (n == 0)
		n = find_free(q, least, most, &first);
	if (n < 0)
		return n;
	*off = first << q->h.cluster_bits;
	if (virgin)
		*virgin = *off >= q->end;
	rc = count_up(q, first, n);
	if (rc < 0)
		return rc;
	if (least == 1)
		q->hint = first + n;
	return n;
}

/* Of those that one block in memory counts. */
int64_t qcow2_alloc_quick(struct qcow2 *q, uint64_t most, bool virgin,
			  uint64_t *off)
{
	uint64_t at = q->hint, r = at >> qcow2_refs_bits(&q->h), n = 0;
	uint64_t end = (r + 1) << qcow2_refs_bits(&q->h);
	unsigned order = q->h.refcount_order;
	struct qcow2_table *t = NULL;
	int rc;

	if (r < q->h.reftable_n && q->reftable[r] && (!q->lazy || q->dirty))
		t = qcow2_cache_find(q, &q->refs, q->reftable[r]);
	if (!t)
		return -EAGAIN;
	while (at < end &&
	       qcow2_ref_load(t->data, order, at & (per_block(q) - 1)))
		at++;
	*off = at << q->h.cluster_bits;
	if (at == end || (virgin && *off < q->end))
		return -EAGAIN;
	while (n < most && at + n < end &&
	       !qcow2_ref_load(t->data, order, (at + n) & (per_block(q) - 1)))
		n++;
	rc = count_up(q, at, n);
	if (rc < 0)
		return rc;
	q->hint = at + n;
	return n;
}

int64_t qcow2_alloc(struct qcow2 *q, uint64_t most, uint64_t *off,
		    bool *virgin)
{
	return take(q, 1, most, off, virgin);
}

/* Behind everything, with blocks of its own: no block's clusters suffice. */
static int take_large(struct qcow2 *q, uint64_t n, uint64_t *off)
{
	uint64_t blocks = blocks_for(q, n), r;
	int rc = become_dirty(q);

	for (;;) {
		r = q->h.reftable_n;
		while (r && !q->reftable[r - 1])
			r--;
		if (rc < 0)
			return rc;
		if (r + blocks <= q->h.reftable_n)
			break;
		rc = grow_reftable(q, r + blocks);
	}
	*off = ((r << qcow2_refs_bits(&q->h)) + blocks) << q->h.cluster_bits;
	return new_blocks(q, r, blocks, n);
}

int qcow2_alloc_table(struct qcow2 *q, uint64_t n, uint64_t *off)
{
	int64_t rc = n < per_block(q) ? take(q, n, n, off, NULL) :
		take_large(q, n, off);

	if (rc < 0)
		return rc;
	rc = meta_add(q, *off >> q->h.cluster_bits, n);
	if (rc < 0)
		qcow2_free_now(q, *off, n);
	return rc;
}

/* -- giving back -- */

static void punch(struct qcow2 *q, uint64_t first, uint64_t n)
{
	unsigned bits = q->h.cluster_bits;

	/* Where that cannot be done, the space stays in use: no harm. */
	if (n)
		(void)!fallocate(q->fd,
				 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 first << bits, n << bits);
	if (n && first < q->hint)
		q->hint = first;
}

/* What stays counted after an error is lost space, and no more than that. */
static void count_down(struct qcow2 *q, uint64_t first, uint64_t n)
{
	uint64_t free_n = 0;

	for (uint64_t i = 0; i < n && !q->corrupt; i++) {
		if (ref_change(q, first + i, -1) == 0) {
			free_n++;
			continue;
		}
		punch(q, first + i - free_n, free_n);
		free_n = 0;
	}
	punch(q, first + n - free_n, free_n);
}

void qcow2_free_now(struct qcow2 *q, uint64_t off, uint64_t n)
{
	count_down(q, off >> q->h.cluster_bits, n);
}

void qcow2_free_later(struct qcow2 *q, uint64_t off, uint64_t n)
{
	if (q->freed_n == q->freed_size) {
		size_t size = q->freed_size ? 2 * q->freed_size : 64;
		void *wide = reallocarray(q->freed, size, sizeof(*q->freed));

		if (!wide)
			return;
		q->freed = wide;
		q->freed_size = size;
	}
	q->freed[q->freed_n++] = (struct qcow2_freed){
		.first = off >> q->h.cluster_bits, .n = n,
		.pins = q->pin_generation,
	};
}

void qcow2_free_entry(struct qcow2 *q, uint64_t entry)
{
	uint64_t mask = qcow2_cs(q) - 1;
	struct qcow2_map m;

	if (qcow2_decode(q, entry, &m) < 0 || !m.host)
		return;
	m.len += m.host & mask;
	m.host &= ~mask;
	qcow2_free_later(q, m.host, (m.len + mask) >> q->h.cluster_bits);
}

uint64_t qcow2_freed_mark(const struct qcow2 *q)
{
	return q->freed_before + q->freed_n;
}

void qcow2_release(struct qcow2 *q, uint64_t mark)
{
	size_t done = 0;

	if (q->merger)	/* at the end, if then */
		return;
	for (int i = 0; i < 2; i++)
		if (!atomic_load(&q->pins[(q->pin_generation + 1) & 1]))
			q->pin_generation++;
	while (done < q->freed_n && q->freed_before + done < mark &&
	       q->freed[done].pins + 2 <= q->pin_generation) {
		count_down(q, q->freed[done].first, q->freed[done].n);
		done++;
	}
	q->freed_n -= done;
	q->freed_before += done;
	if (done)
		memmove(q->freed, q->freed + done,
			q->freed_n * sizeof(*q->freed));
	q->freed_kept = q->freed_n;
}

bool qcow2_freed_many(const struct qcow2 *q)
{
	return !q->merger && q->freed_n > q->freed_kept + FREED_MOST;
}

int qcow2_flush_if_many(struct qcow2 *q)
{
	bool many;

	pthread_mutex_lock(&q->lock);
	many = qcow2_freed_many(q);
	pthread_mutex_unlock(&q->lock);
	return many ? qcow2_flush(&q->block) : 0;
}
