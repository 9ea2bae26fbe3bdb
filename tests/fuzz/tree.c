/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tree.c - the input is an archive: unpacked into an ext4 disk, which is then
 * opened and searched for a kernel as vm-image does; and a layer, which lies
 * over itself.
 */
#include "image/unpack_tree.h"

#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/file.h"
#include "image/rootfs.h"

enum { UNPACKED_MAX = 8 << 20, INODES_MAX = 1000 };

/*
 * libarchive asks for as much memory as a cpio says that a name is long, up to
 * 4 GiB, which it then does not touch: here it is refused.
 */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "max_allocation_size_mb=512:allocator_may_return_null=1";
}

static int unpack(int in, struct ext4 *x)
{
	int rc = unpack_tree(in, NULL, 0, UNPACKED_MAX, x);

	return rc < 0 ? rc : ext4_finish(x);
}

static int unpack_twice(int in, struct ext4 *x)
{
	int64_t rc = 0;

	for (int i = 0; i < 2 && rc >= 0; i++) {
		lseek(in, 0, SEEK_SET);
		rc = unpack_layer(in, UNPACKED_MAX, x);
		assert(rc <= UNPACKED_MAX);
	}
	return rc < 0 ? rc : ext4_finish(x);
}

static void check(int in, int (*how)(int in, struct ext4 *x))
{
	struct ext4_conf conf = { .size = ext4_size_min, .inodes = INODES_MAX };
	autoclose int out = memfd_create("disk", MFD_CLOEXEC);
	struct block *disk;
	struct rootfs r;
	struct ext4 x;
	char path[32];

	lseek(in, 0, SEEK_SET);
	assert(ext4_begin(&x, out, &conf) == 0);
	if (how(in, &x) == 0) {
		int rc;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", out);
		rc = raw_open(&disk, path, true);
		assert(rc == 0);
		rc = rootfs_open(&r, disk);
		assert(rc == 0);	/* what we made, we can read */
		rootfs_close(&r);
		block_close(disk);
	} else {
		assert(err_text()[0]);
	}
	ext4_release(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclose int in = memfd_create("archive", MFD_CLOEXEC);

	assert(write_all(in, data, size) == 0);
	check(in, unpack);
	check(in, unpack_twice);
	return 0;
}
