/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/published.h"

#include <errno.h>

#include "base/err.h"

/* The sum that the list at LIST has for the file at URL. */
static int from_list(const char *list, bool own, const char *url,
		     const struct fetch_limits *limits, struct sum *out)
{
	autobuf struct buf text = BUF_INIT, name = BUF_INIT;
	int rc = fetch_text(list, &text, SUMS_MAX, limits);

	if (rc < 0)
		return rc;
	sums_name(url, &name);
	if (name.failed)
		return fail(ENOMEM, "out of memory");
	rc = sums_find(text.data, text.len, name.data, own, out);
	return rc < 0 ? fail_in(rc, "%.200s", list) : 0;
}

static int from_catalog(const struct catalog_entry *e,
			const struct fetch_limits *limits, struct sum *out)
{
	autobuf struct buf list = BUF_INIT;
	int how = catalog_sums(e, out, &list);

	if (how == CATALOG_SUMS_LIST || how == CATALOG_SUMS_OWN)
		return from_list(list.data, how == CATALOG_SUMS_OWN, e->url,
				 limits, out);
	return how < 0 ? how : 0;
}

int published_sum(const char *url, const struct catalog_entry *e,
		  const struct fetch_limits *limits, struct sum *out)
{
	autobuf struct buf list = BUF_INIT;
	bool own;
	int rc;

	*out = (struct sum){ .kind = SUM_NONE };
	if (e)
		return from_catalog(e, limits, out);
	for (size_t i = 0; (rc = sums_beside(url, i, &list, &own)) == 0; i++) {
		rc = from_list(list.data, own, url, limits, out);
		switch (rc) {
		case -ENOENT:	/* perhaps the next */
		case -EPROTO:
		case -EFBIG:
		case -E_PERM:
			*out = (struct sum){ .kind = SUM_NONE };
			continue;
		}
		return rc;
	}
	return rc == -ENOENT ? 0 : rc;
}
