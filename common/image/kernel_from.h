/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel_from.h - a kernel that comes from elsewhere: with its initrd, if it
 * has one, and its modules.
 *
 *	an image	of the same state directory: what boots it, and the
 *			modules on its disk
 *	a package	linux-image-*.deb, or any archive of unpack_tree.h with
 *			/boot/vmlinuz-VERSION and /lib/modules/VERSION in it
 *
 * A package is unpacked onto a disk that has no name and is gone when it is
 * closed; nothing of it is run. So both are a disk with files on it.
 */
#ifndef IMAGE_KERNEL_FROM_H
#define IMAGE_KERNEL_FROM_H

#include "image/ext4.h"
#include "image/kernel.h"
#include "image/rootfs.h"
#include "state/image.h"

struct kernel_from {
	char version[KERNEL_VERSION];	/* "": it does not say */
	struct rootfs root;		/* has its modules; or not open */
	struct block *disk;		/* that lies on */
	struct image image;		/* locked; dir -1: a package */
};

/*
 * Opens WHAT, the name of an image of ST or else a file, and puts `kernel`, and
 * `initrd` if it has one, into the directory DIR. 0; -E_NOENT there is no such
 * image or file, -E_CONFIG it holds no kernel, -E_VERIFY damaged, -E_BUSY,
 * -errno, with a sentence. Close it in any case.
 */
int kernel_from_open(struct kernel_from *k, const struct store *st,
		     const char *what, int dir);
void kernel_from_close(struct kernel_from *k);

/*
 * Adds its modules to X as /lib/modules/VERSION, unless that is there. 0, also
 * if there are none; or as ext4_add(), ext4_data(), ext4_open().
 */
int kernel_from_modules(const struct kernel_from *k, struct ext4 *x);

#endif
