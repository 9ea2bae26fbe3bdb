/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that pushes, merges and removes layers is killed before each of
 * its system calls that change a file or directory, in turn. Every snapshot
 * then shows what it did, no image is damaged, and what was interrupted
 * succeeds when it is done again.
 */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../unit/history.h"
#include "../unit/test.h"

enum { CALLS_MAX = 3000 };

static bool changes(const struct __ptrace_syscall_info *call)
{
	switch (call->entry.nr) {
	case SYS_pwrite64: case SYS_pwritev: case SYS_pwritev2: case SYS_write:
	case SYS_writev: case SYS_ftruncate: case SYS_fallocate:
	case SYS_renameat: case SYS_renameat2: case SYS_rename:
	case SYS_unlinkat: case SYS_linkat: case SYS_mkdirat: case SYS_fsync:
	case SYS_fdatasync: case SYS_syncfs:
		return true;
	case SYS_openat:
		return call->entry.args[2] & (O_CREAT | O_TRUNC);
	}
	return false;
}

static pid_t start(int (*job)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		/* its own descriptions, whose locks end with it */
		close_vm();
		open_vm("web");
		_exit(job() < 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD |
		   PTRACE_O_EXITKILL) < 0)
		return -1;
	return pid;
}

/* 1: the job ended before its call N, well; 0: it was killed; -1. */
static int kill_before(int (*job)(void), int n)
{
	struct __ptrace_syscall_info call;
	int status, calls = 0;
	pid_t pid = start(job);

	if (pid < 0)
		return -1;
	while (calls <= n) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0 ||
		    waitpid(pid, &status, 0) != pid)
			return -1;
		if (!WIFSTOPPED(status))
			return WIFEXITED(status) && !WEXITSTATUS(status) ?
				1 : -1;
		if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(call), &call) >
		    0 && call.op == PTRACE_SYSCALL_INFO_ENTRY && changes(&call))
			calls++;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

static bool run(const char *command)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* The VM's directory as it was kept, or is to be kept. */
static void restore_vm(void)
{
	close_vm();
	MUST(chdir(dir) == 0);
	MUST(run("rm -rf s/vms/web && cp -a kept s/vms/web"));
	open_vm("web");
}

static void keep_vm(void)
{
	MUST(chdir(dir) == 0);
	MUST(run("rm -rf kept && cp -a s/vms/web kept"));
	MUST(fchdir(vm.dir) == 0);
}

/* No image in disk/ is damaged. */
static bool images_are_well(void)
{
	DIR *list = opendir("disk");
	struct dirent *e;
	bool ok = list;

	while (ok && (e = readdir(list))) {
		struct qcow2_check check;
		char path[300];
		int fd;

		if (!strstr(e->d_name, ".qcow2") || e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "disk/%s", e->d_name);
		fd = open(path, O_RDONLY);
		ok = qcow2_check(fd, false, &check) == 0 && !check.errors;
		if (!ok)
			printf("# %s: damaged\n", path);
		close(fd);
	}
	if (list)
		closedir(list);
	return ok;
}

static int tidy(void)
{
	return layers_tidy(&snaps, NULL, NULL);
}

/*
 * Kills JOB before each of its changing calls; then AGAIN must do. Whether all
 * was well.
 */
static bool survives(int (*job)(void), int (*again)(void))
{
	int n, rc = 0;

	keep_vm();
	for (n = 0; n < CALLS_MAX; n++) {
		restore_vm();
		/* the child's locks are to be the only ones */
		snaps_close(&snaps);
		vm_unlock(&vm);
		rc = kill_before(job, n);
		close_vm();
		open_vm("web");
		/* one half made, which nobody needs, is no image */
		if (rc < 0 || !all_show() || again() < 0 || !all_show() ||
		    tidy() < 0 || !all_show() || !images_are_well()) {
			printf("# killed before change %d: %s\n", n,
			       rc < 0 ? "the job failed" : err_text());
			return false;
		}
		if (rc == 1)
			break;
	}
	printf("# %d changes\n", n);
	return rc == 1;
}

/* A history whose disks were written between its snapshots s1 to s4. */
static void begin_written(void)
{
	random_state = 77;
	begin_history();
	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < 6; k++)
			write_some();
		shots[i] = now;
		next_name(shots[i].name);
		MUST(take_snap(shots[i].name) == 0);
	}
	for (int k = 0; k < 6; k++)
		write_some();
}

static int snap_s9(void)
{
	return take_snap("s9");
}

static int snap_again(void)
{
	struct snap sn;
	int rc = snap_open(&sn, &snaps, "s9");

	snap_close(&sn);
	return rc == 0 ? 0 : take_snap("s9");
}

TEST(killed_while_it_snapshots_it_loses_nothing)
{
	begin_written();
	OK(survives(snap_s9, snap_again));
	end_history();
}

/* What the drop of a snapshot leaves to be merged. */
TEST(killed_while_it_merges_it_loses_nothing)
{
	begin_written();
	MUST(drop_snap("s1") == 0 && drop_snap("s3") == 0);
	shots[0].name[0] = shots[2].name[0] = '\0';
	OK(survives(tidy, tidy));
	EQ(files_in_disk(), 3 * DISKS);
	end_history();
}

static int rollback(void)
{
	return push_over("s2");
}

TEST(killed_while_it_rolls_back_and_merges_it_loses_nothing)
{
	begin_written();
	MUST(rollback() == 0);
	now = shots[1];
	MUST(drop_snap("s2") == 0 && drop_snap("s4") == 0);
	shots[1].name[0] = shots[3].name[0] = '\0';
	OK(survives(tidy, tidy));
	end_history();
}

/* The lowest has little, the one above it much: they are merged up. */
static void begin_upward(void)
{
	struct vmconf vc;

	begin_history();
	random_state = 5;
	MUST(take_snap("s1") == 0);
	load_conf(NULL, &vc);
	for (int d = 0; d < DISKS; d++) {
		struct iovec iov = { now.disk[d], DISK_BYTES / 2 };
		struct block *b;

		memset(now.disk[d], 7 + d, DISK_BYTES / 2);
		MUST(disk_open_at(&b, vm.dir, &st, &vc.disk[d], 0, NULL) == 0);
		MUST(block_writev(b, &iov, 1, 0) == 0);
		MUST(block_flush(b) == 0);
		block_close(b);
	}
	vmconf_release(&vc);
	shots[1] = now;
	snprintf(shots[1].name, sizeof(shots[1].name), "s2");
	MUST(take_snap("s2") == 0);
	MUST(drop_snap("s1") == 0);
}

TEST(killed_while_it_merges_up_it_loses_nothing)
{
	begin_upward();
	OK(survives(tidy, tidy));
	OK(access("disk/disk0.raw", F_OK) < 0);	/* it was up */
	EQ(files_in_disk(), 2 * DISKS);
	end_history();
}

TESTS(T(killed_while_it_snapshots_it_loses_nothing),
      T(killed_while_it_merges_it_loses_nothing),
      T(killed_while_it_rolls_back_and_merges_it_loses_nothing),
      T(killed_while_it_merges_up_it_loses_nothing))
