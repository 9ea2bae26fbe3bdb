/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dump.h - a command's tables for programs: what --dump-options prints.
 *
 * Fields are separated by tabs, "-" where there is none. COMPLETE is one of
 * none, file, vm, dir, words, key, column.
 *
 *	command NAME OPERANDS COMPLETE SUMMARY
 *	option -B --NAME META COMPLETE HELP
 *	common ...			the same, of those all commands have
 *	column NAME HELP
 *	key NAME META HELP		config keys, where COMPLETE key occurs
 *
 * The completions are made from this, and the manual is compared with it.
 */
#ifndef CLI_DUMP_H
#define CLI_DUMP_H

#include "cli/opt.h"

void dump_command(const struct command *c, struct buf *out);

#endif
