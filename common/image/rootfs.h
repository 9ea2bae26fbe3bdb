/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rootfs.h - the file system on a disk that a guest boots from, and the kernel
 * and initrd it has for itself.
 *
 * The kernel is the newest /boot/vmlinuz-VERSION, or one that the distribution
 * gives without a version; the initrd is the one of that version, under the
 * names that Debian, Fedora, SUSE, Alpine and Arch give it. Where the root has
 * none, another partition may be its /boot. Nobody vouches for the disk.
 */
#ifndef IMAGE_ROOTFS_H
#define IMAGE_ROOTFS_H

#include "image/ext4_read.h"
#include "image/partition.h"

enum { ROOTFS_PATH_BYTES = 512 };

struct rootfs {
	struct ext4_view view;		/* what would be mounted on / */
	struct partition part;		/* where it lies; number 0: no table */
	char uuid[UUID_TEXT];		/* the file system's; "": none */
	struct ext4_view boot;		/* of its own, or not open */
	char kernel[ROOTFS_PATH_BYTES];	/* path in rootfs_boot(); "": none */
	char initrd[ROOTFS_PATH_BYTES];	/* "" likewise */
};

/*
 * Opens the ext4 on DISK, which is borrowed: of the whole disk, or of the
 * first partition that has a kernel of its own, or that looks like a root, or
 * that can be read. 0; -ENOENT there is none, -ENOTSUP there is something that
 * we do not read, -E_VERIFY damaged, -errno, with a sentence. To read files:
 * ext4_read.h on R->view.
 */
int rootfs_open(struct rootfs *r, struct block *disk);
/* Harmless on one that is not open, but zeroed. */
void rootfs_close(struct rootfs *r);

/* Where its kernel and initrd are. */
const struct ext4_view *rootfs_boot(const struct rootfs *r);

/*
 * How version A stands to B: negative, 0 or positive. As dpkg and sort -V
 * compare: runs of digits as numbers, `~` before everything, even the end.
 */
int version_compare(const char *a, const char *b);

#endif
