/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * export.h - an image's disk, or the files on it, for others to use.
 *
 *	raw	the disk's bytes; into a file without its holes
 *	qcow2	a qcow2 image that stands alone; only into a file
 *	tar	the root file system's files (pack_tree.h): the ext4 that is all
 *		of the disk, or the first partition that has an ext4 with /etc
 *		and /usr, or else the first that has an ext4
 */
#ifndef IMAGE_EXPORT_H
#define IMAGE_EXPORT_H

#include "block/block.h"

enum export_kind { EXPORT_RAW, EXPORT_QCOW2, EXPORT_TAR };
extern const char *const export_kinds[];	/* their words; NULL at the end */

/*
 * Writes what FROM shows as the new file PATH, durably; without PATH into OUT.
 * 0; -E_EXISTS it is there; -E_USAGE needs a PATH; -ENOENT no ext4; -E_VERIFY
 * damaged; -errno, with a sentence. After a failure PATH is not there.
 */
int export_disk(struct block *from, enum export_kind kind, const char *path,
		int out);

#endif
