/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/text.h"

enum {
	BACKLOG = 64,
	RETRY_NS = 100000000,
};

static void drop(struct ctl_conn *c)
{
	watch_remove(&c->watch);
	close_fd(&c->fd);
	c->fd = -1;
	c->events = false;
}

/*
 * Sends one message, and descriptor FD unless -1, without waiting: false when
 * the peer left or does not read what it was sent.
 */
static bool say(int conn, const char *text, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)text, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(conn, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

static void say_failure(struct ctl_conn *c, int rc)
{
	char msg[ERR_MAX + 16];
	int len = snprintf(msg, sizeof(msg), "fail %d %s", err_exit(rc),
			   err_text());

	if (!say(c->fd, msg, len, -1))
		drop(c);
}

/* Splits TEXT at blanks into WORD[]; their number, or -E_USAGE. */
static int split(char *text, char **word)
{
	int n = 0;

	while (text) {
		char *w = cut(&text, ' ');

		if (!*w)
			continue;
		if (n == CTL_WORDS)
			return fail(E_USAGE, "more than %d words", CTL_WORDS);
		word[n++] = w;
	}
	word[n] = NULL;
	return n ? n : fail(E_USAGE, "empty request");
}

static int call_verb(struct ctl_conn *c, int argc, char **argv,
		     struct buf *answer, int *fd)
{
	const struct ctl_verb *v = c->server->verbs;

	if (!strcmp(argv[0], "watch") && argc == 1) {
		c->events = true;
		return 0;
	}
	while (v->name && strcmp(v->name, argv[0]))
		v++;
	if (!v->name)
		return fail(E_USAGE, "%s: no such request", argv[0]);
	if (argc - 1 > v->nargs)
		return fail(E_USAGE, "%s: too many arguments", argv[0]);
	return v->fn(c->server->ctx, argc - 1, argv + 1, answer, fd);
}

static void handle(struct ctl_conn *c, char *text)
{
	autobuf struct buf answer = BUF_INIT;
	char *word[CTL_WORDS + 1];
	autoclose int fd = -1;
	int rc = split(text, word);

	buf_str(&answer, "ok\n");
	if (rc > 0)
		rc = call_verb(c, rc, word, &answer, &fd);
	if (rc >= 0 && (answer.failed || answer.len > CTL_MSG))
		rc = fail(EMSGSIZE, "the answer is too long");
	if (c->fd < 0)		/* the verb's own event found it gone */
		return;
	if (rc < 0) {
		say_failure(c, rc);
		return;
	}
	if (answer.len == strlen("ok\n"))
		answer.len--;
	if (!say(c->fd, answer.data, answer.len, fd))
		drop(c);
}

static void on_request(struct watch *w, uint32_t events)
{
	struct ctl_conn *c = container_of(w, struct ctl_conn, watch);
	char text[CTL_MSG + 1];
	ssize_t n;

	(void)events;
	/* No room for control data: descriptors in it are closed. */
	n = recv(c->fd, text, CTL_MSG, MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	if (n > CTL_MSG || memchr(text, '\0', n)) {
		say_failure(c, fail(E_USAGE, "malformed request"));
		return;
	}
	text[n] = '\0';
	handle(c, text);
}

static void on_retry(struct timer *t)
{
	struct ctl_server *s = container_of(t, struct ctl_server, retry);

	watch_change(&s->watch, EPOLLIN);
}

static struct ctl_conn *free_slot(struct ctl_server *s)
{
	for (int i = 0; i < CTL_CONNS; i++)
		if (s->conn[i].fd < 0)
			return &s->conn[i];
	return NULL;
}

static void refuse(int fd)
{
	static const char msg[] = "fail 75 too many connections";

	say(fd, msg, sizeof(msg) - 1, -1);
	close(fd);
}

static void on_connect(struct watch *w, uint32_t events)
{
	struct ctl_server *s = container_of(w, struct ctl_server, watch);
	struct ctl_conn *c = free_slot(s);
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE ||
		       errno == ENOMEM || errno == ENOBUFS)) {
		watch_change(&s->watch, 0);
		timer_set(s->loop, &s->retry, RETRY_NS, on_retry);
	}
	if (fd < 0)
		return;
	if (!c) {
		refuse(fd);
		return;
	}
	c->fd = fd;
	if (watch_add(s->loop, &c->watch, fd, EPOLLIN, on_request) < 0)
		drop(c);
}

/* Whether a server answers at ctl in RUN; -E_BUSY then. */
static int check_dead(int run)
{
	int fd = ctl_connect(run);

	if (fd >= 0) {
		close(fd);
		return fail(E_BUSY, "ctl: another process answers there");
	}
	return fd == -E_STOPPED ? 0 : fd;
}

/* A socket that listens at ctl in RUN; named so once it does. */
static int bind_socket(int run)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC |
				  SOCK_NONBLOCK, 0);

	if (fd < 0)
		return fail_sys("socket");
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/.ctl",
		 run);
	unlinkat(run, ".ctl", 0);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    fchmodat(run, ".ctl", 0600, 0) < 0 || listen(fd, BACKLOG) < 0 ||
	    renameat(run, ".ctl", run, "ctl") < 0)
		return fail_sys("ctl");
	return take_fd(&fd);
}

int ctl_listen(struct ctl_server *s, struct loop *l, int run,
	       const struct ctl_verb *verbs, void *ctx)
{
	int rc;

	memset(s, 0, sizeof(*s));
	s->loop = l;
	s->verbs = verbs;
	s->ctx = ctx;
	s->fd = -1;
	for (int i = 0; i < CTL_CONNS; i++)
		s->conn[i] = (struct ctl_conn){ .server = s, .fd = -1 };
	rc = check_dead(run);
	if (rc < 0)
		return rc;
	s->fd = bind_socket(run);
	if (s->fd < 0)
		return s->fd;
	rc = watch_add(l, &s->watch, s->fd, EPOLLIN, on_connect);
	if (rc < 0)
		ctl_close(s);
	return rc;
}

void ctl_notify(struct ctl_server *s, const char *lines)
{
	char msg[CTL_MSG];
	int len = snprintf(msg, sizeof(msg), "event %s", lines);

	for (int i = 0; i < CTL_CONNS; i++) {
		struct ctl_conn *c = &s->conn[i];

		if (c->fd >= 0 && c->events &&
		    (len >= (int)sizeof(msg) || !say(c->fd, msg, len, -1)))
			drop(c);
	}
}

void ctl_close(struct ctl_server *s)
{
	if (!s->loop)
		return;
	timer_cancel(s->loop, &s->retry);
	watch_remove(&s->watch);
	close_fd(&s->fd);
	s->fd = -1;
	for (int i = 0; i < CTL_CONNS; i++)
		drop(&s->conn[i]);
}
