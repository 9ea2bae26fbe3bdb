/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/names.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"

enum { READ_BYTES = 4096 };

/* A terminal and /dev/null bring no names: someone forgot them. */
static bool stdin_has_names(void)
{
	struct stat st;

	return fstat(STDIN_FILENO, &st) == 0 && !S_ISCHR(st.st_mode) &&
	       !S_ISDIR(st.st_mode) && !S_ISBLK(st.st_mode);
}

int names_init(struct names *n, bool explicit, int argc, char **argv)
{
	*n = (struct names){ .argv = argv, .argc = argc, .in = BUF_INIT };
	if (argc)
		return 0;
	if (explicit)
		return fail(E_USAGE, "no names: give them as operands, or - to "
			    "read them from standard input");
	if (!stdin_has_names())
		return fail(E_USAGE, "no names: give them as operands or on "
			    "standard input");
	n->reading = true;
	return 0;
}

void names_release(struct names *n)
{
	buf_release(&n->in);
}

/* Cuts blanks from both ends of LINE (LEN bytes, then one to write on). */
static char *trim(char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!line[i])
			line[i] = '?';
	while (len && strchr(" \t\r", line[len - 1]))
		len--;
	line[len] = '\0';
	return line + strspn(line, " \t\r");
}

/* The next line's name: 1, 0 at the end of input, -EAGAIN. */
static int next_line(struct names *n, char **name)
{
	while (n->used < n->in.len) {
		char *line = n->in.data + n->used;
		size_t left = n->in.len - n->used, len;
		char *end = memchr(line, '\n', left);
		bool skip = n->skipping;

		if (!end && !n->ended && left <= NAME_LINE)
			return -EAGAIN;
		len = end ? (size_t)(end - line) : left;
		n->used += len + !!end;
		n->skipping = !end;
		if (skip)
			continue;
		*name = trim(line, min_u64(len, NAME_LINE));
		if (**name)
			return 1;
	}
	return n->ended ? 0 : -EAGAIN;
}

int names_next(struct names *n, char **name)
{
	int rc;

	for (;;) {
		if (n->reading) {
			rc = next_line(n, name);
			if (rc)
				return rc;
			n->reading = false;
		}
		if (n->next >= n->argc)
			return 0;
		*name = n->argv[n->next++];
		if (strcmp(*name, "-"))
			return 1;
		n->reading = true;
	}
}

int names_fill(struct names *n)
{
	ssize_t got;

	buf_drop(&n->in, n->used);
	n->used = 0;
	if (!buf_grow(&n->in, READ_BYTES))
		return fail(ENOMEM, "standard input: out of memory");
	do {
		got = read(STDIN_FILENO, n->in.data + n->in.len, READ_BYTES);
	} while (got < 0 && errno == EINTR);
	if (got <= 0)
		n->ended = true;
	if (got < 0)
		return fail_sys("standard input");
	n->in.len += got;
	n->in.data[n->in.len] = '\0';
	return 0;
}
