/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bootfile.h - `kernel` and `initrd` in the directory of an image in the
 * making. Each takes the place of what has its name.
 */
#ifndef IMAGE_BOOTFILE_H
#define IMAGE_BOOTFILE_H

#include "image/rootfs.h"

/* NAME in DIR, empty: its descriptor, or -errno with a sentence. */
int bootfile_new(int dir, const char *name);

/*
 * The regular file PATH below FROMDIR becomes NAME in DIR. 0; -E_CONFIG not a
 * regular file, -errno, with a sentence.
 */
int bootfile_copy(int fromdir, const char *path, int dir, const char *name);

/*
 * The kernel and initrd of R, as far as it has them, become `kernel` and
 * `initrd` in DIR. 0, or as ext4_copy().
 */
int bootfile_take(const struct rootfs *r, int dir);

#endif
