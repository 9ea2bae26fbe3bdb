/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/disk.h"

#include <stdio.h>

#include "block/qcow2.h"

int disk_open_image(struct block **out, int dir, enum disk_format format)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/disk", dir);
	return format == FORMAT_RAW ? raw_open(out, path, true) :
	       qcow2_open(out, path, true, NULL);
}

int disk_open_fd(struct block **out, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return raw_open(out, path, true);
}
