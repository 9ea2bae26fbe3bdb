/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/live.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>

#include "base/err.h"

#define MS 1000000ULL
#define PRESS_NS (10000 * MS)		/* between two presses */
#define LISTEN_NS (250 * MS)		/* between two looks at `listens` */
#define LOCK_NS (5 * MS)		/* between two looks at the lock */

int live_connect(struct live *l)
{
	autoclose int dir = vm_run_dir(&l->vm, false);
	int rc;

	close_fd(&l->conn);
	close_fd(&l->peer);
	l->conn = l->peer = -1;
	rc = dir < 0 ? dir : ctl_connect(dir);
	if (rc == -ENOENT)
		rc = fail(E_STOPPED, "not running");
	if (rc < 0)
		return fail_in(rc, "%s", l->vm.name);
	l->conn = rc;
	l->peer = ctl_peer(l->conn);
	return 0;
}

int live_open(struct live *l, struct store *st, const char *name)
{
	int rc;

	*l = (struct live){ .conn = -1, .peer = -1 };
	rc = vm_open(&l->vm, st, name);
	if (rc < 0)
		return rc;
	rc = live_connect(l);
	if (rc < 0 && rc != -E_STOPPED)
		live_close(l);
	return rc;
}

void live_close(struct live *l)
{
	close_fd(&l->conn);
	close_fd(&l->peer);
	l->conn = l->peer = -1;
	vm_close(&l->vm);
}

int live_call(struct live *l, const char *request, struct buf *answer, int *fd)
{
	uint64_t now = now_ns(), left = l->until > now ? l->until - now : 0;
	int rc = ctl_call(l->conn, request, answer, fd,
			  max_u64(left, LIVE_ANSWER_NS));

	return rc < 0 ? fail_in(rc, "%s", l->vm.name) : 0;
}

int live_ask(struct store *st, const char *name, const char *request)
{
	struct live l;
	int rc = live_open(&l, st, name);

	if (rc == 0)
		rc = live_call(&l, request, NULL, NULL);
	live_close(&l);
	return rc;
}

void live_parse(struct live_status *s, const char *lines)
{
	static const char *const names[] = {
		[LIVE_RUNNING] = "running", [LIVE_PAUSED] = "paused",
		[LIVE_CRASHED] = "crashed", [LIVE_STOPPING] = "stopping",
	};
	char v[24];

	if (ctl_value(lines, "state", v, sizeof(v))) {
		s->state = ARRAY_SIZE(names) - 1;
		while (s->state != LIVE_OTHER && strcmp(names[s->state], v))
			s->state--;
	}
	if (ctl_value(lines, "listens", v, sizeof(v)))
		s->listens = !strcmp(v, "1");
	if (ctl_value(lines, "boots", v, sizeof(v)) ||
	    ctl_value(lines, "boot", v, sizeof(v)))
		s->boots = strtoull(v, NULL, 10);
}

int live_status(struct live *l, struct live_status *s)
{
	autobuf struct buf answer = BUF_INIT;
	int rc = live_call(l, "status", &answer, NULL);

	*s = (struct live_status){ 0 };
	if (rc == 0)
		live_parse(s, answer.data);
	return rc;
}

static void on_signal(int sig)
{
	(void)sig;
}

static const int ends[] = { SIGINT, SIGTERM, SIGHUP };

void live_interruptible(bool on)
{
	const struct sigaction to = { .sa_handler = on ? on_signal : SIG_DFL };
	struct sigaction is;

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (sigaction(ends[i], NULL, &is) == 0 &&
		    is.sa_handler != SIG_IGN)
			sigaction(ends[i], &to, NULL);
}

/* Reads from FD as soon as there is something, unless a signal of MASK came. */
static ssize_t read_unless(int fd, void *buf, size_t len, const sigset_t *mask)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (ppoll(&p, 1, NULL, mask) < 0)
		return -1;
	return read(fd, buf, len);
}

/* The word of who writes the memory, "ok" or "fail CODE SENTENCE". */
static int await_writer(const struct live *l, int fd, const sigset_t *mask)
{
	char text[ERR_MAX + 32] = "", *end;
	const char *rest;
	size_t len = 0;
	ssize_t n;
	long code;

	while ((n = read_unless(fd, text + len, sizeof(text) - 1 - len,
				mask)) > 0)
		len += n;
	if (n < 0)
		return fail(errno, "%s: %s", l->vm.name,
			    errno == EINTR ? "interrupted" : strerror(errno));
	text[len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (!strcmp(text, "ok"))
		return 0;
	if (!starts_with(text, "fail ", &rest))
		return fail(EIO, "%s: its memory was not written whole",
			    l->vm.name);
	code = strtol(rest, &end, 10);
	err_adopt(-1, *end ? end + 1 : end);
	return fail_in(code > 1 && code < 128 ? -(E_BASE + code) : -EIO,
		       "%s", l->vm.name);
}

/* With the signals that end a process held back but for MASK's waits. */
static int ask_snap(struct live *l, const char *request, uint64_t *pause,
		    const sigset_t *mask)
{
	autobuf struct buf answer = BUF_INIT;
	autoclose int fd = -1;
	char value[24] = "0";
	int rc;

	l->until = now_ns() + LIVE_BUILD_NS;	/* its disks may be slow */
	rc = live_call(l, request, &answer, &fd);
	if (rc < 0)
		return rc;
	ctl_value(answer.data, "pause", value, sizeof(value));
	*pause = strtoull(value, NULL, 10);
	return fd < 0 ? 0 : await_writer(l, fd, mask);
}

int live_snap(struct live *l, const char *request, uint64_t *pause)
{
	sigset_t held, mask;
	int rc;

	live_interruptible(true);
	sigemptyset(&held);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		sigaddset(&held, ends[i]);
	sigprocmask(SIG_BLOCK, &held, &mask);
	rc = ask_snap(l, request, pause, &mask);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return rc;
}

static int check_able(const struct live *l, const struct live_status *s)
{
	if (s->state == LIVE_PAUSED)
		return fail(EBUSY, "%s: is paused (vm-resume it first)",
			    l->vm.name);
	if (s->state == LIVE_CRASHED)
		return fail(EIO, "%s: has crashed", l->vm.name);
	return 0;
}

/* Waits for the VM to say something, at most until WHEN. */
static int wait_event(struct live *l, uint64_t when)
{
	autobuf struct buf ev = BUF_INIT;
	uint64_t now = now_ns();
	int rc = ctl_event(l->conn, &ev, when > now ? when - now : 0);

	return rc == -E_TIMEOUT ? 0 : rc;
}

static int timed_out(const struct live *l, bool pressed)
{
	if (pressed)
		return fail(E_TIMEOUT, "%s: still running after its power "
			    "button was pressed", l->vm.name);
	return fail(E_TIMEOUT, "%s: the guest does not listen to its power "
		    "button", l->vm.name);
}

/* As live_press(), -E_STOPPED when the VM ended. */
static int press(struct live *l, const char *request, uint64_t deadline)
{
	bool reset = starts_with(request, "reset", NULL);
	uint64_t first = UINT64_MAX, next = 0, now;
	struct live_status s;
	int rc;

	l->until = deadline;
	rc = live_call(l, "watch", NULL, NULL);
	for (; rc == 0; rc = wait_event(l, min_u64(deadline, s.listens ?
						   next : now + LISTEN_NS))) {
		rc = live_status(l, &s);
		if (rc < 0)
			return rc;
		if (first == UINT64_MAX)
			first = s.boots;
		if (reset && s.boots != first)
			return 1;
		rc = check_able(l, &s);
		now = now_ns();
		if (rc == 0 && s.listens && now >= next) {
			rc = live_call(l, request, NULL, NULL);
			next = now + PRESS_NS;
			/* an event that came before the answer is lost */
			if (rc == 0)
				rc = live_status(l, &s);
			if (rc == 0 && reset && s.boots != first)
				return 1;
		}
		if (rc == 0 && now >= deadline)
			rc = timed_out(l, next);
		if (rc < 0)
			return rc;
	}
	return rc;
}

int live_press(struct live *l, const char *request, uint64_t deadline)
{
	int rc = press(l, request, deadline);

	return rc == -E_STOPPED ? live_wait_end(l) : rc;
}

int live_pull(struct live *l)
{
	int rc = live_call(l, "stop now", NULL, NULL);

	if (rc < 0 && rc != -E_STOPPED && l->peer >= 0 &&
	    pidfd_send_signal(l->peer, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return fail_sys("%s: kill its process", l->vm.name);
	return live_wait_end(l);
}

/* Whether another process runs the VM now. */
static bool runs_again(const struct live *l)
{
	autoclose int dir = vm_run_dir(&l->vm, false);
	autoclose int conn = dir < 0 ? -1 : ctl_connect(dir);

	return conn >= 0;
}

int live_wait_end(struct live *l)
{
	struct pollfd p = { .fd = l->peer, .events = POLLIN };
	uint64_t deadline = now_ns() + LIVE_END_NS;
	int rc;

	if (p.fd >= 0)
		poll(&p, 1, LIVE_END_NS / MS);
	/* Its lock went with it; what is left is short, or not its. */
	while ((rc = vm_locked(&l->vm)) > 0) {
		if (p.revents && runs_again(l))
			return 0;
		if (now_ns() > deadline)
			return fail(E_TIMEOUT, "%s: its process does not end",
				    l->vm.name);
		nanosleep(&(struct timespec){ .tv_nsec = LOCK_NS }, NULL);
	}
	return rc;
}
