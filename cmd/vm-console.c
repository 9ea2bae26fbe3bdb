/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-console - the serial console of a VM: on a terminal, as a plain stream,
 * or what was said so far.
 *
 * Output and input are two connections (console.h). On a terminal both are
 * there from the start. A plain stream asks for input only when the first
 * byte to send is there, so that a mere reader does not keep writers out; at
 * the end of its input it waits until the guest has taken it all, then asks
 * for what was said up to then, prints it, and ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

#include "base/err.h"
#include "base/file.h"
#include "cli/keys.h"
#include "cli/live.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/plain.h"

enum {
	INPUT = 4096,
	OUTPUT = 16384,
	MS = 1000000,
};

static struct args {
	bool log, live, read_only;
	uint64_t linger;
} args;

static const struct opt opts[] = {
	OPT(0, "log", OPT_FLAG, NULL, struct args, log,
	    "print what was said so far, and end"),
	OPT(0, "live", OPT_FLAG, NULL, struct args, live,
	    "print only what comes from now on"),
	OPT('r', "read-only", OPT_FLAG, NULL, struct args, read_only,
	    "send nothing, leave standard input alone"),
	OPT('t', "linger", OPT_TIME, "SEC", struct args, linger,
	    "go on so long after the guest has taken all input"),
	{ 0 }
};

/* -- the terminal -- */

/*
 * What a signal's handler must reach: the one terminal of this process, as it
 * was. Set before the handlers, which only read it.
 */
static struct termios saved;
static volatile sig_atomic_t raw_fd = -1;

static const int signals[] = {
	SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGABRT, SIGSEGV, SIGBUS,
	SIGFPE, SIGILL, SIGALRM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ,
};

static void set_raw(int fd)
{
	struct termios t = saved;

	cfmakeraw(&t);
	tcsetattr(fd, TCSANOW, &t);
}

/* Restores, then lets the signal do what it does without us. */
static void on_fatal(int sig)
{
	tcsetattr(raw_fd, TCSANOW, &saved);
	raise(sig);		/* SA_RESETHAND, and unblocked on return */
}

static void on_stop(int sig)
{
	int old = errno;

	(void)sig;
	tcsetattr(raw_fd, TCSANOW, &saved);
	raise(SIGSTOP);
	set_raw(raw_fd);
	errno = old;
}

/* Signals ignored from outside (nohup) stay so. */
static void handle(int sig, void (*fn)(int), int flags)
{
	struct sigaction old, sa = { .sa_handler = fn, .sa_flags = flags };

	sigaction(sig, NULL, &old);
	if (old.sa_handler == SIG_DFL)
		sigaction(sig, &sa, NULL);
}

/* Puts the terminal FD into raw mode until tty_restore(). */
static int tty_raw(int fd)
{
	if (tcgetattr(fd, &saved) < 0)
		return fail_sys("terminal");
	raw_fd = fd;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		handle(signals[i], on_fatal, SA_RESETHAND);
	handle(SIGTSTP, on_stop, SA_RESTART);
	set_raw(fd);
	return 0;
}

/* Idempotent. */
static void tty_restore(void)
{
	int fd = raw_fd;

	if (fd < 0)
		return;
	tcsetattr(fd, TCSADRAIN, &saved);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction sa;

		sigaction(signals[i], NULL, &sa);
		if (sa.sa_handler == on_fatal)
			signal(signals[i], SIG_DFL);
	}
	signal(SIGTSTP, SIG_DFL);
	raw_fd = -1;
}


/* -- --log -- */

/* The log NAME in *FD, -1 when there is none. */
static int open_log(const struct vm *vm, const char *name, int *fd)
{
	*fd = openat(vm->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW |
		     O_NONBLOCK);
	return *fd < 0 && errno != ENOENT ?
	       fail_sys("%s: %s", vm->name, name) : 0;
}

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 &&
	       sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/*
 * Prints N bytes. Who attached a terminal gave it to the guest; a log is only
 * shown on it, as text. A pipe or a file gets every byte.
 */
static int print(char *data, size_t n)
{
	static struct plain plain;

	if (args.log && isatty(STDOUT_FILENO))
		n = plain_filter(&plain, data, n);
	return out_write(data, n);
}

static int copy_log(int fd)
{
	char data[OUTPUT];
	ssize_t n;
	int rc = 0;

	while (rc == 0 && fd >= 0 && (n = read(fd, data, sizeof(data)))) {
		if (n < 0 && errno != EINTR)
			return fail_sys("console.log");
		if (n > 0)
			rc = print(data, n);
	}
	return rc;
}

/*
 * The older part, then the current one. The current file becomes the older
 * one at any time: opened first, it is still the same.
 */
static int print_log(const struct vm *vm)
{
	autoclose int cur = -1, old = -1, again = -1;
	int rc = open_log(vm, "console.log", &cur);

	if (rc == 0)
		rc = open_log(vm, "console.log.1", &old);
	if (rc == 0 && same_file(cur, old))
		rc = open_log(vm, "console.log", &again);
	if (rc == 0)
		rc = copy_log(old);
	if (rc < 0)
		return rc;
	return same_file(cur, old) ? copy_log(again) : copy_log(cur);
}

/* -- a session -- */

enum { AT_OUT, AT_STDOUT, AT_IN, AT_STDIN, POLLS };

struct session {
	struct live live;
	bool tty;
	struct keys keys;
	int out, in;		/* connections; -1: none */
	bool reading;		/* standard input */
	bool sent;		/* all of it: half-closed */
	uint64_t total;		/* bytes sent */
	bool lost;		/* the VM ended before it had all of it */
	bool leaving;		/* the end was asked for */
	bool ended;		/* the output has */
	uint64_t linger;	/* until when; 0: not yet */
	char data[2 * INPUT];	/* from standard input, to be sent */
	size_t off, len;
};

/* A connection by REQUEST; negative with a sentence. */
static int attach(struct session *s, const char *request)
{
	int fd, rc = live_call(&s->live, request, NULL, &fd);

	if (rc < 0)
		return rc;
	if (fd < 0)
		return fail(EPROTO, "%s: no console came", s->live.vm.name);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void notice(struct session *s, const char *text)
{
	tty_restore();
	say("%s: %s", s->live.vm.name, text);
	if (s->tty)
		tty_raw(STDIN_FILENO);
}

static void close_in(struct session *s)
{
	close_fd(&s->in);
	s->in = -1;
	s->len = 0;
}

/* Asks for the end of the output, which comes behind what was said. */
static void leave(struct session *s)
{
	s->leaving = true;
	shutdown(s->out, SHUT_WR);
}

/* The console has closed it, saying how many bytes the guest took. */
static void input_ended(struct session *s)
{
	char text[24];
	ssize_t n = recv(s->in, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	if (n > 0 && !s->len && strtoull(text, NULL, 10) == s->total)
		s->linger = s->sent ? now_ns() + args.linger : 0;
	else
		s->lost = true;
	close_in(s);
	s->reading = false;
}

/* Half-closes the input once all of it was sent. */
static void finish_input(struct session *s)
{
	if (s->in < 0 || s->len || s->reading || s->sent)
		return;
	s->sent = true;
	shutdown(s->in, SHUT_WR);
}

static void send_input(struct session *s)
{
	ssize_t n = send(s->in, s->data + s->off, s->len, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		s->lost = true;
		close_in(s);
		s->reading = false;
		return;
	}
	n = n > 0 ? n : 0;
	s->off += n;
	s->len -= n;
	s->total += n;
	finish_input(s);
}

/* The end of standard input: 1 when the session is over with it. */
static int stdin_ended(struct session *s)
{
	s->reading = false;
	finish_input(s);
	return s->tty;
}

/* Keeps from the keys what is for the guest: 1 to leave. */
static int take_keys(struct session *s, const char *keys, size_t n)
{
	enum keys_order order = keys_filter(&s->keys, keys, n, s->data,
					    &s->len);

	if (s->in < 0)
		s->len = 0;
	if (order == KEYS_HELP)
		notice(s, "~. leaves, ~~ sends a tilde, ~? says this");
	return order == KEYS_LEAVE;
}

/* 0, 1 when the session is over, negative with a sentence. */
static int read_stdin(struct session *s)
{
	char keys[INPUT];
	ssize_t n = read(STDIN_FILENO, s->tty ? keys : s->data, INPUT);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0 && !s->tty && errno != EBADF)
		return fail_sys("standard input");
	s->off = 0;
	if (n <= 0)
		return stdin_ended(s);
	if (s->tty)
		return take_keys(s, keys, n);
	s->len = n;
	if (s->in < 0)
		s->in = attach(s, "console write");
	return s->in < 0 ? s->in : 0;
}

/* 0, 1 at its end, negative with a sentence. */
static int read_output(struct session *s)
{
	char data[OUTPUT];
	ssize_t n = recv(s->out, data, sizeof(data), 0);
	int rc;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	s->ended = n <= 0;
	if (s->ended)
		return 1;
	rc = print(data, n);
	return rc == -EPIPE ? 1 : rc;
}

static int poll_timeout(const struct session *s)
{
	uint64_t now = now_ns();

	if (!s->linger || s->leaving)
		return -1;
	return s->linger > now ? (s->linger - now) / MS + 1 : 0;
}

static void wait_session(struct session *s, struct pollfd p[POLLS])
{
	p[AT_OUT] = (struct pollfd){ s->out, POLLIN, 0 };
	/* its reader's going away is an event, writing is not */
	p[AT_STDOUT] = (struct pollfd){ STDOUT_FILENO, 0, 0 };
	p[AT_IN] = (struct pollfd){ s->in, s->len ? POLLIN | POLLOUT :
				      POLLIN, 0 };
	p[AT_STDIN] = (struct pollfd){
		s->reading && !s->len ? STDIN_FILENO : -1, POLLIN, 0 };
	if (poll(p, POLLS, poll_timeout(s)) < 0)
		for (int i = 0; i < POLLS; i++)
			p[i].revents = 0;
}

/* One round: 0, 1 when the session is over, negative with a sentence. */
static int step(struct session *s)
{
	struct pollfd p[POLLS];
	int rc = 0;

	wait_session(s, p);
	if (p[AT_STDOUT].revents & (POLLERR | POLLHUP | POLLNVAL))
		return 1;
	if (p[AT_OUT].revents)
		rc = read_output(s);
	if (rc == 0 && s->in >= 0 && p[AT_IN].revents & (POLLIN | POLLHUP))
		input_ended(s);
	else if (rc == 0 && s->in >= 0 && p[AT_IN].revents)
		send_input(s);
	if (rc == 0 && p[AT_STDIN].revents)
		rc = read_stdin(s);
	if (rc == 0 && s->linger && !s->leaving && now_ns() >= s->linger)
		leave(s);
	return rc;
}

/* What the end of the session is to whoever asked. */
static int conclude(struct session *s)
{
	if (s->ended && s->in >= 0)
		input_ended(s);
	if (s->tty)
		say("%s: %s", s->live.vm.name,
		    s->ended ? "stopped" : "disconnected");
	else if (s->lost)
		return fail(E_STOPPED, "%s: stopped before it took all input",
			    s->live.vm.name);
	return 0;
}

static int open_session(struct session *s)
{
	s->tty = !args.read_only && isatty(STDIN_FILENO) &&
		 isatty(STDOUT_FILENO);
	/* a stream from a terminal would be stopped in the background */
	s->reading = s->tty || (!args.read_only && !isatty(STDIN_FILENO));
	s->out = attach(s, args.live ? "console live" : "console");
	if (s->out < 0)
		return s->out;
	if (!s->tty)
		return 0;
	s->in = attach(s, "console write");
	if (s->in < 0)
		say("%s (read only)", err_text());
	say("%s: connected, ~. leaves", s->live.vm.name);
	return tty_raw(STDIN_FILENO);
}

static int run_session(struct store *st, const char *name)
{
	struct session s = { .out = -1, .in = -1 };
	int rc = live_open(&s.live, st, name);

	if (rc == 0)
		rc = open_session(&s);
	while (rc == 0)
		rc = step(&s);
	tty_restore();
	if (rc > 0)
		rc = conclude(&s);
	close_fd(&s.out);
	close_fd(&s.in);
	live_close(&s.live);
	return rc;
}

/* This boot, from the VM itself: a reader that wants its end at once. */
static int print_boot(struct session *s)
{
	struct pollfd p = { .fd = s->out, .events = POLLIN };
	int rc = 0;

	leave(s);
	while (rc == 0) {
		poll(&p, 1, -1);
		rc = read_output(s);
	}
	return rc < 0 ? rc : 0;
}

/* Of a VM that does not run, or does not answer, the files tell. */
static int run_log(struct store *st, const char *name)
{
	struct session s = { .out = -1, .in = -1 };
	int rc = live_open(&s.live, st, name);

	if (rc == 0)
		s.out = attach(&s, "console");
	if (s.out >= 0)
		rc = print_boot(&s);
	else if (s.live.vm.dir >= 0)
		rc = print_log(&s.live.vm);
	close_fd(&s.out);
	live_close(&s.live);
	return rc == -EPIPE ? 0 : rc;
}

static int run(int argc, char **argv)
{
	struct store st;
	int rc;

	if (argc != 1)
		return fail(E_USAGE, "the name of one VM is needed");
	/* A reader that has seen enough is no failure. */
	signal(SIGPIPE, SIG_IGN);
	rc = store_open(&st, common.state, false);
	if (rc < 0)
		return rc;
	rc = args.log ? run_log(&st, argv[0]) : run_session(&st, argv[0]);
	store_close(&st);
	return rc;
}

const struct command command = {
	.name = "vm-console",
	.operands = "VM",
	.summary = "attach to the console of a virtual machine",
	.details = "Prints what was said since the boot began, then what "
		   "comes. On a terminal the keys\ngo to the guest; \"~.\" at "
		   "the start of a line leaves, \"~?\" helps. Otherwise "
		   "standard\ninput, if there is any, goes to the guest, and "
		   "the command ends when it was taken.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.run = run,
};
