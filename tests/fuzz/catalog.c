/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a catalog: what is accepted can be found, fetched and listed.
 */
#include "base/text.h"
#include "image/catalog.h"
#include "input.h"

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' && *s != '\t')
			return false;
	return true;
}

static bool is_web(const char *s)
{
	return starts_with(s, "https://", NULL) ||
	       starts_with(s, "http://", NULL);
}

static void check_entry(const struct catalog *c, size_t i)
{
	const struct catalog_entry *e = &c->entry[i];
	autobuf struct buf url = BUF_INIT;
	struct sum sum;
	int how = catalog_sums(e, &sum, &url);

	MUST(name_ok(e->name) && is_web(e->url));
	MUST(is_plain(e->url) && is_plain(e->sums) && is_plain(e->note));
	MUST(catalog_find(c, e->name) == e);
	MUST(how >= 0);
	MUST((how == CATALOG_SUMS_LIST || how == CATALOG_SUMS_OWN) ==
	     is_web(url.data));
	MUST(how != CATALOG_SUMS_GIVEN || sum.kind);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct catalog c = CATALOG_INIT;

	catalog_parse(&c, (const char *)data, len, true);
	/* each name is looked up: keep that short */
	for (size_t i = 0; i < c.n && i < 100; i++)
		check_entry(&c, i);
	catalog_release(&c);
	return 0;
}
