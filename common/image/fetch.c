/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>

#include "base/err.h"
#include "base/file.h"
#include "image/partial.h"

enum {
	HEAD_MAX = 64 << 10,	/* header bytes of an answer */
	WASTE_MAX = 64 << 10,	/* of an answer's body that nobody wants */
	URL_SHOWN = 200,	/* so that a sentence keeps its end */
};

const struct fetch_limits fetch_usual = {
	.tries = 6, .wait_ms = 1000, .connect_s = 30,
	.slow_rate = 1000, .slow_s = 30,
};

/* One download. Its attempts, and the redirects of each, are requests. */
struct transfer {
	const struct fetch *f;
	const struct fetch_limits *limits;
	CURL *curl;
	struct partial part;
	bool answered;		/* there is a server: it answered before */

	/* of the request under way */
	bool own;		/* to the server that was asked for */
	struct reply reply;
	bool began;		/* its body did */
	bool wanted;		/* the body is the file */
	bool hopeless;		/* not to be tried again at once */
	size_t head, waste;
	int rc;			/* what a callback failed with */
	char said[CURL_ERROR_SIZE];
};

static bool is_scheme(const char *url, const char *scheme)
{
	return !strncasecmp(url, scheme, strlen(scheme));
}

int fetch_check(const char *url)
{
	size_t len = strlen(url);

	for (size_t i = 0; i < len; i++)
		if (url[i] <= ' ' || url[i] >= 0x7f)
			return fail(E_USAGE, "'%.*s': not a URL", URL_SHOWN,
				    url);
	if (len > FETCH_URL_MAX)
		return fail(E_USAGE, "'%.*s...': too long a URL", URL_SHOWN,
			    url);
	if (!is_scheme(url, "https://") && !is_scheme(url, "http://"))
		return fail(E_USAGE, "'%.*s': not a URL (https:// or http://)",
			    URL_SHOWN, url);
	return 0;
}

int fetch_check_redirect(const char *url, const char *next)
{
	if (is_scheme(url, "https://") && !is_scheme(next, "https://"))
		return fail(EPROTO, "redirects to '%.*s', which is not safe",
			    URL_SHOWN, next);
	return fetch_check(next) < 0 ? fail_in(-EPROTO, "redirects") : 0;
}

static void show(const struct transfer *t)
{
	if (t->f->progress)
		t->f->progress(t->f->arg, t->part.have,
			       t->part.has_size ? t->part.size : 0);
}

/* What there is, is worth nothing: the next attempt begins at the start. */
static int anew(struct transfer *t, const char *why)
{
	int rc = partial_drop(&t->part);

	return rc < 0 ? rc : fail(E_AGAIN, "%s", why);
}

/* Whether this answer's body is the file, or what goes on where we are. */
static int begin(struct transfer *t)
{
	int rc;

	t->began = true;
	if (t->reply.status == 200) {
		rc = partial_begin(&t->part, &t->reply);
		if (rc < 0)
			return rc;
	} else if (t->reply.status == 206) {
		if (!partial_fits(&t->part, &t->reply))
			return anew(t, "the server sent another part than "
				    "it was asked for");
	} else {
		return 0;
	}
	t->wanted = true;
	show(t);
	return 0;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	t->answered = true;
	t->head += size * n;
	if (t->head > HEAD_MAX) {
		t->rc = fail(EPROTO, "endless headers");
		return 0;
	}
	if (!t->began)
		reply_line(&t->reply, data, size * n);
	return size * n;
}

/* Any other number than all bytes ends the request. */
static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;

	if (!t->began)
		t->rc = begin(t);
	if (t->rc < 0)
		return len + 1;
	if (!t->wanted) {
		t->waste += len;
		return t->waste > WASTE_MAX ? len + 1 : len;
	}
	t->rc = partial_add(&t->part, data, len);
	if (t->rc < 0)
		return len + 1;
	show(t);
	return len;
}

/* The parts that are the same for each request. */
static bool set_up(struct transfer *t)
{
	const struct fetch_limits *l = t->limits;
	CURL *c = t->curl;

	return !curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L) &&
	       !curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L) &&
	       !curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) &&
	       !curl_easy_setopt(c, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) &&
	       !curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) &&
	       !curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
	       !curl_easy_setopt(c, CURLOPT_USERAGENT, "vmutils/" VERSION) &&
	       !curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT,
				 (long)l->connect_s) &&
	       !curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT,
				 (long)l->slow_rate) &&
	       !curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)l->slow_s) &&
	       !curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->said) &&
	       !curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header) &&
	       !curl_easy_setopt(c, CURLOPT_HEADERDATA, t) &&
	       !curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) &&
	       !curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
}

/* What CODE, which is not CURLE_OK, means. */
static int broken(struct transfer *t, CURLcode code)
{
	static const struct {
		CURLcode code;
		int error;
		const char *text;	/* NULL: as libcurl says it */
		bool first;		/* hopeless if nothing answered yet */
	} kinds[] = {
		{ CURLE_COULDNT_RESOLVE_HOST, E_AGAIN,
		  "no such host, or no network", true },
		{ CURLE_COULDNT_RESOLVE_PROXY, E_AGAIN,
		  "no such proxy, or no network", true },
		{ CURLE_COULDNT_CONNECT, E_AGAIN, "no connection", true },
		{ CURLE_OPERATION_TIMEDOUT, E_AGAIN,
		  "no answer, or too slow a one" },
		{ CURLE_PARTIAL_FILE, E_AGAIN, "the connection broke" },
		{ CURLE_GOT_NOTHING, E_AGAIN, "the connection broke" },
		{ CURLE_RECV_ERROR, E_AGAIN },
		{ CURLE_SEND_ERROR, E_AGAIN },
		{ CURLE_HTTP2, E_AGAIN },
		{ CURLE_HTTP2_STREAM, E_AGAIN },
		{ CURLE_SSL_CONNECT_ERROR, E_AGAIN, NULL, true },
		{ CURLE_URL_MALFORMAT, E_USAGE, "not a URL" },
		{ CURLE_LOGIN_DENIED, E_USAGE, "a user name in a URL is not "
		  "supported" },
		{ CURLE_OUT_OF_MEMORY, ENOMEM, "out of memory" },
	};
	const char *said = t->said[0] ? t->said : curl_easy_strerror(code);
	long os = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].code != code)
			continue;
		t->hopeless = kinds[i].first && !t->answered;
		curl_easy_getinfo(t->curl, CURLINFO_OS_ERRNO, &os);
		if (code == CURLE_COULDNT_CONNECT && os)
			return fail(E_AGAIN, "%s", strerror(os));
		return fail(kinds[i].error, "%s",
			    kinds[i].text ? kinds[i].text : said);
	}
	return fail(EPROTO, "%s", said);
}

/* What a status other than of success means. */
static int refused(const struct transfer *t)
{
	static const struct {
		int status, error;
		const char *text;
	} kinds[] = {
		{ 401, E_PERM, " (not without a login)" },
		{ 403, ENOENT, " (forbidden)" },
		{ 404, ENOENT, " (not found)" },
		{ 407, EPROTO, " (the proxy wants a password)" },
		{ 408, E_AGAIN, " (too slow)" },
		{ 410, ENOENT, " (gone)" },
		{ 425, E_AGAIN, "" },
		{ 429, E_AGAIN, " (too many requests)" },
		{ 503, E_AGAIN, " (unavailable)" },
	};
	const int status = t->reply.status;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].status == status)
			return fail(kinds[i].error, "the server says %d%s",
				    status, kinds[i].text);
	return fail(status / 100 == 5 ? E_AGAIN : EPROTO,
		    "the server says %d", status);
}

/*
 * 416: there is nothing behind what we have. That is all if it was all
 * before; with If-Range it is still of the same content.
 */
static int nothing_more(struct transfer *t)
{
	const struct reply *r = &t->reply;

	if (t->part.has_size && t->part.have == t->part.size &&
	    r->has_total && r->total == t->part.have) {
		show(t);
		return 0;
	}
	if (!t->part.have)
		return refused(t);
	return anew(t, "it changed meanwhile");
}

/* What the answer, of which libcurl says CODE, comes to. */
static int judge(struct transfer *t, CURLcode code)
{
	/* a refusal too long to be read to its end is one all the same */
	if (code == CURLE_WRITE_ERROR && t->waste > WASTE_MAX)
		code = CURLE_OK;
	if (code == CURLE_OK && !t->began)	/* an empty body */
		t->rc = begin(t);
	if (t->rc < 0)
		return t->rc;
	if (code != CURLE_OK)
		return broken(t, code);
	if (t->reply.status == 416)
		return nothing_more(t);
	if (!t->wanted)
		return refused(t);
	if (!t->part.has_size || t->part.have == t->part.size)
		return 0;
	if (t->part.have < t->part.size)	/* a close ended the body */
		return fail(E_AGAIN, "the connection broke");
	return anew(t, "the server sent more than it said");
}

static bool add_header(struct curl_slist **list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*list, line);

	if (longer)
		*list = longer;
	return longer;
}

/* Asks for what goes on where the partial file ends. */
static bool ask_range(struct transfer *t, struct curl_slist **headers)
{
	const struct partial *p = &t->part;
	char range[32], condition[16 + VALIDATOR_BYTES];

	if (!p->have || !p->validator[0])
		return !curl_easy_setopt(t->curl, CURLOPT_RANGE, NULL);
	snprintf(range, sizeof(range), "%" PRIu64 "-", p->have);
	snprintf(condition, sizeof(condition), "If-Range: %s", p->validator);
	return add_header(headers, condition) &&
	       !curl_easy_setopt(t->curl, CURLOPT_RANGE, range);
}

static bool set_headers(struct transfer *t, struct curl_slist **headers)
{
	bool ok = ask_range(t, headers);

	for (const char *const *h = t->f->headers; h && *h && t->own; h++)
		ok = ok && add_header(headers, *h);
	return ok && !curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, *headers);
}

/* Whether both have the same scheme, host and port, written the same way. */
static bool same_server(const char *a, const char *b)
{
	const char *host = strstr(a, "://");
	size_t n = host ? host + 3 - a : 0;

	n += strcspn(a + n, "/?#\\");
	return host && !strncasecmp(a, b, n) &&
	       (!b[n] || strchr("/?#\\", b[n]));
}

static int note_challenge(const struct transfer *t)
{
	if (!t->f->challenge || !t->own || t->reply.status != 401)
		return 0;
	buf_clear(t->f->challenge);
	buf_str(t->f->challenge, t->reply.challenge);
	return t->f->challenge->failed ? fail(ENOMEM, "out of memory") : 0;
}

/* One request. *NEXT is where it redirects to, else NULL. */
static int request(struct transfer *t, const char *url, char **next)
{
	struct curl_slist *headers = NULL;
	char *where = NULL;
	CURLcode code;
	int rc;

	*next = NULL;
	t->own = same_server(t->f->url, url);
	t->reply = (struct reply){ 0 };
	t->began = t->wanted = t->hopeless = false;
	t->head = t->waste = 0;
	t->rc = 0;
	t->said[0] = '\0';
	if (!set_headers(t, &headers) ||
	    curl_easy_setopt(t->curl, CURLOPT_URL, url)) {
		curl_slist_free_all(headers);
		return fail(ENOMEM, "out of memory");
	}
	code = curl_easy_perform(t->curl);
	curl_slist_free_all(headers);
	rc = note_challenge(t);
	if (rc == 0)
		rc = judge(t, code);
	if (t->reply.status / 100 == 3 && t->rc == 0 &&
	    !curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &where) &&
	    where) {
		*next = strdup(where);
		if (!*next)
			return fail(ENOMEM, "out of memory");
	}
	return rc;
}

/* One attempt: a request, and those it is redirected to. */
static int attempt(struct transfer *t)
{
	autofree char *url = strdup(t->f->url);
	int rc;

	if (!url)
		return fail(ENOMEM, "out of memory");
	for (int n = 0; n <= FETCH_REDIRECTS; n++) {
		char *next;

		rc = request(t, url, &next);
		if (!next)
			return rc < 0 && n ? fail_in(rc, "redirected to %.*s",
						     URL_SHOWN, url) : rc;
		rc = fetch_check_redirect(url, next);
		free(url);
		url = next;
		if (rc < 0)
			return rc;
	}
	return fail(EPROTO, "redirects more than %d times", FETCH_REDIRECTS);
}

static void wait_ms(uint64_t ms)
{
	struct timespec left = {
		.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000,
	};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

/* Attempts until one succeeds, or it is of no use. */
static int try_on(struct transfer *t)
{
	const uint64_t max_ms = FETCH_WAIT_MAX_S * 1000;
	uint64_t most = t->part.have, ms = t->limits->wait_ms, asked;
	unsigned left = t->limits->tries;

	for (;;) {
		int rc = attempt(t);

		if (rc != -E_AGAIN || t->hopeless)
			return rc;
		/* measured by the most there ever was, so this has an end */
		if (t->part.have >= most + FETCH_GAIN) {
			most = t->part.have;
			left = t->limits->tries;
			ms = t->limits->wait_ms;
		}
		if (left-- <= 1)
			return rc;
		asked = min_u64(t->reply.retry_after, FETCH_WAIT_MAX_S) * 1000;
		wait_ms(max_u64(ms, asked));
		ms = min_u64(2 * ms, max_ms);
	}
}

static int run(struct transfer *t)
{
	int rc;

	if (!t->curl)
		return fail(ENOMEM, "out of memory");
	if (!set_up(t))
		return fail(E_HOST, "this libcurl lacks what is needed (%s)",
			    curl_version());
	rc = partial_open(&t->part);
	return rc < 0 ? rc : try_on(t);
}

int fetch_file(const struct fetch *f)
{
	struct transfer t = {
		.f = f,
		.limits = f->limits ? f->limits : &fetch_usual,
		.part = {
			.fd = f->fd, .dir = f->dir, .note = f->note,
			.url = f->url, .max = f->max,
		},
	};
	int rc = fetch_check(f->url);

	if (rc < 0)
		return rc;
	t.curl = curl_easy_init();
	rc = run(&t);
	curl_easy_cleanup(t.curl);
	return rc < 0 ? fail_in(rc, "%.*s", URL_SHOWN, f->url) : 0;
}

int fetch_buf(const struct fetch *wanted, struct buf *b)
{
	autoclose int fd = memfd_create("fetch", MFD_CLOEXEC);
	const char *url = wanted->url;
	struct fetch f = *wanted;
	off_t len;
	int rc;

	if (fd < 0)
		return fail_sys("%.*s", URL_SHOWN, url);
	f.fd = fd;
	f.note = NULL;
	rc = fetch_file(&f);
	if (rc < 0)
		return rc;
	len = lseek(fd, 0, SEEK_END);
	if (len < 0 || !buf_grow(b, len))
		return fail(ENOMEM, "%.*s: out of memory", URL_SHOWN, url);
	rc = pread_all(fd, b->data + b->len, len, 0);
	if (rc < 0)
		return fail(-rc, "%.*s: %s", URL_SHOWN, url, strerror(-rc));
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int fetch_text(const char *url, struct buf *b, size_t max,
	       const struct fetch_limits *limits)
{
	const struct fetch f = { .url = url, .max = max, .limits = limits };

	return fetch_buf(&f, b);
}
