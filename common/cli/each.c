/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/each.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/err.h"
#include "cli/names.h"
#include "cli/out.h"
#include "cli/tally.h"
#include "state/store.h"

enum {
	PARALLEL_MAX = 512,
	EXIT_PIPE = 128 + SIGPIPE,	/* of a job whose reader left */
};

struct job {
	char name[NAME_LINE + 1];
	pid_t pid;
};

struct run {
	const struct each *each;
	struct names names;
	struct job *job;
	struct pollfd *poll;	/* one per job, then standard input */
	size_t running, most;
	struct tally tally;
};

/* Notes the end of one job with STATUS. */
static void count(struct run *r, const char *name, int status)
{
	if (status == EXIT_PIPE)
		r->tally.out_rc = -EPIPE;
	else if (status)
		tally_failed(&r->tally, status);
	else
		tally_done(&r->tally, name);
}

/* The job in this process; its exit status. */
static int work(const struct each *e, const char *name)
{
	int rc = e->job(name, e->arg);

	if (rc == -EPIPE && e->prints)
		return EXIT_PIPE;
	if (rc < 0)
		say_failed(name);
	return rc > 0 && e->prints ? rc : err_exit(rc);
}

/* The process of a job: neither the pipe of names nor other jobs are its. */
static void child(const struct run *r, const char *name)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), status;

	if (null > 0)
		dup2(null, STDIN_FILENO);
	for (size_t i = 0; i < r->running; i++)
		close(r->poll[i].fd);
	status = work(r->each, name);
	fflush(NULL);
	_exit(status);
}

/* The exit status of JOB's process, having waited for its end. */
static int reap(const struct job *job)
{
	int w;

	while (waitpid(job->pid, &w, 0) < 0)
		if (errno != EINTR)
			return EXIT_FAILED;
	if (WIFEXITED(w))
		return WEXITSTATUS(w);
	say("%s: ended by signal %d (%s)", job->name, WTERMSIG(w),
	    strsignal(WTERMSIG(w)));
	return EXIT_FAILED;
}

static void start(struct run *r, const char *name)
{
	struct job *job = &r->job[r->running];
	int fd;

	snprintf(job->name, sizeof(job->name), "%s", name);
	fflush(NULL);
	job->pid = fork();
	if (job->pid < 0) {
		say("%s: start a process: %s", name, strerror(errno));
		count(r, name, EXIT_FAILED);
		return;
	}
	if (job->pid == 0)
		child(r, name);
	fd = pidfd_open(job->pid, 0);
	if (fd < 0)	/* a kernel without them: one at a time, then */
		count(r, name, reap(job));
	else
		r->poll[r->running++] = (struct pollfd){ fd, POLLIN, 0 };
}

/*
 * Waits for the end of a job, or, if INPUT, until standard input can be read;
 * whether it can.
 */
static bool wait_some(struct run *r, bool input)
{
	size_t n = r->running;
	struct pollfd in = { STDIN_FILENO, POLLIN, 0 };

	r->poll[n] = in;
	if (poll(r->poll, n + input, -1) < 0 && errno != EINTR)
		r->poll[0].revents = POLLIN;	/* then wait for that one */
	in.revents = r->poll[n].revents;
	for (size_t i = n; i-- > 0;) {
		struct job job = r->job[i];

		if (!r->poll[i].revents)
			continue;
		close(r->poll[i].fd);
		r->running--;
		r->job[i] = r->job[r->running];
		r->poll[i] = r->poll[r->running];
		count(r, job.name, reap(&job));
	}
	return in.revents != 0;
}

/* Starts what can be, else waits. Whether there is more to do. */
static bool step(struct run *r)
{
	bool room = r->running < r->most;
	char *name;
	int rc = room ? names_next(&r->names, &name) : 0;

	if (rc > 0) {
		start(r, name);
		return true;
	}
	if (rc == 0 && room && !r->running)
		return false;
	if (wait_some(r, rc == -EAGAIN)) {
		rc = names_fill(&r->names);
		if (rc < 0) {	/* has ended, then; what runs goes on */
			say("%s", err_text());
			tally_failed(&r->tally, err_exit(rc));
		}
	}
	return true;
}

static size_t parallel(const struct each *e)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t n = e->parallel ? e->parallel : cpus > 0 ? cpus : 1;

	return min_u64(n, PARALLEL_MAX);
}

static void run_release(struct run *r)
{
	names_release(&r->names);
	free(r->job);
	free(r->poll);
}

/* Every name in a process of its own. */
static int run_all(struct run *r)
{
	r->most = parallel(r->each);
	r->job = calloc(r->most, sizeof(*r->job));
	r->poll = calloc(r->most + 1, sizeof(*r->poll));
	if (!r->job || !r->poll)
		return fail(ENOMEM, "out of memory");
	while (step(r))
		;
	return tally_result(&r->tally);
}

int each_run(const struct each *e, int argc, char **argv)
{
	struct run r = { .each = e, .tally.quiet = e->quiet || e->prints };
	int rc = names_init(&r.names, e->explicit, argc, argv);

	if (rc < 0)
		return rc;
	if (argc == 1 && strcmp(argv[0], "-")) {
		count(&r, argv[0], work(e, argv[0]));
		rc = tally_result(&r.tally);
	} else {
		rc = run_all(&r);
	}
	run_release(&r);
	return rc;
}

int each_vm(const struct each *e, int argc, char **argv)
{
	struct each on_store = *e;
	struct store st;
	int rc = store_open(&st, common.state, false);

	if (rc < 0)
		return rc;
	on_store.arg = &st;
	rc = each_run(&on_store, argc, argv);
	store_close(&st);
	return rc;
}

/* Appends a copy of NAME. */
static int add_name(char ***names, size_t *n, const char *name)
{
	char **more = reallocarray(*names, *n + 1, sizeof(*more));

	if (!more)
		return fail(ENOMEM, "out of memory");
	*names = more;
	more[*n] = strdup(name);
	if (!more[*n])
		return fail(ENOMEM, "out of memory");
	++*n;
	return 0;
}

int each_names(bool explicit, int argc, char **argv, char ***names, size_t *n)
{
	struct names src;
	char *name;
	int rc = names_init(&src, explicit, argc, argv);

	*names = NULL;
	*n = 0;
	if (rc < 0)
		return rc;
	do {
		rc = names_next(&src, &name);
		if (rc > 0)
			rc = add_name(names, n, name) < 0 ? -ENOMEM : 1;
		else if (rc == -EAGAIN)
			rc = names_fill(&src) < 0 ? -EIO : 1;
	} while (rc > 0);
	names_release(&src);
	if (rc < 0)
		each_free(*names, *n);
	return rc;
}

void each_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}
