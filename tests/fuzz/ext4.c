/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ext4.c - the input is what is wrong with an ext4 of ours: bytes and where
 * they lie, with the checksums made right again. It is walked, then grown in a
 * larger disk, then walked again.
 */
#include <assert.h>
#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "image/ext4.h"
#include "image/ext4_grow.h"
#include "image/ext4_walk.h"

#include "input.h"

enum {
	SUPER = 1024, TABLE = 4096, BLOCK = 4096,
	DESC = 64, DESC_INODES = 8, DESC_CSUM = 30,
	INODES = 20, INODE = 256, GENERATION = 100,
	INODE_CSUM_LO = 124, INODE_CSUM_HI = 130,
	PATCHES = 16, HEAD = 3 << 20,
};
static const uint64_t small = 130 << 20, large = 900 << 20;

static uint8_t good[HEAD];

/* A disk of two groups, as FD. */
static void make(int fd)
{
	struct ext4_conf conf = { .size = small, .inodes = 1000 };
	struct attr file = { .mode = S_IFREG | 0644 };
	struct attr link = { .mode = S_IFLNK | 0777, .target = "a/b" };
	struct ext4 x = { 0 };

	MUST(ext4_begin(&x, fd, &conf) == 0);
	MUST(ext4_add(&x, "a/b/c", &file) == 0);
	MUST(ext4_data(&x, 40000, "data", 4) == 0);
	MUST(ext4_xattr(&x, "user.x", "value", 5) == 0);
	MUST(ext4_link(&x, "a/d", "a/b/c") == 0);
	MUST(ext4_add(&x, "e", &link) == 0);
	MUST(ext4_finish(&x) == 0);
	ext4_release(&x);
}

static uint32_t crc(uint32_t seed, const void *data, size_t len)
{
	return ext2fs_crc32c_le(seed, data, len);
}

/* Where the inodes are, of the disk that nothing is wrong with. */
static uint32_t inodes_at(void)
{
	uint32_t block;

	memcpy(&block, good + TABLE + DESC_INODES, sizeof(block));
	return block * BLOCK;
}

static void sum_up_inodes(uint8_t *head, uint32_t seed)
{
	for (uint32_t i = 1; i <= INODES; i++) {
		uint8_t *d = head + inodes_at() + INODE * (i - 1);
		uint32_t sum;

		memset(d + INODE_CSUM_LO, 0, 2);
		memset(d + INODE_CSUM_HI, 0, 2);
		sum = crc(crc(seed, &i, sizeof(i)), d + GENERATION, 4);
		sum = crc(sum, d, INODE);
		memcpy(d + INODE_CSUM_LO, &sum, 2);
		memcpy(d + INODE_CSUM_HI, (uint8_t *)&sum + 2, 2);
	}
}

/* Makes the checksums right but those of bitmaps and directories. */
static void sum_up(uint8_t *head)
{
	struct ext2_super_block *s = (void *)(head + SUPER);
	uint32_t seed = crc(~0u, s->s_uuid, sizeof(s->s_uuid));

	s->s_checksum = crc(~0u, s, offsetof(struct ext2_super_block,
					     s_checksum));
	for (uint32_t i = 0; i < 2; i++) {
		uint8_t *d = head + TABLE + DESC * i;
		uint32_t sum;

		memset(d + DESC_CSUM, 0, 2);
		sum = crc(crc(seed, &i, sizeof(i)), d, DESC);
		memcpy(d + DESC_CSUM, &sum, 2);
	}
	sum_up_inodes(head, seed);
}

static int count(void *arg, const struct ext4_entry *e)
{
	MUST(!strncmp(e->path, "./", 2) && !strstr(e->path, "/../"));
	return ++*(int *)arg > 100000 ? -ECANCELED : 0;
}

static int take_data(void *arg, uint64_t off, const void *data, size_t len)
{
	(void)off, (void)data, (void)len;
	return ++*(int *)arg > 100000 ? -ECANCELED : 0;
}

static int walk(struct block *b)
{
	int n = 0;
	const struct ext4_visitor v = { count, take_data, &n };

	return ext4_walk(b, 0, b->size, &v);
}

static void damage(struct input *in, uint8_t *head)
{
	for (int i = 0; i < PATCHES && in->len; i++) {
		uint32_t at;

		switch (take8(in) % 4) {
		case 0:
			at = SUPER + take16(in) % 4096;
			break;
		case 1:
			at = take32(in) % (HEAD - 8);
			break;
		default:
			at = inodes_at() + take16(in) % (INODES * INODE);
		}
		take(in, head + at, 1 + take8(in) % 8);
	}
	sum_up(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static uint8_t head[HEAD];
	struct input in = { data, size };
	struct block *b;
	char path[32];

	if (fd < 0) {
		fd = memfd_create("disk", MFD_CLOEXEC);
		make(fd);
		MUST(pread_all(fd, good, HEAD, 0) == 0);
	}
	memcpy(head, good, HEAD);
	damage(&in, head);
	MUST(ftruncate(fd, small) == 0 && ftruncate(fd, large) == 0);
	MUST(pwrite_all(fd, head, HEAD, 0) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	MUST(raw_open(&b, path, false) == 0);
	walk(b);
	if (ext4_grow(b) == 0)
		walk(b);
	/* a good one is good afterwards too */
	MUST(size || walk(b) == 0);
	block_close(b);
	return 0;
}
