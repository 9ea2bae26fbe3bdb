/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/reply.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/text.h"

enum { LINE_BYTES = 1024, STRONG_S = 60 };

/* Reads digits at *S up to END, which is stepped over. */
static bool read_number(char **s, char end, uint64_t *out)
{
	char *p = *s;

	*out = 0;
	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++)
		if (ckd_mul(out, *out, 10) || ckd_add(out, *out, *p - '0'))
			return false;
	if (*p != end)
		return false;
	*s = p + (end != '\0');
	return true;
}

static void read_length(struct reply *r, char *value)
{
	r->has_length = read_number(&value, '\0', &r->length);
}

static void read_retry(struct reply *r, char *value)
{
	if (!read_number(&value, '\0', &r->retry_after))
		r->retry_after = 0;
}

static void read_range(struct reply *r, char *value)
{
	const char *rest;
	char *p = value + 6;

	r->has_range = r->has_total = false;
	if (strncasecmp(value, "bytes ", 6))
		return;
	if (starts_with(p, "*/", &rest)) {
		p += 2;
		r->has_total = read_number(&p, '\0', &r->total);
		return;
	}
	if (!read_number(&p, '-', &r->first) ||
	    !read_number(&p, '/', &r->last))
		return;
	if (!strcmp(p, "*")) {
		r->has_range = r->first <= r->last;
		return;
	}
	r->has_total = read_number(&p, '\0', &r->total);
	r->has_range = r->has_total && r->first <= r->last &&
		       r->last < r->total;
}

/* One that does not fit, or that a line of text cannot hold, is none. */
static void copy(char *to, size_t size, const char *value)
{
	size_t len = strlen(value);

	to[0] = '\0';
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
			return;
	if (len < size)
		memcpy(to, value, len + 1);
}

static void read_etag(struct reply *r, char *value)
{
	copy(r->etag, sizeof(r->etag), value);
}

static void read_modified(struct reply *r, char *value)
{
	copy(r->modified, sizeof(r->modified), value);
}

static void read_date(struct reply *r, char *value)
{
	copy(r->date, sizeof(r->date), value);
}

static void read_challenge(struct reply *r, char *value)
{
	if (strncasecmp(r->challenge, "Bearer", 6))
		copy(r->challenge, sizeof(r->challenge), value);
}

static void read_status(struct reply *r, const char *line)
{
	const char *code = strchr(line, ' ');

	*r = (struct reply){ 0 };
	if (code && isdigit((unsigned char)code[1]) &&
	    isdigit((unsigned char)code[2]) && isdigit((unsigned char)code[3]))
		r->status = 100 * (code[1] - '0') + 10 * (code[2] - '0') +
			    code[3] - '0';
}

void reply_line(struct reply *r, const char *data, size_t len)
{
	static const struct {
		const char *name;
		void (*read)(struct reply *r, char *value);
	} fields[] = {
		{ "Content-Length", read_length },
		{ "Content-Range", read_range },
		{ "Retry-After", read_retry },
		{ "ETag", read_etag },
		{ "Last-Modified", read_modified },
		{ "Date", read_date },
		{ "WWW-Authenticate", read_challenge },
	};
	char line[LINE_BYTES], *value;

	if (len >= sizeof(line) || memchr(data, '\0', len))
		return;
	memcpy(line, data, len);
	while (len && isspace((unsigned char)line[len - 1]))
		len--;
	line[len] = '\0';
	if (starts_with(line, "HTTP/", NULL)) {
		read_status(r, line);
		return;
	}
	if (!len)
		r->ended = true;
	value = strchr(line, ':');
	if (!value || r->ended)
		return;
	*value++ = '\0';
	value += strspn(value, " \t");
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!strcasecmp(line, fields[i].name))
			fields[i].read(r, value);
}

static bool read_time(const char *s, time_t *out)
{
	struct tm tm = { 0 };
	const char *end = strptime(s, "%a, %d %b %Y %H:%M:%S GMT", &tm);

	*out = timegm(&tm);
	return end && !*end;
}

const char *reply_validator(const struct reply *r)
{
	size_t len = strlen(r->etag);
	time_t modified, now;

	if (len >= 2)
		return r->etag[0] == '"' && r->etag[len - 1] == '"' ? r->etag
								     : "";
	if (read_time(r->modified, &modified) && read_time(r->date, &now) &&
	    modified <= now - STRONG_S)
		return r->modified;
	return "";
}
