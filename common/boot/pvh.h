/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pvh.h - what a kernel entered the PVH way is handed: struct hvm_start_info
 * of version 1, its list of modules and its memory map (Xen,
 * public/arch-x86/hvm/start_info.h), at PV_START_INFO.
 */
#ifndef BOOT_PVH_H
#define BOOT_PVH_H

#include "vmm/mem.h"
#include "vmm/vcpu.h"

struct pvh_params {
	uint32_t entry;		/* elf.h's */
	gpa_t cmdline;
	gpa_t initrd;
	uint64_t initrd_bytes;	/* 0: none */
	gpa_t rsdp;
};

/* Writes it; how to enter. 0 or -EFAULT. */
int pvh_prepare(const struct mem *m, const struct pvh_params *p,
		struct cpu_entry *entry);

#endif
