/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/opt.h"

#include "base/err.h"
#include "cli/near.h"
#include "cli/table.h"

#include "test.h"

static struct args {
	bool quiet, loud;
	uint64_t num, size, time;
	const char *text;
	struct opt_list list;
	struct table_args table;
} args;

static const struct opt opts[] = {
	OPT('q', "quiet-one", OPT_FLAG, NULL, struct args, quiet, "no words"),
	OPT('l', "loud", OPT_FLAG, NULL, struct args, loud, "many words"),
	OPT('n', "num", OPT_NUM, "N", struct args, num, "a number"),
	OPT('m', "memory", OPT_SIZE, "SIZE", struct args, size, "a size"),
	OPT('t', "time", OPT_TIME, "SEC", struct args, time, "a time"),
	OPT(0, "text", OPT_STR, "TEXT", struct args, text, "a text"),
	OPT('a', "add", OPT_LIST, "ITEM", struct args, list, "one more"),
	{ 0 }
};

static const struct column cols[] = {
	{ "name", COL_TEXT, true, "its name" },
	{ "size", COL_SIZE, false, "its size" },
	{ 0 }
};

static int run(int argc, char **argv)
{
	(void)argc, (void)argv;
	return 0;
}

const struct command command = {
	.name = "vm-test", .operands = "VM...", .summary = "test things",
	.details = "At length.", .opts = opts, .args = &args, .columns = cols,
	.run = run,
};

static char *words[16];

/* Parses the words; the number of operands, which are then in `words`. */
static int parse_for(const struct command *c, const char *const *given)
{
	int n = 0;

	free(args.list.item);
	args = (struct args){ 0 };
	common = (struct common_args){ 0 };
	words[n++] = (char *)"vm-test";
	for (; *given; given++)
		words[n++] = (char *)*given;
	words[n] = NULL;
	return opt_parse(c, n, words);
}

#define PARSE(...) \
	parse_for(&command, (const char *const []){ __VA_ARGS__, NULL })

TEST(short_options_bundle_and_take_values_both_ways)
{
	EQ(PARSE("-qlm", "1K", "-n7", "-qn", "9"), 0);
	OK(args.quiet && args.loud);
	EQ(args.size, 1024);
	EQ(args.num, 9);
	EQ(PARSE("-qm2K"), 0);
	EQ(args.size, 2048);
}

TEST(long_options_take_values_both_ways_and_by_prefix)
{
	EQ(PARSE("--memory=1M", "--time", "2m", "--te=x=y", "--lou"), 0);
	EQ(args.size, 1 << 20);
	EQ(args.time, 120000000000);
	STR(args.text, "x=y");
	OK(args.loud);
	EQ(PARSE("--text="), 0);
	STR(args.text, "");
}

TEST(ambiguous_prefixes_are_refused_exact_names_win)
{
	EQ(PARSE("--t=1"), -E_USAGE);		/* time, text */
	EQ(PARSE("--lou"), 0);
	EQ(PARSE("--tex=1"), 0);
	EQ(PARSE("--l"), -E_USAGE);		/* loud, lock-wait */
	STR(err_text(), "option --l: several begin so");
	EQ(PARSE("--dump-option"), -E_USAGE);	/* hidden: in full only */
	EQ(PARSE("--dump-options"), 0);
	OK(common.dump);
}

TEST(operands_mix_with_options_and_come_first)
{
	EQ(PARSE("a", "-q", "b", "--", "-l", "--"), 4);
	STR(words[0], "a");
	STR(words[1], "b");
	STR(words[2], "-l");
	STR(words[3], "--");
	OK(!words[4] && args.quiet && !args.loud);
}

TEST(a_lone_dash_is_an_operand)
{
	EQ(PARSE("-", "-q"), 1);
	STR(words[0], "-");
}

TEST(verbatim_commands_leave_what_follows_alone)
{
	struct command c = command;

	c.verbatim = true;
	EQ(parse_for(&c, (const char *const []){ "-q", "ls", "-l", "--x",
						 NULL }), 3);
	STR(words[1], "-l");
	OK(args.quiet && !args.loud);
}

TEST(lists_keep_every_value_in_order)
{
	EQ(PARSE("-a1", "--add=2", "x", "--add", "3"), 1);
	EQ(args.list.n, 3);
	STR(args.list.item[0], "1");
	STR(args.list.item[2], "3");
}

TEST(common_options_are_everywhere)
{
	EQ(PARSE("--state=/x", "-v", "--lock-wait", "1.5", "-h"), 0);
	STR(common.state, "/x");
	OK(common.verbose && common.help);
	EQ(common.lock_wait, 1500000000);
}

TEST(what_cannot_be_read_is_a_usage_error_that_names_it)
{
	EQ(PARSE("--memroy=1"), -E_USAGE);
	STR(err_text(), "unknown option --memroy (--memory?)");
	EQ(PARSE("-x"), -E_USAGE);
	STR(err_text(), "unknown option -x");
	EQ(PARSE("-m"), -E_USAGE);
	STR(err_text(), "option -m: wants a value: SIZE");
	EQ(PARSE("--quiet-one=yes"), -E_USAGE);
	STR(err_text(), "option --quiet-one: takes no value");
	EQ(PARSE("-n", "-1"), -E_USAGE);
	EQ(PARSE("-n", "1x"), -E_USAGE);
	EQ(PARSE("-m", "12x"), -E_USAGE);
	STR(err_text(), "memory '12x': not a size (try 512M or 2G)");
	EQ(PARSE("--=3"), -E_USAGE);
	EQ(PARSE("--\033[31m"), -E_USAGE);
	STR(err_text(), "unknown option --?[31m");
}

TEST(no_words_at_all_are_no_operands)
{
	char *none[] = { NULL };

	EQ(opt_parse(&command, 0, none), 0);
}

TEST(help_shows_every_option_and_column_but_hidden_ones)
{
	autobuf struct buf out = BUF_INIT;

	opt_help(&command, &out);
	OK(strstr(out.data, "usage: vm-test [OPTION]... VM...\n"
		  "test things\n\nAt length.\n\noptions:\n") == out.data);
	OK(strstr(out.data, "\n  -m, --memory SIZE       a size\n"));
	OK(strstr(out.data, "\n      --text TEXT         a text\n"));
	OK(strstr(out.data, "\n      --lock-wait SEC     "));
	OK(strstr(out.data, "\n * name                   its name\n"));
	OK(strstr(out.data, "\n   size                   its size\n"));
	OK(!strstr(out.data, "dump-options"));
}

TEST(near_words_are_found_far_ones_not)
{
	struct near n = NEAR("memroy");

	near_try(&n, "cpus");
	OK(!n.best);
	near_try(&n, "memory");
	near_try(&n, "append");
	STR(n.best, "memory");
	n = (struct near)NEAR("ab");
	near_try(&n, "xy");
	OK(!n.best);
	n = (struct near)NEAR("a-word-that-is-longer-than-any-of-ours");
	near_try(&n, "memory");
	OK(!n.best);
}

TESTS(T(short_options_bundle_and_take_values_both_ways),
      T(long_options_take_values_both_ways_and_by_prefix),
      T(ambiguous_prefixes_are_refused_exact_names_win),
      T(operands_mix_with_options_and_come_first),
      T(a_lone_dash_is_an_operand),
      T(verbatim_commands_leave_what_follows_alone),
      T(lists_keep_every_value_in_order),
      T(common_options_are_everywhere),
      T(what_cannot_be_read_is_a_usage_error_that_names_it),
      T(no_words_at_all_are_no_operands),
      T(help_shows_every_option_and_column_but_hidden_ones),
      T(near_words_are_found_far_ones_not))
