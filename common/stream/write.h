/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * write.h - makes a stream (vm-stream.5).
 *
 *	stream_begin(&w, &head);		for each snapshot
 *	stream_text(&w, PART_META, ...);	and PART_CONFIG
 *	stream_object(&w, STREAM_DISK);		in the order of the numbers
 *	stream_data(&w, off, data, len);	offsets ascending, of data and
 *	stream_zero(&w, off, len);		zeros
 *	stream_end(&w);
 *	stream_close(&w);			when all are written
 *
 * What is written depends on nothing but what is given, so that a stream that
 * was cut is gone on with by writing it again: with `skip` set nothing is put
 * up to that point, where the sums must be the same.
 *
 * Nothing is buffered beyond one run and one window of sums. After a failure
 * nothing can be done with W but stream_release().
 */
#ifndef STREAM_WRITE_H
#define STREAM_WRITE_H

#include "stream/part.h"

struct stream_writer {
	/* Takes LEN bytes; 0, or negative with a sentence. The caller's. */
	int (*put)(struct stream_writer *w, const void *data, size_t len);
	const struct stream_point *skip;	/* or NULL; the caller's */

	const struct stream_head *head;		/* the one that is written */
	char prefix[STREAM_PREFIX];
	bool silent;			/* before the point to go on from */
	unsigned object;
	struct buf run;			/* data not written yet, from RUN_OFF */
	uint64_t run_off;
	struct buf ranges;		/* zeros not written yet */
	unsigned n_ranges;
	uint64_t first_range, zero_off, zero_len;
	struct buf sums;		/* the next ones */
	unsigned n_sums, n_parts;
	size_t window;
	char last[HASH_TEXT];		/* sum of the sums before */
};

/* PUT as above. Cannot fail. */
void stream_init(struct stream_writer *w,
		 int (*put)(struct stream_writer *w, const void *data,
			    size_t len));
void stream_release(struct stream_writer *w);

/* H stays the caller's, and there until stream_end(). All: 0, or negative. */
int stream_begin(struct stream_writer *w, const struct stream_head *h);
int stream_text(struct stream_writer *w, enum part_kind kind,
		const void *data, size_t len);
int stream_object(struct stream_writer *w, unsigned object);
int stream_data(struct stream_writer *w, uint64_t off, const void *data,
		size_t len);
int stream_zero(struct stream_writer *w, uint64_t off, uint64_t len);
/* -E_VERIFY also: the point to go on from was not met. */
int stream_end(struct stream_writer *w);
int stream_close(struct stream_writer *w);

#endif
