/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sums.h - SHA-256 and SHA-512 sums of files, and the lists of them that are
 * published beside images; the only user of libcrypto.
 *
 * A list is read in every form in use:
 *
 *	HASH  NAME			coreutils, text
 *	HASH *NAME			coreutils, binary
 *	SHA512 (NAME) = HASH		BSD, coreutils --tag
 *	HASH				alone, in a list of one file
 *
 * Lines that are none of these are passed over, as lists come with comments
 * and signatures around them. Which hash it is follows from its length, in
 * the BSD form also from its name, and both must agree. Nothing in a list is
 * trusted but the sum itself.
 */
#ifndef IMAGE_SUMS_H
#define IMAGE_SUMS_H

#include "base/buf.h"

enum sum_kind { SUM_NONE, SUM_SHA256, SUM_SHA512 };

enum {
	SUM_BYTES = 64,				/* of the longest */
	SUM_TEXT = 8 + 2 * SUM_BYTES,		/* "sha512:HEX" and a NUL */
	SUMS_MAX = 4 << 20,			/* of a list; real ones: 100K */
};

struct sum {
	enum sum_kind kind;
	uint8_t byte[SUM_BYTES];	/* those beyond the kind's length: 0 */
};

/* Reads "sha256:HEX", "sha512:HEX" or HEX. 0, or -E_USAGE with a sentence. */
int sum_parse(const char *s, struct sum *sum);
/* "sha256:HEX" into BUF of SUM_TEXT; "" for SUM_NONE. Returns BUF. */
char *sum_format(char *buf, const struct sum *sum);
bool sum_same(const struct sum *a, const struct sum *b);

/*
 * The sum of all that FD, a file, holds; its offset stays. 0, or -errno with
 * a sentence.
 */
int sum_file(int fd, enum sum_kind kind, struct sum *out);

/* The same of LEN bytes of DATA. */
int sum_data(const void *data, size_t len, enum sum_kind kind,
	     struct sum *out);

/* 0; -E_VERIFY "its sha256 is 12ab..., not 34cd..."; -errno. */
int sum_check(int fd, const struct sum *want);

/*
 * The strongest sum that the list TEXT (LEN bytes) gives for NAME, a file's
 * name without directories (the list may have "./" before it). OWN: the list
 * is this file's own, so a sum that is the only one in it counts whatever it
 * names, as names of a "latest" image often are those of its build.
 *
 * 0; -ENOENT "no sum for NAME"; -E_VERIFY when NAME has two different sums
 * of one kind.
 */
int sums_find(const char *text, size_t len, const char *name, bool own,
	      struct sum *out);

/*
 * Where the list of a file at URL may be, the likeliest first: the I-th
 * address replaces OUT (of "https://x/a.img": https://x/SHA512SUMS,
 * https://x/SHA256SUMS, ..., https://x/a.img.sha256). *OWN as above. 0;
 * -ENOENT when there are no more; -ENOMEM.
 */
int sums_beside(const char *url, size_t i, struct buf *out, bool *own);

/*
 * The name of the file at URL: what stands behind the last '/' of its path,
 * appended to OUT; perhaps nothing.
 */
void sums_name(const char *url, struct buf *out);

#endif
