/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream/tar.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12];
	char sum[8], type[1], link[100], magic[6], version[2];
	char uname[32], gname[32], major[8], minor[8], prefix[155], unused[12];
};
static_assert(sizeof(struct header) == TAR_BLOCK, "one block");

/* Of all bytes, those of the sum itself counting as blanks. */
static unsigned sum_of(const struct header *h)
{
	const uint8_t *p = (const uint8_t *)h;
	unsigned sum = 0;

	for (size_t i = 0; i < sizeof(*h); i++)
		sum += p[i];
	for (size_t i = 0; i < sizeof(h->sum); i++)
		sum += ' ' - (uint8_t)h->sum[i];
	return sum;
}

void tar_header(const struct tar_member *m, uint8_t block[static TAR_BLOCK])
{
	struct header h = {
		.mode = "0000600", .uid = "0000000", .gid = "0000000",
		.type = "0", .magic = "ustar", .version = "00",
		.major = "0000000", .minor = "0000000",
	};
	char octal[16];

	memcpy(h.name, m->name, strnlen(m->name, sizeof(h.name)));
	memcpy(h.prefix, m->prefix, strnlen(m->prefix, sizeof(h.prefix)));
	snprintf(h.size, sizeof(h.size), "%011" PRIo64, m->size);
	snprintf(h.mtime, sizeof(h.mtime), "%011" PRIo64, m->mtime);
	snprintf(octal, sizeof(octal), "%06o", sum_of(&h));
	memcpy(h.sum, octal, 7);
	h.sum[7] = ' ';
	memcpy(block, &h, sizeof(h));
}

static bool get_octal(const char *text, size_t digits, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < digits; i++) {
		if (text[i] < '0' || text[i] > '7')
			return false;
		*out = *out << 3 | (unsigned)(text[i] - '0');
	}
	return true;
}

bool tar_parse(struct tar_member *m, const uint8_t block[static TAR_BLOCK])
{
	uint8_t ours[TAR_BLOCK];
	struct header h;

	*m = (struct tar_member){ 0 };
	memcpy(&h, block, sizeof(h));
	memcpy(m->name, h.name, sizeof(h.name));
	memcpy(m->prefix, h.prefix, sizeof(h.prefix));
	if (!get_octal(h.size, 11, &m->size) ||
	    !get_octal(h.mtime, 11, &m->mtime))
		return false;
	tar_header(m, ours);
	return !memcmp(ours, block, TAR_BLOCK);
}
