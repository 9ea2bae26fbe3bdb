/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/utf8.h"

/* Lead bytes FIRST..LAST, how many follow, and the range of the first. */
static const struct {
	unsigned char first, last, len, low, high;
} forms[] = {
	{ 0x01, 0x7f, 1, 0, 0 },
	{ 0xc2, 0xdf, 2, 0x80, 0xbf },
	{ 0xe0, 0xe0, 3, 0xa0, 0xbf },
	{ 0xe1, 0xec, 3, 0x80, 0xbf },
	{ 0xed, 0xed, 3, 0x80, 0x9f },
	{ 0xee, 0xef, 3, 0x80, 0xbf },
	{ 0xf0, 0xf0, 4, 0x90, 0xbf },
	{ 0xf1, 0xf3, 4, 0x80, 0xbf },
	{ 0xf4, 0xf4, 4, 0x80, 0x8f },
};

int utf8_len(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (*p < forms[i].first || *p > forms[i].last)
			continue;
		if (forms[i].len > 1 &&
		    (p[1] < forms[i].low || p[1] > forms[i].high))
			return 0;
		for (int k = 2; k < forms[i].len; k++)
			if (p[k] < 0x80 || p[k] > 0xbf)
				return 0;
		return forms[i].len;
	}
	return 0;
}

/* Whether the character of LEN bytes at S is a control character. */
static bool is_control(const char *s, int len)
{
	unsigned char c = s[0];

	return len == 1 ? c < ' ' || c == 0x7f :
			  len == 2 && c == 0xc2 && (unsigned char)s[1] < 0xa0;
}

size_t utf8_plain(struct buf *out, const char *s)
{
	size_t n = 0;

	for (int len; *s; s += len ? len : 1, n++) {
		len = utf8_len(s);
		if (!len || is_control(s, len))
			buf_char(out, '?');
		else
			buf_add(out, s, len);
	}
	return n;
}

void utf8_repair(struct buf *out, const char *s)
{
	for (int len; *s; s += len ? len : 1) {
		len = utf8_len(s);
		if (len)
			buf_add(out, s, len);
		else
			buf_str(out, "\xef\xbf\xbd");
	}
}
