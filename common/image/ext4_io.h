/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ext4_io.h - libext2fs on a disk (block.h) rather than a file.
 *
 * Nothing is cached below what libext2fs caches itself. Its blocks, 1 KiB at
 * least, must be multiples of the disk's.
 */
#ifndef IMAGE_EXT4_IO_H
#define IMAGE_EXT4_IO_H

#include <ext2fs/ext2fs.h>

#include "block/block.h"

struct ext4_io {
	struct block *b;	/* borrowed */
	uint64_t off, len;	/* the file system's part of it, bytes */
};

/*
 * Opens the file system in IO, whose disk stays open until ext2fs_free() of
 * *FS. Its super block says that it lies within IO. 0; -ENOENT there is
 * none, -E_VERIFY damaged, -ENOTSUP of a kind libext2fs does not know, -errno,
 * with a sentence.
 */
int ext4_io_open(const struct ext4_io *io, bool write, ext2_filsys *fs);

/* LEN bytes at OFF of the file system; 0 or -errno without a sentence. */
int ext4_io_read(const struct ext4_io *io, uint64_t off, void *data,
		 size_t len);

/* What a call of libext2fs returned: 0, or as above, with a sentence. */
int ext4_failed(errcode_t rc);

#endif
