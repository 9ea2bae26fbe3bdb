/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/chain.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/err.h"
#include "block/filter.h"
#include "block/qcow2.h"
#include "block/vec.h"

enum {
	UNIT_BITS = 16,
	PIECE_BITS = 12,	/* units in a piece */
	PIECE = 1 << PIECE_BITS,
	PIECES_LEAST = 1 << 16,	/* a disk may grow: 16 TiB */
	PIECES_MOST = 1 << 20,
	AHEAD = 64,		/* units looked up at once, at most */
};

/* 0: not known, else 1 + the number of a layer. */
typedef _Atomic uint16_t owner_t;

struct chain {
	struct filter filter;	/* over the top */
	unsigned n, unit_bits;
	uint64_t npieces;	/* what lies behind them is not remembered */
	owner_t *_Atomic *piece;
	struct block *layer[];	/* N of them, the bottom first */
};

static struct chain *chain_of(struct block *b)
{
	return container_of(filter_of(b), struct chain, filter);
}

static const struct block_ops chain_ops;

static bool is_chain(const struct block *b)
{
	return b->ops == &chain_ops;
}

static struct block *below(const struct block *b)
{
	return qcow2_is(b) ? qcow2_below(b) : NULL;
}

/* -- what is remembered -- */

/* Where the owner of UNIT is kept; NULL if it is not, or (MAKE) cannot be. */
static owner_t *slot(struct chain *c, uint64_t unit, bool make)
{
	uint64_t i = unit >> PIECE_BITS;
	owner_t *p, *was = NULL;

	if (i >= c->npieces)
		return NULL;
	p = atomic_load(&c->piece[i]);
	if (!p && make) {
		p = calloc(PIECE, sizeof(*p));
		if (p && !atomic_compare_exchange_strong(&c->piece[i], &was,
							 p)) {
			free(p);
			p = was;
		}
	}
	return p ? &p[unit & (PIECE - 1)] : NULL;
}

static unsigned recall(struct chain *c, uint64_t unit)
{
	owner_t *s = slot(c, unit, false);

	return s ? atomic_load(s) : 0;
}

/*
 * The layer that is remembered for OFF, and for how much of LEN bytes (*N); -1
 * if none is.
 */
static int remembered(struct chain *c, uint64_t off, uint64_t len, uint64_t *n)
{
	uint64_t unit = off >> c->unit_bits, size = 1ULL << c->unit_bits;
	unsigned owner = recall(c, unit);
	uint64_t have = size - (off & (size - 1));

	for (; owner && have < len; have += size)
		if (recall(c, ++unit) != owner)
			break;
	*n = min_u64(have, len);
	return (int)owner - 1;
}

/* The top writes there from here on; -ENOMEM if that cannot be kept. */
static int claim(struct chain *c, uint64_t off, uint64_t len)
{
	uint64_t unit = off >> c->unit_bits;
	uint64_t last = (off + len - 1) >> c->unit_bits;

	for (; len && unit <= last; unit++) {
		owner_t *s = slot(c, unit, true);

		if (s)
			atomic_store(s, c->n);
		else if (unit >> PIECE_BITS < c->npieces)
			return -ENOMEM;
	}
	return 0;
}

/* -- finding out -- */

/*
 * The lowest layer above which none has anything at OFF, for *N bytes of LEN,
 * and whether it has itself. Or -errno.
 */
static int find(struct block *b, unsigned depth, uint64_t off, uint64_t len,
		uint64_t *n, bool *has)
{
	*n = len;
	for (;; b = below(b), depth--) {
		const struct block *next = below(b);
		int rc = 1;

		if (qcow2_is(b))
			rc = qcow2_allocated(b, off, *n, n);
		if (rc < 0)
			return rc;
		*has = rc;
		/* Behind its end there are zeros, not what lies below. */
		if (rc || !next || off >= block_bytes(next))
			return depth - 1;
		*n = min_u64(*n, block_bytes(next) - off);
	}
}

/*
 * As remembered(), which did not know. Or -errno. A writer may come meanwhile:
 * what is remembered then is his, and what is returned was so.
 */
static int look(struct chain *c, uint64_t off, uint64_t len, uint64_t *n)
{
	struct block *b = &c->filter.block;
	uint64_t size = 1ULL << c->unit_bits, start = off & ~(size - 1);
	uint64_t units = (block_bytes(b) - start) / size, run;
	bool has;
	int rc;

	/* The disk may grow within its last unit. */
	*n = len;
	if (!units)
		return c->n - 1;
	rc = find(c->filter.below, c->n, start, min_u64(units, AHEAD) * size,
		  &run, &has);
	if (rc < 0)
		return rc;
	/* In pieces: it is the top's to say. */
	if (run < size) {
		run = size;
		rc = c->n - 1;
	}
	for (uint64_t i = 0; i < run / size; i++) {
		owner_t *s = slot(c, start / size + i, true);
		uint16_t unknown = 0;

		if (s)
			atomic_compare_exchange_strong(s, &unknown, rc + 1);
	}
	*n = min_u64(len, start + (run & ~(size - 1)) - off);
	return rc;
}

static int owner(struct chain *c, uint64_t off, uint64_t len, uint64_t *n)
{
	int rc = remembered(c, off, len, n);

	return rc < 0 ? look(c, off, len, n) : rc;
}

/* -- the table -- */

/* Of several layers: PART is as long as V. */
static int read_parts(struct chain *c, struct vec *v, struct iovec *part,
		      uint64_t off, uint64_t len)
{
	for (uint64_t n; len; off += n, len -= n) {
		int rc = owner(c, off, len, &n);

		if (rc >= 0)
			rc = block_readv(c->layer[rc], part,
					 vec_take(v, n, part), off);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int chain_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		       uint64_t len)
{
	struct chain *c = chain_of(b);
	autofree struct iovec *part = NULL;
	struct vec v = { iov, n };
	uint64_t have;
	int rc = owner(c, off, len, &have);

	if (rc < 0)
		return rc;
	if (have == len)
		return block_readv(c->layer[rc], iov, n, off);
	part = calloc(n, sizeof(*part));
	return part ? read_parts(c, &v, part, off, len) : -ENOMEM;
}

static int chain_writev(struct block *b, struct iovec *iov, int n,
			uint64_t off, uint64_t len)
{
	int rc = claim(chain_of(b), off, len);

	return rc < 0 ? rc : filter_writev(b, iov, n, off, len);
}

static int chain_zero(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
	int rc = claim(chain_of(b), off, len);

	return rc < 0 ? rc : filter_zero(b, off, len, unmap);
}

static int chain_map(struct block *b, uint64_t off, uint64_t len, bool write,
		     struct block_extent *e)
{
	struct chain *c = chain_of(b);
	uint64_t n;
	int rc;

	if (write) {
		if (claim(c, off, len) < 0)
			return -EAGAIN;
		return block_map(c->filter.below, off, len, true, e);
	}
	rc = remembered(c, off, len, &n);
	return rc < 0 ? -EAGAIN : block_map(c->layer[rc], off, n, false, e);
}

static int chain_status(struct block *b, uint64_t off, uint64_t len,
			uint64_t *n)
{
	struct chain *c = chain_of(b);
	int rc = owner(c, off, len, n);

	return rc < 0 ? rc : block_status(c->layer[rc], off, *n, n);
}

/* All but what it is over. */
static void release(struct chain *c)
{
	for (uint64_t i = 0; c->piece && i < c->npieces; i++)
		free(c->piece[i]);
	free(c->piece);
	free(c);
}

static void chain_close(struct block *b)
{
	filter_release(filter_of(b));
	release(chain_of(b));
}

/* What is discarded stays its layer's: it never lets through what is below. */
static const struct block_ops chain_ops = {
	.name = "chain",
	.readv = chain_readv,
	.writev = chain_writev,
	.flush = filter_flush,
	.zero = chain_zero,
	.discard = filter_discard,
	.resize = filter_resize,
	.map = chain_map,
	.status = chain_status,
	.fd = filter_fd,
	.freeze = filter_freeze,
	.close = chain_close,
};

/* -- open -- */

struct block *chain_top(struct block *b)
{
	return is_chain(b) ? filter_of(b)->below : b;
}

struct block *chain_release(struct block *b)
{
	struct block *top = chain_top(b);

	if (is_chain(b))
		release(chain_of(b));
	return top;
}

unsigned chain_depth(const struct block *b)
{
	unsigned n = 0;

	if (is_chain(b))
		b = container_of(b, struct filter, block)->below;
	for (; b; b = below(b))
		n++;
	return n;
}

/* How much is remembered of a disk of SIZE bytes, which may grow. */
static int make_pieces(struct chain *c, uint64_t size)
{
	uint64_t n;

	c->unit_bits = UNIT_BITS;
	while ((n = (size >> c->unit_bits >> PIECE_BITS) + 1) > PIECES_MOST)
		c->unit_bits++;
	c->npieces = max_u64(n, PIECES_LEAST);
	c->piece = calloc(c->npieces, sizeof(*c->piece));
	return c->piece ? 0 : -ENOMEM;
}

int chain_open(struct block **out, struct block *top)
{
	unsigned n = chain_depth(top);
	struct chain *c;

	if (n > CHAIN_MOST)
		return fail(E_CONFIG, "a chain of %u layers, more than %d", n,
			    CHAIN_MOST);
	*out = top;
	if (n < CHAIN_PAYS || is_chain(top))
		return 0;
	c = calloc(1, sizeof(*c) + n * sizeof(*c->layer));
	if (!c || make_pieces(c, block_bytes(top)) < 0) {
		free(c);
		return fail(ENOMEM, "out of memory");
	}
	filter_init(&c->filter, &chain_ops, top);
	c->n = n;
	for (; n; top = below(top))
		c->layer[--n] = top;
	*out = &c->filter.block;
	return 0;
}

/* -- who has what -- */

int chain_owner(struct block *b, uint64_t off, uint64_t len, uint64_t *n)
{
	bool has;
	int rc;

	*n = len;
	if (!in_range(off, len, block_bytes(b)))
		return -EIO;
	rc = find(chain_top(b), chain_depth(b), off, len, n, &has);
	return rc < 0 || has ? rc : -1;
}

int chain_differs(struct block *a, struct block *b, unsigned shared,
		  uint64_t off, uint64_t len, uint64_t *n)
{
	int in_a = chain_owner(a, off, len, n), in_b;

	if (in_a < -1)
		return in_a;
	in_b = chain_owner(b, off, *n, n);
	if (in_b < -1)
		return in_b;
	return in_a != in_b || (in_a >= 0 && (unsigned)in_a >= shared);
}

static bool same_file(const struct block *a, const struct block *b)
{
	struct stat s, t;

	return fstat(block_fd(a), &s) == 0 && fstat(block_fd(b), &t) == 0 &&
	       s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

unsigned chain_shared(struct block *a, struct block *b)
{
	unsigned da = chain_depth(a), db = chain_depth(b), run = 0;

	a = chain_top(a);
	b = chain_top(b);
	for (; da > db; da--)
		a = below(a);
	for (; db > da; db--)
		b = below(b);
	/* Those in one piece from the bottom on. */
	for (; a; a = below(a), b = below(b))
		run = same_file(a, b) ? run + 1 : 0;
	return run;
}
