/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rootfs.h - the file system on a disk that a guest boots from, and the kernel
 * and initrd it has for itself.
 *
 * The kernel is the newest /boot/vmlinuz-VERSION, or one that the distribution
 * gives without a version; the initrd is the one of that version, under the
 * names that Debian, Fedora, SUSE, Alpine and Arch give it. On a partition of
 * its own /boot is its root. Nobody vouches for the disk.
 */
#ifndef IMAGE_ROOTFS_H
#define IMAGE_ROOTFS_H

#include "image/ext4_read.h"

enum { ROOTFS_PATH_BYTES = 512 };

struct rootfs {
	struct ext4_view view;
	uint64_t off, len;		/* where in the file it lies */
	char kernel[ROOTFS_PATH_BYTES];	/* path in it; "": it has none */
	char initrd[ROOTFS_PATH_BYTES];	/* "" likewise */
};

/*
 * Opens the ext4 in FD: the whole file, or the first partition that has a
 * kernel, or else the first that can be read. 0; -ENOENT there is none,
 * -E_VERIFY damaged, -errno, with a sentence. To read files: ext4_read.h on
 * R->view.
 */
int rootfs_open(struct rootfs *r, int fd);
/* Harmless on one that is not open, but zeroed. */
void rootfs_close(struct rootfs *r);

/*
 * How version A stands to B: negative, 0 or positive. As dpkg and sort -V
 * compare: runs of digits as numbers, `~` before everything, even the end.
 */
int version_compare(const char *a, const char *b);

#endif
