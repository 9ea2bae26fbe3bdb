/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * layer.h - the disk of a VM that begins with an image: a qcow2 layer that
 * shows the image's disk wherever it has nothing of its own.
 *
 * It may be larger. An ext4 that the image is known to hold, and nothing else,
 * becomes as large then (ext4_grow.h). VMs of one call differ in nothing here:
 * from the third on they have copies.
 */
#ifndef IMAGE_LAYER_H
#define IMAGE_LAYER_H

#include "state/image.h"

struct layer {
	const struct image *image;	/* borrowed, as META; locked */
	const struct image_meta *meta;
	uint64_t size;		/* bytes, at least the image's disk's */
	int grown;		/* one with a file system grown; -1 at first */
	bool again;		/* it is not the first */
};

/*
 * Makes the layer NAME in DIR, which is vms/.../disk: its header names the
 * image by the way from there. Durable only after the caller synced it. 0;
 * -E_CONFIG, -E_VERIFY the image's file system is not what its record says;
 * -errno, with a sentence.
 */
int layer_make(struct layer *l, int dir, const char *name);
void layer_release(struct layer *l);

#endif
