/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/qmp.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/loop.h"

#include "test.h"

#define MS 1000000ULL
#define SECOND (1000 * MS)

#define GREETING "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":22,\"minor\":2," \
	"\"major\":7},\"package\":\"Debian 1:7.2\"},\"capabilities\":[\"oob\"]}}\r\n"
#define SAID_HELLO "{\"return\":{},\"id\":1}\r\n"
/* An answer of nothing, and an event whose reason is R. */
#define DONE(id) "{\"return\":{},\"id\":" #id "}\r\n"
#define EVENT(name, r) "{\"timestamp\":{\"seconds\":1,\"microseconds\":2}," \
	"\"event\":\"" name "\",\"data\":{\"guest\":true,\"reason\":\"" r "\"}}\r\n"

/* What opens a conversation; "|" stands for a command of the client's. */
#define HELLO GREETING "|" SAID_HELLO

/*
 * A QMP client, and the other end of its socket with a thread that follows a
 * script: it says the text up to each "|" and then waits for a command.
 */
static struct fixture {
	struct qmp q;
	int peer;
	struct buf events;	/* "NAME/REASON[/ACTION] " each */
	struct buf heard;	/* the commands */
	uint64_t pause_ns;	/* before each byte */
	pthread_t thread;
	bool runs;		/* the thread is to be joined */
} fx;

static void on_event(void *arg, const char *name, const char *reason,
		     const char *action)
{
	struct fixture *f = arg;

	buf_printf(&f->events, "%s/%s%s%s ", name, reason, *action ? "/" : "",
		   action);
}

static bool send_text(const char *text, size_t len)
{
	return send(fx.peer, text, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool say_piece(const char *text, size_t len)
{
	struct timespec ts = { .tv_nsec = fx.pause_ns };

	if (!fx.pause_ns)
		return len == 0 || send_text(text, len);
	for (; len; text++, len--)
		if (nanosleep(&ts, NULL) < 0 || !send_text(text, 1))
			return false;
	return true;
}

static bool hear_command(void)
{
	char c = '\0';

	while (c != '\n') {
		if (recv(fx.peer, &c, 1, 0) != 1)
			return false;
		buf_char(&fx.heard, c);
	}
	return true;
}

static void *follow_script(void *arg)
{
	for (const char *text = arg, *end;; text = end + 1) {
		end = strchrnul(text, '|');
		if (!say_piece(text, end - text) || !*end || !hear_command())
			return NULL;
	}
}

/* Waits for the end of the script. */
static void finish(void)
{
	if (fx.runs)
		pthread_join(fx.thread, NULL);
	fx.runs = false;
}

static bool follow(const char *script, uint64_t pause_ns)
{
	finish();
	fx.pause_ns = pause_ns;
	fx.runs = pthread_create(&fx.thread, NULL, follow_script,
				 (void *)script) == 0;
	return fx.runs;
}

/* *FD becomes the client's end; the peer follows SCRIPT. */
static bool begin_slow(int *fd, const char *script, uint64_t pause_ns)
{
	int pair[2];

	alarm(60);	/* what waits for ever has failed */
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return false;
	fx = (struct fixture){
		.q = { .fd = -1, .event = on_event, .arg = &fx },
		.peer = pair[0],
	};
	buf_init(&fx.q.in);
	buf_init(&fx.events);
	buf_init(&fx.heard);
	*fd = pair[1];
	return follow(script, pause_ns);
}

static bool begin(int *fd, const char *script)
{
	return begin_slow(fd, script, 0);
}

static void end(void)
{
	qmp_close(&fx.q);	/* what also ends a script */
	finish();
	close_fd(&fx.peer);
	buf_release(&fx.events);
	buf_release(&fx.heard);
}

/* What the peer says after its script, whether it was asked or not. */
static bool say(const char *text)
{
	finish();
	return send_text(text, strlen(text));
}

/* All that the client said. */
static const char *heard(void)
{
	char c;

	finish();
	while (recv(fx.peer, &c, 1, MSG_DONTWAIT) == 1)
		buf_char(&fx.heard, c);
	return fx.heard.data;
}

/* A peer that goes away. */
static void leave(void)
{
	finish();
	close_fd(&fx.peer);
	fx.peer = -1;
}

/* As far as command mode; SCRIPT begins with HELLO. */
static int open_with(const char *script)
{
	int fd, major, minor;

	if (!begin(&fd, script))
		return -EIO;
	return qmp_open(&fx.q, fd, SECOND, &major, &minor);
}

static int call(const char *command)
{
	return qmp_call(&fx.q, command, NULL, NULL, SECOND);
}

TEST(a_greeting_tells_the_version_and_command_mode_is_entered)
{
	int fd, major = 0, minor = 0;

	OK(begin(&fd, HELLO));
	EQ(qmp_open(&fx.q, fd, SECOND, &major, &minor), 0);
	EQ(major, 7);
	EQ(minor, 2);
	STR(heard(), "{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
	end();
}

TEST(commands_are_numbered_and_have_their_arguments)
{
	EQ(open_with(HELLO "|" DONE(2) "|" DONE(3) "|" DONE(4)), 0);
	EQ(call("cont"), 0);
	EQ(qmp_call(&fx.q, "human-monitor-command",
		    "{\"command-line\": \"i /w 0x602\"}", NULL, SECOND), 0);
	EQ(call("stop"), 0);
	STR(heard(), "{\"execute\":\"qmp_capabilities\",\"id\":1}\n"
	    "{\"execute\":\"cont\",\"id\":2}\n"
	    "{\"execute\":\"human-monitor-command\",\"id\":3,"
	    "\"arguments\":{\"command-line\":\"i /w 0x602\"}}\n"
	    "{\"execute\":\"stop\",\"id\":4}\n");
	end();
}

TEST(what_a_command_returns_is_its_text_or_its_status)
{
	static const struct { const char *answer, *text; } is[] = {
		{ "\"0600: 0x0100\\r\\n\"", "0600: 0x0100\r\n" },
		{ "{\"running\":true,\"status\":\"internal-error\"}",
		  "internal-error" },
		{ "{\"status\":7}", "" },
		{ "{}", "" },
		{ "[\"status\"]", "" },
		{ "null", "" },
		{ "\"\"", "" },
	};
	char line[200];

	EQ(open_with(HELLO), 0);
	for (size_t i = 0; i < ARRAY_SIZE(is); i++) {
		autobuf struct buf text = BUF_INIT;

		snprintf(line, sizeof(line), "{\"return\": %s, \"id\": %zu}\n",
			 is[i].answer, i + 2);
		OK(say(line));
		EQ(qmp_call(&fx.q, "x", NULL, &text, SECOND), 0);
		STR(text.data, is[i].text);
	}
	end();
}

TEST(a_refusal_is_qemus_own_sentence)
{
	EQ(open_with(HELLO "|{\"id\":2,\"error\":{\"class\":\"GenericError\","
		     "\"desc\":\"Resetting the \\u001b[31mVM is required\"}}\n"
		     "|{\"id\":3,\"error\":7}\n|" DONE(4)), 0);
	EQ(call("cont"), -EIO);
	STR(err_text(), "QEMU: Resetting the ?[31mVM is required");
	EQ(call("cont"), -EIO);
	STR(err_text(), "QEMU: ");
	EQ(call("cont"), 0);
	end();
}

TEST(a_peer_that_closes_has_ended)
{
	int fd, major, minor;

	OK(begin(&fd, ""));
	leave();
	EQ(qmp_open(&fx.q, fd, SECOND, &major, &minor), -E_STOPPED);
	end();

	OK(begin(&fd, "{\"QMP\":{\"version\""));
	leave();
	EQ(qmp_open(&fx.q, fd, SECOND, &major, &minor), -E_STOPPED);
	STR(err_text(), "QEMU closed its monitor");
	end();

	EQ(open_with(HELLO), 0);
	finish();
	shutdown(fx.peer, SHUT_WR);	/* it hears us still */
	EQ(call("cont"), -E_STOPPED);
	EQ(qmp_read(&fx.q), -E_STOPPED);
	leave();
	EQ(call("cont"), -E_STOPPED);
	end();
	EQ(call("cont"), -E_STOPPED);	/* we closed it */
}

TEST(what_came_before_the_end_is_handed_out)
{
	EQ(open_with(HELLO), 0);
	OK(say(EVENT("POWERDOWN", "") EVENT("SHUTDOWN", "guest-shutdown")));
	leave();
	EQ(qmp_read(&fx.q), -E_STOPPED);
	STR(fx.events.data, "POWERDOWN/ SHUTDOWN/guest-shutdown ");
	end();

	EQ(open_with(HELLO), 0);
	OK(say(DONE(2) EVENT("STOP", "")));
	shutdown(fx.peer, SHUT_WR);
	EQ(call("stop"), 0);
	STR(fx.events.data, "STOP/ ");
	end();
}

TEST(another_protocol_is_waited_out)
{
	static const char *const texts[] = {
		"220 mail.example ESMTP\r\n", "{\"return\":{}}\n", "\n\n\n",
		"[\"QMP\"]\n", "\"QMP\"\n", "{\"qmp\":{}}\n", "\377\376\n",
		DONE(1), "{\"event\":\"QMP\"}\n", "QMP QMP QMP",
	};
	int fd, major, minor;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		OK(begin(&fd, texts[i]));
		EQ(qmp_open(&fx.q, fd, 10 * MS, &major, &minor), -E_TIMEOUT);
		STR(err_text(), "QEMU does not answer");
		STR(heard(), "");
		end();
	}
}

TEST(a_greeting_without_a_version_is_of_version_0)
{
	static const char *const texts[] = {
		"{\"QMP\":{}}\n|" SAID_HELLO, "{\"QMP\":7}\n|" SAID_HELLO,
		"{\"QMP\":{\"version\":[]}}\n|" SAID_HELLO,
		"{\"QMP\":{\"version\":{\"qemu\":{\"major\":\"7\",\"minor\":2.5"
			"}}}}\n|" SAID_HELLO,
	};
	int fd, major, minor;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		OK(begin(&fd, texts[i]));
		major = minor = 9;
		EQ(qmp_open(&fx.q, fd, SECOND, &major, &minor), 0);
		EQ(major, 0);
		EQ(minor, 0);
		end();
	}
}

/* A message that is an event of LEN bytes in all, its newline included. */
static char *long_event(size_t len)
{
	static const char head[] = "{\"event\":\"LONG\",\"data\":{\"x\":\"";
	static const char tail[] = "\"}}\n";
	char *text = malloc(len + 1);

	memset(text, 'x', len);
	memcpy(text, head, strlen(head));
	memcpy(text + len - strlen(tail), tail, strlen(tail) + 1);
	return text;
}

/* Sends LEN bytes of TEXT, reading the other end all along. */
static int feed(const char *text, size_t len)
{
	int rc = 0;

	while (len && rc == 0) {
		ssize_t n = send(fx.peer, text, min_u64(len, 4096),
				 MSG_NOSIGNAL);

		if (n <= 0)
			return -EIO;
		text += n;
		len -= n;
		rc = qmp_read(&fx.q);
	}
	return rc;
}

TEST(a_line_is_as_long_as_promised_and_no_longer)
{
	autofree char *fits = long_event(QMP_LINE);
	autofree char *endless = malloc(2 * QMP_LINE);

	EQ(open_with(HELLO), 0);
	for (int i = 0; i < 3; i++)
		EQ(feed(fits, QMP_LINE), 0);
	STR(fx.events.data, "LONG/ LONG/ LONG/ ");
	memset(endless, '{', 2 * QMP_LINE);
	EQ(feed(endless, QMP_LINE), 0);
	EQ(feed(endless, 1), -EPROTO);
	OK(fx.q.in.len <= QMP_LINE);
	end();

	EQ(open_with(HELLO), 0);	/* while an answer is waited for */
	EQ(feed(endless, QMP_LINE - 10), 0);
	OK(say("{{{{{{{{{{{{{{{{\n" DONE(2)));
	EQ(call("cont"), -EPROTO);
	end();
}

TEST(garbage_between_messages_is_skipped)
{
	autobuf struct buf text = BUF_INIT;

	EQ(open_with(HELLO "|"
		     "\n"
		     "{\n"
		     "}\n"
		     "[]\n"
		     "[{\"return\":{},\"id\":2}]\n"
		     "nonsense\n"
		     "{\"return\":{},\"id\":2\n"
		     "{\"return\":{},\"id\":2}}\n"
		     "{\"return\":\"\xff\",\"id\":2}\n"
		     "{\"return\":\"\\u0000\",\"id\":2}\n"
		     "{\"return\":{},\"id\":\"2\"}\n"
		     "{\"return\":{},\"id\":2.0}\n"
		     "{\"return\":{}}\n"
		     "{\"event\":7}\n{\"event\":\"\"}\n{\"event\":null}\n"
		     EVENT("STOP", "")
		     "{\"return\":\"this\",\"id\":2}\n"), 0);
	EQ(qmp_call(&fx.q, "x", NULL, &text, SECOND), 0);
	STR(text.data, "this");
	STR(fx.events.data, "STOP/ ");
	end();
}

TEST(a_nul_or_a_tower_of_brackets_is_garbage_too)
{
	autobuf struct buf text = BUF_INIT;
	static const char nul[] = "{\"return\":{},\0\"id\":2}\n\0\0\n";
	char *tower = malloc(QMP_LINE);

	EQ(open_with(HELLO), 0);
	EQ(feed(nul, sizeof(nul) - 1), 0);
	memset(tower, '[', QMP_LINE);
	tower[QMP_LINE - 1] = '\n';
	EQ(feed(tower, QMP_LINE), 0);
	for (int i = 0; i < QMP_LINE - 5; i += 5)
		memcpy(tower + i, "{\"a\":", 5);
	EQ(feed(tower, QMP_LINE), 0);
	free(tower);
	OK(say("{\"return\":\"this\",\"id\":2}\n"));
	EQ(qmp_call(&fx.q, "x", NULL, &text, SECOND), 0);
	STR(text.data, "this");
	end();
}

TEST(events_are_handed_out_once_and_in_order)
{
	int fd, major, minor;

	OK(begin(&fd, EVENT("A", "before") GREETING EVENT("B", "") "|"
		 SAID_HELLO EVENT("C", "between") "{\"event\":\"D\"}\n|"
		 EVENT("E", "") DONE(2) "{\"event\":\"F\",\"data\":[]}\n|"
		 EVENT("G", "\\u00e4") DONE(3)));
	EQ(qmp_open(&fx.q, fd, SECOND, &major, &minor), 0);
	STR(fx.events.data, "A/before B/ C/between D/ ");
	EQ(call("one"), 0);
	EQ(qmp_read(&fx.q), 0);
	EQ(call("two"), 0);
	OK(say(EVENT("H", "")));
	EQ(qmp_read(&fx.q), 0);
	EQ(qmp_read(&fx.q), 0);
	STR(fx.events.data,
	    "A/before B/ C/between D/ E/ F/ G/\303\244 H/ ");
	end();
}

TEST(an_event_behind_an_answer_needs_nothing_more_to_come)
{
	struct pollfd p = { .events = POLLIN };

	EQ(open_with(HELLO), 0);
	OK(say(DONE(2) EVENT("SHUTDOWN", "guest-reset")));
	EQ(call("stop"), 0);
	STR(fx.events.data, "SHUTDOWN/guest-reset ");
	p.fd = fx.q.fd;		/* nobody would have been woken for it */
	EQ(poll(&p, 1, 0), 0);
	end();
}

TEST(half_an_event_is_handed_out_when_it_is_whole)
{
	static const char event[] = EVENT("RESET", "guest-reset");

	EQ(open_with(HELLO), 0);
	for (size_t i = 0; i < strlen(event); i++) {
		STR(fx.events.data, "");
		EQ(feed(event + i, 1), 0);
	}
	STR(fx.events.data, "RESET/guest-reset ");
	end();
}

TEST(nobody_need_want_events)
{
	EQ(open_with(HELLO), 0);
	fx.q.event = NULL;
	OK(say(EVENT("A", "") DONE(2) EVENT("B", "")));
	EQ(call("x"), 0);
	EQ(qmp_read(&fx.q), 0);
	STR(fx.events.data, "");
	end();
}

TEST(an_answer_that_comes_too_late_is_not_the_next_ones)
{
	autobuf struct buf text = BUF_INIT;

	EQ(open_with(HELLO), 0);
	EQ(qmp_call(&fx.q, "slow", NULL, &text, 5 * MS), -E_TIMEOUT);
	OK(say("{\"return\":\"slow\",\"id\":2}\n" EVENT("A", "")
	       "{\"error\":{\"desc\":\"slow\"},\"id\":2}\n"
	       "{\"return\":\"no one's\",\"id\":17}\n"
	       "{\"return\":\"quick\",\"id\":3}\n"));
	EQ(qmp_call(&fx.q, "quick", NULL, &text, SECOND), 0);
	STR(text.data, "quick");
	STR(fx.events.data, "A/ ");
	end();
}

TEST(a_peer_that_says_nothing_is_given_up_in_time)
{
	uint64_t start = now_ns(), took;
	int fd, major, minor;

	OK(begin(&fd, ""));
	EQ(qmp_open(&fx.q, fd, 50 * MS, &major, &minor), -E_TIMEOUT);
	took = now_ns() - start;
	OK(took >= 50 * MS && took < SECOND);
	end();

	EQ(open_with(HELLO), 0);
	EQ(qmp_call(&fx.q, "cont", NULL, NULL, 0), -E_TIMEOUT);
	EQ(qmp_read(&fx.q), 0);
	end();
}

TEST(time_passes_also_while_a_peer_talks_without_answering)
{
	static const char event[] = EVENT("NOISE", "");
	autobuf struct buf noise = BUF_INIT;
	uint64_t start;

	for (int i = 0; i < 100; i++)
		buf_str(&noise, event);
	EQ(open_with(HELLO), 0);
	start = now_ns();
	OK(follow(noise.data, 20000));	/* for 200 ms and more */
	EQ(qmp_call(&fx.q, "cont", NULL, NULL, 50 * MS), -E_TIMEOUT);
	OK(now_ns() - start < SECOND);
	shutdown(fx.q.fd, SHUT_RDWR);	/* it need not say it all */
	end();
}

TEST(bytes_may_come_one_by_one)
{
	int fd, major, minor;

	OK(begin_slow(&fd, GREETING EVENT("A", "x") "|" SAID_HELLO
		      EVENT("B", "y") "|" EVENT("C", "z") DONE(2), 20000));
	EQ(qmp_open(&fx.q, fd, 10 * SECOND, &major, &minor), 0);
	EQ(major, 7);
	EQ(qmp_call(&fx.q, "cont", NULL, NULL, 10 * SECOND), 0);
	STR(fx.events.data, "A/x B/y C/z ");
	end();
}

TEST(a_peer_that_reads_nothing_does_not_hold_up_the_caller)
{
	uint64_t start = now_ns();
	int whole = 0;

	EQ(open_with(HELLO), 0);
	finish();
	for (int i = 0; i < 2000; i++)
		EQ(qmp_call(&fx.q, "human-monitor-command",
			    "{\"command-line\":\"i /w 0x602\"}", NULL, 0),
		   -E_TIMEOUT);
	OK(now_ns() - start < 20 * SECOND);
	/* it reads again: no command was cut in two */
	for (const char *c = heard(); *c; c++)
		whole += *c == '{' ? 1 : *c == '\n' ? -2 : 0;
	EQ(whole, -1);		/* qmp_capabilities had no arguments */
	end();
}

TEST(a_peer_that_never_stops_leaves_others_their_turn)
{
	autofree char *event = long_event(500);
	autobuf struct buf flood = BUF_INIT;
	uint64_t start = now_ns();

	while (flood.len < 4 << 20)
		buf_add(&flood, event, 500);
	EQ(open_with(HELLO), 0);
	OK(follow(flood.data, 0));
	while (fx.events.len < flood.len / 500 * 6) {
		size_t before = fx.events.len;

		EQ(qmp_read(&fx.q), 0);
		OK(fx.events.len - before <= (QMP_LINE / 500 + 10) * 6);
		OK(now_ns() - start < 20 * SECOND);
	}
	end();
}

TEST(closing_is_idempotent_and_takes_the_socket)
{
	int fd, major, minor;
	char c;

	OK(begin(&fd, ""));
	finish();
	shutdown(fx.peer, SHUT_WR);
	EQ(qmp_open(&fx.q, fd, SECOND, &major, &minor), -E_STOPPED);
	EQ(fx.q.fd, fd);	/* taken, also on failure */
	qmp_close(&fx.q);
	qmp_close(&fx.q);
	EQ(fx.q.fd, -1);
	EQ(recv(fx.peer, &c, 1, MSG_DONTWAIT), 0);
	end();
}

TESTS(T(a_greeting_tells_the_version_and_command_mode_is_entered),
      T(commands_are_numbered_and_have_their_arguments),
      T(what_a_command_returns_is_its_text_or_its_status),
      T(a_refusal_is_qemus_own_sentence), T(a_peer_that_closes_has_ended),
      T(what_came_before_the_end_is_handed_out),
      T(another_protocol_is_waited_out),
      T(a_greeting_without_a_version_is_of_version_0),
      T(a_line_is_as_long_as_promised_and_no_longer),
      T(garbage_between_messages_is_skipped),
      T(a_nul_or_a_tower_of_brackets_is_garbage_too),
      T(events_are_handed_out_once_and_in_order),
      T(an_event_behind_an_answer_needs_nothing_more_to_come),
      T(half_an_event_is_handed_out_when_it_is_whole),
      T(nobody_need_want_events),
      T(an_answer_that_comes_too_late_is_not_the_next_ones),
      T(a_peer_that_says_nothing_is_given_up_in_time),
      T(time_passes_also_while_a_peer_talks_without_answering),
      T(bytes_may_come_one_by_one),
      T(a_peer_that_reads_nothing_does_not_hold_up_the_caller),
      T(a_peer_that_never_stops_leaves_others_their_turn),
      T(closing_is_idempotent_and_takes_the_socket))
