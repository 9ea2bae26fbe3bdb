/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine/console.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/err.h"

enum {
	TURNS = 16,		/* chunks for one client before the next */
	BLOCKING_CHUNK = 256,	/* what a writable terminal takes */
};

/* -- the ring: any thread -- */

static void wake(struct console *c)
{
	uint64_t one = 1;

	(void)!write(c->kick, &one, sizeof(one));
}

/* The bytes from offset FROM to TO as they lie in the ring; entries used. */
static int ring_iov(struct console *c, uint64_t from, uint64_t to,
		    struct iovec iov[2])
{
	size_t at = from & (CONSOLE_RING - 1);
	size_t first = min_u64(to - from, CONSOLE_RING - at);

	iov[0] = (struct iovec){ c->ring + at, first };
	iov[1] = (struct iovec){ c->ring, to - from - first };
	return iov[1].iov_len ? 2 : 1;
}

/* Copies DATA into the ring, in parts only if it could not hold it: bytes. */
static size_t put(struct console *c, const char *data, size_t len)
{
	struct iovec iov[2];
	bool tell;
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = min_u64(len, CONSOLE_RING - (c->end - c->logged));
	if (n < len && len <= CONSOLE_RING)
		n = 0;
	ring_iov(c, c->end, c->end + n, iov);
	memcpy(iov[0].iov_base, data, iov[0].iov_len);
	memcpy(iov[1].iov_base, data + iov[0].iov_len, iov[1].iov_len);
	c->end += n;
	tell = n && (!c->kicked || (c->end - c->logged >= CONSOLE_RING / 2 &&
			       c->end - c->logged - n < CONSOLE_RING / 2));
	c->kicked |= tell;
	pthread_mutex_unlock(&c->lock);
	if (tell)
		wake(c);
	return n;
}

/*
 * Empties the ring into the log. What is being logged stays where it is:
 * put() overwrites only what was logged.
 */
static void flush(struct console *c)
{
	struct iovec iov[2];
	uint64_t to;
	int n;

	pthread_mutex_lock(&c->disk);
	pthread_mutex_lock(&c->lock);
	to = c->end;
	n = ring_iov(c, c->logged, to, iov);
	pthread_mutex_unlock(&c->lock);
	conlog_append(&c->log, iov, n);
	pthread_mutex_lock(&c->lock);
	c->logged = to;
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&c->disk);
}

static void console_write(struct chr *chr, const void *data, size_t len)
{
	struct console *c = container_of(chr, struct console, chr);
	const char *p = data;
	size_t n;

	for (;;) {
		n = put(c, p, len);
		p += n;
		len -= n;
		if (!len)
			return;
		flush(c);
	}
}

static void console_ready(struct chr *chr)
{
	struct console *c = container_of(chr, struct console, chr);
	bool tell;

	pthread_mutex_lock(&c->lock);
	tell = !c->ready;
	c->ready = true;
	pthread_mutex_unlock(&c->lock);
	if (tell)
		wake(c);
}

static const struct chr_ops console_ops = { console_write, console_ready };

static uint64_t end_offset(struct console *c)
{
	uint64_t end;

	pthread_mutex_lock(&c->lock);
	end = c->end;
	pthread_mutex_unlock(&c->lock);
	return end;
}

/* -- readers -- */

static void reader_drop(struct console_reader *r)
{
	watch_remove(&r->watch);
	close_fd(&r->fd);
	r->fd = -1;
}

/* Moves R over what is gone, with a note of how much that was. */
static void skip_to(struct console_reader *r, uint64_t off)
{
	r->note_off = 0;
	r->note_len = conlog_note(r->note, off - r->off);
	r->off = off;
}

/*
 * The next bytes R is to get, up to offset END: from the ring or the log into
 * the console's chunk. Their number; 0 when there are none, or R had to skip.
 */
static size_t fetch(struct console_reader *r, uint64_t end)
{
	struct console *c = r->console;
	uint64_t oldest, off = r->off;
	size_t len = min_u64(CONSOLE_CHUNK, end - off);
	struct iovec iov[2];

	pthread_mutex_lock(&c->lock);
	oldest = c->end > CONSOLE_RING ? c->end - CONSOLE_RING : 0;
	if (off >= oldest) {
		ring_iov(c, off, off + len, iov);
		memcpy(c->chunk, iov[0].iov_base, iov[0].iov_len);
		memcpy(c->chunk + iov[0].iov_len, iov[1].iov_base,
		       iov[1].iov_len);
	}
	pthread_mutex_unlock(&c->lock);
	if (off >= oldest)
		return len;

	pthread_mutex_lock(&c->disk);
	len = conlog_read(&c->log, &off, c->chunk, len);
	pthread_mutex_unlock(&c->disk);
	if (len && off == r->off)
		return len;
	skip_to(r, len ? min_u64(off, oldest) : oldest);
	return 0;
}

/* Gives R's client bytes without waiting: how many it took, -1 at its end. */
static ssize_t give(struct console_reader *r, const char *data, size_t len)
{
	struct pollfd p = { .fd = r->fd, .events = POLLOUT };
	ssize_t n;

	if (r->blocking && poll(&p, 1, 0) <= 0)
		return 0;
	if (r->blocking)
		len = min_u64(len, BLOCKING_CHUNK);
	n = r->socket ? send(r->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) :
			write(r->fd, data, len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return n;
}

/*
 * Sends R one chunk: 1 to go on, 0 when there is nothing more or the client
 * takes no more now, -1 when it is gone.
 */
static int feed_chunk(struct console_reader *r, uint64_t end)
{
	ssize_t n;
	size_t len;

	if (r->note_off < r->note_len) {
		n = give(r, r->note + r->note_off, r->note_len - r->note_off);
		r->note_off += n > 0 ? n : 0;
		return n < 0 ? -1 : n > 0;
	}
	if (r->off >= end)
		return 0;
	len = fetch(r, end);
	if (!len)
		return 1;
	n = give(r, r->console->chunk, len);
	if (n < 0)
		return -1;
	r->off += n;
	return (size_t)n == len;
}

/* Sends R what it lacks, as far as it takes it, and waits for the rest. */
static void feed(struct console_reader *r)
{
	uint64_t end = r->ending ? r->last : end_offset(r->console);
	int rc = 1;

	/* A plain file takes everything and cannot be waited for. */
	for (int i = 0; rc > 0 && (i < TURNS || !r->watch.added); i++)
		rc = feed_chunk(r, end);
	if (rc < 0 || (r->ending && r->off >= end)) {
		reader_drop(r);
		return;
	}
	if (r->watch.added)
		watch_change(&r->watch, (r->ending || !r->socket ?
					 0 : EPOLLRDHUP) |
			     (r->off < end || r->note_off < r->note_len ?
			      EPOLLOUT : 0));
}

static void on_reader(struct watch *w, uint32_t events)
{
	struct console_reader *r = container_of(w, struct console_reader,
						watch);

	if (events & (EPOLLHUP | EPOLLERR)) {
		reader_drop(r);
		return;
	}
	if ((events & EPOLLRDHUP) && !r->ending) {
		r->ending = true;
		r->last = end_offset(r->console);
	}
	feed(r);
}

/* Takes FD as a reader from OFF on. 0 or negative with a sentence. */
static int reader_add(struct console *c, int fd, bool sock, uint64_t off)
{
	struct console_reader *r = c->reader;
	int rc;

	while (r->fd >= 0)
		if (++r == c->reader + CONSOLE_READERS)
			return fail(E_AGAIN, "console has %d readers already",
				    CONSOLE_READERS);
	*r = (struct console_reader){ .console = c, .fd = fd, .socket = sock,
				      .off = off };
	r->blocking = !sock && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
	rc = watch_add(c->loop, &r->watch, fd, EPOLLOUT, on_reader);
	if (rc == -EPERM && !sock) {
		r->blocking = false;
		return 0;
	}
	if (rc < 0)
		r->fd = -1;
	return rc;
}

/* Logs what came and passes it on. If nothing did, it is idle still. */
static void spread(struct console *c)
{
	bool said;

	pthread_mutex_lock(&c->lock);
	said = c->kicked;
	c->kicked = false;
	pthread_mutex_unlock(&c->lock);
	flush(c);
	if (said)
		c->flushed_ns = now_ns();
	for (int i = 0; i < CONSOLE_READERS; i++)
		if (c->reader[i].fd >= 0)
			feed(&c->reader[i]);
}

static void on_tick(struct timer *t)
{
	struct console *c = container_of(t, struct console, timer);

	spread(c);
	pthread_mutex_lock(&c->disk);
	conlog_settle(&c->log);
	pthread_mutex_unlock(&c->disk);
}

/* -- the writer -- */

static void writer_drop(struct console *c)
{
	struct console_writer *w = &c->writer;
	char text[24];
	int n;

	watch_remove(&w->watch);
	if (w->fd >= 0 && w->socket) {
		n = snprintf(text, sizeof(text), "%" PRIu64 "\n", w->taken);
		send(w->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(w->fd);
	}
	w->fd = -1;
}

/* Offers the device what was read: false when it takes no more now. */
static bool offer(struct console *c)
{
	struct console_writer *w = &c->writer;
	struct chr_front *front = c->chr.front;
	size_t n;

	while (w->len) {
		if (!front)	/* between two boots */
			return false;
		n = front->input(front, w->data + w->off, w->len);
		if (n == 0)
			return false;
		w->off += n;
		w->len -= n;
		w->taken += n;
	}
	return true;
}

/* Reads from the writer without waiting: false when nothing is there. */
static bool fill(struct console_writer *w)
{
	struct pollfd p = { .fd = w->fd, .events = POLLIN };
	ssize_t n;

	if (!w->socket && poll(&p, 1, 0) <= 0)
		return false;
	n = w->socket ? recv(w->fd, w->data, sizeof(w->data), MSG_DONTWAIT) :
			read(w->fd, w->data, sizeof(w->data));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	w->eof = n <= 0;
	w->off = 0;
	w->len = n > 0 ? n : 0;
	if (w->len && w->filter)
		w->len = w->filter(w->arg, w->data, w->len);
	return true;
}

static void on_writer(struct watch *w, uint32_t events);

/*
 * Waits for the writer (INPUT), or only for its going away while the device
 * takes nothing: that a pipe's writer left is no reason to forget its bytes.
 */
static void writer_wait(struct console *c, bool input)
{
	struct console_writer *w = &c->writer;

	if (!w->socket && !input)
		watch_remove(&w->watch);
	else if (w->watch.added)
		watch_change(&w->watch, input ? EPOLLIN : 0);
	else if (watch_add(c->loop, &w->watch, w->fd, EPOLLIN, on_writer) < 0)
		writer_drop(c);
}

/* Moves input from the writer to the device, as far as both go. */
static void pump(struct console *c)
{
	struct console_writer *w = &c->writer;

	for (int i = 0; i < TURNS; i++) {
		if (!offer(c)) {
			writer_wait(c, false);
			return;
		}
		if (w->eof) {
			writer_drop(c);
			return;
		}
		if (!fill(w)) {
			writer_wait(c, true);
			return;
		}
	}
	console_ready(&c->chr);		/* the others first, then on */
}

static void on_writer(struct watch *watch, uint32_t events)
{
	struct console_writer *w = container_of(watch, struct console_writer,
						watch);

	pump(w->console);
	/* One that closed its end waits for nothing, and blocks nobody. */
	if (w->fd >= 0 && w->socket && (events & EPOLLHUP) && w->len)
		writer_drop(w->console);
}

static int check_writer(const struct console *c)
{
	if (!c->chr.front)
		return fail(EOPNOTSUPP, "console takes no input");
	return c->writer.fd < 0 ? 0 : fail(E_BUSY, "console has a writer");
}

static void writer_set(struct console *c, int fd, bool sock)
{
	struct console_writer *w = &c->writer;

	w->console = c;
	w->fd = fd;
	w->socket = sock;
	w->eof = false;
	w->off = w->len = 0;
	w->taken = 0;
	w->filter = NULL;
}

/* -- clients -- */

int console_verb(struct console *c, int argc, char **argv, struct buf *answer,
		 int *fd)
{
	bool write = argc == 1 && !strcmp(argv[0], "write");
	bool live = argc == 1 && !strcmp(argv[0], "live");
	int pair[2], rc = write ? check_writer(c) : 0;

	(void)answer;
	if (argc && !write && !live)
		return fail(E_USAGE, "console: live or write");
	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return fail_sys("console");
	if (write) {
		writer_set(c, pair[0], true);
		rc = watch_add(c->loop, &c->writer.watch, pair[0], EPOLLIN,
			       on_writer);
		if (rc < 0)
			c->writer.fd = -1;
	} else {
		rc = reader_add(c, pair[0], true,
				live ? end_offset(c) : c->boot);
	}
	if (rc < 0) {
		close(pair[0]);
		close(pair[1]);
		return rc;
	}
	*fd = pair[1];
	return 0;
}

/*
 * A descriptor for what OUT names that does not wait: a terminal or a pipe
 * opened once more if that is allowed, else the same one.
 */
static int own_output(int out, const struct stat *st)
{
	char path[32];
	int fd = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", out);
	if (S_ISFIFO(st->st_mode) || S_ISCHR(st->st_mode))
		fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	return fd >= 0 ? fd : fcntl(out, F_DUPFD_CLOEXEC, 0);
}

static int attach_output(struct console *c, int out)
{
	autoclose int fd = -1;
	struct stat st;
	int rc;

	if (fstat(out, &st) < 0)
		return fail_sys("standard output");
	fd = own_output(out, &st);
	if (fd < 0)
		return fail_sys("standard output");
	rc = reader_add(c, fd, S_ISSOCK(st.st_mode), c->boot);
	if (rc == 0)
		(void)take_fd(&fd);
	return rc;
}

int console_attach(struct console *c, int in, int out,
		   size_t (*filter)(void *arg, char *data, size_t len),
		   void *arg)
{
	int rc = in >= 0 ? check_writer(c) : 0;

	if (rc == 0 && out >= 0)
		rc = attach_output(c, out);
	if (rc < 0 || in < 0)
		return rc;
	writer_set(c, in, false);
	c->writer.filter = filter;
	c->writer.arg = arg;
	console_ready(&c->chr);		/* begins with the loop */
	return 0;
}

/* -- the whole -- */

static void on_kick(struct watch *w, uint32_t events)
{
	struct console *c = container_of(w, struct console, watch);
	uint64_t n, waiting, idle = now_ns() - c->flushed_ns;
	bool ready;

	(void)events;
	(void)!read(c->kick, &n, sizeof(n));
	pthread_mutex_lock(&c->lock);
	waiting = c->end - c->logged;
	ready = c->ready;
	c->ready = false;
	pthread_mutex_unlock(&c->lock);
	if (ready && c->writer.fd >= 0)
		pump(c);
	if (idle >= CONSOLE_TICK_NS || waiting >= CONSOLE_RING / 2)
		spread(c);
	else if (!c->timer.armed)
		timer_set(c->loop, &c->timer, CONSOLE_TICK_NS - idle, on_tick);
}

int console_init(struct console *c, struct loop *l, int dir, uint64_t keep)
{
	int rc;

	memset(c, 0, sizeof(*c));
	c->chr.ops = &console_ops;
	c->writer.fd = -1;
	for (int i = 0; i < CONSOLE_READERS; i++)
		c->reader[i].fd = -1;
	c->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->kick < 0)
		return fail_sys("console");
	rc = watch_add(l, &c->watch, c->kick, EPOLLIN, on_kick);
	if (rc < 0) {
		close(c->kick);
		return rc;
	}
	c->loop = l;
	pthread_mutex_init(&c->disk, NULL);
	pthread_mutex_init(&c->lock, NULL);
	conlog_open(&c->log, dir, keep);
	timer_set(l, &c->timer, CONSOLE_TICK_NS, on_tick);	/* to settle */
	return 0;
}

void console_release(struct console *c)
{
	if (!c->loop)
		return;
	spread(c);
	writer_drop(c);		/* told before its output ends */
	for (int i = 0; i < CONSOLE_READERS; i++)
		reader_drop(&c->reader[i]);
	timer_cancel(c->loop, &c->timer);
	watch_remove(&c->watch);
	close(c->kick);
	conlog_close(&c->log);
	pthread_mutex_destroy(&c->disk);
	pthread_mutex_destroy(&c->lock);
	c->loop = NULL;
}

void console_new_boot(struct console *c)
{
	c->boot = end_offset(c);
	console_ready(&c->chr);		/* another device, with room */
}
