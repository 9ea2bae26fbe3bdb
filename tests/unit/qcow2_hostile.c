/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images of an enemy: headers, tables and entries that cannot be.
 */
#include "block/qcow2.h"

#include "qcow2_image.h"
#include "test.h"

static char dir[SCRATCH_BYTES];

/* -- headers of enemies -- */

TEST(headers_that_cannot_be_are_refused)
{
	static const struct { unsigned off, bytes; uint64_t val; int rc; } c[] = {
		{ 0, 4, 0x514649fa, -E_CONFIG },
		{ 4, 4, 1, -E_CONFIG },
		{ 4, 4, 4, -E_CONFIG },
		{ 8, 8, 16, -E_VERIFY },		/* backing name: in the header */
		{ 8, 8, CLUSTER - 8, -E_VERIFY },	/* over the cluster's end */
		{ 8, 8, UINT64_MAX, -E_VERIFY },
		{ 16, 4, 1024, -E_VERIFY },
		{ 16, 4, UINT32_MAX, -E_VERIFY },
		{ 20, 4, 8, -E_VERIFY },		/* cluster bits */
		{ 20, 4, 22, -E_VERIFY },
		{ 20, 4, 63, -E_VERIFY },
		{ 20, 4, UINT32_MAX, -E_VERIFY },
		{ 24, 8, 0, -E_CONFIG },		/* size */
		{ 24, 8, 513, -E_CONFIG },
		{ 24, 8, 1ULL << 63, -E_CONFIG },
		{ 24, 8, 1ULL << 50, -E_VERIFY },	/* more than L1 says */
		{ 32, 4, 1, -E_CONFIG },		/* encryption */
		{ 32, 4, 2, -E_CONFIG },
		{ 36, 4, 0, -E_VERIFY },		/* L1 */
		{ 36, 4, UINT32_MAX, -E_VERIFY },
		{ 36, 4, (32 << 20) / 8 + 1, -E_VERIFY },
		{ 36, 4, 1 << 16, -E_VERIFY },		/* over the file's end */
		{ 40, 8, 0, -E_VERIFY },
		{ 40, 8, L1 + 512, -E_VERIFY },
		{ 40, 8, 1ULL << 40, -E_VERIFY },
		{ 40, 8, UINT64_MAX - CLUSTER + 1, -E_VERIFY },
		{ 48, 8, 0, -E_VERIFY },		/* refcount table */
		{ 48, 8, REFTABLE + 1, -E_VERIFY },
		{ 48, 8, 1ULL << 62, -E_VERIFY },
		{ 56, 4, 0, -E_VERIFY },
		{ 56, 4, 129, -E_VERIFY },
		{ 56, 4, UINT32_MAX, -E_VERIFY },
		{ 60, 4, 65537, -E_VERIFY },		/* snapshots */
		{ 60, 4, 1, -E_VERIFY },
		{ 72, 8, 1 << 2, -E_CONFIG },		/* incompatible */
		{ 72, 8, 1 << 3, -E_VERIFY },
		{ 72, 8, 1 << 4, -E_CONFIG },
		{ 72, 8, 1 << 5, -E_CONFIG },
		{ 72, 8, 1ULL << 63, -E_CONFIG },
		{ 96, 4, 7, -E_VERIFY },		/* refcount order */
		{ 96, 4, UINT32_MAX, -E_VERIFY },
		{ 100, 4, 0, -E_VERIFY },		/* length */
		{ 100, 4, 96, -E_VERIFY },
		{ 100, 4, 105, -E_VERIFY },
		{ 100, 4, CLUSTER + 8, -E_VERIFY },
		{ 104, 1, 1, -E_VERIFY },		/* compression */
		{ 104, 1, 2, -E_CONFIG },
		{ 116, 4, CLUSTER, -E_VERIFY },		/* extension */
		{ 116, 4, UINT32_MAX, -E_VERIFY },
	};
	struct qcow2_create with_backing = { .size = MIB, .backing = "b",
					     .backing_format = "raw" };

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		struct qcow2_info info;
		struct qcow2_check result;
		int fd, rc;

		EQ(create_with(with_backing), 0);
		OK(poke(c[i].off, c[i].bytes, c[i].val));
		fd = open("a.qcow2", O_RDWR | O_CLOEXEC);
		rc = qcow2_info(fd, &info);
		EQ(qcow2_check(fd, true, &result), rc);
		close(fd);
		if (rc != c[i].rc)
			printf("# case %zu at %u\n", i, c[i].off);
		EQ(rc, c[i].rc);
	}
}

TEST(short_files_and_others_are_no_images)
{
	struct block *b;

	/* The L1 table, last in the file, has one entry. */
	for (off_t size = L1 + 7; size >= 0; size -= 105) {
		EQ(create(MIB, 0), 0);
		EQ(truncate("a.qcow2", size), 0);
		OK(qcow2_open(&b, "a.qcow2", false, NULL) < 0);
		OK(qcow2_open(&b, "a.qcow2", true, NULL) < 0);
	}
	EQ(qcow2_open(&b, "/dev/zero", true, NULL), -E_CONFIG);
	EQ(qcow2_open(&b, ".", true, NULL), -E_CONFIG);
	EQ(qcow2_open(&b, "none", true, NULL), -ENOENT);
}

TEST(writers_leave_alone_what_they_would_spoil)
{
	struct block *b;

	EQ(create(MIB, 0), 0);
	OK(poke(72, 8, 2));		/* corrupt */
	EQ(qcow2_open(&b, "a.qcow2", false, NULL), -E_VERIFY);
	OK(b = open_image(true));
	block_close(b);

	EQ(create(MIB, 0), 0);
	OK(poke(4, 4, 2));
	EQ(qcow2_open(&b, "a.qcow2", false, NULL), -E_CONFIG);
	OK(b = open_image(true));
	block_close(b);
}

TEST(features_that_a_writer_does_not_keep_are_cleared)
{
	struct block *b;

	EQ(create(MIB, 0), 0);
	OK(poke(88, 8, 0x8000000000000005));
	OK(b = open_image(true));
	block_close(b);
	EQ(peek(88), 0x8000000000000005);
	OK(b = open_image(false));
	EQ(peek(88), 0);
	block_close(b);
}

TEST(tables_over_tables_are_not_written)
{
	static const struct { unsigned off; uint64_t val; } c[] = {
		{ L1, 0 | COPIED },		/* L2 over the header */
		{ L1, REFTABLE | COPIED },
		{ L1, REFBLOCK | COPIED },
		{ L1, L1 | COPIED },
		{ L1, 512 | COPIED },
		{ L1, 1ULL << 40 | COPIED },
		{ L1, 1ULL << 60 },
		{ L1, UINT64_MAX },
		{ REFTABLE, L1 },
		{ REFTABLE, REFTABLE },
		{ REFTABLE, REFBLOCK + 1 },
		{ REFTABLE, 1ULL << 62 },
		{ REFTABLE + 8, REFBLOCK },
		{ 40, REFTABLE },
		{ 48, L1 },
	};
	struct block *b;

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		EQ(create(MIB, 0), 0);
		OK(poke(c[i].off, 8, c[i].val));
		EQ(qcow2_open(&b, "a.qcow2", false, NULL), -E_VERIFY);
		OK(b = open_image(true));
		all_are(b, 0, 0, MIB);
		block_close(b);
		OK(checked(true).errors > 0);
	}
}

TEST(entries_that_cannot_be_are_an_error_and_stop_writers)
{
	static const uint64_t c[] = {
		COPIED | REFTABLE, COPIED | REFBLOCK, COPIED | L1,
		L1,			/* shared with itself */
		COPIED | 4 * CLUSTER,	/* the L2 table itself */
		COPIED | (5 * CLUSTER + 512), COPIED | 512,
		COPIED | 1ULL << 41, 5 * CLUSTER | 2, 1ULL << 56, 1ULL << 61,
		UINT64_MAX,
		PACKED | 0, PACKED | L1, PACKED | 1ULL << 50,
		PACKED | (4 * CLUSTER - 512) | 1ULL << 54,
		PACKED | (PACKED - 1),
	};

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		struct block *b = fresh(MIB, 0);
		uint64_t l2;

		OK(b);
		EQ(put_byte(b, 1, CLUSTER, CLUSTER), 0);
		block_close(b);
		l2 = l2_off();
		EQ(l2, 4 * CLUSTER);
		OK(poke(l2, 8, c[i]));
		OK(b = open_image(false));
		OK(!all_are(b, 0, 0, 512));
		EQ(put_byte(b, 2, 0, 512), -EIO);
		EQ(put_byte(b, 2, CLUSTER, 512), -EIO);
		EQ(block_flush(b), -EIO);
		OK(all_are(b, 1, CLUSTER, CLUSTER));
		block_close(b);
		EQ(peek(72), 2);
	}
}

TEST(compressed_rubbish_is_an_error)
{
	struct block *b = fresh(MIB, 0);
	uint64_t data;

	OK(b);
	EQ(put_byte(b, 0x77, CLUSTER, CLUSTER), 0);
	data = place_of(b, CLUSTER);
	block_close(b);
	for (unsigned sectors = 0; sectors < 256; sectors += 85) {
		OK(poke(l2_off(), 8,
			PACKED | (uint64_t)sectors << 54 | data));
		OK(b = open_image(true));
		EQ(io(b, false, (char[512]){ 0 }, 512, 512), -EIO);
		block_close(b);
	}
}

static void clean_up(void)
{
	scratch_remove(dir);
}

int main(void)
{
	static const struct test tests[] = {
		T(headers_that_cannot_be_are_refused),
		T(short_files_and_others_are_no_images),
		T(writers_leave_alone_what_they_would_spoil),
		T(features_that_a_writer_does_not_keep_are_cleared),
		T(tables_over_tables_are_not_written),
		T(entries_that_cannot_be_are_an_error_and_stop_writers),
		T(compressed_rubbish_is_an_error),
	};

	scratch_make(dir);
	atexit(clean_up);
	return test_run(tests, ARRAY_SIZE(tests));
}
