/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/sums.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/text.h"

static const struct {
	const char *name;	/* also libcrypto's */
	size_t bytes;
} kinds[] = {
	[SUM_NONE] = { "", 0 },
	[SUM_SHA256] = { "sha256", 32 },
	[SUM_SHA512] = { "sha512", 64 },
};

enum { PIECE = 256 << 10 };

/* The value of the hex digit C, -1 if it is none. */
static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The kind whose sums have LEN hex digits. */
static enum sum_kind kind_of(size_t len)
{
	for (size_t k = SUM_SHA256; k < ARRAY_SIZE(kinds); k++)
		if (2 * kinds[k].bytes == len)
			return k;
	return SUM_NONE;
}

/* Reads all hex digits S (LEN bytes) begins with; how many there were. */
static size_t read_hex(const char *s, size_t len, struct sum *sum)
{
	size_t n = 0;

	while (n < len && digit(s[n]) >= 0)
		n++;
	*sum = (struct sum){ .kind = kind_of(n) };
	for (size_t i = 0; i < kinds[sum->kind].bytes; i++)
		sum->byte[i] = digit(s[2 * i]) << 4 | digit(s[2 * i + 1]);
	return n;
}

int sum_parse(const char *s, struct sum *sum)
{
	enum sum_kind named = SUM_NONE;
	const char *hex = s, *rest;

	for (size_t k = SUM_SHA256; k < ARRAY_SIZE(kinds); k++)
		if (starts_with(s, kinds[k].name, &rest) && *rest == ':') {
			named = k;
			hex = rest + 1;
		}
	if (hex[read_hex(hex, strlen(hex), sum)] || !sum->kind ||
	    (named && sum->kind != named))
		return fail(E_USAGE, "'%.200s': not a sum (sha256:HEX or "
			    "sha512:HEX)", s);
	return 0;
}

char *sum_format(char *buf, const struct sum *sum)
{
	int n = snprintf(buf, SUM_TEXT, "%s%s", kinds[sum->kind].name,
			 sum->kind ? ":" : "");

	for (size_t i = 0; i < kinds[sum->kind].bytes; i++, n += 2)
		snprintf(buf + n, SUM_TEXT - n, "%02x", sum->byte[i]);
	return buf;
}

bool sum_same(const struct sum *a, const struct sum *b)
{
	return a->kind == b->kind &&
	       !memcmp(a->byte, b->byte, kinds[a->kind].bytes);
}

static int lacking(void)
{
	return fail(E_HOST, "libcrypto cannot make sums");
}

/* Feeds all of FD to CTX, a piece at a time. */
static int feed(EVP_MD_CTX *ctx, int fd)
{
	autofree char *piece = malloc(PIECE);

	if (!piece)
		return fail(ENOMEM, "out of memory");
	for (off_t off = 0;;) {
		ssize_t n = pread(fd, piece, PIECE, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_sys("read");
		if (n == 0)
			return 0;
		if (!EVP_DigestUpdate(ctx, piece, n))
			return lacking();
		off += n;
	}
}

int sum_file(int fd, enum sum_kind kind, struct sum *out)
{
	const EVP_MD *md = EVP_get_digestbyname(kinds[kind].name);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int rc;

	*out = (struct sum){ .kind = kind };
	if (!ctx)
		return fail(ENOMEM, "out of memory");
	if (!md || !EVP_DigestInit_ex(ctx, md, NULL))
		rc = lacking();
	else
		rc = feed(ctx, fd);
	if (rc == 0 && !EVP_DigestFinal_ex(ctx, out->byte, NULL))
		rc = lacking();
	EVP_MD_CTX_free(ctx);
	return rc;
}

int sum_data(const void *data, size_t len, enum sum_kind kind, struct sum *out)
{
	const EVP_MD *md = EVP_get_digestbyname(kinds[kind].name);

	*out = (struct sum){ .kind = kind };
	if (!md || !EVP_Digest(data, len, out->byte, NULL, md, NULL))
		return lacking();
	return 0;
}

int sum_check(int fd, const struct sum *want)
{
	enum { SHOWN = 7 + 16 };	/* "sha256:" and what tells them apart */
	char is_text[SUM_TEXT], want_text[SUM_TEXT];
	struct sum is;
	int rc = sum_file(fd, want->kind, &is);

	if (rc < 0 || sum_same(&is, want))
		return rc;
	return fail(E_VERIFY, "damaged or changed: its sum is %.*s..., not "
		    "%.*s...", SHOWN, sum_format(is_text, &is), SHOWN,
		    sum_format(want_text, want));
}

/* One line of a list: a sum and the name it is for, perhaps none. */
struct item {
	struct sum sum;
	const char *name;
	size_t len;
};

/* "NAME) = HASH": the BSD form behind its '('. */
static bool read_bsd(const char *s, size_t len, enum sum_kind kind,
		     struct item *it)
{
	static const char mid[] = ") = ";
	const size_t hex = 2 * kinds[kind].bytes, tail = sizeof(mid) - 1 + hex;

	if (len < tail || memcmp(s + len - tail, mid, sizeof(mid) - 1))
		return false;
	it->name = s;
	it->len = len - tail;
	return read_hex(s + len - hex, hex, &it->sum) == hex;
}

/* "HASH  NAME", "HASH *NAME", "HASH". */
static bool read_plain(const char *s, size_t len, struct item *it)
{
	size_t n = read_hex(s, len, &it->sum);

	if (!it->sum.kind)
		return false;
	it->name = s + n;
	it->len = 0;
	if (n == len)
		return true;
	/* a tool that pads with more blanks means no name that has them */
	if (s[n] != ' ' && s[n] != '\t')
		return false;
	while (n < len && (s[n] == ' ' || s[n] == '\t'))
		n++;
	if (n < len && s[n] == '*')
		n++;
	it->name = s + n;
	it->len = len - n;
	return true;
}

static bool read_line(const char *s, size_t len, struct item *it)
{
	while (len && (s[len - 1] == '\r' || s[len - 1] == ' ' ||
		       s[len - 1] == '\t'))
		len--;
	for (size_t k = SUM_SHA256; k < ARRAY_SIZE(kinds); k++) {
		size_t n = strlen(kinds[k].name);

		if (len > n + 2 && !strncasecmp(s, kinds[k].name, n) &&
		    s[n] == ' ' && s[n + 1] == '(')
			return read_bsd(s + n + 2, len - n - 2, k, it);
	}
	return read_plain(s, len, it);
}

/* Whether IT is for NAME. */
static bool is_for(const struct item *it, const char *name)
{
	const char *s = it->name;
	size_t len = it->len;

	if (len > 2 && s[0] == '.' && s[1] == '/') {
		s += 2;
		len -= 2;
	}
	return len && len == strlen(name) && !memcmp(s, name, len);
}

/* Puts what a list says into FOUND, by kind; -E_VERIFY as sums_find(). */
static int put(struct sum *found, const struct sum *sum, const char *name)
{
	struct sum *old = &found[sum->kind];

	if (old->kind && !sum_same(old, sum))
		return fail(E_VERIFY, "two different sums for %.100s", name);
	*old = *sum;
	return 0;
}

int sums_find(const char *text, size_t len, const char *name, bool own,
	      struct sum *out)
{
	struct sum found[ARRAY_SIZE(kinds)] = { 0 }, only = { 0 };
	const char *end = text + len, *nl;
	size_t n = 0;

	for (const char *p = text; p < end; p = nl + 1) {
		struct item it;

		nl = memchr(p, '\n', end - p);
		if (!nl)
			nl = end;
		if (!read_line(p, nl - p, &it))
			continue;
		n++;
		only = it.sum;
		if (is_for(&it, name) && put(found, &it.sum, name) < 0)
			return -E_VERIFY;
	}
	*out = found[SUM_SHA512].kind ? found[SUM_SHA512] : found[SUM_SHA256];
	if (!out->kind && own && n == 1)
		*out = only;
	return out->kind ? 0 : fail(ENOENT, "no sum for %.100s", name);
}

/* The length of URL without query and fragment. */
static size_t path_end(const char *url)
{
	return strcspn(url, "?#");
}

/* Where the name of the file at URL begins. */
static size_t name_start(const char *url)
{
	const char *host = strstr(url, "://");
	size_t end = path_end(url), n = end;
	size_t least = host ? host + 3 - url : 0;

	while (n > least && url[n - 1] != '/')
		n--;
	return n > least ? n : end;	/* a host alone names no file */
}

void sums_name(const char *url, struct buf *out)
{
	size_t start = name_start(url);

	buf_add(out, url + start, path_end(url) - start);
}

int sums_beside(const char *url, size_t i, struct buf *out, bool *own)
{
	static const struct {
		const char *name;
		bool own;	/* NAME is put behind the file's name */
	} lists[] = {
		{ "SHA512SUMS", false },
		{ "SHA256SUMS", false },
		{ "CHECKSUM", false },
		{ ".sha512", true },
		{ ".sha256", true },
		{ ".SHA256", true },
		{ ".CHECKSUM", true },
	};

	buf_clear(out);
	if (i >= ARRAY_SIZE(lists) || name_start(url) == path_end(url))
		return fail(ENOENT, "no list of sums beside it");
	*own = lists[i].own;
	buf_add(out, url, *own ? path_end(url) : name_start(url));
	buf_str(out, lists[i].name);
	return out->failed ? fail(ENOMEM, "out of memory") : 0;
}
