/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/partition.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"

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
	uint8_t code[446];
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

static int get(int fd, void *to, size_t n, uint64_t off)
{
	int rc = pread_all(fd, to, n, off);

	return rc < 0 ? fail(-rc, "partition table: %s", strerror(-rc)) : 0;
}

/* Adds COUNT sectors from FIRST, if there are such. */
static int add(struct partition *out, int n, uint64_t size, uint64_t first,
	       uint64_t count)
{
	if (!count || !in_range(first, count, size / SECTOR))
		return n;
	out[n] = (struct partition){ first * SECTOR, count * SECTOR };
	return n + 1;
}

static int list_gpt(int fd, uint64_t size, struct partition *out)
{
	static const uint8_t none[16];
	struct gpt_header h;
	struct gpt_entry e;
	uint64_t off, step;
	int n = 0, rc;

	if (size < 2 * SECTOR)
		return 0;
	rc = get(fd, &h, sizeof(h), SECTOR);
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
		rc = get(fd, &e, sizeof(e), off);
		if (rc < 0)
			return rc;
		if (memcmp(e.type, none, sizeof(none)) &&
		    get_le64(e.last) >= get_le64(e.first))
			n = add(out, n, size, get_le64(e.first),
				get_le64(e.last) - get_le64(e.first) + 1);
	}
	return n;
}

int partition_list(int fd, uint64_t size,
		   struct partition out[static PARTITION_MAX])
{
	struct mbr m;
	int n = 0, rc;

	if (size < sizeof(m))
		return 0;
	rc = get(fd, &m, sizeof(m), 0);
	if (rc < 0)
		return rc;
	if (m.magic[0] != 0x55 || m.magic[1] != 0xaa)
		return 0;
	for (int i = 0; i < MBR_PARTITIONS; i++) {
		struct mbr_entry e = m.entry[i];

		if (e.type == TYPE_GPT)
			return list_gpt(fd, size, out);
		if (e.type != TYPE_NONE)
			n = add(out, n, size, get_le32(e.first),
				get_le32(e.count));
	}
	return n;
}
