/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ext4_inode.h - one inode of an ext2, ext3 or ext4 file system as a whole:
 * what it is, its extended attributes, and where its data lies.
 *
 * Nobody vouches for the file system. A block belongs to one file only, so all
 * that is read of it together is no more than the file system has blocks:
 * ext4_source counts them.
 */
#ifndef IMAGE_EXT4_INODE_H
#define IMAGE_EXT4_INODE_H

#include "base/buf.h"
#include "image/ext4_io.h"
#include "image/tree.h"

struct ext4_source {
	struct ext4_io io;
	ext2_filsys fs;
	uint64_t left;		/* blocks that no file had yet */
};

/* Data of a file: LEN bytes at OFF, which lie at AT of the file system. */
struct ext4_run {
	uint64_t off, len, at;
};

struct ext4_inode {
	uint32_t number, links;
	struct attr attr;		/* the target is `target` */
	uint64_t size;			/* of a file or directory */
	struct ext4_run *runs;		/* rising; between them are zeros */
	size_t nruns;
	struct xattr *xattrs;		/* by name */
	struct buf target;
};

/*
 * Reads inode NUMBER, which something in a directory names. 0; -E_VERIFY
 * damaged, or blocks that another file has; -ENOTSUP encrypted, or data within
 * inodes; -errno, with a sentence. Release it in any case.
 */
int ext4_inode_read(struct ext4_source *s, uint32_t number,
		    struct ext4_inode *i);
void ext4_inode_release(struct ext4_inode *i);

/* Appends all its data to B; -E_CONFIG more than MAX bytes. */
int ext4_inode_data(const struct ext4_source *s, const struct ext4_inode *i,
		    struct buf *b, size_t max);

/*
 * Reads LEN bytes at OFF of RUN into DATA, which has room for whole blocks.
 */
int ext4_run_read(const struct ext4_source *s, const struct ext4_run *run,
		  uint64_t off, void *data, size_t len);

#endif
