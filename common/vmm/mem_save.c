/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/mem_save.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/file.h"

enum {
	PAGE = 4096,
	WINDOW = 2048,		/* pages looked at together: 8 MiB */
	NICER = 10,
	SAID = 160,		/* bytes of the report at most */
};

/* Linux, Documentation/admin-guide/mm/pagemap.rst. */
static const uint64_t page_present = 1ULL << 63, page_swapped = 1ULL << 62,
		      page_of_file = 1ULL << 61;

/* Killed first of what is as large. */
static const char oom_score[] = "500";

enum kind {
	UNTOUCHED,	/* zero, or as the mapped file has it */
	OURS,		/* to be looked at */
};

struct writer {
	int fd, report;
	int pagemap;		/* -1: the kernel does not tell */
	int file;		/* that the memory is a mapping of, or -1 */
	bool no_copy;		/* the kernel does not copy between them */
};

/* --- what is where --- */

/*
 * Fills KIND for the N pages from HOST. A page of a file that was only read
 * is untouched; so is one of a memory without a file, if it is not there.
 */
static void look(const struct writer *w, const uint8_t *host, unsigned n,
		 enum kind *kind)
{
	uint64_t entry[WINDOW];
	off_t at = (uintptr_t)host / PAGE * sizeof(entry[0]);
	bool known = w->pagemap >= 0 &&
		     pread_all(w->pagemap, entry, n * sizeof(entry[0]), at) == 0;

	for (unsigned i = 0; i < n; i++) {
		bool there = !known || entry[i] & (page_present | page_swapped);
		bool of_file = known && entry[i] & page_of_file;

		kind[i] = there && !of_file ? OURS : UNTOUCHED;
	}
}

/* How many of the N pages from the first are of its kind. */
static unsigned run_of(const enum kind *kind, unsigned n)
{
	unsigned i = 1;

	while (i < n && kind[i] == kind[0])
		i++;
	return i;
}

/* --- writing --- */

/* Of N pages at HOST those that are not zero, as many at once as there are. */
static int write_ours(struct writer *w, const uint8_t *host, unsigned n,
		      uint64_t off)
{
	unsigned i = 0, from;
	int rc = 0;

	while (rc == 0) {
		while (i < n && is_zero(host + (size_t)i * PAGE, PAGE))
			i++;
		if (i == n)
			break;
		from = i;
		while (i < n && !is_zero(host + (size_t)i * PAGE, PAGE))
			i++;
		rc = pwrite_all(w->fd, host + (size_t)from * PAGE,
				(size_t)(i - from) * PAGE,
				off + (uint64_t)from * PAGE);
	}
	return rc;
}

/* Whether copy_file_range() cannot do it with these files at all. */
static bool is_unable(int error)
{
	return error == EXDEV || error == EINVAL || error == ENOSYS ||
	       error == EOPNOTSUPP;
}

/* LEN bytes at OFF, which lie at HOST, from file to file. */
static int copy(struct writer *w, const uint8_t *host, uint64_t off,
		uint64_t len)
{
	while (len && !w->no_copy) {
		off_t in = off, out = off;
		ssize_t n = copy_file_range(w->file, &in, w->fd, &out, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && !is_unable(errno))
			return -errno;
		if (n == 0)
			return -EIO;	/* the file became shorter */
		if (n < 0) {
			w->no_copy = true;
			break;
		}
		host += n;
		off += n;
		len -= n;
	}
	return pwrite_all(w->fd, host, len, off);
}

/*
 * What the file has between OFF and END; HOST is where OFF lies. A file
 * system that knows no holes has data everywhere.
 */
static int copy_data(struct writer *w, const uint8_t *host, uint64_t off,
		     uint64_t end)
{
	int rc = 0;

	while (rc == 0 && off < end) {
		off_t data = lseek(w->file, off, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			data = off;
		if ((uint64_t)data >= end)
			break;
		hole = lseek(w->file, data, SEEK_HOLE);
		if (hole <= data || (uint64_t)hole > end)
			hole = end;
		host += data - off;
		rc = copy(w, host, data, hole - data);
		host += hole - data;
		off = hole;
	}
	return rc;
}

static int write_window(struct writer *w, const uint8_t *host, unsigned n,
			uint64_t off)
{
	enum kind kind[WINDOW];
	unsigned len;
	int rc = 0;

	look(w, host, n, kind);
	for (unsigned i = 0; i < n && rc == 0; i += len) {
		const uint8_t *at = host + (size_t)i * PAGE;
		uint64_t to = off + (uint64_t)i * PAGE;

		len = run_of(kind + i, n - i);
		if (kind[i] == OURS)
			rc = write_ours(w, at, len, to);
		else if (w->file >= 0)
			rc = copy_data(w, at, to, to + (uint64_t)len * PAGE);
	}
	return rc;
}

/* Whether nobody can read the report any more. */
static bool is_alone(const struct writer *w)
{
	struct pollfd p = { .fd = w->report };

	return w->report >= 0 && poll(&p, 1, 0) > 0 &&
	       p.revents & (POLLERR | POLLHUP | POLLNVAL);
}

static int write_range(struct writer *w, const struct mem_range *r,
		       uint64_t off)
{
	int rc = 0;

	for (uint64_t at = 0; at < r->size && rc == 0;
	     at += (uint64_t)WINDOW * PAGE) {
		unsigned n = min_u64(WINDOW, (r->size - at) / PAGE);

		rc = is_alone(w) ? -ECANCELED :
		     write_window(w, r->host + at, n, off + at);
	}
	return rc;
}

static int write_all_ranges(struct writer *w, const struct mem *m)
{
	uint64_t off = 0;
	struct stat sb;
	int rc = 0;

	/* Data that is gone from there must not become zeros here. */
	if (m->mapped && (fstat(m->file, &sb) < 0 ||
			  (uint64_t)sb.st_size != m->size))
		return -EIO;
	if (ftruncate(w->fd, 0) < 0 || ftruncate(w->fd, m->size) < 0)
		return -errno;
	for (int i = 0; i < m->n && rc == 0; i++) {
		rc = write_range(w, &m->range[i], off);
		off += m->range[i].size;
	}
	if (rc == 0 && fsync(w->fd) < 0)
		rc = -errno;
	return rc;
}

int mem_save_write(const struct mem *m, int fd, int report)
{
	autoclose int pagemap = open("/proc/self/pagemap",
				     O_RDONLY | O_CLOEXEC);
	struct writer w = {
		.fd = fd, .report = report, .pagemap = pagemap,
		.file = m->mapped ? m->file : -1,
	};

	return write_all_ranges(&w, m);
}

/* --- the child --- */

/* The least of the N of KEEP that is at least FROM; -1: none. */
static int next_kept(const int *keep, unsigned n, int from)
{
	int next = -1;

	for (unsigned i = 0; i < n; i++)
		if (keep[i] >= from && (next < 0 || keep[i] < next))
			next = keep[i];
	return next;
}

/* Closes all descriptors but the N of KEEP. */
static int close_others(const int *keep, unsigned n)
{
	int from = 0, next, rc = 0;

	while (rc == 0 && (next = next_kept(keep, n, from)) >= 0) {
		if (next > from)
			rc = close_range(from, next - 1, 0);
		from = next + 1;
	}
	if (rc == 0)
		rc = close_range(from, ~0U, 0);
	return rc < 0 ? -errno : 0;
}

/* Signals as by default; but what a write may raise is to be its error. */
static void reset_signals(void)
{
	struct sigaction as = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &as, NULL);
	as.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &as, NULL);
	sigaction(SIGXFSZ, &as, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Wishes, all of them. */
static void be_modest(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!write(fd, oom_score, sizeof(oom_score) - 1);
		close(fd);
	}
	setpriority(PRIO_PROCESS, 0, NICER);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
	prctl(PR_SET_NAME, "mem-save");
}

static void append(char *text, size_t *len, const char *s)
{
	while (*s && *len < SAID)
		text[(*len)++] = *s++;
}

/* What snprintf() and strerror() would do, which may take locks. */
static size_t describe(char *text, int rc)
{
	const char *why = strerrordesc_np(-rc);
	char code[] = { '0' + err_exit(rc) / 10, '0' + err_exit(rc) % 10, '\0' };
	size_t len = 0;

	append(text, &len, "fail ");
	append(text, &len, code[0] == '0' ? code + 1 : code);
	append(text, &len, " memory of the guest: ");
	append(text, &len, why ? why : "unknown error");
	append(text, &len, "\n");
	return len;
}

/* A report is shorter than what a pipe takes whole. */
static void say(int report, int rc)
{
	struct pollfd p = { .fd = report, .events = POLLOUT };
	char text[SAID];
	size_t len = 0;

	if (rc < 0)
		len = describe(text, rc);
	else
		append(text, &len, "ok\n");
	while (write(report, text, len) < 0 &&
	       (errno == EINTR || errno == EAGAIN))
		poll(&p, 1, -1);
}

static _Noreturn void child(const struct mem *m, int fd, int report)
{
	int keep[] = { fd, report, m->mapped ? m->file : report };
	int rc;

	reset_signals();
	rc = close_others(keep, ARRAY_SIZE(keep));
	be_modest();
	if (rc == 0)
		rc = mem_save_write(m, fd, report);
	if (rc != -ECANCELED)
		say(report, rc);
	_exit(rc < 0);
}

/* --- the parent --- */

/* Without a moment in which the child could run a handler of ours. */
static pid_t fork_child(const struct mem *m, int fd, int report)
{
	sigset_t all, old;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		child(m, fd, report);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return pid;
}

int mem_save(const struct mem *m, int fd, int report)
{
	pid_t pid = fork_child(m, fd, report);
	int pidfd, rc;

	if (pid < 0)
		return fail_sys("memory of the guest: new process");
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (pidfd >= 0)
		return pidfd;
	rc = fail_sys("memory of the guest: pidfd");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return rc;
}

int mem_save_end(int pidfd, bool kill)
{
	siginfo_t info = { 0 };
	int rc;

	if (kill)
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	do
		rc = waitid(P_PIDFD, pidfd, &info, WEXITED);
	while (rc < 0 && errno == EINTR);
	close(pidfd);
	return rc == 0 && info.si_code == CLD_EXITED && info.si_status == 0 ?
	       0 : -E_AGAIN;
}
