/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/table.h"

#include <fcntl.h>

#include "base/err.h"
#include "cli/utf8.h"

#include "test.h"

const struct command command = { .name = "vm-test" };

static const struct column cols[] = {
	{ "name", COL_TEXT, true, "its name" },
	{ "memory", COL_SIZE, true, "memory" },
	{ "cpus", COL_NUM, true, "vCPUs" },
	{ "uptime", COL_AGE, false, "how long" },
	{ "created", COL_TIME, false, "when" },
	{ "note", COL_TEXT, false, "any text" },
	{ "fault", COL_TEXT, false, "what is wrong", true },
	{ 0 }
};

static char out[4096];
static bool faulty;		/* one of them has a fault */

static void fill(struct table *t)
{
	static const struct {
		const char *name, *note;
		uint64_t memory, cpus, uptime, created;
	} rows[] = {
		{ "web10", "a\tb\033[31m", 1536 << 20, 2, 3700, 0 },
		{ "web2", "\xc3\xa9t\xc3\xa9", 512 << 20, 10, 59, 1769860800 },
		{ "db", NULL, 1000, 0, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct cell *c = table_row(t);

		cell_text(&c[0], rows[i].name);
		cell_num(&c[1], rows[i].memory);
		if (rows[i].cpus)
			cell_num(&c[2], rows[i].cpus);
		cell_num(&c[3], rows[i].uptime);
		cell_num(&c[4], rows[i].created);
		if (rows[i].note)
			cell_text(&c[5], rows[i].note);
		if (faulty && i == 1)
			cell_text(&c[6], "full");
	}
}

/* Prints the rows by A into `out`; what table_init() or _print() returned. */
static int print(const struct table_args *a)
{
	char path[] = "/tmp/table.XXXXXX";
	int fd = mkstemp(path), saved, rc;
	struct table t;
	ssize_t n;

	unlink(path);
	rc = table_init(&t, cols, a);
	if (rc == 0) {
		fill(&t);
		fflush(stdout);
		saved = dup(1);
		dup2(fd, 1);
		rc = table_print(&t);
		dup2(saved, 1);
		close(saved);
		table_release(&t);
	}
	n = pread(fd, out, sizeof(out) - 1, 0);
	out[n > 0 ? n : 0] = '\0';
	close(fd);
	return rc;
}

#define PRINT(...) print(&(struct table_args){ __VA_ARGS__ })
#define FILTERS(...) { (const char *[]){ __VA_ARGS__ }, \
	sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *) }

TEST(what_few_rows_have_is_shown_to_people_when_one_has_it)
{
	EQ(PRINT(0), 0);
	OK(!strstr(out, "FAULT"));
	faulty = true;
	EQ(PRINT(0), 0);
	OK(strstr(out, "  FAULT\n") && strstr(out, "  full\n"));
	EQ(PRINT(.no_header = true), 0);
	OK(!strstr(out, "full"));
	EQ(PRINT(.json = true), 0);
	OK(!strstr(out, "full"));
	EQ(PRINT(.columns = "name"), 0);
	OK(!strstr(out, "full"));
	EQ(PRINT(.columns = "name,fault", .no_header = true), 0);
	OK(strstr(out, "web2\tfull\n"));
	faulty = false;
}

TEST(columns_are_aligned_numbers_to_the_right)
{
	EQ(PRINT(0), 0);
	STR(out, "NAME   MEMORY  CPUS\n"
		 "web10    1.5G     2\n"
		 "web2     512M    10\n"
		 "db       1000     -\n");
}

TEST(characters_are_counted_not_bytes)
{
	EQ(PRINT(.columns = "note,name"), 0);
	STR(out, "NOTE      NAME\n"
		 "a?b?[31m  web10\n"
		 "\xc3\xa9t\xc3\xa9       web2\n"
		 "-         db\n");
}

TEST(without_header_one_tab_separates)
{
	EQ(PRINT(.no_header = true, .columns = "name,memory,uptime,created"),
	   0);
	STR(out, "web10\t1.5G\t1h01m\t1970-01-01T00:00:00Z\n"
		 "web2\t512M\t59s\t2026-01-31T12:00:00Z\n"
		 "db\t1000\t0s\t1970-01-01T00:00:00Z\n");
}

TEST(exact_numbers_are_bytes_and_seconds)
{
	EQ(PRINT(.no_header = true, .exact = true,
		 .columns = "memory,uptime,created"), 0);
	STR(out, "1610612736\t3700\t0\n536870912\t59\t1769860800\n"
		 "1000\t0\t0\n");
}

TEST(json_has_numbers_nulls_and_escapes)
{
	EQ(PRINT(.json = true, .columns = "name,memory,cpus,note"), 0);
	STR(out, "{\"name\":\"web10\",\"memory\":1610612736,\"cpus\":2,"
		 "\"note\":\"a\\tb\\u001B[31m\"}\n"
		 "{\"name\":\"web2\",\"memory\":536870912,\"cpus\":10,"
		 "\"note\":\"\xc3\xa9t\xc3\xa9\"}\n"
		 "{\"name\":\"db\",\"memory\":1000,\"cpus\":null,"
		 "\"note\":null}\n");
}

TEST(quiet_prints_names_only)
{
	EQ(PRINT(.quiet = true), 0);
	STR(out, "web10\nweb2\ndb\n");
}

TEST(names_sort_by_the_numbers_in_them)
{
	EQ(PRINT(.quiet = true, .sort = "name"), 0);
	STR(out, "db\nweb2\nweb10\n");
	EQ(PRINT(.quiet = true, .sort_down = "name"), 0);
	STR(out, "web10\nweb2\ndb\n");
}

TEST(numbers_sort_as_numbers_absent_ones_first)
{
	EQ(PRINT(.quiet = true, .sort = "cpus"), 0);
	STR(out, "db\nweb10\nweb2\n");
	EQ(PRINT(.quiet = true, .sort_down = "memory"), 0);
	STR(out, "web10\nweb2\ndb\n");
}

TEST(filters_read_values_as_columns_do)
{
	EQ(PRINT(.quiet = true, .filter = FILTERS("memory=0.5G")), 0);
	STR(out, "web2\n");
	EQ(PRINT(.quiet = true, .filter = FILTERS("name!=db", "cpus!=2")), 0);
	STR(out, "web2\n");
	EQ(PRINT(.quiet = true, .filter = FILTERS("cpus=")), 0);
	STR(out, "db\n");
	EQ(PRINT(.quiet = true, .filter = FILTERS("cpus!=")), 0);
	STR(out, "web10\nweb2\n");
	EQ(PRINT(.quiet = true, .filter = FILTERS("name=none")), 0);
	STR(out, "");
}

TEST(what_is_no_column_is_a_usage_error)
{
	EQ(PRINT(.columns = "name,memroy"), -E_USAGE);
	STR(err_text(), "no column 'memroy' (memory?); there are: name memory "
	    "cpus uptime created note fault");
	EQ(PRINT(.columns = ""), -E_USAGE);
	EQ(PRINT(.columns = "name,"), -E_USAGE);
	EQ(PRINT(.sort = "x"), -E_USAGE);
	EQ(PRINT(.sort = "name", .sort_down = "name"), -E_USAGE);
	EQ(PRINT(.filter = FILTERS("memory")), -E_USAGE);
	EQ(PRINT(.filter = FILTERS("=1")), -E_USAGE);
	EQ(PRINT(.filter = FILTERS("memory=12x")), -E_USAGE);
	STR(err_text(), "filter: memory '12x': not a size (try 512M or 2G)");
	EQ(PRINT(.quiet = true, .json = true), -E_USAGE);
}

TEST(more_columns_than_fit_are_refused)
{
	char many[TABLE_COLS * 5 + 6] = "name";

	for (int i = 1; i < TABLE_COLS; i++)
		strncat(many, ",name", 6);
	EQ(PRINT(.columns = many), 0);
	strncat(many, ",name", 6);
	EQ(PRINT(.columns = many), -E_USAGE);
}

TEST(only_wanted_columns_are_asked_for)
{
	struct table_args a = { .quiet = true, .sort = "memory",
				.filter = FILTERS("cpus=2") };
	struct table t;

	EQ(table_init(&t, cols, &a), 0);
	OK(table_wants(&t, 0) && table_wants(&t, 1) && table_wants(&t, 2));
	OK(!table_wants(&t, 3) && !table_wants(&t, 5));
	table_release(&t);
}

TEST(bytes_that_are_no_utf8_are_replaced)
{
	static const char *const bad[] = {
		"\x80", "\xc0\xaf", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80",
		"\xf4\x90\x80\x80", "\xff", "\xe2\x82",
	};
	autobuf struct buf b = BUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EQ(utf8_len(bad[i]), 0);
	EQ(utf8_len("\xe2\x82\xac"), 3);
	EQ(utf8_len("\xf0\x9f\x98\x80"), 4);
	EQ(utf8_plain(&b, "x\x9b" "\xc2\x9b\x7f\xe2\x82\xac"), 5);
	STR(b.data, "x???\xe2\x82\xac");
	buf_clear(&b);
	utf8_repair(&b, "a\xff" "b");
	STR(b.data, "a\xef\xbf\xbd" "b");
}

TEST(a_full_disk_is_an_error)
{
	struct table_args a = { 0 };
	int full = open("/dev/full", O_WRONLY), saved = dup(1), rc;
	struct table t;

	EQ(table_init(&t, cols, &a), 0);
	fill(&t);
	fflush(stdout);
	dup2(full, 1);
	rc = table_print(&t);
	dup2(saved, 1);
	close(saved), close(full);
	table_release(&t);
	OK(rc < 0);
	STR(err_text(), "standard output: No space left on device");
}

TESTS(T(what_few_rows_have_is_shown_to_people_when_one_has_it),
      T(columns_are_aligned_numbers_to_the_right),
      T(characters_are_counted_not_bytes),
      T(without_header_one_tab_separates),
      T(exact_numbers_are_bytes_and_seconds),
      T(json_has_numbers_nulls_and_escapes),
      T(quiet_prints_names_only),
      T(names_sort_by_the_numbers_in_them),
      T(numbers_sort_as_numbers_absent_ones_first),
      T(filters_read_values_as_columns_do),
      T(what_is_no_column_is_a_usage_error),
      T(more_columns_than_fit_are_refused),
      T(only_wanted_columns_are_asked_for),
      T(bytes_that_are_no_utf8_are_replaced),
      T(a_full_disk_is_an_error))
