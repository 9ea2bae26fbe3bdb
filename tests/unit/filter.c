/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/filter.h"

#include <pthread.h>

#include "base/err.h"
#include "base/loop.h"
#include "block/f_fault.h"
#include "block/f_throttle.h"

#include "scratch.h"
#include "test.h"

enum { MIB = 1 << 20, MS = 1000000 };

static char dir[SCRATCH_BYTES];
static char buf[64 << 10];

static struct block *disk(void)
{
	struct block *b = NULL;

	unlink("disk");
	if (!put("disk", "") || truncate("disk", MIB) < 0 ||
	    raw_open(&b, "disk", false) < 0)
		return NULL;
	return b;
}

static struct block *throttled(struct limit_rate requests,
			       struct limit_rate bytes)
{
	struct limit_rates l = { requests, bytes };
	struct block *b = disk();

	return b && throttle_open(&b, b, &l) == 0 ? b : NULL;
}

static int write_at(struct block *b, uint64_t off, size_t len)
{
	struct iovec v = { buf, len };

	return block_writev(b, &v, 1, off);
}

static int read_at(struct block *b, uint64_t off, size_t len)
{
	struct iovec v = { buf, len };

	return block_readv(b, &v, 1, off);
}

/* ---------------------------------------------------------------- throttle */

TEST(without_limits_everything_goes_through)
{
	struct block *b = throttled((struct limit_rate){ 0 },
				    (struct limit_rate){ 0 });
	struct block_extent e;
	uint64_t n;

	OK(b);
	memset(buf, 0x5a, sizeof(buf));
	EQ(write_at(b, 4096, sizeof(buf)), 0);
	memset(buf, 0, sizeof(buf));
	EQ(read_at(b, 4096, sizeof(buf)), 0);
	EQ(buf[0] + buf[sizeof(buf) - 1], 2 * 0x5a);
	EQ(block_flush(b), 0);
	EQ(block_zero(b, 4096, 4096, true), 0);
	EQ(block_discard(b, 8192, 4096), 0);
	EQ(block_status(b, 16384, 4096, &n), BLOCK_DATA);
	EQ(n, 4096);
	EQ(block_resize(b, 2 * MIB), 0);
	EQ(b->size, 2 * MIB);
	EQ(write_at(b, 2 * MIB - 512, 512), 0);
	OK(block_fd(b) >= 0);
	EQ(block_map(b, 0, 512, false, &e), -EAGAIN);
	block_close(b);
}

TEST(requests_are_no_faster_than_the_limit)
{
	struct block *b = throttled((struct limit_rate){ 1000, 10 },
				    (struct limit_rate){ 0 });
	uint64_t begin = now_ns();

	OK(b);
	for (int i = 0; i < 60; i++)
		EQ(i % 2 ? read_at(b, 0, 512) : write_at(b, 0, 512), 0);
	OK(now_ns() - begin >= 50ull * MS);
	block_close(b);
}

TEST(bytes_are_no_faster_than_the_limit)
{
	struct block *b = throttled((struct limit_rate){ 0 },
				    (struct limit_rate){ MIB, 4096 });
	uint64_t begin = now_ns();

	OK(b);
	/* One larger than the burst has to wait, and gets through. */
	EQ(write_at(b, 0, sizeof(buf)), 0);
	OK(now_ns() - begin >= 1000ull * MS * (sizeof(buf) - 4096) / MIB);
	block_close(b);
}

TEST(a_burst_goes_at_once)
{
	/* After it, the next would come in eight minutes. */
	struct block *b = throttled((struct limit_rate){ 0 },
				    (struct limit_rate){ 1, 4096 });

	OK(b);
	for (int i = 0; i < 8; i++)
		EQ(write_at(b, i * 512, 512), 0);
	EQ(block_flush(b), 0);
	block_close(b);
}

static void *write_some(void *b)
{
	for (int i = 0; i < 15; i++)
		if (write_at(b, i * 512, 512) < 0)
			return b;
	return NULL;
}

TEST(threads_share_one_limit)
{
	struct block *b = throttled((struct limit_rate){ 1000, 1 },
				    (struct limit_rate){ 0 });
	uint64_t begin = now_ns();
	pthread_t t[4];
	void *wrong;

	OK(b);
	for (int i = 0; i < 4; i++)
		EQ(pthread_create(&t[i], NULL, write_some, b), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &wrong);
		OK(!wrong);
	}
	OK(now_ns() - begin >= 59ull * MS);
	block_close(b);
}

TEST(other_limits_wake_those_who_sleep)
{
	struct limit_rates none = { 0 }, little = { .bytes = { 1, 512 } };
	struct limit_rates some = { .requests = { 1000 } };
	struct block *b = throttled(none.requests, little.bytes);
	pthread_t t[3];
	void *wrong;

	OK(b);
	for (int i = 0; i < 3; i++)
		EQ(pthread_create(&t[i], NULL, write_some, b), 0);
	usleep(20000);
	throttle_set(b, &little);	/* they sleep again */
	usleep(20000);
	throttle_set(b, &some);
	usleep(2000);
	throttle_set(b, &none);
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], &wrong);
		OK(!wrong);
	}
	block_close(b);
}

TEST(numbers_of_any_size_are_limits)
{
	static const struct limit_rate rates[] = {
		{ UINT64_MAX, UINT64_MAX }, { UINT64_MAX, 1 },
		{ 1, UINT64_MAX }, { UINT64_MAX, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		struct block *b = throttled(rates[i], rates[i]);

		OK(b);
		for (int k = 0; k < 20; k++)
			EQ(write_at(b, 0, sizeof(buf)), 0);
		block_close(b);
	}
}

/* ------------------------------------------------------------------- fault */

static struct block *faulty(const struct fault_rule *rules, size_t n)
{
	struct block *b = disk();

	return b && fault_open(&b, b, rules, n) == 0 ? b : NULL;
}

TEST(the_nth_request_fails_and_those_around_it_do_not)
{
	static const struct fault_rule rules[] = {
		{ .ops = FAULT_WRITE, .first = 3, .count = 2, .rc = -EIO },
		{ .ops = FAULT_FLUSH, .first = 2, .rc = -ENOSPC },
	};
	static const int expected[] = { 0, 0, -EIO, -EIO, 0, 0 };
	struct block *b = faulty(rules, 2);
	struct block_extent e;

	OK(b);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		EQ(read_at(b, 0, 512), 0);
		EQ(write_at(b, 0, 512), expected[i]);
	}
	EQ(fault_hits(b, 0), 2);
	EQ(block_flush(b), 0);
	EQ(block_flush(b), -ENOSPC);
	EQ(block_flush(b), -ENOSPC);
	EQ(fault_hits(b, 1), 2);
	EQ(block_map(b, 0, 512, false, &e), -EAGAIN);
	block_close(b);
}

TEST(a_disk_is_full_after_so_many_bytes)
{
	static const struct fault_rule rules[] = {
		{ .ops = FAULT_WRITE, .bytes = 4096, .rc = -ENOSPC },
	};
	struct block *b = faulty(rules, 1);

	OK(b);
	EQ(write_at(b, 0, 3072), 0);
	EQ(write_at(b, 0, 1024), 0);
	EQ(write_at(b, 0, 512), -ENOSPC);
	EQ(write_at(b, 0, 512), -ENOSPC);
	EQ(read_at(b, 0, 8192), 0);
	block_close(b);
}

TEST(a_delay_is_one_and_rules_add_up)
{
	static const struct fault_rule rules[] = {
		{ .ops = FAULT_ALL, .delay_ns = 10 * MS },
		{ .ops = FAULT_ZERO | FAULT_DISCARD, .delay_ns = 10 * MS,
		  .rc = -EOPNOTSUPP },
	};
	struct block *b = faulty(rules, 2);
	uint64_t begin = now_ns();

	OK(b);
	EQ(read_at(b, 0, 512), 0);
	OK(now_ns() - begin >= 10 * MS);
	begin = now_ns();
	EQ(block_zero(b, 0, 512, false), -EOPNOTSUPP);
	EQ(block_discard(b, 0, 512), -EOPNOTSUPP);
	OK(now_ns() - begin >= 40 * MS);
	EQ(fault_hits(b, 0), 3);
	EQ(fault_hits(b, 1), 2);
	block_close(b);
}

TEST(what_fails_did_not_happen)
{
	static const struct fault_rule rules[] = {
		{ .ops = FAULT_WRITE, .first = 2, .rc = -EIO },
	};
	struct block *b = faulty(rules, 1);

	OK(b);
	memset(buf, 1, 512);
	EQ(write_at(b, 0, 512), 0);
	memset(buf, 2, 512);
	EQ(write_at(b, 0, 512), -EIO);
	EQ(read_at(b, 0, 512), 0);
	EQ(buf[0], 1);
	block_close(b);
}

TEST(too_many_rules_are_refused)
{
	static const struct fault_rule rules[FAULT_RULES + 1];
	struct block *b = disk(), *f;

	OK(b);
	EQ(fault_open(&f, b, rules, FAULT_RULES + 1), -E_CONFIG);
	EQ(fault_open(&f, b, rules, FAULT_RULES), 0);
	block_close(f);
}

int main(void)
{
	static const struct test tests[] = {
		T(without_limits_everything_goes_through),
		T(requests_are_no_faster_than_the_limit),
		T(bytes_are_no_faster_than_the_limit),
		T(a_burst_goes_at_once),
		T(threads_share_one_limit),
		T(other_limits_wake_those_who_sleep),
		T(numbers_of_any_size_are_limits),
		T(the_nth_request_fails_and_those_around_it_do_not),
		T(a_disk_is_full_after_so_many_bytes),
		T(a_delay_is_one_and_rules_add_up),
		T(what_fails_did_not_happen),
		T(too_many_rules_are_refused),
	};
	int rc;

	scratch_make(dir);
	rc = test_run(tests, ARRAY_SIZE(tests));
	scratch_remove(dir);
	return rc;
}
