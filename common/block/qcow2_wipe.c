/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_wipe.c - zeros without writing them, and clusters nobody needs.
 *
 * What is freed is marked as zeros, never as nothing: what lies below in the
 * chain would shine through.
 */
#include "block/qcow2_int.h"

#include <errno.h>

/* What stands for M at OFF when it was wiped; its own entry: nothing to do. */
static uint64_t wiped(const struct qcow2 *q, const struct qcow2_map *m,
		      uint64_t off, enum qcow2_wipe how)
{
	bool keep = how == QCOW2_WIPE_KEEP;

	if (how == QCOW2_WIPE_HIDE && m->kind == QCOW2_NONE)
		return QCOW2_ZERO;

	switch (m->kind) {
	case QCOW2_NONE:
		return how != QCOW2_WIPE_DISCARD && qcow2_covered(q, off) ?
			QCOW2_ZERO : m->entry;
	case QCOW2_ZEROS:
		return m->entry;
	case QCOW2_ZEROS_AT:
		return keep ? m->entry : QCOW2_ZERO;
	case QCOW2_DATA:
		return keep && m->copied ? m->entry | QCOW2_ZERO : QCOW2_ZERO;
	case QCOW2_PACKED:
		break;
	}
	return QCOW2_ZERO;
}

/* The cluster at OFF, whose table is *T, or what will be it when changed. */
static int wipe_cluster(struct qcow2 *q, struct qcow2_table **t, uint64_t off,
			enum qcow2_wipe how)
{
	uint64_t entry = *t ? qcow2_l2_entry(q, *t, off) : 0, to;
	struct qcow2_map m;
	int rc = qcow2_decode(q, entry, &m);

	if (rc < 0)
		return qcow2_damaged(q, "an L2 entry", entry);
	to = wiped(q, &m, off, how);
	if (to == entry)
		return 0;
	rc = qcow2_l2_change(q, off, t);
	if (rc < 0)
		return rc;
	qcow2_l2_set(q, *t, off, to);
	if (!(to & QCOW2_OFFSET))
		qcow2_free_entry(q, entry);
	return 0;
}

/* Whole clusters, of one L2 table. */
static int wipe_clusters(struct qcow2 *q, uint64_t off, uint64_t len,
			 enum qcow2_wipe how)
{
	struct qcow2_table *t;
	int rc;

	pthread_mutex_lock(&q->lock);
	qcow2_wait_flights(q, off, len);
	rc = q->corrupt ? -EIO : qcow2_l2_get(q, off, &t);
	/* Where there is no table and nothing below, there is nothing to do. */
	if (rc == 0 && !t &&
	    (how == QCOW2_WIPE_DISCARD ||
	     (how != QCOW2_WIPE_HIDE && !qcow2_covered(q, off))))
		len = 0;
	for (uint64_t at = 0; rc == 0 && at < len; at += qcow2_cs(q))
		rc = wipe_cluster(q, &t, off + at, how);
	pthread_mutex_unlock(&q->lock);
	return rc < 0 ? rc : qcow2_flush_if_many(q);
}

/* A part of a cluster. */
static int write_zeros(struct qcow2 *q, uint64_t off, uint64_t len)
{
	autofree void *zeros = NULL;
	struct iovec iov;

	if (qcow2_is_zero(q, off, len))
		return 0;
	zeros = calloc(1, len);
	if (!zeros)
		return -ENOMEM;
	iov = (struct iovec){ zeros, len };
	return qcow2_writev(&q->block, &iov, 1, off, len);
}

/*
 * The first piece of [OFF, OFF+LEN): a part of a cluster, or whole clusters of
 * one L2 table; the disk's last is whole when it goes to the end of the disk.
 */
static uint64_t piece(const struct qcow2 *q, uint64_t off, uint64_t len,
		      uint64_t size, bool *whole)
{
	uint64_t cs = qcow2_cs(q), span = 1ULL << qcow2_l2_bits(q);
	uint64_t in = off & (cs - 1), n;

	*whole = !in && (len >= cs || off + len == size);
	if (!*whole)
		return min_u64(len, cs - in);
	n = min_u64(len, span - (off & (span - 1)));
	return off + n == size ? n : n & ~(cs - 1);
}

int qcow2_wipe(struct qcow2 *q, uint64_t off, uint64_t len, uint64_t size,
	       enum qcow2_wipe how)
{
	uint64_t n;

	for (; len; off += n, len -= n) {
		bool whole;
		int rc = 0;

		n = piece(q, off, len, size, &whole);
		if (whole)
			rc = wipe_clusters(q, off, n, how);
		else if (how != QCOW2_WIPE_DISCARD)
			rc = write_zeros(q, off, n);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int qcow2_zero(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
	return qcow2_wipe(qcow2_of(b), off, len, block_bytes(b),
			  unmap ? QCOW2_WIPE_UNMAP : QCOW2_WIPE_KEEP);
}

int qcow2_discard(struct block *b, uint64_t off, uint64_t len)
{
	return qcow2_wipe(qcow2_of(b), off, len, block_bytes(b), QCOW2_WIPE_DISCARD);
}
