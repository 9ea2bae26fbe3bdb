/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reply.h - what the header lines of an HTTP response say about the file it
 * brings (RFC 9110). Nothing in them is trusted: what cannot be read is as
 * if it were not there.
 */
#ifndef IMAGE_REPLY_H
#define IMAGE_REPLY_H

#include "base/types.h"

enum { VALIDATOR_BYTES = 256, CHALLENGE_BYTES = 1024 };

struct reply {
	int status;
	bool ended;		/* an empty line was there */
	bool has_length;
	uint64_t length;	/* Content-Length */
	bool has_range;		/* Content-Range: bytes FIRST-LAST/TOTAL */
	uint64_t first, last;
	bool has_total;		/* TOTAL, also of "bytes *" "/TOTAL" */
	uint64_t total;
	uint64_t retry_after;	/* seconds; 0: not said */
	char etag[VALIDATOR_BYTES];	/* as sent, with its quotes; "" none */
	char modified[VALIDATOR_BYTES];	/* Last-Modified */
	char date[VALIDATOR_BYTES];
	char challenge[CHALLENGE_BYTES];	/* WWW-Authenticate; of several
						   lines one for Bearer */
};

/*
 * Takes one line of LEN bytes in. A status line begins anew; lines behind
 * the empty one, which come after a body in chunks, change nothing.
 */
void reply_line(struct reply *r, const char *line, size_t len);

/*
 * What may stand in If-Range for this file, "" if nothing may: a strong
 * entity tag, or a date that is strong as it lies a minute before the
 * response (8.8.2.2, 13.1.5).
 */
const char *reply_validator(const struct reply *r);

#endif
