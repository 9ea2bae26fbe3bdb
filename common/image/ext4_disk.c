/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/ext4_disk.h"

#include <assert.h>
#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <ext2fs/ext3_extents.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/err.h"
#include "image/ext4_ours.h"

enum {
	BLOCK_LOG = 12 - EXT2_MIN_BLOCK_LOG_SIZE,
	FLEX_LOG = 4,
	RESERVED_PERCENT = 5,
	FIRST_INODE = EXT2_GOOD_OLD_FIRST_INO,
	EXTRA_ISIZE = sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE,
	INLINE_EXTENTS = 4,		/* what an inode itself has room for */
	FAST_LINK = EXT2_N_BLOCKS * 4,	/* shorter ones lie in the inode */
	DIR_LINKS_MAX = 65000,		/* more are told as 1 (dir_nlink) */
	DIR_TAIL = sizeof(struct ext2_dir_entry_tail),
	DIR_ENTRY = 8,			/* before the name */
};
static_assert(1 << FLEX_LOG == EXT4_FLEX_GROUPS, "flex_bg");
static_assert(EXT2_MIN_BLOCK_SIZE << BLOCK_LOG == EXT4_BLOCK, "block size");

/* The file system on its way to the disk. */
struct maker {
	ext2_filsys fs;
	struct tree *tree;
	blk64_t goal;		/* where the search for a free block begins */
};

static int failed(errcode_t rc)
{
	switch (rc) {
	case 0:
		return 0;
	case EXT2_ET_BLOCK_ALLOC_FAIL:
	case EXT2_ET_INODE_ALLOC_FAIL:
	case EXT2_ET_TOOSMALL:
	case EXT2_ET_TOO_MANY_INODES:
		return fail(E_CONFIG, "does not fit into the disk");
	case EXT2_ET_SHORT_WRITE:	/* of a file: then the host is full */
		return fail(ENOSPC, "%s", strerror(ENOSPC));
	case EXT2_ET_NO_MEMORY:
		return fail(ENOMEM, "out of memory");
	}
	if (rc > 0 && rc < EXT2_ET_BASE)
		return fail(rc, "%s", strerror(rc));
	initialize_ext2_error_table();
	return fail(EIO, "libext2fs: %s", error_message(rc));
}

/* -- the file system without files -- */

/* Numbers every inode that has a name; the highest. */
static uint32_t number_inodes(struct tree *t)
{
	uint32_t n = FIRST_INODE - 1;

	for (struct inode *i = t->root; i; i = i->next)
		if (i->nlink && i != t->root)
			i->number = ++n;
	t->root->number = EXT2_ROOT_INO;
	return n;
}

static void set_params(struct ext2_super_block *s, uint64_t blocks,
		       uint32_t inodes)
{
	uint64_t groups = (blocks + EXT4_GROUP_BLOCKS - 1) / EXT4_GROUP_BLOCKS;
	uint64_t bytes = groups * EXT4_DESC_BYTES;

	*s = (struct ext2_super_block){
		.s_rev_level = EXT2_DYNAMIC_REV,
		.s_log_block_size = BLOCK_LOG,
		.s_log_cluster_size = BLOCK_LOG,
		.s_inode_size = EXT4_INODE_BYTES,
		.s_log_groups_per_flex = FLEX_LOG,
		.s_desc_size = EXT4_DESC_BYTES,
		.s_max_mnt_count = -1,
		.s_errors = EXT2_ERRORS_CONTINUE,
		.s_reserved_gdt_blocks = EXT4_DESC_BLOCKS -
			(bytes + EXT4_BLOCK - 1) / EXT4_BLOCK,
		/* some more than there are, and the usual number */
		.s_inodes_count = max_u64(inodes + inodes / 8 + 1024,
			blocks / (EXT4_BYTES_PER_INODE / EXT4_BLOCK)),
		.s_feature_compat = EXT4_OUR_COMPAT,
		.s_feature_incompat = EXT4_OUR_INCOMPAT,
		.s_feature_ro_compat = EXT4_OUR_RO_COMPAT,
	};
	ext2fs_blocks_count_set(s, blocks);
	ext2fs_r_blocks_count_set(s, blocks / 100 * RESERVED_PERCENT);
}

/* What ext2fs_initialize() does not take from the parameters. */
static int set_identity(ext2_filsys fs, const char *label)
{
	struct ext2_super_block *s = fs->super;

	if (getrandom(s->s_uuid, sizeof(s->s_uuid), 0) < 0 ||
	    getrandom(s->s_hash_seed, sizeof(s->s_hash_seed), 0) < 0)
		return fail_sys("getrandom");
	s->s_uuid[6] = (s->s_uuid[6] & 0x0f) | 0x40;	/* RFC 9562, 5.4 */
	s->s_uuid[8] = (s->s_uuid[8] & 0x3f) | 0x80;
	s->s_def_hash_version = EXT2_HASH_HALF_MD4;
	s->s_checksum_type = EXT2_CRC32C_CHKSUM;
	s->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
	memcpy(s->s_volume_name, label, strlen(label));
	ext2fs_init_csum_seed(fs);
	return 0;
}

/*
 * Takes the blocks of data out of what is free. They lie where libext2fs has
 * nothing yet, unless it made the disk smaller than it was told.
 */
static int keep_data(struct maker *m)
{
	ext2_filsys fs = m->fs;

	for (struct inode *i = m->tree->root; i; i = i->next) {
		if (!i->nlink)
			continue;
		for (size_t k = 0; k < i->nextents; k++) {
			struct extent *e = &i->extents[k];

			if (!in_range(e->physical, e->blocks,
				      ext2fs_blocks_count(fs->super)))
				return failed(EXT2_ET_BLOCK_ALLOC_FAIL);
			if (!ext2fs_test_block_bitmap_range2(fs->block_map,
					e->physical, e->blocks))
				return fail(EIO, "libext2fs: lays out disks "
					    "in a way not expected");
			ext2fs_block_alloc_stats_range(fs, e->physical,
						       e->blocks, +1);
		}
	}
	return 0;
}

/* Bitmaps, inode tables, and the inodes that are ext4's own. */
static errcode_t make_tables(struct maker *m)
{
	ext2_filsys fs = m->fs;
	errcode_t rc = ext2fs_allocate_tables(fs);

	if (rc)
		return rc;
	/* the file is new: the tables are zeros already */
	for (dgrp_t g = 0; g < fs->group_desc_count; g++) {
		ext2fs_bg_flags_set(fs, g, EXT2_BG_INODE_ZEROED);
		ext2fs_group_desc_csum_set(fs, g);
	}
	for (ext2_ino_t i = EXT2_BAD_INO; i < FIRST_INODE; i++)
		ext2fs_inode_alloc_stats2(fs, i, +1, i == EXT2_ROOT_INO);
	rc = ext2fs_update_bb_inode(fs, NULL);
	return rc ? rc : ext2fs_create_resize_inode(fs);
}

static errcode_t make_journal(struct maker *m)
{
	struct ext2fs_journal_params params;
	errcode_t rc = ext2fs_get_journal_params(&params, m->fs);

	return rc ? rc : ext2fs_add_journal_inode3(m->fs, &params, ~0ull,
			EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK);
}

/* -- directories and links -- */

/* Takes a free block and makes it the file's next one. */
static int add_block(struct maker *m, struct inode *i, blk64_t *block)
{
	errcode_t rc = ext2fs_new_block2(m->fs, m->goal, NULL, block);

	if (rc)
		return failed(rc);
	ext2fs_block_alloc_stats2(m->fs, *block, +1);
	m->goal = *block + 1;
	i->size += EXT4_BLOCK;
	return inode_extent(i, i->size / EXT4_BLOCK - 1, *block, 1);
}

/* A block of a directory while it is filled. */
struct dir_block {
	char data[EXT4_BLOCK] __attribute__((aligned(8)));
	size_t used, last;
};

static int write_dir_block(struct maker *m, struct inode *dir,
			   struct dir_block *b)
{
	struct ext2_dir_entry *last = (void *)(b->data + b->last);
	blk64_t block;
	int rc = add_block(m, dir, &block);

	if (rc < 0)
		return rc;
	ext2fs_set_rec_len(m->fs, EXT4_BLOCK - DIR_TAIL - b->last, last);
	ext2fs_initialize_dirent_tail(m->fs, EXT2_DIRENT_TAIL(b->data,
							      EXT4_BLOCK));
	rc = failed(ext2fs_write_dir_block4(m->fs, block, b->data, 0,
					    dir->number));
	*b = (struct dir_block){ .used = 0 };
	return rc;
}

static int file_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:  return EXT2_FT_REG_FILE;
	case S_IFDIR:  return EXT2_FT_DIR;
	case S_IFLNK:  return EXT2_FT_SYMLINK;
	case S_IFCHR:  return EXT2_FT_CHRDEV;
	case S_IFBLK:  return EXT2_FT_BLKDEV;
	case S_IFIFO:  return EXT2_FT_FIFO;
	case S_IFSOCK: return EXT2_FT_SOCK;
	}
	return EXT2_FT_UNKNOWN;
}

static int add_entry(struct maker *m, struct inode *dir, struct dir_block *b,
		     const char *name, size_t len, const struct inode *to)
{
	size_t bytes = align_up(DIR_ENTRY + len, 4);
	struct ext2_dir_entry *e;
	int rc;

	if (b->used + bytes > EXT4_BLOCK - DIR_TAIL) {
		rc = write_dir_block(m, dir, b);
		if (rc < 0)
			return rc;
	}
	e = (void *)(b->data + b->used);
	e->inode = to->number;
	ext2fs_set_rec_len(m->fs, bytes, e);
	ext2fs_dirent_set_name_len(e, len);
	ext2fs_dirent_set_file_type(e, file_type(to->attr.mode));
	memcpy(e->name, name, len);
	b->last = b->used;
	b->used += bytes;
	return 0;
}

static int write_dir(struct maker *m, struct inode *dir)
{
	struct dir_block b = { .used = 0 };
	int rc = add_entry(m, dir, &b, ".", 1, dir);

	if (rc == 0)
		rc = add_entry(m, dir, &b, "..", 2, dir->parent);
	for (struct name *n = dir->first; n && rc == 0; n = n->next)
		rc = add_entry(m, dir, &b, n->text, n->len, n->inode);
	return rc < 0 ? rc : write_dir_block(m, dir, &b);
}

static int write_slow_link(struct maker *m, struct inode *i)
{
	char data[EXT4_BLOCK] = { 0 };
	size_t len = strlen(i->target);
	blk64_t block;
	int rc = add_block(m, i, &block);

	memcpy(data, i->target, len);
	i->size = len;
	return rc < 0 ? rc :
		failed(io_channel_write_blk64(m->fs->io, block, 1, data));
}

/* -- inodes -- */

/*
 * ext4's time: 32 bits with a sign, two more above them, nanoseconds. What
 * lies outside becomes the first or last.
 */
static uint32_t split_time(const struct attr *a, uint32_t *extra)
{
	const int64_t first = INT32_MIN, last = INT32_MAX + (3ll << 32);
	int64_t t = a->mtime < first ? first : a->mtime > last ? last
							       : a->mtime;
	uint32_t epoch = ((t - (int32_t)t) >> 32) & 3;

	*extra = epoch | a->mtime_ns << 2;
	return (uint32_t)t;
}

static void set_device(struct ext2_inode *d, const struct attr *a)
{
	if (a->major < 256 && a->minor < 256)
		d->i_block[0] = a->major << 8 | a->minor;
	else
		d->i_block[1] = (a->minor & 0xff) | (a->major & 0xfff) << 8 |
				(a->minor & 0xfff00) << 12;
}

/* The root of the extents' tree; more than fit into it are added later. */
static void set_extents(struct ext2_inode *d, const struct inode *i)
{
	struct ext3_extent_header *h = (void *)d->i_block;
	struct ext3_extent *to = (void *)(h + 1);

	d->i_flags = EXT4_EXTENTS_FL;
	h->eh_magic = ext2fs_cpu_to_le16(EXT3_EXT_MAGIC);
	h->eh_max = ext2fs_cpu_to_le16(INLINE_EXTENTS);
	if (i->nextents > INLINE_EXTENTS)
		return;
	h->eh_entries = ext2fs_cpu_to_le16(i->nextents);
	for (size_t k = 0; k < i->nextents; k++, to++) {
		const struct extent *e = &i->extents[k];

		to->ee_block = ext2fs_cpu_to_le32(e->logical);
		to->ee_len = ext2fs_cpu_to_le16(e->blocks);
		to->ee_start = ext2fs_cpu_to_le32((uint32_t)e->physical);
		to->ee_start_hi = ext2fs_cpu_to_le16(e->physical >> 32);
	}
}

static uint32_t links(const struct inode *i)
{
	uint64_t n = i->nlink;

	if (!S_ISDIR(i->attr.mode))
		return n;
	n = 2ull + i->subdirs;
	return n < DIR_LINKS_MAX ? n : 1;
}

static void fill_inode(const struct inode *i, struct ext2_inode_large *d)
{
	const struct attr *a = &i->attr;
	struct ext2_inode *small = (struct ext2_inode *)d;

	*d = (struct ext2_inode_large){
		.i_mode = a->mode,
		.i_uid = a->uid,
		.i_gid = a->gid,
		.i_links_count = links(i),
		.i_extra_isize = EXTRA_ISIZE,
	};
	d->osd2.linux2.l_i_uid_high = a->uid >> 16;
	d->osd2.linux2.l_i_gid_high = a->gid >> 16;
	d->i_mtime = split_time(a, &d->i_mtime_extra);
	d->i_atime = d->i_ctime = d->i_crtime = d->i_mtime;
	d->i_atime_extra = d->i_ctime_extra = d->i_crtime_extra =
		d->i_mtime_extra;
	d->i_size = i->size;
	d->i_size_high = i->size >> 32;
	if (S_ISREG(a->mode) || S_ISDIR(a->mode) || i->nextents)
		set_extents(small, i);
	else if (S_ISLNK(a->mode))
		memcpy(d->i_block, i->target, i->size);
	else if (S_ISCHR(a->mode) || S_ISBLK(a->mode))
		set_device(small, a);
}

/* Adds I's extents to its inode D, which is on the disk without any. */
static errcode_t write_extents(struct maker *m, const struct inode *i,
			       struct ext2_inode_large *d)
{
	ext2_extent_handle_t handle;
	errcode_t rc = ext2fs_extent_open2(m->fs, i->number,
					   (struct ext2_inode *)d, &handle);

	if (rc)
		return rc;
	for (size_t k = 0; k < i->nextents && !rc; k++) {
		struct ext2fs_extent e = {
			.e_lblk = i->extents[k].logical,
			.e_pblk = i->extents[k].physical,
			.e_len = i->extents[k].blocks,
		};

		rc = ext2fs_extent_insert(handle, EXT2_EXTENT_INSERT_AFTER, &e);
		if (!rc)
			rc = ext2fs_extent_fix_parents(handle);
	}
	ext2fs_extent_free(handle);
	return rc;
}

static errcode_t write_xattrs(struct maker *m, const struct inode *i)
{
	struct ext2_xattr_handle *handle;
	errcode_t rc = ext2fs_xattrs_open(m->fs, i->number, &handle);

	if (rc)
		return rc;
	rc = ext2fs_xattrs_read(handle);
	for (struct xattr *x = i->xattrs; x && !rc; x = x->next)
		rc = ext2fs_xattr_set(handle, x->name, x->value, x->len);
	ext2fs_xattrs_close(&handle);
	return rc;
}

static errcode_t write_inode(struct maker *m, const struct inode *i)
{
	struct ext2_inode_large d;
	uint64_t blocks = 0;
	errcode_t rc;

	fill_inode(i, &d);
	for (size_t k = 0; k < i->nextents; k++)
		blocks += i->extents[k].blocks;
	rc = ext2fs_iblk_set(m->fs, (struct ext2_inode *)&d, blocks);
	if (!rc)
		rc = ext2fs_write_inode_full(m->fs, i->number,
					     (struct ext2_inode *)&d,
					     sizeof(d));
	if (!rc && i->nextents > INLINE_EXTENTS)
		rc = write_extents(m, i, &d);
	return !rc && i->xattrs ? write_xattrs(m, i) : rc;
}

static int write_file(struct maker *m, struct inode *i)
{
	uint32_t mode = i->attr.mode;
	int rc = 0;

	if (S_ISDIR(mode)) {
		rc = write_dir(m, i);
	} else if (S_ISLNK(mode)) {
		i->size = strlen(i->target);
		if (i->size >= FAST_LINK) {
			i->size = 0;
			rc = write_slow_link(m, i);
		}
	}
	if (rc < 0)
		return rc;
	if (i != m->tree->root)
		ext2fs_inode_alloc_stats2(m->fs, i->number, +1, S_ISDIR(mode));
	return failed(write_inode(m, i));
}

/* -- all -- */

static int fill(struct maker *m, const char *label)
{
	int rc = set_identity(m->fs, label);

	if (rc == 0)
		rc = keep_data(m);
	if (rc == 0)
		rc = failed(make_tables(m));
	for (struct inode *i = m->tree->root; i && rc == 0; i = i->next)
		if (i->nlink)
			rc = write_file(m, i);
	return rc < 0 ? rc : failed(make_journal(m));
}

int ext4_disk(int fd, uint64_t blocks, const char *label, struct tree *t)
{
	struct maker m = { .tree = t };
	struct ext2_super_block params;
	char name[16];		/* libext2fs closes it */
	int rc, copy = dup(fd);

	if (copy < 0)
		return fail_sys("dup");
	snprintf(name, sizeof(name), "%d", copy);
	set_params(&params, blocks, number_inodes(t));
	rc = failed(ext2fs_initialize(name, EXT2_FLAG_64BITS, &params,
				      unixfd_io_manager, &m.fs));
	if (rc < 0)
		return rc;
	rc = fill(&m, label);
	if (rc < 0)
		ext2fs_free(m.fs);
	else
		rc = failed(ext2fs_close_free(&m.fs));
	return rc;
}
