/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk.h - a disk of a VM as its config names it: the file, and below it the
 * image that shows through; and the disk of an image alone, to be read.
 *
 * What lies below is what the config says, never what the file does: a file
 * that names others of its own choice is refused.
 */
#ifndef IMAGE_DISK_H
#define IMAGE_DISK_H

#include "block/block.h"
#include "state/store.h"
#include "state/vmconf.h"

/*
 * Opens D, whose path is relative to the current directory (the VM's), with
 * its image of ST. FILES: for another process that is to read the formats
 * itself: each file as it is, locked, its header only checked. *BELOW is the
 * image's format, if there is one. 0, or negative with a sentence that names
 * the file: -E_BUSY, -E_CONFIG, -E_VERIFY, -ENOENT, -errno.
 */
int disk_open(struct block **b, const struct store *st,
	      const struct disk_conf *d, bool files, enum disk_format *below);

/*
 * The file `disk` in the directory DIR, of this format, read-only: a qcow2
 * image that names other files is refused. As raw_open(), qcow2_open().
 */
int disk_open_image(struct block **out, int dir, enum disk_format format);

/* What FD has open, read-only, as raw. */
int disk_open_fd(struct block **out, int fd);

#endif
