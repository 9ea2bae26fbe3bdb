/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * import.h - what a person has becomes the content of an image.
 *
 *	a raw disk	copied, its holes kept; of a sector begun, zeros are
 *			the rest
 *	qcow2		copied as it is, if it stands alone and is sound
 *	a file tree	(any archive of unpack_tree.h) becomes an ext4 disk
 *			without a partition table; modules of a kernel from
 *			elsewhere are added to it
 *	a directory	(unpack_dir.h) likewise
 *	an OCI image	(oci_layout.h: a layout in a directory, or an archive of
 *			unpack_blobs.h) likewise, layer upon layer
 *
 * Then it is given what boots it (equip.h).
 *
 * What it is follows from how it begins, when the person does not say. That is
 * done once, here, and recorded; a guest never chooses a format.
 */
#ifndef IMAGE_IMPORT_H
#define IMAGE_IMPORT_H

#include "image/equip.h"

enum import_kind {
	IMPORT_ANY, IMPORT_RAW, IMPORT_QCOW2, IMPORT_TREE, IMPORT_OCI
};
extern const char *const import_kinds[];	/* their words; NULL at the end */

struct import_conf {
	int from;		/* a file, block device, pipe or directory */
	enum import_kind kind;
	uint64_t size;		/* of a disk made from a tree; 0: what it needs */
	const struct store *st;
	const char *kernel_from;	/* an image or a package; or NULL */
	struct equip_conf equip;
};

/*
 * Makes `disk`, and `kernel` and `initrd` if they are found or given, in the
 * empty directory DIR; sets format, size, ext4, append and digest of M. NOTE,
 * which is empty, gets a sentence for the person where something is missing.
 * 0; -E_CONFIG what it is cannot be told, or it names other files; -E_NOENT no
 * such kernel_from; -E_VERIFY damaged; -errno. After a failure DIR may hold
 * anything.
 */
int import_disk(int dir, const struct import_conf *c, struct image_meta *m,
		struct buf *note);

#endif
