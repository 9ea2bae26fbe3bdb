/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * head.h - what one snapshot in a stream is: its first member, and the point
 * at which a stream that was cut can be gone on with. The format as a whole:
 * vm-stream.5.
 *
 *	vm-stream 1		the format's version
 *	vm=web1
 *	snapshot=nightly
 *	id=32 HEX		of the snapshot, wherever it goes
 *	created=SECONDS
 *	from=SNAP		of an increment: what it is the difference to,
 *	from_id=32 HEX		and which one that is
 *	kernel=SIZE		then a line for each object, bytes:
 *	disk0=SIZE[,from]	kernel, initrd, disk0 to disk15, dev, mem;
 *				`from`: what is not in the stream is as in FROM
 *
 * There is one way to write each, and what is written another way is damaged.
 */
#ifndef STREAM_HEAD_H
#define STREAM_HEAD_H

#include "base/buf.h"
#include "base/text.h"
#include "stream/hash.h"

enum {
	STREAM_FORMAT = 1,
	STREAM_ID = 33,		/* 32 hexadecimal digits and a NUL */
	STREAM_DISKS = 16,
	STREAM_PREFIX = 2 * NAME_MAX_LEN + 2,	/* VM@SNAP */
	STREAM_TOKEN = 3 * NAME_MAX_LEN + STREAM_ID + HASH_TEXT + 32,
};

/* What a VM consists of, in the order in which it is sent. */
enum stream_object {
	STREAM_KERNEL, STREAM_INITRD, STREAM_DISK,
	STREAM_DEV = STREAM_DISK + STREAM_DISKS, STREAM_MEM, STREAM_OBJECTS
};

/* "disk0"; valid as long as NAME is, which has 8 bytes. */
const char *stream_object_name(unsigned object, char name[static 8]);

struct stream_object_head {
	uint64_t size;		/* bytes; 0: there is none */
	bool from;
};

struct stream_head {
	char vm[NAME_MAX_LEN + 1], snap[NAME_MAX_LEN + 1];
	char id[STREAM_ID];
	uint64_t created;
	char from[NAME_MAX_LEN + 1], from_id[STREAM_ID];	/* "": whole */
	struct stream_object_head object[STREAM_OBJECTS];
};

void stream_head_format(const struct stream_head *h, struct buf *text);
/*
 * 0; -E_CONFIG: of a later format, whatever else there is; -E_VERIFY: none of
 * the form above; with a sentence.
 */
int stream_head_parse(struct stream_head *h, const char *text, size_t len);

/* Everything up to the member sums/SUMS, whose SHA-256 is LAST. */
struct stream_point {
	char id[STREAM_ID];
	unsigned sums;
	char last[HASH_TEXT];
};

void stream_point_format(const struct stream_point *p, struct buf *text);
bool stream_point_parse(struct stream_point *p, const char *text, size_t len);

/*
 * The same for a person to carry from the receiver to the sender, one word:
 * "1:web1@nightly:FROM:ID:SUMS:LAST". -E_USAGE. H gets its names and its id.
 */
void stream_token_format(const struct stream_head *h,
			 const struct stream_point *p,
			 char token[static STREAM_TOKEN]);
int stream_token_parse(struct stream_head *h, struct stream_point *p,
		       const char *token);

#endif
