/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/qemu_proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/err.h"

static const char program[] = "qemu-system-x86_64";

/* Where it is: in an absolute directory of PATH. */
static int find(char path[PATH_MAX])
{
	const char *dir = getenv("PATH"), *end;

	for (; dir && *dir; dir = *end ? end + 1 : end) {
		end = strchrnul(dir, ':');
		snprintf(path, PATH_MAX, "%.*s/%s", (int)(end - dir), dir,
			 program);
		if (*path == '/' && access(path, X_OK) == 0)
			return 0;
	}
	return fail(E_HOST, "there is no %s (install qemu-system-x86)",
		    program);
}

int qemu_proc_probe(void)
{
	char path[PATH_MAX];

	return find(path);
}

/*
 * No capability comes back by exec, not even to root, once the bounding set
 * is empty. Without the right to do that there are none.
 */
static void drop_capabilities(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void default_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
}

static _Noreturn void become_qemu(const char *path, char *const *argv,
				  const int *keep, size_t n, int says,
				  pid_t parent)
{
	int null = open("/dev/null", O_RDWR);

	setsid();
	default_signals();
	drop_capabilities();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	dup2(null, STDIN_FILENO);
	dup2(says, STDOUT_FILENO);
	dup2(says, STDERR_FILENO);
	/* in the foreground there is what the caller left open, too */
	close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	for (size_t i = 0; i < n; i++)
		if (keep[i] >= 0)
			fcntl(keep[i], F_SETFD, 0);
	execv(path, argv);
	dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

int qemu_proc_start(struct qemu_proc *p, char *const *argv, const int *keep,
		    size_t n)
{
	autoclose int out = -1;
	pid_t self = getpid();
	char path[PATH_MAX];
	int fds[2], rc = find(path);

	*p = (struct qemu_proc){ .pidfd = -1, .says = -1 };
	if (rc < 0)
		return rc;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return fail_sys("pipe");
	p->says = fds[0];
	out = fds[1];
	fcntl(p->says, F_SETFL, O_NONBLOCK);
	p->pid = fork();
	if (p->pid == 0)
		become_qemu(path, argv, keep, n, out, self);
	if (p->pid > 0)
		p->pidfd = pidfd_open(p->pid, 0);
	if (p->pid > 0 && p->pidfd >= 0)
		return 0;
	fail_sys("%s", program);
	if (p->pid < 0)
		p->pid = 0;
	qemu_proc_close(p);
	return -EIO;
}

int qemu_proc_end(struct qemu_proc *p)
{
	int status = -1;

	if (p->pid <= 0)
		return -1;
	kill(p->pid, SIGKILL);	/* ours until it is reaped */
	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		;
	p->pid = 0;
	return status;
}

void qemu_proc_close(struct qemu_proc *p)
{
	qemu_proc_end(p);
	close_fd(&p->pidfd);
	close_fd(&p->says);
	p->pidfd = p->says = -1;
}
