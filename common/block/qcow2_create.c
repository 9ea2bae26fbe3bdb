/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_create.c - an empty image: the header, the refcount table, its blocks,
 * the L1 table, one behind the other.
 */
#include "block/qcow2_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"

enum { DEFAULT_BITS = 16, ORDER = 4 };

/* In clusters. */
struct plan {
	unsigned bits;
	uint64_t reftable, blocks, l1;
	uint64_t l1_n;		/* entries */
};

static uint64_t total(const struct plan *p)
{
	return 1 + p->reftable + p->blocks + p->l1;
}

static int make_plan(const struct qcow2_create *c, struct plan *p)
{
	unsigned bits = c->cluster_bits ? c->cluster_bits : DEFAULT_BITS;
	uint64_t cs = 1ULL << bits, before;

	if (bits < QCOW2_BITS_MIN || bits > QCOW2_BITS_MAX)
		return fail(E_CONFIG, "clusters of 2^%u bytes: must be 512 "
			    "to 2M", bits);
	if (!c->size || c->size % QCOW2_SECTOR || c->size > INT64_MAX)
		return fail(E_CONFIG, "a size of %" PRIu64 " bytes is not a "
			    "multiple of %u", c->size, QCOW2_SECTOR);
	*p = (struct plan){ .bits = bits };
	p->l1_n = qcow2_l1_needed(bits, c->size);
	if (p->l1_n > QCOW2_L1_MAX)
		return fail(E_CONFIG, "with clusters of %" PRIu64 " bytes it "
			    "can have at most %" PRIu64 " bytes", cs,
			    (uint64_t)QCOW2_L1_MAX << (2 * bits - 3));
	p->l1 = align_up(p->l1_n * 8, cs) >> bits;
	do {
		before = total(p);
		p->blocks = align_up(before << (ORDER - 3), cs) >> bits;
		p->reftable = align_up(p->blocks * 8, cs) >> bits;
	} while (total(p) != before);
	return 0;
}

/* -- the first cluster -- */

static void add_format(struct buf *b, const char *format)
{
	static const char pad[8];
	size_t len = strlen(format);
	struct qcow2_extension e = {
		to_be32((uint32_t)QCOW2_EXT_BACKING_FORMAT), to_be32(len),
	};

	buf_add(b, &e, sizeof(e));
	buf_add(b, format, len);
	buf_add(b, pad, align_up(len, 8) - len);
}

int qcow2_header_finish(struct buf *b, const char *backing, const char *format)
{
	static const struct qcow2_extension end;
	size_t name = backing ? strlen(backing) : 0;
	struct qcow2_disk_header *h;

	if (name && format)
		add_format(b, format);
	buf_add(b, &end, sizeof(end));
	if (b->failed)
		return fail(ENOMEM, "out of memory");
	h = (struct qcow2_disk_header *)b->data;
	h->backing_off = to_be64(name ? b->len : 0);
	h->backing_len = to_be32(name);
	if (name)
		buf_add(b, backing, name);
	return b->failed ? fail(ENOMEM, "out of memory") : 0;
}

static int make_header(const struct qcow2_create *c, const struct plan *p,
		       struct buf *b)
{
	size_t name = c->backing ? strlen(c->backing) : 0;
	struct qcow2_disk_header h = {
		.magic = to_be32(QCOW2_MAGIC),
		.version = to_be32(3),
		.cluster_bits = to_be32(p->bits),
		.size = to_be64(c->size),
		.l1_n = to_be32(p->l1_n),
		.l1_off = to_be64((1 + p->reftable + p->blocks) << p->bits),
		.reftable_off = to_be64(1ULL << p->bits),
		.reftable_clusters = to_be32(p->reftable),
		.compatible = to_be64(c->lazy_refcounts ? QCOW2_LAZY : 0),
		.refcount_order = to_be32(ORDER),
		.length = to_be32(sizeof(h)),
	};

	int rc;

	buf_add(b, &h, sizeof(h));
	rc = qcow2_header_finish(b, c->backing, c->backing_format);
	if (rc < 0)
		return rc;
	if (name > QCOW2_BACKING_MAX || b->len > 1ULL << p->bits)
		return fail(E_CONFIG, "the backing file's name is too long");
	return 0;
}

/* -- the rest -- */

static int write_refcounts(int fd, const struct plan *p)
{
	uint64_t cs = 1ULL << p->bits, at = 1 + p->reftable;
	autofree be64 *table = calloc(p->reftable, cs);
	autofree be16 *refs = calloc(p->blocks, cs);
	int rc;

	if (!table || !refs)
		return -ENOMEM;
	for (uint64_t i = 0; i < p->blocks; i++)
		table[i] = to_be64((at + i) << p->bits);
	for (uint64_t i = 0; i < total(p); i++)
		refs[i] = to_be16(1);
	rc = pwrite_all(fd, table, p->reftable << p->bits, cs);
	return rc < 0 ? rc : pwrite_all(fd, refs, p->blocks << p->bits,
					at << p->bits);
}

static int write_image(int fd, const struct plan *p, const struct buf *header)
{
	int rc = ftruncate(fd, total(p) << p->bits) < 0 ? -errno : 0;

	if (rc == 0)
		rc = write_refcounts(fd, p);
	return rc < 0 ? rc : pwrite_all(fd, header->data, header->len, 0);
}

int qcow2_create(int dirfd, const char *name, const struct qcow2_create *c)
{
	autobuf struct buf header = BUF_INIT;
	autoclose int fd = -1;
	struct plan p = { 0 };
	int rc = make_plan(c, &p);

	if (rc == 0)
		rc = make_header(c, &p, &header);
	if (rc < 0)
		return fail_in(rc, "%s", name);
	fd = file_open(dirfd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	rc = write_image(fd, &p, &header);
	if (rc < 0) {
		unlinkat(dirfd, name, 0);
		return fail(-rc, "%s: %s", name, strerror(-rc));
	}
	return 0;
}
