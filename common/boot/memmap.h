/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memmap.h - the pv machine's physical memory as a kernel is told it: one
 * list, for PVH's memory map and for the zero page's e820.
 */
#ifndef BOOT_MEMMAP_H
#define BOOT_MEMMAP_H

#include "vmm/mem.h"

enum { MEMMAP_MAX = 8 };

/* The numbers of ACPI 6.5, table 15.4; PVH uses the same. */
enum memmap_type { MEMMAP_RAM = 1, MEMMAP_RESERVED = 2 };

struct memmap_entry {
	gpa_t base;
	uint64_t size;
	enum memmap_type type;
};

/* Ascending; what is not listed is a hole. The number of entries. */
int memmap_fill(const struct mem *m, struct memmap_entry map[MEMMAP_MAX]);

#endif
