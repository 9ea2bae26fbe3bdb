/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/pvh.h"

#include <assert.h>

#include "boot/layout.h"
#include "boot/memmap.h"

enum { MAGIC = 0x336ec578, VERSION_MEMMAP = 1 };

struct start_info {
	le32 magic, version, flags, nr_modules;
	le64 modlist, cmdline, rsdp, memmap;
	le32 memmap_entries, reserved;
};
static_assert(sizeof(struct start_info) == 56, "start_info.h");

struct start_module {
	le64 addr, size, cmdline, reserved;
};
static_assert(sizeof(struct start_module) == 32, "start_info.h");

struct start_memmap {
	le64 addr, size;
	le32 type, reserved;
};
static_assert(sizeof(struct start_memmap) == 24, "start_info.h");

/* All of it, as it lies at PV_START_INFO. */
struct start_block {
	struct start_info info;
	struct start_module initrd;
	struct start_memmap map[MEMMAP_MAX];
};
static_assert(sizeof(struct start_block) <= PV_ZERO_PAGE - PV_START_INFO,
	      "it does not reach what lies behind");

int pvh_prepare(const struct mem *m, const struct pvh_params *p,
		struct cpu_entry *entry)
{
	struct memmap_entry map[MEMMAP_MAX];
	int n = memmap_fill(m, map);
	struct start_block b = {
		.info = {
			.magic = to_le32(MAGIC),
			.version = to_le32(VERSION_MEMMAP),
			.nr_modules = to_le32(p->initrd_bytes ? 1 : 0),
			.modlist = to_le64(PV_START_INFO +
				offsetof(struct start_block, initrd)),
			.cmdline = to_le64(p->cmdline),
			.rsdp = to_le64(p->rsdp),
			.memmap = to_le64(PV_START_INFO +
				offsetof(struct start_block, map)),
			.memmap_entries = to_le32(n),
		},
		.initrd = {
			.addr = to_le64(p->initrd),
			.size = to_le64(p->initrd_bytes),
		},
	};

	for (int i = 0; i < n; i++)
		b.map[i] = (struct start_memmap){
			.addr = to_le64(map[i].base),
			.size = to_le64(map[i].size),
			.type = to_le32(map[i].type),
		};
	*entry = (struct cpu_entry){
		.mode = ENTRY_PVH, .rip = p->entry, .rbx = PV_START_INFO,
	};
	return mem_write(m, PV_START_INFO, &b, sizeof(b));
}
