/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/out.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/opt.h"

int out_write(const void *data, size_t len)
{
	int rc = write_all(STDOUT_FILENO, data, len);

	if (rc < 0)
		return fail(-rc, "standard output: %s", strerror(-rc));
	return 0;
}

int out_name(const char *name)
{
	autobuf struct buf line = BUF_INIT;

	buf_printf(&line, "%s\n", name);
	if (line.failed)
		return fail(ENOMEM, "standard output: out of memory");
	return out_write(line.data, line.len);
}

void say(const char *fmt, ...)
{
	autobuf struct buf line = BUF_INIT;
	va_list ap;

	buf_printf(&line, "%s: ", command.name);
	va_start(ap, fmt);
	buf_vprintf(&line, fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < line.len; i++)
		if ((unsigned char)line.data[i] < ' ' || line.data[i] == 0x7f)
			line.data[i] = '?';
	buf_char(&line, '\n');
	/* Where messages cannot be written there is nobody to tell. */
	(void)!write_all(STDERR_FILENO, line.data, line.len);
}

void say_failed(const char *name)
{
	const char *why = err_text(), *rest;

	if (*why == '\'')	/* "'a/b': not a VM name" */
		why++;
	if (starts_with(why, name, &rest) &&
	    (starts_with(rest, ": ", NULL) || starts_with(rest, "': ", NULL)))
		say("%s", err_text());
	else
		say("%s: %s", name, err_text());
}
