/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unpack_blobs.h - an image of containers in one archive, as `docker save`,
 * podman and skopeo write them, made a directory (oci_layout.h).
 *
 * Nobody vouches for the archive. But for three names that mean something, its
 * files are called by the digests of what they hold, not by what it calls
 * them; links in it are passed over, as whatever they lead to has a digest.
 */
#ifndef IMAGE_UNPACK_BLOBS_H
#define IMAGE_UNPACK_BLOBS_H

#include "base/types.h"

/*
 * Whether an archive of which HEAD (LEN bytes) is the beginning is such a one:
 * its first file is named as only theirs are.
 */
bool unpack_is_blobs(const void *head, size_t len);

/*
 * Reads FD, of which HEAD (LEN bytes) was read already, to its end, and puts
 * what is in it into the empty directory DIR. At most MAX bytes. 0; -E_VERIFY
 * damaged; -E_CONFIG more than MAX, or too many files; -errno.
 */
int unpack_blobs(int fd, const void *head, size_t len, uint64_t max, int dir);

#endif
