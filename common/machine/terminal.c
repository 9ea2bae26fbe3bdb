/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine/terminal.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"

/* Sees what is typed; all of it goes on to the guest. */
static size_t watch_for_escape(void *arg, char *data, size_t len)
{
	struct terminal *t = arg;

	for (size_t i = 0; i < len; i++) {
		char c = data[i];

		if (t->at == AT_TILDE && c == '.') {
			t->leave(t->arg);
			return i;
		}
		if (c == '\r' || c == '\n')
			t->at = AT_START;
		else if (c == '~' && t->at == AT_START)
			t->at = AT_TILDE;
		else
			t->at = AT_REST;
	}
	return len;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

int terminal_attach(struct terminal *t, struct console *c,
		    void (*leave)(void *arg), void *arg)
{
	bool tty = tcgetattr(STDIN_FILENO, &t->saved) == 0;
	struct termios raw = t->saved;

	t->leave = leave;
	t->arg = arg;
	if (tty) {
		cfmakeraw(&raw);
		if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
			return fail_sys("terminal");
		t->raw = true;
	}
	return console_attach(c, is_open(STDIN_FILENO) ? STDIN_FILENO : -1,
			      is_open(STDOUT_FILENO) ? STDOUT_FILENO : -1,
			      tty ? watch_for_escape : NULL, t);
}

void terminal_release(struct terminal *t)
{
	if (t->raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &t->saved);
	t->raw = false;
}
