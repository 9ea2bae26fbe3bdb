/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/fetch.h"

#include <sys/mman.h>

#include "base/err.h"
#include "image/reply.h"

#include "scratch.h"
#include "test.h"
#include "web.h"

enum { SIZE = 100000 };	/* of the file that is to be had */

static char dir[SCRATCH_BYTES];
static int cwd;			/* where the note is kept */

static const struct fetch_limits quick = {
	.tries = 3, .wait_ms = 1, .connect_s = 2,
	.slow_rate = 1000, .slow_s = 1,
};

static uint64_t shown_done, shown_total;
static unsigned shown;

static void note_progress(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	shown_done = done;
	shown_total = total;
	shown++;
}

/* Gets URL into the file "part" with its note "part.note". */
static int get_url(const char *url, uint64_t max)
{
	autoclose int fd = open("part", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	const struct fetch f = {
		.url = url, .fd = fd, .dir = cwd, .note = "part.note",
		.max = max, .limits = &quick, .progress = note_progress,
	};

	shown = 0;
	return fetch_file(&f);
}

/* Plays the script while the file is got. */
static int get(const struct web_step *step, size_t n)
{
	int rc;

	if (!web_start(step, n))
		return -EIO;
	rc = get_url(web.url, WEB_CONTENT);
	web_stop();
	return rc;
}

#define GET(...) \
	get((const struct web_step[]){ __VA_ARGS__ }, \
	    sizeof((const struct web_step[]){ __VA_ARGS__ }) / \
	    sizeof(struct web_step))

static void forget(void)
{
	unlink("part");
	unlink("part.note");
}

/* As if a part of this server's file had come earlier. */
static bool put_note(void)
{
	char note[256];

	snprintf(note, sizeof(note),
		 "url=%s\nvalidator=\"a\"\nsize=100000\n", web.url);
	return put("part.note", note);
}

/* Whether what was got is the first LEN bytes of the file. */
static bool is_got(size_t len)
{
	autobuf struct buf b = BUF_INIT;

	return file_read(AT_FDCWD, "part", &b, WEB_CONTENT) == 0 &&
	       b.len == len && !memcmp(b.data, web_content, len);
}

/* Whether the Nth request had the header LINE. */
static bool asked(size_t n, const char *line)
{
	char whole[512];

	snprintf(whole, sizeof(whole), "\r\n%s\r\n", line);
	return n < web.served && strstr(web.request[n], whole);
}

static bool asked_range(size_t n)
{
	return strstr(web.request[n], "\r\nRange:") ||
	       strstr(web.request[n], "\r\nIf-Range:");
}

/* Whether the sentence ends so. */
static bool ends(const char *tail)
{
	size_t len = strlen(err_text()), n = strlen(tail);

	if (len >= n && !strcmp(err_text() + len - n, tail))
		return true;
	printf("# %s\n", err_text());
	return false;
}

#define WHOLE "200 OK\r\nContent-Length: 100000\r\nETag: \"a\""
#define REST(first) "206 Partial Content\r\nETag: \"a\"\r\n" \
	"Content-Range: bytes " #first "-99999/100000"

static const struct web_step ten = { "200 OK", 0, 10 };

TEST(a_whole_file_comes)
{
	forget();
	EQ(GET({ WHOLE, 0, SIZE }), 0);
	OK(is_got(SIZE));
	OK(!asked_range(0));
	EQ(shown_done, SIZE);
	EQ(shown_total, SIZE);
	OK(is_there("part.note"));
}

TEST(an_empty_file_comes)
{
	forget();
	EQ(GET({ "200 OK\r\nContent-Length: 0" }), 0);
	OK(is_got(0));
}

TEST(a_file_of_unknown_size_comes)
{
	forget();
	EQ(GET({ "200 OK", 0, SIZE }), 0);
	OK(is_got(SIZE));
	EQ(shown_total, 0);
}

TEST(a_file_in_chunks_comes)
{
	forget();
	EQ(GET({ "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		 "0\r\nETag: \"z\"\r\nContent-Length: 7\r\n" }), 0);
	OK(is_got(0));
}

TEST(what_broke_half_way_is_gone_on_with)
{
	forget();
	EQ(GET({ WHOLE, 0, 40000 }, { REST(40000), 40000, SIZE }), 0);
	OK(is_got(SIZE));
	OK(asked(1, "Range: bytes=40000-"));
	OK(asked(1, "If-Range: \"a\""));
}

TEST(a_reset_connection_is_gone_on_with)
{
	forget();
	EQ(GET({ WHOLE, 0, 0, WEB_RESET }, { WHOLE, 0, SIZE }), 0);
	OK(is_got(SIZE));
}

TEST(what_an_earlier_call_got_is_gone_on_with)
{
	static const struct web_step rest = { REST(10000), 10000, SIZE };

	forget();
	EQ(GET({ WHOLE, 0, 10000 }, { "503 x" }, { "503 x" }), -E_AGAIN);
	OK(ends(": the server says 503 (unavailable)"));
	OK(is_got(10000));
	/* the next server has another port: the note must say this one's */
	OK(web_start(&rest, 1));
	OK(put_note());
	EQ(get_url(web.url, SIZE), 0);
	web_stop();
	OK(asked(0, "Range: bytes=10000-"));
	OK(is_got(SIZE));
}

TEST(what_is_of_another_address_starts_over)
{
	forget();
	EQ(GET({ WHOLE, 0, 10000 }, { "404 x" }), -ENOENT);
	OK(is_got(10000));
	EQ(GET({ WHOLE, 0, SIZE }), 0);
	OK(!asked_range(0));
	OK(is_got(SIZE));
}

TEST(bytes_without_a_note_start_over)
{
	forget();
	OK(put("part", "something else"));
	EQ(GET({ WHOLE, 0, SIZE }), 0);
	OK(!asked_range(0));
	OK(is_got(SIZE));
	OK(put("part", "something else"));
	OK(put("part.note", "no note\n"));
	EQ(GET({ WHOLE, 0, SIZE }), 0);
	OK(!asked_range(0));
	OK(is_got(SIZE));
}

TEST(a_server_that_ignores_range_starts_over)
{
	forget();
	EQ(GET({ WHOLE, 0, 40000 }, { WHOLE, 0, SIZE }), 0);
	OK(asked_range(1));
	OK(is_got(SIZE));
}

TEST(a_file_that_changed_meanwhile_starts_over)
{
	forget();
	EQ(GET({ WHOLE, 1000, 40000 },	/* of what was there before */
	       { "200 OK\r\nContent-Length: 50000\r\nETag: \"b\"", 0, 20000 },
	       { "206 x\r\nContent-Range: bytes 20000-49999/50000",
		 20000, 50000 }), 0);
	OK(asked(2, "If-Range: \"b\""));
	OK(is_got(50000));
}

TEST(a_part_of_another_file_is_not_put_behind)
{
	forget();
	EQ(GET({ WHOLE, 1000, 40000 },
	       { "206 x\r\nETag: \"b\"\r\n"
		 "Content-Range: bytes 39000-99999/100000", 39000, SIZE },
	       { WHOLE, 0, SIZE }), 0);
	OK(!asked_range(2));
	OK(is_got(SIZE));
}

TEST(a_part_that_was_not_asked_for_is_not_taken)
{
	static const char *const lies[] = {
		"206 x\r\nContent-Range: bytes 0-99999/100000",
		"206 x\r\nContent-Range: bytes 39999-99999/100000",
		"206 x\r\nContent-Range: bytes 40000-99999/99999",
		"206 x\r\nContent-Range: bytes 40000-99999/200000",
		"206 x\r\nContent-Range: bytes 40000-199999/200000",
		"206 x\r\nContent-Range: bytes 40000-50000/100000",
		"206 x\r\nContent-Range: bytes 99999-40000/100000",
		"206 x\r\nContent-Range: bytes 40000-99999",
		"206 x\r\nContent-Range: lines 40000-99999/100000",
		("206 x\r\nContent-Range: bytes "
		 "18446744073709591616-99999/100000"),
		"206 x",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		forget();
		EQ(GET({ WHOLE, 0, 40000 }, { lies[i], 1, 60000 },
		       { WHOLE, 0, SIZE }), 0);
		OK(!asked_range(2));
		OK(is_got(SIZE));
	}
}

TEST(a_part_as_first_answer_is_not_taken)
{
	forget();
	EQ(GET({ REST(0), 0, SIZE }, { REST(0), 0, SIZE },
	       { REST(0), 0, SIZE }), -E_AGAIN);
	OK(is_got(0));
}

TEST(what_has_no_strong_validator_starts_over)
{
	static const char *const weak[] = {
		"200 OK\r\nContent-Length: 100000",
		"200 OK\r\nContent-Length: 100000\r\nETag: W/\"a\"",
		("200 OK\r\nContent-Length: 100000\r\nETag: W/\"a\"\r\n"
		 "Last-Modified: Fri, 01 Mar 2024 00:00:00 GMT\r\n"
		 "Date: Sat, 02 Mar 2024 00:00:00 GMT"),
		("200 OK\r\nContent-Length: 100000\r\n"
		 "Last-Modified: Fri, 01 Mar 2024 00:00:00 GMT\r\n"
		 "Date: Fri, 01 Mar 2024 00:00:59 GMT"),
		("200 OK\r\nContent-Length: 100000\r\n"
		 "Last-Modified: yesterday\r\nDate: today"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(weak); i++) {
		forget();
		EQ(GET({ weak[i], 0, 40000 }, { WHOLE, 0, SIZE }), 0);
		OK(!asked_range(1));
		OK(is_got(SIZE));
	}
}

TEST(a_date_is_a_validator_when_it_is_old_enough)
{
	forget();
	EQ(GET({ "200 OK\r\nContent-Length: 100000\r\n"
		 "Last-Modified: Fri, 01 Mar 2024 00:00:00 GMT\r\n"
		 "Date: Fri, 01 Mar 2024 00:01:00 GMT", 0, 40000 },
	       { REST(40000), 40000, SIZE }), 0);
	OK(asked(1, "If-Range: Fri, 01 Mar 2024 00:00:00 GMT"));
	OK(is_got(SIZE));
}

TEST(all_that_is_there_is_not_had_again)
{
	static const struct web_step nothing = {
		"416 x\r\nContent-Range: bytes */100000\r\n"
		"Content-Length: 0"
	};

	forget();
	OK(web_start(&nothing, 1));
	OK(put_note());
	EQ(file_replace(cwd, "part", web_content, SIZE, 0600), 0);
	EQ(get_url(web.url, SIZE), 0);
	web_stop();
	OK(asked(0, "Range: bytes=100000-"));
	OK(is_got(SIZE));
}

TEST(a_file_that_shrank_starts_over)
{
	forget();
	EQ(GET({ WHOLE, 0, 40000 },
	       { "416 x\r\nContent-Range: bytes */30000" },
	       { "200 OK\r\nContent-Length: 30000", 0, 30000 }), 0);
	OK(is_got(30000));
}

TEST(not_found_is_said_at_once)
{
	forget();
	EQ(GET({ "404 Not Found\r\nContent-Length: 3", 0, 3 },
	       { WHOLE, 0, SIZE }), -ENOENT);
	EQ(web.served, 1);
	EQ(err_exit(-ENOENT), EXIT_FAILED);
	OK(starts_with(err_text(), web.url, NULL));
	OK(ends("x.img: the server says 404 (not found)"));
	OK(is_got(0));
	EQ(shown, 0);
}

TEST(other_refusals_are_told_apart)
{
	static const struct { const char *head; int rc; } kinds[] = {
		{ "403 x", -ENOENT }, { "410 x", -ENOENT },
		{ "401 x", -E_PERM }, { "400 x", -EPROTO },
		{ "204 x", -EPROTO }, { "304 x", -EPROTO },
		{ "302 x", -EPROTO }, { "416 x", -EPROTO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		forget();
		EQ(GET({ kinds[i].head }), kinds[i].rc);
		OK(is_got(0));
	}
}

TEST(a_refusal_without_end_is_one)
{
	uint64_t began = now_ns();

	forget();
	EQ(GET({ "404 x", 0, 0, WEB_ENDLESS }), -ENOENT);
	OK(now_ns() - began < WEB_DRIP_MS * 1000000ULL / 2);
}

TEST(unavailable_is_tried_again)
{
	forget();
	EQ(GET({ "503 x\r\nRetry-After: 0" }, { "429 x" },
	       { WHOLE, 0, SIZE }), 0);
	OK(is_got(SIZE));
}

TEST(tries_are_bounded_and_then_it_may_work_later)
{
	forget();
	EQ(GET({ "500 x" }, { "502 x" }, { "504 x" }, { WHOLE, 0, SIZE }),
	   -E_AGAIN);
	EQ(web.served, 3);
	EQ(err_exit(-E_AGAIN), EXIT_AGAIN);
	OK(ends("the server says 504"));
}

TEST(attempts_that_bring_much_do_not_count)
{
	forget();
	EQ(GET({ "200 OK\r\nContent-Length: 3145728\r\nETag: \"a\"",
		 0, 1 << 20 },
	       { "503 x" },
	       { "206 x\r\nContent-Range: bytes 1048576-3145727/3145728",
		 1 << 20, 2 << 20 },
	       { "503 x" },
	       { "206 x\r\nContent-Range: bytes 2097152-3145727/3145728",
		 2 << 20, 3 << 20 }), 0);
	EQ(web.served, 5);
	OK(is_got(3 << 20));
}

TEST(a_redirect_is_followed)
{
	forget();
	EQ(GET({ "302 x\r\nLocation: /other.img\r\nContent-Length: 4", 0, 4 },
	       { "307 x\r\nLocation: third.img" },
	       { WHOLE, 0, SIZE }), 0);
	OK(starts_with(web.request[1], "GET /other.img HTTP", NULL));
	OK(starts_with(web.request[2], "GET /third.img HTTP", NULL));
	OK(is_got(SIZE));
}

TEST(redirects_are_bounded)
{
	static const char loop[] = "301 x\r\nLocation: /x.img";
	const struct web_step s = { loop };

	forget();
	EQ(GET(s, s, s, s, s, s, s, s, s, s, s, s), -EPROTO);
	EQ(web.served, FETCH_REDIRECTS + 1);
	OK(ends("redirects more than 10 times"));
}

TEST(what_a_redirect_leads_to_is_named_when_it_is_refused)
{
	forget();
	EQ(GET({ "302 x\r\nLocation: /gone.img" }, { "404 x" }), -ENOENT);
	OK(ends("/gone.img: the server says 404 (not found)"));
}

TEST(a_redirect_to_another_kind_of_address_is_refused)
{
	static const char *const bad[] = {
		"302 x\r\nLocation: file:///etc/passwd",
		"302 x\r\nLocation: ftp://127.0.0.1/x",
		"302 x\r\nLocation: gopher://127.0.0.1/x",
		"302 x\r\nLocation: scp://127.0.0.1/x",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		forget();
		EQ(GET({ bad[i] }), -EPROTO);
		OK(is_got(0));
	}
	EQ(fetch_check_redirect("http://a/", "https://b/"), 0);
	EQ(fetch_check_redirect("http://a/", "http://b/"), 0);
	EQ(fetch_check_redirect("https://a/", "https://b/"), 0);
	EQ(fetch_check_redirect("https://a/", "http://b/"), -EPROTO);
	EQ(fetch_check_redirect("HTTPS://a/", "http://b/"), -EPROTO);
	EQ(fetch_check_redirect("https://a/", "file:///b"), -EPROTO);
}

TEST(too_large_a_file_is_refused_before_it_comes)
{
	forget();
	EQ(GET({ "200 OK\r\nContent-Length: 3145729", 0, SIZE }), -EFBIG);
	OK(ends(": larger than 3M"));
	OK(is_got(0));
	forget();
	/* what cannot be read is not there */
	EQ(GET({ "200 OK\r\nContent-Length: 18446744073709551617", 0, 5 }),
	   0);
	OK(is_got(5));
}

TEST(a_file_without_end_is_cut_off)
{
	forget();
	EQ(GET({ "200 OK", 0, SIZE, WEB_ENDLESS }), -EFBIG);
	OK(ends(": larger than 3M"));
}

TEST(a_slow_drip_is_given_up)
{
	static const struct web_step drip = { WHOLE, 0, 10, WEB_DRIP };
	struct fetch_limits once = quick;
	autobuf struct buf b = BUF_INIT;
	uint64_t began = now_ns();

	once.tries = 1;
	OK(web_start(&drip, 1));
	EQ(fetch_text(web.url, &b, SIZE, &once), -E_AGAIN);
	web_stop();
	OK(ends("no answer, or too slow a one"));
	OK(now_ns() - began < WEB_DRIP_MS * 1000000ULL);
}

TEST(headers_without_end_are_given_up)
{
	static char many[80000] = "200 OK\r\n";
	size_t len = strlen(many);

	forget();
	while (len + 16 < sizeof(many))
		len += snprintf(many + len, 8, "X: y\r\n");
	snprintf(many + len, 8, "X: y");
	EQ(GET({ many, 0, SIZE }), -EPROTO);
	OK(ends(": endless headers"));
}

TEST(less_than_the_server_said_is_gone_on_with)
{
	forget();
	EQ(GET({ WHOLE, 0, 99999 }, { REST(99999), 99999, SIZE }), 0);
	OK(is_got(SIZE));
}

TEST(what_always_breaks_is_kept_for_later)
{
	forget();
	EQ(GET({ WHOLE, 0, 10 }, { REST(10), 10, 20 },
	       { REST(20), 20, 30 }), -E_AGAIN);
	OK(is_got(30));
}

TEST(what_is_no_https_is_refused)
{
	autobuf struct buf b = BUF_INIT;

	forget();
	OK(web_start(&ten, 1));
	buf_printf(&b, "https%s", web.url + 4);
	EQ(get_url(b.data, SIZE), -E_AGAIN);
	web_stop();
	OK(is_got(0));
}

TEST(nobody_there_is_said_at_once)
{
	struct fetch_limits patient = quick;
	autobuf struct buf b = BUF_INIT;
	uint64_t began = now_ns();

	patient.wait_ms = 3000;
	OK(web_start(NULL, 0));
	web_stop();
	EQ(fetch_text(web.url, &b, SIZE, &patient), -E_AGAIN);
	OK(ends("x.img: Connection refused"));
	OK(now_ns() - began < 2000000000ULL);
}

TEST(what_is_no_url_of_ours_is_refused)
{
	static const char *const bad[] = {
		"", "x", "/x", "http:/x", "file:///etc/passwd", "ftp://h/x",
		"https://h/a b", "https://h/\n", "https://h/\xe9",
		" https://h/",
	};
	char url[FETCH_URL_MAX + 2];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EQ(get_url(bad[i], SIZE), -E_USAGE);
	EQ(get_url("http://", SIZE), -E_USAGE);
	EQ(get_url("http://me:secret@127.0.0.1/", SIZE), -E_USAGE);
	memset(url, 'x', sizeof(url));
	memcpy(url, "https://", 8);
	url[sizeof(url) - 1] = '\0';
	EQ(fetch_check(url), -E_USAGE);
	url[sizeof(url) - 2] = '\0';
	EQ(fetch_check(url), 0);
}

TEST(a_full_disk_is_an_error)
{
	autoclose int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	static const struct web_step whole = { WHOLE, 0, SIZE };
	struct fetch f = { .fd = fd, .max = SIZE, .limits = &quick };

	EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	OK(web_start(&whole, 1));
	f.url = web.url;
	EQ(fetch_file(&f), -EPERM);
	web_stop();
	OK(ends("x.img: write: Operation not permitted"));
}

TEST(a_text_comes_into_memory)
{
	static const struct web_step fits = { "200 OK", 0, 5000 };
	static const struct web_step larger = { "200 OK", 0, 5001 };
	autobuf struct buf b = BUF_INIT;

	buf_str(&b, "before ");
	OK(web_start(&fits, 1));
	EQ(fetch_text(web.url, &b, 5000, &quick), 0);
	web_stop();
	EQ(b.len, 7 + 5000);
	OK(!memcmp(b.data, "before ", 7));
	OK(!memcmp(b.data + 7, web_content, 5000));
	EQ(b.data[b.len], 0);
	OK(web_start(&larger, 1));
	EQ(fetch_text(web.url, &b, 5000, &quick), -EFBIG);
	web_stop();
	EQ(b.len, 7 + 5000);
}

TEST(nothing_of_the_person_is_told)
{
	autobuf struct buf b = BUF_INIT;

	OK(put(".netrc", "default login me password secret\n"));
	EQ(chmod(".netrc", 0600), 0);
	EQ(setenv("HOME", dir, 1), 0);
	OK(web_start(&ten, 1));
	EQ(fetch_text(web.url, &b, 10, &quick), 0);
	web_stop();
	OK(!strcasestr(web.request[0], "authorization"));
	OK(!strcasestr(web.request[0], "cookie"));
	OK(strstr(web.request[0], "\r\nUser-Agent: vmutils/"));
}

TEST(header_lines_of_any_kind_are_read_or_passed_over)
{
	static const char *const lines[] = {
		"", ":", "HTTP/", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 2",
		"HTTP/1.1 20", "HTTP/1.1 x00", "Content-Length", "ETag:",
		"Content-Length: -1", "Content-Length: 1x",
		"Content-Length: 99999999999999999999",
		"Content-Range: bytes ", "Content-Range: bytes 1-",
		"Content-Range: bytes 1-2/", "Content-Range: bytes */",
		"Retry-After: Fri, 01 Mar 2024 00:00:00 GMT",
		"ETag: \"\1\"", "Date", "\r\n",
	};
	struct reply r = { 0 };
	char longest[2000];

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		reply_line(&r, lines[i], strlen(lines[i]));
		OK(!r.status && !r.has_length && !r.has_range &&
		   !r.has_total && !r.retry_after && !r.etag[0]);
	}
	memset(longest, '"', sizeof(longest));
	memcpy(longest, "ETag: ", 6);
	for (size_t n = 0; n < sizeof(longest); n++)
		reply_line(&r, longest, n);
	OK(strlen(r.etag) < VALIDATOR_BYTES);
	STR(reply_validator(&r), r.etag);
}

int main(void)
{
	static const struct test tests[] = {
		T(a_whole_file_comes),
		T(an_empty_file_comes),
		T(a_file_of_unknown_size_comes),
		T(a_file_in_chunks_comes),
		T(what_broke_half_way_is_gone_on_with),
		T(a_reset_connection_is_gone_on_with),
		T(what_an_earlier_call_got_is_gone_on_with),
		T(what_is_of_another_address_starts_over),
		T(bytes_without_a_note_start_over),
		T(a_server_that_ignores_range_starts_over),
		T(a_file_that_changed_meanwhile_starts_over),
		T(a_part_of_another_file_is_not_put_behind),
		T(a_part_that_was_not_asked_for_is_not_taken),
		T(a_part_as_first_answer_is_not_taken),
		T(what_has_no_strong_validator_starts_over),
		T(a_date_is_a_validator_when_it_is_old_enough),
		T(all_that_is_there_is_not_had_again),
		T(a_file_that_shrank_starts_over),
		T(not_found_is_said_at_once),
		T(other_refusals_are_told_apart),
		T(a_refusal_without_end_is_one),
		T(unavailable_is_tried_again),
		T(tries_are_bounded_and_then_it_may_work_later),
		T(attempts_that_bring_much_do_not_count),
		T(a_redirect_is_followed),
		T(redirects_are_bounded),
		T(what_a_redirect_leads_to_is_named_when_it_is_refused),
		T(a_redirect_to_another_kind_of_address_is_refused),
		T(too_large_a_file_is_refused_before_it_comes),
		T(a_file_without_end_is_cut_off),
		T(a_slow_drip_is_given_up),
		T(headers_without_end_are_given_up),
		T(less_than_the_server_said_is_gone_on_with),
		T(what_always_breaks_is_kept_for_later),
		T(what_is_no_https_is_refused),
		T(nobody_there_is_said_at_once),
		T(what_is_no_url_of_ours_is_refused),
		T(a_full_disk_is_an_error),
		T(a_text_comes_into_memory),
		T(nothing_of_the_person_is_told),
		T(header_lines_of_any_kind_are_read_or_passed_over),
	};
	int rc;

	scratch_make(dir);
	cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	setenv("no_proxy", "*", 1);
	for (size_t i = 0; i < WEB_CONTENT; i++)
		web_content[i] = i * 31 + i / 251;
	rc = test_run(tests, ARRAY_SIZE(tests));
	close(cwd);
	scratch_remove(dir);
	return rc;
}
