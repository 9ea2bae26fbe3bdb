/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"

enum { STDIO_FDS = 3 };

/* Closes every descriptor but 0-2 and the N of KEEP (which is sorted here). */
static void close_others(int *keep, int n)
{
	unsigned from = STDIO_FDS;

	for (int i = 1; i < n; i++)
		for (int j = i; j > 0 && keep[j] < keep[j - 1]; j--) {
			int fd = keep[j];

			keep[j] = keep[j - 1];
			keep[j - 1] = fd;
		}
	for (int i = 0; i < n; i++) {
		if (keep[i] < (int)from)
			continue;
		if ((unsigned)keep[i] > from)
			close_range(from, keep[i] - 1, 0);
		from = keep[i] + 1;
	}
	close_range(from, ~0U, 0);
}

/* Leaves the caller's session and files behind. PIPE stays open. */
static int detach(const struct vm *vm, int pipe)
{
	int keep[] = { vm->dir, vm->lock, vm->store->fd, vm->store->vms, pipe };
	autoclose int null = -1;

	setsid();
	close_others(keep, ARRAY_SIZE(keep));
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return fail_sys("/dev/null");
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	return log_open(vm->dir);
}

/* The message on the pipe: "RC SENTENCE". */
static void report(int pipe, int rc)
{
	char msg[ERR_MAX + 16];
	int n = snprintf(msg, sizeof(msg), "%d %s", rc,
			 rc < 0 ? err_text() : "");

	(void)!write(pipe, msg, n);
}

struct readiness {
	bool runs;
	int pipe;	/* to whom it is told; -1: nobody waits */
};

static void on_ready(void *arg)
{
	struct readiness *r = arg;

	r->runs = true;
	if (r->pipe < 0)
		return;
	report(r->pipe, 0);
	close(take_fd(&r->pipe));
}

/* Runs the VM to its end, here, and clears up behind it. */
static int run_here(const struct engine *e, struct vm *vm,
		    const struct start_args *a, struct readiness *r)
{
	struct run_args ra = {
		.vm = vm, .conf = a->conf, .paused = a->paused,
		.foreground = a->foreground, .ready = on_ready,
		.ready_arg = r,
	};
	char why[ERR_MAX];
	int rc, gone = 0;

	if (fchdir(vm->dir) < 0)
		return fail_sys("%s", vm->name);
	rc = run_vm(e, &ra);
	snprintf(why, sizeof(why), "%s", err_text());
	vm_remove_run_dir(vm);
	if (a->remove && r->runs && rc >= 0)	/* else it is to be looked at */
		gone = vm_remove(vm);
	return rc < 0 ? err_adopt(rc, why) : gone;
}

static _Noreturn void become_vm(const struct engine *e, struct vm *vm,
				const struct start_args *a, int pipe)
{
	struct readiness r = { .pipe = pipe };
	char title[16];
	int rc;

	snprintf(title, sizeof(title), "vm:%.12s", vm->name);
	prctl(PR_SET_NAME, title);
	rc = detach(vm, pipe);
	if (rc == 0)
		rc = run_here(e, vm, a, &r);
	if (rc < 0 && r.pipe >= 0)
		report(r.pipe, rc);
	else if (rc < 0)
		log_line("%s", err_text());
	_exit(err_exit(rc));
}

/* Waits for the child's message. */
static int await(int pipe, const char *name)
{
	char msg[ERR_MAX + 16] = "", *text;
	ssize_t n;
	long rc;

	do
		n = read(pipe, msg, sizeof(msg) - 1);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return fail(EIO, "%s: ended while starting (see its log)",
			    name);
	rc = strtol(msg, &text, 10);
	if (rc < 0)
		return err_adopt(rc, *text ? text + 1 : text);
	return 0;
}

int engine_start(const struct engine *e, struct vm *vm,
		 const struct start_args *a)
{
	autoclose int rd = -1, wr = -1;
	struct readiness nobody = { .pipe = -1 };
	int fds[2], rc;
	pid_t pid;

	if (a->foreground)
		return run_here(e, vm, a, &nobody);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return fail_sys("pipe");
	rd = fds[0];
	wr = fds[1];
	pid = fork();
	if (pid < 0)
		return fail_sys("fork");
	if (pid == 0)
		become_vm(e, vm, a, wr);
	close(take_fd(&wr));
	rc = await(rd, vm->name);
	if (rc < 0)
		waitpid(pid, NULL, 0);	/* its lock is free when we return */
	return rc;
}
