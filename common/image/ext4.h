/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ext4.h - makes an ext4 file system in a file: no root, no mount.
 *
 *	rc = ext4_begin(&x, fd, &conf);
 *	rc = ext4_add(&x, "etc/passwd", &attr);	a regular file: then its data
 *	rc = ext4_data(&x, 0, data, len);
 *	rc = ext4_link(&x, "etc/passwd-", "etc/passwd");
 *	...
 *	rc = ext4_finish(&x);
 *	ext4_release(&x);
 *
 * Data goes to its place on the disk as it comes; where libext2fs will want
 * room for itself, at the start of block groups, is left free. All else (the
 * names and inodes: tree.h, which has the rules for paths) stays in memory, so
 * the size of the disk can be chosen when all is known, and ext4_finish() has
 * libext2fs write it in one go. Nothing is ever mounted or read back.
 *
 * The features are those of mke2fs -t ext4, the blocks of 4 KiB. The file is
 * sparse: what was not used, and runs of zeros in data, take no room; nor does,
 * in the end, the data of files that were replaced or taken away. Its place is
 * free for the guest, but not used again here, so it makes the disk larger.
 *
 * Entries may come from anyone: whatever they are, ext4_finish() makes a file
 * system that e2fsck finds clean, or it fails.
 */
#ifndef IMAGE_EXT4_H
#define IMAGE_EXT4_H

#include "image/tree.h"

enum { EXT4_LABEL_MAX = 16 };
static const uint64_t ext4_size_min = 64 << 20, ext4_size_max = 1ull << 40;

struct ext4_conf {
	/*
	 * Bytes of the disk, rounded down to 4 KiB. 0: what it will hold, a
	 * quarter of that and 256 MiB more, at least 1 GiB.
	 */
	uint64_t size;
	size_t inodes;		/* the most there may be; they cost memory */
	const char *label;	/* "" or NULL: none */
};

struct ext4 {
	int fd;			/* borrowed */
	uint64_t blocks;	/* of the disk, or the most it may have */
	bool grows;		/* the size is chosen at the end */
	char label[EXT4_LABEL_MAX + 1];
	struct tree tree;
	struct inode *at;	/* what was added last */
	bool linked;		/* as one more name of what was there */
	uint64_t next;		/* where data goes on, in blocks */
	uint8_t *buf;		/* data of `at` not yet written ... */
	uint64_t buf_off;	/* ... from here in the file, whole blocks */
	size_t buf_len;
};

/*
 * FD is a regular file, open for reading and writing; what it held is lost.
 * 0, -E_USAGE (a size or label that cannot be), -ENOMEM or -errno. X needs
 * ext4_release() in any case, and FD may be anything after a failure.
 */
int ext4_begin(struct ext4 *x, int fd, const struct ext4_conf *conf);

/* As tree_add() and tree_link(); ext4_data() is then of this. */
int ext4_add(struct ext4 *x, const char *path, const struct attr *a);
int ext4_link(struct ext4 *x, const char *path, const char *to);

/* As tree_layer() and tree_whiteout(). */
int ext4_layer(struct ext4 *x);
int ext4_whiteout(struct ext4 *x, const char *path, bool all);

/*
 * An extended attribute of what was added last, as getxattr() gives it; one
 * of a name that ext4 does not have is passed over. -E_CONFIG when together
 * they are more than ext4 has room for, -E_VERIFY an ACL that is none.
 */
int ext4_xattr(struct ext4 *x, const char *name, const void *value, size_t len);

/*
 * Data of the regular file added last, in order; between is a hole. After
 * ext4_link() it takes the place of what the file had. -E_CONFIG when the disk
 * is full or the file too large, -E_VERIFY out of order.
 */
int ext4_data(struct ext4 *x, uint64_t off, const void *data, size_t len);

/* Drops what was written to it, or goes on to SIZE with a hole. */
int ext4_truncate(struct ext4 *x, uint64_t size);

/*
 * Writes the file system; not made durable. 0, -E_CONFIG when the size is too
 * small for it all, -E_VERIFY, -errno.
 */
int ext4_finish(struct ext4 *x);

/* Frees the memory. Harmless on a zeroed X. */
void ext4_release(struct ext4 *x);

#endif
