/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * part.h - the members that there are in a stream, and their names.
 *
 *	vm-stream, meta, config, end, resume
 *	disk0/0000000000010000		data, from that offset on
 *	disk0/0000000000010000.zero	ranges that became zeros: lines of
 *					offset, blank, length; 16 digits each
 *	sums/00000001			SHA-256 of the members before
 *
 * Sums also come behind vm-stream, behind config, and at an object's end.
 * All numbers of names and ranges are hexadecimal but that of the sums.
 */
#ifndef STREAM_PART_H
#define STREAM_PART_H

#include "stream/head.h"
#include "stream/tar.h"

enum {
	STREAM_RUN = 4 << 20,		/* bytes of one member's content */
	STREAM_WINDOW = 16 << 20,	/* sums follow when so much came */
	STREAM_WINDOW_PARTS = 4096,	/* or so many members */
	STREAM_RANGE = 34,		/* bytes of a line of zeros */
	STREAM_RANGES = 1024,		/* lines in one member */
};

enum part_kind {
	PART_HEAD, PART_RESUME, PART_META, PART_CONFIG, PART_DATA, PART_ZERO,
	PART_SUMS, PART_END
};

struct part {
	enum part_kind kind;
	unsigned object;	/* of data and zeros */
	uint64_t number;	/* their offset; which sums */
};

void part_name(const struct part *p, char name[static TAR_NAME]);
/* Whether NAME is one. */
bool part_parse(struct part *p, const char *name);

/* Appends the line of sums for member NAME with the content DATA. */
int part_sum(struct buf *sums, const char *name, const void *data, size_t len);

#endif
