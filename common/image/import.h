/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * import.h - what a person has becomes the content of an image.
 *
 *	a raw disk	copied, its holes kept; of a sector begun, zeros are
 *			the rest
 *	qcow2		copied as it is, if it stands alone and is sound
 *	a file tree	(any archive of unpack_tree.h) becomes an ext4 disk
 *			without a partition table; its kernel and initrd, the
 *			newest in its /boot, are taken out and boot it
 *
 * What it is follows from how it begins, when the person does not say. That is
 * done once, here, and recorded; a guest never chooses a format.
 */
#ifndef IMAGE_IMPORT_H
#define IMAGE_IMPORT_H

#include "state/image.h"

enum import_kind { IMPORT_ANY, IMPORT_RAW, IMPORT_QCOW2, IMPORT_TREE };
extern const char *const import_kinds[];	/* their words; NULL at the end */

struct import_conf {
	int from;		/* a file, a block device or a pipe */
	enum import_kind kind;
	uint64_t size;		/* of a disk made from a tree; 0: what it needs */
};

/*
 * Makes `disk`, and `kernel` and `initrd` if they are found, in the empty
 * directory DIR; sets format, size and append of M. 0; -E_CONFIG what it is
 * cannot be told, or it names other files; -E_VERIFY damaged; -errno. After a
 * failure DIR may hold anything.
 */
int import_disk(int dir, const struct import_conf *c, struct image_meta *m);

#endif
