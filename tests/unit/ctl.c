/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/file.h"

#include "test.h"

#define SECOND 1000000000ULL

/* A server in a thread of its own, in a scratch directory. */
static struct fixture {
	char path[32];
	int run;
	struct loop loop;
	struct ctl_server server;
	pthread_t thread;
} fx;

static int verb_echo(void *ctx, int argc, char **argv, struct buf *answer,
		     int *fd)
{
	(void)ctx, (void)fd;
	buf_printf(answer, "argc=%d\n", argc);
	for (int i = 0; i < argc; i++)
		buf_printf(answer, "arg%d=%s\n", i, argv[i]);
	return argv[argc] ? fail(EPROTO, "no NULL at the end") : 0;
}

static int verb_refuse(void *ctx, int argc, char **argv, struct buf *answer,
		       int *fd)
{
	(void)ctx, (void)argc, (void)argv, (void)answer, (void)fd;
	return fail(E_BUSY, "console has a writer");
}

static int verb_pipe(void *ctx, int argc, char **argv, struct buf *answer,
		     int *fd)
{
	int p[2];

	(void)ctx, (void)argc, (void)argv, (void)answer;
	if (pipe2(p, O_CLOEXEC) < 0)
		return fail_sys("pipe");
	(void)!write(p[1], "hello", 5);
	close(p[1]);
	*fd = p[0];
	return 0;
}

static int verb_long(void *ctx, int argc, char **argv, struct buf *answer,
		     int *fd)
{
	(void)ctx, (void)argc, (void)argv, (void)fd;
	for (int i = 0; i < CTL_MSG; i++)
		buf_char(answer, 'x');
	return 0;
}

static int verb_notify(void *ctx, int argc, char **argv, struct buf *answer,
		       int *fd)
{
	(void)argc, (void)argv, (void)answer, (void)fd;
	ctl_notify(&((struct fixture *)ctx)->server, "state=paused\n");
	return 0;
}

/* Far more events than any socket holds. */
static int verb_flood(void *ctx, int argc, char **argv, struct buf *answer,
		      int *fd)
{
	struct fixture *f = ctx;
	int left = 0;

	(void)argc, (void)argv, (void)fd;
	for (int i = 0; i < 5000; i++)
		ctl_notify(&f->server, "state=running\n");
	for (int i = 0; i < CTL_CONNS; i++)
		left += f->server.conn[i].events;
	buf_printf(answer, "watchers=%d\n", left);
	return 0;
}

static const struct ctl_verb verbs[] = {
	{ "echo", 3, verb_echo },
	{ "refuse", 0, verb_refuse },
	{ "pipe", 0, verb_pipe },
	{ "long", 0, verb_long },
	{ "notify", 0, verb_notify },
	{ "flood", 0, verb_flood },
	{ 0 }
};

static void *serve(void *arg)
{
	loop_run(arg);
	return NULL;
}

/* A directory whose path no sockaddr_un could hold. */
static bool make_long_dir(void)
{
	char path[512];

	snprintf(fx.path, sizeof(fx.path), "/tmp/ctl-test.XXXXXX");
	if (!mkdtemp(fx.path))
		return false;
	snprintf(path, sizeof(path), "%s/%0200d", fx.path, 0);
	if (mkdir(path, 0700) < 0)
		return false;
	fx.run = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fx.run >= 0;
}

static bool begin(void)
{
	memset(&fx, 0, sizeof(fx));
	return make_long_dir() && loop_init(&fx.loop) == 0 &&
	       ctl_listen(&fx.server, &fx.loop, fx.run, verbs, &fx) == 0 &&
	       pthread_create(&fx.thread, NULL, serve, &fx.loop) == 0;
}

static void stop_server(void)
{
	loop_stop(&fx.loop);
	pthread_join(fx.thread, NULL);
	ctl_close(&fx.server);
}

static void end(void)
{
	stop_server();
	loop_release(&fx.loop);
	close(fx.run);
	remove_tree(AT_FDCWD, fx.path);
}

TEST(a_request_is_answered_with_its_words)
{
	autobuf struct buf a = BUF_INIT;
	autoclose int conn = -1;

	OK(begin());
	conn = ctl_connect(fx.run);
	OK(conn >= 0);
	EQ(ctl_call(conn, "echo  b =c", &a, NULL, SECOND), 0);
	STR(a.data, "argc=2\narg0=b\narg1==c\n");
	buf_clear(&a);
	EQ(ctl_call(conn, "notify", &a, NULL, SECOND), 0);
	STR(a.data, "");
	end();
}

TEST(a_failure_keeps_its_code_and_its_sentence)
{
	autoclose int conn = -1;

	OK(begin());
	conn = ctl_connect(fx.run);
	EQ(ctl_call(conn, "refuse", NULL, NULL, SECOND), -E_BUSY);
	STR(err_text(), "console has a writer");
	EQ(ctl_call(conn, "nonsense", NULL, NULL, SECOND), -E_USAGE);
	STR(err_text(), "nonsense: no such request");
	EQ(ctl_call(conn, "refuse x", NULL, NULL, SECOND), -E_USAGE);
	EQ(ctl_call(conn, " ", NULL, NULL, SECOND), -E_USAGE);
	EQ(ctl_call(conn, "a a a a a a a a a a a a a a a a a", NULL, NULL,
		    SECOND), -E_USAGE);
	EQ(err_exit(ctl_call(conn, "long", NULL, NULL, SECOND)), EXIT_FAILED);
	STR(err_text(), "the answer is too long");
	end();
}

TEST(a_descriptor_travels_and_is_closed_when_not_wanted)
{
	autoclose int conn = -1;
	char text[8] = "";
	int fd, probe;

	OK(begin());
	conn = ctl_connect(fx.run);
	EQ(ctl_call(conn, "pipe", NULL, &fd, SECOND), 0);
	OK(fd >= 0);
	OK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	EQ(read(fd, text, sizeof(text)), 5);
	STR(text, "hello");
	close(fd);
	EQ(ctl_call(conn, "echo", NULL, &fd, SECOND), 0);
	EQ(fd, -1);
	probe = dup(conn);
	close(probe);
	for (int i = 0; i < 10; i++)
		EQ(ctl_call(conn, "pipe", NULL, NULL, SECOND), 0);
	EQ(ctl_call(conn, "echo", NULL, NULL, SECOND), 0);
	fd = dup(conn);
	close(fd);
	EQ(fd, probe);		/* nothing stayed open */
	end();
}

TEST(watchers_get_events_and_others_do_not)
{
	autobuf struct buf ev = BUF_INIT;
	autoclose int conn = -1, other = -1;
	char v[16];

	OK(begin());
	conn = ctl_connect(fx.run);
	other = ctl_connect(fx.run);
	EQ(ctl_call(conn, "watch", NULL, NULL, SECOND), 0);
	EQ(ctl_call(other, "notify", NULL, NULL, SECOND), 0);
	EQ(ctl_event(conn, &ev, SECOND), 0);
	OK(ctl_value(ev.data, "state", v, sizeof(v)));
	STR(v, "paused");
	EQ(ctl_event(conn, &ev, 0), -E_TIMEOUT);
	EQ(ctl_event(other, &ev, 0), -E_TIMEOUT);
	/* an event before the answer is not the answer */
	EQ(ctl_call(conn, "notify", NULL, NULL, SECOND), 0);
	EQ(ctl_call(conn, "refuse", NULL, NULL, SECOND), -E_BUSY);
	end();
}

TEST(a_watcher_that_does_not_read_is_dropped_and_holds_up_nobody)
{
	autobuf struct buf a = BUF_INIT;
	autoclose int lazy = -1, conn = -1;
	int rc;

	OK(begin());
	lazy = ctl_connect(fx.run);
	conn = ctl_connect(fx.run);
	EQ(ctl_call(lazy, "watch", NULL, NULL, SECOND), 0);
	EQ(ctl_call(conn, "flood", &a, NULL, 10 * SECOND), 0);
	STR(a.data, "watchers=0\n");
	do
		rc = ctl_event(lazy, &a, SECOND);
	while (rc == 0);
	EQ(rc, -E_STOPPED);
	end();
}

TEST(nobody_listening_is_not_running)
{
	struct stat st;

	OK(begin());
	EQ(fstatat(fx.run, "ctl", &st, 0), 0);
	EQ(st.st_mode & 0777, 0600);
	stop_server();
	EQ(fstatat(fx.run, "ctl", &st, 0), 0);	/* dead, but there */
	EQ(ctl_connect(fx.run), -E_STOPPED);
	STR(err_text(), "not running");
	unlinkat(fx.run, "ctl", 0);
	EQ(ctl_connect(fx.run), -E_STOPPED);
	loop_release(&fx.loop);
	close(fx.run);
	remove_tree(AT_FDCWD, fx.path);
}

TEST(a_dead_socket_is_replaced_and_a_live_one_is_not)
{
	static struct ctl_server second;
	struct loop loop;
	autoclose int conn = -1;

	OK(begin());
	EQ(loop_init(&loop), 0);
	EQ(ctl_listen(&second, &loop, fx.run, verbs, &fx), -E_BUSY);
	conn = ctl_connect(fx.run);
	EQ(ctl_call(conn, "echo", NULL, NULL, SECOND), 0);
	stop_server();
	EQ(ctl_listen(&second, &loop, fx.run, verbs, &fx), 0);
	ctl_close(&second);
	ctl_close(&second);
	loop_release(&loop);
	loop_release(&fx.loop);
	close(fx.run);
	remove_tree(AT_FDCWD, fx.path);
}

TEST(the_connection_ends_with_the_server)
{
	autobuf struct buf ev = BUF_INIT;
	autoclose int conn = -1;

	OK(begin());
	conn = ctl_connect(fx.run);
	EQ(ctl_call(conn, "watch", NULL, NULL, SECOND), 0);
	stop_server();
	EQ(ctl_event(conn, &ev, SECOND), -E_STOPPED);
	EQ(ctl_call(conn, "echo", NULL, NULL, SECOND), -E_STOPPED);
	loop_release(&fx.loop);
	close(fx.run);
	remove_tree(AT_FDCWD, fx.path);
}

/* Sends bytes as they are, with descriptors nobody asked for. */
static int send_raw(int conn, const void *data, size_t len, bool fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(8 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)data, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fds) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(8 * sizeof(int));
		for (int i = 0; i < 8; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &conn,
			       sizeof(int));
	}
	return sendmsg(conn, &m, MSG_NOSIGNAL);
}

TEST(the_server_outlives_hostile_peers)
{
	static char big[2 * CTL_MSG];
	autoclose int conn = -1, good = -1;
	autobuf struct buf a = BUF_INIT;
	char msg[64] = "";

	OK(begin());
	good = ctl_connect(fx.run);
	conn = ctl_connect(fx.run);
	memset(big, 'a', sizeof(big));
	OK(send_raw(conn, big, sizeof(big), false) > 0);
	OK(recv(conn, msg, sizeof(msg), 0) > 0);
	STR(msg, "fail 2 malformed request");
	OK(send_raw(conn, "ec\0ho", 5, false) > 0);
	OK(recv(conn, msg, sizeof(msg), 0) > 0);
	STR(msg, "fail 2 malformed request");
	memset(big, ' ', sizeof(big));
	OK(send_raw(conn, big, CTL_MSG, true) > 0);
	memset(msg, 0, sizeof(msg));
	OK(recv(conn, msg, sizeof(msg), 0) > 0);
	STR(msg, "fail 2 empty request");
	OK(send_raw(conn, "\033[2Jx", 5, true) > 0);
	memset(msg, 0, sizeof(msg));
	OK(recv(conn, msg, sizeof(msg), 0) > 0);
	STR(msg, "fail 2 ?[2Jx: no such request");
	/* asks and never reads the answers */
	for (int i = 0; i < 5000; i++)
		if (send(conn, "echo", 4, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
		    errno != EAGAIN)
			break;
	EQ(ctl_call(good, "echo 1", &a, NULL, 5 * SECOND), 0);
	end();
}

TEST(too_many_connections_are_told_to_try_again)
{
	int conn[CTL_CONNS], extra;

	OK(begin());
	for (int i = 0; i < CTL_CONNS; i++) {
		conn[i] = ctl_connect(fx.run);
		OK(conn[i] >= 0);
	}
	EQ(ctl_call(conn[CTL_CONNS - 1], "echo", NULL, NULL, SECOND), 0);
	extra = ctl_connect(fx.run);
	OK(extra >= 0);
	EQ(ctl_call(extra, "echo", NULL, NULL, SECOND), -E_AGAIN);
	STR(err_text(), "too many connections");
	close(extra);
	close(conn[3]);
	do {	/* its slot is free when the loop has seen it go */
		extra = ctl_connect(fx.run);
		OK(extra >= 0);
		conn[3] = ctl_call(extra, "echo", NULL, NULL, SECOND);
		close(extra);
	} while (conn[3] == -E_AGAIN);
	EQ(conn[3], 0);
	for (int i = 0; i < CTL_CONNS; i++)
		if (i != 3)
			close(conn[i]);
	end();
}

TEST(the_asker_trusts_no_answer)
{
	static const struct { const char *msg; size_t len; int rc; } bad[] = {
		{ "", 1, -EPROTO },		/* a NUL */
		{ "okay", 4, -EPROTO },
		{ "yes", 3, -EPROTO },
		{ "fail", 4, -EPROTO },
		{ "fail x y", 8, -EPROTO },
		{ "fail 0 y", 8, -EPROTO },
		{ "fail 256 y", 10, -EPROTO },
		{ "fail -1 y", 9, -EPROTO },
		{ "fail 11", 7, -EPROTO },
		{ "ok\nx\0y", 6, -EPROTO },
		{ "ok\nx", 4, 0 },
		{ "fail 10 a\nb", 11, -E_NOENT },
	};
	static char big[2 * CTL_MSG];
	int pair[2];

	EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		OK(send_raw(pair[0], bad[i].msg, bad[i].len, true) > 0);
		EQ(ctl_call(pair[1], "x", NULL, NULL, SECOND), bad[i].rc);
	}
	STR(err_text(), "a?b");
	memset(big, 'o', sizeof(big));
	OK(send(pair[0], big, sizeof(big), 0) > 0);
	EQ(ctl_call(pair[1], "x", NULL, NULL, SECOND), -EPROTO);
	EQ(ctl_call(pair[1], "x", NULL, NULL, SECOND / 100), -E_TIMEOUT);
	STR(err_text(), "does not answer");
	close(pair[0]);
	EQ(ctl_call(pair[1], "x", NULL, NULL, SECOND), -E_STOPPED);
	close(pair[1]);
}

TEST(a_value_is_found_by_its_whole_key)
{
	static const char lines[] = "pid=12\nstate=running\nempty=\nlast=a=b";
	char v[8];

	OK(ctl_value(lines, "pid", v, sizeof(v)));
	STR(v, "12");
	OK(ctl_value(lines, "state", v, sizeof(v)));
	STR(v, "running");
	OK(ctl_value(lines, "empty", v, sizeof(v)));
	STR(v, "");
	OK(ctl_value(lines, "last", v, sizeof(v)));
	STR(v, "a=b");
	OK(ctl_value(lines, "state", v, 4));
	STR(v, "run");
	OK(!ctl_value(lines, "pi", v, sizeof(v)));
	OK(!ctl_value(lines, "running", v, sizeof(v)));
	OK(!ctl_value("", "pid", v, sizeof(v)));
}

TEST(the_peer_is_the_process_that_listens)
{
	autoclose int run = -1, conn = -1, peer = -1;
	char dir[] = "/tmp/ctl-test.XXXXXX";
	struct pollfd p = { .events = POLLIN };
	int ready[2];
	pid_t pid;
	char c;

	OK(mkdtemp(dir));
	run = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	EQ(pipe(ready), 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		static struct ctl_server s;
		struct loop l;

		if (loop_init(&l) < 0 || ctl_listen(&s, &l, run, verbs, NULL))
			_exit(1);
		(void)!write(ready[1], "x", 1);
		loop_run(&l);
		_exit(0);
	}
	EQ(read(ready[0], &c, 1), 1);
	conn = ctl_connect(run);
	OK(conn >= 0);
	peer = ctl_peer(conn);
	OK(peer >= 0);
	p.fd = peer;
	EQ(poll(&p, 1, 0), 0);
	kill(pid, SIGKILL);
	EQ(poll(&p, 1, 5000), 1);
	EQ(ctl_call(conn, "echo", NULL, NULL, SECOND), -E_STOPPED);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	remove_tree(AT_FDCWD, dir);
}

TESTS(T(a_request_is_answered_with_its_words),
      T(a_failure_keeps_its_code_and_its_sentence),
      T(a_descriptor_travels_and_is_closed_when_not_wanted),
      T(watchers_get_events_and_others_do_not),
      T(a_watcher_that_does_not_read_is_dropped_and_holds_up_nobody),
      T(nobody_listening_is_not_running),
      T(a_dead_socket_is_replaced_and_a_live_one_is_not),
      T(the_connection_ends_with_the_server),
      T(the_server_outlives_hostile_peers),
      T(too_many_connections_are_told_to_try_again),
      T(the_asker_trusts_no_answer),
      T(a_value_is_found_by_its_whole_key),
      T(the_peer_is_the_process_that_listens))
