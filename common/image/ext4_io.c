/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/ext4_io.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

int ext4_failed(errcode_t rc)
{
	switch (rc) {
	case 0:
		return 0;
	case EXT2_ET_NO_MEMORY:
		return fail(ENOMEM, "out of memory");
	case EXT2_ET_UNSUPP_FEATURE:
	case EXT2_ET_RO_UNSUPP_FEATURE:
		return fail(ENOTSUP, "ext4 with features not known here");
	}
	if (rc > 0 && rc < EXT2_ET_BASE)
		return fail(rc, "%s", strerror(rc));
	initialize_ext2_error_table();
	return fail(E_VERIFY, "damaged ext4: %s", error_message(rc));
}

int ext4_io_read(const struct ext4_io *io, uint64_t off, void *data,
		 size_t len)
{
	if (!in_range(off, len, io->len))
		return -EIO;
	return block_read(io->b, data, len, io->off + off);
}

/* -- what libext2fs calls -- */

/* Where BLOCK begins; COUNT is of blocks, or, negative, of bytes. */
static bool locate(io_channel ch, unsigned long long block, int count,
		   uint64_t *off, uint64_t *len)
{
	const struct ext4_io *io = ch->private_data;

	*len = count < 0 ? (uint64_t)-(int64_t)count :
			   (uint64_t)count * ch->block_size;
	return !ckd_mul(off, (uint64_t)block, ch->block_size) &&
	       in_range(*off, *len, io->len);
}

static errcode_t read_blocks(io_channel ch, unsigned long long block,
			     int count, void *data)
{
	uint64_t off, len;

	if (!locate(ch, block, count, &off, &len))
		return EXT2_ET_SHORT_READ;
	return -ext4_io_read(ch->private_data, off, data, len);
}

static errcode_t write_blocks(io_channel ch, unsigned long long block,
			      int count, const void *data)
{
	const struct ext4_io *io = ch->private_data;
	struct iovec iov = { .iov_base = (void *)data };
	uint64_t off, len;

	if (!locate(ch, block, count, &off, &len))
		return EXT2_ET_SHORT_WRITE;
	iov.iov_len = len;
	return -block_writev(io->b, &iov, 1, io->off + off);
}

static errcode_t read_blocks_32(io_channel ch, unsigned long block, int count,
				void *data)
{
	return read_blocks(ch, block, count, data);
}

static errcode_t write_blocks_32(io_channel ch, unsigned long block, int count,
				 const void *data)
{
	return write_blocks(ch, block, count, data);
}

static errcode_t set_block_size(io_channel ch, int size)
{
	ch->block_size = size;
	return 0;
}

/* Durable or not is the caller's, who has the disk. */
static errcode_t flush(io_channel ch)
{
	(void)ch;
	return 0;
}

static errcode_t close_channel(io_channel ch)
{
	if (--ch->refcount > 0)
		return 0;
	free(ch->private_data);
	free(ch);
	return 0;
}

static errcode_t open_channel(const char *name, int flags, io_channel *out);

static const struct struct_io_manager manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "disk",
	.open = open_channel,
	.close = close_channel,
	.set_blksize = set_block_size,
	.read_blk = read_blocks_32,
	.write_blk = write_blocks_32,
	.read_blk64 = read_blocks,
	.write_blk64 = write_blocks,
	.flush = flush,
};

/*
 * NAME is all that libext2fs hands on: the address of a struct ext4_io, of
 * which the channel has a copy.
 */
static errcode_t open_channel(const char *name, int flags, io_channel *out)
{
	io_channel ch = calloc(1, sizeof(*ch));
	struct ext4_io *io = malloc(sizeof(*io));

	(void)flags;
	if (!ch || !io) {
		free(ch);
		free(io);
		return EXT2_ET_NO_MEMORY;
	}
	*io = *(const struct ext4_io *)(uintptr_t)strtoull(name, NULL, 16);
	*ch = (struct struct_io_channel){
		.magic = EXT2_ET_MAGIC_IO_CHANNEL,
		.manager = (io_manager)&manager,	/* nobody writes it */
		.block_size = EXT2_MIN_BLOCK_SIZE,
		.refcount = 1,
		.private_data = io,
	};
	*out = ch;
	return 0;
}

/* -- open -- */

/* Whether a super block is there whose blocks lie within IO. */
static int check_super(const struct ext4_io *io)
{
	struct ext2_super_block s;
	uint64_t blocks;
	unsigned log;
	int rc;

	if (!in_range(SUPERBLOCK_OFFSET, sizeof(s), io->len))
		return fail(ENOENT, "no ext4");
	rc = ext4_io_read(io, SUPERBLOCK_OFFSET, &s, sizeof(s));
	if (rc < 0)
		return fail(-rc, "%s", strerror(-rc));
	if (ext2fs_le16_to_cpu(s.s_magic) != EXT2_SUPER_MAGIC)
		return fail(ENOENT, "no ext4");
	log = ext2fs_le32_to_cpu(s.s_log_block_size);
	blocks = ext2fs_le32_to_cpu(s.s_blocks_count);
	if (ext2fs_le32_to_cpu(s.s_feature_incompat) &
	    EXT4_FEATURE_INCOMPAT_64BIT)
		blocks |= (uint64_t)ext2fs_le32_to_cpu(s.s_blocks_count_hi)
			  << 32;
	if (log > 6 || blocks > io->len >> (10 + log))
		return fail(E_VERIFY, "damaged ext4: ends behind its disk");
	return 0;
}

int ext4_io_open(const struct ext4_io *io, bool write, ext2_filsys *fs)
{
	char name[24];
	int rc = in_range(io->off, io->len, io->b->size) ? check_super(io) :
		 fail(ENOENT, "no ext4");

	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "%" PRIxPTR, (uintptr_t)io);
	return ext4_failed(ext2fs_open2(name, NULL, EXT2_FLAG_64BITS |
					(write ? EXT2_FLAG_RW : 0), 0, 0,
					(io_manager)&manager, fs));
}
