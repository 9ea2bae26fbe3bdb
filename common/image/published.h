/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * published.h - which sum an image on the web must have, by what its
 * publisher says: in the list the catalog names, or one that is found beside
 * the image.
 */
#ifndef IMAGE_PUBLISHED_H
#define IMAGE_PUBLISHED_H

#include "image/catalog.h"
#include "image/fetch.h"

/*
 * Sets OUT to the sum of the file at URL; its kind is SUM_NONE if none is
 * published. E is its line in the catalog, or NULL: the usual places are
 * tried. LIMITS may be NULL. 0, or negative with a sentence:
 *
 *	-ENOENT		the catalog names a list that is not there, or that
 *			lacks this file
 *	-E_VERIFY	a list has two different sums for it
 *	others		as fetch_text(); with E NULL a list of no use is as
 *			if it were not there, one that may come later is not
 */
int published_sum(const char *url, const struct catalog_entry *e,
		  const struct fetch_limits *limits, struct sum *out);

#endif
