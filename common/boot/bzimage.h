/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bzimage.h - loads a Linux bzImage for its 64-bit entry, and writes the zero
 * page that it is handed (Linux, Documentation/arch/x86/boot.rst and
 * zero-page.rst). The image unpacks itself in the guest.
 */
#ifndef BOOT_BZIMAGE_H
#define BOOT_BZIMAGE_H

#include "vmm/mem.h"
#include "vmm/vcpu.h"

enum { BZIMAGE_SETUP_MAX = 0x290 - 0x1f1 };

struct bzimage {
	uint8_t setup[BZIMAGE_SETUP_MAX];	/* the header, from 0x1f1 on */
	gpa_t load;		/* where the code is */
	gpa_t end;		/* behind what it needs to unpack itself */
	gpa_t initrd_max;	/* the last byte an initrd may occupy */
	uint32_t cmdline_max;	/* bytes, without the NUL */
};

/* What the zero page tells. */
struct bzimage_params {
	gpa_t cmdline;
	gpa_t initrd;
	uint64_t initrd_bytes;
	gpa_t rsdp;
};

/* Whether FD is a bzImage (of any age). */
bool bzimage_is(int fd, uint64_t file_bytes);

/*
 * Loads FD, of FILE_BYTES. 0 or -errno with a sentence that begins with NAME
 * (-E_CONFIG: the file cannot be booted); then M may hold parts of it.
 */
int bzimage_load(const struct mem *m, int fd, uint64_t file_bytes,
		 const char *name, struct bzimage *out);

/* Zero page, page tables, GDT; how to enter. 0 or -EFAULT. */
int bzimage_prepare(const struct mem *m, const struct bzimage *b,
		    const struct bzimage_params *p, struct cpu_entry *entry);

#endif
