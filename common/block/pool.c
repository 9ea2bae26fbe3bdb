/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/pool.h"

#include <errno.h>
#include <signal.h>

enum {
	STACK_BYTES = 256 << 10,
	ZERO_BYTES = 4096,
	ZERO_SEGS = 64,
};

/* ------------------------------------------------------------ the requests */

static int run_read(struct block *b, struct queue_io *io)
{
	return block_readv(b, io->rest, io->nrest, io->off + io->moved);
}

static int run_write(struct block *b, struct queue_io *io)
{
	return block_writev(b, io->rest, io->nrest, io->off + io->moved);
}

static int run_flush(struct block *b, struct queue_io *io)
{
	(void)io;
	return block_flush(b);
}

static int write_zeros(struct block *b, uint64_t off, uint64_t len)
{
	static const char zeros[ZERO_BYTES];
	struct iovec iov[ZERO_SEGS];
	uint64_t done = 0;
	int rc = 0, n;

	for (; rc == 0 && len; off += done, len -= done) {
		done = 0;
		for (n = 0; n < ZERO_SEGS && done < len; n++) {
			iov[n].iov_base = (void *)zeros;
			iov[n].iov_len = min_u64(len - done, ZERO_BYTES);
			done += iov[n].iov_len;
		}
		rc = block_writev(b, iov, n, off);
	}
	return rc;
}

static int zero(struct block *b, struct queue_io *io, bool unmap)
{
	int rc = block_zero(b, io->off, io->len, unmap);

	return rc == -EOPNOTSUPP ? write_zeros(b, io->off, io->len) : rc;
}

static int run_zero(struct block *b, struct queue_io *io)
{
	return zero(b, io, false);
}

static int run_zero_unmap(struct block *b, struct queue_io *io)
{
	return zero(b, io, true);
}

static int run_discard(struct block *b, struct queue_io *io)
{
	return block_discard(b, io->off, io->len);
}

static const struct {
	int (*run)(struct block *b, struct queue_io *io);
	bool changes;		/* and may have to be durable */
} runs[] = {
	[QUEUE_READ] = { run_read },
	[QUEUE_WRITE] = { run_write, true },
	[QUEUE_FLUSH] = { run_flush },
	[QUEUE_ZERO] = { run_zero, true },
	[QUEUE_ZERO_UNMAP] = { run_zero_unmap, true },
	[QUEUE_DISCARD] = { run_discard, true },
};

static int run(struct block *b, struct queue_io *io)
{
	int rc = runs[io->todo].run(b, io);

	if (rc == 0 && io->durable && runs[io->todo].changes)
		rc = block_flush(b);
	return rc;
}

/* ------------------------------------------------------------- the threads */

static void tell(struct pool *p)
{
	static const uint64_t one = 1;

	(void)!write(p->event_fd, &one, sizeof(one));
}

/* Told once, for all that come until they are fetched. */
static void finish(struct pool *p, struct queue_io *io)
{
	if (!p->finished.first)
		tell(p);
	io_list_add(&p->finished, io);
}

static void *work(void *arg)
{
	struct pool *p = arg;
	struct queue_io *io;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		p->idle++;
		while (!p->todo.first && !p->ending)
			pthread_cond_wait(&p->wanted, &p->lock);
		p->idle--;
		io = io_list_take(&p->todo);
		if (!io)
			break;
		p->ntodo--;
		pthread_mutex_unlock(&p->lock);
		io->rc = run(p->disk, io);
		pthread_mutex_lock(&p->lock);
		finish(p, io);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void start_thread(struct pool *p)
{
	pthread_attr_t attr;
	sigset_t all;

	sigfillset(&all);	/* signals are for other threads */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setsigmask_np(&attr, &all);
	if (pthread_create(&p->thread[p->nthreads], &attr, work, p) == 0)
		pthread_setname_np(p->thread[p->nthreads++], "disk");
	pthread_attr_destroy(&attr);
}

static bool thread_wanted(struct pool *p)
{
	bool busy;

	pthread_mutex_lock(&p->lock);
	busy = p->idle <= p->ntodo;
	pthread_mutex_unlock(&p->lock);
	return busy && p->nthreads < POOL_THREADS;
}

void pool_run(struct pool *p, struct queue_io *io)
{
	if (thread_wanted(p))
		start_thread(p);
	pthread_mutex_lock(&p->lock);
	io_list_add(&p->todo, io);
	p->ntodo++;
	if (p->nthreads)
		pthread_cond_signal(&p->wanted);
	else
		tell(p);
	pthread_mutex_unlock(&p->lock);
}

void pool_help(struct pool *p)
{
	struct queue_io *io;

	if (p->nthreads)
		return;
	while ((io = io_list_take(&p->todo))) {
		p->ntodo--;
		io->rc = run(p->disk, io);
		io_list_add(&p->finished, io);
	}
}

struct io_list pool_finished(struct pool *p)
{
	struct io_list l;

	pthread_mutex_lock(&p->lock);
	l = io_list_empty(&p->finished);
	pthread_mutex_unlock(&p->lock);
	return l;
}

void pool_init(struct pool *p, struct block *disk, int event_fd)
{
	*p = (struct pool){ .disk = disk, .event_fd = event_fd };
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wanted, NULL);
	io_list_init(&p->todo);
	io_list_init(&p->finished);
}

void pool_release(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->wanted);
	pthread_mutex_unlock(&p->lock);
	while (p->nthreads)
		pthread_join(p->thread[--p->nthreads], NULL);
	pthread_cond_destroy(&p->wanted);
	pthread_mutex_destroy(&p->lock);
}
