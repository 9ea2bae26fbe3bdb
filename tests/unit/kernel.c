/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/kernel.h"

#include <archive.h>
#include <archive_entry.h>

#include "base/err.h"
#include "state/cache.h"

#include "scratch.h"
#include "test.h"

/* What the kernels of these tests unpack to. */
enum { ELF_BYTES = 300000, SETUP_SECTS = 3, SETUP = (SETUP_SECTS + 1) * 512 };

static char dir[SCRATCH_BYTES];
static struct store st;
static char elf[ELF_BYTES];

static void make_state(void)
{
	uint32_t seed = 1;

	scratch_make(dir);
	if (store_open(&st, "s", true) < 0)
		printf("# %s\n", err_text());
	for (size_t i = 0; i < ELF_BYTES; i++) {
		seed = seed * 1103515245 + 12345;
		elf[i] = i % 3 ? i / 100 : seed >> 24;
	}
	memcpy(elf, "\177ELF\2\1\1", 7);
}

static void drop_state(void)
{
	store_close(&st);
	scratch_remove(dir);
}

static void put32(char *p, uint32_t v)
{
	le32 le = to_le32(v);

	memcpy(p, &le, sizeof(le));
}

/* The file `k`: a bzImage with PAYLOAD at 64 bytes into its second part. */
static bool put_bzimage(const struct buf *payload)
{
	autobuf struct buf b = BUF_INIT;
	char head[SETUP + 64] = { [0x1f1] = SETUP_SECTS };
	int fd = open("k", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	bool ok;

	memcpy(head + 0x1fe, "\x55\xaa", 2);
	memcpy(head + 0x202, "HdrS\x0f\x02", 6);
	put32(head + 0x248, 64);
	put32(head + 0x24c, payload->len);
	buf_add(&b, head, sizeof(head));
	buf_add(&b, payload->data, payload->len);
	buf_add(&b, "and code behind it", 18);
	ok = fd >= 0 && write_all(fd, b.data, b.len) == 0;
	close_fd(&fd);
	return ok;
}

static void add_size(struct buf *b, uint32_t size)
{
	char tail[4];

	put32(tail, size);
	buf_add(b, tail, sizeof(tail));
}

static ssize_t add_piece(struct archive *a, void *arg, const void *data,
			 size_t n)
{
	(void)a;
	buf_add(arg, data, n);
	return n;
}

/* Appends the N bytes of DATA to B as FILTER compresses them. */
static bool compress(struct buf *b, const char *filter, const char *data,
		     size_t n)
{
	struct archive *a = archive_write_new();
	struct archive_entry *e = archive_entry_new();
	bool ok;

	archive_entry_set_pathname(e, "data");
	archive_entry_set_filetype(e, AE_IFREG);
	ok = archive_write_set_format_raw(a) == ARCHIVE_OK &&
	     archive_write_add_filter_by_name(a, filter) == ARCHIVE_OK &&
	     archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK &&
	     archive_write_open(a, b, NULL, add_piece, NULL) == ARCHIVE_OK &&
	     archive_write_header(a, e) == ARCHIVE_OK &&
	     archive_write_data(a, data, n) == (ssize_t)n &&
	     archive_write_close(a) == ARCHIVE_OK;
	archive_entry_free(e);
	archive_write_free(a);
	return ok;
}

static int unpack(void)
{
	return kernel_unpack(&st, AT_FDCWD, "k");
}

/* Whether the cache holds ELF for `k`. */
static bool is_unpacked(void)
{
	static char got[ELF_BYTES + 1];
	autoclose int fd = open("k", O_RDONLY), entry = cache_find(&st, fd);

	return entry >= 0 && read(entry, got, sizeof(got)) == ELF_BYTES &&
	       !memcmp(got, elf, ELF_BYTES);
}

TEST(every_compression_of_the_kernels_build_is_unpacked)
{
	static const char *const filters[] = { "gzip", "bzip2", "lzma", "xz",
					       "lz4", "zstd" };
	struct buf b = BUF_INIT;

	make_state();
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++) {
		buf_clear(&b);
		OK(compress(&b, filters[i], elf, ELF_BYTES));
		if (strcmp(filters[i], "gzip"))
			add_size(&b, ELF_BYTES);
		OK(put_bzimage(&b));
		EQ(unpack(), KERNEL_UNPACKED);
		OK(is_unpacked());
		EQ(unpack(), KERNEL_UNPACKED);
	}
	buf_release(&b);
	drop_state();
}

/* The frame of `lz4 -l`: one block, all of it literal. */
TEST(legacy_lz4_is_unpacked)
{
	struct buf b = BUF_INIT, block = BUF_INIT;
	size_t rest = ELF_BYTES - 15;

	make_state();
	buf_char(&block, (char)0xf0);
	for (; rest >= 255; rest -= 255)
		buf_char(&block, (char)0xff);
	buf_char(&block, rest);
	buf_add(&block, elf, ELF_BYTES);
	add_size(&b, 0x184c2102);
	add_size(&b, block.len);
	buf_add(&b, block.data, block.len);
	add_size(&b, ELF_BYTES);
	OK(put_bzimage(&b));
	EQ(unpack(), KERNEL_UNPACKED);
	OK(is_unpacked());
	buf_release(&b);
	buf_release(&block);
	drop_state();
}

TEST(what_needs_or_allows_no_unpacking_is_told_apart)
{
	struct buf b = BUF_INIT;

	make_state();
	OK(put("k", "\177ELF and so on"));
	EQ(unpack(), KERNEL_ELF);
	buf_str(&b, "a compression nobody knows");
	add_size(&b, ELF_BYTES);
	OK(put_bzimage(&b));
	EQ(unpack(), KERNEL_BZIMAGE);
	buf_clear(&b);
	OK(put_bzimage(&b));
	EQ(unpack(), KERNEL_BZIMAGE);
	OK(rmdir("s/cache") == 0);	/* nothing was left in it */
	buf_release(&b);
	drop_state();
}

TEST(what_is_no_kernel_is_refused)
{
	make_state();
	OK(put("k", "a letter"));
	EQ(unpack(), -E_CONFIG);
	STR(err_text(), "kernel k: not a kernel (neither ELF nor bzImage)");
	OK(put("k", ""));
	EQ(unpack(), -E_CONFIG);
	EQ(truncate("k", 1 << 20), 0);
	EQ(unpack(), -E_CONFIG);
	OK(unlink("k") == 0);
	EQ(unpack(), -ENOENT);
	STR(err_text(), "kernel: k: No such file or directory");
	OK(mkfifo("k", 0600) == 0);
	EQ(unpack(), -E_CONFIG);
	STR(err_text(), "kernel: k: not a regular file");
	EQ(kernel_unpack(&st, AT_FDCWD, "s"), -E_CONFIG);
	drop_state();
}

TEST(damaged_kernels_are_refused_and_leave_nothing)
{
	struct buf good = BUF_INIT, b = BUF_INIT;

	make_state();
	OK(compress(&good, "xz", elf, ELF_BYTES));
	/* an unpacked size that is too small, too large, absurd */
	static const uint32_t sizes[] = { 0, 4, ELF_BYTES - 1, ELF_BYTES + 1,
					  (1 << 30) + 1, UINT32_MAX };
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		buf_clear(&b);
		buf_add(&b, good.data, good.len);
		add_size(&b, sizes[i]);
		OK(put_bzimage(&b));
		EQ(unpack(), -E_CONFIG);
	}
	/* cut, then one bit wrong */
	buf_clear(&b);
	buf_add(&b, good.data, good.len / 2);
	add_size(&b, ELF_BYTES);
	OK(put_bzimage(&b));
	EQ(unpack(), -E_CONFIG);
	buf_clear(&b);
	buf_add(&b, good.data, good.len);
	b.data[b.len / 2] ^= 1;
	add_size(&b, ELF_BYTES);
	OK(put_bzimage(&b));
	EQ(unpack(), -E_CONFIG);
	/* unpacks well, to something else */
	buf_clear(&b);
	OK(compress(&b, "xz", "a letter", 8));
	add_size(&b, 8);
	OK(put_bzimage(&b));
	EQ(unpack(), -E_CONFIG);
	STR(err_text(), "kernel k: what it holds is not ELF");
	OK(rmdir("s/cache") == 0);
	buf_release(&good);
	buf_release(&b);
	drop_state();
}

TEST(payloads_outside_the_file_are_refused)
{
	static const struct { uint8_t sects; uint32_t off, len; int rc; } t[] = {
		{ 1, 0, 5, KERNEL_BZIMAGE },
		{ 1, 4096 - 1024 - 5, 5, KERNEL_BZIMAGE },
		{ 1, 4096 - 1024 - 4, 5, -E_CONFIG },
		{ 0, 4096 - 2560 - 5, 5, KERNEL_BZIMAGE },
		{ 0, 4096 - 2560 - 4, 5, -E_CONFIG },
		{ 255, 0, 5, -E_CONFIG },
		{ 1, UINT32_MAX, 5, -E_CONFIG },
		{ 1, 0, UINT32_MAX, -E_CONFIG },
		{ 1, UINT32_MAX, UINT32_MAX, -E_CONFIG },
		{ 1, UINT32_MAX, 4, KERNEL_BZIMAGE },	/* has none */
	};
	char head[KERNEL_HEAD] = { 0 };
	struct kernel_payload p;

	memcpy(head + 0x1fe, "\x55\xaa", 2);
	memcpy(head + 0x202, "HdrS\x08\x02", 6);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		head[0x1f1] = (char)t[i].sects;
		put32(head + 0x248, t[i].off);
		put32(head + 0x24c, t[i].len);
		EQ(kernel_parse(head, sizeof(head), 4096, &p), t[i].rc);
		if (t[i].rc == KERNEL_BZIMAGE)
			OK(in_range(p.off, p.len, 4096));
	}
	EQ(kernel_parse(head, sizeof(head) - 1, 4096, &p), KERNEL_NONE);
	head[0x206] = 7;	/* the fields mean nothing before 2.08 */
	EQ(kernel_parse(head, sizeof(head), 4096, &p), KERNEL_BZIMAGE);
	EQ(p.len, 0);
}

/* A bzImage that says this of its version. */
static int version_of(const char *said, uint16_t at, char *version)
{
	char head[0x200 + 0x800] = { [0x1f1] = SETUP_SECTS };
	le16 field = to_le16(at);
	int fd = open("k", O_RDWR | O_CREAT | O_TRUNC, 0600), rc;

	memcpy(head + 0x1fe, "\x55\xaa", 2);
	memcpy(head + 0x202, "HdrS\x0f\x02", 6);
	memcpy(head + 0x20e, &field, sizeof(field));
	if (at < 0x700)
		snprintf(head + 0x200 + at, 0x100, "%s", said);
	rc = write_all(fd, head, sizeof(head));
	if (rc == 0)
		rc = kernel_version(fd, version);
	close(fd);
	return rc;
}

TEST(a_kernel_says_its_version_and_only_such_that_is_safe_as_a_name)
{
	static const char *const bad[] = {
		"", "6.1.0", "../../etc x", "a/b x", ". x", ".. x", " x",
		"6.1\n x",
		("6.1.0-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		 "aaaaaaaaaaaaaaaaaaaaaaaaaa x"),
	};
	char v[KERNEL_VERSION];

	scratch_make(dir);
	EQ(version_of("6.1.0-56-cloud-amd64 (a@b) #1 SMP", 0x300, v), 0);
	STR(v, "6.1.0-56-cloud-amd64");
	EQ(version_of("6.9.0+x~1_2 (a@b)", 0x100, v), 0);
	STR(v, "6.9.0+x~1_2");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EQ(version_of(bad[i], 0x300, v), -ENOENT);
		STR(v, "");
	}
	EQ(version_of("6.1 x", 0, v), -ENOENT);
	EQ(version_of("", 0xffff, v), -ENOENT);
	scratch_remove(dir);
}

TESTS(T(every_compression_of_the_kernels_build_is_unpacked),
      T(legacy_lz4_is_unpacked),
      T(what_needs_or_allows_no_unpacking_is_told_apart),
      T(what_is_no_kernel_is_refused),
      T(damaged_kernels_are_refused_and_leave_nothing),
      T(payloads_outside_the_file_are_refused),
      T(a_kernel_says_its_version_and_only_such_that_is_safe_as_a_name))
