/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/initrd_init.h"

/* INIT_PROGRAM is the file's path, from the Makefile. */
__asm__(".pushsection .rodata\n"
	".global initrd_init, initrd_init_end\n"
	"initrd_init: .incbin \"" INIT_PROGRAM "\"\n"
	"initrd_init_end:\n"
	".popsection\n");
