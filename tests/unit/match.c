/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/match.h"

#include "test.h"

static struct match m;

static void begin(const regex_t *regex)
{
	match_init(&m, regex);
}

static bool feed(const char *text)
{
	char copy[256];

	snprintf(copy, sizeof(copy), "%s", text);
	return match_feed(&m, copy, strlen(copy));
}

/* Whether TEXT, cut into single bytes and whole, matches PATTERN. */
static bool both(const char *pattern, const char *text)
{
	regex_t re;
	bool whole, parts = false;

	if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB))
		return false;
	begin(&re);
	whole = feed(text);
	begin(&re);
	for (const char *s = text; *s; s++)
		parts = feed((char[]){ *s, '\0' });
	regfree(&re);
	return whole && parts;
}

static const char *plain(const char *text)
{
	static char copy[256];
	struct plain p = { 0 };
	size_t n;

	snprintf(copy, sizeof(copy), "%s", text);
	n = plain_filter(&p, copy, strlen(copy));
	copy[n] = '\0';
	return copy;
}

TEST(escape_sequences_are_no_text)
{
	STR(plain("[\033[0;32m  OK  \033[0m] x\r\n"), "[  OK  ] x\n");
	STR(plain("\033]0;title\007a\033]2;t\033\\b"), "ab");
	STR(plain("a\033(Bb\033Mc\0337d"), "abcd");
	STR(plain("\033P1$r\033\\x\033_apc\033\\y\033^pm\033\\z"), "xyz");
	STR(plain("\001\002\tb\bc\177d"), "\tbcd");
	STR(plain("gr\303\274\303\237"), "gr\303\274\303\237");
}

TEST(a_sequence_that_never_ends_swallows_one_line)
{
	STR(plain("\033]0;evil\nnext"), "\nnext");
	STR(plain("\033[12\nnext"), "\nnext");
	STR(plain("\033[\033[1mx"), "x");
	STR(plain("\033]0;a\033[1mb"), "b");
	STR(plain("\033\030x"), "x");
}

TEST(sequences_may_come_in_pieces)
{
	struct plain p = { 0 };
	char a[] = "x\033", b[] = "[3", c[] = "1my";

	EQ(plain_filter(&p, a, 2), 1);
	EQ(plain_filter(&p, b, 2), 0);
	EQ(plain_filter(&p, c, 3), 1);
	EQ(c[0], 'y');
}

TEST(the_prompt_is_a_line_that_ends_in_login)
{
	begin(NULL);
	OK(!feed("Debian GNU/Linux 12 web1 ttyS0\r\n\r\nweb1 login"));
	OK(feed(": "));
	begin(NULL);
	OK(!feed("login:\n"));
	OK(!feed("Login: "));
	OK(!feed("\r\nweb1 login:x"));
	begin(NULL);
	OK(feed("web1 \033[1mlogin: \033[0m"));
}

TEST(what_follows_the_prompt_in_its_line_does_not_hide_it)
{
	begin(NULL);
	OK(feed("web1 login: [   12.3] random: crng init done\r\n"));
}

TEST(a_pattern_is_found_however_the_text_is_cut)
{
	OK(both("^Started .*cron", "x\nStarted the cron daemon\n"));
	OK(both("prompt> $", "a\nprompt> "));
	OK(both("^$", "a\n\n"));
	OK(both("", "a"));
	OK(both("a|b{2}", "xbb"));
}

TEST(lines_are_looked_at_one_by_one)
{
	regex_t re;

	EQ(regcomp(&re, "a.*b", REG_EXTENDED | REG_NOSUB), 0);
	begin(&re);
	OK(!feed("a\nb\n"));
	OK(!feed("a"));
	OK(!feed("\r\nb"));
	OK(feed("a b"));
	OK(feed("once found, always found"));
	regfree(&re);
}

TEST(long_lines_are_bounded_and_still_searched)
{
	static char block[3 * MATCH_LINE];
	regex_t re;

	EQ(regcomp(&re, "needle", REG_EXTENDED | REG_NOSUB), 0);
	begin(&re);
	for (int i = 0; i < 100; i++) {
		memset(block, 'x', 777);
		OK(!match_feed(&m, block, 777));
		OK(m.len <= MATCH_LINE);
	}
	OK(feed("needle"));
	begin(&re);	/* its half is dropped before the text ends */
	memset(block, 'x', sizeof(block));
	memcpy(block + 500, "needle", 6);
	OK(match_feed(&m, block, sizeof(block)));
	regfree(&re);
}

TESTS(T(escape_sequences_are_no_text),
      T(a_sequence_that_never_ends_swallows_one_line),
      T(sequences_may_come_in_pieces),
      T(the_prompt_is_a_line_that_ends_in_login),
      T(what_follows_the_prompt_in_its_line_does_not_hide_it),
      T(a_pattern_is_found_however_the_text_is_cut),
      T(lines_are_looked_at_one_by_one),
      T(long_lines_are_bounded_and_still_searched))
