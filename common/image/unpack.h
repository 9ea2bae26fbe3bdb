/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unpack.h - decompression by libarchive.
 *
 * gzip, bzip2, lzma, xz, lz4 (its legacy form too) and zstd are told apart by
 * their first bytes. No other program is ever started for it.
 */
#ifndef IMAGE_UNPACK_H
#define IMAGE_UNPACK_H

#include "base/types.h"

/*
 * Unpacks the LEN bytes at OFF of FD, which nobody vouches for, into OUT from
 * its start. Returns how many bytes came out, at most MAX; -ENOTSUP when they
 * are not compressed in a way we know; -E_CONFIG damaged or more than MAX;
 * -errno. A sentence is set.
 */
int64_t unpack_range(int fd, uint64_t off, uint64_t len, int out,
		     uint64_t max);

struct archive;

/* Makes A, not yet open, know all of them. 0, or -E_HOST with a sentence. */
int unpack_filters(struct archive *a);

#endif
