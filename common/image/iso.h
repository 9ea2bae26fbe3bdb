/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iso.h - a CD of a few small files: ISO 9660 (ECMA-119) with Rock Ridge and
 * Joliet, so that every guest sees the names as they are.
 *
 * The same files give the same bytes, at any time and on any host. One
 * directory, each structure in a sector of its own:
 *
 *	0	system area, empty
 *	16	volume descriptors: primary, Joliet, terminator
 *	19	path tables, little- and big-endian: primary, Joliet
 *	23	root directories: primary, Joliet
 *	25	the files
 */
#ifndef IMAGE_ISO_H
#define IMAGE_ISO_H

#include "base/buf.h"

enum { ISO_FILES = 8, ISO_NAME_MAX = 24, ISO_FILE_MAX = 16 << 20 };

struct iso_file {
	const char *name;	/* of a-z and '-'; at most ISO_NAME_MAX */
	const void *data;
	size_t len;		/* at most ISO_FILE_MAX */
};

/*
 * Writes the CD named LABEL (A-Z, at most 16) with the N files (at most
 * ISO_FILES, in the order of their names) to FD from its start; FD is cut to
 * that. 0 or -errno with a sentence.
 */
int iso_write(int fd, const char *label, const struct iso_file *file,
	      size_t n);

/*
 * Appends the content of the file NAME on the CD that FD has open, if
 * iso_write() made it: 0; -ENOENT: there is none; -E_CONFIG: another kind of
 * CD; -errno; with a sentence.
 */
int iso_read(int fd, const char *name, struct buf *b);

#endif
