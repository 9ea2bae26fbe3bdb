/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test.h - a test program: claims, each a function, run in order, TAP out.
 *
 *	TEST(in_range_cannot_wrap)
 *	{
 *		OK(!in_range(UINT64_MAX, 2, UINT64_MAX));
 *		EQ(parse_size("x", "1K", &v), 0);
 *	}
 *
 *	TESTS(T(in_range_cannot_wrap), ...)
 *
 * A failed OK, EQ or STR prints where and what, marks the test failed, and
 * leaves it. SKIP("why") leaves a test that cannot be done here.
 */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool test_failed;
static const char *test_skipped;

#define SKIP(why) do { \
	test_skipped = (why); \
	return; \
} while (0)

#define OK(cond) do { \
	if (!(cond)) { \
		printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond); \
		test_failed = true; \
		return; \
	} \
} while (0)

#define EQ(a, b) do { \
	long long a_ = (long long)(a), b_ = (long long)(b); \
	if (a_ != b_) { \
		printf("# %s:%d: %s is %lld (0x%llx), not %s %lld (0x%llx)\n", \
		       __FILE__, __LINE__, #a, a_, a_, #b, b_, b_); \
		test_failed = true; \
		return; \
	} \
} while (0)

#define STR(a, b) do { \
	const char *a_ = (a), *b_ = (b); \
	if (!a_ || strcmp(a_, b_)) { \
		printf("# %s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, \
		       __LINE__, #a, a_ ? a_ : "(null)", b_); \
		test_failed = true; \
		return; \
	} \
} while (0)

struct test {
	const char *name;
	void (*fn)(void);
};

#define TEST(name) static void name(void)
#define T(name) { #name, name }

static inline int test_run(const struct test *t, size_t n)
{
	int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..%zu\n", n);
	for (size_t i = 0; i < n; i++) {
		test_failed = false;
		test_skipped = NULL;
		t[i].fn();
		printf("%sok %zu - %s%s%s\n", test_failed ? "not " : "", i + 1,
		       t[i].name, test_skipped ? " # skip " : "",
		       test_skipped ? test_skipped : "");
		failed += test_failed;
	}
	return failed ? 1 : 0;
}

/* TESTS(T(one), T(two)) */
#define TESTS(...) \
	int main(void) \
	{ \
		static const struct test tests_[] = { __VA_ARGS__ }; \
		return test_run(tests_, sizeof(tests_) / sizeof(*tests_)); \
	}

#endif
