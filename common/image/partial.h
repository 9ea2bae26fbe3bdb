/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * partial.h - a file that comes from elsewhere and may not be whole yet: the
 * bytes in one file, what they are the beginning of in another beside it.
 *
 * The note is a text of a few lines (config.h):
 *
 *	url=https://x/debian.img
 *	validator="5f3c-61a"	the server's name for this very content
 *	size=1234567		of the whole, if it is known
 *
 * It is written before the first byte, so bytes without a note, or with that
 * of another address, are worth nothing. Bytes are only ever appended.
 */
#ifndef IMAGE_PARTIAL_H
#define IMAGE_PARTIAL_H

#include "image/reply.h"

struct partial {
	int fd;			/* borrowed; open for reading and writing */
	int dir;		/* borrowed; where the note is */
	const char *note;	/* its name; NULL: none is kept */
	const char *url;
	uint64_t max;		/* more bytes are refused */
	uint64_t have;		/* bytes there */
	bool has_size;
	uint64_t size;		/* of the whole */
	char validator[VALIDATOR_BYTES];	/* "": cannot be gone on with */
};

/*
 * Looks what there is: P has the members down to `max`, the others are set.
 * What cannot be gone on with is cut off. 0 or -errno with a sentence.
 */
int partial_open(struct partial *p);

/*
 * A whole file of what R says begins to come: cuts off what is there, writes
 * the note. 0; -EFBIG when R tells a size beyond max; -errno.
 */
int partial_begin(struct partial *p, const struct reply *r);

/* Whether R, a 206, is exactly what goes on where P ends. */
bool partial_fits(const struct partial *p, const struct reply *r);

/* Appends. 0, -EFBIG, -errno. */
int partial_add(struct partial *p, const void *data, size_t len);

/* Forgets all that there is. 0 or -errno. */
int partial_drop(struct partial *p);

#endif
