/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/each.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/err.h"
#include "cli/opt.h"

#include "test.h"

const struct command command = { .name = "vm-test" };

/* What a call printed, and its status (negative ones as 1000 - rc). */
static char out[8192], errs[8192];

/* The name says what becomes of it: "fail12-x" fails with that code. */
static int job(const char *name, void *arg)
{
	int code;

	(void)arg;
	if (sscanf(name, "fail%d", &code) == 1)
		return fail(E_BASE + code, "%s: as told", name);
	if (!strncmp(name, "why", 3))
		return fail(E_BASE + 1, "for no reason");
	if (!strncmp(name, "slow", 4))
		usleep(200000);
	if (!strncmp(name, "kill", 4))
		raise(SIGKILL);
	return 0;
}

static void slurp(int fd, char *buf, size_t size)
{
	ssize_t n = pread(fd, buf, size - 1, 0);

	buf[n > 0 ? n : 0] = '\0';
	close(fd);
}

static int temp(void)
{
	char path[] = "/tmp/each.XXXXXX";
	int fd = mkstemp(path);

	unlink(path);
	return fd;
}

/* each_run() of ARGS in a process of its own, standard input from IN. */
static int call(const struct each *e, int in, char **args)
{
	int o = temp(), er = temp(), w, n = 0;
	pid_t pid;

	while (args[n])
		n++;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int rc;

		dup2(in, 0);
		dup2(o, 1);
		dup2(er, 2);
		rc = each_run(e, n, args);
		_exit(rc < 0 ? 200 + err_exit(rc) : rc);
	}
	close(in);
	waitpid(pid, &w, 0);
	slurp(o, out, sizeof(out));
	slurp(er, errs, sizeof(errs));
	return WEXITSTATUS(w);
}

static int null_fd(void)
{
	return open("/dev/null", O_RDONLY);
}

/* The read end of a pipe that holds TEXT. */
static int pipe_with(const char *text, size_t len)
{
	int p[2];

	if (pipe(p) < 0 || write(p[1], text, len) != (ssize_t)len)
		abort();
	close(p[1]);
	return p[0];
}

static const struct each one = { .parallel = 1, .job = job };

#define CALL(e, in, ...) call(e, in, (char *[]){ __VA_ARGS__ NULL })
#define W (char *)

TEST(a_single_operand_prints_its_name)
{
	EQ(CALL(&one, null_fd(), W "web1",), 0);
	STR(out, "web1\n");
	STR(errs, "");
}

TEST(failures_say_the_name_once_and_print_none)
{
	EQ(CALL(&one, null_fd(), W "fail12",), 12);
	STR(out, "");
	STR(errs, "vm-test: fail12: as told\n");
	EQ(CALL(&one, null_fd(), W "why1",), 1);
	STR(errs, "vm-test: why1: for no reason\n");
}

TEST(the_status_is_common_or_partial)
{
	EQ(CALL(&one, null_fd(), W "fail12-a", W "fail12-b",), 12);
	EQ(CALL(&one, null_fd(), W "fail12-a", W "fail10-b",), EXIT_PARTIAL);
	EQ(CALL(&one, null_fd(), W "fail12-a", W "b",), EXIT_PARTIAL);
	STR(out, "b\n");
	EQ(CALL(&one, null_fd(), W "a", W "b",), 0);
	STR(out, "a\nb\n");
}

TEST(a_job_that_is_killed_fails_alone)
{
	EQ(CALL(&one, null_fd(), W "kill", W "b",), EXIT_PARTIAL);
	STR(out, "b\n");
	STR(errs, "vm-test: kill: ended by signal 9 (Killed)\n");
}

TEST(names_come_from_a_pipe_without_operands)
{
	static const char in[] = " a \n\n\tb\r\nfail10\nlast";

	EQ(CALL(&one, pipe_with(in, sizeof(in) - 1),), EXIT_PARTIAL);
	STR(out, "a\nb\nlast\n");
}

TEST(an_empty_pipe_is_nothing_to_do)
{
	EQ(CALL(&one, pipe_with("", 0),), 0);
	STR(out, "");
}

TEST(a_dash_stands_where_the_lines_go)
{
	EQ(CALL(&one, pipe_with("b\nc\n", 4), W "a", W "-", W "d", W "-",), 0);
	STR(out, "a\nb\nc\nd\n");
	EQ(CALL(&one, null_fd(), W "-",), 0);
}

TEST(without_operands_dev_null_is_a_usage_error)
{
	EQ(CALL(&one, null_fd(),), 200 + EXIT_USAGE);
}

TEST(commands_that_destroy_want_an_explicit_dash)
{
	struct each e = one;

	e.explicit = true;
	EQ(CALL(&e, pipe_with("a\n", 2),), 200 + EXIT_USAGE);
	STR(out, "");
	EQ(CALL(&e, pipe_with("a\n", 2), W "-",), 0);
	STR(out, "a\n");
}

TEST(quiet_prints_no_names)
{
	struct each e = one;

	e.quiet = true;
	EQ(CALL(&e, null_fd(), W "a", W "b",), 0);
	STR(out, "");
}

TEST(jobs_run_side_by_side_and_print_as_they_end)
{
	struct each e = { .parallel = 3, .job = job };

	EQ(CALL(&e, null_fd(), W "slow1", W "b", W "c", W "d",), 0);
	STR(strstr(out, "slow1"), "slow1\n");
	e.parallel = UINT64_MAX;
	EQ(CALL(&e, null_fd(), W "slow1", W "b",), 0);
	STR(out, "b\nslow1\n");
}

TEST(a_name_is_worked_on_while_its_writer_goes_on)
{
	int p[2], o[2], w;
	char got[8] = "";
	char *none[] = { NULL };
	pid_t pid;

	EQ(pipe(p) | pipe(o), 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		dup2(p[0], 0);
		dup2(o[1], 1);
		close(p[1]);
		_exit(each_run(&one, 0, none));
	}
	EQ(write(p[1], "a\nb", 3), 3);
	EQ(read(o[0], got, sizeof(got) - 1), 2);	/* hangs if it waits */
	STR(got, "a\n");
	close(p[1]);
	waitpid(pid, &w, 0);
	EQ(w, 0);
	EQ(read(o[0], got, sizeof(got) - 1), 2);
	STR(got, "b\n");
	close(p[0]), close(o[0]), close(o[1]);
}

TEST(lines_without_end_or_with_nul_are_no_names)
{
	static char in[70000];
	char **names;
	size_t n;
	int saved = dup(0), rc;

	memset(in, 'x', sizeof(in) - 10);
	memcpy(in + sizeof(in) - 10, "\na\0b\nc\n", 7);
	int p[2];

	EQ(pipe(p), 0);
	fcntl(p[1], F_SETPIPE_SZ, 1 << 17);
	EQ(write(p[1], in, sizeof(in) - 3), sizeof(in) - 3);
	close(p[1]);
	dup2(p[0], 0);
	rc = each_names(false, 0, NULL, &names, &n);
	dup2(saved, 0);
	close(saved), close(p[0]);
	EQ(rc, 0);
	EQ(n, 3);
	EQ(strlen(names[0]), 255);
	STR(names[1], "a?b");
	STR(names[2], "c");
	each_free(names, n);
}

TEST(a_directory_as_input_is_an_error_not_a_loop)
{
	EQ(CALL(&one, open("/", O_RDONLY), W "-", W "a",), EXIT_PARTIAL);
	STR(out, "a\n");
	STR(errs, "vm-test: standard input: Is a directory\n");
}

TEST(a_full_disk_is_reported_after_the_work)
{
	int full = open("/dev/full", O_WRONLY), saved, w;
	char *names[] = { W "a", W "b", NULL };
	pid_t pid;

	OK(full >= 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		dup2(full, 1);
		saved = each_run(&one, 2, names);
		_exit(strcmp(err_text(), "standard output: No space left on "
			     "device") ? 99 : err_exit(saved));
	}
	close(full);
	waitpid(pid, &w, 0);
	EQ(WEXITSTATUS(w), EXIT_FAILED);
}

TESTS(T(a_single_operand_prints_its_name),
      T(failures_say_the_name_once_and_print_none),
      T(the_status_is_common_or_partial),
      T(a_job_that_is_killed_fails_alone),
      T(names_come_from_a_pipe_without_operands),
      T(an_empty_pipe_is_nothing_to_do),
      T(a_dash_stands_where_the_lines_go),
      T(without_operands_dev_null_is_a_usage_error),
      T(commands_that_destroy_want_an_explicit_dash),
      T(quiet_prints_no_names),
      T(jobs_run_side_by_side_and_print_as_they_end),
      T(a_name_is_worked_on_while_its_writer_goes_on),
      T(lines_without_end_or_with_nul_are_no_names),
      T(a_directory_as_input_is_an_error_not_a_loop),
      T(a_full_disk_is_reported_after_the_work))
