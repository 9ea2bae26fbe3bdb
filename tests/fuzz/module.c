/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * module.c - the input is a list of modules, a module, and the head of a
 * kernel.
 */
#include "image/module.h"

#include <assert.h>
#include <sys/mman.h>

#include "base/file.h"
#include "image/kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_version(const uint8_t *data, size_t size)
{
	autoclose int fd = memfd_create("kernel", MFD_CLOEXEC);
	char version[KERNEL_VERSION];

	assert(write_all(fd, data, size) == 0);
	if (kernel_version(fd, version) == 0)
		assert(*version && *version != '.' && !strchr(version, '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autobuf struct buf text = BUF_INIT, out = BUF_INIT;
	char path[MODULE_PATH];

	buf_add(&text, data, size);
	if (module_find(text.data, "virtio_blk", path))
		assert(strlen(path) >= strlen("virtio_blk.ko"));
	module_info(data, size, "depends", &out);
	assert(out.len <= size);
	read_version(data, size);
	return 0;
}
