/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/f_fault.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/err.h"
#include "block/filter.h"

static const uint64_t SECOND = 1000000000;

struct fault {
	struct filter filter;
	pthread_mutex_t lock;		/* of the rules' counts */
	size_t n;
	struct counted_rule {
		struct fault_rule rule;
		uint64_t requests, bytes, hits;
	} rules[FAULT_RULES];
};

static struct fault *fault_of(struct block *b)
{
	return container_of(filter_of(b), struct fault, filter);
}

/* Counts a request of LEN bytes; whether C hits it. */
static bool hits(struct counted_rule *c, unsigned op, uint64_t len)
{
	const struct fault_rule *r = &c->rule;
	uint64_t first = max_u64(r->first, 1);

	if (!(r->ops & op))
		return false;
	c->requests++;
	c->bytes += len;
	if (c->requests < first || (r->bytes && c->bytes <= r->bytes) ||
	    (r->count && c->requests - first >= r->count))
		return false;
	c->hits++;
	return true;
}

/* Waits and fails as the rules say: 0 if they let it go on. */
static int meet(struct block *b, unsigned op, uint64_t len)
{
	struct fault *f = fault_of(b);
	uint64_t delay = 0;
	int rc = 0;

	pthread_mutex_lock(&f->lock);
	for (size_t i = 0; i < f->n && rc == 0; i++) {
		if (!hits(&f->rules[i], op, len))
			continue;
		delay += f->rules[i].rule.delay_ns;
		rc = f->rules[i].rule.rc;
	}
	pthread_mutex_unlock(&f->lock);
	if (delay)
		nanosleep(&(struct timespec){ delay / SECOND, delay % SECOND },
			  NULL);
	return rc;
}

static int fault_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		       uint64_t len)
{
	int rc = meet(b, FAULT_READ, len);

	return rc < 0 ? rc : filter_readv(b, iov, n, off, len);
}

static int fault_writev(struct block *b, struct iovec *iov, int n,
			uint64_t off, uint64_t len)
{
	int rc = meet(b, FAULT_WRITE, len);

	return rc < 0 ? rc : filter_writev(b, iov, n, off, len);
}

static int fault_flush(struct block *b)
{
	int rc = meet(b, FAULT_FLUSH, 0);

	return rc < 0 ? rc : filter_flush(b);
}

static int fault_zero(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
	int rc = meet(b, FAULT_ZERO, len);

	return rc < 0 ? rc : filter_zero(b, off, len, unmap);
}

static int fault_discard(struct block *b, uint64_t off, uint64_t len)
{
	int rc = meet(b, FAULT_DISCARD, len);

	return rc < 0 ? rc : filter_discard(b, off, len);
}

static void fault_close(struct block *b)
{
	struct fault *f = fault_of(b);

	filter_release(&f->filter);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static const struct block_ops fault_ops = {
	.name = "fault",
	.readv = fault_readv,
	.writev = fault_writev,
	.flush = fault_flush,
	.zero = fault_zero,
	.discard = fault_discard,
	.resize = filter_resize,
	.status = filter_status,
	.fd = filter_fd,
	.freeze = filter_freeze,
	.close = fault_close,
};

int fault_open(struct block **out, struct block *below,
	       const struct fault_rule *rules, size_t n)
{
	struct fault *f;

	if (n > FAULT_RULES)
		return fail(E_CONFIG, "%zu rules, at most %d", n, FAULT_RULES);
	f = calloc(1, sizeof(*f));
	if (!f)
		return fail(ENOMEM, "out of memory");
	filter_init(&f->filter, &fault_ops, below);
	pthread_mutex_init(&f->lock, NULL);
	f->n = n;
	for (size_t i = 0; i < n; i++)
		f->rules[i].rule = rules[i];
	*out = &f->filter.block;
	return 0;
}

uint64_t fault_hits(struct block *b, size_t i)
{
	struct fault *f = fault_of(b);
	uint64_t n;

	pthread_mutex_lock(&f->lock);
	n = f->rules[i].hits;
	pthread_mutex_unlock(&f->lock);
	return n;
}
