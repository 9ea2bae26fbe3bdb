/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * partition.h - where the partitions of a disk lie: GPT (UEFI 2.10, 5.3) or
 * the four of an MBR. Sectors of 512 bytes. Nobody vouches for the disk.
 *
 * Linux names a partition by PARTUUID=: of a GPT its unique GUID, of an MBR the
 * disk's signature and the number (Documentation/admin-guide, "root=").
 */
#ifndef IMAGE_PARTITION_H
#define IMAGE_PARTITION_H

#include "block/block.h"

enum { PARTITION_MAX = 128, UUID_TEXT = 37 };

struct partition {
	uint64_t off, len;	/* bytes, within the disk */
	int number;		/* vda1 is 1 */
	char uuid[UUID_TEXT];	/* what PARTUUID= has; "": it has none */
};

/*
 * The partitions of DISK, in the order of its table. How many, 0 when it has
 * no table; what does not lie within it is left out. -errno when reading
 * fails, with a sentence.
 */
int partition_list(struct block *disk,
		   struct partition out[static PARTITION_MAX]);

/*
 * A UUID (RFC 9562) as people write it, "" if it is all zeros; a GUID of a GPT
 * has its first three fields the other way round.
 */
void uuid_format(char out[static UUID_TEXT], const uint8_t uuid[static 16]);

#endif
