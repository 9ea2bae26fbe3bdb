/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/err.h"

enum { NSEC = 1000000000 };

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC + ts.tv_nsec;
}

/* Sets the timerfd for the soonest timer, or disarms it. */
static void timers_program(struct loop *l)
{
	uint64_t when = l->timers ? max_u64(l->timers->when_ns, 1) : 0;
	struct itimerspec its = {
		.it_value = { .tv_sec = when / NSEC, .tv_nsec = when % NSEC },
	};

	timerfd_settime(l->timerfd, TFD_TIMER_ABSTIME, &its, NULL);
}

static void on_timer(struct watch *w, uint32_t events)
{
	struct loop *l = w->loop;
	uint64_t now = now_ns(), ticks;
	struct timer *t;

	(void)events;
	(void)!read(w->fd, &ticks, sizeof(ticks));
	while ((t = l->timers) && t->when_ns <= now) {
		l->timers = t->next;
		t->armed = false;
		t->fn(t);
	}
	timers_program(l);
}

static void on_stop(struct watch *w, uint32_t events)
{
	uint64_t n;

	(void)events;
	(void)!read(w->fd, &n, sizeof(n));
	w->loop->stopping = true;
}

int loop_init(struct loop *l)
{
	int rc;

	memset(l, 0, sizeof(*l));
	l->stopfd = l->timerfd = -1;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0)
		return fail_sys("epoll");
	l->stopfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->timerfd = timerfd_create(CLOCK_MONOTONIC,
				    TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->stopfd < 0 || l->timerfd < 0) {
		rc = fail_sys("event loop");
		goto fail;
	}
	rc = watch_add(l, &l->stop_watch, l->stopfd, EPOLLIN, on_stop);
	if (rc == 0)
		rc = watch_add(l, &l->timer_watch, l->timerfd, EPOLLIN,
			       on_timer);
	if (rc < 0)
		goto fail;
	return 0;
fail:
	loop_release(l);
	return rc;
}

void loop_release(struct loop *l)
{
	close_fd(&l->stopfd);
	close_fd(&l->timerfd);
	close_fd(&l->epfd);
	l->stopfd = l->timerfd = l->epfd = -1;
}

int watch_add(struct loop *l, struct watch *w, int fd, uint32_t events,
	      void (*fn)(struct watch *, uint32_t))
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	watch_remove(w);
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return fail_sys("epoll");
	*w = (struct watch){ .fn = fn, .fd = fd, .events = events,
			     .added = true, .loop = l };
	return 0;
}

int watch_change(struct watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	if (events == w->events)
		return 0;
	if (epoll_ctl(w->loop->epfd, EPOLL_CTL_MOD, w->fd, &ev) < 0)
		return fail_sys("epoll");
	w->events = events;
	return 0;
}

void watch_remove(struct watch *w)
{
	if (!w->added)
		return;
	epoll_ctl(w->loop->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	w->added = false;
	for (int i = 0; i < w->loop->nbatch; i++)
		if (w->loop->batch[i] == w)
			w->loop->batch[i] = NULL;
}

void timer_cancel(struct loop *l, struct timer *t)
{
	struct timer **p;

	if (!t->armed)
		return;
	for (p = &l->timers; *p != t; p = &(*p)->next)
		;
	*p = t->next;
	t->armed = false;
	timers_program(l);
}

void timer_set(struct loop *l, struct timer *t, uint64_t ns,
	       void (*fn)(struct timer *))
{
	struct timer **p;

	timer_cancel(l, t);
	t->fn = fn;
	t->when_ns = now_ns() + ns;
	for (p = &l->timers; *p && (*p)->when_ns <= t->when_ns; p = &(*p)->next)
		;
	t->next = *p;
	*p = t;
	t->armed = true;
	timers_program(l);
}

int loop_run(struct loop *l)
{
	struct epoll_event evs[LOOP_BATCH];
	struct watch *batch[LOOP_BATCH];
	int n;

	l->stopping = false;
	while (!l->stopping) {
		n = epoll_wait(l->epfd, evs, LOOP_BATCH, -1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_sys("epoll");
		for (int i = 0; i < n; i++)
			batch[i] = evs[i].data.ptr;
		l->batch = batch;
		l->nbatch = n;
		for (int i = 0; i < n && !l->stopping; i++)
			if (batch[i])
				batch[i]->fn(batch[i], evs[i].events);
		l->nbatch = 0;
	}
	return 0;
}

void loop_stop(struct loop *l)
{
	uint64_t one = 1;

	(void)!write(l->stopfd, &one, sizeof(one));
}

void loop_quit(struct loop *l)
{
	l->stopping = true;
}
