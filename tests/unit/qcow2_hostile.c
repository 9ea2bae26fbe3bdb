/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images of an enemy: headers, tables and entries that cannot be.
 */
#include "block/qcow2.h"

#include <zlib.h>
#include <zstd.h>

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

/* What the header says, of a file that is long enough for all of it. */
static int says(unsigned off, uint64_t val)
{
	autoclose int fd = open("a.qcow2", O_RDWR | O_CLOEXEC);
	struct qcow2_info info;
	int rc;

	if (!poke(off, 4, val) || ftruncate(fd, 80 * MIB) < 0)
		return -1;
	rc = qcow2_info(fd, &info);
	qcow2_info_release(&info);
	return rc;
}

TEST(tables_have_a_largest_size_however_long_the_file_is)
{
	EQ(create(MIB, 0), 0);
	EQ(says(36, (32 << 20) / 8), 0);
	EQ(says(36, (32 << 20) / 8 + 1), -E_VERIFY);
	OK(strstr(err_text(), "the size of the L1 table"));
	EQ(create(MIB, 0), 0);
	EQ(says(56, (8 << 20) / CLUSTER), 0);
	EQ(says(56, (8 << 20) / CLUSTER + 1), -E_VERIFY);
	OK(strstr(err_text(), "the size of the refcount table"));
	EQ(create(MIB, 0), 0);
	OK(poke(64, 8, 4 * CLUSTER));
	EQ(says(60, 65536), 0);
	EQ(says(60, 65537), -E_VERIFY);
	OK(strstr(err_text(), "the number of snapshots"));
}

TEST(clusters_of_512_bytes_to_2_mib_are_opened)
{
	for (unsigned bits = 9; bits <= 21; bits++) {
		struct block *b = fresh(4 * MIB, bits);

		OK(b);
		EQ(put_byte(b, bits, MIB, 512), 0);
		OK(all_are(b, bits, MIB, 512) && all_are(b, 0, 0, 512));
		block_close(b);
	}
	EQ(says(20, 8), -E_VERIFY);
	OK(strstr(err_text(), "the size of clusters"));
	EQ(says(20, 22), -E_VERIFY);
	OK(strstr(err_text(), "the size of clusters"));
}

TEST(a_backing_file_is_never_opened_by_its_name)
{
	static const char *const names[] = {
		"json:{\"driver\":\"file\",\"filename\":\"secret\"}",
		"nbd://localhost/x", "http://localhost/x", "fat:rw:.",
		"secret", "./secret", "/dev/zero", "../secret",
	};

	EQ(create(MIB, 0), 0);
	EQ(rename("a.qcow2", "secret"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct qcow2_create c = { .size = MIB, .backing = names[i],
					  .backing_format = "raw" };
		struct block *b = NULL, *below = NULL;
		struct qcow2_info info;
		char first[512];
		int fd, next;

		EQ(create_with(c), 0);
		fd = open("a.qcow2", O_RDONLY | O_CLOEXEC);
		EQ(qcow2_info(fd, &info), 0);
		EQ(qcow2_alone(&info), -E_CONFIG);
		OK(!strcmp(info.backing, names[i]));
		qcow2_info_release(&info);
		close(fd);
		EQ(qcow2_open(&b, "a.qcow2", true, NULL), -E_CONFIG);
		/* the caller's, and no other file is opened */
		EQ(raw_open(&below, "a.qcow2", true), 0);
		EQ(qcow2_open(&b, "a.qcow2", true, below), 0);
		next = open("/dev/null", O_RDONLY | O_CLOEXEC);
		close(next);
		EQ(next, block_fd(b) + 1);
		EQ(io(b, false, first, 0, sizeof(first)), 0);
		OK(!memcmp(first, "QFI\xfb", 4));
		block_close(b);
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

TEST(readers_take_no_l1_entry_with_bits_that_mean_nothing)
{
	for (unsigned bit = 0; bit < 63; bit += bit == 8 ? 48 : 1) {
		struct block *b = fresh(MIB, 0);

		OK(b);
		EQ(put_byte(b, 1, 0, 512), 0);
		block_close(b);
		OK(b = open_image(true));
		OK(all_are(b, 1, 0, 512));
		block_close(b);
		OK(poke(L1, 8, l2_off() | COPIED | 1ULL << bit));
		OK(b = open_image(true));
		EQ(io(b, false, (char[512]){ 0 }, 0, 512), -EIO);
		block_close(b);
	}
}

TEST(what_lies_behind_the_end_of_a_file_is_zeros)
{
	struct block *b = fresh(MIB, 0);
	struct block_extent e;

	OK(b);
	EQ(put_byte(b, 1, 0, CLUSTER), 0);
	block_close(b);
	EQ(truncate("a.qcow2", file_size() - 1024), 0);
	OK(b = open_image(true));
	OK(all_are(b, 1, 0, CLUSTER - 1024) && all_are(b, 0, CLUSTER - 1024, 1024));
	EQ(block_map(b, 0, CLUSTER, false, &e), -EAGAIN);
	EQ(block_map(b, 0, 512, false, &e), 0);
	block_unmap(b, &e);
	block_close(b);
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

/* The first cluster is LEN bytes of STREAM from now on, compressed. */
static struct block *packed(const void *stream, size_t len, bool zstd)
{
	struct block *b = fresh(MIB, 0);
	autoclose int fd = open("a.qcow2", O_RDWR | O_CLOEXEC);
	uint64_t data;

	if (!b || put_byte(b, 0x77, CLUSTER, CLUSTER) < 0)
		return NULL;
	data = place_of(b, CLUSTER);
	block_close(b);
	if (pwrite_all(fd, stream, len, data) < 0 ||
	    !poke(l2_off(), 8, PACKED | (uint64_t)(len / 512) << 54 | data))
		return NULL;
	if (zstd && !(poke(72, 8, 1 << 3) && poke(104, 1, 1)))
		return NULL;
	return open_image(true);
}

/* As qcow2 has it: raw deflate of a small window. */
static size_t deflated(void *to, size_t most, const void *from, size_t len)
{
	z_stream z = { .next_in = (Bytef *)from, .avail_in = len,
		       .next_out = to, .avail_out = most };

	if (deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return z.total_out;
}

TEST(a_compressed_cluster_is_as_long_as_a_cluster)
{
	enum { MUCH = 64 * CLUSTER };
	autofree char *plain = calloc(1, MUCH), *stream = malloc(CLUSTER);
	size_t lens[] = { CLUSTER, MUCH, CLUSTER - 1, 512 };

	OK(plain && stream);
	memset(plain, 3, MUCH);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		bool enough = lens[i] >= CLUSTER;
		struct block *b;
		size_t n = deflated(stream, CLUSTER, plain, lens[i]);

		OK(n && (b = packed(stream, n, false)));
		EQ(all_are(b, 3, 0, CLUSTER), enough);
		EQ(all_are(b, 3, 512, 512), enough);
		block_close(b);
		n = ZSTD_compress(stream, CLUSTER, plain, lens[i], 1);
		OK(!ZSTD_isError(n) && (b = packed(stream, n, true)));
		EQ(all_are(b, 3, 0, CLUSTER), enough);
		block_close(b);
	}
}

TEST(a_compressed_cluster_that_is_discarded_does_not_show_what_lies_below)
{
	struct qcow2_create c = { .size = MIB, .backing = "below",
				  .backing_format = "raw" };
	char stream[512], plain[CLUSTER];
	struct block *b, *below;
	uint64_t data;
	int fd = open("below", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	memset(plain, 5, sizeof(plain));
	EQ(pwrite_all(fd, plain, sizeof(plain), 0), 0);
	memset(plain, 3, sizeof(plain));
	close(fd);
	OK(deflated(stream, sizeof(stream), plain, CLUSTER) < 512);
	EQ(create_with(c), 0);
	EQ(raw_open(&below, "below", true), 0);
	EQ(qcow2_open(&b, "a.qcow2", false, below), 0);
	EQ(put_byte(b, 1, CLUSTER, 512), 0);
	data = place_of(b, CLUSTER);
	block_close(b);
	fd = open("a.qcow2", O_RDWR | O_CLOEXEC);
	EQ(pwrite_all(fd, stream, 512, data), 0);
	close(fd);
	OK(poke(l2_off(), 8, PACKED | data) && poke(l2_off() + 8, 8, 0));
	EQ(raw_open(&below, "below", true), 0);
	EQ(qcow2_open(&b, "a.qcow2", false, below), 0);
	OK(all_are(b, 3, 0, CLUSTER));
	EQ(block_discard(b, 0, CLUSTER), 0);
	OK(all_are(b, 0, 0, CLUSTER));
	block_close(b);
}

TEST(a_stream_may_not_ask_for_much_memory)
{
	static char plain[CLUSTER], stream[2 * CLUSTER];
	ZSTD_CCtx *z = ZSTD_createCCtx();

	OK(z);
	for (int window = 17; window <= 27; window += 10) {
		ZSTD_inBuffer in = { plain, sizeof(plain), 0 };
		ZSTD_outBuffer out = { stream, sizeof(stream), 0 };
		struct block *b;

		ZSTD_CCtx_reset(z, ZSTD_reset_session_and_parameters);
		ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, window);
		/* in two parts, so that its size is not known before */
		ZSTD_compressStream2(z, &out, &in, ZSTD_e_flush);
		EQ(ZSTD_compressStream2(z, &out, &in, ZSTD_e_end), 0);
		OK(b = packed(stream, out.pos, true));
		EQ(all_are(b, 0, 0, CLUSTER), window == 17);
		block_close(b);
	}
	ZSTD_freeCCtx(z);
}

static void clean_up(void)
{
	scratch_remove(dir);
}

int main(void)
{
	static const struct test tests[] = {
		T(headers_that_cannot_be_are_refused),
		T(tables_have_a_largest_size_however_long_the_file_is),
		T(clusters_of_512_bytes_to_2_mib_are_opened),
		T(a_backing_file_is_never_opened_by_its_name),
		T(short_files_and_others_are_no_images),
		T(writers_leave_alone_what_they_would_spoil),
		T(features_that_a_writer_does_not_keep_are_cleared),
		T(tables_over_tables_are_not_written),
		T(readers_take_no_l1_entry_with_bits_that_mean_nothing),
		T(what_lies_behind_the_end_of_a_file_is_zeros),
		T(entries_that_cannot_be_are_an_error_and_stop_writers),
		T(compressed_rubbish_is_an_error),
		T(a_compressed_cluster_is_as_long_as_a_cluster),
		T(a_compressed_cluster_that_is_discarded_does_not_show_what_lies_below),
		T(a_stream_may_not_ask_for_much_memory),
	};

	scratch_make(dir);
	atexit(clean_up);
	return test_run(tests, ARRAY_SIZE(tests));
}
