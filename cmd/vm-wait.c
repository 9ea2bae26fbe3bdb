/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-wait - waits until VMs meet a condition, driven by events: a VM that
 * does not run shows itself in the run directory (inotify), one that runs
 * tells its states over ctl and its words over its console, one that ends is
 * a pidfd. One loop waits for all of them, and for more names.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/err.h"
#include "cli/live.h"
#include "cli/match.h"
#include "cli/names.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/tally.h"

#define LOCK_NS 20000000ULL	/* between two looks at a lock without owner */

enum {
	CHUNK = 16384,
	INOTIFY_BYTES = 16384,
	SOCKET_EVENTS = IN_CREATE | IN_MOVED_TO,
	REMOVED_EVENTS = IN_MOVE_SELF | IN_DELETE_SELF,
};

static struct args {
	const char *cond;
	uint64_t limit;
	bool any;
} args = { .limit = UINT64_MAX };

static const struct opt opts[] = {
	OPT(0, "for", OPT_STR, "running|stopped|paused|login|console:REGEX",
	    struct args, cond, "what to wait for", COMPLETE_WORDS),
	OPT('t', "timeout", OPT_TIME, "SEC", struct args, limit,
	    "give up after so long (124)"),
	OPT(0, "any", OPT_FLAG, NULL, struct args, any,
	    "the first VM that meets it is enough"),
	{ 0 }
};

enum cond { FOR_RUNNING, FOR_STOPPED, FOR_PAUSED, FOR_LOGIN, FOR_CONSOLE };

struct wait {
	enum cond cond;
	regex_t regex;
	struct loop loop;
	struct store store;
	int inotify, run;	/* run directory's watch descriptor */
	struct watch inotify_watch, stdin_watch;
	struct timer limit;
	struct names names;
	bool more;		/* names may come */
	size_t open;		/* VMs waited for */
	struct waiter *first;
	struct tally tally;
};

/* One VM waited for. */
struct waiter {
	struct waiter *next;
	struct wait *wait;
	char name[NAME_LINE + 1];
	bool done;
	struct live live;
	struct live_status status;
	struct watch ctl, peer;
	int dir, record;	/* watch descriptors: run directory, VM's */
	struct timer retry;	/* looks at a lock nobody answers for */
	int console;		/* -1: not attached */
	struct watch heard;
	struct match match;
	bool ended;		/* only its last words are to come */
};

static void begin(struct waiter *w);

/* -- the end of a VM's wait -- */

static void disconnect(struct waiter *w)
{
	timer_cancel(&w->wait->loop, &w->retry);
	watch_remove(&w->ctl);
	watch_remove(&w->peer);
	watch_remove(&w->heard);
	close_fd(&w->console);
	close_fd(&w->live.conn);
	close_fd(&w->live.peer);
	w->console = w->live.conn = w->live.peer = -1;
}

static void finish(struct waiter *w)
{
	struct wait *all = w->wait;

	disconnect(w);
	vm_close(&w->live.vm);
	w->done = true;
	if (--all->open == 0 && !all->more)
		loop_stop(&all->loop);
}

static void met(struct waiter *w)
{
	struct wait *all = w->wait;

	if (!args.any || !all->tally.done_one)
		tally_done(&all->tally, w->name);
	if (args.any)
		loop_stop(&all->loop);
	finish(w);
}

/* With the sentence set. */
static void failed(struct waiter *w, int rc)
{
	say_failed(w->name);
	tally_failed(&w->wait->tally, err_exit(rc));
	finish(w);
}

static bool for_text(const struct waiter *w)
{
	return w->wait->cond >= FOR_LOGIN;
}

/* -- what the guest says -- */

static void stopped_early(struct waiter *w)
{
	failed(w, fail(E_STOPPED, "%s: stopped before it was ready", w->name));
}

/* Reads some: 1 matched, 0 not yet, -1 the console's end. */
static int hear(struct waiter *w)
{
	char data[CHUNK];
	ssize_t n = recv(w->console, data, sizeof(data), MSG_DONTWAIT);

	if (n > 0)
		return match_feed(&w->match, data, n);
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static void on_heard(struct watch *watch, uint32_t events)
{
	struct waiter *w = container_of(watch, struct waiter, heard);
	int rc = hear(w);

	(void)events;
	if (rc > 0)
		met(w);
	else if (rc < 0 && w->ended)
		stopped_early(w);
	else if (rc < 0)	/* ctl will say what this means */
		watch_remove(&w->heard);
}

/* Listens to this boot from its start. 0 or negative with a sentence. */
static int listen_console(struct waiter *w)
{
	struct wait *all = w->wait;
	int rc;

	watch_remove(&w->heard);
	close_fd(&w->console);
	match_init(&w->match, all->cond == FOR_CONSOLE ? &all->regex : NULL);
	rc = live_call(&w->live, "console", NULL, &w->console);
	if (rc < 0)
		return rc;
	return watch_add(&all->loop, &w->heard, w->console, EPOLLIN,
			 on_heard);
}

/* -- a VM that runs -- */

/* Its process ends: what that is for the condition. */
static void ended(struct waiter *w)
{
	watch_remove(&w->ctl);
	if (!for_text(w))
		begin(w);
	else if (w->heard.added)
		w->ended = true;
	else
		stopped_early(w);
}

/* Judges by the state, which is new. */
static void judge(struct waiter *w, bool new_boot)
{
	enum live_state s = w->status.state;
	enum cond cond = w->wait->cond;
	int rc = 0;

	if ((cond == FOR_RUNNING && s == LIVE_RUNNING) ||
	    (cond == FOR_PAUSED && s == LIVE_PAUSED))
		met(w);
	else if (s == LIVE_CRASHED)	/* it gets nowhere by itself */
		failed(w, fail(E_STOPPED, "%s: has crashed", w->name));
	else if (for_text(w) && (new_boot || w->console < 0))
		rc = listen_console(w);
	if (rc == -E_STOPPED)
		ended(w);
	else if (rc < 0)
		failed(w, rc);
}

static void on_ctl(struct watch *watch, uint32_t events)
{
	struct waiter *w = container_of(watch, struct waiter, ctl);
	uint64_t boots = w->status.boots;
	autobuf struct buf ev = BUF_INIT;
	int rc = ctl_event(w->live.conn, &ev, 0);

	(void)events;
	if (rc == 0) {
		live_parse(&w->status, ev.data);
		judge(w, w->status.boots != boots);
	} else if (rc == -E_STOPPED) {
		ended(w);
	} else if (rc != -E_TIMEOUT) {
		failed(w, rc);
	}
}

static int watch_running(struct waiter *w)
{
	int rc = live_call(&w->live, "watch", NULL, NULL);

	if (rc == 0)
		rc = live_status(&w->live, &w->status);
	if (rc == 0)
		rc = watch_add(&w->wait->loop, &w->ctl, w->live.conn, EPOLLIN,
			       on_ctl);
	if (rc == 0)
		judge(w, true);
	return rc;
}

/* -- a VM that is to stop -- */

/*
 * Its process is gone, its lock with it; if another process answers already,
 * the VM was stopped in between.
 */
static void on_peer(struct watch *watch, uint32_t events)
{
	struct waiter *w = container_of(watch, struct waiter, peer);
	bool gone = w->live.peer >= 0;

	(void)events;
	disconnect(w);
	if (gone && live_connect(&w->live) == 0)
		met(w);
	else
		begin(w);
}

/* Without a pidfd the connection's end is all there is. */
static int watch_stopping(struct waiter *w)
{
	int fd = w->live.peer >= 0 ? w->live.peer : w->live.conn;

	return watch_add(&w->wait->loop, &w->peer, fd, EPOLLIN, on_peer);
}

/* -- a VM that does not run -- */

/* Asks to be told of EVENTS in the directory DIR; its watch descriptor. */
static int watch_dir(struct waiter *w, int dir, uint32_t events)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir);
	return dir < 0 ? -1 : inotify_add_watch(w->wait->inotify, path,
						events | IN_ONLYDIR);
}

/* ... when the VM's socket appears. */
static void watch_run_dir(struct waiter *w)
{
	autoclose int dir = vm_run_dir(&w->live.vm, false);

	w->dir = watch_dir(w, dir, SOCKET_EVENTS);
}

static void on_retry(struct timer *t)
{
	begin(container_of(t, struct waiter, retry));
}

/* What is to be done while it does not run. */
static void wait_start(struct waiter *w)
{
	int rc;

	if (w->wait->cond != FOR_STOPPED)
		return;		/* inotify tells */
	rc = vm_locked(&w->live.vm);
	if (rc == 0)
		met(w);
	else if (rc < 0)
		failed(w, rc);
	else			/* starting, or changed by a command */
		timer_set(&w->wait->loop, &w->retry, LOCK_NS, on_retry);
}

/* Finds out whether it runs, and waits for what comes next. */
static void begin(struct waiter *w)
{
	int rc;

	disconnect(w);
	watch_run_dir(w);
	rc = live_connect(&w->live);
	if (rc == 0)
		rc = w->wait->cond == FOR_STOPPED ? watch_stopping(w) :
						    watch_running(w);
	if (rc == -E_STOPPED) {
		disconnect(w);
		wait_start(w);
	} else if (rc < 0) {
		failed(w, rc);
	}
}

/* The VM is no more. If it runs, its process ends too, and says the rest. */
static void removed(struct waiter *w)
{
	if (w->live.conn >= 0 && (for_text(w) || w->wait->cond == FOR_STOPPED))
		return;
	if (w->wait->cond == FOR_STOPPED)
		met(w);
	else
		failed(w, fail(E_NOENT, "%s: was removed", w->name));
}

static void tell(struct waiter *w, const struct inotify_event *ev)
{
	bool lost = ev->mask & IN_Q_OVERFLOW;

	if (ev->wd == w->record && (ev->mask & REMOVED_EVENTS))
		removed(w);
	else if (w->live.conn >= 0)
		return;
	else if (lost || ev->wd == w->dir || (ev->wd == w->wait->run &&
					      !strcmp(ev->name, w->name)))
		begin(w);
}

static void on_inotify(struct watch *watch, uint32_t events)
{
	struct wait *all = container_of(watch, struct wait, inotify_watch);
	char data[INOTIFY_BYTES]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(all->inotify, data, sizeof(data));

	(void)events;
	for (ssize_t i = 0; i < n;) {
		struct inotify_event *ev = (void *)(data + i);

		for (struct waiter *w = all->first; w; w = w->next)
			if (!w->done)
				tell(w, ev);
		i += sizeof(*ev) + ev->len;
	}
}

/* -- names -- */

static int add(struct wait *all, const char *name)
{
	struct waiter *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return fail(ENOMEM, "out of memory");
	snprintf(w->name, sizeof(w->name), "%s", name);
	w->wait = all;
	w->next = all->first;
	w->console = w->dir = w->record = -1;
	w->live.conn = w->live.peer = -1;
	all->first = w;
	all->open++;
	rc = vm_open(&w->live.vm, &all->store, name);
	if (rc < 0) {
		failed(w, rc);
		return 0;
	}
	w->record = watch_dir(w, w->live.vm.dir, REMOVED_EVENTS);
	begin(w);
	return 0;
}

static void on_stdin(struct watch *watch, uint32_t events);

/* Takes the names that are there, then waits for more. */
static int take_names(struct wait *all)
{
	char *name;
	int rc;

	while ((rc = names_next(&all->names, &name)) > 0) {
		rc = add(all, name);
		if (rc < 0)
			return rc;
	}
	all->more = rc == -EAGAIN;
	if (!all->more) {
		watch_remove(&all->stdin_watch);
		if (all->open == 0)
			loop_stop(&all->loop);
		return 0;
	}
	if (all->stdin_watch.added)
		return 0;
	rc = watch_add(&all->loop, &all->stdin_watch, STDIN_FILENO, EPOLLIN,
		       on_stdin);
	if (rc != -EPERM)
		return rc;
	rc = names_fill(&all->names);	/* a plain file does not wait */
	return rc < 0 ? rc : take_names(all);
}

static void on_stdin(struct watch *watch, uint32_t events)
{
	struct wait *all = container_of(watch, struct wait, stdin_watch);
	int rc = names_fill(&all->names);

	(void)events;
	if (rc == 0)
		rc = take_names(all);
	if (rc < 0) {		/* no more names; those there are waited for */
		say("%s", err_text());
		tally_failed(&all->tally, err_exit(rc));
		watch_remove(&all->stdin_watch);
		all->more = false;
		if (all->open == 0)
			loop_stop(&all->loop);
	}
}

/* -- the command -- */

static int read_cond(struct wait *all, const char *cond)
{
	static const char *const words[] = {
		[FOR_RUNNING] = "running", [FOR_STOPPED] = "stopped",
		[FOR_PAUSED] = "paused", [FOR_LOGIN] = "login",
	};
	const char *regex;
	char why[128];
	int rc;

	if (!cond)
		return fail(E_USAGE, "--for says what to wait for: running, "
			    "stopped, paused, login or console:REGEX");
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(cond, words[i])) {
			all->cond = i;
			return 0;
		}
	if (!starts_with(cond, "console:", &regex))
		return fail(E_USAGE, "--for '%s': not running, stopped, "
			    "paused, login or console:REGEX", cond);
	all->cond = FOR_CONSOLE;
	rc = regcomp(&all->regex, regex, REG_EXTENDED | REG_NOSUB);
	if (rc == 0)
		return 0;
	regerror(rc, &all->regex, why, sizeof(why));
	return fail(E_USAGE, "--for '%s': %s", cond, why);
}

/* Several descriptors for each VM: as many as we may have. */
static void allow_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void on_limit(struct timer *t)
{
	struct wait *all = container_of(t, struct wait, limit);

	for (struct waiter *w = all->first; w; w = w->next)
		if (!w->done)
			failed(w, fail(E_TIMEOUT, "%s: timed out waiting for "
				       "%s", w->name, args.cond));
	if (all->more) {
		say("timed out waiting for names");
		tally_failed(&all->tally, EXIT_TIMEOUT);
	}
	loop_stop(&all->loop);
}

static int watch_runs(struct wait *all)
{
	autoclose int run = store_run(&all->store, true);
	char path[32];

	if (run < 0)
		return run;
	all->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (all->inotify < 0)
		return fail_sys("inotify");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", run);
	all->run = inotify_add_watch(all->inotify, path, SOCKET_EVENTS);
	if (all->run < 0)
		return fail_sys("run directory");
	return watch_add(&all->loop, &all->inotify_watch, all->inotify,
			 EPOLLIN, on_inotify);
}

static int wait_all(struct wait *all)
{
	int rc = all->store.vms < 0 ? 0 : watch_runs(all);

	if (rc < 0)
		return rc;
	if (args.limit != UINT64_MAX)
		timer_set(&all->loop, &all->limit, args.limit, on_limit);
	all->more = true;
	rc = take_names(all);
	if (rc < 0)
		return rc;
	rc = loop_run(&all->loop);
	if (rc < 0)
		return rc;
	rc = tally_result(&all->tally);
	return rc > 0 && args.any && all->tally.done_one ? 0 : rc;
}

static void release(struct wait *all)
{
	struct waiter *w;

	while ((w = all->first)) {
		all->first = w->next;
		if (!w->done) {
			disconnect(w);
			vm_close(&w->live.vm);
		}
		free(w);
	}
	close_fd(&all->inotify);
	names_release(&all->names);
	loop_release(&all->loop);
	store_close(&all->store);
	if (all->cond == FOR_CONSOLE)
		regfree(&all->regex);
}

static int run(int argc, char **argv)
{
	struct wait all = { .inotify = -1 };
	int rc = read_cond(&all, args.cond);

	if (rc == 0)
		rc = names_init(&all.names, false, argc, argv);
	if (rc == 0)
		rc = store_open(&all.store, common.state, false);
	if (rc < 0)
		return rc;
	allow_descriptors();
	rc = loop_init(&all.loop);
	if (rc < 0)
		return rc;
	rc = wait_all(&all);
	release(&all);
	return rc;
}

const struct command command = {
	.name = "vm-wait",
	.operands = "[VM...]",
	.summary = "wait until virtual machines meet a condition",
	.details = "Prints the name of each VM as it meets the condition.\n"
		   "  running, paused   its state\n"
		   "  stopped           its process has ended, its lock is free\n"
		   "  login             it says a line that ends in \"login: \"\n"
		   "  console:REGEX     it says a line that matches; POSIX "
		   "extended, this boot",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
