/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tally.h - what became of many names, and the exit status of it all: 0; the
 * failure's own code when all that failed gave the same and none succeeded;
 * else EXIT_PARTIAL.
 */
#ifndef CLI_TALLY_H
#define CLI_TALLY_H

#include "base/err.h"

struct tally {
	bool quiet;		/* print no names */
	bool done_one;
	int status;		/* of those that failed; 0: none */
	int out_rc;		/* standard output's failure, kept for the end */
	char out_why[ERR_MAX];
};

/* NAME is done: prints it. */
void tally_done(struct tally *t, const char *name);
/* Another one failed with STATUS, and that was said. */
void tally_failed(struct tally *t, int status);
/* The exit status; -errno with a sentence if standard output failed. */
int tally_result(const struct tally *t);

#endif
