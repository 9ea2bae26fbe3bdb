/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tar.h - the header of a member, as POSIX ustar has it (pax, IEEE 1003.1,
 * "ustar Interchange Format"): one block of 512 bytes, then the content, then
 * zeros up to the next block.
 *
 * Written and read here and not by libarchive, because a reader of anything
 * that is a tar would have to refuse nearly all of it again: links, devices,
 * extended headers, sparse maps, names with "..", sizes in other bases. Of
 * name, size and time follows every byte of a header of ours; so what is read
 * is those three, and the rest is compared with what we would have written.
 */
#ifndef STREAM_TAR_H
#define STREAM_TAR_H

#include "base/types.h"

enum { TAR_BLOCK = 512, TAR_NAME = 101, TAR_PREFIX = 156 };

struct tar_member {
	char prefix[TAR_PREFIX], name[TAR_NAME];	/* PREFIX/NAME */
	uint64_t size;		/* bytes, less than 8 GiB */
	uint64_t mtime;		/* seconds since the epoch, below 2^33 */
};

/* The header of M, which keeps within those bounds. */
void tar_header(const struct tar_member *m, uint8_t block[static TAR_BLOCK]);

/* Whether BLOCK is a header of ours, of M then. */
bool tar_parse(struct tar_member *m, const uint8_t block[static TAR_BLOCK]);

/* Bytes behind content of SIZE. */
static inline size_t tar_padding(uint64_t size)
{
	return -size % TAR_BLOCK;
}

#endif
