/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_check.c - all references are counted: for a person who wants to know,
 * and where refcounts were not kept (a dirty image).
 *
 * Refcounts are built anew behind all that is there; only then does the header
 * name them. So a crash in between leaves the image as it was.
 */
#include "block/qcow2_int.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"

enum { CLUSTERS_MAX = 1 << 27 };	/* of a file, so that counts fit */

struct count {
	int fd;
	struct qcow2 view;	/* header and end, for qcow2_decode() */
	uint32_t *refs;
	uint64_t n;		/* clusters of the file, and refs */
	uint8_t *walked;	/* L2 tables that this L1 named already */
	uint64_t errors, allocated;
	void (*visit)(struct count *c, uint64_t off, uint64_t len,
		      bool copied);
};

static int fail_read(int rc)
{
	return fail(-rc, "%s", strerror(-rc));
}

/* -- visits: what is named by the header or a table -- */

static void visit_count(struct count *c, uint64_t off, uint64_t len,
			bool copied)
{
	unsigned bits = c->view.h.cluster_bits;

	(void)copied;
	if (!in_range(off, len, c->view.end)) {
		c->errors++;
		return;
	}
	for (uint64_t i = off >> bits; len && i <= (off + len - 1) >> bits; i++)
		if (c->refs[i] < UINT32_MAX)
			c->refs[i]++;
}

/* Nobody else has a cluster that is written in place. */
static void visit_copied(struct count *c, uint64_t off, uint64_t len,
			 bool copied)
{
	(void)len;
	if (copied && c->refs[off >> c->view.h.cluster_bits] > 1)
		c->errors++;
}

/* -- walks -- */

static int walk_l2(struct count *c, uint64_t off, bool active, be64 *table)
{
	uint64_t cs = qcow2_cs(&c->view);
	int rc = qcow2_read_table(c->fd, off, table, cs / 8);

	if (rc == -ENODATA) {
		c->errors++;
		return 0;
	}
	for (uint64_t i = 0; rc == 0 && i < cs / 8; i++) {
		uint64_t entry = get_be64(table[i]);
		struct qcow2_map m;

		if (!entry)
			continue;
		if (qcow2_decode(&c->view, entry, &m) < 0) {
			c->errors++;
			continue;
		}
		if (m.host)
			c->visit(c, m.host, m.len, m.copied);
		if (active && (m.kind == QCOW2_DATA || m.kind == QCOW2_PACKED))
			c->allocated++;
	}
	return rc < 0 ? fail_read(rc) : 0;
}

/* Whether that is the first time within this L1. */
static bool first_walk(struct count *c, uint64_t off)
{
	uint64_t i = off >> c->view.h.cluster_bits;
	uint8_t bit = 1U << i % 8;

	if (c->walked[i / 8] & bit)
		return false;
	c->walked[i / 8] |= bit;
	return true;
}

static int walk_l1(struct count *c, uint64_t off, uint64_t n, bool active)
{
	uint64_t cs = qcow2_cs(&c->view);
	autofree be64 *l1 = calloc(n + 1, sizeof(*l1));
	autofree be64 *l2 = malloc(cs);
	int rc;

	if (!l1 || !l2)
		return fail(ENOMEM, "out of memory");
	rc = qcow2_read_table(c->fd, off, l1, n);
	if (rc < 0)
		return fail_read(rc);
	memset(c->walked, 0, c->n / 8 + 1);
	for (uint64_t i = 0; rc == 0 && i < n; i++) {
		uint64_t entry = get_be64(l1[i]), at = entry & ~QCOW2_COPIED;

		if (!entry)
			continue;
		/* Refused before it is read: a table may name it a million
		 * times. */
		if (at % cs || at < cs || !in_range(at, cs, c->view.end) ||
		    !first_walk(c, at)) {
			c->errors++;
			continue;
		}
		c->visit(c, at, cs, entry & QCOW2_COPIED);
		rc = walk_l2(c, at, active, l2);
	}
	return rc;
}

static int walk_snapshots(struct count *c)
{
	const struct qcow2_header *h = &c->view.h;
	autofree struct qcow2_snapshot *list = NULL;
	uint64_t bytes;
	int rc = qcow2_snapshots_read(c->fd, h, &list, &bytes);

	if (rc == 0)
		c->visit(c, h->snapshots_off, bytes, false);
	for (unsigned i = 0; rc == 0 && i < h->snapshots; i++) {
		c->visit(c, list[i].l1_off, list[i].l1_n * 8, false);
		rc = walk_l1(c, list[i].l1_off, list[i].l1_n, false);
	}
	return rc;
}

/* Everything but the refcounts themselves. */
static int count_all(struct count *c, int fd, const struct qcow2_header *h)
{
	uint64_t cs = qcow2_cluster(h), allocated;
	int rc;

	*c = (struct count){ .fd = fd, .visit = visit_count };
	c->view.h = *h;
	c->view.end = align_up(h->file_size, cs);
	c->n = c->view.end / cs;
	if (c->n > CLUSTERS_MAX)
		return fail(EFBIG, "has too many clusters to be checked");
	c->refs = calloc(c->n + 1, sizeof(*c->refs));
	c->walked = calloc(c->n / 8 + 1, 1);
	if (!c->refs || !c->walked)
		return fail(ENOMEM, "out of memory");
	c->visit(c, 0, cs, false);
	c->visit(c, h->l1_off, h->l1_n * 8, false);
	rc = walk_l1(c, h->l1_off, h->l1_n, true);
	if (rc == 0)
		rc = walk_snapshots(c);
	if (rc < 0)
		return rc;
	/* Once more, now that is known which are shared. */
	c->visit = visit_copied;
	allocated = c->allocated;
	if (!c->errors)
		rc = walk_l1(c, h->l1_off, h->l1_n, true);
	c->allocated = allocated;
	return rc;
}

static void count_release(struct count *c)
{
	free(c->refs);
	free(c->walked);
}

/* -- against what the refcounts say -- */

/* The refcounts from cluster FIRST on: TABLE, NULL where all are 0. */
static void compare_block(struct count *c, uint64_t first, const void *block,
			  struct qcow2_check *result)
{
	const struct qcow2_header *h = &c->view.h;
	uint64_t n = min_u64(c->n - first, 1ULL << qcow2_refs_bits(h));

	for (uint64_t i = 0; i < n; i++) {
		uint64_t said = block ?
			qcow2_ref_load(block, h->refcount_order, i) : 0;

		if (said < c->refs[first + i])
			result->errors++;
		else if (said > c->refs[first + i])
			result->leaks++;
	}
}

/* The blocks that TABLE names, counted. */
static void visit_blocks(struct count *c, const be64 *table)
{
	const struct qcow2_header *h = &c->view.h;
	uint64_t cs = qcow2_cluster(h);

	c->visit = visit_count;
	c->visit(c, h->reftable_off, h->reftable_n * 8, false);
	for (uint64_t i = 0; i < h->reftable_n; i++) {
		uint64_t off = get_be64(table[i]);

		if (off % cs || (off && off < cs))
			c->errors++;
		else if (off)
			c->visit(c, off, cs, false);
	}
}

static int compare(struct count *c, struct qcow2_check *result)
{
	const struct qcow2_header *h = &c->view.h;
	uint64_t cs = qcow2_cluster(h), per = 1ULL << qcow2_refs_bits(h);
	autofree be64 *table = calloc(h->reftable_n, sizeof(*table));
	autofree void *block = malloc(cs);
	int rc;

	if (!table || !block)
		return fail(ENOMEM, "out of memory");
	rc = qcow2_read_table(c->fd, h->reftable_off, table, h->reftable_n);
	if (rc < 0)
		return fail_read(rc);
	visit_blocks(c, table);
	for (uint64_t r = 0; r * per < c->n; r++) {
		uint64_t off = r < h->reftable_n ? get_be64(table[r]) : 0;

		if (off % cs || !in_range(off, cs, c->view.end))
			off = 0;	/* counted as an error before */
		if (off && qcow2_read_table(c->fd, off, block, cs / 8) < 0) {
			c->errors++;
			off = 0;
		}
		compare_block(c, r * per, off ? block : NULL, result);
	}
	return 0;
}

int qcow2_check(int fd, bool repair, struct qcow2_check *result)
{
	struct qcow2_header h;
	struct count c;
	int rc = qcow2_header_read(fd, &h);

	*result = (struct qcow2_check){ 0 };
	if (rc < 0)
		return rc;
	rc = count_all(&c, fd, &h);
	if (rc == 0)
		rc = compare(&c, result);
	result->errors += c.errors;
	result->allocated = c.allocated;
	/* Bitmaps have clusters that are not counted here. */
	if (h.autoclear & QCOW2_BITMAPS)
		result->leaks = 0;
	count_release(&c);
	if (rc == 0 && repair && !result->errors && result->leaks)
		rc = qcow2_rebuild(fd, &h);
	qcow2_header_release(&h);
	return rc;
}

/* -- refcounts anew -- */

/* Where the new ones lie, in clusters: blocks, then the table. */
struct plan { uint64_t first, blocks, table; };

static int make_plan(const struct count *c, struct plan *p)
{
	const struct qcow2_header *h = &c->view.h;
	unsigned refs_bits = qcow2_refs_bits(h);
	uint64_t cs = qcow2_cluster(h), per = 1ULL << refs_bits, before;

	*p = (struct plan){ .first = c->n };
	do {
		before = p->blocks + p->table;
		p->blocks = align_up(c->n + before, per) >> refs_bits;
		p->table = align_up(p->blocks * 8, cs) >> h->cluster_bits;
	} while (p->blocks + p->table != before);
	if (p->table * cs / 8 > QCOW2_REFTABLE_MAX)
		return fail(EFBIG, "has too many clusters");
	return 0;
}

/* Block B of the plan: what was counted, then itself and its like. */
static int write_block(const struct count *c, const struct plan *p, uint64_t b,
		       void *block)
{
	const struct qcow2_header *h = &c->view.h;
	unsigned refs_bits = qcow2_refs_bits(h), order = h->refcount_order;
	uint64_t most = order < 6 ? (1ULL << (1U << order)) - 1 : UINT64_MAX;
	uint64_t end = p->first + p->blocks + p->table;

	memset(block, 0, qcow2_cluster(h));
	for (uint64_t i = 0; i < 1ULL << refs_bits; i++) {
		uint64_t at = (b << refs_bits) + i;
		uint64_t refs = at < p->first ? c->refs[at] : at < end;

		if (refs > most)
			return fail(E_VERIFY, "damaged: a cluster used more "
				    "often than can be counted");
		qcow2_ref_store(block, order, i, refs);
	}
	return pwrite_all(c->fd, block, qcow2_cluster(h),
			  (p->first + b) << h->cluster_bits);
}

static int write_plan(const struct count *c, const struct plan *p)
{
	unsigned bits = c->view.h.cluster_bits;
	autofree be64 *table = calloc(p->table << bits, 1);
	autofree void *block = malloc(1ULL << bits);
	int rc = table && block ? 0 : -ENOMEM;

	for (uint64_t b = 0; rc == 0 && b < p->blocks; b++) {
		table[b] = to_be64((p->first + b) << bits);
		rc = write_block(c, p, b, block);
	}
	if (rc == 0)
		rc = pwrite_all(c->fd, table, p->table << bits,
				(p->first + p->blocks) << bits);
	if (rc == 0 && fdatasync(c->fd) < 0)
		rc = -errno;
	return rc;
}

/* The header names them; then the image is no longer dirty. */
static int name_plan(int fd, struct qcow2_header *h, const struct plan *p)
{
	enum { AT = offsetof(struct qcow2_disk_header, reftable_off) };
	struct { be64 off; be32 clusters; } named = {
		to_be64((p->first + p->blocks) << h->cluster_bits),
		to_be32(p->table),
	};
	uint64_t clean = h->incompatible & ~(uint64_t)QCOW2_DIRTY;
	be64 bits = to_be64(clean);
	int rc = pwrite_all(fd, &named,
			    sizeof(named.off) + sizeof(named.clusters), AT);

	if (rc == 0 && fdatasync(fd) < 0)
		rc = -errno;
	if (rc == 0 && h->version >= 3)
		rc = pwrite_all(fd, &bits, sizeof(bits),
				offsetof(struct qcow2_disk_header,
					 incompatible));
	if (rc == 0 && fdatasync(fd) < 0)
		rc = -errno;
	if (rc < 0)
		return rc;
	h->incompatible = clean;
	h->reftable_off = get_be64(named.off);
	h->reftable_n = p->table << h->cluster_bits >> 3;
	h->file_size = (p->first + p->blocks + p->table) << h->cluster_bits;
	return 0;
}

int qcow2_rebuild(int fd, struct qcow2_header *h)
{
	struct plan p;
	struct count c;
	int rc = count_all(&c, fd, h);

	if (rc == 0 && c.errors)
		rc = fail(E_VERIFY, "damaged: %" PRIu64 " table entries that "
			  "cannot be (qemu-img check)", c.errors);
	if (rc == 0)
		rc = make_plan(&c, &p);
	if (rc == 0) {
		rc = write_plan(&c, &p);
		if (rc == 0)
			rc = name_plan(fd, h, &p);
		if (rc < 0 && rc != -E_VERIFY)
			fail_read(rc);
	}
	count_release(&c);
	return rc;
}
