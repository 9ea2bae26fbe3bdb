/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vector.h - one more door of reset: a PC's reset vector, ffff:0000.
 *
 * The pv machine has no firmware, but software that wants to start a PC anew
 * may still go to real mode and jump to where firmware would be: Linux does,
 * since on hardware-reduced ACPI it counts on EFI, and without goes on to
 * reboot=bios, never trying the ACPI reset register. There it finds the few instructions that write the reset port. The memory
 * is reserved in every memory map we hand out (layout.h).
 */
#ifndef BOOT_VECTOR_H
#define BOOT_VECTOR_H

#include "vmm/mem.h"

/* 0 or -E_CONFIG with a sentence: too little memory. */
int vector_build(const struct mem *m);

#endif
