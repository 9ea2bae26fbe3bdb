/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_image.h - the image a.qcow2 of the tests: made, opened, looked into.
 */
#ifndef TESTS_UNIT_QCOW2_IMAGE_H
#define TESTS_UNIT_QCOW2_IMAGE_H

#include "base/err.h"
#include "block/qcow2.h"

#include "scratch.h"

enum { MIB = 1 << 20, CLUSTER = 1 << 16 };

static inline int create_with(struct qcow2_create c)
{
	unlink("a.qcow2");
	return qcow2_create(AT_FDCWD, "a.qcow2", &c);
}

static inline int create(uint64_t size, unsigned bits)
{
	return create_with((struct qcow2_create){ .size = size,
						  .cluster_bits = bits });
}

static inline struct block *open_image(bool readonly)
{
	struct block *b;

	return qcow2_open(&b, "a.qcow2", readonly, NULL) == 0 ? b : NULL;
}

static inline struct block *fresh(uint64_t size, unsigned bits)
{
	return create(size, bits) == 0 ? open_image(false) : NULL;
}

static inline int io(struct block *b, bool write, void *data, uint64_t off,
	      uint64_t len)
{
	struct iovec iov = { data, len };

	return write ? block_writev(b, &iov, 1, off) :
		block_readv(b, &iov, 1, off);
}

static inline int put_byte(struct block *b, uint8_t val, uint64_t off, uint64_t len)
{
	autofree void *data = malloc(len);

	memset(data, val, len);
	return io(b, true, data, off, len);
}

/* Whether all LEN bytes at OFF are VAL. */
static inline bool all_are(struct block *b, uint8_t val, uint64_t off, uint64_t len)
{
	autofree uint8_t *data = malloc(len);

	memset(data, ~val, len);
	if (io(b, false, data, off, len) < 0)
		return false;
	for (uint64_t i = 0; i < len; i++)
		if (data[i] != val)
			return false;
	return true;
}

static inline struct qcow2_check checked(bool repair)
{
	autoclose int fd = open("a.qcow2", O_RDWR | O_CLOEXEC);
	struct qcow2_check result = { .errors = UINT64_MAX };

	if (qcow2_check(fd, repair, &result) < 0)
		result.errors = UINT64_MAX;
	return result;
}

/* BYTES of VAL at OFF of the file, big-endian. */
static inline bool poke(uint64_t off, unsigned bytes, uint64_t val)
{
	autoclose int fd = open("a.qcow2", O_RDWR | O_CLOEXEC);
	be64 disk = to_be64(val << (64 - 8 * bytes));

	return pwrite_all(fd, &disk, bytes, off) == 0;
}

static inline uint64_t peek(uint64_t off)
{
	autoclose int fd = open("a.qcow2", O_RDONLY | O_CLOEXEC);
	be64 disk = to_be64(0);

	return pread_all(fd, &disk, 8, off) == 0 ? get_be64(disk) : 0;
}

static inline uint64_t file_size(void)
{
	struct stat st;

	return stat("a.qcow2", &st) == 0 ? st.st_size : 0;
}

/* Where qcow2_create() and the first writes put things, 64K clusters. */
enum {
	REFTABLE = 1 * CLUSTER, REFBLOCK = 2 * CLUSTER, L1 = 3 * CLUSTER,
};
#define COPIED (1ULL << 63)
#define PACKED (1ULL << 62)

static inline uint64_t l2_off(void)
{
	return peek(L1) & ~COPIED;
}

/* Where OFF of the disk is in the file; 0: nowhere in particular. */
static inline uint64_t place_of(struct block *b, uint64_t off)
{
	struct block_extent e;
	uint64_t at;

	if (block_map(b, off, 512, false, &e) < 0)
		return 0;
	at = e.off;
	block_unmap(b, &e);
	return at;
}

#endif
