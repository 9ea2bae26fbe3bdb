/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/ext4_grow.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "image/ext4_disk.h"
#include "image/ext4_io.h"
#include "image/ext4_ours.h"

enum {
	PER_BLOCK = EXT4_BLOCK / EXT4_DESC_BYTES,	/* descriptors */
	GROUPS_MAX = EXT4_DESC_BLOCKS * PER_BLOCK,
	BITMAPS = 2,
	/* Fewer for data in a last group, and libext2fs makes none of it. */
	LAST_DATA_MIN = 50,
};

struct grower {
	struct block *b;
	ext2_filsys fs;
	uint64_t was, blocks;		/* of the file system */
	dgrp_t groups;			/* that there were */
	uint64_t zero_to;		/* the disk's zeros end here */
};

static dgrp_t groups_of(uint64_t blocks)
{
	return (blocks + EXT4_GROUP_BLOCKS - 1) / EXT4_GROUP_BLOCKS;
}

static dgrp_t desc_blocks(dgrp_t groups)
{
	return (groups + PER_BLOCK - 1) / PER_BLOCK;
}

/* -- what may be grown -- */

static bool is_made_so(struct ext2_super_block *s, uint64_t blocks)
{
	uint64_t groups = groups_of(blocks);
	uint64_t inodes = s->s_inodes_per_group;

	return s->s_feature_compat == (EXT4_OUR_COMPAT |
				       EXT3_FEATURE_COMPAT_HAS_JOURNAL) &&
	       s->s_feature_incompat == EXT4_OUR_INCOMPAT &&
	       s->s_feature_ro_compat == EXT4_OUR_RO_COMPAT &&
	       s->s_rev_level == EXT2_DYNAMIC_REV &&
	       EXT2_BLOCK_SIZE(s) == EXT4_BLOCK &&
	       s->s_log_cluster_size == s->s_log_block_size &&
	       s->s_first_data_block == 0 &&
	       s->s_blocks_per_group == EXT4_GROUP_BLOCKS &&
	       s->s_clusters_per_group == EXT4_GROUP_BLOCKS &&
	       s->s_inode_size == EXT4_INODE_BYTES &&
	       s->s_desc_size == EXT4_DESC_BYTES &&
	       s->s_checksum_type == EXT2_CRC32C_CHKSUM &&
	       groups > 0 && groups <= GROUPS_MAX &&
	       inodes % (EXT4_BLOCK / EXT4_INODE_BYTES) == 0 &&
	       inodes > 0 && inodes <= 8 * EXT4_BLOCK &&
	       s->s_inodes_count == groups * inodes &&
	       s->s_free_inodes_count <= s->s_inodes_count &&
	       desc_blocks(groups) + s->s_reserved_gdt_blocks ==
	       EXT4_DESC_BLOCKS;
}

static int check_super(struct ext2_super_block *s)
{
	uint64_t blocks = ext2fs_blocks_count(s);

	if (s->s_feature_incompat & EXT3_FEATURE_INCOMPAT_RECOVER)
		return fail(E_CONFIG, "its ext4 was not unmounted");
	if (!(s->s_state & EXT2_VALID_FS) || s->s_state & EXT2_ERROR_FS)
		return fail(E_CONFIG, "its ext4 wants a check (e2fsck)");
	if (!is_made_so(s, blocks))
		return fail(E_CONFIG, "its ext4 is not one of ours");
	if (ext2fs_free_blocks_count(s) > blocks ||
	    ext2fs_r_blocks_count(s) > blocks)
		return fail(E_VERIFY, "damaged ext4: a count");
	return 0;
}

/* What the last group and the resize inode say is used: it must be sound. */
static int check_groups(const struct grower *g)
{
	ext2_filsys fs = g->fs;

	for (dgrp_t i = 0; i < g->groups; i++)
		if (!ext2fs_group_desc_csum_verify(fs, i))
			return fail(E_VERIFY, "damaged ext4: a group "
				    "descriptor");
	if (ext2fs_bg_flags_test(fs, g->groups - 1, EXT2_BG_BLOCK_UNINIT))
		return fail(E_VERIFY, "damaged ext4: the last group");
	return 0;
}

/* -- how large -- */

/* Blocks of group I that are the file system's own. */
static uint64_t overhead(ext2_filsys fs, dgrp_t i)
{
	return (ext2fs_bg_has_super(fs, i) ? 1 + EXT4_DESC_BLOCKS : 0) +
	       BITMAPS + fs->inode_blocks_per_group;
}

static uint64_t group_end(const struct grower *g, dgrp_t i)
{
	return min_u64((i + 1ull) * EXT4_GROUP_BLOCKS, g->blocks);
}

/* The most that B's size has room for. */
static uint64_t target(const struct grower *g)
{
	uint64_t blocks = min_u64(g->b->size / EXT4_BLOCK,
				  (uint64_t)GROUPS_MAX * EXT4_GROUP_BLOCKS);
	uint64_t rest = blocks % EXT4_GROUP_BLOCKS;
	dgrp_t last = blocks / EXT4_GROUP_BLOCKS;

	if (last >= g->groups && rest < overhead(g->fs, last) + LAST_DATA_MIN)
		blocks -= rest;
	return blocks;
}

/* -- groups -- */

static int set_bitmap(struct grower *g, dgrp_t i, char *bitmap)
{
	ext2_filsys fs = g->fs;
	errcode_t rc = ext2fs_block_bitmap_csum_set(fs, i, bitmap, EXT4_BLOCK);

	if (!rc)
		rc = io_channel_write_blk64(fs->io,
				ext2fs_block_bitmap_loc(fs, i), 1, bitmap);
	ext2fs_group_desc_csum_set(fs, i);
	return ext4_failed(rc);
}

/* The blocks behind the old end, within what was the last group, are free. */
static int extend_last(struct grower *g)
{
	dgrp_t i = g->groups - 1;
	uint64_t more = group_end(g, i) - g->was;
	blk64_t where = ext2fs_block_bitmap_loc(g->fs, i);
	char bitmap[EXT4_BLOCK];
	int rc;

	if (!more)
		return 0;
	if (where == 0 || where >= g->was)
		return fail(E_VERIFY, "damaged ext4: a bitmap's place");
	rc = ext4_failed(io_channel_read_blk64(g->fs->io, where, 1, bitmap));
	if (rc == 0 && !ext2fs_block_bitmap_csum_verify(g->fs, i, bitmap,
							EXT4_BLOCK))
		rc = fail(E_VERIFY, "damaged ext4: a bitmap");
	if (rc < 0)
		return rc;
	for (uint64_t k = g->was; k < g->was + more; k++)
		ext2fs_clear_bit(k % EXT4_GROUP_BLOCKS, bitmap);
	ext2fs_bg_free_blocks_count_set(g->fs, i, more +
			ext2fs_bg_free_blocks_count(g->fs, i));
	return set_bitmap(g, i, bitmap);
}

/* Whether these bytes are known to be zeros; asked in rising order. */
static bool reads_as_zeros(struct grower *g, uint64_t off, uint64_t len)
{
	while (g->zero_to < off + len) {
		uint64_t at = max_u64(off, g->zero_to), n;

		if (block_status(g->b, at, g->b->size - at, &n) != BLOCK_ZERO ||
		    !n)
			return false;
		g->zero_to = at + n;
	}
	return true;
}

/* A group of which nothing is on the disk yet, as the flags tell. */
static void add_group(struct grower *g, dgrp_t i)
{
	ext2_filsys fs = g->fs;
	uint64_t start = (uint64_t)i * EXT4_GROUP_BLOCKS;
	uint64_t tables = fs->inode_blocks_per_group;
	uint64_t at = start + overhead(fs, i) - tables;

	ext2fs_block_bitmap_loc_set(fs, i, at - 2);
	ext2fs_inode_bitmap_loc_set(fs, i, at - 1);
	ext2fs_inode_table_loc_set(fs, i, at);
	ext2fs_bg_free_blocks_count_set(fs, i, group_end(g, i) - at - tables);
	ext2fs_bg_free_inodes_count_set(fs, i, fs->super->s_inodes_per_group);
	ext2fs_bg_itable_unused_set(fs, i, fs->super->s_inodes_per_group);
	ext2fs_bg_flags_zap(fs, i);
	ext2fs_bg_flags_set(fs, i, EXT2_BG_BLOCK_UNINIT |
			    EXT2_BG_INODE_UNINIT);
	/* else the guest would write zeros into it */
	if (reads_as_zeros(g, at * EXT4_BLOCK, tables * EXT4_BLOCK))
		ext2fs_bg_flags_set(fs, i, EXT2_BG_INODE_ZEROED);
	ext2fs_group_desc_csum_set(fs, i);
}

/* The last group has its bitmap on the disk: who checks insists on it. */
static int end_groups(struct grower *g)
{
	dgrp_t i = g->fs->group_desc_count - 1;
	uint64_t used = overhead(g->fs, i);
	uint64_t len = g->blocks - (uint64_t)i * EXT4_GROUP_BLOCKS;
	char bitmap[EXT4_BLOCK] = { 0 };

	if (i < g->groups)
		return 0;
	for (uint64_t k = 0; k < EXT4_GROUP_BLOCKS; k++)
		if (k < used || k >= len)
			ext2fs_set_bit(k, bitmap);
	ext2fs_bg_flags_clear(g->fs, i, EXT2_BG_BLOCK_UNINIT);
	return set_bitmap(g, i, bitmap);
}

/* -- all -- */

/* Room for the descriptors of so many GROUPS, and the counts that follow. */
static int resize_table(struct grower *g, dgrp_t groups)
{
	ext2_filsys fs = g->fs;
	struct ext2_super_block *s = fs->super;
	size_t old = fs->desc_blocks * (size_t)EXT4_BLOCK;
	size_t new = desc_blocks(groups) * (size_t)EXT4_BLOCK;
	int rc = ext4_failed(ext2fs_resize_mem(old, new, &fs->group_desc));

	if (rc < 0)
		return rc;
	memset((char *)fs->group_desc + old, 0, new - old);
	s->s_reserved_gdt_blocks -= desc_blocks(groups) - fs->desc_blocks;
	s->s_inodes_count = groups * s->s_inodes_per_group;
	s->s_free_inodes_count += (groups - g->groups) *
				  s->s_inodes_per_group;
	fs->desc_blocks = desc_blocks(groups);
	fs->group_desc_count = groups;
	return 0;
}

/* The resize inode says which blocks are reserved, in every backup. */
static int renew_resize_inode(struct grower *g)
{
	static const char none[EXT4_BLOCK];
	struct ext2_inode inode;
	blk64_t map;
	errcode_t rc = ext2fs_read_inode(g->fs, EXT2_RESIZE_INO, &inode);

	if (rc)
		return ext4_failed(rc);
	map = inode.i_block[EXT2_DIND_BLOCK];
	if (map <= EXT4_DESC_BLOCKS || map >= g->was)
		return fail(E_VERIFY, "damaged ext4: the resize inode");
	rc = ext2fs_iblk_set(g->fs, &inode, 1);
	if (!rc)
		rc = ext2fs_write_inode(g->fs, EXT2_RESIZE_INO, &inode);
	if (!rc)
		rc = io_channel_write_blk64(g->fs->io, map, 1, none);
	return ext4_failed(rc ? rc : ext2fs_create_resize_inode(g->fs));
}

static void count_blocks(struct grower *g)
{
	struct ext2_super_block *s = g->fs->super;
	uint64_t free_blocks = 0;

	for (dgrp_t i = 0; i < g->fs->group_desc_count; i++)
		free_blocks += ext2fs_bg_free_blocks_count(g->fs, i);
	ext2fs_free_blocks_count_set(s, free_blocks);
	/* the same part of it is root's */
	ext2fs_r_blocks_count_set(s, ext2fs_r_blocks_count(s) * g->blocks /
				  g->was);
	s->s_overhead_clusters = 0;	/* the kernel counts anew */
}

static int grow(struct grower *g)
{
	ext2_filsys fs = g->fs;
	int rc = check_groups(g);

	if (rc == 0)
		rc = resize_table(g, groups_of(g->blocks));
	if (rc < 0)
		return rc;
	ext2fs_blocks_count_set(fs->super, g->blocks);
	rc = extend_last(g);
	for (dgrp_t i = g->groups; i < fs->group_desc_count; i++)
		add_group(g, i);
	if (rc == 0)
		rc = end_groups(g);
	if (rc == 0)
		rc = renew_resize_inode(g);
	if (rc < 0)
		return rc;
	count_blocks(g);
	ext2fs_mark_super_dirty(fs);
	fs->flags &= ~EXT2_FLAG_MASTER_SB_ONLY;
	return ext4_failed(ext2fs_flush(fs));
}

int ext4_grow(struct block *b)
{
	struct ext4_io io = { .b = b, .len = b->size };
	struct grower g = { .b = b };
	int rc = ext4_io_open(&io, true, &g.fs);

	if (rc < 0)
		return rc;
	rc = check_super(g.fs->super);
	if (rc == 0) {
		g.was = ext2fs_blocks_count(g.fs->super);
		g.groups = g.fs->group_desc_count;
		g.blocks = target(&g);
		if (g.blocks > g.was)
			rc = grow(&g);
	}
	ext2fs_free(g.fs);
	return rc;
}
