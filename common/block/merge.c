/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/merge.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "block/qcow2.h"

/* What is read at once; no less than the largest cluster. */
enum { CHUNK = 2 << 20, HOLE = 64 << 10 };

struct merge {
	struct block *upper, *lower, *below;	/* BELOW: of LOWER, or NULL */
	uint64_t cs;		/* UPPER's clusters */
	bool unmap;		/* space may be given back */
	unsigned char *buf;	/* CHUNK bytes */
	uint64_t cost;		/* of up: counted, and nothing is copied */
	bool count;
};

static int move(struct block *b, bool write, void *data, uint64_t len,
		uint64_t off)
{
	struct iovec iov = { data, len };

	return write ? block_writev(b, &iov, 1, off) :
		block_readv(b, &iov, 1, off);
}

/* Whether B has something of its own at OFF, for *N bytes. */
static int own(struct block *b, uint64_t off, uint64_t len, uint64_t *n)
{
	*n = len;
	return qcow2_is(b) ? qcow2_allocated(b, off, len, n) : 1;
}

static bool all_zero(const unsigned char *p, size_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

/* Whether B, which may be NULL or end before, is known to show zeros there. */
static int shows_zeros(struct block *b, uint64_t off, uint64_t len)
{
	uint64_t size = b ? block_bytes(b) : 0, n;

	len = off < size ? min_u64(len, size - off) : 0;
	for (; len; off += n, len -= n) {
		int rc = block_status(b, off, len, &n);

		if (rc != BLOCK_ZERO)
			return rc < 0 ? rc : false;
	}
	return true;
}

/* -- down -- */

static int write_zeros(struct merge *m, uint64_t off, uint64_t len)
{
	int rc = 0;

	memset(m->buf, 0, min_u64(len, CHUNK));
	for (uint64_t n; rc == 0 && len; off += n, len -= n) {
		n = min_u64(len, CHUNK);
		rc = move(m->lower, true, m->buf, n, off);
	}
	return rc;
}

static int zeros_down(struct merge *m, uint64_t off, uint64_t len)
{
	for (uint64_t n; len; off += n, len -= n) {
		int rc = block_status(m->lower, off, len, &n);

		if (rc == BLOCK_DATA)
			rc = block_zero(m->lower, off, n, m->unmap);
		else if (rc == BLOCK_ZERO)
			rc = 0;
		if (rc == -EOPNOTSUPP)
			rc = write_zeros(m, off, n);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* At most CHUNK bytes. */
static int data_down(struct merge *m, uint64_t off, uint64_t len)
{
	int rc = move(m->upper, false, m->buf, len, off);

	for (uint64_t at = 0, n; rc == 0 && at < len; at += n) {
		unsigned char *p = m->buf + at;
		bool zero;

		n = min_u64(HOLE, len - at);
		zero = all_zero(p, n);
		while (at + n < len &&
		       all_zero(p + n, min_u64(HOLE, len - at - n)) == zero)
			n += min_u64(HOLE, len - at - n);
		rc = zero ? zeros_down(m, off + at, n) :
			move(m->lower, true, p, n, off + at);
	}
	return rc;
}

/* Of what UPPER has of its own, LEN bytes at OFF. */
static int own_down(struct merge *m, uint64_t off, uint64_t len)
{
	for (uint64_t n; len; off += n, len -= n) {
		int rc = block_status(m->upper, off, len, &n);

		if (rc == BLOCK_DATA && m->count)
			m->cost += n;
		else if (rc == BLOCK_DATA)
			rc = data_down(m, off, n = min_u64(n, CHUNK));
		else if (rc == BLOCK_ZERO && !m->count)
			rc = zeros_down(m, off, n);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int all_down(struct merge *m)
{
	uint64_t left = block_bytes(m->upper), n;

	for (uint64_t off = 0; left; off += n, left -= n) {
		int rc = qcow2_allocated(m->upper, off, left, &n);

		if (rc > 0)
			rc = own_down(m, off, n);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* -- up -- */

/* LEN bytes of zeros at OFF, whole clusters of UPPER or its end. */
static int zeros_up(struct merge *m, uint64_t off, uint64_t len)
{
	int rc = shows_zeros(m->below, off, len);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	return qcow2_hide(m->upper, off, len);
}

/* At most CHUNK bytes of data, whole clusters. */
static int data_up(struct merge *m, uint64_t off, uint64_t len)
{
	int rc = move(m->upper, false, m->buf, len, off);

	for (uint64_t at = 0, n; rc == 0 && at < len; at += n) {
		unsigned char *p = m->buf + at;

		n = min_u64(m->cs, len - at);
		rc = all_zero(p, n) ? zeros_up(m, off + at, n) :
			move(m->upper, true, p, n, off + at);
	}
	return rc;
}

/* Of LEN bytes at OFF, whole clusters that UPPER has not and LOWER has. */
static int own_up(struct merge *m, uint64_t off, uint64_t len)
{
	int rc = 0;

	for (uint64_t n; rc == 0 && len; off += n, len -= n) {
		n = min_u64(len, CHUNK);
		rc = shows_zeros(m->lower, off, n);
		if (rc == 0 && n > m->cs) {	/* smaller pieces may be */
			n = m->cs;
			rc = shows_zeros(m->lower, off, n);
		}
		if (rc == 0 && m->count)
			m->cost += n;
		else if (rc == 0)
			rc = data_up(m, off, n);
		else if (rc > 0)
			rc = m->count ? 0 : zeros_up(m, off, n);
	}
	return rc;
}

/*
 * Whether LOWER has something of its own in some of the cluster at OFF, with
 * *N, the whole clusters of LEN bytes for which that holds.
 */
static int any_own(struct merge *m, uint64_t off, uint64_t len, uint64_t *n)
{
	uint64_t size = block_bytes(m->lower), most = len;
	int rc = 1;

	/* Behind its end it shows zeros, whatever lies below. */
	*n = len;
	if (off >= size)
		return 1;
	most = min_u64(len, size - off);
	rc = own(m->lower, off, most, n);
	if (rc < 0 || *n == len)
		return rc;
	*n &= ~(m->cs - 1);
	if (*n)
		return rc;
	*n = min_u64(len, m->cs);
	return 1;
}

static int all_up(struct merge *m)
{
	uint64_t left = block_bytes(m->upper), n;

	for (uint64_t off = 0; left; off += n, left -= n) {
		int rc = qcow2_allocated(m->upper, off, left, &n);

		if (rc == 0)
			rc = any_own(m, off, n, &n);
		else if (rc > 0)
			continue;
		if (rc > 0)
			rc = own_up(m, off, n);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* -- both -- */

static int begin(struct merge *m, struct block *upper)
{
	struct qcow2_info info;
	int rc;

	*m = (struct merge){ .upper = upper, .lower = qcow2_below(upper) };
	if (!m->lower)
		return fail(E_CONFIG, "rests on nothing");
	m->below = qcow2_is(m->lower) ? qcow2_below(m->lower) : NULL;
	rc = qcow2_info(block_fd(upper), &info);
	if (rc < 0)
		return rc;
	m->cs = 1ULL << info.cluster_bits;
	qcow2_info_release(&info);
	m->buf = malloc(CHUNK);
	return m->buf ? 0 : fail(ENOMEM, "out of memory");
}

static int end(struct merge *m, int rc)
{
	free(m->buf);
	return rc < 0 ? fail(-rc, "%s", strerror(-rc)) : 0;
}

static int grow_lower(struct merge *m)
{
	uint64_t size = block_bytes(m->upper);

	if (size < block_bytes(m->lower))
		return fail(E_CONFIG, "the lower layer has %" PRIu64 " bytes, "
			    "the upper one %" PRIu64, block_bytes(m->lower),
			    size);
	return size == block_bytes(m->lower) ? 0 : block_resize(m->lower, size);
}

int merge_down(struct block *upper)
{
	struct merge m;
	int rc = begin(&m, upper);

	if (rc < 0)
		return rc;
	rc = grow_lower(&m);
	if (rc < 0) {
		free(m.buf);
		return rc;
	}
	m.unmap = lock_alone(block_fd(m.lower));
	rc = all_down(&m);
	return end(&m, rc < 0 ? rc : block_flush(m.lower));
}

int merge_up(struct block *upper)
{
	struct merge m;
	int rc = begin(&m, upper);

	if (rc < 0)
		return rc;
	rc = upper->readonly ? -EROFS : all_up(&m);
	return end(&m, rc < 0 ? rc : block_flush(upper));
}

/* Whether B's format can be written, with its clusters in *CS: 1 if raw. */
static int writable(struct block *b, uint64_t *cs)
{
	struct qcow2_info info;
	int rc;

	*cs = 1;
	if (!qcow2_is(b))
		return true;
	rc = qcow2_info(block_fd(b), &info);
	if (rc < 0)
		return rc;
	*cs = 1ULL << info.cluster_bits;
	rc = info.version > 2 && !info.corrupt;
	qcow2_info_release(&info);
	return rc;
}

int merge_cost(struct block *upper, struct merge_cost *cost)
{
	uint64_t cs;
	struct merge m;
	int rc = begin(&m, upper), can_up, can_down;

	if (rc < 0)
		return rc;
	m.count = true;
	can_up = writable(upper, &cs);
	can_down = writable(m.lower, &cs);
	if (can_up < 0 || can_down < 0) {
		free(m.buf);
		return can_up < 0 ? can_up : can_down;
	}
	can_down &= block_bytes(m.lower) <= block_bytes(upper);
	cost->beside_qemu = can_down && cs <= m.cs;
	rc = all_down(&m);
	cost->down = can_down ? m.cost : UINT64_MAX;
	m.cost = 0;
	if (rc == 0)
		rc = all_up(&m);
	cost->up = can_up ? m.cost : UINT64_MAX;
	return end(&m, rc);
}
