/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/near.h"

#include <string.h>

#include "base/types.h"

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	return min_u64(a, min_u64(b, c));
}

/*
 * Optimal string alignment distance of A and B, both shorter than NEAR_WORD:
 * letters added, dropped, changed, or swapped with their neighbour. ROW is
 * three rows of the table of prefixes, used in turn.
 */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[3][NEAR_WORD];
	size_t la = strlen(a), lb = strlen(b);

	for (size_t j = 0; j <= lb; j++)
		row[0][j] = j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *cur = row[i % 3], *up = row[(i - 1) % 3];
		unsigned *up2 = row[(i + 1) % 3];

		cur[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			cur[j] = min3(up[j] + 1, cur[j - 1] + 1,
				      up[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				cur[j] = min_u64(cur[j], up2[j - 2] + 1);
		}
	}
	return row[la % 3][lb];
}

void near_try(struct near *n, const char *candidate)
{
	size_t len = strlen(n->word);
	unsigned d;

	if (len >= NEAR_WORD || strlen(candidate) >= NEAR_WORD)
		return;
	d = distance(n->word, candidate);
	/* One letter in three may be wrong. */
	if (d < n->distance && d <= (len + 2) / 3) {
		n->best = candidate;
		n->distance = d;
	}
}
