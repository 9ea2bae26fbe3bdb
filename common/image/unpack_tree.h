/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unpack_tree.h - an archive of a file tree becomes an ext4 disk.
 *
 * tar in all its kinds, cpio, the data of a .deb, and zip if the file can be
 * sought in; each in any compression of unpack.h. Numeric owners, modes, times
 * of modification, links, devices, extended attributes and ACLs are kept; the
 * names of owners mean nothing here, and an ACL told by names alone is refused.
 * Names of files stay the bytes they are, but that libarchive composes the
 * decomposed letters of a pax archive, which is UTF-8.
 *
 * Nobody vouches for the archive: tree.h says where its entries land.
 */
#ifndef IMAGE_UNPACK_TREE_H
#define IMAGE_UNPACK_TREE_H

#include "image/ext4.h"

/*
 * Reads FD from where it stands, a pipe to its end, and adds all that is in
 * it to OUT. HEAD is what was read of it already (LEN bytes; of a file that can
 * be sought in it is read again). It may unpack to MAX bytes, headers included.
 * 0; -E_VERIFY damaged, cut off, empty, no archive, or what tree.h refuses;
 * -E_CONFIG more than MAX, or what OUT has no room for; -E_HOST, -errno. The
 * sentence names the entry.
 */
int unpack_tree(int fd, const void *head, size_t len, uint64_t max,
		struct ext4 *out);

/*
 * The same of a layer of an image of containers: FD is a tar, and lies over
 * all that OUT has (OCI image-spec, layer.md). Its whiteouts, `.wh.NAME` and
 * `.wh..wh..opq`, take away what is below it; other names that begin with
 * `.wh..wh.` mean something to the AUFS of old and are passed over. It may hold
 * nothing. Returns how many bytes it unpacked to.
 */
int64_t unpack_layer(int fd, uint64_t max, struct ext4 *out);

#endif
