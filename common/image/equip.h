/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * equip.h - an image is given what boots it: a kernel, an initrd if that needs
 * one, a command line that finds the root.
 *
 * A kernel that a person names goes before one from elsewhere, and that before
 * the one on the disk. The initrd is what comes with the kernel, or what the
 * person names; where there is none and the kernel has modules that it cannot
 * boot without, one is made (initrd.h).
 *
 * The root is /dev/vda where the file system is on all of the disk. Of a
 * partition the initrd of a distribution knows the file system's UUID; ours,
 * and a kernel alone, the partition's own.
 */
#ifndef IMAGE_EQUIP_H
#define IMAGE_EQUIP_H

#include "image/kernel_from.h"
#include "state/image.h"

/* What a person says of it; each may be NULL. */
struct equip_conf {
	const char *kernel, *initrd;	/* files */
	const char *append;
};

/*
 * Equips the image in the making in DIR, whose disk is there and described by
 * M: `kernel` and `initrd` in DIR, M's append. FROM was opened into DIR, or is
 * NULL. NOTE gets a sentence for a person where something is missing. 0;
 * -E_CONFIG a kernel or initrd that is none, -E_VERIFY, -errno, with a sentence.
 */
int equip(int dir, const struct store *st, const struct equip_conf *c,
	  const struct kernel_from *from, struct image_meta *m,
	  struct buf *note);

#endif
