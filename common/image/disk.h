/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk.h - the disk of an image, opened to be read.
 */
#ifndef IMAGE_DISK_H
#define IMAGE_DISK_H

#include "block/block.h"
#include "state/vmconf.h"

/*
 * Opens the file `disk` in the directory DIR, of this format, read-only: a
 * qcow2 image that names other files is refused. As raw_open(), qcow2_open().
 */
int disk_open_image(struct block **out, int dir, enum disk_format format);

/* Opens what FD has open, as raw. */
int disk_open_fd(struct block **out, int fd);

#endif
