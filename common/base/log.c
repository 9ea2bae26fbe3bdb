/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"

enum { LINE_BYTES = 400 };
static const uint64_t second_ns = 1000000000;

int log_open(int dir)
{
	autoclose int fd = -1;
	struct stat st;

	if (fstatat(dir, "log", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_size > LOG_MAX)
		renameat(dir, "log", dir, "log.old");
	fd = openat(dir, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC |
		    O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		return fail_sys("log");
	return 0;
}

static void say(const char *fmt, va_list ap)
{
	char line[LINE_BYTES + 32];
	size_t start, len;
	struct tm tm;
	time_t now = time(NULL);

	gmtime_r(&now, &tm);
	start = strftime(line, 32, "%Y-%m-%dT%H:%M:%SZ ", &tm);
	vsnprintf(line + start, LINE_BYTES, fmt, ap);
	len = strlen(line);
	for (size_t i = start; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	(void)!write(STDERR_FILENO, line, len);
}

void log_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

/* Counts may race between threads; a line more or less does no harm. */
static bool may_say(struct log_limit *l)
{
	struct timespec ts;
	uint64_t now;

	if (__atomic_load_n(&l->said, __ATOMIC_RELAXED) < LOG_BURST &&
	    __atomic_fetch_add(&l->said, 1, __ATOMIC_RELAXED) < LOG_BURST)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * second_ns + ts.tv_nsec;
	if (now < __atomic_load_n(&l->next_ns, __ATOMIC_RELAXED))
		return false;
	__atomic_store_n(&l->next_ns, now + LOG_REFILL_S * second_ns,
			 __ATOMIC_RELAXED);
	return true;
}

void log_limited(struct log_limit *l, const char *fmt, ...)
{
	va_list ap;

	if (!may_say(l))
		return;
	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}
