/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/run.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "ctl/ctl.h"
#include "engine/engine.h"
#include "engine/snap_point.h"
#include "machine/console.h"
#include "machine/terminal.h"

/*
 * Zeroed memory of this size is mapped, not cleared: tables and buffers made
 * for the worst case cost a start no time, and a VM only what it uses of them.
 */
enum { MAPPED_BYTES = 16 << 10 };

enum run_state { RUNNING, PAUSED, CRASHED, STOPPING };

static const char *const state_names[] = {
	[RUNNING] = "running", [PAUSED] = "paused", [CRASHED] = "crashed",
	[STOPPING] = "stopping",
};

/* Bits of run.pending: a guest's event, or the end. */
enum {
	PENDING_RESET = 1 << GUEST_RESET,
	PENDING_POWEROFF = 1 << GUEST_POWEROFF,
	PENDING_CRASH = 1 << GUEST_CRASH,
	PENDING_LOST = 1 << GUEST_LOST,
	PENDING_STALL = 1 << GUEST_STALL,
	PENDING_STOP = 1 << 5,
};

struct run {
	const struct run_args *args;
	struct loop loop;
	struct ctl_server ctl;
	struct console console;
	struct terminal terminal;	/* foreground only */
	struct guest guest;
	bool open;			/* the engine's open() was called */
	enum run_state state;
	char reason[ERR_MAX];	/* why it is paused, if not by request */
	bool soft_reset;	/* the next power-off starts it again */
	bool signalled;		/* a signal pressed the button; the next pulls */
	uint64_t boots;
	time_t since;
	int bell, signals;
	struct watch bell_watch, signal_watch;
	uint32_t pending;	/* atomic */
	int result;
};

static void ring(struct run *r, uint32_t bits)
{
	uint64_t one = 1;

	__atomic_fetch_or(&r->pending, bits, __ATOMIC_SEQ_CST);
	(void)!write(r->bell, &one, sizeof(one));
}

static void on_guest(struct guest *g, enum guest_event e)
{
	ring(container_of(g, struct run, guest), 1 << e);
}

static void set_state(struct run *r, enum run_state s)
{
	char line[32];

	if (r->state == s)
		return;
	r->state = s;
	snprintf(line, sizeof(line), "state=%s\n", state_names[s]);
	ctl_notify(&r->ctl, line);
}

/* Builds and starts the machine; the console's replay begins here. */
static int enter(struct run *r, bool paused)
{
	char line[32];
	int rc;

	console_new_boot(&r->console);
	rc = r->guest.engine->enter(&r->guest, paused);
	if (rc < 0)
		return rc;
	r->boots++;
	r->reason[0] = '\0';
	snprintf(line, sizeof(line), "boot=%" PRIu64 "\n", r->boots);
	ctl_notify(&r->ctl, line);
	set_state(r, paused ? PAUSED : RUNNING);
	return 0;
}

/*
 * What the snapshot was is begun with only once: from here on the disks are
 * others than its memory knows.
 */
static int forget_restore(const struct vm *vm)
{
	struct config c = CONFIG_INIT;
	int rc = vm_config(vm, &c);

	if (rc == 0)
		rc = config_set(&c, "restore", NULL);
	if (rc == 0)
		rc = vm_set_config(vm, &c);
	config_release(&c);
	return rc;
}

/* The guest goes on where the snapshot of its config was taken. */
static int restore(struct run *r)
{
	const char *name = r->args->conf->restore;
	autoclose int dir = snap_point_open(name);
	char why[ERR_MAX];
	int rc = dir;

	console_new_boot(&r->console);
	if (rc >= 0)
		rc = snap_point_is_of(dir, r->guest.engine->name);
	if (rc == 0)
		rc = r->guest.engine->restore(&r->guest, dir);
	if (rc == 0)
		rc = forget_restore(r->args->vm);
	if (rc == 0 && !r->args->paused)
		rc = r->guest.engine->resume(&r->guest);
	if (rc < 0) {
		snprintf(why, sizeof(why), "%s", err_text());
		return fail(-rc, "go on from the snapshot %s: %s; or vm-set %s "
			    "restore=, to boot from its disks", name, why,
			    r->args->vm->name);
	}
	r->boots++;
	r->state = r->args->paused ? PAUSED : RUNNING;
	return 0;
}

static int begin(struct run *r)
{
	return r->args->conf->restore[0] ? restore(r) :
					enter(r, r->args->paused);
}

static void reset(struct run *r)
{
	bool paused = r->state == PAUSED;
	int rc;

	r->soft_reset = r->signalled = false;
	r->guest.engine->leave(&r->guest);
	/* the new devices may complain as much as the old ones did */
	if (!r->args->foreground && log_open(r->args->vm->dir) < 0)
		log_line("%s", err_text());
	/* what the old machine still rang for is not the new one's */
	__atomic_fetch_and(&r->pending, PENDING_STOP, __ATOMIC_SEQ_CST);
	rc = enter(r, paused);
	if (rc < 0) {
		r->result = fail_in(rc, "reset");
		loop_quit(&r->loop);
	}
}

static void crash(struct run *r)
{
	log_line("%s", r->guest.engine->why(&r->guest));
	set_state(r, CRASHED);
	if (!r->args->foreground)
		return;
	r->result = fail(EIO, "%s", r->guest.engine->why(&r->guest));
	loop_quit(&r->loop);
}

/* It stands until someone makes room and resumes it, with nothing lost. */
static void stall(struct run *r)
{
	const char *why = r->guest.engine->why(&r->guest);

	if (r->state == CRASHED || !*why)
		return;
	if (r->guest.engine->pause(&r->guest) < 0)
		log_line("%s", err_text());
	if (strcmp(r->reason, why))
		log_line("paused: %s (vm-resume goes on)", why);
	snprintf(r->reason, sizeof(r->reason), "%s", why);
	set_state(r, PAUSED);
}

/* There is no guest left to go on with, nor to look at. */
static void lost(struct run *r)
{
	r->result = fail(EIO, "%s", r->guest.engine->why(&r->guest));
	loop_quit(&r->loop);
}

static void on_bell(struct watch *w, uint32_t events)
{
	struct run *r = container_of(w, struct run, bell_watch);
	uint32_t bits;
	uint64_t n;

	(void)events;
	(void)!read(w->fd, &n, sizeof(n));
	bits = __atomic_exchange_n(&r->pending, 0, __ATOMIC_SEQ_CST);
	if (bits & PENDING_STOP ||
	    (bits & PENDING_POWEROFF && !r->soft_reset))
		loop_quit(&r->loop);
	else if (bits & PENDING_LOST)
		lost(r);
	else if (bits & (PENDING_RESET | PENDING_POWEROFF))
		reset(r);
	else if (bits & PENDING_CRASH)
		crash(r);
	else if (bits & PENDING_STALL)
		stall(r);
}

/* The button: what comes of it, unless said otherwise, is the end. */
static int press(struct run *r)
{
	int rc = r->guest.engine->press(&r->guest);

	if (rc < 0)
		return rc;
	r->soft_reset = false;
	set_state(r, STOPPING);
	return 0;
}

static void on_signal(struct watch *w, uint32_t events)
{
	struct run *r = container_of(w, struct run, signal_watch);
	struct signalfd_siginfo si;

	(void)events;
	if (read(w->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (r->signalled || r->state == PAUSED || r->state == CRASHED ||
	    !r->guest.engine->listens(&r->guest) || press(r) < 0) {
		ring(r, PENDING_STOP);
		return;
	}
	r->signalled = true;
}

/* -- requests (vm-ctl.7) -- */

static int verb_status(void *ctx, int argc, char **argv, struct buf *answer,
		       int *fd)
{
	struct run *r = ctx;
	const struct engine *e = r->guest.engine;

	(void)argc, (void)argv, (void)fd;
	buf_printf(answer, "state=%s\nengine=%s\npid=%d\nsince=%lld\nboots=%" PRIu64
		   "\ncpus=%u\nmemory=%" PRIu64 "\nlistens=%d\n",
		   state_names[r->state], e->name, getpid(), (long long)r->since,
		   r->boots, r->args->conf->cpus, r->args->conf->memory,
		   e->listens(&r->guest));
	e->status(&r->guest, answer);
	if (r->state == CRASHED || r->reason[0])
		buf_printf(answer, "reason=%s\n", r->state == CRASHED ?
			   e->why(&r->guest) : r->reason);
	return 0;
}

static int verb_button(void *ctx, int argc, char **argv, struct buf *answer,
		       int *fd)
{
	struct run *r = ctx;

	(void)argc, (void)argv, (void)answer, (void)fd;
	if (r->state == PAUSED || r->state == CRASHED)
		return fail(E_BUSY, "is %s", state_names[r->state]);
	return press(r);
}

static int verb_stop(void *ctx, int argc, char **argv, struct buf *answer,
		     int *fd)
{
	(void)answer, (void)fd;
	if (argc != 1 || strcmp(argv[0], "now"))
		return fail(E_USAGE, "stop: 'now' is the only way");
	ring(ctx, PENDING_STOP);
	return 0;
}

static int verb_reset(void *ctx, int argc, char **argv, struct buf *answer,
		      int *fd)
{
	struct run *r = ctx;

	if (argc == 1 && !strcmp(argv[0], "hard")) {
		ring(r, PENDING_RESET);
		return 0;
	}
	if (argc != 1 || strcmp(argv[0], "soft"))
		return fail(E_USAGE, "reset: 'hard' or 'soft'");
	int rc = verb_button(ctx, 0, NULL, answer, fd);

	r->soft_reset = rc == 0;
	return rc;
}

static int verb_pause(void *ctx, int argc, char **argv, struct buf *answer,
		      int *fd)
{
	struct run *r = ctx;
	int rc;

	(void)argc, (void)argv, (void)answer, (void)fd;
	if (r->state == CRASHED)
		return fail(E_BUSY, "is crashed");
	rc = r->guest.engine->pause(&r->guest);
	if (rc == 0)
		set_state(r, PAUSED);
	return rc;
}

static int verb_resume(void *ctx, int argc, char **argv, struct buf *answer,
		       int *fd)
{
	struct run *r = ctx;
	int rc;

	(void)argc, (void)argv, (void)answer, (void)fd;
	if (r->state == CRASHED)
		return fail(E_BUSY, "is crashed (vm-reset starts it again)");
	rc = r->guest.engine->resume(&r->guest);
	if (rc < 0)
		return rc;
	r->reason[0] = '\0';
	if (r->state == PAUSED)
		set_state(r, RUNNING);
	return 0;
}

static int read_disk(const char *word, uint64_t *i)
{
	int rc = parse_u64("disk", word, i);

	if (rc == 0 && *i >= VMCONF_DISKS)
		rc = fail(E_USAGE, "disk %s: 0 to %d", word, VMCONF_DISKS - 1);
	return rc;
}

static int verb_resize(void *ctx, int argc, char **argv, struct buf *answer,
		       int *fd)
{
	struct run *r = ctx;
	uint64_t i, size;
	int rc;

	(void)answer, (void)fd;
	if (argc != 2)
		return fail(E_USAGE, "resize: DISK BYTES");
	rc = read_disk(argv[0], &i);
	if (rc == 0)
		rc = parse_u64("size", argv[1], &size);
	return rc < 0 ? rc : r->guest.engine->resize_disk(&r->guest, i, size);
}

/* OPTIONS of a disk, of those that a running VM heeds, into D. */
static int read_limits(const char *options, struct disk_conf *d)
{
	struct disk_conf none = { 0 };
	autobuf struct buf value = BUF_INIT;
	int rc;

	buf_printf(&value, "-%s%s", options ? "," : "", options ? options : "");
	if (value.failed)
		return fail(ENOMEM, "out of memory");
	rc = disk_conf_parse(d, "limit", value.data);
	none.path = d->path;
	if (rc == 0 && !disk_conf_same(d, &none))
		rc = fail(E_USAGE, "limit: iops= and bps= only");
	free(take_ptr(d->path));
	return rc;
}

static int verb_limit(void *ctx, int argc, char **argv, struct buf *answer,
		      int *fd)
{
	struct disk_conf d = { 0 };
	struct run *r = ctx;
	uint64_t i;
	int rc;

	(void)answer, (void)fd;
	if (!argc)
		return fail(E_USAGE, "limit: DISK OPTIONS");
	rc = read_disk(argv[0], &i);
	if (rc == 0)
		rc = read_limits(argv[1], &d);
	return rc < 0 ? rc : r->guest.engine->limit_disk(&r->guest, i, &d);
}

/* The guest runs again, if it did before what a request paused it for. */
static void let_go(struct run *r)
{
	if ((r->state == RUNNING || r->state == STOPPING) &&
	    r->guest.engine->resume(&r->guest) < 0)
		log_line("%s", err_text());
}

static int verb_snap(void *ctx, int argc, char **argv, struct buf *answer,
		     int *fd)
{
	struct run *r = ctx;
	struct snap_point p;
	uint64_t began;
	int rc;

	if (r->state == CRASHED)
		return fail(E_BUSY, "is crashed");
	rc = snap_point_read(&p, argc, argv, fd);
	if (rc < 0)
		return rc;
	began = now_ns();
	rc = r->guest.engine->pause(&r->guest);
	if (rc == 0)
		rc = r->guest.engine->snap(&r->guest, &p);
	snap_point_release(&p);
	let_go(r);
	buf_printf(answer, "pause=%" PRIu64 "\n", now_ns() - began);
	return rc;
}

static int verb_rest(void *ctx, int argc, char **argv, struct buf *answer,
		     int *fd)
{
	struct run *r = ctx;
	struct snap_rest rest;
	uint64_t disk;
	int rc = snap_rest_read(&rest, argc, argv);

	(void)answer, (void)fd;
	if (rc == 0)
		rc = read_disk(argv[0], &disk);
	if (rc < 0)
		return rc;
	rc = r->guest.engine->pause(&r->guest);
	if (rc == 0)
		rc = r->guest.engine->rest(&r->guest, disk, &rest);
	let_go(r);
	return rc;
}

static int verb_console(void *ctx, int argc, char **argv, struct buf *answer,
			int *fd)
{
	struct run *r = ctx;

	return console_verb(&r->console, argc, argv, answer, fd);
}

static const struct ctl_verb verbs[] = {
	{ "status", 0, verb_status },
	{ "button", 0, verb_button },
	{ "stop", 1, verb_stop },
	{ "reset", 1, verb_reset },
	{ "pause", 0, verb_pause },
	{ "resume", 0, verb_resume },
	{ "resize", 2, verb_resize },
	{ "limit", 2, verb_limit },
	{ "snap", 1 + VMCONF_DISKS, verb_snap },
	{ "rest", 3, verb_rest },
	{ "console", 1, verb_console },
	{ 0 }
};

/* -- what outlives a reset -- */

static int open_guest(struct run *r)
{
	r->open = true;
	return r->guest.engine->open(&r->guest);
}

static int open_ctl(struct run *r)
{
	autoclose int dir = vm_run_dir(r->args->vm, true);

	if (dir < 0)
		return dir;
	return ctl_listen(&r->ctl, &r->loop, dir, verbs, r);
}

/* SIGTERM and SIGINT come as bytes to the loop; before any thread is made. */
static int open_signals(struct run *r)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	r->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->signals < 0 || r->bell < 0)
		return fail_sys("event loop");
	int rc = watch_add(&r->loop, &r->signal_watch, r->signals, EPOLLIN,
			   on_signal);

	if (rc < 0)
		return rc;
	return watch_add(&r->loop, &r->bell_watch, r->bell, EPOLLIN, on_bell);
}

static void on_escape(void *arg)
{
	ring(arg, PENDING_STOP);
}

static int open_console(struct run *r)
{
	return console_init(&r->console, &r->loop, r->args->vm->dir,
			    r->args->conf->console_log);
}

static void close_all(struct run *r)
{
	if (r->open)
		r->guest.engine->leave(&r->guest);
	ctl_close(&r->ctl);
	console_release(&r->console);
	terminal_release(&r->terminal);
	if (r->open)
		r->guest.engine->close(&r->guest);
	close_fd(&r->bell);
	close_fd(&r->signals);
	loop_release(&r->loop);
}

/* In this order: what can fail for a reason a person can mend comes first. */
static int open_all(struct run *r)
{
	static int (*const steps[])(struct run *) = {
		open_guest, open_signals, open_console, open_ctl,
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(steps); i++)
		rc = steps[i](r);
	return rc;
}

int run_vm(const struct engine *e, const struct run_args *a)
{
	struct run *r;
	int rc;

	mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
	r = calloc(1, sizeof(*r));
	if (!r)
		return fail(ENOMEM, "out of memory");
	r->args = a;
	r->guest = (struct guest){
		.engine = e, .vm = a->vm, .conf = a->conf, .loop = &r->loop,
		.console = &r->console, .event = on_guest,
	};
	r->bell = r->signals = -1;
	r->ctl.fd = -1;
	r->since = time(NULL);
	rc = loop_init(&r->loop);
	if (rc < 0)
		goto out;
	rc = open_all(r);
	if (rc == 0)
		rc = begin(r);
	if (rc == 0 && a->foreground)
		rc = terminal_attach(&r->terminal, &r->console, on_escape, r);
	if (rc == 0) {
		if (a->ready)
			a->ready(a->ready_arg);
		rc = loop_run(&r->loop);
	}
	if (rc == 0)
		rc = r->result;
	close_all(r);
out:
	free(r);
	return rc < 0 ? fail_in(rc, "%s", a->vm->name) : 0;
}
