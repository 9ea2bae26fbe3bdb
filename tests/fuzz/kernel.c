/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a kernel file, whose payload must lie in it, and as such a
 * payload, which is unpacked within bounds or refused.
 */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "image/kernel.h"
#include "image/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { UNPACKED_MAX = 1 << 16 };

static void check_header(const uint8_t *data, size_t size)
{
	size_t n = min_u64(size, KERNEL_HEAD);
	struct kernel_payload p;
	int form = kernel_parse(data, n, size, &p);

	assert(form < 0 || form == KERNEL_NONE || form == KERNEL_ELF ||
	       form == KERNEL_BZIMAGE);
	if (form == KERNEL_BZIMAGE)
		assert(in_range(p.off, p.len, size));
}

static void check_unpack(const uint8_t *data, size_t size)
{
	autoclose int in = memfd_create("in", 0);
	autoclose int out = memfd_create("out", 0);
	int64_t n;

	if (write_all(in, data, size) < 0)
		return;
	n = unpack_range(in, 0, size, out, UNPACKED_MAX);
	assert(n <= UNPACKED_MAX);
	assert(lseek(out, 0, SEEK_END) <= UNPACKED_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_header(data, size);
	check_unpack(data, size);
	return 0;
}
