/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * model.h - random numbers of a seed, what a disk should hold, chains opened.
 */
#ifndef TESTS_BLOCK_MODEL_H
#define TESTS_BLOCK_MODEL_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "block/qcow2.h"

enum { SECTOR = 512 };

#define MUST(cond) do { \
	if (!(cond)) { \
		printf("%s:%d: %s (%s)\n", __FILE__, __LINE__, #cond, \
		       err_text()); \
		exit(1); \
	} \
} while (0)

static uint64_t random_state;

static inline void random_seed(uint64_t seed)
{
	random_state = seed * 0x9e3779b97f4a7c15ULL + 1;
}

/* 0 to N - 1. */
static inline uint64_t any(uint64_t n)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (random_state * 0x2545f4914f6cdd1dULL >> 16) % n;
}

/* Bytes that differ from sector to sector and from call to call. */
static inline void fill_random(unsigned char *p, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t val = any(UINT64_MAX);

		memcpy(p + i, &val, 8);
	}
}

/* IMAGE with the chain that its header names, all but itself to be read. */
static inline struct block *open_chain(const char *image, bool readonly)
{
	struct block *b = NULL, *below = NULL;
	struct qcow2_info info;
	int fd = open(image, O_RDONLY | O_CLOEXEC);

	MUST(fd >= 0);
	MUST(qcow2_info(fd, &info) == 0);
	close(fd);
	if (info.backing && info.backing_format &&
	    !strcmp(info.backing_format, "raw"))
		MUST(raw_open(&below, info.backing, true) == 0);
	else if (info.backing)
		below = open_chain(info.backing, true);
	MUST(qcow2_open(&b, image, readonly, below) == 0);
	qcow2_info_release(&info);
	return b;
}

static inline int move(struct block *b, bool write, void *data, uint64_t off,
		       uint64_t len)
{
	struct iovec iov = { data, len };

	return write ? block_writev(b, &iov, 1, off) :
		block_readv(b, &iov, 1, off);
}

#endif
