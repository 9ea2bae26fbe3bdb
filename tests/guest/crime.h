/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crime.h - what the guests that misbehave share: their devices, how an
 * honest driver uses those, and how a crime is committed and judged.
 *
 * A guest is told what to do on its command line:
 *
 *	hostile=PREFIX	commits the crimes whose names begin so (none: all),
 *			each against each device it is for, and says of each
 *
 *		ok NAME DEVICE		what was to come of it came, another
 *					device went on serving, and a reset by
 *					status 0 made this one serve again
 *		not ok NAME DEVICE: WHY
 *
 *			and, after all, "hostile: end, N ok, M not ok".
 *	hostile=NAME	of an ending: does what there is no coming back from.
 *
 * Its disk begins with the bytes "host", and holds 64 sectors or more. The VM
 * has 16 MiB of memory.
 */
#ifndef TESTS_GUEST_CRIME_H
#define TESTS_GUEST_CRIME_H

#include "bare.h"

#define RAM_END	0x1000000U

enum { RNG = 1, CONSOLE = 2, DISK = 4, EACH = 7 };

/* Those that are not there are left out: `bar` is 0. */
static struct dev devs[] = {
	{ "rng", .slot = 1, .features = F_INDIRECT },
	{ "console", .slot = 2, .queue = 1, .features = F_INDIRECT },
	{ "disk", .slot = 4, .features = F_INDIRECT },
};
static struct dev *const rng = &devs[0], *const disk = &devs[2];

struct crime {
	const char *name;
	/* D has an empty queue and DRIVER_OK. What came of it. */
	enum saw (*commit)(struct dev *d);
	enum saw expect;
	unsigned victims;
};

struct ending {
	const char *name;
	void (*commit)(void);
};

static inline uint32_t chance(void)
{
	static uint32_t x = 2463534242;

	x ^= x << 13;
	x ^= x >> 17;
	return x ^= x << 5;
}

/* ---------------------------------------------------- what honest ones do */

enum { DISK_STATUS = 16, DISK_DATA = 512 };	/* in the device's buffer */

/* One request of the disk as descriptors; its status becomes 0xee before. */
static inline void disk_chain(struct dev *d, uint32_t type, uint64_t sector,
			      uint64_t data, uint32_t len, uint16_t flags)
{
	put(d->buffer, 4, type);
	put(d->buffer + 4, 4, 0);
	put(d->buffer + 8, 4, sector);
	put(d->buffer + 12, 4, sector >> 32);
	put(d->buffer + DISK_STATUS, 1, 0xee);
	desc(d, 0, d->buffer, 16, NEXT, 1);
	desc(d, 1, data, len, flags | NEXT, 2);
	desc(d, 2, d->buffer + DISK_STATUS, 1, WRITE, 0);
}

/* Puts together a request that each device serves; its head is 0. */
static inline void honest(struct dev *d)
{
	if (d == disk) {
		put(d->buffer + DISK_DATA, 4, 0);
		disk_chain(d, 0, 0, d->buffer + DISK_DATA, 512, WRITE);
	} else if (d == rng) {
		desc(d, 0, d->buffer, 64, WRITE, 0);
	} else {
		put(d->buffer, 1, '.');
		desc(d, 0, d->buffer, 1, 0, 0);
	}
}

/* Whether D, begun before, serves. */
static inline bool serves(struct dev *d)
{
	honest(d);
	if (submit(d, 0) != SERVED)
		return false;
	if (d == rng)
		return used_len(d) == 64;
	return d != disk || (get(d->buffer + DISK_STATUS, 1) == 0 &&
		get(d->buffer + DISK_DATA, 4) == 0x74736f68);
}

/* -------------------------------------------------------------- judgement */

/* NULL, or what is wrong with C against D. */
static inline const char *judge(const struct crime *c, struct dev *d)
{
	static const char *const words[] = {
		[SERVED] = "served", [BROKEN] = "broken", [SILENT] = "silent",
	};
	struct dev *other = d == rng ? disk : rng;
	enum saw saw;

	dev_begin(d, QUEUE);
	dev_begin(other, QUEUE);
	saw = c->commit(d);
	if (c->expect != ANY && saw != c->expect)
		return words[saw];
	/* One that had everything done to it is to be begun again, too. */
	if (c->expect == ANY)
		dev_begin(other, QUEUE);
	if (!serves(other))
		return "another device serves no more";
	dev_begin(d, QUEUE);
	if (!serves(d))
		return "serves no more after a reset";
	return NULL;
}

static inline bool commit(const struct crime *c, struct dev *d)
{
	const char *wrong = judge(c, d);

	say(wrong ? "\r\nnot ok " : "\r\nok ");
	say(c->name);
	say(" ");
	say(d->name);
	if (wrong) {
		say(": ");
		say(wrong);
	}
	return !wrong;
}

/* What stands behind "hostile=" in the command line. */
static inline const char *order(const uint32_t *start_info)
{
	const char *s = (const char *)start_info[6];

	while (*s && !begins(s, "hostile="))
		s++;
	return *s ? s + 8 : s;
}

static inline _Noreturn void crimes_run(const char *what,
					const struct crime *c, unsigned n)
{
	unsigned good = 0, bad = 0;

	for (; n--; c++) {
		if (!begins(c->name, what))
			continue;
		for (unsigned i = 0; i < ARRAY_SIZE(devs); i++) {
			if (!devs[i].bar || !(c->victims & 1 << i))
				continue;
			if (commit(c, &devs[i]))
				good++;
			else
				bad++;
		}
	}
	say("\r\nhostile: end, ");
	say_number(good);
	say(" ok, ");
	say_number(bad);
	say(" not ok\r\n");
	halt();
}

static inline void devs_find(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++)
		dev_find(&devs[i]);
}

#endif
