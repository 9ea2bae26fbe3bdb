/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * check.h - whether the files a config names are what they must be: before a
 * VM is made, when its config changes, and before it starts.
 */
#ifndef IMAGE_CHECK_H
#define IMAGE_CHECK_H

#include "state/store.h"
#include "state/vmconf.h"

/*
 * The kernel is one that can be started, the initrd a regular file that can
 * be read, each disk a regular file or a block device, not empty. Relative
 * paths are in the VM's directory DIR; with DIR -1 it does not exist yet and
 * they are passed over. ST keeps the unpacked kernel; with NULL it is only
 * looked at. 0; -E_CONFIG "kernel /x: ..." or -errno.
 */
int check_files(const struct store *st, int dir, const struct vmconf *vc);

#endif
