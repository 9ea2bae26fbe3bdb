/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2.h - QEMU's image format, versions 2 (read) and 3 (read and written).
 * Specification: docs/interop/qcow2.txt of QEMU.
 *
 * Theory. A virtual disk is cut into clusters (512 bytes to 2 MiB). Two levels
 * of tables, L1 (all of it in memory) and L2 (cached), say where each cluster
 * lies in the file: nowhere (the backing file's, or zeros), at an offset,
 * compressed, or zero. Refcounts, in two levels as well, say which clusters
 * of the file are used and how often.
 *
 * Order on disk, so that power loss leaks clusters at worst and never shares
 * one: a refcount is on disk before the L2 entry that points at its cluster;
 * what was copied into a cluster likewise; when freeing, the L2 entry goes
 * first. block_flush() writes what is cached in that order, with fdatasync()
 * between. With lazy refcounts the dirty bit stands for the refcounts
 * instead, and they are counted anew at the next open.
 *
 * The file is hostile: every table's size and place is checked at open, every
 * entry at every use (aligned, inside the file, not over metadata); what is
 * not so is -EIO for the guest and marks the image corrupt for writers.
 * Unknown incompatible features, an external data file, extended L2 entries
 * and encryption are refused; unknown autoclear bits are cleared by writers.
 *
 * Backing files are opened by the caller, who knows which they are (the VM's
 * record, never the image alone), and given to qcow2_open().
 *
 * Threads: any, as block.h says; one mutex guards the metadata, and data moves
 * outside it. A cluster that is freed is used again only when every extent
 * that block_map() gave out before has been given back, and after a flush.
 */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include "block/block.h"

/* What stands in the header, for those who list and link images. */
struct qcow2_info {
	unsigned version, cluster_bits;
	uint64_t size;			/* of the virtual disk, bytes */
	char *backing;			/* as written there, or NULL */
	char *backing_format;		/* or NULL */
	unsigned snapshots;		/* internal ones, of QEMU's tools */
	bool dirty, corrupt, lazy_refcounts;
};

/*
 * Reads the header of the image open as FD. 0; -E_CONFIG with a sentence: not
 * qcow2, or one we do not read; -E_VERIFY: damaged. qcow2_info_release()
 * frees, and is harmless after a failure.
 */
int qcow2_info(int fd, struct qcow2_info *info);
void qcow2_info_release(struct qcow2_info *info);

/*
 * 0 if it names no backing file, which could be any file of the host; else
 * -E_CONFIG with a sentence that says what to do.
 */
int qcow2_alone(const struct qcow2_info *info);

/*
 * Opens PATH, locked as raw_open() does (readonly: for many readers). BACKING,
 * which may be NULL when the image names none, is taken on success, and closed
 * with it; a shorter one reads as zeros behind its end. An image that was not
 * closed cleanly is repaired first by a writer. 0, or with a sentence:
 * -E_BUSY, -E_CONFIG, -E_VERIFY, -errno.
 */
int qcow2_open(struct block **out, const char *path, bool readonly,
	       struct block *backing);

/*
 * The same with NAME in DIRFD, which is no symbolic link, for USE (lock.h). A
 * merger may write beside others who read (merge.h): what he no longer needs
 * is given back when it is closed, if nobody else has the file open then, and
 * stays counted as used otherwise.
 */
int qcow2_open_at(struct block **out, int dirfd, const char *name,
		  enum lock_use use, struct block *backing);

/* -- layers (qcow2_layer.c) -- */

/* Whether B is an open qcow2 image. The calls below are for such alone. */
bool qcow2_is(const struct block *b);

/* What shows through, still B's; or NULL. */
struct block *qcow2_below(const struct block *b);

/*
 * BACKING shows through from here on, and is taken; what did until now is
 * closed. The disk must show the same as before. Nobody is in B. In memory
 * only: see qcow2_rebase(). BACKING may be NULL. 0, or -E_CONFIG with a
 * sentence: its blocks are too large; then nothing has changed.
 */
int qcow2_set_backing(struct block *b, struct block *backing);

/*
 * The header of the image open as FD, to be read and written, names BACKING
 * and its FORMAT from here on, or (both NULL) none. That is one write of 512
 * bytes and a sync: after a loss it names the old or the new. The disk must
 * show the same with either. The file is locked as by a merger meanwhile and
 * as long as FD is open. Names of features, which QEMU writes for the sake of
 * messages, are left out. 0, or with a sentence: -E_BUSY; -E_CONFIG it does
 * not fit (names up to 350 bytes always do), or the header has more that has
 * to stay; -errno.
 */
int qcow2_rebase(int fd, const char *backing, const char *format);

/*
 * The same of an image that is open, to be written: nobody is in B, whose lock
 * stays as it is.
 */
int qcow2_rename_backing(struct block *b, const char *backing,
			 const char *format);

/*
 * Whether the image has something of its own at OFF, data or zeros (1), or shows
 * what is below (0); of *N bytes, LEN at most, that holds. Or -errno.
 */
int qcow2_allocated(struct block *b, uint64_t off, uint64_t len, uint64_t *n);

/*
 * Writes zeros, as block_zero() does, also where nothing shows through that
 * would have to be hidden: whole clusters, or up to the disk's end.
 */
int qcow2_hide(struct block *b, uint64_t off, uint64_t len);

/*
 * Makes the file NAME (which must not be there) in directory DIRFD: an empty
 * image of SIZE bytes, or one that shows BACKING (a path written into its
 * header as it is, with BACKING_FORMAT) where it has nothing of its own.
 * 0 or -errno with a sentence; then the file is not there. Durable only after
 * the caller synced file and directory.
 */
struct qcow2_create {
	uint64_t size;			/* bytes, a multiple of 512 */
	unsigned cluster_bits;		/* 0: 16 */
	bool lazy_refcounts;
	const char *backing, *backing_format;	/* NULL: none */
};
int qcow2_create(int dirfd, const char *name, const struct qcow2_create *c);

/*
 * Counts all references of the image open as FD, whose size is read from its
 * header. Errors (a cluster used twice, an entry that points nowhere) and
 * leaks (a refcount too high) are counted; with REPAIR leaks are mended.
 * 0 when it could be read, else negative with a sentence.
 */
struct qcow2_check { uint64_t errors, leaks, allocated; };
int qcow2_check(int fd, bool repair, struct qcow2_check *result);

#endif
