/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk.h - a disk of a VM as its config names it: the file, the layers it
 * rests on, and at the bottom perhaps an image or a disk outside; and the disk
 * of an image alone, to be read.
 *
 * What lies below a file in disk/ is what its header names, as far as it may
 * (links.h); what lies below any other file is what the config says, never
 * what the file does: one that names others of its own choice is refused. A
 * chain has at most LINK_DEPTH layers. Those below the top are only read.
 */
#ifndef IMAGE_DISK_H
#define IMAGE_DISK_H

#include "block/block.h"
#include "state/store.h"
#include "state/vmconf.h"

enum {
	/*
	 * For another process that is to read the formats itself: each file
	 * as it is, locked, its header only checked; ->backing is the next.
	 */
	DISK_FILES = 1 << 0,
	DISK_READ = 1 << 1,	/* to be read only, as if it were `ro` */
};

/*
 * Opens D, of the VM whose directory is DIR (AT_FDCWD: the current one), with
 * what lies below it, perhaps an image of ST. *BELOW (may be NULL) is the
 * format of the lowest file; all others are qcow2. 0, or negative with a
 * sentence that names the file: -E_BUSY, -E_CONFIG, -E_VERIFY, -ENOENT, -errno.
 */
int disk_open_at(struct block **b, int dir, const struct store *st,
		 const struct disk_conf *d, unsigned flags,
		 enum disk_format *below);
/* The same in the current directory, with or without DISK_FILES. */
int disk_open(struct block **b, const struct store *st,
	      const struct disk_conf *d, bool files, enum disk_format *below);

/*
 * What D, which is in disk/, rests on, to be read only; *B NULL: nothing. That
 * may be less than the config says, if D is not a top.
 */
int disk_open_below(struct block **b, int dir, const struct store *st,
		    const struct disk_conf *d);

/*
 * Of a disk of a running VM in the current directory, open as *B by
 * disk_open(), in which nobody is: writes go to the new top PATH
 * ("disk/disk0.3.qcow2", of layers_push()) from here on, which rests on what *B was; that is
 * flushed and frozen. *B becomes another block. 0, or negative with a
 * sentence: then *B is as it was.
 */
int disk_push(struct block **b, const char *path);

/*
 * Of the same: what lies below the top of *B, that of D, is opened anew, as
 * the top's header says. With BELOW the header is made to say that first
 * ("disk0.2.qcow2", of FORMAT), durably: which must show the same. *B becomes
 * another block. 0, or negative with a sentence: then it goes on as it was.
 */
int disk_reopen(struct block **b, const struct store *st,
		const struct disk_conf *d, const char *below,
		enum disk_format format);

/*
 * The file `disk` in the directory DIR, of this format, read-only: a qcow2
 * image that names other files is refused. As raw_open(), qcow2_open().
 */
int disk_open_image(struct block **out, int dir, enum disk_format format);

/* What FD has open, read-only, as raw. */
int disk_open_fd(struct block **out, int fd);

#endif
