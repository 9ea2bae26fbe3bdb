/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/sibling.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/err.h"
#include "cli/opt.h"

enum { NOT_RUN = 127, BY_SIGNAL = 128 };

/* Where the command NAME lies. */
static int find(const char *name, char path[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	size_t left;
	char *end;

	if (n < 0)
		return fail_sys("/proc/self/exe");
	path[n] = '\0';
	end = strrchr(path, '/') + 1;
	left = PATH_MAX - (end - path);
	if ((size_t)snprintf(end, left, "%s", name) >= left)
		return fail(ENAMETOOLONG, "%s: its path is too long", name);
	return 0;
}

static _Noreturn void become(const char *path, const char *const *argv)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (common.state)
		setenv("VM_STATE", common.state, 1);
	execv(path, (char *const *)argv);
	_exit(NOT_RUN);
}

int sibling_run(const char *const *argv)
{
	char path[PATH_MAX];
	int status, rc = find(argv[0], path);
	pid_t pid;

	if (rc < 0)
		return rc;
	pid = fork();
	if (pid < 0)
		return fail_sys("%s", argv[0]);
	if (pid == 0)
		become(path, argv);
	if (waitpid(pid, &status, 0) < 0) {
		rc = fail_sys("%s", argv[0]);
		kill(pid, SIGTERM);
		waitpid(pid, &status, 0);
		return rc;
	}
	if (WIFSIGNALED(status))
		return BY_SIGNAL + WTERMSIG(status);
	if (WEXITSTATUS(status) == NOT_RUN)
		return fail(E_HOST, "%s: cannot be run", path);
	return WEXITSTATUS(status);
}
