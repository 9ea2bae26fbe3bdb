/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * match.h - a pattern looked for in what a guest says, line by line.
 *
 * Lines are plain text (plain.h). A line is looked at when it ends, and the
 * last one, which may be a prompt, whenever no more text is there. Of lines
 * longer than MATCH_LINE overlapping parts are looked at.
 */
#ifndef CLI_MATCH_H
#define CLI_MATCH_H

#include <regex.h>

#include "cli/plain.h"

enum { MATCH_LINE = 4096 };

struct match {
	const regex_t *regex;	/* borrowed; NULL: a line ends in "login: " */
	struct plain plain;
	bool found;		/* the login prompt, at any time */
	size_t len;
	char line[MATCH_LINE + 1];
};

void match_init(struct match *m, const regex_t *regex);

/* Looks at LEN more bytes, which it changes. Whether the pattern was seen. */
bool match_feed(struct match *m, char *data, size_t len);

#endif
