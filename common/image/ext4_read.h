/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ext4_read.h - reads files of an ext2, ext3 or ext4 file system that lies on
 * a disk, without mounting it. Nobody vouches for it.
 *
 * Paths begin at its root; links are followed within it, the last one too.
 * Nothing is written and no journal replayed: of one that was not unmounted,
 * what is read may be old.
 */
#ifndef IMAGE_EXT4_READ_H
#define IMAGE_EXT4_READ_H

#include "base/buf.h"
#include "block/block.h"
#include "image/tree.h"

struct ext4_view {
	void *fs;	/* libext2fs's; NULL: not open */
};

/*
 * Opens the file system in the LEN bytes at OFF of DISK, which is borrowed and
 * stays open as long. 0; -ENOENT there is none, -E_VERIFY damaged, -ENOTSUP of
 * a kind libext2fs does not know, -errno, with a sentence.
 */
int ext4_open(struct ext4_view *v, struct block *disk, uint64_t off,
	      uint64_t len);
/* Harmless on one that is not open. */
void ext4_close(struct ext4_view *v);

/* Its UUID, 16 bytes. */
const uint8_t *ext4_uuid(const struct ext4_view *v);

/*
 * All take a PATH and fail with -ENOENT (not there, or the way to it is none),
 * -E_CONFIG (of another type, or larger than MAX), -E_VERIFY damaged, -errno,
 * with a sentence.
 */

/*
 * What the inode of PATH says, but for its extended attributes; a link that is
 * the last component is not followed, and its target, appended to TARGET, is
 * A's as long as that is not changed.
 */
int ext4_attr(const struct ext4_view *v, const char *path, struct attr *a,
	      struct buf *target);
/* The size of a regular file. */
int64_t ext4_size(const struct ext4_view *v, const char *path);
/* Appends what a regular file holds to B. */
int ext4_read(const struct ext4_view *v, const char *path, struct buf *b,
	      size_t max);
/* Copies it to the start of OUT; its size. Blocks of zeros become holes. */
int64_t ext4_copy(const struct ext4_view *v, const char *path, int out,
		  uint64_t max);
/*
 * Calls FN for each name in a directory but "." and ".."; a name has no slash
 * and is valid during the call. What FN returns, if not 0, ends it.
 */
int ext4_list(const struct ext4_view *v, const char *path,
	      int (*fn)(void *arg, const char *name), void *arg);

#endif
