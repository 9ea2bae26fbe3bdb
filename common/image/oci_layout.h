/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oci_layout.h - an image of containers in a directory, made a disk.
 *
 *	oci-layout		the OCI image layout (image-spec,
 *	index.json		image-layout.md), or
 *	manifest.json		what Docker saves, its files named by their
 *				digests as above
 *	blobs/sha256/HEX	manifests, configs and layers
 *
 * Every byte that is used is checked by its digest first. The directory may
 * be anyone's; no name in it is taken from what it holds but by such a digest.
 */
#ifndef IMAGE_OCI_LAYOUT_H
#define IMAGE_OCI_LAYOUT_H

#include "image/ext4.h"
#include "image/oci.h"

enum { OCI_BLOB_PATH = 13 + 64 + 1 };	/* "blobs/sha256/HEX" and a NUL */

/* Where B lies in a layout. Returns PATH. */
char *oci_blob_path(char path[static OCI_BLOB_PATH], const struct oci_blob *b);

/* Whether DIR is an OCI image layout: it has the file `oci-layout`. */
bool oci_layout_is(int dir);

/*
 * Makes DIR the layout of the image TOP, whose blobs are still to come; an
 * INDEX of several platforms, or one manifest. 0 or -errno with a sentence.
 */
int oci_layout_make(int dir, const struct oci_blob *top, bool index);

/*
 * Unpacks the image for linux/amd64 in DIR, of which there must be just one,
 * into X: layer upon layer, of at most MAX bytes in all. DIGEST becomes that
 * of what the index names, or of the config where Docker names that. 0;
 * -E_VERIFY damaged, or something is missing; -E_CONFIG nothing for us, or too
 * much; -errno.
 */
int oci_layout_unpack(int dir, uint64_t max, struct ext4 *x,
		      char digest[static OCI_DIGEST_BYTES]);

#endif
