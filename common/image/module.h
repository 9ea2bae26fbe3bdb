/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * module.h - what a kernel's modules say of themselves: the lists beside them
 * (modules.5 of kmod; Documentation/kbuild/kbuild.rst) and the section
 * .modinfo in each. Nobody vouches for either.
 */
#ifndef IMAGE_MODULE_H
#define IMAGE_MODULE_H

#include "base/buf.h"

enum { MODULE_NAME = 64, MODULE_PATH = 256 };	/* with their NUL */

/*
 * The path of the module NAME in LIST, the text of modules.order, modules.dep
 * or modules.builtin; `-` and `_` are the same. Whether it is there.
 */
bool module_find(const char *list, const char *name,
		 char path[static MODULE_PATH]);

/*
 * Appends the first value of KEY in the .modinfo of a module, an ELF-64 file
 * (LEN bytes); nothing if it has none. 0 or -E_VERIFY with a sentence.
 */
int module_info(const void *elf, size_t len, const char *key, struct buf *out);

#endif
