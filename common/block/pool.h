/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pool.h - threads that carry out a queue's requests by the disk's own calls.
 *
 * Theory: a list of what is to be done, a list of what is finished. A thread is
 * started when something is to be done and none is idle, up to POOL_THREADS;
 * they end with the pool. Where no thread is to be had, the owner carries out
 * the requests itself.
 *
 * Threads: all calls come from the owner's thread; `lock` guards the lists.
 */
#ifndef BLOCK_POOL_H
#define BLOCK_POOL_H

#include <pthread.h>

#include "block/queue.h"

enum { POOL_THREADS = 16 };

/* First in, first out, linked by `next`. */
struct io_list {
	struct queue_io *first, **end;
};

static inline void io_list_init(struct io_list *l)
{
	l->first = NULL;
	l->end = &l->first;
}

static inline void io_list_add(struct io_list *l, struct queue_io *io)
{
	io->next = NULL;
	*l->end = io;
	l->end = &io->next;
}

/* NULL: it is empty. */
static inline struct queue_io *io_list_take(struct io_list *l)
{
	struct queue_io *io = l->first;

	if (io && !(l->first = io->next))
		l->end = &l->first;
	return io;
}

/* All that L has; then it has nothing. For io_list_take() alone. */
static inline struct io_list io_list_empty(struct io_list *l)
{
	struct io_list all = *l;

	io_list_init(l);
	return all;
}

struct pool {
	struct block *disk;
	int event_fd;
	pthread_mutex_t lock;
	pthread_cond_t wanted;		/* something to do, or `ending` */
	struct io_list todo, finished;
	unsigned ntodo, idle;
	bool ending;
	unsigned nthreads;		/* the owner's */
	pthread_t thread[POOL_THREADS];
};

/* EVENT_FD, an eventfd, is written to when something is finished. */
void pool_init(struct pool *p, struct block *disk, int event_fd);
/* Nothing is under way any more. */
void pool_release(struct pool *p);

/*
 * Carries out IO->todo (of a move, what is left of it), and IO->durable. IO->rc
 * is what came of it.
 */
void pool_run(struct pool *p, struct queue_io *io);

/*
 * The owner carries out what waits for a thread when there is none. It may
 * have to wait for extents that others have mapped, and so has none itself.
 */
void pool_help(struct pool *p);

/* All that is finished and was not handed out before. */
struct io_list pool_finished(struct pool *p);

#endif
