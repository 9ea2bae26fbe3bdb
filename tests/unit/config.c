/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/config.h"

#include "base/err.h"

#include "test.h"

static int parse(struct config *c, const char *text)
{
	return config_parse(c, text, strlen(text));
}

/* Whether C is written as TEXT. */
static bool is_text(const struct config *c, const char *text)
{
	autobuf struct buf b = BUF_INIT;

	config_format(c, &b);
	if (!strcmp(b.data, text))
		return true;
	printf("# \"%s\", not \"%s\"\n", b.data, text);
	return false;
}

TEST(what_was_read_is_written_byte_for_byte)
{
	static const char *const texts[] = {
		"", "\n", "\n\n", "a=1", "a=1\n", "# only a comment",
		"# web1\n\ncpus= 2 \n\t \nmemory=1G\t\n#end", "a=\n", "a==b=\n",
		" \n", "#\n#=\n", "note=gr\303\274n\n",
	};
	struct config c = CONFIG_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		EQ(parse(&c, texts[i]), 0);
		OK(is_text(&c, texts[i]));
	}
	config_release(&c);
}

TEST(values_lose_their_outer_blanks_only)
{
	struct config c = CONFIG_INIT;

	EQ(parse(&c, "append= \ta  b=c \nempty=\nblank= \t\n"), 0);
	STR(config_get(&c, "append"), "a  b=c");
	STR(config_get(&c, "empty"), "");
	STR(config_get(&c, "blank"), "");
	OK(!config_get(&c, "other"));
	config_release(&c);
}

TEST(what_is_no_config_is_refused_by_line)
{
	static const struct { const char *text, *why; } bad[] = {
		{ "a=1\nb\n", "line 2: 'b': not KEY=VALUE" },
		{ "=1\n", "line 1: '': not a key (a-z 0-9 . _ -, beginning "
		  "with a letter)" },
		{ "cpus =1\n", "line 1: 'cpus ': not a key (a-z 0-9 . _ -, "
		  "beginning with a letter)" },
		{ " a=1\n", "line 1: ' a': not a key (a-z 0-9 . _ -, "
		  "beginning with a letter)" },
		{ "A=1\n", "line 1: 'A': not a key (a-z 0-9 . _ -, "
		  "beginning with a letter)" },
		{ "a=1\n#\nb=2\na=3\n", "line 4: a stands in line 1 already" },
		{ "a=1\r\n", "line 1: control character 0x0d" },
		{ "# \033[2J\n", "line 1: control character 0x1b" },
		{ "a=\177", "line 1: control character 0x7f" },
	};
	struct config c = CONFIG_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EQ(parse(&c, bad[i].text), -E_CONFIG);
		STR(err_text(), bad[i].why);
		EQ(c.n, 0);
	}
	EQ(config_parse(&c, "a=\0b\n", 5), -E_CONFIG);
	STR(err_text(), "line 1: control character 0x00");
}

TEST(a_huge_text_is_refused_and_a_full_one_read_quickly)
{
	struct config c = CONFIG_INIT;
	struct buf b = BUF_INIT;

	for (int i = 0; b.len < CONFIG_MAX - 8; i++)
		buf_printf(&b, "k%x=\n", i);
	EQ(config_parse(&c, b.data, b.len), 0);
	buf_str(&b, "k7=\n");
	EQ(config_parse(&c, b.data, b.len), -E_CONFIG);
	while (b.len <= CONFIG_MAX)
		buf_char(&b, '\n');
	EQ(config_parse(&c, b.data, b.len), -E_CONFIG);
	STR(err_text(), "larger than 262144 bytes");
	buf_release(&b);
}

TEST(setting_changes_that_line_only)
{
	struct config c = CONFIG_INIT;

	EQ(parse(&c, "# web1\ncpus= 2\n\n# end\n"), 0);
	EQ(config_set(&c, "cpus", "4"), 0);
	OK(is_text(&c, "# web1\ncpus=4\n\n# end\n"));
	EQ(config_set(&c, "note", ""), 0);
	OK(is_text(&c, "# web1\ncpus=4\n\n# end\nnote=\n"));
	EQ(config_set(&c, "cpus", NULL), 0);
	EQ(config_set(&c, "cpus", NULL), 0);
	EQ(config_set(&c, "Not A Key", NULL), 0);
	OK(is_text(&c, "# web1\n\n# end\nnote=\n"));
	config_release(&c);
}

TEST(what_is_appended_gets_a_line_of_its_own)
{
	struct config c = CONFIG_INIT;

	EQ(config_set(&c, "a", "1"), 0);
	EQ(config_set(&c, "b", "2"), 0);
	OK(is_text(&c, "a=1\nb=2\n"));
	EQ(parse(&c, "# no newline"), 0);
	EQ(config_set(&c, "a", "1"), 0);
	OK(is_text(&c, "# no newline\na=1\n"));
	EQ(parse(&c, ""), 0);
	EQ(config_set(&c, "a", "1"), 0);
	OK(is_text(&c, "a=1\n"));
	config_release(&c);
}

TEST(what_a_line_cannot_hold_is_not_set)
{
	static const char *const keys[] = { "", "A", "a b", "a=b", "1a",
					    "a\n", "#a", "-a" };
	static const char *const values[] = { "a\nb", " a", "a ", "\t", "a\r",
					      "\033[2J" };
	struct config c = CONFIG_INIT;

	EQ(parse(&c, "a=1\n"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		EQ(config_set(&c, keys[i], "x"), -E_USAGE);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		EQ(config_set(&c, "a", values[i]), -E_USAGE);
	STR(err_text(), "a: a value holds no control character (0x1b)");
	OK(is_text(&c, "a=1\n"));
	config_release(&c);
}

TEST(a_copy_is_independent)
{
	struct config a = CONFIG_INIT, b = CONFIG_INIT;

	EQ(parse(&a, "# c\na=1\n\nb=2\n"), 0);
	EQ(config_copy(&b, &a), 0);
	EQ(config_set(&a, "a", "3"), 0);
	OK(is_text(&b, "# c\na=1\n\nb=2\n"));
	STR(config_get(&b, "a"), "1");
	config_release(&a);
	STR(config_get(&b, "b"), "2");
	config_release(&b);
}

TESTS(T(what_was_read_is_written_byte_for_byte),
      T(values_lose_their_outer_blanks_only),
      T(what_is_no_config_is_refused_by_line),
      T(a_huge_text_is_refused_and_a_full_one_read_quickly),
      T(setting_changes_that_line_only),
      T(what_is_appended_gets_a_line_of_its_own),
      T(what_a_line_cannot_hold_is_not_set), T(a_copy_is_independent))
