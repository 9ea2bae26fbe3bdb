/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/unpack_dir.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "disk.h"
#include "test.h"

enum { MIB = 1 << 20 };

static void begin(void)
{
	begin_disk(64 * MIB);
	mkdir("t", 0755);
}

static int unpack(uint64_t max)
{
	autoclose int at = open("t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = unpack_dir(at, max, &disk);

	return rc < 0 ? rc : ext4_finish(&disk);
}

static struct inode *at(const char *path)
{
	static struct inode none;
	struct inode *i = tree_find(&disk.tree, path);

	return i ? i : &none;
}

TEST(a_tree_is_kept_as_it_is)
{
	const struct timespec times[2] = { { 5, 6 }, { 1000000000, 7 } };

	begin();
	OK(put("t/a", "hello"));
	EQ(link("t/a", "t/b"), 0);
	EQ(mkdir("t/d", 0700), 0);
	EQ(link("t/a", "t/d/c"), 0);
	EQ(symlink("/etc/passwd", "t/s"), 0);
	EQ(mkfifo("t/p", 0640), 0);
	EQ(chmod("t/a", 04751), 0);
	EQ(chmod("t", 01775), 0);
	EQ(utimensat(AT_FDCWD, "t/a", times, 0), 0);
	EQ(unpack(MIB), 0);
	EQ(at("a")->attr.mode, S_IFREG | 04751);
	EQ(at("a")->attr.uid, getuid());
	EQ(at("a")->attr.mtime, 1000000000);
	EQ(at("a")->attr.mtime_ns, 7);
	EQ(at("a")->nlink, 3);
	OK(at("a") == at("b") && at("a") == at("d/c"));
	EQ(at("d")->attr.mode, S_IFDIR | 0700);
	EQ(at("/")->attr.mode, S_IFDIR | 01775);
	STR(at("s")->target, "/etc/passwd");
	EQ(at("p")->attr.mode, S_IFIFO | 0640);
	STR(holds("a"), "hello");
	OK(!HAVE_E2FSPROGS || is_clean());
	drop_disk();
}

TEST(devices_and_owners_are_kept)
{
	begin();
	if (mknod("t/null", S_IFCHR | 0666, 0x103) < 0) {
		drop_disk();
		SKIP("no right to make devices");
	}
	EQ(chmod("t/null", 0660), 0);
	OK(put("t/a", "x"));
	EQ(chown("t/a", 70000, 80000), 0);
	EQ(lchown("t/null", 5, 6), 0);
	EQ(unpack(MIB), 0);
	EQ(at("null")->attr.mode, S_IFCHR | 0660);
	EQ(at("null")->attr.major, 1);
	EQ(at("null")->attr.minor, 3);
	EQ(at("null")->attr.gid, 6);
	EQ(at("a")->attr.uid, 70000);
	EQ(at("a")->attr.gid, 80000);
	drop_disk();
}

TEST(extended_attributes_are_kept)
{
	begin();
	OK(put("t/a", "x"));
	mkdir("t/d", 0755);
	if (setxattr("t/a", "user.k", "value", 5, 0) < 0 ||
	    setxattr("t/d", "user.d", "", 0, 0) < 0) {
		drop_disk();
		SKIP("no such attributes here");
	}
	EQ(unpack(MIB), 0);
	OK(at("a")->xattrs && at("d")->xattrs);
	STR(at("a")->xattrs->name, "user.k");
	EQ(at("a")->xattrs->len, 5);
	OK(!memcmp(at("a")->xattrs->value, "value", 5));
	STR(at("d")->xattrs->name, "user.d");
	drop_disk();
}

TEST(holes_stay_holes)
{
	int fd;

	begin();
	fd = open("t/h", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	EQ(pwrite(fd, "x", 1, 1ll << 33), 1);
	EQ(ftruncate(fd, 1ll << 34), 0);
	close(fd);
	OK(put("t/none", ""));
	EQ(truncate("t/none", 1ll << 33), 0);
	EQ(unpack(MIB), 0);
	EQ(at("h")->size, 1ll << 34);
	EQ(at("h")->nextents, 1);
	EQ(at("none")->size, 1ll << 33);
	EQ(at("none")->nextents, 0);
	OK(!HAVE_E2FSPROGS || is_clean());
	drop_disk();
}

TEST(the_disk_that_is_made_is_passed_over)
{
	begin();
	OK(put("t/a", "x"));
	EQ(link("d", "t/disk"), 0);
	EQ(unpack(MIB), 0);
	OK(tree_find(&disk.tree, "a") && !tree_find(&disk.tree, "disk"));
	drop_disk();
}

TEST(too_much_too_deep_or_nothing_is_refused)
{
	begin();
	EQ(unpack(MIB), -E_CONFIG);
	STR(err_text(), "holds no files");
	mkdir("t/d", 0755);
	OK(put("t/d/a", "12345"));
	EQ(unpack(4), -E_CONFIG);
	STR(err_text(), "d/a: more data than can be taken");
	drop_disk();
	begin();
	EQ(chdir("t"), 0);
	for (int i = 0; i <= UNPACK_DIR_DEPTH; i++)
		OK(mkdir("d", 0755) == 0 && chdir("d") == 0);
	EQ(chdir(dir), 0);
	EQ(unpack(MIB), -E_CONFIG);
	OK(strstr(err_text(), "d/d/"));
	OK(strstr(err_text(), ": deeper than 500 directories"));
	drop_disk();
}

TEST(what_is_mounted_in_it_is_an_empty_directory)
{
	autoclose int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autoclose int dev = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat a, b;

	OK(fstat(root, &a) == 0 && fstat(dev, &b) == 0);
	if (a.st_dev == b.st_dev || faccessat(dev, "shm", F_OK, 0) < 0 ||
	    fstatat(dev, "shm", &a, 0) < 0 || a.st_dev == b.st_dev)
		SKIP("nothing is mounted on /dev/shm");
	begin();
	if (unpack_dir(dev, MIB, &disk) < 0) {
		printf("# %s\n", err_text());
		drop_disk();
		SKIP("/dev may not be read");
	}
	OK(tree_find(&disk.tree, "shm") && !at("shm")->first);
	EQ(at("null")->attr.minor, 3);
	drop_disk();
}

TESTS(T(a_tree_is_kept_as_it_is),
      T(devices_and_owners_are_kept),
      T(extended_attributes_are_kept),
      T(holes_stay_holes),
      T(the_disk_that_is_made_is_passed_over),
      T(too_much_too_deep_or_nothing_is_refused),
      T(what_is_mounted_in_it_is_an_empty_directory))
