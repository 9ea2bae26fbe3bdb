/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ext4_walk.h - every file of an ext2, ext3 or ext4 file system, in order.
 *
 * A directory comes before what is in it, names in the order of their bytes, so
 * the same file system gives the same order. Sockets are passed over, which are
 * nothing without who listens; so is an empty lost+found, which every such file
 * system has. No journal is replayed: one that was not unmounted is refused.
 *
 * Nobody vouches for the file system: names with a slash, `..` out of its
 * place, a directory with two names (so a loop), and blocks of several files
 * are refused. Depth is bounded by the length of a path, memory by half a GiB.
 */
#ifndef IMAGE_EXT4_WALK_H
#define IMAGE_EXT4_WALK_H

#include "block/block.h"
#include "image/tree.h"

struct ext4_run;

struct ext4_entry {
	const char *path;		/* "./usr/bin/su"; the root is "./" */
	const char *link;		/* one more name of this: no data; or NULL */
	struct attr attr;
	uint64_t size;			/* of a regular file, otherwise 0 */
	const struct xattr *xattrs;	/* by name */
	const struct ext4_run *runs;	/* (ext4_inode.h) a regular file's */
	size_t nruns;
};

struct ext4_visitor {
	/* An entry; the next calls of data() are its. */
	int (*entry)(void *arg, const struct ext4_entry *e);
	/* Data in rising order; what is between is a hole. */
	int (*data)(void *arg, uint64_t off, const void *data, size_t len);
	void *arg;
};

/*
 * Walks the file system in the LEN bytes at OFF of B. 0; -ENOENT there is none,
 * -E_VERIFY damaged, -E_CONFIG not unmounted or too much, -ENOTSUP of a kind
 * not known here, -errno; or what V returned that is negative. The sentence
 * names the file.
 */
int ext4_walk(struct block *b, uint64_t off, uint64_t len,
	      const struct ext4_visitor *v);

#endif
