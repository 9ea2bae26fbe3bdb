/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * puppet - a VM whose guest follows a script: everything a command can talk
 * to, without KVM. The console, the socket and the lock are the real ones.
 *
 * usage: puppet NAME STEP...
 *
 *	say=TEXT	the guest says it; \n \r \e stand for what they do in C
 *	lines=N		... lines "line 1" to "line N"
 *	wait=MS		nothing happens so long
 *	listen		the guest listens to the power button from now on
 *	ignore		... and does nothing about it
 *	deaf		its serial port takes no input; "hear" again
 *	crash, off, reset
 *
 * The steps run at every boot. Between them the guest echoes what is typed;
 * the line "id" is answered, "off" and "reset" do so. Prints its pid when it
 * answers; the VM is then a process of its own, which ends after a minute.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "ctl/ctl.h"
#include "machine/console.h"
#include "state/vm.h"

enum { LIFE_S = 60, LOG_BYTES = 1 << 20, MS = 1000000 };

static struct puppet {
	struct vm vm;
	struct loop loop;
	struct ctl_server ctl;
	struct console console;
	struct chr_front front;
	struct timer timer, end;
	const char *state;
	char **step, **next;
	bool listens, ignores, deaf, soft;
	unsigned boots;
	char line[64];
	size_t len;
	int ready;		/* pipe to the starting process */
} p;

static void set_state(const char *state)
{
	char ev[32];

	p.state = state;
	snprintf(ev, sizeof(ev), "state=%s\n", state);
	ctl_notify(&p.ctl, ev);
}

static void say(const char *text)
{
	chr_write(&p.console.chr, text, strlen(text));
}

/* -- the guest -- */

static void next_step(struct timer *t);

static void boot(void)
{
	char ev[32];

	p.next = p.step;
	p.listens = p.ignores = p.deaf = p.soft = false;
	console_new_boot(&p.console);
	snprintf(ev, sizeof(ev), "boot=%u\n", ++p.boots);
	ctl_notify(&p.ctl, ev);
	set_state("running");
	timer_set(&p.loop, &p.timer, 0, next_step);
}

static void power_off(struct timer *t)
{
	(void)t;
	if (p.soft)
		boot();
	else
		loop_stop(&p.loop);
}

static void say_escaped(const char *s)
{
	for (; *s; s++) {
		char c = *s;

		if (c == '\\' && s[1]) {
			c = *++s;
			c = c == 'n' ? '\n' : c == 'r' ? '\r' :
			    c == 'e' ? '\033' : c;
		}
		chr_write(&p.console.chr, &c, 1);
	}
}

static void say_lines(unsigned long n)
{
	char line[32];

	for (unsigned long i = 1; i <= n; i++) {
		snprintf(line, sizeof(line), "line %lu\r\n", i);
		say(line);
	}
}

/* One step; false when the next one waits. */
static bool take_step(const char *s)
{
	const char *v;

	if (starts_with(s, "say=", &v))
		say_escaped(v);
	else if (starts_with(s, "lines=", &v))
		say_lines(strtoul(v, NULL, 10));
	else if (starts_with(s, "wait=", &v))
		timer_set(&p.loop, &p.timer, strtoull(v, NULL, 10) * MS,
			  next_step);
	else if (!strcmp(s, "listen"))
		p.listens = true;
	else if (!strcmp(s, "ignore"))
		p.ignores = true;
	else if (!strcmp(s, "deaf"))
		p.deaf = true;
	else if (!strcmp(s, "hear"))
		p.deaf = false, chr_ready(&p.console.chr);
	else if (!strcmp(s, "crash"))
		set_state("crashed");
	else if (!strcmp(s, "off"))
		power_off(NULL);
	else if (!strcmp(s, "reset"))
		boot();
	return !p.timer.armed;
}

static void next_step(struct timer *t)
{
	(void)t;
	while (*p.next && take_step(*p.next++))
		;
}

static void obey(const char *line)
{
	if (!strcmp(line, "id"))
		say("uid=0(root)\r\n");
	else if (!strcmp(line, "off"))
		power_off(NULL);
	else if (!strcmp(line, "reset"))
		boot();
}

static size_t input(struct chr_front *f, const void *data, size_t len)
{
	(void)f;
	for (size_t i = 0; i < len; i++) {
		char c = ((const char *)data)[i];

		if (p.deaf)
			return i;
		if (c != '\r' && c != '\n') {
			chr_write(&p.console.chr, &c, 1);
			if (p.len < sizeof(p.line) - 1)
				p.line[p.len++] = c;
			continue;
		}
		say("\r\n");
		p.line[p.len] = '\0';
		p.len = 0;
		obey(p.line);
	}
	return len;
}

/* -- requests, as machine/run.c has them -- */

static int status(void *ctx, int argc, char **argv, struct buf *a, int *fd)
{
	(void)ctx, (void)argc, (void)argv, (void)fd;
	buf_printf(a, "state=%s\npid=%d\nsince=%d\nboots=%u\ncpus=1\n"
		   "memory=%d\nlistens=%d\n", p.state, getpid(), 1, p.boots,
		   1 << 20, p.listens);
	return 0;
}

static int button(void *ctx, int argc, char **argv, struct buf *a, int *fd)
{
	(void)ctx, (void)argc, (void)argv, (void)a, (void)fd;
	if (!strcmp(p.state, "paused") || !strcmp(p.state, "crashed"))
		return fail(E_BUSY, "is %s", p.state);
	p.soft = false;
	if (p.listens) {
		say("button\r\n");
		set_state("stopping");
		if (!p.ignores)
			timer_set(&p.loop, &p.end, 50 * MS, power_off);
	}
	return 0;
}

static int stop(void *ctx, int argc, char **argv, struct buf *a, int *fd)
{
	(void)ctx, (void)argc, (void)argv, (void)a, (void)fd;
	loop_stop(&p.loop);
	return 0;
}

static int reset(void *ctx, int argc, char **argv, struct buf *a, int *fd)
{
	(void)ctx;
	if (argc == 1 && !strcmp(argv[0], "soft")) {
		int rc = button(NULL, 0, NULL, a, fd);

		p.soft = rc == 0;
		return rc;
	}
	boot();
	return 0;
}

static int pause_it(void *ctx, int argc, char **argv, struct buf *a, int *fd)
{
	(void)ctx, (void)argc, (void)argv, (void)a, (void)fd;
	if (!strcmp(p.state, "crashed"))
		return fail(E_BUSY, "is crashed");
	set_state("paused");
	return 0;
}

static int resume(void *ctx, int argc, char **argv, struct buf *a, int *fd)
{
	(void)ctx, (void)argc, (void)argv, (void)a, (void)fd;
	if (!strcmp(p.state, "crashed"))
		return fail(E_BUSY, "is crashed");
	set_state("running");
	return 0;
}

static int console(void *ctx, int argc, char **argv, struct buf *a, int *fd)
{
	(void)ctx;
	return console_verb(&p.console, argc, argv, a, fd);
}

static const struct ctl_verb verbs[] = {
	{ "status", 0, status }, { "button", 0, button }, { "stop", 1, stop },
	{ "reset", 1, reset }, { "pause", 0, pause_it },
	{ "resume", 0, resume }, { "console", 1, console }, { 0 }
};

/* -- the process -- */

static int open_all(void)
{
	autoclose int run = vm_run_dir(&p.vm, true);
	int rc = run < 0 ? run : loop_init(&p.loop);

	if (rc == 0)
		rc = console_init(&p.console, &p.loop, p.vm.dir, LOG_BYTES);
	p.front.input = input;
	p.console.chr.front = &p.front;
	if (rc == 0)
		rc = ctl_listen(&p.ctl, &p.loop, run, verbs, NULL);
	return rc;
}

static int become_vm(void)
{
	int rc, null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	setsid();
	alarm(LIFE_S);
	rc = open_all();
	if (rc < 0)
		return rc;
	boot();
	(void)!write(p.ready, "", 1);
	close(p.ready);
	rc = loop_run(&p.loop);
	ctl_close(&p.ctl);
	console_release(&p.console);
	vm_remove_run_dir(&p.vm);
	return rc;
}

/* Returns in the process that became the VM. */
static int start(void)
{
	int ready[2];
	pid_t pid;
	char c;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return fail_sys("pipe");
	p.ready = ready[1];
	pid = fork();
	if (pid == 0)
		return become_vm();
	close(ready[1]);
	if (pid < 0 || read(ready[0], &c, 1) != 1)
		return fail(EIO, "it did not start");
	printf("%d\n", (int)pid);
	return 0;
}

int main(int argc, char **argv)
{
	struct store st;
	int rc;

	if (argc < 2)
		return EXIT_USAGE;
	p.step = argv + 2;
	p.vm.dir = p.vm.lock = -1;
	rc = store_open(&st, NULL, false);
	if (rc == 0)
		rc = vm_open(&p.vm, &st, argv[1]);
	if (rc == 0)
		rc = vm_lock(&p.vm, 0);
	if (rc == 0)
		rc = start();
	if (rc < 0)
		fprintf(stderr, "puppet: %s\n", err_text());
	vm_close(&p.vm);
	store_close(&st);
	return err_exit(rc);
}
