/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * near.h - what someone who mistyped a word may have meant.
 *
 *	struct near n = NEAR("memry");
 *
 *	for (...)
 *		near_try(&n, word);
 *	fail(E_USAGE, "unknown key '%s'%s%s%s", ..., NEAR_HINT(&n));
 */
#ifndef CLI_NEAR_H
#define CLI_NEAR_H

/* LIMIT: at most so many letters added, dropped, changed or swapped. */
enum { NEAR_LIMIT = 2, NEAR_WORD = 32 };

struct near {
	const char *word;
	const char *best;	/* NULL: nothing is near */
	unsigned distance;	/* of the best */
};

#define NEAR(w) { .word = (w), .distance = NEAR_LIMIT + 1 }

/* Keeps CANDIDATE (borrowed) if it is nearer than what was tried before. */
void near_try(struct near *n, const char *candidate);

/* Three arguments for "%s%s%s": " (memory?)" or nothing. */
#define NEAR_HINT(n) \
	(n)->best ? " (" : "", (n)->best ? (n)->best : "", (n)->best ? "?)" : ""

#endif
