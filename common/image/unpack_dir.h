/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unpack_dir.h - the file tree in a directory becomes an ext4 disk.
 *
 * What is told of an archive (unpack_tree.h) is kept here, too: owners, modes,
 * times, links of both kinds, devices, extended attributes, holes. It stays on
 * the file system that the directory is on: of what is mounted in it there is
 * the empty directory. The disk that is made may lie in the tree: it is passed
 * over.
 *
 * Names are opened relative to their directory, and no link is followed, so
 * whoever changes the tree meanwhile makes the copy differ, and no more.
 */
#ifndef IMAGE_UNPACK_DIR_H
#define IMAGE_UNPACK_DIR_H

#include "image/ext4.h"

enum { UNPACK_DIR_DEPTH = 500 };	/* each costs a descriptor */

/*
 * Adds all that is in the directory FD, at most MAX bytes of data, to OUT. 0;
 * -E_CONFIG it is empty, or more than OUT has room for; -E_BUSY a file in it
 * became shorter meanwhile; -errno, as of what may not be read. The sentence
 * names the file.
 */
int unpack_dir(int fd, uint64_t max, struct ext4 *out);

#endif
