/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pack_tree.h - the files of an ext4 disk become a tar.
 *
 * It is a pax archive (POSIX.1-2017, pax): owners by number, modes, times of
 * modification to the nanosecond, links, devices, extended attributes as
 * SCHILY.xattr, and files with holes as GNU's sparse ones, version 1.0, all of
 * which GNU tar, bsdtar and unpack_tree.h read. Of one file system it is the
 * same bytes every time. What is passed over or refused: ext4_walk.h.
 */
#ifndef IMAGE_PACK_TREE_H
#define IMAGE_PACK_TREE_H

#include "block/block.h"

/*
 * Writes the file system in the LEN bytes at OFF of B as a tar to OUT. 0,
 * -E_HOST, or as ext4_walk(); what was written then is worth nothing.
 */
int pack_tree(struct block *b, uint64_t off, uint64_t len, int out);

#endif
