/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "vmm/mem.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
static const gpa_t high = 4 * GIB;

TEST(ram_is_zero_and_keeps_what_is_written)
{
	struct mem m;
	uint8_t buf[16] = { 1 };

	EQ(mem_init(&m, 4 * MIB, 3 * GIB), 0);
	EQ(m.n, 1);
	EQ(m.size, 4 * MIB);
	EQ(mem_read(&m, 4 * MIB - 16, buf, 16), 0);
	EQ(buf[0], 0);
	EQ(mem_write(&m, 4 * MIB - 3, "abc", 3), 0);
	EQ(mem_read(&m, 4 * MIB - 3, buf, 3), 0);
	OK(!memcmp(buf, "abc", 3));
	EQ(mem_zero(&m, 4 * MIB - 2, 2), 0);
	EQ(mem_read(&m, 4 * MIB - 3, buf, 3), 0);
	OK(!memcmp(buf, "a\0\0", 3));
	mem_release(&m);
}

TEST(more_than_low_max_goes_on_at_4_gib)
{
	struct mem m;
	char c;

	EQ(mem_init(&m, 6 * MIB, 4 * MIB), 0);
	EQ(m.n, 2);
	EQ(m.range[1].base, high);
	EQ(m.range[1].size, 2 * MIB);
	EQ(mem_write(&m, high + 2 * MIB - 1, "x", 1), 0);
	EQ(mem_read(&m, high + 2 * MIB - 1, &c, 1), 0);
	EQ(c, 'x');
	EQ(mem_read(&m, high + 2 * MIB, &c, 1), -EFAULT);
	EQ(mem_read(&m, high - 1, &c, 1), -EFAULT);
	EQ(mem_read(&m, 4 * MIB, &c, 1), -EFAULT);
	mem_release(&m);
}

TEST(mapping_is_aligned_for_huge_pages)
{
	struct mem m;

	EQ(mem_init(&m, 3 * MIB + 4096, 2 * MIB), 0);
	EQ((uintptr_t)m.range[0].host % (2 * MIB), 0);
	EQ((uintptr_t)m.range[1].host % (2 * MIB), 0);
	mem_release(&m);
}

TEST(nothing_beyond_ram_resolves)
{
	static const struct { gpa_t gpa; uint64_t len; } bad[] = {
		{ 4 * MIB - 1, 2 }, { 4 * MIB, 1 }, { UINT64_MAX, 1 },
		{ UINT64_MAX, 2 }, { 0, UINT64_MAX }, { 1, UINT64_MAX },
		{ high - 1, 2 }, { high, 2 * MIB + 1 }, { high + 2 * MIB, 1 },
		{ 0xfee00000, 4 }, { 4 * MIB - 1, high }, { 0, high + 1 },
		{ high - 4, UINT64_MAX - high + 5 },
	};
	struct mem m;
	struct iovec iov;

	EQ(mem_init(&m, 6 * MIB, 4 * MIB), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		OK(!mem_valid(&m, bad[i].gpa, bad[i].len));
		EQ(mem_iov(&m, bad[i].gpa, bad[i].len, &iov), -EFAULT);
		EQ(mem_read(&m, bad[i].gpa, NULL, bad[i].len), -EFAULT);
		EQ(mem_write(&m, bad[i].gpa, NULL, bad[i].len), -EFAULT);
		EQ(mem_zero(&m, bad[i].gpa, bad[i].len), -EFAULT);
	}
	OK(mem_valid(&m, 0, 4 * MIB));
	OK(mem_valid(&m, 4 * MIB, 0));
	OK(mem_valid(&m, high, 2 * MIB));
	mem_release(&m);
}

TEST(words_are_little_endian_and_aligned)
{
	struct mem m;
	uint16_t v;
	uint8_t bytes[2];

	EQ(mem_init(&m, 4096, 3 * GIB), 0);
	EQ(mem_store16(&m, 4094, 0x1234), 0);
	EQ(mem_read(&m, 4094, bytes, 2), 0);
	EQ(bytes[0], 0x34);
	EQ(mem_load16(&m, 4094, &v), 0);
	EQ(v, 0x1234);
	EQ(mem_load16(&m, 1, &v), -EFAULT);
	EQ(mem_store16(&m, 3, 0), -EFAULT);
	EQ(mem_load16(&m, 4096, &v), -EFAULT);
	EQ(mem_load16(&m, 4095, &v), -EFAULT);
	mem_release(&m);
}

TEST(iovec_is_the_guests_memory)
{
	struct mem m;
	struct iovec iov;
	char c;

	EQ(mem_init(&m, 4096, 3 * GIB), 0);
	EQ(mem_iov(&m, 100, 3, &iov), 0);
	EQ(iov.iov_len, 3);
	memcpy(iov.iov_base, "xyz", 3);
	EQ(mem_read(&m, 102, &c, 1), 0);
	EQ(c, 'z');
	mem_release(&m);
}

TEST(impossible_sizes_are_refused_in_words)
{
	struct mem m;

	EQ(mem_init(&m, 0, 3 * GIB), -E_CONFIG);
	EQ(mem_init(&m, 4097, 3 * GIB), -E_CONFIG);
	EQ(mem_init(&m, 1ULL << 60, 3 * GIB), -E_CONFIG);
	OK(strstr(err_text(), "memory: no room for"));
	EQ(mem_init(&m, UINT64_MAX - 4095, 3 * GIB), -E_CONFIG);
	EQ(m.n, 0);
	mem_release(&m);
}

TEST(files_load_whole_or_not_at_all)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	struct mem m;
	char buf[4];

	EQ(mem_init(&m, 8192, 3 * GIB), 0);
	EQ(write(fd, "0123456789", 10), 10);
	EQ(mem_load(&m, 4094, fd, 3, 4, "f"), 0);
	EQ(mem_read(&m, 4094, buf, 4), 0);
	OK(!memcmp(buf, "3456", 4));
	EQ(mem_load(&m, 0, fd, 3, 8, "f"), -E_CONFIG);
	STR(err_text(), "f: ends early");
	EQ(mem_load(&m, 8190, fd, 0, 4, "f"), -E_CONFIG);
	OK(strstr(err_text(), "do not fit"));
	EQ(mem_load(&m, 0, fd, UINT64_MAX - 1, 4, "f"), -E_CONFIG);
	EQ(mem_load(&m, UINT64_MAX, fd, 0, 4, "f"), -E_CONFIG);
	EQ(mem_load(&m, 8192, fd, 10, 0, "f"), 0);
	EQ(mem_load(&m, 0, -1, 0, 1, "f"), -EBADF);
	close(fd);
	mem_release(&m);
}

TESTS(T(ram_is_zero_and_keeps_what_is_written),
      T(more_than_low_max_goes_on_at_4_gib),
      T(mapping_is_aligned_for_huge_pages),
      T(nothing_beyond_ram_resolves),
      T(words_are_little_endian_and_aligned),
      T(iovec_is_the_guests_memory),
      T(impossible_sizes_are_refused_in_words),
      T(files_load_whole_or_not_at_all))
