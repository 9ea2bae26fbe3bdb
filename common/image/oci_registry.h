/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oci_registry.h - an image from a registry (OCI distribution-spec 1.1), as a
 * layout in a directory (oci_layout.h).
 *
 * By https, or by http from this very host; as anyone, with a token where the
 * registry wants one. It is told to the registry alone, and not to the servers
 * that it redirects to.
 *
 * What a manifest names is taken only for what its digest says; the config and
 * layers, which are files, are checked by who reads the layout. What breaks is
 * gone on with next time, in the same directory.
 */
#ifndef IMAGE_OCI_REGISTRY_H
#define IMAGE_OCI_REGISTRY_H

#include "image/fetch.h"
#include "image/oci.h"

struct oci_pull {
	const struct oci_ref *ref;
	int dir;		/* where the layout comes; nobody else's */
	uint64_t max;		/* bytes of all layers, as they are sent */
	const struct fetch_limits *limits;	/* NULL: fetch_usual */
	/* Bytes there, and of the whole; may be NULL. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

/*
 * Gets the image. 0; -E_VERIFY what came is not what its digest says, or no
 * manifest; -E_CONFIG there is nothing for linux/amd64, or more than max;
 * -ENOENT the registry has it not; -E_PERM not for everyone; others as
 * fetch_file().
 */
int oci_pull(const struct oci_pull *p);

#endif
