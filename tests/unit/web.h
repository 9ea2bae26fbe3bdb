/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * web.h - a web server on the loopback that plays a script: a step is a
 * connection, of which it notes the request, says what stands in the step,
 * and closes. It ends by itself when the script does, or nobody comes.
 *
 *	web_start(steps, n);	web.url is what to ask for
 *	...
 *	web_stop();		web.request[i] is what was asked
 *
 * The bodies are parts of one file, web_content.
 */
#ifndef TESTS_UNIT_WEB_H
#define TESTS_UNIT_WEB_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/loop.h"
#include "base/text.h"

enum {
	WEB_STEPS = 16,
	WEB_REQUEST = 2048,
	WEB_COME_MS = 3000,	/* how long it waits for a connection */
	WEB_DRIP_MS = 6000,
	WEB_CONTENT = 3 << 20,
};

/* What follows the body. */
enum web_end { WEB_CLOSE, WEB_RESET, WEB_DRIP, WEB_ENDLESS };

struct web_step {
	const char *head;	/* header lines; those of every step follow */
	size_t from, to;	/* of the file: the body */
	enum web_end end;
};

struct web {
	int fd;
	char url[64];
	const struct web_step *step;
	size_t n, served;
	char request[WEB_STEPS][WEB_REQUEST];
	pthread_t thread;
};

static struct web web;
static char web_content[WEB_CONTENT];

static inline bool web_wait(int fd, short events, int ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, ms) > 0;
}

/* Reads a request's header. */
static inline void web_hear(int fd, char *request)
{
	size_t len = 0;

	while (len < WEB_REQUEST - 1 && !strstr(request, "\r\n\r\n") &&
	       web_wait(fd, POLLIN, WEB_COME_MS)) {
		ssize_t n = read(fd, request + len, WEB_REQUEST - 1 - len);

		if (n <= 0)
			return;
		len += n;
		request[len] = '\0';
		if (!starts_with(request, "GET", NULL))	/* TLS */
			return;
	}
}

static inline bool web_say(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		len -= n;
	}
	return true;
}

/* Says a little again and again, or all the time. */
static inline void web_say_more(int fd, bool endless)
{
	uint64_t until = now_ns() + WEB_DRIP_MS * 1000000ULL;

	while (now_ns() < until) {
		if (!web_say(fd, web_content, endless ? 65536 : 1))
			return;
		if (!endless && web_wait(fd, POLLIN, 50))
			return;
	}
}

static inline void web_play(int fd, const struct web_step *s)
{
	static const struct linger now = { .l_onoff = 1 };
	autobuf struct buf b = BUF_INIT;

	buf_printf(&b, "HTTP/1.1 %s\r\nConnection: close\r\n\r\n", s->head);
	if (web_say(fd, b.data, b.len))
		web_say(fd, web_content + s->from, s->to - s->from);
	if (s->end == WEB_DRIP || s->end == WEB_ENDLESS)
		web_say_more(fd, s->end == WEB_ENDLESS);
	if (s->end == WEB_RESET)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	/* a close while something is unread would be a reset, too */
	else if (shutdown(fd, SHUT_WR) == 0)
		web_wait(fd, POLLIN, WEB_COME_MS);
}

static inline void *web_serve(void *arg)
{
	struct web *s = arg;

	while (s->served < s->n && web_wait(s->fd, POLLIN, WEB_COME_MS)) {
		int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			break;
		web_hear(fd, s->request[s->served]);
		web_play(fd, &s->step[s->served]);
		s->served++;
		close(fd);
	}
	return NULL;
}

static inline bool web_start(const struct web_step *step, size_t n)
{
	struct web *s = &web;
	struct sockaddr_in a = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(a);

	*s = (struct web){ .step = step, .n = n };
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&a, len) < 0 ||
	    listen(s->fd, 4) < 0 ||
	    getsockname(s->fd, (struct sockaddr *)&a, &len) < 0)
		return false;
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d/x.img",
		 ntohs(a.sin_port));
	return pthread_create(&s->thread, NULL, web_serve, s) == 0;
}

static inline void web_stop(void)
{
	shutdown(web.fd, SHUT_RDWR);		/* nobody else comes */
	pthread_join(web.thread, NULL);
	close(web.fd);
}

#endif
