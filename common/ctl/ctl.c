/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/text.h"

enum {
	NSEC = 1000000000,
	CONNECT_S = 5,		/* for a VM whose backlog is full */
};

int ctl_connect(int run)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = CONNECT_S };
	autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return fail_sys("socket");
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/ctl", run);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return take_fd(&fd);
	switch (errno) {
	case ENOENT:
	case ECONNREFUSED:
		return fail(E_STOPPED, "not running");
	case EAGAIN:
		return fail(E_TIMEOUT, "does not answer");
	}
	return fail_sys("ctl");
}

int ctl_peer(int conn)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd;

	if (getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return fail_sys("ctl");
	fd = syscall(SYS_pidfd_open, cred.pid, 0);
	return fd < 0 ? fail_sys("process %d", (int)cred.pid) : fd;
}

/* Waits until CONN has something to read, or fails. */
static int wait_readable(int conn, uint64_t deadline)
{
	struct pollfd p = { .fd = conn, .events = POLLIN };
	struct timespec ts, *limit = NULL;
	uint64_t now;
	int n;

	do {
		if (deadline != CTL_FOREVER) {
			now = now_ns();
			now = deadline > now ? deadline - now : 0;
			ts = (struct timespec){ now / NSEC, now % NSEC };
			limit = &ts;
		}
		n = ppoll(&p, 1, limit, NULL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail_sys("ctl");
	return n ? 0 : fail(E_TIMEOUT, "does not answer");
}

/* Keeps the first descriptor of M in *FD, closes all others. */
static void take_fds(struct msghdr *m, int *fd)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <=
				   c->cmsg_len; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(got),
			       sizeof(got));
			if (*fd < 0)
				*fd = got;
			else
				close(got);
		}
	}
}

/*
 * One message into MSG (CTL_MSG + 1 bytes), ended by a NUL; its descriptor,
 * or -1, in *FD.
 */
static int receive(int conn, char *msg, int *fd, uint64_t deadline)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { msg, CTL_MSG };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;
	int rc;

	*fd = -1;
	do {
		rc = wait_readable(conn, deadline);
		if (rc < 0)
			return rc;
		n = recvmsg(conn, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		/* A reset comes before what was sent ahead of it. */
	} while (n < 0 && (errno == EINTR || errno == EAGAIN ||
			   errno == ECONNRESET));
	if (n == 0)
		return fail(E_STOPPED, "stopped");
	if (n < 0)
		return fail_sys("ctl");
	take_fds(&m, fd);
	msg[n] = '\0';
	if (!(m.msg_flags & MSG_TRUNC) && strlen(msg) == (size_t)n)
		return 0;
	close_fd(fd);
	*fd = -1;
	return fail(EPROTO, "ctl: malformed message");
}

/* "CODE SENTENCE" as the number and the sentence it stands for. */
static int adopt_failure(const char *text)
{
	char *end;
	long code = strtol(text, &end, 10);

	if (end == text || *end != ' ' || code < 1 || code > 255)
		return fail(EPROTO, "ctl: malformed answer");
	return err_adopt(-(E_BASE + (int)code), end + 1);
}

/* The lines behind "ok", or the failure; 1: MSG is no answer. */
static int read_answer(const char *msg, struct buf *answer)
{
	const char *rest;

	if (starts_with(msg, "event ", NULL))
		return 1;
	if (starts_with(msg, "fail ", &rest))
		return adopt_failure(rest);
	if (!starts_with(msg, "ok", &rest) || (*rest && *rest != '\n'))
		return fail(EPROTO, "ctl: malformed answer");
	if (answer && *rest)
		buf_str(answer, rest + 1);
	return answer && answer->failed ? fail(ENOMEM, "out of memory") : 0;
}

static uint64_t deadline_of(uint64_t timeout_ns)
{
	uint64_t when;

	return ckd_add(&when, now_ns(), timeout_ns) ? CTL_FOREVER : when;
}

int ctl_call(int conn, const char *request, struct buf *answer, int *fd,
	     uint64_t timeout_ns)
{
	uint64_t deadline = deadline_of(timeout_ns);
	char msg[CTL_MSG + 1];
	int got, rc;

	if (fd)
		*fd = -1;
	/* A VM that refuses us sends why before it closes: read that. */
	if (send(conn, request, strlen(request), MSG_NOSIGNAL) < 0 &&
	    errno != EPIPE && errno != ECONNRESET)
		return errno == EAGAIN ? fail(E_TIMEOUT, "does not answer") :
					 fail_sys("ctl");
	do {
		rc = receive(conn, msg, &got, deadline);
		if (rc < 0)
			return rc;
		rc = read_answer(msg, answer);
		if (rc != 0 || !fd) {
			close_fd(&got);
			got = -1;
		}
	} while (rc == 1);
	if (fd)
		*fd = got;
	return rc;
}

int ctl_event(int conn, struct buf *event, uint64_t timeout_ns)
{
	uint64_t deadline = deadline_of(timeout_ns);
	char msg[CTL_MSG + 1];
	const char *rest;
	int got, rc;

	do {
		rc = receive(conn, msg, &got, deadline);
		if (rc < 0)
			return rc;
		close_fd(&got);
	} while (!starts_with(msg, "event ", &rest));
	buf_str(event, rest);
	return event->failed ? fail(ENOMEM, "out of memory") : 0;
}

bool ctl_value(const char *lines, const char *key, char *out, size_t size)
{
	size_t len = strlen(key);

	for (const char *line = lines; line; ) {
		const char *end = strchrnul(line, '\n');

		if (!strncmp(line, key, len) && line[len] == '=') {
			snprintf(out, size, "%.*s", (int)(end - line - len - 1),
				 line + len + 1);
			return true;
		}
		line = *end ? end + 1 : NULL;
	}
	return false;
}
