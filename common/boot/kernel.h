/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel.h - puts a kernel, its initrd and its command line into the guest's
 * memory and says how the first vCPU enters it.
 *
 * Theory: the kind of a kernel is known by its content. An ELF file with a
 * PVH entry (vmlinux of Linux, but also BSD kernels and test guests) is loaded
 * by its program headers and entered in 32-bit mode with a start_info. A
 * bzImage is entered at its 64-bit entry with a zero page and unpacks itself.
 *
 * Kernel files are hostile until proven otherwise: each number in them is
 * checked against the file and the guest's memory before it is used. The
 * sentence names the file and what is wrong with it.
 *
 * The memory is that of the pv machine (layout.h), fresh: zero but for what
 * acpi_build() wrote.
 */
#ifndef BOOT_KERNEL_H
#define BOOT_KERNEL_H

#include "vmm/mem.h"
#include "vmm/vcpu.h"

struct boot_params {
	int kernel;			/* descriptors, borrowed */
	int initrd;			/* -1: none */
	const char *kernel_name;	/* for sentences: "kernel ./vmlinux" */
	const char *initrd_name;
	const char *cmdline;		/* "" for none */
	gpa_t rsdp;			/* acpi_build()'s */
};

/* 0 or -errno with a sentence: -E_CONFIG for what cannot be booted. */
int boot_load(const struct mem *m, const struct boot_params *p,
	      struct cpu_entry *entry);

#endif
