/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char sentence[ERR_MAX];

static void clean(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = '?';
}

int fail(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	clean(sentence);
	return -code;
}

int fail_sys(const char *fmt, ...)
{
	int code = errno ? errno : EIO;
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	len = strlen(sentence);
	snprintf(sentence + len, sizeof(sentence) - len, ": %s",
		 strerror(code));
	clean(sentence);
	return -code;
}

int fail_in(int rc, const char *fmt, ...)
{
	char old[ERR_MAX];
	va_list ap;
	size_t len;

	memcpy(old, sentence, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	len = strlen(sentence);
	if (old[0])
		snprintf(sentence + len, sizeof(sentence) - len, ": %s", old);
	clean(sentence);
	return rc;
}

const char *err_text(void)
{
	return sentence;
}

int err_adopt(int rc, const char *text)
{
	snprintf(sentence, sizeof(sentence), "%s", text);
	clean(sentence);
	return rc;
}

int err_exit(int rc)
{
	if (rc >= 0)
		return EXIT_DONE;
	if (rc < -E_BASE)
		return -rc - E_BASE;
	switch (-rc) {
	case EACCES:
	case EPERM:
	case EROFS:
		return EXIT_PERM;
	}
	return EXIT_FAILED;
}
