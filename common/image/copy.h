/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy.h - the bytes of a disk from one place to another, without the zeros
 * where there need be none.
 */
#ifndef IMAGE_COPY_H
#define IMAGE_COPY_H

#include "block/block.h"

/*
 * What FROM shows into the file TO, which is empty and becomes as large; zeros
 * are holes. 0 or -errno with a sentence.
 */
int copy_to_file(struct block *from, int to);

/* The same in order, zeros and all, into anything that can be written to. */
int copy_to_stream(struct block *from, int to);

/* The same into another disk, at least as large, which reads as zeros. */
int copy_to_disk(struct block *from, struct block *to);

/*
 * HEAD (LEN bytes, or none) and what can be read from FROM to its end into the
 * file TO, which is empty; at most MAX bytes (-EFBIG). Zeros are holes, and the
 * size becomes a multiple of 512. 0 or -errno with a sentence.
 */
int copy_from_stream(int from, const void *head, size_t len, int to,
		     uint64_t max);

#endif
