/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpio.h - a cpio archive as Linux takes for an initrd: "newc", not compressed
 * (Documentation/driver-api/early-userspace/buffer-format.rst). Everything is
 * root's and of no time, so the same files give the same bytes.
 */
#ifndef IMAGE_CPIO_H
#define IMAGE_CPIO_H

#include "base/types.h"

struct cpio {
	int fd;			/* borrowed; written from where it stands */
	uint32_t entries;
	uint64_t bytes;		/* so far */
};

struct cpio_entry {
	const char *name;	/* "dev/console"; directories come first */
	uint32_t mode;		/* with the type */
	uint32_t major, minor;	/* a device's */
	const void *data;	/* a file's */
	uint32_t len;
};

/* Adds an entry. 0 or -errno with a sentence. */
int cpio_add(struct cpio *c, const struct cpio_entry *e);
/* Ends the archive. As cpio_add(). */
int cpio_end(struct cpio *c);

#endif
