/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ext4_disk.h - the last step of ext4.h: everything but data, by libext2fs.
 */
#ifndef IMAGE_EXT4_DISK_H
#define IMAGE_EXT4_DISK_H

#include "image/tree.h"

enum {
	EXT4_BLOCK = 4096,
	EXT4_GROUP_BLOCKS = 8 * EXT4_BLOCK,
	EXT4_FLEX_GROUPS = 16,		/* keep their tables in the first */
	EXT4_INODE_BYTES = 256,
	EXT4_BYTES_PER_INODE = 16384,	/* as mke2fs has it */
	/*
	 * A super block and group descriptors, of today and reserved for the
	 * disk to grow (to 2 TiB), at the start of some groups.
	 */
	EXT4_DESC_BLOCKS = 256,
};

/*
 * Makes the file system of BLOCKS blocks that has the files of T in FD, which
 * reads as zeros but for the data that the inodes of T say. Sets the inodes'
 * numbers and the extents of directories and links. Errors as ext4_finish().
 */
int ext4_disk(int fd, uint64_t blocks, const char *label, struct tree *t);

#endif
