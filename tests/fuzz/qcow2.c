/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2.c - an image of an enemy: a sound one of which the input changed any
 * bytes, or is the whole; then opened, checked, read and written as the input
 * says. What is read twice is the same, and a write that succeeded is read.
 */
#include "block/qcow2.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/file.h"
#include "input.h"

enum {
	DISK = 1 << 20, PIECE = 8192, STEPS = 40, FILE_MOST = 64 << 20,
	CHANGES = 24,
};

/* A sound image with data, of clusters that the input chooses. */
static int sound(struct input *in)
{
	struct qcow2_create c = {
		.size = DISK, .cluster_bits = 9 + take8(in) % 8,
		.lazy_refcounts = take8(in) & 1,
	};
	int fd, copy = memfd_create("image", MFD_CLOEXEC);
	static char data[PIECE];
	char name[64];
	struct block *b;

	snprintf(name, sizeof(name), "/dev/shm/fuzz-qcow2-%d", getpid());
	MUST(qcow2_create(AT_FDCWD, name, &c) == 0);
	MUST(qcow2_open(&b, name, false, NULL) == 0);
	for (uint64_t off = 0; off < DISK; off += DISK / 8) {
		struct iovec iov = { data, sizeof(data) };

		memset(data, off >> 17, sizeof(data));
		MUST(block_writev(b, &iov, 1, off) == 0);
	}
	block_close(b);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	unlink(name);
	MUST(fd >= 0 && copy >= 0);
	for (ssize_t n; (n = read(fd, data, sizeof(data))) > 0;)
		MUST(write_all(copy, data, n) == 0);
	close(fd);
	return copy;
}

/* Numbers that mean something, at places that do. */
static void spoil(struct input *in, int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);

	for (unsigned n = take8(in) % CHANGES; n; n--) {
		unsigned how = take8(in);
		uint64_t off = how & 1 ? take8(in) : take32(in) % size;
		uint64_t val = how & 2 ? take64(in) : take16(in);
		be64 disk;

		off = how & 4 ? off : off & ~7ULL;
		val = how & 8 ? val << 9 : val;
		val |= how & 16 ? 1ULL << 63 : 0;
		val |= how & 32 ? 1ULL << 62 : 0;
		disk = to_be64(val);
		MUST(pwrite_all(fd, &disk, 1U << take8(in) % 4, off) == 0);
	}
}

static int image(struct input *in)
{
	int fd;

	if (take8(in) % 8) {
		fd = sound(in);
		spoil(in, fd);
		return fd;
	}
	fd = memfd_create("image", MFD_CLOEXEC);
	MUST(fd >= 0 && write_all(fd, in->data, in->len) == 0);
	return fd;
}

static void step(struct input *in, struct block *b)
{
	static char data[PIECE], again[PIECE];
	uint64_t blocks = min_u64(b->size, 2 * DISK) / 512;
	uint64_t off = take16(in) % blocks * 512;
	uint64_t len = min_u64((1 + take8(in) % (PIECE / 512)) * 512,
			       b->size - off), n;
	struct iovec iov = { data, len };
	struct block_extent e;

	switch (take8(in) % 8) {
	case 0:
	case 1:
		if (block_readv(b, &iov, 1, off) < 0)
			break;
		iov = (struct iovec){ again, len };
		MUST(block_readv(b, &iov, 1, off) < 0 ||
		     !memcmp(data, again, len));
		break;
	case 2:
	case 3:
		memset(data, off >> 9, len);
		if (block_writev(b, &iov, 1, off) < 0)
			break;
		iov = (struct iovec){ again, len };
		MUST(block_readv(b, &iov, 1, off) < 0 ||
		     !memcmp(data, again, len));
		break;
	case 4:
		block_zero(b, off, len, take8(in) & 1);
		break;
	case 5:
		block_discard(b, off, len);
		break;
	case 6:
		if (block_map(b, off, len, take8(in) & 1, &e) == 0)
			block_unmap(b, &e);
		block_status(b, off, len, &n);
		break;
	case 7:
		block_flush(b);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	int fd = image(&in);
	struct qcow2_check result;
	bool readonly = take8(&in) & 1;
	struct block *b;
	char path[64];

	/* The tables are bounded; how far a write may be in a file is not. */
	if (lseek(fd, 0, SEEK_END) > FILE_MOST)
		return close(fd);
	if (take8(&in) & 1)
		qcow2_check(fd, take8(&in) & 1, &result);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (qcow2_open(&b, path, readonly, NULL) == 0) {
		for (int i = 0; in.len && i < STEPS; i++)
			step(&in, b);
		block_close(b);
	}
	close(fd);
	return 0;
}
