/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * names.h - names as they come: operands, and lines of standard input where
 * "-" stands, or without any operand. The grammar is in each.h; commands use
 * that, unless they work in batches.
 *
 *	rc = names_init(&names, false, argc, argv);
 *	while ((rc = names_next(&names, &name)) > 0 || rc == -EAGAIN)
 *		if (rc > 0)
 *			...
 *		else if ((rc = names_fill(&names)) < 0)	(blocks)
 *			break;
 *	names_release(&names);
 *
 * Lines are bounded: of one longer than NAME_LINE only so much is kept, which
 * is too long for any name and so refused as one. NUL becomes '?'.
 */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H

#include "base/buf.h"

enum { NAME_LINE = 255 };

struct names {
	char **argv;
	int argc, next;
	bool reading;		/* standard input, at this point */
	bool ended;		/* it has */
	bool skipping;		/* the rest of a line that was too long */
	struct buf in;
	size_t used;		/* bytes of IN that were handed out */
};

/* 0, or -E_USAGE when there is nowhere to take names from. */
int names_init(struct names *n, bool explicit, int argc, char **argv);
void names_release(struct names *n);

/*
 * 1 with *NAME (valid until the next names_fill()), 0 at the end, -EAGAIN
 * when names_fill() must read more first. Never reads itself.
 */
int names_next(struct names *n, char **name);
/* Reads standard input once. 0, or -errno with a sentence. */
int names_fill(struct names *n);

#endif
