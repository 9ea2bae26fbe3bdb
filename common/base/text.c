/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

/*
 * Reads "DIGITS[.DIGITS]" into *NUM / *DIV (a power of ten); returns what
 * follows, NULL if it is no number or does not fit.
 */
static const char *read_decimal(const char *s, uint64_t *num, uint64_t *div)
{
	*num = 0;
	*div = 1;
	if (!isdigit((unsigned char)*s))
		return NULL;
	for (bool point = false;; s++) {
		if (*s == '.' && !point) {
			point = true;
			if (!isdigit((unsigned char)s[1]))
				return NULL;
			continue;
		}
		if (!isdigit((unsigned char)*s))
			return s;
		if (ckd_mul(num, *num, 10) || ckd_add(num, *num, *s - '0') ||
		    (point && ckd_mul(div, *div, 10)))
			return NULL;
	}
}

/* NUM / DIV * UNIT; true when it does not fit. */
static bool scale(uint64_t num, uint64_t div, uint64_t unit, uint64_t *out)
{
	unsigned __int128 v = (unsigned __int128)num * unit / div;

	*out = (uint64_t)v;
	return v > UINT64_MAX;
}

int parse_u64(const char *what, const char *s, uint64_t *out)
{
	uint64_t div;
	const char *end = read_decimal(s, out, &div);

	if (!end || *end || div != 1)
		return fail(E_USAGE, "%s '%s': not a number", what, s);
	return 0;
}

int parse_size(const char *what, const char *s, uint64_t *bytes)
{
	static const char units[] = "KMGTP";
	uint64_t num, div, unit = 1;
	const char *end = read_decimal(s, &num, &div), *u;

	if (!end)
		goto bad;
	u = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
	if (u) {
		unit = 1ULL << (10 * (u - units + 1));
		end++;
		if (end[0] == 'i' && end[1] == 'B')
			end += 2;
	}
	if (*end == 'B')
		end++;
	if (*end || (unit == 1 && div != 1) || scale(num, div, unit, bytes))
		goto bad;
	return 0;
bad:
	return fail(E_USAGE, "%s '%s': not a size (try 512M or 2G)", what, s);
}

int parse_duration(const char *what, const char *s, uint64_t *ns)
{
	static const struct { const char *name; uint64_t s; } units[] = {
		{ "", 1 }, { "s", 1 }, { "m", 60 }, { "h", 3600 },
		{ "d", 86400 },
	};
	uint64_t num, div;
	const char *end = read_decimal(s, &num, &div);

	for (size_t i = 0; end && i < ARRAY_SIZE(units); i++)
		if (!strcmp(end, units[i].name) &&
		    !scale(num, div, units[i].s * 1000000000ULL, ns))
			return 0;
	return fail(E_USAGE, "%s '%s': not a time (try 30, 5m or 2h)", what, s);
}

int parse_bool(const char *what, const char *s, bool *out)
{
	static const char *const words[][2] = {
		{ "no", "yes" }, { "off", "on" }, { "false", "true" },
		{ "0", "1" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		for (int v = 0; v < 2; v++)
			if (!strcmp(s, words[i][v]))
				return *out = v, 0;
	return fail(E_USAGE, "%s '%s': not yes or no", what, s);
}

char *format_size(char *buf, uint64_t bytes)
{
	static const char units[] = "\0KMGTPE";
	unsigned u = 0;
	double v = bytes;

	for (; v >= 1024; v /= 1024)
		u++;
	if (u && v < 9.95 && (bytes & ((1ULL << (10 * u)) - 1)))
		snprintf(buf, 16, "%.1f%c", v, units[u]);
	else
		snprintf(buf, 16, "%.0f%.1s", v, &units[u]);
	return buf;
}

char *format_size_exact(char *buf, uint64_t bytes)
{
	static const char units[] = "\0KMGTPE";
	unsigned u = 0;

	for (; bytes && bytes % 1024 == 0 && u < 5; bytes /= 1024)
		u++;
	snprintf(buf, 24, "%llu%.1s", (unsigned long long)bytes, &units[u]);
	return buf;
}

char *format_duration(char *buf, uint64_t s)
{
	typedef unsigned long long ull;

	if (s < 60)
		snprintf(buf, 24, "%llus", (ull)s);
	else if (s < 3600)
		snprintf(buf, 24, "%llum%02llus", (ull)s / 60, (ull)s % 60);
	else if (s < 86400)
		snprintf(buf, 24, "%lluh%02llum", (ull)s / 3600,
			 (ull)s / 60 % 60);
	else
		snprintf(buf, 24, "%llud%02lluh", (ull)s / 86400,
			 (ull)s / 3600 % 24);
	return buf;
}

bool name_ok(const char *s)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strlen(s);

	return len && len <= NAME_MAX_LEN && strspn(s, first) &&
	       strspn(s, rest) == len;
}

int name_check(const char *kind, const char *s)
{
	if (name_ok(s))
		return 0;
	return fail(E_USAGE, "'%s': not %s %s name (a-z 0-9 . _ -, beginning "
		    "with a letter or digit, at most %d)", s,
		    strchr("aeiou", kind[0]) ? "an" : "a", kind, NAME_MAX_LEN);
}

int find_word(const char *const *words, const char *word)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], word))
			return i;
	return -1;
}

char *cut(char **s, char sep)
{
	char *part = *s, *end = strchr(part, sep);

	if (end)
		*end++ = '\0';
	*s = end;
	return part;
}

bool starts_with(const char *s, const char *prefix, const char **rest)
{
	size_t len = strlen(prefix);

	if (strncmp(s, prefix, len))
		return false;
	if (rest)
		*rest = s + len;
	return true;
}
