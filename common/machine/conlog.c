/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine/conlog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"

static const char cur_name[] = "console.log", old_name[] = "console.log.1";

unsigned conlog_note(char note[CONLOG_NOTE], uint64_t bytes)
{
	return snprintf(note, CONLOG_NOTE,
			"\r\n[... %" PRIu64 " bytes dropped ...]\r\n", bytes);
}

static void file_close(struct conlog_file *f)
{
	close_fd(&f->fd);
	*f = (struct conlog_file){ .fd = -1 };
}

/*
 * Renames FROM to TO; where there is no FROM, no TO is left either. TO goes
 * first: to be replaced by a name some file systems write FROM out at once.
 */
static void put_aside(int dir, const char *from, const char *to)
{
	unlinkat(dir, to, 0);
	renameat(dir, from, dir, to);
}

/* A new console.log for the bytes from START on, behind a line on the gap. */
static int begin_file(struct conlog *g, uint64_t start, uint64_t gap)
{
	struct conlog_file f = { .start = start, .end = start };
	char note[CONLOG_NOTE];

	f.fd = openat(g->dir, cur_name, O_RDWR | O_CREAT | O_TRUNC |
		      O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (f.fd < 0)
		return -errno;
	if (gap)
		f.head = conlog_note(note, gap);
	if (gap && pwrite(f.fd, note, f.head, 0) != (ssize_t)f.head) {
		close(f.fd);
		return -ENOSPC;
	}
	g->cur = f;
	return 0;
}

/* Makes the current file the older one and begins another at START. */
static int rotate(struct conlog *g, uint64_t start, uint64_t gap)
{
	if (g->cur.end > g->cur.start) {
		put_aside(g->dir, cur_name, old_name);
		file_close(&g->old);
		g->old = g->cur;
		g->cur.fd = -1;
	}
	file_close(&g->cur);
	return begin_file(g, start, gap);
}

static void note_failure(struct conlog *g, int rc)
{
	if (!g->failed)
		log_limited(&g->complaints, "%s: %s; output is not logged "
			    "meanwhile", cur_name, strerror(-rc));
	g->failed = true;
	g->retry_ns = now_ns() + CONLOG_RETRY_NS;
}

void conlog_open(struct conlog *g, int dir, uint64_t keep)
{
	int rc;

	*g = (struct conlog){ .dir = dir, .half = keep / 2,
			      .cur.fd = -1, .old.fd = -1 };
	g->gone = openat(dir, "console.log.old", O_PATH | O_CLOEXEC |
			 O_NOFOLLOW);
	put_aside(dir, cur_name, "console.log.old");
	put_aside(dir, old_name, "console.log.old.1");
	rc = g->half ? begin_file(g, 0, 0) : 0;
	if (rc < 0)
		note_failure(g, rc);
}

void conlog_settle(struct conlog *g)
{
	close_fd(&g->gone);
	g->gone = -1;
}

void conlog_close(struct conlog *g)
{
	conlog_settle(g);
	file_close(&g->cur);
	file_close(&g->old);
}

/*
 * Writes LEN bytes of offset g->end to the current file, beginning another
 * when it is full. A file that lacks what came before is not continued.
 */
static int append(struct conlog *g, const char *data, size_t len)
{
	struct conlog_file *f = &g->cur;
	uint64_t used, gap = g->end - g->good;
	ssize_t n;
	int rc;

	while (len) {
		used = f->end - f->start;
		if (f->fd < 0 || gap || used >= g->half) {
			rc = rotate(g, g->end, gap);
			if (rc < 0)
				return rc;
			gap = used = 0;
		}
		n = pwrite(f->fd, data, min_u64(len, g->half - used),
			   f->head + used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENOSPC;
		f->end += n;
		g->end += n;
		g->good = g->end;
		g->failed = false;
		data += n;
		len -= n;
	}
	return 0;
}

void conlog_append(struct conlog *g, const struct iovec *iov, int n)
{
	bool skip = !g->half || (g->failed && now_ns() < g->retry_ns);

	for (int i = 0; i < n; i++) {
		uint64_t end = g->end + iov[i].iov_len;
		int rc = skip ? 0 : append(g, iov[i].iov_base, iov[i].iov_len);

		if (rc < 0) {
			note_failure(g, rc);
			skip = true;
		}
		g->end = end;
	}
}

size_t conlog_read(const struct conlog *g, uint64_t *off, void *buf,
		   size_t len)
{
	const struct conlog_file *file[] = { &g->old, &g->cur };

	for (size_t i = 0; i < ARRAY_SIZE(file); i++) {
		const struct conlog_file *f = file[i];
		ssize_t n;

		if (f->fd < 0 || *off >= f->end || f->start == f->end)
			continue;
		*off = max_u64(*off, f->start);
		n = pread(f->fd, buf, min_u64(len, f->end - *off),
			  f->head + (*off - f->start));
		if (n > 0)
			return n;
		*off = f->end;	/* someone cut the file */
	}
	return 0;
}
