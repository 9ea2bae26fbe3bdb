/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rootfs.c - the input is a disk: partitions, super block, directories,
 * modules.
 */
#include "image/rootfs.h"

#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/file.h"
#include "image/initrd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclose int fd = memfd_create("disk", MFD_CLOEXEC);
	struct block *disk;
	struct rootfs r;
	char path[32];

	assert(write_all(fd, data, size) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (raw_open(&disk, path, true) < 0)
		return 0;
	if (rootfs_open(&r, disk) == 0) {
		autoclose int out = memfd_create("initrd", MFD_CLOEXEC);

		initrd_make(&r.view, "1", out);
		rootfs_close(&r);
	}
	block_close(disk);
	return 0;
}
