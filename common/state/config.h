/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config.h - key=value text that keeps its comments (vm.conf.5).
 *
 * One `key=value` a line; '#' at the start of a line is a comment; empty
 * lines are kept. A key is [a-z][a-z0-9._-]*; the value is everything behind
 * the first '=', without leading or trailing blanks. A key given twice is an
 * error. Lines are kept as they were read, so writing back changes only what
 * was set. At most CONFIG_MAX bytes; control characters other than tab and
 * newline, and NUL, are refused.
 */
#ifndef STATE_CONFIG_H
#define STATE_CONFIG_H

#include "base/buf.h"

enum { CONFIG_MAX = 256 * 1024 };

struct config_line {
	char *text;		/* whole line without newline */
	char *key, *value;	/* NULL for comments; allocated */
};

struct config {
	struct config_line *line;
	size_t n, size;
};

#define CONFIG_INIT { 0 }

void config_release(struct config *c);

/*
 * Parses TEXT (LEN bytes), replacing C. 0, or -E_CONFIG with "line 3: ..." ; C
 * is then empty.
 */
int config_parse(struct config *c, const char *text, size_t len);
/* The text, byte for byte what was parsed plus what was set since. */
void config_format(const struct config *c, struct buf *out);

/* The value, NULL if absent. Borrowed until C changes. */
const char *config_get(const struct config *c, const char *key);
/*
 * Sets (in place, else appended) or, VALUE NULL, removes. 0; -E_USAGE: not a
 * key or not a value a line can hold; -ENOMEM.
 */
int config_set(struct config *c, const char *key, const char *value);

/* A copy in DST (which was empty). 0 or -ENOMEM. */
int config_copy(struct config *dst, const struct config *src);

#endif
