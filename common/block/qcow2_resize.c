/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_resize.c - a disk that grows.
 *
 * Its new part must read as zeros, whatever the tables or the backing file
 * have there; that is on disk before the header says the new size.
 */
#include "block/qcow2_int.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"

/* SIZE and L1 stand side by side in the header, in one sector. */
static int put_size(struct qcow2 *q, uint64_t size, uint64_t l1_off,
		    uint64_t l1_n)
{
	struct { be64 size; be32 crypt_method, l1_n; be64 l1_off; } part = {
		to_be64(size), to_be32(0), to_be32(l1_n), to_be64(l1_off),
	};
	int rc = qcow2_put(q, &part, sizeof(part),
			   offsetof(struct qcow2_disk_header, size));

	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc < 0) {	/* nobody knows which of the two is on disk */
		q->lost = rc;
		return rc;
	}
	q->h.size = size;
	q->h.l1_off = l1_off;
	q->h.l1_n = l1_n;
	return 0;
}

/* The L1 table gets N entries, at a new place, if that is more than it has. */
static int grow_l1(struct qcow2 *q, uint64_t n)
{
	uint64_t old_n = q->h.l1_n, old_off = q->h.l1_off, off, clusters;
	unsigned bits = q->h.cluster_bits;
	autofree uint64_t *l1 = NULL;
	autofree be64 *disk = NULL;
	int rc;

	if (n <= old_n)
		return 0;
	l1 = calloc(n, sizeof(*l1));
	disk = calloc(n, sizeof(*disk));
	if (!l1 || !disk)
		return -ENOMEM;
	clusters = align_up(n * sizeof(*disk), 1ULL << bits) >> bits;
	rc = qcow2_alloc_table(q, clusters, &off);
	if (rc == 0)
		rc = qcow2_tables_write(q);
	for (uint64_t i = 0; i < old_n; i++) {
		l1[i] = q->l1[i];
		disk[i] = to_be64(l1[i]);
	}
	if (rc == 0)
		rc = qcow2_put(q, disk, n * sizeof(*disk), off);
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc == 0)
		rc = put_size(q, q->h.size, off, n);
	if (rc < 0)
		return rc;
	free(q->l1);
	q->l1 = take_ptr(l1);
	clusters = align_up(old_n * sizeof(*disk), 1ULL << bits) >> bits;
	for (uint64_t i = 0; i < clusters; i++)
		qcow2_set_drop(&q->meta, (old_off >> bits) + i);
	qcow2_free_later(q, old_off, clusters);
	return 0;
}

int qcow2_resize(struct block *b, uint64_t size)
{
	struct qcow2 *q = qcow2_of(b);
	uint64_t n = qcow2_l1_needed(q->h.cluster_bits, size);
	int rc;

	if (size < b->size)
		return fail(E_CONFIG, "cannot become smaller than its %" PRIu64
			    " bytes", b->size);
	if (size == b->size)
		return 0;
	if (n > QCOW2_L1_MAX || size > INT64_MAX)
		return fail(E_CONFIG, "with clusters of %" PRIu64 " bytes it "
			    "can have at most %" PRIu64 " bytes", qcow2_cs(q),
			    (uint64_t)QCOW2_L1_MAX << qcow2_l2_bits(q));
	pthread_mutex_lock(&q->lock);
	rc = q->corrupt ? -EIO : grow_l1(q, n);
	pthread_mutex_unlock(&q->lock);
	if (rc == 0)
		rc = qcow2_wipe(q, b->size, size - b->size, size,
				QCOW2_WIPE_UNMAP);
	if (rc == 0)
		rc = qcow2_flush(b);
	if (rc == 0) {
		pthread_mutex_lock(&q->lock);
		rc = put_size(q, size, q->h.l1_off, q->h.l1_n);
		pthread_mutex_unlock(&q->lock);
	}
	if (rc < 0)
		return fail(-rc, "%s", strerror(-rc));
	block_set_bytes(b, size);
	return 0;
}
