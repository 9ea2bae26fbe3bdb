/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/retain.h"

#include <errno.h>
#include <search.h>
#include <string.h>
#include <time.h>

#include "base/err.h"

const char *const retain_words[RETAIN_VERDICTS] = {
	[RETAIN_LAST] = "last", [RETAIN_HOURLY] = "hourly",
	[RETAIN_DAILY] = "daily", [RETAIN_WEEKLY] = "weekly",
	[RETAIN_MONTHLY] = "monthly", [RETAIN_YEARLY] = "yearly",
	[RETAIN_PROTECTED] = "protected", [RETAIN_DROP] = "drop",
};

/* Year 9999: beyond it nothing is told apart. */
#define LATEST 253370764800ULL

enum { DAY_S = 86400, HOURS = 24, MONTHS = 12 };

#define UNDECIDED RETAIN_VERDICTS

/* A period that something is kept of. */
struct seen {
	int64_t period;
	bool covered;		/* by an earlier rule */
};

/* Days from the epoch to the one that TM reads. */
static int64_t day_of(const struct tm *tm)
{
	struct tm midnight = {
		.tm_year = tm->tm_year, .tm_mon = tm->tm_mon,
		.tm_mday = tm->tm_mday,
	};

	return timegm(&midnight) / DAY_S;
}

/* A number for the period of RULE that the I-th of all, of WHEN, lies in. */
static int64_t period_of(enum retain_rule rule, size_t i, uint64_t when)
{
	time_t t = min_u64(when, LATEST);
	struct tm tm;

	localtime_r(&t, &tm);
	switch (rule) {
	case RETAIN_HOURLY:
		return day_of(&tm) * HOURS + tm.tm_hour;
	case RETAIN_DAILY:
		return day_of(&tm);
	case RETAIN_WEEKLY:	/* day 0 was a Thursday; a day before it may be */
		return (day_of(&tm) + 3 + 7) / 7;
	case RETAIN_MONTHLY:
		return (int64_t)tm.tm_year * MONTHS + tm.tm_mon;
	case RETAIN_YEARLY:
		return tm.tm_year;
	default:
		return i;
	}
}

static int compare_seen(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return (x->period > y->period) - (x->period < y->period);
}

static int newest_first(const void *a, const void *b)
{
	const struct retain_item *x = a, *y = b;

	if (x->time != y->time)
		return x->time < y->time ? 1 : -1;
	return strverscmp(y->name, x->name);
}

/* One rule's pass. SEEN has room for each item. */
struct pass {
	enum retain_rule rule;
	uint64_t left;		/* it may keep so many more */
	struct seen *seen;
	void *tree;		/* of those in SEEN, by period */
};

/* What is kept of SEEN's period already: *SEEN itself, when nothing was. */
static struct seen *look_up(struct pass *p, struct seen *seen)
{
	struct seen **node = tsearch(seen, &p->tree, compare_seen);

	return node ? *node : NULL;
}

/*
 * P's rule on the I-th. 1: the rule is done, here begins a period more than it
 * may keep of.
 */
static int judge(struct pass *p, struct retain_item *item, size_t i)
{
	struct seen *mine = &p->seen[i], *is;

	mine->period = period_of(p->rule, i, item[i].time);
	is = look_up(p, mine);
	if (!is)
		return fail(ENOMEM, "out of memory");
	if (is == mine) {
		if (!p->left)
			return 1;
		p->left--;
		item[i].verdict = p->rule;
	} else if (!is->covered) {
		item[i].verdict = RETAIN_DROP;
	}
	return 0;
}

/* The periods of all that earlier rules keep. */
static int note_covered(struct pass *p, const struct retain_item *item,
			size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (item[i].verdict >= p->rule)
			continue;
		p->seen[i] = (struct seen){
			period_of(p->rule, i, item[i].time), true,
		};
		if (!look_up(p, &p->seen[i]))
			return fail(ENOMEM, "out of memory");
	}
	return 0;
}

static void keep_node(void *node)
{
	(void)node;	/* they lie in `seen` */
}

static int apply(struct pass *p, struct retain_item *item, size_t n)
{
	int rc = note_covered(p, item, n);

	for (size_t i = 0; i < n && rc == 0; i++)
		if (item[i].verdict == UNDECIDED)
			rc = judge(p, item, i);
	tdestroy(p->tree, keep_node);
	return rc < 0 ? rc : 0;
}

int retain(struct retain_item *item, size_t n,
	   const uint64_t keep[RETAIN_RULES])
{
	autofree struct seen *seen = calloc(n + 1, sizeof(*seen));
	int rc = 0;

	if (!seen)
		return fail(ENOMEM, "out of memory");
	if (n)
		qsort(item, n, sizeof(*item), newest_first);
	for (size_t i = 0; i < n; i++)
		item[i].verdict = item[i].is_protected ? RETAIN_PROTECTED :
							 UNDECIDED;
	for (int rule = 0; rule < RETAIN_RULES && rc == 0; rule++) {
		struct pass p = { rule, keep[rule], seen, NULL };

		memset(seen, 0, n * sizeof(*seen));
		if (keep[rule])
			rc = apply(&p, item, n);
	}
	for (size_t i = 0; i < n; i++)
		if (item[i].verdict == UNDECIDED)
			item[i].verdict = RETAIN_DROP;
	return rc;
}
