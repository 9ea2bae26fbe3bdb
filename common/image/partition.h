/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * partition.h - where the partitions of a disk lie: GPT (UEFI 2.10, 5.3) or
 * the four of an MBR. Sectors of 512 bytes. Nobody vouches for the disk.
 */
#ifndef IMAGE_PARTITION_H
#define IMAGE_PARTITION_H

#include "base/types.h"

enum { PARTITION_MAX = 128 };

struct partition {
	uint64_t off, len;	/* bytes, within the disk */
};

/*
 * The partitions of FD, a disk of SIZE bytes, in the order of its table. How
 * many, 0 when it has no table; what does not lie within it is left out.
 * -errno when reading fails, with a sentence.
 */
int partition_list(int fd, uint64_t size,
		   struct partition out[static PARTITION_MAX]);

#endif
