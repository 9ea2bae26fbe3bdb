/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * read.h - reads a stream (vm-stream.5), which may be anything.
 *
 * Theory. Members are kept until the sums that follow them have come and are
 * right, a window of them at most (part.h); then they are handed out. So who
 * gets them has nothing that was not sent, and all up to a point, which a
 * stream that breaks off can be gone on with. Each byte is covered: contents
 * by the sums, sums by the next ones and the last by the end, headers by their
 * form (tar.h), what is between by being zeros.
 *
 * Only the members that there are, in their order, within the sizes that the
 * head says. Whether names or contents are what the receiver may take is for
 * him to judge: sums are right in what an enemy made, too.
 */
#ifndef STREAM_READ_H
#define STREAM_READ_H

#include "stream/part.h"

struct stream_reader;

/* Each returns 0, or negative with a sentence, which ends the reading. */
struct stream_ops {
	/* A snapshot comes: r->head, of which nothing else is verified. */
	int (*begin)(struct stream_reader *r);
	/*
	 * One is gone on with at P: sets r->head, or -E_VERIFY: that is not
	 * where it broke off.
	 */
	int (*resume)(struct stream_reader *r, const struct stream_point *p);
	/* PART_META, then PART_CONFIG: text, of any content. */
	int (*text)(struct stream_reader *r, enum part_kind kind,
		    const char *text, size_t len);
	/* Within the object's size; offsets ascend, of each of the two. */
	int (*data)(struct stream_reader *r, unsigned object, uint64_t off,
		    const void *data, size_t len);
	int (*zero)(struct stream_reader *r, unsigned object, uint64_t off,
		    uint64_t len);
	/* All up to r->point was handed out. */
	int (*point)(struct stream_reader *r);
	/* It is whole. */
	int (*end)(struct stream_reader *r);
};

struct stream_reader {
	const struct stream_ops *ops;	/* the caller's, as FD */
	int fd;

	struct stream_head head;
	struct stream_point point;
	struct tar_member first;	/* of the snapshot */
	bool inside;		/* of a snapshot */
	bool closed;		/* two blocks of zeros were the last */
	unsigned step;		/* 0 nothing yet, 1 meta, 2 config, 3 + object */
	unsigned n_sums;	/* the next ones */
	uint64_t next_data, next_zero;	/* not below these */
	uint64_t bytes;		/* read */
	struct buf content;	/* of the window's members */
	struct buf pieces;	/* struct piece, of the same */
	struct buf sums;	/* what the next ones must be */
	struct buf head_text;	/* until its sums have come */
};

/*
 * Reads FD to its end. 0; -E_VERIFY: damaged, or it ends early; -E_CONFIG: of
 * a later format; what an op said; -errno; with a sentence.
 */
int stream_read(struct stream_reader *r, int fd, const struct stream_ops *ops);

#endif
