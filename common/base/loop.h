/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop.h - one thread that waits for many descriptors and timers.
 *
 * Theory: a struct watch ties a descriptor to a function; it lives inside the
 * object that owns the descriptor, so the loop allocates nothing. Events are
 * level-triggered. A watch may be removed (by any callback, its own included)
 * at any time: the loop drops events already fetched for it. loop_run()
 * returns when loop_stop() was called.
 *
 * A struct timer calls its function once, at a time of CLOCK_MONOTONIC. All
 * timers share one timerfd.
 *
 * Threads: everything but loop_stop() belongs to the thread that runs the
 * loop (or to the only thread, before it runs). loop_stop() may be called
 * from any thread and from a signal handler.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/types.h"

struct loop;

struct watch {
	void (*fn)(struct watch *w, uint32_t events);	/* EPOLLIN, ... */
	int fd;			/* borrowed: remove the watch, then close */
	uint32_t events;	/* what is waited for; 0: nothing for now */
	bool added;
	struct loop *loop;
};

struct timer {
	void (*fn)(struct timer *t);
	uint64_t when_ns;	/* CLOCK_MONOTONIC */
	bool armed;
	struct timer *next;	/* the loop's list, soonest first */
};

enum { LOOP_BATCH = 32 };

struct loop {
	int epfd;
	int stopfd;		/* eventfd; loop_stop() writes it */
	int timerfd;
	bool stopping;
	struct watch stop_watch, timer_watch;
	struct timer *timers;
	struct watch **batch;	/* events being handed out, NULL = removed */
	int nbatch;
};

/* 0 or -errno. On failure nothing is left open. */
int loop_init(struct loop *l);
void loop_release(struct loop *l);

/*
 * Calls FN when FD shows EVENTS. W is the caller's, zeroed or used before,
 * and must stay until watch_remove(). 0 or -errno.
 */
int watch_add(struct loop *l, struct watch *w, int fd, uint32_t events,
	      void (*fn)(struct watch *, uint32_t));
/* Waits for EVENTS from now on. 0 or -errno. */
int watch_change(struct watch *w, uint32_t events);
/* Idempotent; harmless on a zeroed watch. */
void watch_remove(struct watch *w);

/* (Re)arms T to call FN NS nanoseconds from now. */
void timer_set(struct loop *l, struct timer *t, uint64_t ns,
	       void (*fn)(struct timer *));
void timer_cancel(struct loop *l, struct timer *t);

/* Until loop_stop(); 0, or -errno when waiting itself fails. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);
/* From a callback of the loop's own thread: nothing more is handed out. */
void loop_quit(struct loop *l);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);

#endif
