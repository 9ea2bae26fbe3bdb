/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * killat.c - runs a command and kills it before its Nth system call that
 * changes what is on disk.
 *
 *	killat N COMMAND...
 *
 * 137: it was killed; else it came to its end before that, with its own exit
 * status. Its threads and children count, and die, with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL |
		PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK,
	SYSCALL_STOP = SIGTRAP | 0x80,
	KILLED = 128 + SIGKILL,
	STDERR = 2,
};

static const long changing[] = {
	SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev, SYS_pwritev2,
	SYS_rename, SYS_renameat, SYS_renameat2, SYS_link, SYS_linkat,
	SYS_unlink, SYS_unlinkat, SYS_rmdir, SYS_mkdir, SYS_mkdirat,
	SYS_symlink, SYS_symlinkat, SYS_truncate, SYS_ftruncate,
	SYS_fallocate, SYS_copy_file_range, SYS_fsync, SYS_fdatasync,
	SYS_ioctl, SYS_syncfs,
};

static void must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(2);
}

static int changes(const struct __ptrace_syscall_info *info)
{
	long nr = info->entry.nr;

	if (nr == SYS_openat)
		return (info->entry.args[2] & (O_CREAT | O_TRUNC)) != 0;
	if (nr == SYS_write && info->entry.args[0] <= STDERR)
		return 0;
	for (size_t i = 0; i < sizeof(changing) / sizeof(*changing); i++)
		if (changing[i] == nr)
			return 1;
	return 0;
}

/* Whether PID, which stopped with STATUS, is about to make a change. */
static int at_change(pid_t pid, int status)
{
	struct __ptrace_syscall_info info;

	return WIFSTOPPED(status) && WSTOPSIG(status) == SYSCALL_STOP &&
		ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0 &&
		info.op == PTRACE_SYSCALL_INFO_ENTRY && changes(&info);
}

/* The signal that PID is to see when it goes on. */
static int signal_of(int status)
{
	int sig = WSTOPSIG(status);

	if (sig == SYSCALL_STOP || sig == SIGTRAP || sig == SIGSTOP ||
	    status >> 16)
		return 0;
	return sig;
}

static int follow(pid_t command, long n)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, __WALL);

		must(pid > 0, "wait");
		if (pid == command && (WIFEXITED(status) || WIFSIGNALED(status)))
			return WIFEXITED(status) ? WEXITSTATUS(status) :
						   128 + WTERMSIG(status);
		if (!WIFSTOPPED(status))
			continue;
		if (at_change(pid, status) && --n == 0) {
			kill(command, SIGKILL);
			while (waitpid(command, &status, __WALL) == command &&
			       WIFSTOPPED(status))
				;
			return KILLED;	/* its children go with us */
		}
		ptrace(PTRACE_SYSCALL, pid, 0, signal_of(status));
	}
}

int main(int argc, char **argv)
{
	pid_t pid;
	int status;

	if (argc < 3) {
		fprintf(stderr, "usage: killat N COMMAND...\n");
		return 2;
	}
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		must(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0, "ptrace");
		raise(SIGSTOP);
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	must(waitpid(pid, &status, 0) == pid, "wait");
	must(ptrace(PTRACE_SETOPTIONS, pid, 0, OPTIONS) == 0, "ptrace");
	ptrace(PTRACE_SYSCALL, pid, 0, 0);
	return follow(pid, strtol(argv[1], NULL, 10));
}
