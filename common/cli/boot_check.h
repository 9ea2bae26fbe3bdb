/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * boot_check.h - whether a snapshot boots: a clone of its disks, which is
 * thrown away, is started and must come to a condition.
 */
#ifndef CLI_BOOT_CHECK_H
#define CLI_BOOT_CHECK_H

/*
 * LABEL is "VM@SNAP", COND what vm-wait has behind --for, SECONDS a duration
 * as it has behind -t. 0; -E_VERIFY: it ends, crashes, or cannot be booted;
 * -E_TIMEOUT; -E_HOST, -E_PERM: nothing can be booted here; -E_USAGE: no such
 * condition; -EINTR; each with a sentence. The clone is gone by then.
 */
int boot_check(const char *label, const char *cond, const char *seconds);

#endif
