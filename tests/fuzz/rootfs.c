/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rootfs.c - the input is a disk: partitions, super block, directories.
 */
#include "image/rootfs.h"

#include <assert.h>
#include <sys/mman.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclose int fd = memfd_create("disk", MFD_CLOEXEC);
	struct rootfs r;

	assert(write_all(fd, data, size) == 0);
	if (rootfs_open(&r, fd) == 0)
		rootfs_close(&r);
	return 0;
}
