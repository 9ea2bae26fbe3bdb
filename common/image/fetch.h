/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fetch.h - files from the web, by http and https; the only user of libcurl.
 *
 * A file comes into a partial one (partial.h) that is kept when something
 * breaks, and gone on with next time if the server still has the very same
 * content (Range and If-Range, by a strong ETag or Last-Modified); else it
 * comes anew. What may pass by itself is tried again after growing waits;
 * attempts that bring something do not count.
 *
 * Certificates are always verified, a redirect never leads from https to
 * http, and nothing but the address is told: no user names, no ~/.netrc, no
 * cookies. Headers that the caller adds are told to the server that is asked,
 * never to another one that it redirects to. Proxies are those of the environment, as curl has them
 * (https_proxy, no_proxy, ...). That the content is the right one is what
 * sums are for (sums.h).
 */
#ifndef IMAGE_FETCH_H
#define IMAGE_FETCH_H

#include "base/buf.h"

enum {
	FETCH_URL_MAX = 2000,
	FETCH_REDIRECTS = 10,
	FETCH_WAIT_MAX_S = 60,		/* also of what a server asks for */
	FETCH_GAIN = 1 << 20,		/* bytes that make an attempt count */
};

struct fetch_limits {
	unsigned tries;		/* in a row that bring less than FETCH_GAIN */
	unsigned wait_ms;	/* before the second, then twice as long */
	unsigned connect_s;
	unsigned slow_rate;	/* less bytes a second than that ... */
	unsigned slow_s;	/* ... over so many seconds: it stalls */
};
extern const struct fetch_limits fetch_usual;

struct fetch {
	const char *url;
	int fd;			/* the partial file, for reading and writing;
				   nobody else writes it meanwhile */
	int dir;		/* where its note is kept, by this name; */
	const char *note;	/* NULL: it always comes from the start */
	uint64_t max;		/* bytes */
	const struct fetch_limits *limits;	/* NULL: fetch_usual */
	const char *const *headers;	/* lines of the request, NULL at the
					   end; or NULL */
	struct buf *challenge;	/* gets what a 401 of the server that was asked
				   says in WWW-Authenticate; may be NULL */
	/* Bytes there, and of the whole (0: not known); may be NULL. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

/* 0, or -E_USAGE "...: not a URL (https:// or http://)". */
int fetch_check(const char *url);
/* Whether what is at URL may be had from NEXT instead. 0, or -EPROTO. */
int fetch_check_redirect(const char *url, const char *next);

/*
 * Gets a file. 0: it is whole, not yet durable, and the caller removes the
 * note. Else negative with a sentence that begins with the URL; what came so
 * far stays for the next call:
 *
 *	-E_USAGE	no URL of ours
 *	-ENOENT		the server has it not (404, 410), or not for us (403)
 *	-E_PERM		the server wants to know who asks (401)
 *	-E_AGAIN	may work later: no connection, too slow, 5xx
 *	-EFBIG		more than max
 *	-EPROTO		a certificate that does not hold, another answer that
 *			is of no use
 *	-errno		of writing
 */
int fetch_file(const struct fetch *f);

/*
 * Appends a small file to B: fetch_file() of F, whose fd, dir and note are not
 * used.
 */
int fetch_buf(const struct fetch *f, struct buf *b);
/* The same of URL, at most MAX bytes; LIMITS may be NULL. */
int fetch_text(const char *url, struct buf *b, size_t max,
	       const struct fetch_limits *limits);

#endif
