/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

#include <errno.h>

#include "test.h"

TEST(in_range_cannot_wrap)
{
	OK(in_range(0, 0, 0));
	OK(in_range(10, 0, 10));
	OK(in_range(4, 6, 10));
	OK(!in_range(5, 6, 10));
	OK(!in_range(UINT64_MAX, 2, UINT64_MAX));
	OK(!in_range(2, UINT64_MAX, UINT64_MAX));
}

TEST(sizes_are_powers_of_1024_and_read_whole)
{
	uint64_t v;

	EQ(parse_size("m", "512M", &v), 0); EQ(v, 512 << 20);
	EQ(parse_size("m", "1.5G", &v), 0); EQ(v, 1536ULL << 20);
	EQ(parse_size("m", "2k", &v), 0); EQ(v, 2048);
	EQ(parse_size("m", "4096", &v), 0); EQ(v, 4096);
	EQ(parse_size("m", "1GiB", &v), 0); EQ(v, 1 << 30);
	static const char *const bad[] = {
		"", "x", "1x", "-1", "1.", ".5G", "1.5", "1 G", "99999999P",
		"18446744073709551616", "1e3", "1GG", "0x10",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EQ(parse_size("m", bad[i], &v), -E_USAGE);
	STR(err_text(), "m '0x10': not a size (try 512M or 2G)");
}

TEST(exact_sizes_read_back)
{
	static const uint64_t v[] = { 0, 1, 1023, 1024, 1536 << 10, 1ULL << 40,
				      UINT64_MAX };
	char s[24];
	uint64_t back;

	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		EQ(parse_size("s", format_size_exact(s, v[i]), &back), 0);
		EQ(back, v[i]);
	}
}

TEST(durations_take_units)
{
	uint64_t ns;

	EQ(parse_duration("t", "90", &ns), 0); EQ(ns, 90000000000);
	EQ(parse_duration("t", "1.5s", &ns), 0); EQ(ns, 1500000000);
	EQ(parse_duration("t", "2h", &ns), 0); EQ(ns, 7200000000000);
	EQ(parse_duration("t", "2w", &ns), -E_USAGE);
	EQ(parse_duration("t", "99999999999999d", &ns), -E_USAGE);
}

TEST(names_are_one_safe_path_component)
{
	char longest[65] = { 0 };

	memset(longest, 'a', 63);
	OK(name_ok("web1") && name_ok("0-a.b_c") && name_ok(longest));
	longest[63] = 'a';
	OK(!name_ok(longest));
	OK(!name_ok("") && !name_ok("a/b") && !name_ok(".") && !name_ok("..") &&
	   !name_ok("-x") && !name_ok("A") && !name_ok("a b") &&
	   !name_ok("a\n"));
}

TEST(sentences_build_outwards)
{
	errno = EEXIST;
	EQ(fail_in(fail_sys("%s", "./db.img"), "disk %s", "db"), -EEXIST);
	STR(err_text(), "disk db: ./db.img: File exists");
	fail(E_BUSY, "a\nb\033[1m");
	STR(err_text(), "a?b?[1m");
}

TEST(exit_codes_follow_the_table)
{
	EQ(err_exit(0), 0); EQ(err_exit(3), 0);
	EQ(err_exit(-E_BUSY), 11); EQ(err_exit(-E_TIMEOUT), 124);
	EQ(err_exit(-EACCES), 4); EQ(err_exit(-EROFS), 4);
	EQ(err_exit(-ENOSPC), 1);
}

TEST(buffers_are_always_strings)
{
	struct buf b = BUF_INIT;
	char *s;

	STR(b.data, "");
	buf_printf(&b, "%s=%d", "n", 7);
	buf_str(&b, "\n");
	STR(b.data, "n=7\n");
	buf_drop(&b, 2);
	STR(b.data, "7\n");
	s = buf_take(&b);
	STR(s, "7\n");
	STR(b.data, "");
	free(s);
	OK(!buf_grow(&b, SIZE_MAX));
	OK(b.failed);
	buf_release(&b);
}

TESTS(T(in_range_cannot_wrap), T(sizes_are_powers_of_1024_and_read_whole),
      T(exact_sizes_read_back), T(durations_take_units),
      T(names_are_one_safe_path_component), T(sentences_build_outwards),
      T(exit_codes_follow_the_table), T(buffers_are_always_strings))
