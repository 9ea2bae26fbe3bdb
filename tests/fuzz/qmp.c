/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a QEMU that its guest has taken over may say on its monitor: any
 * bytes, pieces of messages among them, at any time. The same bytes in other
 * portions are the same events, and no call takes what it is not to.
 */
#include "engine/qmp.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/err.h"
#include "input.h"

/* A byte below their number stands for one of these. */
static const char *const pieces[] = {
	"\n", "{\"event\":\"", "{\"event\": \"STOP\"}\n",
	"\",\"data\":{\"reason\":\"", "SHUTDOWN", "guest-reset", "\"}}\n",
	"{\"return\":{},\"id\":", "{\"return\":\"", "\",\"id\":",
	"{\"return\":{\"status\":\"", "\"},\"id\":",
	"{\"id\":", ",\"error\":{\"class\":\"GenericError\",\"desc\":\"",
	"1", "2", "3", "4", "}\n", "\"}\n", "{", "}", "[", "]", "\"", "\\u0000",
	"\\ud800", "\377", "\\", "1e999", "99999999999999999999", "null",
	"{\"QMP\":{\"version\":{\"qemu\":{\"major\":", ",\"minor\":", "}}}}\n",
	"{\"QMP\":{\"version\":{\"qemu\":{\"minor\":2,\"major\":7}}}}\r\n",
	"{\"return\":{},\"id\":1}\r\n", "{\"return\":{},\"id\":2}\r\n",
};

enum { PORTION = 64, TALK = 16 << 10 };

struct peer {
	struct qmp q;
	int fd;
	struct buf events;
};

static void on_event(void *arg, const char *name, const char *reason,
		     const char *action)
{
	struct peer *p = arg;

	MUST(*name && reason && action);
	buf_printf(&p->events, "%s/%s\n", name, reason);
}

static void begin(struct peer *p)
{
	int pair[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	p->q = (struct qmp){ .fd = pair[0], .event = on_event, .arg = p };
	p->fd = pair[1];
	buf_init(&p->q.in);
	buf_init(&p->events);
}

static void end(struct peer *p)
{
	qmp_close(&p->q);
	close(p->fd);
	buf_release(&p->events);
}

/* Never so much that nobody has read that the socket is full. */
static void say(struct peer *p, const char *text, size_t len)
{
	MUST(send(p->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) ==
	     (ssize_t)len);
}

static void check(const struct peer *p, int rc)
{
	MUST(rc == 0 || rc == -EIO || rc == -E_TIMEOUT || rc == -EPROTO);
	MUST(p->q.in.len <= QMP_LINE);
	MUST(rc == 0 || *err_text());
}

static void call(struct peer *p, bool line)
{
	autobuf struct buf text = BUF_INIT;
	uint64_t id = p->q.id;
	int rc = qmp_call(&p->q, "command", line ? "{\"a\":1}" : NULL, &text, 1);

	check(p, rc);
	MUST(p->q.id == id + 1);
	MUST(rc == 0 || text.len == 0);
	MUST(strlen(text.data) == text.len);
}

/* The next portion of what IN says, which is not empty. */
static void say_some(struct peer *p, struct input *in, struct buf *said)
{
	size_t from = said->len;

	for (int n = take8(in) % PORTION; n >= 0; n--) {
		uint8_t c = take8(in);

		if (c < ARRAY_SIZE(pieces))
			buf_str(said, pieces[c]);
		else
			buf_char(said, c);
	}
	say(p, said->data + from, said->len - from);
}

/* As an engine would talk to it. */
static void talk(struct input *in, struct buf *said)
{
	int major = 0, minor = 0;
	struct peer p;

	begin(&p);
	say_some(&p, in, said);
	check(&p, qmp_open(&p.q, p.q.fd, 1, &major, &minor));
	while (in->len && said->len < TALK) {
		say_some(&p, in, said);
		if (take8(in) % 4)
			call(&p, take8(in) & 1);
		else
			check(&p, qmp_read(&p.q));
	}
	shutdown(p.fd, SHUT_WR);
	MUST(qmp_read(&p.q) == -E_STOPPED);
	end(&p);
}

/* The events in SAID, which comes in portions of SIZE bytes. */
static void listen_to(struct peer *p, const struct buf *said, size_t size)
{
	begin(p);
	for (size_t i = 0; i < said->len; i += size) {
		say(p, said->data + i, min_u64(size, said->len - i));
		MUST(qmp_read(&p->q) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	autobuf struct buf said = BUF_INIT;
	size_t size = 1 + take8(&in);
	struct peer whole, parts;

	talk(&in, &said);
	listen_to(&whole, &said, TALK);
	listen_to(&parts, &said, size);
	MUST(!strcmp(whole.events.data, parts.events.data));
	MUST(whole.q.in.len == parts.q.in.len);
	end(&whole);
	end(&parts);
	return 0;
}
