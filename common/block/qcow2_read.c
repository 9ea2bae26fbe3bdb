/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/qcow2_int.h"

#include <errno.h>

bool qcow2_covered(const struct qcow2 *q, uint64_t off)
{
	return q->backing && off < q->backing->size;
}

/* What nothing here says anything about. */
static int read_below(struct qcow2 *q, uint64_t off, struct iovec *part, int n)
{
	if (qcow2_covered(q, off))
		return block_readv(q->backing, part, n, off);
	vec_zero(part, n);
	return 0;
}

/*
 * Reads what lies in one piece at OFF, of LEN bytes at most, into the front of
 * V, by way of PART. How much that was, or -errno.
 */
static int64_t read_some(struct qcow2 *q, struct vec *v, struct iovec *part,
			 uint64_t off, uint64_t len)
{
	uint64_t in = off & (qcow2_cs(q) - 1);
	struct qcow2_map m;
	unsigned pin = 0;
	int rc, n;

	pthread_mutex_lock(&q->lock);
	rc = qcow2_lookup(q, off, len, &m);
	if (rc == 0)
		pin = qcow2_pin(q);
	pthread_mutex_unlock(&q->lock);
	if (rc < 0)
		return rc;
	if (m.kind == QCOW2_PACKED)
		len = min_u64(len, qcow2_cs(q) - in);
	else
		len = min_u64(len, m.len);
	if (m.kind == QCOW2_NONE && qcow2_covered(q, off))
		len = min_u64(len, q->backing->size - off);
	n = vec_take(v, len, part);
	switch (m.kind) {
	case QCOW2_NONE:
		rc = read_below(q, off, part, n);
		break;
	case QCOW2_ZEROS:
	case QCOW2_ZEROS_AT:
		vec_zero(part, n);
		break;
	case QCOW2_DATA:
		rc = vec_read(q->fd, part, n, m.host);
		break;
	case QCOW2_PACKED:
		rc = qcow2_read_packed(q, &m, in, part, n);
		break;
	}
	qcow2_unpin(q, pin);
	return rc < 0 ? rc : (int64_t)len;
}

int qcow2_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		uint64_t len)
{
	enum { FEW = 16 };
	struct qcow2 *q = qcow2_of(b);
	struct iovec few[FEW], *part = few;
	autofree struct iovec *many = NULL;
	struct vec v = { iov, n };

	if (n > FEW)
		part = many = calloc(n, sizeof(*many));
	if (!part)
		return -ENOMEM;
	while (len) {
		int64_t done = read_some(q, &v, part, off, len);

		if (done < 0)
			return done;
		off += done;
		len -= done;
	}
	return 0;
}

/* -- what is known without reading -- */

int qcow2_status(struct block *b, uint64_t off, uint64_t len, uint64_t *n)
{
	struct qcow2 *q = qcow2_of(b);
	struct qcow2_map m;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qcow2_lookup(q, off, len, &m);
	pthread_mutex_unlock(&q->lock);
	if (rc < 0)
		return rc;
	*n = m.len;
	switch (m.kind) {
	case QCOW2_PACKED:
		*n = qcow2_cs(q) - (off & (qcow2_cs(q) - 1));
		*n = min_u64(*n, len);
		return BLOCK_DATA;
	case QCOW2_DATA:
		return BLOCK_DATA;
	case QCOW2_NONE:
		if (!qcow2_covered(q, off))
			return BLOCK_ZERO;
		*n = min_u64(*n, q->backing->size - off);
		return block_status(q->backing, off, *n, n);
	default:
		return BLOCK_ZERO;
	}
}

bool qcow2_is_zero(struct qcow2 *q, uint64_t off, uint64_t len)
{
	uint64_t n;

	for (; len; off += n, len -= n)
		if (qcow2_status(&q->block, off, len, &n) != BLOCK_ZERO)
			return false;
	return true;
}
