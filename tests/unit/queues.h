/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queues.h - a queue of each kind over disks of two kinds: a raw one, and an
 * odd one.
 *
 *	FOR_KINDS(k) {
 *		struct block *b;
 *		struct queue *q = open_kind(k, DEPTH, &b);
 *
 *		OK(q);
 *		...
 *		shut(q, b);
 *	}
 */
#ifndef TESTS_UNIT_QUEUES_H
#define TESTS_UNIT_QUEUES_H

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include "block/queue.h"

#include "scratch.h"
#include "test.h"

enum { SLOT = 16 << 10, SLOTS = 64, SIZE = SLOT * SLOTS, DEPTH = 32 };

static inline void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* ------------------------------------------------------------ the odd disk */

/*
 * A disk in two files of memory, the halves of which are exchanged, so that
 * only who asks where data lies finds it; it cannot always say.
 */
struct odd {
	struct block block;
	int fd[2];
	atomic_bool mute;		/* cannot say at all */
	atomic_bool empty;		/* says that everything is zeros */
	atomic_bool closed;		/* the gate: transfers wait */
	atomic_uint asked, mapped, moved, flushes;
	atomic_uint under_way, most;	/* in the disk at once */
	atomic_int flush_rc;
};

static inline struct odd *odd_of(struct block *b)
{
	return container_of(b, struct odd, block);
}

static inline off_t place(uint64_t off, int *which)
{
	*which = off >= SIZE / 2;
	return (off + SIZE / 4) % (SIZE / 2);
}

static inline void enter(struct odd *o)
{
	unsigned n = ++o->under_way, most = o->most;

	while (n > most && !atomic_compare_exchange_weak(&o->most, &most, n))
		;
	while (o->closed)
		nap();
	o->moved++;
}

/* LEN bytes that lie in one piece. */
static inline bool odd_piece(struct odd *o, char *data, size_t len,
			     uint64_t off, bool write)
{
	int which;
	off_t at = place(off, &which);

	return (write ? pwrite_all(o->fd[which], data, len, at) :
		pread_all(o->fd[which], data, len, at)) == 0;
}

static inline int odd_move(struct block *b, struct iovec *iov, int n,
			   uint64_t off, bool write)
{
	struct odd *o = odd_of(b);
	bool ok = true;

	enter(o);
	for (int i = 0; i < n && ok; i++)
		for (size_t k = 0, len; k < iov[i].iov_len && ok; k += len) {
			len = min_u64(iov[i].iov_len - k,
				      SIZE / 4 - off % (SIZE / 4));
			ok = odd_piece(o, (char *)iov[i].iov_base + k, len,
				       off, write);
			off += len;
		}
	o->under_way--;
	return ok ? 0 : -EIO;
}

static inline int odd_readv(struct block *b, struct iovec *iov, int n,
			    uint64_t off, uint64_t len)
{
	(void)len;
	return odd_move(b, iov, n, off, false);
}

static inline int odd_writev(struct block *b, struct iovec *iov, int n,
			     uint64_t off, uint64_t len)
{
	(void)len;
	return odd_move(b, iov, n, off, true);
}

static inline int odd_flush(struct block *b)
{
	odd_of(b)->flushes++;
	return odd_of(b)->flush_rc;
}

/* Three of four, and what does not lie in one piece never. */
static inline int odd_map(struct block *b, uint64_t off, uint64_t len,
			  bool write, struct block_extent *e)
{
	struct odd *o = odd_of(b);
	int first, last;
	off_t at = place(off, &first), end = place(off + len - 1, &last);

	(void)write;
	if (o->mute || o->asked++ % 4 == 3 || first != last || end < at)
		return -EAGAIN;
	*e = (struct block_extent){
		.fd = o->empty ? -1 : o->fd[first], .off = at, .token = 77,
	};
	o->mapped++;
	return 0;
}

static inline int odd_unmap(struct block *b, struct block_extent *e)
{
	if (e->token == 77)
		odd_of(b)->mapped--;
	return 0;
}

static inline int odd_fd(const struct block *b)
{
	return container_of(b, struct odd, block)->fd[0];
}

static inline void odd_close(struct block *b)
{
	close(odd_of(b)->fd[0]);
	close(odd_of(b)->fd[1]);
	free(odd_of(b));
}

static const struct block_ops odd_ops = {
	.name = "odd", .readv = odd_readv, .writev = odd_writev,
	.flush = odd_flush, .map = odd_map, .unmap = odd_unmap, .fd = odd_fd,
	.close = odd_close,
};

static inline struct block *odd_disk(void)
{
	struct odd *o = calloc(1, sizeof(*o));

	o->block = (struct block){ &odd_ops, SIZE, 512, false };
	for (int i = 0; i < 2; i++) {
		o->fd[i] = memfd_create("odd", MFD_CLOEXEC);
		if (o->fd[i] < 0 || ftruncate(o->fd[i], SIZE / 2) < 0)
			abort();
	}
	return &o->block;
}

static inline struct block *raw_disk(void)
{
	struct block *b = NULL;

	if (!put("disk", "") || truncate("disk", SIZE) < 0 ||
	    raw_open(&b, "disk", false) < 0)
		return NULL;
	return b;
}

/* --------------------------------------------------------- simple requests */

struct one {
	struct queue_io io;
	struct iovec iov;
	int called, rc;
};

static inline void note(struct queue_io *io, int rc)
{
	struct one *o = container_of(io, struct one, io);

	o->called++;
	o->rc = rc;
}

static inline void set(struct one *o, enum queue_op op, void *buf,
		       uint64_t off, uint64_t len)
{
	*o = (struct one){
		.io = {
			.op = op, .n = 1, .off = off, .len = len,
			.done = note,
		},
		.iov = { buf, len },
	};
	o->io.iov = &o->iov;
}

/* Carries out one request; what came of it, -ENOMSG if not once. */
static inline int run(struct queue *q, struct one *o)
{
	queue_submit(q, &o->io);
	queue_drain(q);
	return o->called == 1 ? o->rc : -ENOMSG;
}

static inline int run_op(struct queue *q, enum queue_op op, void *buf,
			 uint64_t off, uint64_t len)
{
	struct one o;

	set(&o, op, buf, off, len);
	return run(q, &o);
}

/* Every claim about a queue holds for both kinds, of any disk. */
static const struct kind {
	struct block *(*disk)(void);
	bool uring;
} kinds[] = {
	{ raw_disk, false }, { raw_disk, true },
	{ odd_disk, false }, { odd_disk, true },
};

#define FOR_KINDS(k) \
	for (const struct kind *k = kinds; k < kinds + ARRAY_SIZE(kinds); k++)

static inline struct queue *open_kind(const struct kind *k, unsigned depth,
				      struct block **b)
{
	struct queue *q;

	*b = k->disk();
	if (!*b || queue_open(&q, *b, depth, k->uring) < 0)
		return NULL;
	return q;
}

static inline void shut(struct queue *q, struct block *b)
{
	queue_close(q);
	block_close(b);
}

static inline bool have_uring(void)
{
	struct block *b = raw_disk();
	struct queue *q;
	bool yes;

	if (!b || queue_open(&q, b, 1, true) < 0)
		return false;
	yes = !strcmp(queue_kind(q), "io_uring");
	shut(q, b);
	return yes;
}

#endif
