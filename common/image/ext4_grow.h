/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ext4_grow.h - a file system that ext4.h made, and that is not in use, becomes
 * as large as its disk.
 *
 * Theory. Its group descriptors have room for 2 TiB (EXT4_DESC_BLOCKS). What is
 * new are block groups that lie behind it: each has its bitmaps and inode table
 * within itself and says of them that they are not initialized, so that nothing
 * is written there, but for the backups of super block and descriptors in some
 * groups and the bitmap of the last. The group that was the last becomes whole.
 * So what is written grows with the descriptors: about 1.5 MiB for 20 GiB, most
 * of it the pointers of the resize inode to its backups; 10 MiB for 1 TiB.
 *
 * Layout: Documentation/filesystems/ext4 of Linux (blockgroup, group_descr).
 */
#ifndef IMAGE_EXT4_GROW_H
#define IMAGE_EXT4_GROW_H

#include "block/block.h"

/*
 * Grows the file system that is all of B to B's size: up to 2 TiB, and without
 * a last piece that is too small for a block group. One that is as large
 * already stays as it is. Not made durable. 0; -ENOENT there is no ext4;
 * -E_CONFIG one that is not as ext4.h makes them, or was not unmounted;
 * -E_VERIFY damaged; -errno, all with a sentence. After a failure that is none
 * of the first three B may hold half of it.
 */
int ext4_grow(struct block *b);

#endif
