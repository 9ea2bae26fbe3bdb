/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/published.h"

#include <errno.h>

#include "base/err.h"

#include "test.h"
#include "web.h"

#define A256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define B256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct fetch_limits quick = {
	.tries = 1, .connect_s = 2, .slow_rate = 1000, .slow_s = 1,
};

static struct sum sum;
static char text[SUM_TEXT];

/* The sum of the server's file, with SUMS as its line in the catalog. */
static int sum_by(const struct web_step *step, size_t n, const char *sums)
{
	struct catalog_entry e = { .url = web.url, .sums = (char *)sums };
	int rc;

	if (!web_start(step, n))
		return -EIO;
	rc = published_sum(web.url, sums ? &e : NULL, &quick, &sum);
	web_stop();
	sum_format(text, &sum);
	return rc;
}

#define SUM_BY(sums, ...) \
	sum_by((const struct web_step[]){ __VA_ARGS__ }, \
	       sizeof((const struct web_step[]){ __VA_ARGS__ }) / \
	       sizeof(struct web_step), sums)

static bool was_asked(size_t n, const char *path)
{
	char line[128];

	snprintf(line, sizeof(line), "GET /%s HTTP", path);
	return n < web.served && starts_with(web.request[n], line, NULL);
}

/* Steps whose body is in their head, behind the empty line. */
#define LIST(body) { "200 OK\r\nConnection: close\r\n\r\n" body "\n" }
#define NONE { "404 x" }

TEST(the_list_of_the_catalog_is_asked)
{
	EQ(SUM_BY("SHA256SUMS", LIST(B256 "  y\n" A256 "  x.img")), 0);
	STR(text, "sha256:" A256);
	OK(was_asked(0, "SHA256SUMS"));
	EQ(SUM_BY(".sha256", LIST(A256 "  x-build7.img")), 0);
	STR(text, "sha256:" A256);
	OK(was_asked(0, "x.img.sha256"));
}

TEST(a_sum_in_the_catalog_needs_no_list)
{
	EQ(SUM_BY("sha256:" A256, NONE), 0);
	STR(text, "sha256:" A256);
	EQ(SUM_BY("-", NONE), 0);
	EQ(sum.kind, SUM_NONE);
	EQ(web.served, 0);
}

TEST(a_list_of_the_catalog_that_says_nothing_is_an_error)
{
	EQ(SUM_BY("SHA256SUMS", NONE), -ENOENT);
	EQ(SUM_BY("SHA256SUMS", LIST(A256 "  y")), -ENOENT);
	OK(strstr(err_text(), "/SHA256SUMS: no sum for x.img"));
	EQ(SUM_BY("SHA256SUMS", { "503 x" }), -E_AGAIN);
}

TEST(lists_are_looked_for_beside_the_file)
{
	EQ(SUM_BY(NULL, NONE, LIST(A256 " *x.img")), 0);
	STR(text, "sha256:" A256);
	OK(was_asked(0, "SHA512SUMS"));
	OK(was_asked(1, "SHA256SUMS"));
}

TEST(pages_that_are_no_list_are_passed_over)
{
	EQ(SUM_BY(NULL, LIST("<html>not found</html>"), LIST(A256 "  y"),
		  { "401 x" }, NONE, LIST(A256)), 0);
	STR(text, "sha256:" A256);
	OK(was_asked(4, "x.img.sha256"));
}

TEST(where_none_is_published_there_is_none)
{
	EQ(SUM_BY(NULL, NONE, NONE, NONE, NONE, NONE, NONE, NONE), 0);
	EQ(web.served, 7);
	EQ(sum.kind, SUM_NONE);
}

TEST(a_list_that_may_come_later_is_not_passed_over)
{
	EQ(SUM_BY(NULL, NONE, { "503 x" }, NONE), -E_AGAIN);
}

TEST(two_different_sums_are_damage)
{
	EQ(SUM_BY(NULL, LIST(A256 "  x.img\n" B256 "  x.img")), -E_VERIFY);
}

int main(void)
{
	static const struct test tests[] = {
		T(the_list_of_the_catalog_is_asked),
		T(a_sum_in_the_catalog_needs_no_list),
		T(a_list_of_the_catalog_that_says_nothing_is_an_error),
		T(lists_are_looked_for_beside_the_file),
		T(pages_that_are_no_list_are_passed_over),
		T(where_none_is_published_there_is_none),
		T(a_list_that_may_come_later_is_not_passed_over),
		T(two_different_sums_are_damage),
	};

	setenv("no_proxy", "*", 1);
	return test_run(tests, ARRAY_SIZE(tests));
}
