/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * elf.h - loads a 64-bit x86 ELF kernel that has a PVH entry: the note of
 * owner "Xen" and type 18, XEN_ELFNOTE_PHYS32_ENTRY, whose content is the
 * 32-bit physical address to start at (Xen, docs/misc/pvh.pandoc). Segments go
 * where their physical addresses say, which must be RAM from 1 MiB on and
 * below 4 GiB.
 */
#ifndef BOOT_ELF_H
#define BOOT_ELF_H

#include "vmm/mem.h"

struct elf_kernel {
	uint32_t entry;
	gpa_t end;	/* first byte behind all segments */
};

/* Whether a file that begins with the LEN bytes of HEAD is ELF at all. */
bool elf_is(const void *head, size_t len);

/*
 * Loads FD, of FILE_BYTES. 0 or -errno with a sentence that begins with NAME
 * (-E_CONFIG: the file cannot be booted); then M may hold parts of it.
 */
int elf_load(const struct mem *m, int fd, uint64_t file_bytes,
	     const char *name, struct elf_kernel *out);

#endif
