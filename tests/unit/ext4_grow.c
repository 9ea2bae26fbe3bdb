/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/ext4_grow.h"

#include <errno.h>
#include <sys/stat.h>

#include "block/qcow2.h"

#include "disk.h"
#include "test.h"

static const uint64_t mib = 1 << 20, gib = 1 << 30, tib = 1ull << 40;
enum { SUPER = 1024, STATE = SUPER + 58, INCOMPAT = SUPER + 96,
       DESCRIPTORS = 4096, BLOCK = 4096 };

/* The disk `d` of SIZE bytes with some files. */
static bool make(uint64_t size)
{
	struct attr file = { .mode = S_IFREG | 0644 };
	static char data[3 << 20];
	bool ok = begin_disk(size) == 0;
	char path[32];

	memset(data, 7, sizeof(data));
	for (int i = 0; ok && i < 20; i++) {
		snprintf(path, sizeof(path), "d%d/f", i);
		ok = ext4_add(&disk, path, &file) == 0 &&
		     ext4_data(&disk, 0, data, i == 5 ? 5 : 100000 * i) == 0;
	}
	return ok && ext4_add(&disk, "f", &file) == 0 &&
	       ext4_data(&disk, 0, "kept", 4) == 0 && ext4_finish(&disk) == 0;
}

/* Grows it in a disk of SIZE bytes. */
static int grow(uint64_t size)
{
	struct block *b;
	int rc = ftruncate(disk_fd, size) < 0 ? -errno :
		 raw_open(&b, "d", false);

	if (rc == 0) {
		rc = ext4_grow(b);
		block_close(b);
	}
	return rc;
}

static bool has_blocks(uint64_t n)
{
	const char *at = strstr(ask("stats"), "\nBlock count:");
	uint64_t is = at ? strtoull(at + strlen("\nBlock count:"), NULL, 10) : 0;

	if (is != n)
		printf("# %llu blocks, not %llu\n", (unsigned long long)is,
		       (unsigned long long)n);
	return is == n;
}

static bool is_kept(void)
{
	return strstr(ask("cat f"), "kept");
}

TEST(grown_to_any_size_it_is_clean_and_keeps_its_files)
{
	static const struct { uint64_t from, to, is; } sizes[] = {
		{ 64, 64, 64 }, { 64, 65, 65 }, { 64, 128, 128 },
		{ 64, 129, 128 },	/* no room for a group of 1 MiB */
		{ 64, 131, 131 }, { 130, 140, 140 }, { 100, 1027, 1027 },
		{ 1024, 2048, 2048 }, { 1024, 2049, 2048 },
		{ 1000, 20000, 20000 }, { 1024, 20480, 20480 },
		{ 1024, 102400, 102400 }, { 64, 1048576, 1048576 },
	};

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		OK(make(sizes[i].from * mib));
		EQ(grow(sizes[i].to * mib), 0);
		OK(is_clean());
		OK(has_blocks(sizes[i].is * mib / BLOCK));
		OK(is_kept());
		drop_disk();
	}
}

TEST(sizes_that_are_no_whole_blocks_lose_the_rest)
{
	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	OK(make(64 * mib));
	EQ(grow(70 * mib + 3 * 512), 0);
	OK(is_clean());
	OK(has_blocks(70 * mib / BLOCK));
	drop_disk();
}

TEST(grown_again_and_again_it_is_clean)
{
	static const uint64_t sizes[] = { 64, 66, 127, 300, 5000, 8192, 8193,
					  40000, 70000 };

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	OK(make(64 * mib));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		EQ(grow(sizes[i] * mib), 0);
		OK(is_clean());
	}
	OK(has_blocks(70000 * mib / BLOCK));
	OK(is_kept());
	EQ(grow(3 * tib), 0);
	OK(has_blocks(2 * tib / BLOCK));
	EQ(grow(3 * tib), 0);
	OK(is_kept());
	drop_disk();
}

TEST(new_inode_tables_are_known_to_be_zeros_only_where_they_are)
{
	const char *groups;

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	OK(make(128 * mib));
	EQ(ftruncate(disk_fd, 512 * mib), 0);
	/* group 2 has no super block: its table is behind two bitmaps */
	EQ(pwrite_all(disk_fd, "old", 3, 256 * mib + 10 * BLOCK), 0);
	EQ(grow(512 * mib), 0);
	groups = ask("stats");
	groups = strstr(groups, "Group  1:");
	OK(groups && strstr(groups, "Group  2:") && strstr(groups, "Group  3:"));
	OK(strstr(groups, "Inode not init") < strstr(groups, "Group  2:"));
	EQ(run_tool("dumpe2fs", "-x", NULL), 0);
	groups = strstr(said(), "Group 1:");
	OK(groups && strstr(groups, "ITABLE_ZEROED") <
	   strstr(groups, "Group 2:"));
	groups = strstr(groups, "Group 2:");
	OK(groups && strstr(groups, "ITABLE_ZEROED") >
	   strstr(groups, "Group 3:"));
	drop_disk();
}

/* Grows a layer of 20 GiB; how many bytes it takes. */
static int64_t grow_layer(void)
{
	struct qcow2_create c = { .size = 20 * gib, .backing = "d",
				  .backing_format = "raw" };
	struct block *below = NULL, *b = NULL;
	struct stat sb;
	int rc = qcow2_create(AT_FDCWD, "l", &c);

	if (rc == 0)
		rc = raw_open(&below, "d", true);
	if (rc == 0)
		rc = qcow2_open(&b, "l", false, below);
	if (rc == 0)
		rc = ext4_grow(b);
	block_close(b);
	return rc < 0 ? rc : stat("l", &sb) < 0 ? -errno : 512 * sb.st_blocks;
}

TEST(in_a_layer_it_takes_little_room_and_leaves_the_image_alone)
{
	struct stat before, after;
	int64_t took;

	OK(make(1 * gib));
	EQ(fstat(disk_fd, &before), 0);
	took = grow_layer();
	if (took < 0 || took > (int64_t)(3 * mib))
		printf("# %lld %s\n", (long long)took, err_text());
	OK(took > 0 && took < (int64_t)(3 * mib));
	EQ(fstat(disk_fd, &after), 0);
	EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	drop_disk();
}

/* Whether growing fails with RC and SENTENCE and nothing was written. */
static bool refused(int rc, const char *sentence)
{
	static uint8_t before[8 << 20], after[8 << 20];
	bool ok = ftruncate(disk_fd, 200 * mib) == 0 &&
		  pread_all(disk_fd, before, sizeof(before), 0) == 0;
	int is = grow(200 * mib);

	ok = ok && pread_all(disk_fd, after, sizeof(after), 0) == 0 &&
	     !memcmp(before, after, sizeof(before)) && is == rc &&
	     strstr(err_text(), sentence);
	if (!ok)
		printf("# %d %s\n", is, err_text());
	return ok;
}

static bool poke(uint64_t off, uint8_t byte)
{
	return pwrite_all(disk_fd, &byte, 1, off) == 0;
}

TEST(what_is_not_sound_stays_as_it_is)
{
	OK(make(64 * mib));
	OK(poke(SUPER + 0x78, 'x'));	/* without its checksum */
	OK(refused(-E_VERIFY, "damaged ext4"));
	OK(poke(SUPER + 0x38, 0));
	OK(refused(-ENOENT, "no ext4"));
	drop_disk();
	OK(make(64 * mib));
	OK(poke(DESCRIPTORS + 12, 1));
	OK(refused(-E_VERIFY, "a group descriptor"));
	drop_disk();
	OK(make(128 * mib));
	EQ(grow(64 * mib), -E_VERIFY);
	STR(err_text(), "damaged ext4: ends behind its disk");
	drop_disk();
}

/* debugfs changes the super block, and its checksum with it. */
static bool set_super(const char *field)
{
	char command[64];

	snprintf(command, sizeof(command), "ssv %s", field);
	return run_tool("debugfs", "-wR", command) == 0;
}

TEST(what_is_in_use_or_another_s_stays_as_it_is)
{
	static const struct { const char *field; int rc; const char *says; }
	t[] = {
		{ "feature_incompat 0x2c6", -E_CONFIG, "was not unmounted" },
		{ "state 0", -E_CONFIG, "wants a check" },
		{ "state 3", -E_CONFIG, "wants a check" },
		{ "feature_compat 0x23c", -E_CONFIG, "not one of ours" },
		{ "reserved_gdt_blocks 100", -E_CONFIG, "not one of ours" },
		{ "inodes_count 16", -E_VERIFY, "damaged ext4" },
		{ "r_blocks_count 1000000", -E_VERIFY, "a count" },
	};

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		OK(make(64 * mib));
		OK(set_super(t[i].field));
		OK(refused(t[i].rc, t[i].says));
		drop_disk();
	}
}

TESTS(T(grown_to_any_size_it_is_clean_and_keeps_its_files),
      T(sizes_that_are_no_whole_blocks_lose_the_rest),
      T(grown_again_and_again_it_is_clean),
      T(new_inode_tables_are_known_to_be_zeros_only_where_they_are),
      T(in_a_layer_it_takes_little_room_and_leaves_the_image_alone),
      T(what_is_not_sound_stays_as_it_is),
      T(what_is_in_use_or_another_s_stays_as_it_is))
