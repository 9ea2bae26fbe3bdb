/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/partition.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

enum {
	SECTOR = 512,
	MBR_PARTITIONS = 4,
	TYPE_NONE = 0,
	TYPE_GPT = 0xee,	/* covers the disk, for those who know no GPT */
	ENTRY_MAX = 4096,
};

struct mbr_entry {
	uint8_t boot, chs_first[3], type, chs_last[3];
	le32 first, count;
};
static_assert(sizeof(struct mbr_entry) == 16, "mbr_entry");

struct mbr {
	uint8_t code[440];
	le32 signature;
	le16 reserved;
	struct mbr_entry entry[MBR_PARTITIONS];
	uint8_t magic[2];
} __attribute__((packed));
static_assert(sizeof(struct mbr) == SECTOR, "mbr");

struct gpt_header {
	char magic[8];
	le32 revision, size, crc, reserved;
	le64 self, other, first_usable, last_usable;
	uint8_t guid[16];
	le64 entries;		/* the sector they begin at */
	le32 count, entry_bytes, entries_crc;
} __attribute__((packed));
static_assert(sizeof(struct gpt_header) == 92, "gpt_header");

struct gpt_entry {
	uint8_t type[16], guid[16];
	le64 first, last;
};
static_assert(sizeof(struct gpt_entry) == 48, "gpt_entry");

void uuid_format(char out[static UUID_TEXT], const uint8_t uuid[static 16])
{
	char *p = out;

	*out = '\0';
	if (is_zero(uuid, 16))
		return;
	for (int i = 0; i < 16; i++)
		p += snprintf(p, out + UUID_TEXT - p, "%s%02x",
			      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			      uuid[i]);
}

/* A GUID (UEFI 2.10, appendix A): little-endian in its first three fields. */
static void guid_format(char out[static UUID_TEXT], const uint8_t g[static 16])
{
	const uint8_t uuid[16] = {
		g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9],
		g[10], g[11], g[12], g[13], g[14], g[15],
	};

	uuid_format(out, uuid);
}

static int get(struct block *disk, void *to, size_t n, uint64_t off)
{
	int rc = block_read(disk, to, n, off);

	return rc < 0 ? fail(-rc, "partition table: %s", strerror(-rc)) : 0;
}

/* Adds COUNT sectors from FIRST, if there are such; whether it did. */
static bool add(struct partition *out, uint64_t size, int number,
		uint64_t first, uint64_t count)
{
	if (!count || !in_range(first, count, size / SECTOR))
		return false;
	*out = (struct partition){ .off = first * SECTOR,
				   .len = count * SECTOR, .number = number };
	return true;
}

static int list_gpt(struct block *disk, struct partition *out)
{
	uint64_t size = disk->size, off, step;
	struct gpt_header h;
	struct gpt_entry e;
	int n = 0, rc;

	if (size < 2 * SECTOR)
		return 0;
	rc = get(disk, &h, sizeof(h), SECTOR);
	if (rc < 0)
		return rc;
	step = get_le32(h.entry_bytes);
	if (memcmp(h.magic, "EFI PART", sizeof(h.magic)) ||
	    step < sizeof(e) || step > ENTRY_MAX ||
	    get_le64(h.entries) > size / SECTOR)
		return 0;
	off = get_le64(h.entries) * SECTOR;
	for (uint32_t i = 0; i < get_le32(h.count) && i < PARTITION_MAX;
	     i++, off += step) {
		if (!in_range(off, sizeof(e), size))
			break;
		rc = get(disk, &e, sizeof(e), off);
		if (rc < 0)
			return rc;
		if (is_zero(e.type, sizeof(e.type)) ||
		    get_le64(e.last) < get_le64(e.first))
			continue;
		if (add(&out[n], size, i + 1, get_le64(e.first),
			get_le64(e.last) - get_le64(e.first) + 1))
			guid_format(out[n++].uuid, e.guid);
	}
	return n;
}

int partition_list(struct block *disk,
		   struct partition out[static PARTITION_MAX])
{
	uint32_t signature;
	struct mbr m;
	int n = 0, rc;

	if (disk->size < sizeof(m))
		return 0;
	rc = get(disk, &m, sizeof(m), 0);
	if (rc < 0)
		return rc;
	if (m.magic[0] != 0x55 || m.magic[1] != 0xaa)
		return 0;
	signature = get_le32(m.signature);
	for (int i = 0; i < MBR_PARTITIONS; i++) {
		struct mbr_entry e = m.entry[i];

		if (e.type == TYPE_GPT)
			return list_gpt(disk, out);
		if (e.type == TYPE_NONE ||
		    !add(&out[n], disk->size, i + 1, get_le32(e.first),
			 get_le32(e.count)))
			continue;
		if (signature)
			snprintf(out[n].uuid, sizeof(out[n].uuid), "%08x-%02x",
				 signature, i + 1);
		n++;
	}
	return n;
}
