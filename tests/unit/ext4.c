/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/ext4.h"

#include <errno.h>
#include <sys/stat.h>

#include "image/ext4_read.h"

#include "disk.h"
#include "test.h"

enum { MIB = 1 << 20, BLOCK = 4096 };

static int add(const char *path, uint32_t mode, const char *target)
{
	struct attr a = { .mode = mode, .mtime = 1000000000, .target = target };

	return ext4_add(&disk, path, &a);
}

static int add_text(const char *path, const char *text)
{
	int rc = add(path, S_IFREG | 0644, NULL);

	return rc < 0 ? rc : ext4_data(&disk, 0, text, strlen(text));
}

static bool says(const char *command, const char *what)
{
	const char *answer = ask(command);

	if (strstr(answer, what))
		return true;
	printf("# %s: no '%s' in:\n%s\n", command, what, answer);
	return false;
}

TEST(an_empty_tree_is_a_clean_disk)
{
	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(64 * MIB), 0);
	EQ(ext4_finish(&disk), 0);
	OK(is_clean());
	EQ(lseek(disk_fd, 0, SEEK_END), 64 * MIB);
	OK(says("stats", "has_journal ext_attr resize_inode dir_index filetype "
		"extent 64bit flex_bg sparse_super large_file huge_file "
		"dir_nlink extra_isize metadata_csum"));
	OK(says("stats", "Filesystem volume name:   test"));
	OK(says("ls -l /", "lost+found"));
	drop_disk();
}

TEST(sizes_of_every_kind_are_clean)
{
	static const uint64_t sizes[] = { 64, 127, 129, 131, 200, 1025, 2050,
					  20000, 1 << 20 };

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		EQ(begin_disk(sizes[i] * MIB), 0);
		EQ(add_text("a", "A"), 0);
		EQ(ext4_finish(&disk), 0);
		/* e2fsck takes its time for a terabyte */
		OK(sizes[i] == 1 << 20 || is_clean());
		STR(holds("a"), "A");
		drop_disk();
	}
}

TEST(every_kind_of_entry_is_kept)
{
	struct attr a = { .mode = S_IFREG | 06751, .uid = 70000, .gid = 100000,
			  .mtime = 1000000000, .mtime_ns = 5 };

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(64 * MIB), 0);
	EQ(ext4_add(&disk, "./usr/bin/su", &a), 0);
	EQ(ext4_data(&disk, 0, "su", 2), 0);
	EQ(ext4_link(&disk, "usr/bin/sudo", "/usr/bin/su"), 0);
	EQ(add("tmp", S_IFDIR | 01777, NULL), 0);
	EQ(add("fast", S_IFLNK | 0777, "usr/bin/su"), 0);
	EQ(add("slow", S_IFLNK | 0777, "././././././././././././././././././"
	       "././././././././././././././././usr/bin/su"), 0);
	a = (struct attr){ .mode = S_IFCHR | 0666, .major = 1, .minor = 3 };
	EQ(ext4_add(&disk, "dev/null", &a), 0);
	a = (struct attr){ .mode = S_IFBLK | 0660, .major = 259, .minor = 70000 };
	EQ(ext4_add(&disk, "dev/nvme", &a), 0);
	EQ(add("dev/initctl", S_IFIFO | 0600, NULL), 0);
	EQ(add("dev/log", S_IFSOCK | 0666, NULL), 0);
	EQ(add("empty", S_IFREG | 0600, NULL), 0);
	EQ(ext4_finish(&disk), 0);
	OK(is_clean());
	OK(says("stat usr/bin/su", "Mode:  06751"));
	OK(says("stat usr/bin/su", "User: 70000   Group: 100000"));
	OK(says("stat usr/bin/su", "Links: 2"));
	OK(says("stat usr/bin/su", "mtime: 0x3b9aca00:00000014"));
	OK(says("stat tmp", "Type: directory    Mode:  01777"));
	OK(says("stat fast", "Fast link dest: \"usr/bin/su\""));
	OK(says("stat dev/null", "Device major/minor number: 01:03"));
	OK(says("stat dev/nvme", "Device major/minor number: 259:70000"));
	OK(says("stat dev/initctl", "Type: FIFO"));
	OK(says("stat dev/log", "Type: socket"));
	STR(holds("fast"), "su");
	STR(holds("slow"), "su");
	STR(holds("usr/bin/sudo"), "su");
	STR(holds("empty"), "");
	drop_disk();
}

TEST(times_of_every_age_are_kept)
{
	static const struct { int64_t t; const char *said; } ages[] = {
		{ -1, "mtime: 0xffffffff:00000000" },
		{ INT32_MIN, "mtime: 0x80000000:00000000" },
		{ 4102444800, "mtime: 0xf4865700:00000001" },	/* 2100 */
		{ INT32_MAX + (3ll << 32), "mtime: 0x7fffffff:00000003" },
		{ INT64_MAX, "mtime: 0x7fffffff:00000003" },
		{ INT64_MIN, "mtime: 0x80000000:00000000" },
	};

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	for (size_t i = 0; i < ARRAY_SIZE(ages); i++) {
		struct attr a = { .mode = S_IFREG, .mtime = ages[i].t };

		EQ(begin_disk(64 * MIB), 0);
		EQ(ext4_add(&disk, "f", &a), 0);
		EQ(ext4_finish(&disk), 0);
		OK(says("stat f", ages[i].said));
		drop_disk();
	}
}

TEST(extended_attributes_and_acls_are_kept)
{
	static const uint8_t acl[] = {
		2, 0, 0, 0,
		1, 0, 6, 0, 255, 255, 255, 255,
		2, 0, 7, 0, 0xe8, 3, 0, 0,
		4, 0, 4, 0, 255, 255, 255, 255,
		0x10, 0, 7, 0, 255, 255, 255, 255,
		0x20, 0, 4, 0, 255, 255, 255, 255,
	};
	static const char cap[20] = "\1\0\0\2\0 ";
	static char big[3000];

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(64 * MIB), 0);
	EQ(add_text("ping", "ping"), 0);
	EQ(ext4_xattr(&disk, "security.capability", cap, sizeof(cap)), 0);
	EQ(ext4_xattr(&disk, "system.posix_acl_access", acl, sizeof(acl)), 0);
	EQ(ext4_xattr(&disk, "com.apple.quarantine", "x", 1), 0);
	EQ(ext4_xattr(&disk, "user.big", big, sizeof(big)), 0);
	EQ(ext4_xattr(&disk, "user.more", big, 1500), -E_CONFIG);
	EQ(ext4_xattr(&disk, "system.posix_acl_default", acl, 11), -E_VERIFY);
	EQ(ext4_xattr(&disk, "system.posix_acl_default", acl, 3), -E_VERIFY);
	EQ(ext4_xattr(&disk, "system.data", "x", 1), 0);
	EQ(add("d", S_IFDIR | 0700, NULL), 0);
	EQ(ext4_xattr(&disk, "system.posix_acl_default", acl, sizeof(acl)), 0);
	EQ(ext4_xattr(&disk, "user.empty", NULL, 0), 0);
	EQ(ext4_finish(&disk), 0);
	OK(is_clean());
	OK(says("ea_list ping", "security.capability (20)"));
	OK(says("ea_list ping", "user.big (3000)"));
	OK(says("ea_list ping", "system.posix_acl_access"));
	OK(!strstr(ask("ea_list ping"), "apple"));
	OK(!strstr(ask("ea_list ping"), "system.data"));
	OK(says("ea_list d", "system.posix_acl_default"));
	OK(says("ea_list d", "user.empty (0)"));
	drop_disk();
}

/* A pattern that no two blocks share. */
static void fill(uint8_t *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1103515245 + 12345;
		p[i] = seed >> 24 | 1;
	}
}

TEST(holes_and_data_are_where_they_were)
{
	static uint8_t data[3 * MIB], got[40 * MIB];
	static const struct { uint64_t off, len; } runs[] = {
		{ 0, 1 }, { 100, 5000 }, { 5200, 1 }, { 20000, 100000 },
		{ 2 * MIB - 1, 2 }, { 3 * MIB, MIB }, { 9 * MIB + 77, 3 * MIB },
		{ 33 * MIB, BLOCK },
	};
	struct ext4_view v;
	struct block *b;
	int out;

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(64 * MIB), 0);
	EQ(add("f", S_IFREG | 0644, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		fill(data, runs[i].len, i);
		EQ(ext4_data(&disk, runs[i].off, data, runs[i].len), 0);
	}
	EQ(ext4_data(&disk, 5, "x", 1), -E_VERIFY);
	EQ(ext4_truncate(&disk, 39 * MIB), 0);
	EQ(ext4_finish(&disk), 0);
	OK(is_clean());
	b = open_block(disk_fd);
	EQ(ext4_open(&v, b, 0, 64 * MIB), 0);
	out = open("out", O_RDWR | O_CREAT, 0600);
	EQ(ext4_copy(&v, "f", out, 64 * MIB), 39 * MIB);
	EQ(ext4_copy(&v, "f", out, 39 * MIB - 1), -E_CONFIG);
	ext4_close(&v);
	block_close(b);
	EQ(pread(out, got, sizeof(got), 0), 39 * MIB);
	close(out);
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		fill(data, runs[i].len, i);
		OK(!memcmp(got + runs[i].off, data, runs[i].len));
		memset(got + runs[i].off, 0, runs[i].len);
	}
	OK(!got[0] && !memcmp(got, got + 1, sizeof(got) - 1));
	drop_disk();
}

TEST(zeros_take_no_room)
{
	static uint8_t zeros[8 * MIB];
	struct stat sb;

	EQ(begin_disk(0), 0);
	EQ(add("f", S_IFREG | 0644, NULL), 0);
	for (int i = 0; i < 100; i++)
		EQ(ext4_data(&disk, (uint64_t)i * sizeof(zeros), zeros,
			     sizeof(zeros)), 0);
	EQ(ext4_finish(&disk), 0);
	EQ(fstat(disk_fd, &sb), 0);
	EQ(sb.st_size, 1 << 30);
	OK(sb.st_blocks < 4096);	/* 2 MiB */
	drop_disk();
}

TEST(a_file_of_many_pieces_and_across_groups_is_clean)
{
	static uint8_t data[4 * MIB];
	uint64_t off = 0;

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(0), 0);
	EQ(add("pieces", S_IFREG | 0644, NULL), 0);
	for (int i = 0; i < 3000; i++, off += 5 * BLOCK)
		EQ(ext4_data(&disk, off, "x", 1), 0);
	EQ(add("long", S_IFREG | 0644, NULL), 0);
	fill(data, sizeof(data), 1);
	for (int i = 0; i < 40; i++)
		EQ(ext4_data(&disk, (uint64_t)i * sizeof(data), data,
			     sizeof(data)), 0);
	EQ(ext4_finish(&disk), 0);
	OK(is_clean());
	EQ(strlen(holds("pieces")), 1);
	drop_disk();
}

TEST(directories_of_many_names_are_clean)
{
	char name[300];

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(64 * MIB), 0);
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "many/%0*d", 1 + i % 255, i);
		EQ(add(name, S_IFREG | 0644, NULL), 0);
	}
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "subdirs/%d/d", i);
		EQ(add(name, S_IFDIR | 0755, NULL), 0);
	}
	EQ(ext4_finish(&disk), 0);
	OK(is_clean());
	OK(says("stat subdirs", "Links: 2002"));
	drop_disk();
}

TEST(later_entries_replace_earlier_ones)
{
	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(64 * MIB), 0);
	EQ(add_text("a", "first"), 0);
	EQ(ext4_link(&disk, "b", "a"), 0);
	EQ(add_text("a", "second"), 0);
	EQ(add("d/e", S_IFDIR | 0755, NULL), 0);
	EQ(add_text("d/e", "was a directory"), 0);
	EQ(add("d", S_IFDIR | 0711, NULL), 0);
	EQ(add_text("d", "x"), -E_VERIFY);
	STR(err_text(), "in the place of a directory that holds something");
	EQ(ext4_link(&disk, "a", "./a"), 0);
	EQ(ext4_link(&disk, "c", "b"), 0);
	EQ(ext4_data(&disk, 0, "by its other name", 17), 0);
	EQ(ext4_finish(&disk), 0);
	OK(is_clean());
	STR(holds("a"), "second");
	STR(holds("b"), "by its other name");
	STR(holds("d/e"), "was a directory");
	OK(says("stat d", "Mode:  0711"));
	OK(says("stat b", "Links: 2"));
	drop_disk();
}

TEST(links_on_the_way_lead_within_the_tree)
{
	EQ(begin_disk(64 * MIB), 0);
	EQ(add("lib", S_IFLNK | 0777, "usr/lib"), 0);
	EQ(add_text("lib/one", "1"), 0);		/* makes it */
	EQ(add("abs", S_IFLNK | 0777, "/usr/../../../usr/lib/"), 0);
	EQ(add_text("abs/two", "2"), 0);
	EQ(add("lib", S_IFDIR | 0700, NULL), 0);	/* stays a link */
	EQ(add("usr/up", S_IFLNK | 0777, ".."), 0);
	EQ(add_text("usr/up/etc/three", "3"), 0);
	EQ(add("etc/passwd", S_IFLNK | 0777, "/etc/three"), 0);
	EQ(add_text("etc/passwd", "4"), 0);		/* replaced, not followed */
	EQ(ext4_link(&disk, "five", "lib/one"), 0);
	EQ(ext4_finish(&disk), 0);
	STR(holds("usr/lib/one"), "1");
	STR(holds("usr/lib/two"), "2");
	STR(holds("etc/three"), "3");
	STR(holds("etc/passwd"), "4");
	STR(holds("five"), "1");
	STR(holds("lib/two"), "2");
	drop_disk();
}

TEST(ways_that_lead_nowhere_are_refused)
{
	char deep[5000], name[300], links[64], target[64];

	EQ(begin_disk(64 * MIB), 0);
	EQ(add("a/../b", S_IFREG, NULL), -E_VERIFY);
	EQ(add("..", S_IFDIR, NULL), -E_VERIFY);
	EQ(add("/../../etc/shadow", S_IFREG, NULL), -E_VERIFY);
	EQ(add("", S_IFREG, NULL), -E_VERIFY);
	EQ(add("./", S_IFLNK, "x"), -E_VERIFY);
	EQ(add("loop", S_IFLNK, "loop"), 0);
	EQ(add("loop/x", S_IFREG, NULL), -E_VERIFY);
	EQ(add("ping", S_IFLNK, "pong/x"), 0);
	EQ(add("pong", S_IFLNK, "ping/x"), 0);
	EQ(add("ping/x", S_IFREG, NULL), -E_VERIFY);
	EQ(add_text("file", "x"), 0);
	EQ(add("file/x", S_IFREG, NULL), -E_VERIFY);
	EQ(ext4_link(&disk, "x", "nothing"), -E_VERIFY);
	EQ(ext4_link(&disk, "x", "../../etc/passwd"), -E_VERIFY);
	EQ(ext4_link(&disk, "x", "/"), -E_VERIFY);
	EQ(ext4_link(&disk, "/", "file"), -E_VERIFY);
	memset(name, 'n', 256);
	name[256] = '\0';
	EQ(add(name, S_IFREG, NULL), -E_VERIFY);
	EQ(add(name + 1, S_IFREG, NULL), 0);
	EQ(add("long", S_IFLNK, name), 0);
	EQ(add("long/x", S_IFREG, NULL), -E_VERIFY);
	for (size_t i = 0; i < sizeof(deep); i++)
		deep[i] = i % 2 ? '/' : 'a';
	deep[4098] = '\0';
	EQ(add(deep, S_IFREG, NULL), -E_VERIFY);
	EQ(add("far", S_IFLNK, deep), -E_VERIFY);
	for (int i = 0; i < 45; i++) {
		snprintf(links, sizeof(links), "l%d", i + 1);
		snprintf(target, sizeof(target), "l%d", i);
		EQ(add(links, S_IFLNK, target), 0);
	}
	EQ(add("l0", S_IFDIR, NULL), 0);
	EQ(add("l39/x", S_IFREG, NULL), 0);
	EQ(add("l45/x", S_IFREG, NULL), -E_VERIFY);
	EQ(ext4_data(&disk, 0, "x", 1), -E_VERIFY);
	drop_disk();
}

TEST(the_room_there_is_is_all_there_is)
{
	static uint8_t data[MIB];
	struct ext4_conf conf = { .size = 64 * MIB, .inodes = 3 };
	int rc = 0;

	memset(data, 1, sizeof(data));
	EQ(begin_disk(64 * MIB), 0);
	EQ(add("f", S_IFREG, NULL), 0);
	for (int i = 0; i < 64 && rc == 0; i++)
		rc = ext4_data(&disk, (uint64_t)i * MIB, data, MIB);
	EQ(rc, -E_CONFIG);
	STR(err_text(), "does not fit into a disk of 64M");
	EQ(ext4_data(&disk, (1ull << 44), "x", 1), -E_CONFIG);
	EQ(ext4_truncate(&disk, UINT64_MAX), -E_CONFIG);
	ext4_release(&disk);
	EQ(ext4_begin(&disk, disk_fd, &conf), 0);
	EQ(add("a/b", S_IFREG, NULL), 0);
	EQ(add("c", S_IFREG, NULL), -E_CONFIG);
	STR(err_text(), "more than 3 files");
	ext4_release(&disk);
	conf.size = 64 * MIB - 1;
	EQ(ext4_begin(&disk, disk_fd, &conf), -E_USAGE);
	drop_disk();
}

TEST(a_disk_full_of_files_is_refused_or_clean)
{
	static uint8_t data[MIB];
	int rc = 0;

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	memset(data, 1, sizeof(data));
	for (int mib = 55; mib < 64; mib += 2) {
		EQ(begin_disk(64 * MIB), 0);
		EQ(add("f", S_IFREG, NULL), 0);
		for (int i = 0; i < mib && rc == 0; i++)
			rc = ext4_data(&disk, (uint64_t)i * MIB, data, MIB);
		rc = rc < 0 ? rc : ext4_finish(&disk);
		OK(rc == 0 ? is_clean() : rc == -E_CONFIG);
		drop_disk();
	}
	EQ(rc, -E_CONFIG);
}

TEST(many_small_files_get_inodes_enough)
{
	char name[32];

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(128 * MIB), 0);
	for (int i = 0; i < 30000; i++) {
		snprintf(name, sizeof(name), "%d/%d", i / 100, i);
		EQ(add(name, S_IFREG | 0644, NULL), 0);
	}
	EQ(ext4_finish(&disk), 0);
	OK(is_clean());
	drop_disk();
}

TEST(lost_and_found_is_a_directory)
{
	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(64 * MIB), 0);
	EQ(add("lost+found", S_IFDIR | 0750, NULL), 0);
	EQ(ext4_finish(&disk), 0);
	OK(is_clean());
	drop_disk();
	EQ(begin_disk(64 * MIB), 0);
	EQ(add("lost+found", S_IFLNK | 0750, "/"), 0);
	EQ(ext4_finish(&disk), -E_VERIFY);
	drop_disk();
}

TESTS(T(an_empty_tree_is_a_clean_disk), T(sizes_of_every_kind_are_clean),
      T(every_kind_of_entry_is_kept), T(times_of_every_age_are_kept),
      T(extended_attributes_and_acls_are_kept),
      T(holes_and_data_are_where_they_were), T(zeros_take_no_room),
      T(a_file_of_many_pieces_and_across_groups_is_clean),
      T(directories_of_many_names_are_clean),
      T(later_entries_replace_earlier_ones),
      T(links_on_the_way_lead_within_the_tree),
      T(ways_that_lead_nowhere_are_refused),
      T(the_room_there_is_is_all_there_is),
      T(a_disk_full_of_files_is_refused_or_clean),
      T(many_small_files_get_inodes_enough), T(lost_and_found_is_a_directory))
