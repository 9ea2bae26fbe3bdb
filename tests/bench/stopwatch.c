/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stopwatch.c - measures commands beside each other: one run of each in turn,
 * so that whatever else the machine does falls on all of them alike.
 *
 * usage: stopwatch [-n RUNS] [-u TEXT] [-k] [-x COMMAND] COMMAND...
 *
 * A COMMAND is words with blanks between them. For each run one line is
 * printed: which COMMAND (from 0), the microseconds from its start until TEXT
 * (any byte) was on its standard output, those until its end ("-": it did not
 * come to that), and what the COMMAND of -x printed.
 *
 *	-k	when TEXT has come, end it by SIGTERM
 *	-x	what to run then, for nobody's time; with -k the measured one is
 *		stopped meanwhile. A word PID is its process id.
 *
 * Exit status 1: something could not be measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

enum { WORDS = 2048, LIMIT_MS = 120000, AGAIN_MS = 500, SAID = 1 << 16 };

extern char **environ;

static struct {
	int runs;
	const char *text, *then;
	bool end;
} args = { .runs = 1, .text = "" };

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void die(const char *what, const char *why)
{
	fprintf(stderr, "stopwatch: %s: %s\n", what, why);
	exit(1);
}

/* Starts the words of COMMAND; *FROM reads its standard output. */
static pid_t start(const char *command, pid_t about, int *from)
{
	char *copy = strdup(command), *rest = copy, *word[WORDS], id[16];
	posix_spawn_file_actions_t files;
	int n = 0, fds[2];
	pid_t pid;

	snprintf(id, sizeof(id), "%d", about);
	while (rest && n < WORDS - 1) {
		char *w = cut(&rest, ' ');

		if (*w)
			word[n++] = strcmp(w, "PID") ? w : id;
	}
	word[n] = NULL;
	if (!n || rest || pipe2(fds, O_CLOEXEC) < 0)
		die(command, "cannot be started");
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null",
					 O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, fds[1], STDOUT_FILENO);
	errno = posix_spawnp(&pid, word[0], &files, NULL, word, environ);
	if (errno)
		die(command, strerror(errno));
	posix_spawn_file_actions_destroy(&files);
	close(fds[1]);
	free(copy);
	*from = fds[0];
	return pid;
}

/* Reads until TEXT came: whether it did. The rest is left in the pipe. */
static bool wait_for(int fd, const char *text)
{
	static char said[SAID];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t len = 0;

	while (poll(&p, 1, LIMIT_MS) == 1) {
		ssize_t n = read(fd, said + len, SAID - 1 - len);

		if (n <= 0)
			return false;
		len += n;
		said[len] = '\0';
		if (memmem(said, len, text, strlen(text)))
			return true;
		if (len > SAID / 2) {
			memmove(said, said + SAID / 4, len - SAID / 4);
			len -= SAID / 4;
		}
	}
	return false;
}

/* Reads to the end; ECHO: onto our line. */
static void drain(int fd, bool echo)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; echo && i < n; i++)
			putchar(buf[i] == '\n' ? ' ' : buf[i]);
	close(fd);
}

/* More than once: a guest may take the first for its power button, unheard. */
static void terminate(pid_t pid, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[4096];

	do {
		kill(pid, SIGCONT);
		kill(pid, SIGTERM);
	} while (poll(&p, 1, AGAIN_MS) == 0 || read(fd, buf, sizeof(buf)) > 0);
	close(fd);
}

static int end_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

/* -x, about the process PID. */
static void run_then(pid_t pid)
{
	int fd;
	pid_t then;

	if (!args.then)
		return;
	then = start(args.then, pid, &fd);
	drain(fd, true);
	if (end_of(then))
		die(args.then, "failed");
}

static void print_us(double us)
{
	if (us >= 0)
		printf("%.0f ", us);
	else
		printf("- ");
}

static void measure(int which, const char *command)
{
	double begin = now_us(), until;
	int fd, status;
	pid_t pid = start(command, 0, &fd);
	bool came = wait_for(fd, args.text);

	until = now_us();
	printf("%d ", which);
	print_us(came ? until - begin : -1);
	if (args.end) {
		print_us(-1);
		if (args.then)
			kill(pid, SIGSTOP);
		run_then(pid);
		terminate(pid, fd);
	} else {
		drain(fd, false);
	}
	status = end_of(pid);
	if (args.end ? !came : status)
		die(command, "failed");
	if (!args.end) {
		print_us(now_us() - begin);
		run_then(pid);
	}
	putchar('\n');
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int o;

	while ((o = getopt(argc, argv, "n:u:x:k")) != -1)
		switch (o) {
		case 'n': args.runs = strtol(optarg, NULL, 10); break;
		case 'u': args.text = optarg; break;
		case 'x': args.then = optarg; break;
		case 'k': args.end = true; break;
		default: return 2;
		}
	for (int run = 0; run < args.runs; run++)
		for (int i = optind; i < argc; i++)
			measure(i - optind, argv[i]);
	return 0;
}
