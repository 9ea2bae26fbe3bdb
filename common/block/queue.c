/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/queue.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "base/err.h"
#include "block/iov.h"
#include "block/pool.h"
#include "block/ring.h"
#include "block/vec.h"

struct queue {
	struct block *disk;
	unsigned depth, under_way, in_ring;
	struct io_list waiting;		/* beyond depth */
	struct io_list finished;	/* at once */
	int event_fd;
	bool uring;			/* there is a ring */
	struct ring ring;
	struct pool pool;
};

static bool moves(const struct queue_io *io)
{
	return io->op == QUEUE_READ || io->op == QUEUE_WRITE;
}

static void wake(struct queue *q)
{
	static const uint64_t one = 1;

	(void)!write(q->event_fd, &one, sizeof(one));
}

/* What lies nowhere needs neither kernel nor thread. */
static void read_zeros(struct queue *q, struct queue_io *io)
{
	struct vec v = { io->rest, io->nrest };

	vec_zero_front(&v, io->extent.len);
	io->rest = v.iov;
	io->nrest = v.n;
	io->moved += io->extent.len;
	block_unmap(q->disk, &io->extent);
}

static void to_pool(struct queue *q, struct queue_io *io, enum queue_op todo)
{
	io->todo = todo;
	pool_run(&q->pool, io);
}

/*
 * Starts what is left of IO; whether it is finished already. What cannot be
 * mapped may be wrong as well; the pool will hear of that.
 */
static bool go_on(struct queue *q, struct queue_io *io)
{
	do {
		if (block_map(q->disk, io->off + io->moved,
			      io->len - io->moved, io->op == QUEUE_WRITE,
			      &io->extent) < 0) {
			to_pool(q, io, io->op);
			return false;
		}
		if (io->extent.fd >= 0) {
			q->in_ring++;
			ring_move(&q->ring, io);
			return false;
		}
		read_zeros(q, io);
	} while (io->moved < io->len);
	io->rc = 0;
	return true;
}

static void start(struct queue *q, struct queue_io *io)
{
	q->under_way++;
	if (!q->uring || !moves(io) || !io->len) {
		to_pool(q, io, io->op);
	} else if (go_on(q, io)) {
		if (!q->finished.first)
			wake(q);
		io_list_add(&q->finished, io);
	}
}

/* The next one goes first, so that none waits for what done() submits. */
static void finish(struct queue *q, struct queue_io *io)
{
	struct queue_io *next = io_list_take(&q->waiting);

	q->under_way--;
	if (next)
		start(q, next);
	io->done(io, io->rc);
}

/* The kernel has moved IO's data, or could not: whether that was all. */
static bool moved(struct queue *q, struct queue_io *io)
{
	int rc;

	q->in_ring--;
	io->extent.rc = io->rc;
	rc = block_unmap(q->disk, &io->extent);
	if (io->rc == 0)
		io->rc = rc;
	if (io->rc == 0 && io->moved < io->len && !go_on(q, io))
		return false;
	if (io->rc == 0 && io->op == QUEUE_WRITE && io->durable) {
		to_pool(q, io, QUEUE_FLUSH);
		return false;
	}
	finish(q, io);
	return true;
}

static unsigned finish_all(struct queue *q, struct io_list list)
{
	struct queue_io *io;
	unsigned n = 0;

	for (; (io = io_list_take(&list)); n++)
		finish(q, io);
	return n;
}

void queue_submit(struct queue *q, struct queue_io *io)
{
	if (moves(io))
		io->len = iov_len(io->iov, io->n);
	io->rest = io->iov;
	io->nrest = io->n;
	io->moved = 0;
	if (q->under_way == q->depth)
		io_list_add(&q->waiting, io);
	else
		start(q, io);
}

void queue_kick(struct queue *q)
{
	/* What the kernel has no memory for now is tried again by a reap. */
	if (q->uring && !ring_submit(&q->ring))
		wake(q);
}

/*
 * Only what is there at the beginning: done() may submit what is finished at
 * once, without end.
 */
unsigned queue_reap(struct queue *q)
{
	unsigned reaped = 0;
	struct queue_io *io;
	struct io_list at_once = io_list_empty(&q->finished);
	uint64_t events;

	(void)!read(q->event_fd, &events, sizeof(events));
	for (unsigned n = q->uring ? ring_ready(&q->ring) : 0; n; n--) {
		io = ring_take(&q->ring);
		reaped += io && moved(q, io);
	}
	reaped += finish_all(q, at_once);
	if (!q->in_ring)
		pool_help(&q->pool);
	reaped += finish_all(q, pool_finished(&q->pool));
	queue_kick(q);
	return reaped;
}

void queue_drain(struct queue *q)
{
	struct pollfd p = { .fd = q->event_fd, .events = POLLIN };

	queue_kick(q);
	while (q->under_way) {
		poll(&p, 1, -1);
		queue_reap(q);
	}
}

int queue_fd(const struct queue *q)
{
	return q->event_fd;
}

const char *queue_kind(const struct queue *q)
{
	return q->uring ? "io_uring" : "threads";
}

int queue_open(struct queue **out, struct block *b, unsigned depth, bool uring)
{
	autofree struct queue *q = calloc(1, sizeof(*q));

	if (!q)
		return fail(ENOMEM, "out of memory");
	q->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->event_fd < 0)
		return fail_sys("eventfd");
	q->disk = b;
	q->depth = min_u64(max_u64(depth, 1), QUEUE_DEPTH_MAX);
	io_list_init(&q->waiting);
	io_list_init(&q->finished);
	pool_init(&q->pool, b, q->event_fd);
	q->uring = uring && b->ops->map &&
		ring_init(&q->ring, q->depth, block_fd(b), q->event_fd) == 0;
	*out = take_ptr(q);
	return 0;
}

void queue_close(struct queue *q)
{
	if (!q)
		return;
	queue_drain(q);
	pool_release(&q->pool);
	if (q->uring)
		ring_release(&q->ring);
	close(q->event_fd);
	free(q);
}
