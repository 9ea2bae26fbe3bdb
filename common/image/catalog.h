/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * catalog.h - short names of images that others publish.
 *
 * A catalog is a text file that a person can read and extend. A line is an
 * image, words apart by blanks; '#' begins a comment line:
 *
 *	NAME URL SUMS NOTE...
 *	debian-13 https://x/debian-13.qcow2 SHA512SUMS Debian 13, user debian
 *
 * NAME is as of a VM, URL of http or https. SUMS is how what comes is
 * checked: a list of sums beside it by its name (SHA512SUMS), one that has
 * the image's name and more (.sha256), one elsewhere (https://...), the sum
 * itself (sha256:HEX), or - when none is published. NOTE may be absent.
 *
 * There are two: the file `catalog` in the state directory, which is the
 * person's own, and the installed one. A name's first line counts, so the
 * person's own goes before.
 */
#ifndef IMAGE_CATALOG_H
#define IMAGE_CATALOG_H

#include "image/sums.h"
#include "state/store.h"

enum { CATALOG_MAX = 1 << 20, CATALOG_URL_MAX = 2000 };

struct catalog_entry {
	char *name, *url, *sums, *note;	/* note: "" if there is none */
	bool own;			/* of the person's own catalog */
};

struct catalog {
	struct catalog_entry *entry;	/* in the order of their lines */
	size_t n, size;
};

#define CATALOG_INIT { 0 }

/*
 * Reads ST's own catalog and the installed one into C: $VM_CATALOG, else
 * ../share/vmutils/catalog seen from the running program. One that is not
 * there is an empty one, unless $VM_CATALOG names it. 0, or negative with a
 * sentence as catalog_parse(); C is then empty.
 */
int catalog_open(struct catalog *c, const struct store *st);
void catalog_release(struct catalog *c);

/*
 * Adds the lines of TEXT (LEN bytes) whose names C does not have yet. 0;
 * -E_CONFIG "line 3: ..."; -ENOMEM. C then has the lines before.
 */
int catalog_parse(struct catalog *c, const char *text, size_t len, bool own);

/* NULL with the sentence "no image 'x' in the catalog" when there is none. */
const struct catalog_entry *catalog_find(const struct catalog *c,
					 const char *name);

/* Where an entry's sum is to be had. */
enum catalog_sums {
	CATALOG_SUMS_NONE,	/* none is published */
	CATALOG_SUMS_GIVEN,	/* SUM is it */
	CATALOG_SUMS_LIST,	/* in the list at URL */
	CATALOG_SUMS_OWN,	/* in the list at URL, which is its own */
};

/* Sets SUM or appends to URL, as it returns; -ENOMEM. */
int catalog_sums(const struct catalog_entry *e, struct sum *sum,
		 struct buf *url);

#endif
