/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream/part.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const words[] = {
	[PART_HEAD] = "vm-stream", [PART_RESUME] = "resume",
	[PART_META] = "meta", [PART_CONFIG] = "config", [PART_DATA] = NULL,
	[PART_ZERO] = NULL, [PART_SUMS] = NULL, [PART_END] = "end",
};

void part_name(const struct part *p, char name[static TAR_NAME])
{
	char object[8];

	if (p->kind == PART_SUMS)
		snprintf(name, TAR_NAME, "sums/%08" PRIu64, p->number);
	else if (p->kind == PART_DATA || p->kind == PART_ZERO)
		snprintf(name, TAR_NAME, "%s/%016" PRIx64 "%s",
			 stream_object_name(p->object, object), p->number,
			 p->kind == PART_ZERO ? ".zero" : "");
	else
		snprintf(name, TAR_NAME, "%s", words[p->kind]);
}

/* What P may be, whose name is FOLDER/NUMBER; its name says whether it is. */
static void guess(struct part *p, const char *folder, const char *number)
{
	char object[8];

	if (!strcmp(folder, "sums")) {
		p->kind = PART_SUMS;
		p->number = strtoull(number, NULL, 10);
		return;
	}
	p->kind = strchr(number, '.') ? PART_ZERO : PART_DATA;
	p->number = strtoull(number, NULL, 16);
	while (p->object < STREAM_OBJECTS - 1 &&
	       strcmp(stream_object_name(p->object, object), folder))
		p->object++;
}

bool part_parse(struct part *p, const char *name)
{
	char copy[TAR_NAME], again[TAR_NAME], *rest = copy, *folder;

	*p = (struct part){ 0 };
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i] && !strcmp(words[i], name))
			return p->kind = i, true;
	snprintf(copy, sizeof(copy), "%s", name);
	folder = cut(&rest, '/');
	if (!rest)
		return false;
	guess(p, folder, rest);
	part_name(p, again);
	return !strcmp(name, again);
}

int part_sum(struct buf *sums, const char *name, const void *data, size_t len)
{
	char sum[HASH_TEXT];
	int rc = hash_text(data, len, sum);

	if (rc == 0)
		buf_printf(sums, "%s  %s\n", sum, name);
	return rc;
}
