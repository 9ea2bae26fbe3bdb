/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/pack_tree.h"

#include <errno.h>
#include <sys/stat.h>

#include "block/qcow2.h"
#include "image/copy.h"
#include "image/ext4_walk.h"
#include "image/unpack_tree.h"

#include "disk.h"
#include "test.h"

static const uint64_t mib = 1 << 20;

static int add(const char *path, uint32_t mode, const char *target)
{
	struct attr a = { .mode = mode, .uid = 70000, .gid = 3000000000,
			  .mtime = 1000000000, .mtime_ns = 123456789,
			  .target = target };

	return ext4_add(&disk, path, &a);
}

static int add_text(const char *path, const char *text)
{
	int rc = add(path, S_IFREG | 0640, NULL);

	return rc < 0 ? rc : ext4_data(&disk, 0, text, strlen(text));
}

static int add_device(const char *path, uint32_t mode, uint32_t major,
		      uint32_t minor)
{
	struct attr a = { .mode = mode, .major = major, .minor = minor };

	return ext4_add(&disk, path, &a);
}

/* Every kind of file, on four levels and with odd names. */
static int add_all(void)
{
	static const char cap[20] = "\1\0\0\2\0 ";
	static const uint8_t acl[] = {
		2, 0, 0, 0,
		1, 0, 6, 0, 255, 255, 255, 255,
		2, 0, 7, 0, 0xe8, 3, 0, 0,
		4, 0, 4, 0, 255, 255, 255, 255,
		0x10, 0, 7, 0, 255, 255, 255, 255,
		0x20, 0, 4, 0, 255, 255, 255, 255,
	};
	char name[256], target[300];
	int rc = 0;

	memset(name, 'n', 255);
	name[255] = '\0';
	memset(target, 't', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	rc |= add_text("a/b/c/d", "four");
	rc |= ext4_link(&disk, "a/z", "a/b/c/d");
	rc |= ext4_link(&disk, "0", "a/b/c/d");
	rc |= add_text("etc/passwd", "root");
	rc |= ext4_xattr(&disk, "user.color", "blue\n\0x", 7);
	rc |= ext4_xattr(&disk, "security.capability", cap, sizeof(cap));
	rc |= ext4_xattr(&disk, "system.posix_acl_access", acl, sizeof(acl));
	rc |= ext4_xattr(&disk, "user.empty", "", 0);
	rc |= add("tmp", S_IFDIR | 01777, NULL);
	rc |= ext4_xattr(&disk, "system.posix_acl_default", acl, sizeof(acl));
	rc |= add("usr/bin/su", S_IFREG | 06755, NULL);
	rc |= add("fast", S_IFLNK | 0777, "usr/bin/su");
	rc |= add("slow", S_IFLNK | 0777, target);
	rc |= add("pipe", S_IFIFO | 0600, NULL);
	rc |= add("socket", S_IFSOCK | 0600, NULL);
	rc |= add_device("dev/null", S_IFCHR | 0666, 1, 3);
	rc |= add_device("dev/nvme", S_IFBLK | 0660, 259, 70000);
	rc |= add_text(name, "long");
	rc |= add_text("odd/\xff\xfe", "no UTF-8");
	rc |= add_text("odd/gr\xc3\xbc\xc3\x9f", "UTF-8");
	rc |= add_text("odd/-rf *", "shell");
	rc |= add_text("odd/new\nline", "line");
	rc |= add_text("odd/back\\slash", "slash");
	return rc;
}

/* Files with holes: at the start, between, at the end, all of it. */
static int add_sparse(void)
{
	static char data[200000];
	int rc = add("sparse/start", S_IFREG | 0600, NULL);

	memset(data, 's', sizeof(data));
	rc |= ext4_data(&disk, 30 * mib, data, 100001);
	rc |= add("sparse/between", S_IFREG | 0600, NULL);
	rc |= ext4_data(&disk, 0, data, 5);
	rc |= ext4_data(&disk, 3 * mib, data, sizeof(data));
	rc |= ext4_data(&disk, 9 * mib + 7, data, 5);
	rc |= add("sparse/end", S_IFREG | 0600, NULL);
	rc |= ext4_data(&disk, 0, data, 4096);
	rc |= ext4_truncate(&disk, 1000 * mib + 3);
	rc |= add("sparse/all", S_IFREG | 0600, NULL);
	rc |= ext4_truncate(&disk, 1ull << 40);
	return rc;
}

/* The file system in the LEN bytes at OFF of disk FROM as the tar TO. */
static int pack(const char *from, uint64_t off, uint64_t len, const char *to)
{
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	struct block *b;
	int rc = raw_open(&b, from, true);

	if (rc == 0) {
		rc = pack_tree(b, off, len ? len : b->size, out);
		block_close(b);
	}
	close(out);
	return rc;
}

/* The tar FROM as a disk `d`, anew. */
static int unpack(const char *from)
{
	struct ext4_conf conf = { .size = 200 * mib, .inodes = 100000 };
	int fd = open(from, O_RDONLY), rc;

	ext4_release(&disk);
	unlink("d");
	close(disk_fd);
	disk_fd = open("d", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	rc = ext4_begin(&disk, disk_fd, &conf);
	if (rc == 0)
		rc = unpack_tree(fd, NULL, 0, 1ull << 50, &disk);
	if (rc == 0)
		rc = ext4_finish(&disk);
	close(fd);
	return rc;
}

static bool same(const char *one, const char *other)
{
	static struct buf a = BUF_INIT, b = BUF_INIT;

	buf_clear(&a);
	buf_clear(&b);
	return file_read(AT_FDCWD, one, &a, 64 << 20) == 0 &&
	       file_read(AT_FDCWD, other, &b, 64 << 20) == 0 &&
	       a.len > 0 && a.len == b.len && !memcmp(a.data, b.data, a.len);
}

TEST(what_is_packed_and_unpacked_is_packed_the_same)
{
	struct stat sb;

	EQ(begin_disk(200 * mib), 0);
	EQ(add_all(), 0);
	EQ(add_sparse(), 0);
	EQ(ext4_finish(&disk), 0);
	EQ(pack("d", 0, 0, "1.tar"), 0);
	EQ(pack("d", 0, 0, "again.tar"), 0);
	OK(same("1.tar", "again.tar"));
	EQ(stat("1.tar", &sb), 0);
	OK(sb.st_size < (off_t)(1 * mib) && sb.st_size % 10240 == 0);
	EQ(unpack("1.tar"), 0);
	if (HAVE_E2FSPROGS)
		OK(is_clean());
	EQ(pack("d", 0, 0, "2.tar"), 0);
	OK(same("1.tar", "2.tar"));
	drop_disk();
}

/* What GNU tar lists of the tar T. */
static const char *list(void)
{
	FILE *out = fopen("said", "w");
	pid_t pid = out ? fork() : -1;
	int status = -1;

	if (pid == 0) {
		dup2(fileno(out), 1);
		/* it does not know hdrcharset, and says so */
		dup2(open("/dev/null", O_WRONLY), 2);
		setenv("TZ", "UTC", 1);
		setenv("LC_ALL", "C", 1);
		execlp("tar", "tar", "--numeric-owner", "--full-time", "-tvf",
		       "1.tar", (char *)NULL);
		_exit(127);
	}
	if (out)
		fclose(out);
	waitpid(pid, &status, 0);
	return status == 0 ? said() : "";
}

static bool lists(const char *line)
{
	if (strstr(list(), line))
		return true;
	printf("# no '%s' in:\n%s\n", line, said());
	return false;
}

TEST(other_tars_see_what_was_there)
{
	EQ(begin_disk(200 * mib), 0);
	EQ(add_all(), 0);
	EQ(add_sparse(), 0);
	EQ(ext4_finish(&disk), 0);
	EQ(pack("d", 0, 0, "1.tar"), 0);
	OK(!strncmp(list(), "drwxr-xr-x 0/0 ", 15));
	OK(lists("./\n-rw-r----- 70000/3000000000 "));
	OK(lists(" 4 2001-09-09 01:46:40.123456789 ./0\n"));
	OK(lists("-rwsr-sr-x 70000/3000000000 "));
	OK(lists("drwxrwxrwt 70000/3000000000 "));
	OK(lists("hrw-r----- 70000/3000000000 "));
	OK(lists("./a/z link to ./0\n"));
	OK(lists("./fast -> usr/bin/su\n"));
	OK(lists("crw-rw-rw- 0/0 "));
	OK(lists(" 1,3 1970-01-01 00:00:00 "));
	OK(lists("brw-rw---- 0/0 "));
	OK(lists(" 259,70000 1970-01-01 00:00:00 "));
	OK(lists("prw------- "));
	OK(lists("./odd/gr\\303\\274\\303\\237\n"));
	OK(lists("./odd/\\377\\376\n"));
	OK(lists("./odd/new\\nline\n"));
	OK(lists(" 1099511627776 2001-09-09 01:46:40.123456789 ./sparse/all\n"));
	OK(lists(" 1048576003 "));
	OK(!strstr(list(), "socket"));
	OK(!strstr(list(), "lost+found"));
	drop_disk();
}

TEST(a_lost_and_found_that_is_not_empty_is_packed)
{
	EQ(begin_disk(64 * mib), 0);
	EQ(add_text("lost+found/#12", "found"), 0);
	EQ(ext4_finish(&disk), 0);
	EQ(pack("d", 0, 0, "1.tar"), 0);
	OK(lists("./lost+found/#12"));
	drop_disk();
}

TEST(a_layer_and_a_part_of_a_disk_are_packed_as_the_whole)
{
	struct qcow2_create c = { .size = 64 * mib };
	struct block *from, *to;
	int out;

	EQ(begin_disk(64 * mib), 0);
	EQ(add_all(), 0);
	EQ(ext4_finish(&disk), 0);
	EQ(pack("d", 0, 0, "1.tar"), 0);
	EQ(qcow2_create(AT_FDCWD, "q", &c), 0);
	EQ(raw_open(&from, "d", true), 0);
	EQ(qcow2_open(&to, "q", false, NULL), 0);
	EQ(copy_to_disk(from, to), 0);
	out = open("q.tar", O_WRONLY | O_CREAT, 0600);
	EQ(pack_tree(to, 0, to->size, out), 0);
	close(out);
	block_close(to);
	OK(same("1.tar", "q.tar"));
	out = open("part", O_RDWR | O_CREAT, 0600);
	EQ(ftruncate(out, 3 * mib), 0);
	lseek(out, 3 * mib, SEEK_SET);
	EQ(copy_to_stream(from, out), 0);
	close(out);
	block_close(from);
	EQ(pack("part", 3 * mib, 64 * mib, "part.tar"), 0);
	OK(same("1.tar", "part.tar"));
	EQ(pack("part", 0, 0, "no.tar"), -ENOENT);
	drop_disk();
}

TEST(where_nothing_can_be_written_is_said)
{
	struct block *b;
	int out = open("/dev/full", O_WRONLY);

	EQ(begin_disk(64 * mib), 0);
	EQ(add_all(), 0);
	EQ(ext4_finish(&disk), 0);
	EQ(raw_open(&b, "d", true), 0);
	EQ(pack_tree(b, 0, b->size, out), -ENOSPC);
	OK(strstr(err_text(), ": writing: No space left on device") ||
	   !strcmp(err_text(), "writing: No space left on device"));
	block_close(b);
	close(out);
	drop_disk();
}

/* -- hostile ones, made by debugfs -- */

/* How packing the disk fails once debugfs has done COMMAND to it. */
static int pack_after(const char *command)
{
	static uint8_t good[8 << 20];	/* all but data */
	int rc = pread_all(disk_fd, good, sizeof(good), 0);

	if (rc == 0 && run_tool("debugfs", "-wR", command) == 0)
		rc = pack("d", 0, 0, "1.tar");
	else
		rc = 1;
	return pwrite_all(disk_fd, good, sizeof(good), 0) == 0 ? rc : 1;
}

TEST(what_no_file_system_has_is_refused)
{
	static const struct { const char *command; int rc; const char *says; }
	t[] = {
		{ "ssv feature_incompat 0x2c6", -E_CONFIG,
		  "its ext4 was not unmounted" },
		{ "link a a/b/loop", -E_VERIFY,
		  "./a/b/loop: damaged ext4: a directory in two places" },
		{ "link / a/root", -E_VERIFY, "a directory in two places" },
		{ "link <8> a/journal", -E_VERIFY, "no such inode" },
		{ "sif etc/passwd links_count 0", -E_VERIFY,
		  "./etc/passwd: damaged ext4: an inode that is none" },
		{ "sif etc/passwd mode 0644", -E_VERIFY,
		  "a file of no kind" },
		{ "sif fast size 0", -E_VERIFY, "./fast: damaged" },
		{ "sif fast size 5000", -E_VERIFY, "./fast: damaged" },
		{ "sif fast size 11", -E_VERIFY, "./fast: damaged" },
		{ "sif etc/passwd size 0x100000000000001", -E_VERIFY,
		  "./etc/passwd: damaged ext4: a file's size" },
		{ "sif etc/passwd block[5] 0x7fffffff", -E_VERIFY,
		  "./etc/passwd: damaged" },
		{ "sif etc/passwd flags 0x80800", -ENOTSUP,
		  "./etc/passwd: ext4 with encryption" },
		{ "sif / mode 0100644", -E_VERIFY, "no directory" },
		{ "clri <2>", -E_VERIFY, ".: damaged" },
	};

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(64 * mib), 0);
	EQ(add_all(), 0);
	EQ(ext4_finish(&disk), 0);
	EQ(pack_after("stats"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		int rc = pack_after(t[i].command);
		bool ok = rc == t[i].rc && strstr(err_text(), t[i].says);

		if (!ok)
			printf("# %s: %d %s\n", t[i].command, rc,
			       err_text());
		OK(ok);
	}
	EQ(pack("d", 0, 0, "1.tar"), 0);
	drop_disk();
}

/* Else a few inodes could say that each of them is the whole disk. */
TEST(blocks_of_several_files_are_refused)
{
	enum { FILES = 3 };
	char commands[1024];
	int n = 0;

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	EQ(begin_disk(64 * mib), 0);
	for (int i = 0; i < FILES; i++) {
		snprintf(commands, sizeof(commands), "f%d", i);
		EQ(add_text(commands, "x"), 0);
	}
	EQ(ext4_finish(&disk), 0);
	/* one extent of 7000 blocks at block 5000; there are 16384 */
	for (int i = 0; i < FILES; i++)
		n += snprintf(commands + n, sizeof(commands) - n,
			      "sif f%d block[4] 7000\nsif f%d block[5] 5000\n"
			      "sif f%d size 28672000\n", i, i, i);
	OK(put("commands", commands));
	EQ(run_tool("debugfs", "-wf", "commands"), 0);
	EQ(pack("d", 0, 0, "1.tar"), -E_VERIFY);
	STR(err_text(), "./f2: damaged ext4: blocks that are several files'");
	drop_disk();
}

/* Exchanges FROM, which is there once, for TO in the disk's first 40 MiB. */
static bool exchange(const char *from, const char *to, size_t len)
{
	static uint8_t data[40 << 20];
	uint8_t *at;

	if (pread_all(disk_fd, data, sizeof(data), 0) < 0)
		return false;
	at = memmem(data, sizeof(data), from, len);
	return at && pwrite_all(disk_fd, to, len, at - data) == 0;
}

TEST(names_that_lead_elsewhere_are_refused)
{
	static const char *const names[] = { "x/evil", "..", "." };
	char from[32] = { 6, 1 }, to[32] = { 6, 1 };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		EQ(begin_disk(64 * mib), 0);
		EQ(add_text("a/my-evil", "x"), 0);
		EQ(ext4_finish(&disk), 0);
		/* the length, the type, the name */
		memcpy(from, "\x07\x01my-evil", 9);
		memcpy(to, "\x07\x01", 2);
		memcpy(to + 2, "x/-evil", 7);
		if (i) {
			to[0] = strlen(names[i]);
			memcpy(to + 2, names[i], strlen(names[i]));
		}
		OK(exchange(from, to, 9));
		EQ(pack("d", 0, 0, "1.tar"), -E_VERIFY);
		OK(strstr(err_text(), "./a/: damaged ext4: "));
		drop_disk();
	}
}

static int count(void *arg, const struct ext4_entry *e)
{
	(void)e;
	++*(int *)arg;
	return 0;
}

static int ignore(void *arg, uint64_t off, const void *data, size_t len)
{
	(void)arg, (void)off, (void)data, (void)len;
	return 0;
}

/* The walk neither crashes nor goes on for ever, whatever is damaged. */
TEST(damaged_disks_are_survived)
{
	static uint8_t good[6 << 20];
	uint32_t seed = 11;
	struct block *b;
	int entries = 0, whole = 0;
	const struct ext4_visitor v = { count, ignore, &entries };

	EQ(begin_disk(64 * mib), 0);
	EQ(add_all(), 0);
	EQ(ext4_finish(&disk), 0);
	EQ(pread_all(disk_fd, good, sizeof(good), 0), 0);
	for (int round = 0; round < 100; round++) {
		EQ(pwrite_all(disk_fd, good, sizeof(good), 0), 0);
		for (int i = 0; i < 300; i++) {
			uint8_t byte;
			uint64_t off;

			seed = seed * 1103515245 + 12345;
			off = 16384 + (seed >> 8) % (sizeof(good) - 16384);
			byte = seed >> 3;
			EQ(pwrite_all(disk_fd, &byte, 1, off), 0);
		}
		EQ(raw_open(&b, "d", true), 0);
		whole += ext4_walk(b, 0, b->size, &v) == 0;
		block_close(b);
	}
	OK(entries > 100 && whole < 100);
	drop_disk();
}

TESTS(T(what_is_packed_and_unpacked_is_packed_the_same),
      T(other_tars_see_what_was_there),
      T(a_lost_and_found_that_is_not_empty_is_packed),
      T(a_layer_and_a_part_of_a_disk_are_packed_as_the_whole),
      T(where_nothing_can_be_written_is_said),
      T(what_no_file_system_has_is_refused),
      T(blocks_of_several_files_are_refused),
      T(names_that_lead_elsewhere_are_refused),
      T(damaged_disks_are_survived))
