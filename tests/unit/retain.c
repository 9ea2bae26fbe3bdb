/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/retain.h"

#include <stdio.h>
#include <time.h>

#include "test.h"

enum { ITEMS = 64 };

static struct retain_item item[ITEMS];
static char name[ITEMS][24];
static size_t n;

static void zone(const char *tz)
{
	setenv("TZ", tz, 1);
	tzset();
}

/* Things at these local times, "2026-03-29 02:30", by that name; * protects. */
static void given(const char *const *when)
{
	for (n = 0; when[n]; n++) {
		const char *text = when[n];
		struct tm tm = { .tm_isdst = -1 };

		item[n] = (struct retain_item){ .is_protected = *text == '*' };
		text += *text == '*';
		sscanf(text, "%d-%d-%d %d:%d", &tm.tm_year, &tm.tm_mon,
		       &tm.tm_mday, &tm.tm_hour, &tm.tm_min);
		tm.tm_year -= 1900;
		tm.tm_mon--;
		item[n].name = text;
		item[n].time = mktime(&tm);
	}
}

#define GIVEN(...) given((const char *const []){ __VA_ARGS__, NULL })

/* What is kept and by what: "NAME=RULE NAME=RULE", newest first. */
static const char *kept(const uint64_t keep[RETAIN_RULES])
{
	static char text[4096];
	size_t len = 0;

	text[0] = '\0';
	if (retain(item, n, keep) < 0)
		return "failed";
	for (size_t i = 0; i < n; i++)
		if (item[i].verdict != RETAIN_DROP)
			len += snprintf(text + len, sizeof(text) - len,
					"%s%s=%s", len ? "|" : "", item[i].name,
					retain_words[item[i].verdict]);
	return text;
}

#define KEPT(...) kept((const uint64_t [RETAIN_RULES]){ __VA_ARGS__ })

TEST(each_rule_keeps_the_newest_of_each_of_its_periods)
{
	zone("UTC0");
	GIVEN("2026-11-24 10:10", "2026-11-24 10:50", "2026-11-24 11:00",
	      "2026-11-23 23:59", "2026-11-20 08:00", "2026-10-31 08:00",
	      "2025-12-31 23:00");
	STR(KEPT([RETAIN_LAST] = 2),
	    "2026-11-24 11:00=last|2026-11-24 10:50=last");
	STR(KEPT([RETAIN_HOURLY] = 3), "2026-11-24 11:00=hourly|"
	    "2026-11-24 10:50=hourly|2026-11-23 23:59=hourly");
	STR(KEPT([RETAIN_DAILY] = 3), "2026-11-24 11:00=daily|"
	    "2026-11-23 23:59=daily|2026-11-20 08:00=daily");
	STR(KEPT([RETAIN_WEEKLY] = 2),
	    "2026-11-24 11:00=weekly|2026-11-20 08:00=weekly");
	STR(KEPT([RETAIN_MONTHLY] = 3), "2026-11-24 11:00=monthly|"
	    "2026-10-31 08:00=monthly|2025-12-31 23:00=monthly");
	STR(KEPT([RETAIN_YEARLY] = 9),
	    "2026-11-24 11:00=yearly|2025-12-31 23:00=yearly");
	STR(KEPT(0), "");
}

TEST(a_rule_begins_where_the_earlier_ones_end)
{
	zone("UTC0");
	GIVEN("2026-11-24 03:00", "2026-11-23 03:00", "2026-11-22 03:00",
	      "2026-11-15 03:00", "2026-11-08 03:00", "2026-10-31 03:00",
	      "2026-09-30 03:00");
	STR(KEPT([RETAIN_DAILY] = 2, [RETAIN_WEEKLY] = 2, [RETAIN_MONTHLY] = 2),
	    "2026-11-24 03:00=daily|2026-11-23 03:00=daily|"
	    "2026-11-22 03:00=weekly|2026-11-15 03:00=weekly|"
	    "2026-10-31 03:00=monthly|2026-09-30 03:00=monthly");
}

/* 28 February is in the week of 1 March, so that February's is another. */
TEST(what_a_rule_drops_no_later_rule_keeps)
{
	zone("UTC0");
	GIVEN("2026-02-05 03:00", "2026-01-23 03:00", "2026-01-22 03:00",
	      "2026-01-11 03:00");
	STR(KEPT([RETAIN_LAST] = 1, [RETAIN_WEEKLY] = 1, [RETAIN_YEARLY] = 1),
	    "2026-02-05 03:00=last|2026-01-23 03:00=weekly");
	GIVEN("2026-03-20 03:00", "2026-03-01 03:00", "2026-02-28 03:00",
	      "2026-02-10 03:00");
	STR(KEPT([RETAIN_LAST] = 1, [RETAIN_WEEKLY] = 1, [RETAIN_MONTHLY] = 1),
	    "2026-03-20 03:00=last|2026-03-01 03:00=weekly|"
	    "2026-02-10 03:00=monthly");
}

TEST(protected_ones_stay_and_are_not_counted)
{
	zone("UTC0");
	GIVEN("*2026-11-24 03:00", "2026-11-24 02:00", "2026-11-23 03:00",
	      "*2026-11-22 03:00");
	STR(KEPT([RETAIN_DAILY] = 1), "2026-11-24 03:00=protected|"
	    "2026-11-24 02:00=daily|2026-11-22 03:00=protected");
}

TEST(weeks_are_those_of_iso_8601)
{
	zone("UTC0");
	/* 2020 has a week 53, Monday 28 December to Sunday 3 January */
	GIVEN("2021-01-04 00:00", "2021-01-03 23:59", "2021-01-01 12:00",
	      "2020-12-28 00:00", "2020-12-27 23:59");
	STR(KEPT([RETAIN_WEEKLY] = 9), "2021-01-04 00:00=weekly|"
	    "2021-01-03 23:59=weekly|2020-12-27 23:59=weekly");
	/* 2018-12-31 is in week 1 of 2019 */
	GIVEN("2019-01-06 12:00", "2018-12-31 00:00", "2018-12-30 23:00");
	STR(KEPT([RETAIN_WEEKLY] = 9),
	    "2019-01-06 12:00=weekly|2018-12-30 23:00=weekly");
}

TEST(an_hour_that_the_clock_shows_twice_is_one)
{
	zone("CET-1CEST,M3.5.0,M10.5.0/3");
	n = 4;
	/* 2026-10-25: 02:30 CEST is 00:30 UTC, 02:10 CET is 01:10 UTC */
	for (size_t i = 0; i < n; i++) {
		static const uint64_t times[] = {
			1792888200, 1792890600, 1792894200, 1792884600,
		};
		static const char *const names[] = {
			"02:30a", "02:10b", "03:10", "01:30",
		};

		item[i] = (struct retain_item){ names[i], times[i] };
	}
	STR(KEPT([RETAIN_HOURLY] = 9),
	    "03:10=hourly|02:10b=hourly|01:30=hourly");
	/* in spring no hour is lost, only one that never was */
	GIVEN("2026-03-29 03:10", "2026-03-29 01:50", "2026-03-29 01:10",
	      "2026-03-28 23:30");
	STR(KEPT([RETAIN_HOURLY] = 9), "2026-03-29 03:10=hourly|"
	    "2026-03-29 01:50=hourly|2026-03-28 23:30=hourly");
	STR(KEPT([RETAIN_DAILY] = 9),
	    "2026-03-29 03:10=daily|2026-03-28 23:30=daily");
}

/* There the clock went back at one minute past midnight, to the day before. */
TEST(a_day_that_is_entered_twice_is_one)
{
	static const uint64_t midnight = 1257042600;	/* 2009-11-01 00:00 -2:30 */

	zone("NST3:30NDT,M3.2.0/0:01,M11.1.0/0:01");
	n = 3;
	item[0] = (struct retain_item){ "sunday-1", midnight + 30 };
	item[1] = (struct retain_item){ "saturday-again", midnight + 1800 };
	item[2] = (struct retain_item){ "sunday-2", midnight + 7200 };
	STR(KEPT([RETAIN_DAILY] = 9), "sunday-2=daily|saturday-again=daily");
}

TEST(days_are_those_of_the_time_zone)
{
	zone("UTC0");
	GIVEN("2026-11-24 23:30", "2026-11-24 00:30");
	STR(KEPT([RETAIN_DAILY] = 9), "2026-11-24 23:30=daily");
	zone("XXX-1");
	STR(KEPT([RETAIN_DAILY] = 9),
	    "2026-11-24 23:30=daily|2026-11-24 00:30=daily");
}

TEST(equal_times_go_by_name)
{
	zone("UTC0");
	n = 3;
	item[0] = (struct retain_item){ "x-2", 5000 };
	item[1] = (struct retain_item){ "x-10", 5000 };
	item[2] = (struct retain_item){ "x", 5000 };
	STR(KEPT([RETAIN_LAST] = 2), "x-10=last|x-2=last");
	STR(KEPT([RETAIN_YEARLY] = 2), "x-10=yearly");
}

TEST(any_time_is_one)
{
	zone("XXX12");
	n = 4;
	item[0] = (struct retain_item){ "zero", 0 };
	item[1] = (struct retain_item){ "max", UINT64_MAX };
	item[2] = (struct retain_item){ "future", 7258118400 };
	item[3] = (struct retain_item){ "day", 86400 * 5 };
	STR(KEPT([RETAIN_WEEKLY] = UINT64_MAX), "max=weekly|future=weekly|"
	    "day=weekly|zero=weekly");
	STR(KEPT([RETAIN_YEARLY] = 3),
	    "max=yearly|future=yearly|day=yearly");
	n = 0;
	STR(KEPT([RETAIN_LAST] = 1), "");
	EQ(retain(NULL, 0, (const uint64_t [RETAIN_RULES]){ 1 }), 0);
}

/* -- a slow and obvious model -- */

static const char *const formats[RETAIN_RULES] = {
	NULL, "%Y/%m/%d/%H", "%Y/%m/%d", "%G/%V", "%Y/%m", "%Y",
};

enum { WORDS = 64 };

static const char *words_of(char out[WORDS], int rule,
			    const struct retain_item *it)
{
	time_t t = it->time;
	struct tm tm;

	localtime_r(&t, &tm);
	if (rule == RETAIN_LAST)
		snprintf(out, WORDS, "%s", it->name);
	else
		strftime(out, WORDS, formats[rule], &tm);
	return out;
}

/* Whether one of the first END that is kept by a rule from FROM to TO. */
static bool any_kept(const struct retain_item *all, size_t end, int from,
		     int to, int rule, const char *words)
{
	char room[WORDS];

	for (size_t i = 0; i < end; i++)
		if ((int)all[i].verdict >= from && (int)all[i].verdict <= to &&
		    !strcmp(words_of(room, rule, &all[i]), words))
			return true;
	return false;
}

/* ALL is sorted; UNKNOWN stands for what no rule said a word about. */
static void model(struct retain_item *all, size_t count,
		  const uint64_t keep[RETAIN_RULES])
{
	enum { UNKNOWN = RETAIN_VERDICTS };

	for (size_t i = 0; i < count; i++)
		all[i].verdict = all[i].is_protected ? RETAIN_PROTECTED :
						       (enum retain_rule)UNKNOWN;
	for (int rule = 0; rule < RETAIN_RULES; rule++) {
		uint64_t used = 0;

		for (size_t i = 0; i < count; i++) {
			char room[WORDS];
			const char *words = words_of(room, rule, &all[i]);

			if ((int)all[i].verdict != UNKNOWN ||
			    any_kept(all, count, 0, rule - 1, rule, words))
				continue;
			if (any_kept(all, i, rule, rule, rule, words)) {
				all[i].verdict = RETAIN_DROP;
				continue;
			}
			if (used++ == keep[rule])
				break;
			all[i].verdict = rule;
		}
	}
	for (size_t i = 0; i < count; i++)
		if ((int)all[i].verdict == UNKNOWN)
			all[i].verdict = RETAIN_DROP;
}

static void random_list(unsigned *seed)
{
	static const uint64_t spans[] = {
		3600 * 5, 86400 * 3, 86400 * 40, 86400ULL * 900,
	};
	uint64_t span = spans[rand_r(seed) % 4];
	uint64_t begin = 1500000000 + rand_r(seed) % 300000000;

	n = rand_r(seed) % ITEMS;
	for (size_t i = 0; i < n; i++) {
		snprintf(name[i], sizeof(name[i]), "s%zu", i);
		item[i] = (struct retain_item){
			name[i], begin + (rand_r(seed) * 7919ULL) % span,
			rand_r(seed) % 12 == 0,
		};
	}
}

TEST(random_lists_go_as_the_model_says)
{
	static const char *const zones[] = {
		"UTC0", "CET-1CEST,M3.5.0,M10.5.0/3",
		"NST3:30NDT,M3.2.0/0:01,M11.1.0/0:01", "XXX-14",
	};
	unsigned seed = 7;

	for (int turn = 0; turn < 1500; turn++) {
		struct retain_item other[ITEMS];
		uint64_t keep[RETAIN_RULES] = { 0 };

		zone(zones[turn % 4]);
		random_list(&seed);
		for (int r = 0; r < RETAIN_RULES; r++)
			if (rand_r(&seed) % 2)
				keep[r] = rand_r(&seed) % 6;
		EQ(retain(item, n, keep), 0);
		memcpy(other, item, sizeof(other));
		model(other, n, keep);
		for (size_t i = 0; i < n; i++)
			EQ(item[i].verdict, other[i].verdict);
	}
}

TESTS(T(each_rule_keeps_the_newest_of_each_of_its_periods),
      T(a_rule_begins_where_the_earlier_ones_end),
      T(what_a_rule_drops_no_later_rule_keeps),
      T(protected_ones_stay_and_are_not_counted),
      T(weeks_are_those_of_iso_8601),
      T(an_hour_that_the_clock_shows_twice_is_one),
      T(a_day_that_is_entered_twice_is_one),
      T(days_are_those_of_the_time_zone), T(equal_times_go_by_name),
      T(any_time_is_one), T(random_lists_go_as_the_model_says))
