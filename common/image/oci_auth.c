/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/oci_auth.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/text.h"
#include "image/fetch.h"

enum { TOKEN_MAX = 16 << 10 };

/* -- the challenge (RFC 9110, 11.2, 11.6.1) -- */

static bool is_token_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_length(const char *s)
{
	size_t n = 0;

	while (is_token_char(s[n]))
		n++;
	return n;
}

static const char *skip_blanks(const char *s)
{
	return s + strspn(s, " \t");
}

/* A value, quoted or not, into OUT; what is behind it, or NULL. */
static const char *read_value(const char *s, char *out, size_t size)
{
	bool quoted = *s == '"';
	size_t n = 0;

	for (s += quoted; quoted ? *s != '"' : is_token_char(*s); s++) {
		if (quoted && *s == '\\')
			s++;
		if (!*s || n + 1 >= size)
			return NULL;
		out[n++] = *s;
	}
	out[n] = '\0';
	return s + quoted;
}

/* Where the value of C's member of that NAME goes; others go to REST. */
static char *member(struct oci_challenge *c, const char *name, size_t len,
		    size_t *size, char *rest, size_t rest_size)
{
	const struct {
		const char *name;
		char *to;
		size_t size;
	} members[] = {
		{ "realm", c->realm, sizeof(c->realm) },
		{ "service", c->service, sizeof(c->service) },
		{ "scope", c->scope, sizeof(c->scope) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		if (strlen(members[i].name) != len ||
		    strncasecmp(members[i].name, name, len))
			continue;
		*size = members[i].size;
		return members[i].to;
	}
	*size = rest_size;
	return rest;
}

int oci_challenge_parse(struct oci_challenge *c, const char *text)
{
	struct oci_challenge other;	/* of another scheme */
	bool ours = false;
	char rest[1024];

	*c = other = (struct oci_challenge){ 0 };
	for (const char *s = text;;) {
		const char *name, *behind;
		size_t len, size;
		char *to;

		name = s += strspn(s, " \t,");
		len = token_length(s);
		if (!len)
			break;
		behind = skip_blanks(s + len);
		if (*behind != '=') {		/* a scheme begins */
			if (ours)
				break;
			ours = len == 6 && !strncasecmp(name, "Bearer", 6);
			s = behind;
			continue;
		}
		to = member(ours ? c : &other, name, len, &size, rest,
			    sizeof(rest));
		s = read_value(skip_blanks(behind + 1), to, size);
		if (!s)
			return fail(EPROTO, "the registry asks for a login in "
				    "a way nobody knows");
	}
	if (ours && c->realm[0])
		return 0;
	return fail(EPROTO, "the registry does not say where there is a token");
}

/* -- the token -- */

/* Whether URL is of http and leads to this host. */
static bool is_loopback(const char *url)
{
	static const char *const begins[] = {
		"http://127.0.0.1", "http://localhost", "http://[::1]",
	};
	const char *rest;

	for (size_t i = 0; i < ARRAY_SIZE(begins); i++)
		if (starts_with(url, begins[i], &rest) &&
		    (*rest == ':' || *rest == '/') && !strchr(rest, '@'))
			return true;
	return false;
}

/* RFC 3986, 2.1 */
static void add_escaped(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if ((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') ||
		    (*s >= 'A' && *s <= 'Z') || strchr("-._~", *s))
			buf_char(b, *s);
		else
			buf_printf(b, "%%%02X", (unsigned char)*s);
	}
}

int oci_token_url(const struct oci_challenge *c, const char *repo, bool plain,
		  struct buf *url)
{
	if (!starts_with(c->realm, "https://", NULL) &&
	    !(plain && is_loopback(c->realm)))
		return fail(EPROTO, "'%.200s', where the registry has tokens, "
			    "is not safe", c->realm);
	if (strchr(c->realm, '#'))
		return fail(EPROTO, "'%.200s': no place for tokens", c->realm);
	buf_str(url, c->realm);
	buf_str(url, strchr(c->realm, '?') ? "&" : "?");
	if (c->service[0]) {
		buf_str(url, "service=");
		add_escaped(url, c->service);
		buf_char(url, '&');
	}
	buf_str(url, "scope=");
	if (c->scope[0]) {
		add_escaped(url, c->scope);
	} else {
		buf_str(url, "repository%3A");
		add_escaped(url, repo);
		buf_str(url, "%3Apull");
	}
	if (url->failed)
		return fail(ENOMEM, "out of memory");
	return fetch_check(url->data) < 0 ?
		fail(EPROTO, "'%.200s': no place for tokens", c->realm) : 0;
}

int oci_token(const char *text, size_t len, struct buf *token)
{
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	const char *s = json_string_value(json_object_get(j, "token"));
	size_t n;

	if (!s)
		s = json_string_value(json_object_get(j, "access_token"));
	n = s ? strlen(s) : 0;
	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] >= 0x7f)
			n = 0;
	if (n && n <= TOKEN_MAX)
		buf_add(token, s, n);
	json_decref(j);
	if (n && n <= TOKEN_MAX)
		return token->failed ? fail(ENOMEM, "out of memory") : 0;
	return fail(EPROTO, "no token is in the answer");
}
