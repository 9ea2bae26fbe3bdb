/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * initrd.h - an initrd for a kernel that has what it boots from as modules,
 * where nobody else made one.
 *
 *	init		initrd_init.h: loads the modules, finds the root by what
 *			the command line says, mounts it and starts its init
 *	modules/NAME	what virtio disks and consoles and ext4 need, with all
 *			that these depend on; not compressed
 *	modules/list	their names in the order to load them, a line each
 *
 * The modules are a kernel's on a file system that nobody vouches for; what
 * depends on what is read from themselves, so it needs no depmod.
 */
#ifndef IMAGE_INITRD_H
#define IMAGE_INITRD_H

#include "image/ext4_read.h"

/*
 * Writes an initrd for the kernel VERSION (kernel_version()) to OUT, with the
 * modules that lie in /lib/modules/VERSION of V. How many there are; 0: it can
 * do without, and OUT is as it was; -ENOENT no modules are there; -E_VERIFY
 * damaged; -E_CONFIG too many or too large; -errno, with a sentence.
 */
int initrd_make(const struct ext4_view *v, const char *version, int out);

#endif
