/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"

#include "test.h"

enum { MS = 1000000 };

/* A console over a scratch directory, with a device that takes `room` bytes. */
static struct fixture {
	struct loop loop;
	struct console c;
	struct timer stop;
	char path[32];
	int dir;
	struct chr_front front;
	size_t room;
	struct buf taken;
} fx;

static size_t take(struct chr_front *f, const void *data, size_t len)
{
	size_t n = min_u64(len, fx.room);

	(void)f;
	buf_add(&fx.taken, data, n);
	fx.room -= n;
	return n;
}

static bool begin(uint64_t keep)
{
	memset(&fx, 0, sizeof(fx));
	buf_init(&fx.taken);
	signal(SIGPIPE, SIG_IGN);
	snprintf(fx.path, sizeof(fx.path), "/tmp/console-test.XXXXXX");
	if (!mkdtemp(fx.path))
		return false;
	fx.dir = open(fx.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fx.front.input = take;
	if (fx.dir < 0 || loop_init(&fx.loop) < 0 ||
	    console_init(&fx.c, &fx.loop, fx.dir, keep) < 0)
		return false;
	fx.c.chr.front = &fx.front;
	return true;
}

static void end(void)
{
	console_release(&fx.c);
	loop_release(&fx.loop);
	close(fx.dir);
	buf_release(&fx.taken);
	remove_tree(AT_FDCWD, fx.path);
}

static void on_stop(struct timer *t)
{
	(void)t;
	loop_stop(&fx.loop);
}

/* Lets the loop work for NS. */
static void run_for(uint64_t ns)
{
	timer_set(&fx.loop, &fx.stop, ns, on_stop);
	loop_run(&fx.loop);
}

static void settle(void)
{
	run_for(15 * MS);
}

static void guest_says(const char *text)
{
	chr_write(&fx.c.chr, text, strlen(text));
}

/* A client's end for WORD ("write", "live", NULL); negative as the verb says. */
static int attach(const char *word)
{
	char *argv[] = { (char *)word, NULL };
	struct buf answer = BUF_INIT;
	int fd = -1, rc;

	rc = console_verb(&fx.c, word ? 1 : 0, argv, &answer, &fd);
	buf_release(&answer);
	return rc < 0 ? rc : fd;
}

/* What is there to be read from FD, at most SIZE - 1 bytes; "EOF" at its end. */
static const char *said(int fd)
{
	static char text[256 * 1024];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	if (n == 0)
		return "EOF";
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static const char *content(const char *name)
{
	static struct buf b = BUF_INIT;

	buf_clear(&b);
	if (file_read(fx.dir, name, &b, 1 << 24) < 0)
		return "(none)";
	return b.data;
}

static long size_of(const char *name)
{
	struct stat st;

	return fstatat(fx.dir, name, &st, 0) < 0 ? -1 : st.st_size;
}

TEST(a_reader_gets_the_boot_from_its_start_and_then_what_comes)
{
	int fd;

	OK(begin(1 << 20));
	guest_says("Linux version\r\n");
	settle();
	fd = attach(NULL);
	OK(fd >= 0);
	settle();
	STR(said(fd), "Linux version\r\n");
	guest_says("web1 login: ");
	settle();
	STR(said(fd), "web1 login: ");
	STR(content("console.log"), "Linux version\r\nweb1 login: ");
	close(fd);
	settle();
	EQ(fx.c.reader[0].fd, -1);
	end();
}

TEST(live_readers_get_no_replay)
{
	int fd;

	OK(begin(1 << 20));
	guest_says("before");
	fd = attach("live");
	guest_says("after");
	settle();
	STR(said(fd), "after");
	close(fd);
	EQ(attach("lively"), -E_USAGE);
	end();
}

TEST(a_new_boot_is_where_replay_begins)
{
	int fd;

	OK(begin(1 << 20));
	guest_says("first boot\n");
	settle();
	console_new_boot(&fx.c);
	guest_says("second boot\n");
	fd = attach(NULL);
	settle();
	STR(said(fd), "second boot\n");
	STR(content("console.log"), "first boot\nsecond boot\n");
	close(fd);
	end();
}

TEST(the_log_of_an_earlier_process_is_put_aside)
{
	OK(begin(16));
	guest_says("0123456789abcdef");
	guest_says("xyz");
	settle();
	console_release(&fx.c);
	console_release(&fx.c);
	STR(content("console.log"), "xyz");
	STR(content("console.log.1"), "89abcdef");
	EQ(console_init(&fx.c, &fx.loop, fx.dir, 16), 0);
	STR(content("console.log"), "");
	STR(content("console.log.1"), "(none)");
	STR(content("console.log.old"), "xyz");
	STR(content("console.log.old.1"), "89abcdef");
	guest_says("new");
	console_release(&fx.c);
	EQ(console_init(&fx.c, &fx.loop, fx.dir, 16), 0);
	STR(content("console.log.old"), "new");
	STR(content("console.log.old.1"), "(none)");
	end();
}

TEST(the_log_stays_within_its_bound_and_keeps_the_last_half)
{
	char line[32];
	long most = 0, all;

	OK(begin(10000));
	for (int i = 0; i < 5000; i++) {
		snprintf(line, sizeof(line), "line %04d\n", i);
		guest_says(line);
		if (i % 97)
			continue;
		settle();
		all = size_of("console.log") + size_of("console.log.1");
		most = all > most ? all : most;
	}
	settle();
	all = size_of("console.log") + size_of("console.log.1");
	OK(all >= 5000 && all <= 10000 && most <= 10000);
	OK(strstr(content("console.log"), "line 4999\n"));
	EQ(size_of("console.log.1"), 5000);
	end();
}

TEST(a_reader_behind_the_bound_is_told_how_much_it_missed)
{
	static char block[1000];
	const char *text;
	int fd;

	OK(begin(200 * 1024));
	memset(block, 'a', sizeof(block));
	for (int i = 0; i < 500; i++)
		chr_write(&fx.c.chr, block, sizeof(block));
	guest_says("END");
	settle();
	fd = attach(NULL);
	settle();
	text = said(fd);
	/* 500003 bytes: the files hold what lies behind 4 * 102400 - 102400 */
	OK(strstr(text, "\r\n[... 307200 bytes dropped ...]\r\naaa") == text);
	EQ(strlen(text), strlen("\r\n[... 307200 bytes dropped ...]\r\n") +
			 500003 - 307200);
	STR(text + strlen(text) - 3, "END");
	close(fd);
	end();
}

/* Reads from FD all there is while the loop works, into a sum. */
static uint64_t drain(int fd, struct buf *b)
{
	char text[4096];
	uint64_t total = 0;
	ssize_t n;

	for (int quiet = 0; quiet < 3; ) {
		n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
		if (n == 0)
			break;
		if (n < 0) {
			run_for(5 * MS);
			quiet++;
			continue;
		}
		quiet = 0;
		total += n;
		if (b)
			buf_add(b, text, n);
	}
	return total;
}

TEST(a_slow_reader_gets_everything_and_costs_no_memory)
{
	autobuf struct buf sent = BUF_INIT, got = BUF_INIT;
	char line[32];
	int slow, fast;

	OK(begin(4 << 20));
	slow = attach(NULL);
	fast = attach(NULL);
	for (int i = 0; i < 100000; i++) {
		snprintf(line, sizeof(line), "line %06d\n", i);
		buf_str(&sent, line);
		guest_says(line);
		if (i % 5000 == 0)
			drain(fast, NULL);
	}
	drain(fast, NULL);
	drain(slow, &got);
	EQ(got.len, sent.len);
	OK(!memcmp(got.data, sent.data, got.len));
	close(slow);
	close(fast);
	end();
}

TEST(half_closing_a_reader_ends_it_behind_what_was_said_until_then)
{
	int fd;

	OK(begin(1 << 20));
	fd = attach(NULL);
	settle();
	guest_says("one ");
	guest_says("two");
	shutdown(fd, SHUT_WR);
	settle();
	guest_says("three");
	settle();
	STR(said(fd), "one two");
	STR(said(fd), "EOF");
	close(fd);
	end();
}

TEST(readers_beyond_the_table_are_refused)
{
	int fd[CONSOLE_READERS];

	OK(begin(1 << 20));
	for (int i = 0; i < CONSOLE_READERS; i++)
		OK((fd[i] = attach(NULL)) >= 0);
	EQ(attach(NULL), -E_AGAIN);
	close(fd[5]);
	settle();
	OK((fd[5] = attach(NULL)) >= 0);
	for (int i = 0; i < CONSOLE_READERS; i++)
		close(fd[i]);
	end();
}

TEST(one_writer_at_a_time)
{
	int fd, second;

	OK(begin(1 << 20));
	fd = attach("write");
	OK(fd >= 0);
	EQ(attach("write"), -E_BUSY);
	STR(err_text(), "console has a writer");
	close(fd);
	settle();
	second = attach("write");
	OK(second >= 0);
	close(second);
	settle();
	fx.c.chr.front = NULL;
	EQ(attach("write"), -EOPNOTSUPP);
	end();
}

TEST(input_waits_for_the_device_and_loses_nothing)
{
	char text[3000];
	int fd;

	OK(begin(1 << 20));
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = 'a' + i % 26;
	fx.room = 16;
	fd = attach("write");
	EQ(send(fd, text, sizeof(text), 0), sizeof(text));
	for (size_t i = 16; i < sizeof(text); i += 16) {
		run_for(MS / 2);
		EQ(fx.taken.len, i);
		fx.room = 16;
		chr_ready(&fx.c.chr);
		chr_ready(&fx.c.chr);
	}
	settle();
	EQ(fx.taken.len, sizeof(text));
	OK(!memcmp(fx.taken.data, text, sizeof(text)));
	close(fd);
	end();
}

TEST(the_writer_is_told_when_the_device_took_its_last_byte)
{
	int fd;

	OK(begin(1 << 20));
	fx.room = 3;
	fd = attach("write");
	EQ(send(fd, "root\n", 5, 0), 5);
	shutdown(fd, SHUT_WR);
	settle();
	STR(said(fd), "");		/* not yet */
	EQ(fx.taken.len, 3);
	fx.room = 10;
	chr_ready(&fx.c.chr);
	settle();
	STR(said(fd), "5\n");
	STR(said(fd), "EOF");
	STR(fx.taken.data, "root\n");
	close(fd);
	OK((fd = attach("write")) >= 0);
	close(fd);
	end();
}

TEST(a_writer_is_told_how_much_was_taken_before_the_end)
{
	int fd;

	OK(begin(1 << 20));
	fd = attach("write");
	EQ(send(fd, "root\n", 5, 0), 5);
	shutdown(fd, SHUT_WR);
	settle();
	fx.room = 2;
	chr_ready(&fx.c.chr);
	settle();
	console_release(&fx.c);
	STR(said(fd), "2\n");
	STR(said(fd), "EOF");
	close(fd);
	end();
}

TEST(a_writer_that_left_does_not_keep_the_console)
{
	int fd;

	OK(begin(1 << 20));
	fd = attach("write");
	EQ(send(fd, "never taken", 11, 0), 11);
	settle();
	close(fd);
	settle();
	fd = attach("write");
	OK(fd >= 0);
	fx.room = 100;
	chr_ready(&fx.c.chr);
	EQ(send(fd, "mine", 4, 0), 4);
	close(fd);		/* in one go: what the device takes, it gets */
	settle();
	STR(fx.taken.data, "mine");
	end();
}

TEST(input_before_a_reset_waits_for_the_new_device)
{
	int fd;

	OK(begin(1 << 20));
	fd = attach("write");
	fx.c.chr.front = NULL;
	EQ(send(fd, "early", 5, 0), 5);
	settle();
	console_new_boot(&fx.c);
	fx.room = 100;
	fx.c.chr.front = &fx.front;
	settle();
	STR(fx.taken.data, "early");
	close(fd);
	end();
}

TEST(a_full_disk_disturbs_nobody_and_is_gone_over)
{
	struct rlimit old, small = { 4096, RLIM_INFINITY };
	static char block[4000];
	char dump[1 << 16];
	int fd, null, err;

	signal(SIGXFSZ, SIG_IGN);	/* the file's limit stands for the disk's */
	OK(begin(1 << 20));
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	memset(block, 'x', sizeof(block));
	fd = attach(NULL);
	err = dup(STDERR_FILENO);
	null = open("/dev/null", O_WRONLY);
	dup2(null, STDERR_FILENO);
	setrlimit(RLIMIT_FSIZE, &small);
	for (int i = 0; i < 10; i++)
		chr_write(&fx.c.chr, block, sizeof(block));
	settle();
	EQ(recv(fd, dump, sizeof(dump), MSG_DONTWAIT), 40000);
	EQ(size_of("console.log"), 4096);
	OK(fx.c.log.failed);
	setrlimit(RLIMIT_FSIZE, &old);
	fx.c.log.retry_ns = 0;
	guest_says("again\n");
	settle();
	STR(said(fd), "again\n");
	STR(content("console.log"),
	    "\r\n[... 35904 bytes dropped ...]\r\nagain\n");
	dup2(err, STDERR_FILENO);
	close(err);
	close(null);
	close(fd);
	end();
}

TEST(without_a_log_readers_get_what_the_ring_holds)
{
	static char block[CONSOLE_RING];
	int fd;

	OK(begin(0));
	memset(block, 'y', sizeof(block));
	chr_write(&fx.c.chr, block, sizeof(block));
	guest_says("tail");
	fd = attach(NULL);
	settle();
	EQ(size_of("console.log"), -1);
	OK(strstr(said(fd), "\r\n[... 4 bytes dropped ...]\r\nyyy"));
	close(fd);
	end();
}

TEST(byte_by_byte_output_is_logged_within_a_tick_or_two)
{
	char text[101];

	OK(begin(1 << 20));
	memset(text, 'z', 100);
	text[100] = '\0';
	for (int i = 0; i < 100; i++)
		chr_write(&fx.c.chr, text + i, 1);
	run_for(2 * CONSOLE_TICK_NS + 20 * MS);
	STR(content("console.log"), text);
	end();
}

struct talker {
	pthread_t thread;
	char letter;
	bool ready;
};

enum { TALK = 3000, LINE = 40 };

static void *talk(void *arg)
{
	struct talker *t = arg;
	char line[LINE];

	memset(line, t->letter, LINE);
	line[LINE - 1] = '\n';
	for (int i = 0; i < TALK; i++) {
		chr_write(&fx.c.chr, line, LINE);
		if (i % 16 == 0)
			chr_ready(&fx.c.chr);
	}
	return NULL;
}

TEST(the_first_byte_of_a_boot_waits_for_no_tick)
{
	OK(begin(1 << 20));
	console_new_boot(&fx.c);
	settle();
	EQ(fx.c.flushed_ns, 0);
	guest_says("L");
	settle();
	OK(fx.c.flushed_ns > 0);
	end();
}

TEST(the_log_before_the_last_is_freed_when_the_vm_runs)
{
	struct stat st;
	int fd;

	OK(begin(1 << 20));
	console_release(&fx.c);
	fd = openat(fx.dir, "console.log.old", O_RDWR | O_CREAT, 0600);
	EQ(write(fd, "old", 3), 3);
	EQ(console_init(&fx.c, &fx.loop, fx.dir, 1 << 20), 0);
	fx.c.chr.front = &fx.front;
	EQ(fstat(fd, &st), 0);
	EQ(st.st_nlink, 0);
	OK(fx.c.log.gone >= 0);
	settle();
	EQ(fx.c.log.gone, -1);
	close(fd);
	end();
}

TEST(threads_write_while_the_loop_feeds_readers)
{
	struct talker t[3] = { { .letter = 'a' }, { .letter = 'b' },
			       { .letter = 'c' } };
	autobuf struct buf got = BUF_INIT;
	int fd, w, count[3] = { 0 };
	const char *line;

	OK(begin(64 << 20));
	fx.room = SIZE_MAX;
	fd = attach(NULL);
	w = attach("write");
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i].thread, NULL, talk, &t[i]);
	for (int i = 0; i < 100; i++) {
		EQ(send(w, "input", 5, 0), 5);
		run_for(MS / 4);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(t[i].thread, NULL);
	drain(fd, &got);
	EQ(got.len, 3 * TALK * LINE);
	for (line = got.data; *line; line += LINE) {
		OK(line[0] == line[LINE - 2] && line[LINE - 1] == '\n');
		count[line[0] - 'a']++;
	}
	EQ(count[0], TALK);
	EQ(count[2], TALK);
	EQ(fx.taken.len, 500);
	close(fd);
	close(w);
	end();
}

static size_t no_quit(void *arg, char *data, size_t len)
{
	char *q = memchr(data, 'q', len);

	if (q)
		*(bool *)arg = true;
	return q ? (size_t)(q - data) : len;
}

TEST(descriptors_of_the_process_are_attached_and_left_as_they_are)
{
	int in[2], out[2];
	bool quit = false;
	char text[32] = "";

	OK(begin(1 << 20));
	EQ(pipe(in), 0);
	EQ(pipe(out), 0);
	fx.room = 100;
	EQ(console_attach(&fx.c, in[0], out[1], no_quit, &quit), 0);
	EQ(attach("write"), -E_BUSY);
	guest_says("hello\r\n");
	EQ(write(in[1], "id\nquit", 7), 7);
	settle();
	EQ(read(out[0], text, sizeof(text)), 7);
	STR(text, "hello\r\n");
	STR(fx.taken.data, "id\n");
	OK(quit);
	EQ(fcntl(out[1], F_GETFL) & O_NONBLOCK, 0);
	EQ(fcntl(in[0], F_GETFL) & O_NONBLOCK, 0);
	close(in[1]);
	settle();
	EQ(fx.c.writer.fd, -1);
	OK(fcntl(in[0], F_GETFD) >= 0);
	close(in[0]);
	close(out[0]);
	guest_says("nobody reads");
	settle();
	settle();
	EQ(fx.c.reader[0].fd, -1);
	close(out[1]);
	end();
}

TEST(a_full_pipe_holds_up_nobody)
{
	static char block[1000];
	autobuf struct buf got = BUF_INIT;
	char text[4096];
	int out[2];

	OK(begin(1 << 20));
	EQ(pipe(out), 0);
	EQ(console_attach(&fx.c, -1, out[1], NULL, NULL), 0);
	memset(block, 'p', sizeof(block));
	for (int i = 0; i < 200; i++)
		chr_write(&fx.c.chr, block, sizeof(block));
	settle();
	while (got.len < 200000) {
		struct pollfd p = { .fd = out[0], .events = POLLIN };
		ssize_t n;

		run_for(MS);
		OK(poll(&p, 1, 1000) == 1);
		n = read(out[0], text, sizeof(text));
		buf_add(&got, text, n);
	}
	EQ(got.len, 200000);
	close(out[0]);
	close(out[1]);
	end();
}

TEST(plain_files_are_attached_too)
{
	static char block[1000];
	char path[64], text[8] = "";
	int in, out;

	OK(begin(1 << 20));
	snprintf(path, sizeof(path), "%s/in", fx.path);
	in = open(path, O_RDWR | O_CREAT, 0600);
	EQ(write(in, "script", 6), 6);
	lseek(in, 0, SEEK_SET);
	snprintf(path, sizeof(path), "%s/out", fx.path);
	out = open(path, O_RDWR | O_CREAT, 0600);
	EQ(write(out, "kept", 4), 4);
	EQ(console_attach(&fx.c, in, out, NULL, NULL), 0);
	for (int i = 0; i < 60; i++)
		chr_write(&fx.c.chr, block, sizeof(block));
	fx.room = 4;
	settle();
	fx.room = 4;
	chr_ready(&fx.c.chr);
	settle();
	STR(fx.taken.data, "script");
	EQ(fx.c.writer.fd, -1);
	EQ(size_of("out"), 60004);
	EQ(pread(out, text, 4, 0), 4);
	STR(text, "kept");
	close(in);
	close(out);
	end();
}

TEST(a_console_that_was_never_opened_can_be_released)
{
	static struct console c;

	console_release(&c);
	OK(!c.loop);
}

TESTS(T(a_reader_gets_the_boot_from_its_start_and_then_what_comes),
      T(live_readers_get_no_replay),
      T(a_new_boot_is_where_replay_begins),
      T(the_log_of_an_earlier_process_is_put_aside),
      T(the_log_stays_within_its_bound_and_keeps_the_last_half),
      T(a_reader_behind_the_bound_is_told_how_much_it_missed),
      T(a_slow_reader_gets_everything_and_costs_no_memory),
      T(half_closing_a_reader_ends_it_behind_what_was_said_until_then),
      T(readers_beyond_the_table_are_refused),
      T(one_writer_at_a_time),
      T(input_waits_for_the_device_and_loses_nothing),
      T(the_writer_is_told_when_the_device_took_its_last_byte),
      T(a_writer_is_told_how_much_was_taken_before_the_end),
      T(a_writer_that_left_does_not_keep_the_console),
      T(input_before_a_reset_waits_for_the_new_device),
      T(a_full_disk_disturbs_nobody_and_is_gone_over),
      T(without_a_log_readers_get_what_the_ring_holds),
      T(byte_by_byte_output_is_logged_within_a_tick_or_two),
      T(the_first_byte_of_a_boot_waits_for_no_tick),
      T(the_log_before_the_last_is_freed_when_the_vm_runs),
      T(threads_write_while_the_loop_feeds_readers),
      T(descriptors_of_the_process_are_attached_and_left_as_they_are),
      T(a_full_pipe_holds_up_nobody),
      T(plain_files_are_attached_too),
      T(a_console_that_was_never_opened_can_be_released))
