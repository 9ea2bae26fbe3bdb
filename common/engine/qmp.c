/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/loop.h"

enum {
	CHUNK = 4096,
	TURNS = 64,	/* chunks, before the others' turn: more than a socket holds */
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* -- receiving -- */

/* More bytes into `in`: 0 none now, 1 some. */
static int receive(struct qmp *q)
{
	char chunk[CHUNK];
	ssize_t n;

	do
		n = recv(q->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return fail(E_STOPPED, "QEMU closed its monitor");
	if (q->in.len + n > QMP_LINE)
		return fail(EPROTO, "QEMU's monitor: a line without end");
	buf_add(&q->in, chunk, n);
	if (q->in.failed)
		return fail(ENOMEM, "out of memory");
	return 1;
}

/* The next whole message, or NULL. What is no JSON object is skipped. */
static json_t *next(struct qmp *q)
{
	for (;;) {
		char *end = q->in.len ? memchr(q->in.data, '\n', q->in.len) :
					NULL;
		size_t len = end ? end + 1 - q->in.data : 0;
		json_t *msg;

		if (!end)
			return NULL;
		msg = json_loadb(q->in.data, len, 0, NULL);
		buf_drop(&q->in, len);
		if (json_is_object(msg))
			return msg;
		json_decref(msg);
	}
}

static bool is_event(struct qmp *q, const json_t *msg)
{
	const char *name = text_of(msg, "event");
	const json_t *data = json_object_get(msg, "data");

	if (*name && q->event)
		q->event(q->arg, name, text_of(data, "reason"),
			 text_of(data, "action"));
	return *name;
}

typedef bool wanted_fn(struct qmp *q, const json_t *msg);

/*
 * Hands out all events in `in`, those behind an answer, too: nothing more may
 * come to remind of them. The message that WANTED (may be NULL) says is the
 * one is returned, to be freed; what else there is, is dropped.
 */
static json_t *take(struct qmp *q, wanted_fn *wanted)
{
	json_t *msg, *found = NULL;

	while ((msg = next(q))) {
		if (!is_event(q, msg) && !found && wanted && wanted(q, msg))
			found = msg;
		else
			json_decref(msg);
	}
	return found;
}

int qmp_read(struct qmp *q)
{
	int rc = 1;

	for (int i = 0; i < TURNS && rc > 0; i++) {
		rc = receive(q);
		take(q, NULL);
	}
	return rc < 0 ? rc : 0;
}

/*
 * Waits for the message that WANTED says is the one; the caller's to free.
 * NULL with the failure in *RC.
 */
static json_t *await(struct qmp *q, wanted_fn *wanted, uint64_t timeout_ns,
		     int *rc)
{
	uint64_t now = now_ns(), deadline = now + timeout_ns;

	for (;; now = now_ns()) {
		struct pollfd p = { .fd = q->fd, .events = POLLIN };
		json_t *msg = take(q, wanted);

		if (msg)
			return msg;
		if (now >= deadline) {
			*rc = fail(E_TIMEOUT, "QEMU does not answer");
			return NULL;
		}
		poll(&p, 1, (deadline - now) / 1000000 + 1);
		*rc = receive(q);
		if (*rc < 0)
			return NULL;
	}
}

/* -- commands -- */

/*
 * A socket takes a text this short whole, or not at all; one that is full has
 * not been read for long. FD goes with it, -1: none.
 */
static int send_text(struct qmp *q, const struct buf *text, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .head = {
		.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	} };
	struct iovec iov = { text->data, text->len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.room);
	}
	do
		n = sendmsg(q->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return fail(E_TIMEOUT, "QEMU does not answer");
	if (n != (ssize_t)text->len)
		return fail(E_STOPPED, "QEMU closed its monitor");
	return 0;
}

static int send_command(struct qmp *q, int fd, const char *command,
			const char *args)
{
	json_t *msg = json_pack("{s:s, s:I, s:o*}", "execute", command, "id",
				(json_int_t)++q->id, "arguments",
				args ? json_loads(args, 0, NULL) : NULL);
	autofree char *json = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	autobuf struct buf text = BUF_INIT;

	json_decref(msg);
	buf_printf(&text, "%s\n", json ? json : "");
	if (!json || text.failed)
		return fail(ENOMEM, "out of memory");
	return send_text(q, &text, fd);
}

static bool is_greeting(struct qmp *q, const json_t *msg)
{
	(void)q;
	return json_object_get(msg, "QMP");
}

static bool is_answer(struct qmp *q, const json_t *msg)
{
	const json_t *id = json_object_get(msg, "id");

	return json_is_integer(id) &&
	       json_integer_value(id) == (json_int_t)q->id;
}

static int call(struct qmp *q, int fd, const char *command, const char *args,
		struct buf *text, uint64_t timeout_ns)
{
	const json_t *value, *error;
	json_t *msg;
	int rc;

	if (q->fd < 0)
		return fail(E_STOPPED, "QEMU has ended");
	rc = send_command(q, fd, command, args);
	msg = rc < 0 ? NULL : await(q, is_answer, timeout_ns, &rc);
	if (!msg)
		return rc;
	rc = 0;
	error = json_object_get(msg, "error");
	value = json_object_get(msg, "return");
	if (error)
		rc = fail(EIO, "QEMU: %s", text_of(error, "desc"));
	else if (text)
		buf_str(text, json_is_string(value) ?
			json_string_value(value) : text_of(value, "status"));
	json_decref(msg);
	return rc;
}

int qmp_call(struct qmp *q, const char *command, const char *args,
	     struct buf *text, uint64_t timeout_ns)
{
	return call(q, -1, command, args, text, timeout_ns);
}

int qmp_give(struct qmp *q, int fd, const char *command, const char *args,
	     uint64_t timeout_ns)
{
	return call(q, fd, command, args, NULL, timeout_ns);
}

int qmp_open(struct qmp *q, int fd, uint64_t timeout_ns, int *major,
	     int *minor)
{
	const json_t *version;
	json_t *msg;
	int rc = 0;

	q->fd = fd;
	q->id = 0;
	buf_init(&q->in);
	msg = await(q, is_greeting, timeout_ns, &rc);
	if (!msg)
		return rc;
	version = json_object_get(json_object_get(json_object_get(msg, "QMP"),
						  "version"), "qemu");
	*major = json_integer_value(json_object_get(version, "major"));
	*minor = json_integer_value(json_object_get(version, "minor"));
	json_decref(msg);
	return qmp_call(q, "qmp_capabilities", NULL, NULL, timeout_ns);
}

void qmp_close(struct qmp *q)
{
	if (q->fd >= 0)
		close(q->fd);
	q->fd = -1;
	buf_release(&q->in);
}
