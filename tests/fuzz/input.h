/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * input.h - a fuzzer's bytes as a sequence of decisions. Where they end, all
 * further ones are 0.
 */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <string.h>

#include "base/log.h"

enum { MAX_STEPS = 256 };

/* What holds whatever the input is. */
#define MUST(cond) do { \
	if (!(cond)) \
		__builtin_trap(); \
} while (0)

struct input {
	const uint8_t *data;
	size_t len;
};

static inline void take(struct input *in, void *to, size_t n)
{
	size_t have = min_u64(n, in->len);

	memset(to, 0, n);
	memcpy(to, in->data, have);
	in->data += have;
	in->len -= have;
}

static inline uint8_t take8(struct input *in)
{
	uint8_t val;

	take(in, &val, sizeof(val));
	return val;
}

static inline uint16_t take16(struct input *in)
{
	uint16_t val;

	take(in, &val, sizeof(val));
	return val;
}

static inline uint32_t take32(struct input *in)
{
	uint32_t val;

	take(in, &val, sizeof(val));
	return val;
}

static inline uint64_t take64(struct input *in)
{
	uint64_t val;

	take(in, &val, sizeof(val));
	return val;
}

/* Complaints are what is expected here, and slow. */
static inline void hush(struct log_limit *l)
{
	*l = (struct log_limit){ .said = LOG_BURST, .next_ns = UINT64_MAX };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#endif
