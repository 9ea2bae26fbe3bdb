/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * retain.h - which of many things with a time are kept: Proxmox's rules, in
 * its words and meaning.
 *
 * Theory. The rules come in one order: last, hourly, daily, weekly, monthly,
 * yearly. Each cuts time into periods, by the local clock (TZ): what reads as
 * the same hour is one hour, also when the clock was put back over it; weeks
 * are those of ISO 8601, from Monday on. A rule goes from the newest to the
 * oldest and keeps the newest of a period, until it has kept as many as it
 * may; the others of that period are dropped for good. It passes over periods
 * that an earlier rule has something of: those are covered, and do not count. To
 * "last" each thing is a period of its own.
 *
 * Protected things are neither dropped nor do they count: no rule sees them. A time
 * to come is a time as any other. Of equal times the one whose name sorts
 * last (as `ls -v`) is the newer.
 */
#ifndef STATE_RETAIN_H
#define STATE_RETAIN_H

#include "base/types.h"

enum retain_rule {
	RETAIN_LAST,
	RETAIN_HOURLY,
	RETAIN_DAILY,
	RETAIN_WEEKLY,
	RETAIN_MONTHLY,
	RETAIN_YEARLY,
	RETAIN_RULES,		/* how many there are */
	/* verdicts that are no rule's */
	RETAIN_PROTECTED = RETAIN_RULES,
	RETAIN_DROP,
	RETAIN_VERDICTS,
};

extern const char *const retain_words[RETAIN_VERDICTS];

struct retain_item {
	const char *name;
	uint64_t time;			/* seconds since the epoch */
	bool is_protected;
	enum retain_rule verdict;	/* the rule that keeps it, or of the others */
};

/*
 * Sorts ITEM, newest first, and gives each its verdict; KEEP[RULE] is how many
 * a rule keeps, 0: it is not there. The time zone is that of the last tzset().
 * 0 or -ENOMEM with a sentence.
 */
int retain(struct retain_item *item, size_t n,
	   const uint64_t keep[RETAIN_RULES]);

#endif
