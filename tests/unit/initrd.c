/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/initrd.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

#include "image/kernel_from.h"
#include "image/module.h"

#include "disk.h"
#include "test.h"

enum { MIB = 1 << 20 };

/* -- modules as a kernel's build makes them, but for what they do -- */

static void put_le(char *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++, v >>= 8)
		p[i] = v;
}

static void put_section(struct buf *b, uint32_t name, uint64_t off,
			uint64_t len)
{
	char s[64] = { 0 };

	put_le(s, name, 4);
	put_le(s + 24, off, 8);
	put_le(s + 32, len, 8);
	buf_add(b, s, sizeof(s));
}

/* An ELF of three sections: none, the names, .modinfo with INFO. */
static void make_module(struct buf *b, const char *info, size_t len)
{
	static const char names[] = "\0.shstrtab\0.modinfo";
	char head[64] = "\177ELF\2\1\1";

	put_le(head + 40, sizeof(head), 8);
	put_le(head + 58, 64, 2);
	put_le(head + 60, 3, 2);
	put_le(head + 62, 1, 2);
	buf_clear(b);
	buf_add(b, head, sizeof(head));
	put_section(b, 0, 0, 0);
	put_section(b, 1, 256, sizeof(names));
	put_section(b, 11, 256 + sizeof(names), len);
	buf_add(b, names, sizeof(names));
	buf_add(b, info, len);
}

static int add_file(const char *path, const void *data, size_t len)
{
	struct attr a = { .mode = S_IFREG | 0644 };
	int rc = ext4_add(&disk, path, &a);

	return rc < 0 ? rc : ext4_data(&disk, 0, data, len);
}

static int add_text(const char *path, const char *text)
{
	return add_file(path, text, strlen(text));
}

/* A module that needs NEEDS ("a,b"), in /lib/modules/1/kernel. */
static int add_module(const char *file, const char *needs)
{
	autobuf struct buf info = BUF_INIT, b = BUF_INIT;
	char path[128];

	buf_printf(&info, "license=GPL");
	buf_char(&info, '\0');
	buf_printf(&info, "depends=%s", needs);
	buf_char(&info, '\0');
	make_module(&b, info.data, info.len);
	snprintf(path, sizeof(path), "lib/modules/1/kernel/%s", file);
	return add_file(path, b.data, b.len);
}

/* The same, by libarchive's FILTER. */
static int add_packed(const char *file, const char *filter)
{
	struct archive *a = archive_write_new();
	struct archive_entry *e = archive_entry_new();
	autobuf struct buf b = BUF_INIT;
	static char packed[4096];
	char path[128];
	size_t used = 0;
	bool ok;

	make_module(&b, "depends=", 9);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_pathname(e, "m");
	ok = archive_write_set_format_raw(a) == ARCHIVE_OK &&
	     archive_write_add_filter_by_name(a, filter) == ARCHIVE_OK &&
	     archive_write_open_memory(a, packed, sizeof(packed), &used) ==
	     ARCHIVE_OK && archive_write_header(a, e) == ARCHIVE_OK &&
	     archive_write_data(a, b.data, b.len) == (la_ssize_t)b.len &&
	     archive_write_close(a) == ARCHIVE_OK;
	archive_entry_free(e);
	archive_write_free(a);
	snprintf(path, sizeof(path), "lib/modules/1/kernel/%s", file);
	return ok ? add_file(path, packed, used) : -EIO;
}

/* -- what comes out -- */

/* Makes an initrd of the disk for kernel 1; FD is where it is. */
static int make(int fd)
{
	struct block *b = open_block(disk_fd);
	struct ext4_view v;
	int rc = ext4_open(&v, b, 0, b->size);

	if (rc == 0)
		rc = initrd_make(&v, "1", fd);
	if (rc < 0)
		printf("# %s\n", err_text());
	ext4_close(&v);
	block_close(b);
	return rc;
}

/* What NAME holds in the archive FD, by libarchive; "" if it is not there. */
static const char *in_archive(int fd, const char *name)
{
	static char text[4096];
	struct archive *a = archive_read_new();
	struct archive_entry *e;
	la_ssize_t n = 0;

	text[0] = '\0';
	lseek(fd, 0, SEEK_SET);
	archive_read_support_format_cpio(a);
	if (archive_read_open_fd(a, fd, 4096) == ARCHIVE_OK)
		while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
			if (strcmp(archive_entry_pathname(e), name))
				continue;
			n = archive_read_data(a, text, sizeof(text) - 1);
			break;
		}
	text[n > 0 ? n : 0] = '\0';
	archive_read_free(a);
	return text;
}

static int open_out(void)
{
	return open("out", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

TEST(modules_are_found_by_name_in_any_of_the_lists)
{
	static const char list[] =
		"kernel/drivers/virtio/virtio_ring.ko\n"
		"kernel/a/virtio-rng.ko.xz: kernel/a/b.ko\n"
		"/lib/modules/1/absolute.ko\n"
		"kernel/a/ext4.ko.zst\nkernel/a/ext4.kodak\nnoslash.ko\n"
		"kernel/a/last.ko";
	static const struct { const char *name, *path; } t[] = {
		{ "virtio_ring", "kernel/drivers/virtio/virtio_ring.ko" },
		{ "virtio_rng", "kernel/a/virtio-rng.ko.xz" },
		{ "virtio-rng", "kernel/a/virtio-rng.ko.xz" },
		{ "ext4", "kernel/a/ext4.ko.zst" },
		{ "noslash", "noslash.ko" }, { "last", "kernel/a/last.ko" },
		{ "b", NULL }, { "absolute", NULL }, { "ext", NULL },
		{ "ring", NULL }, { "", NULL }, { "virtio_ring.ko", NULL },
	};
	char path[MODULE_PATH];

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		OK(module_find(list, t[i].name, path) == !!t[i].path);
		if (t[i].path)
			STR(path, t[i].path);
	}
	OK(!module_find("", "x", path));
}

TEST(a_path_too_long_is_passed_over)
{
	char list[1000], path[MODULE_PATH];

	memset(list, 'a', sizeof(list));
	memcpy(list + sizeof(list) - 7, "/m.ko\n", 7);
	OK(!module_find(list, "m", path));
	OK(module_find(list + sizeof(list) - 255 - 2, "m", path));
	EQ(strlen(path), 255);
	OK(!module_find(list + sizeof(list) - 255 - 3, "m", path));
}

TEST(a_module_says_what_it_needs)
{
	static const char info[] = "license=GPL\0depends=a,b-c\0depends=no\0x";
	struct buf b = BUF_INIT, out = BUF_INIT;

	make_module(&b, info, sizeof(info));
	EQ(module_info(b.data, b.len, "depends", &out), 0);
	STR(out.data, "a,b-c");
	buf_clear(&out);
	EQ(module_info(b.data, b.len, "x", &out), 0);
	EQ(module_info(b.data, b.len, "depend", &out), 0);
	STR(out.data, "");
	make_module(&b, "depends=endless", 15);
	EQ(module_info(b.data, b.len, "depends", &out), 0);
	STR(out.data, "endless");
	buf_release(&b);
	buf_release(&out);
}

TEST(damaged_modules_are_refused_and_nothing_outside_is_read)
{
	static const char info[] = "depends=a";
	struct buf good = BUF_INIT, out = BUF_INIT;
	uint32_t seed = 3;

	make_module(&good, info, sizeof(info));
	for (size_t len = 0; len < good.len; len++) {
		/* of its own, so that a sanitizer sees what is behind it */
		char *part = malloc(len + 1);

		memcpy(part, good.data, len);
		EQ(module_info(part, len, "depends", &out), -E_VERIFY);
		free(part);
	}
	for (int round = 0; round < 20000; round++) {
		char *bad = malloc(good.len);

		memcpy(bad, good.data, good.len);
		for (int i = 0; i < 3; i++) {
			seed = seed * 1103515245 + 12345;
			bad[(seed >> 8) % good.len] = seed >> 24;
		}
		module_info(bad, good.len, "depends", &out);
		free(bad);
	}
	buf_release(&good);
	buf_release(&out);
}

TEST(the_initrd_has_what_is_needed_in_the_order_to_load_it)
{
	int fd;

	EQ(begin_disk(64 * MIB), 0);
	EQ(add_text("lib/modules/1/modules.order",
		    "kernel/virtio_pci.ko\nkernel/virtio.ko\nkernel/ring.ko\n"
		    "kernel/virtio-blk.ko\nkernel/ext4.ko\nkernel/jbd2.ko\n"
		    "kernel/unused.ko\n"), 0);
	EQ(add_text("lib/modules/1/modules.builtin",
		    "kernel/crc16.ko\nkernel/virtio_rng.ko\n"), 0);
	EQ(add_module("virtio_pci.ko", "virtio,ring"), 0);
	EQ(add_module("virtio.ko", ""), 0);
	EQ(add_module("ring.ko", "virtio"), 0);
	EQ(add_module("virtio-blk.ko", "ring"), 0);
	EQ(add_module("ext4.ko", "crc16,jbd2"), 0);
	EQ(add_packed("jbd2.ko.xz", "xz"), 0);
	EQ(add_module("unused.ko", ""), 0);
	EQ(ext4_finish(&disk), 0);
	fd = open_out();
	EQ(make(fd), 6);
	STR(in_archive(fd, "modules/list"),
	    "virtio\nring\nvirtio_pci\nvirtio_blk\njbd2\next4\n");
	OK(!memcmp(in_archive(fd, "modules/jbd2"), "\177ELF", 4));
	OK(!memcmp(in_archive(fd, "modules/ext4"), "\177ELF", 4));
	OK(!memcmp(in_archive(fd, "init"), "\177ELF", 4));
	STR(in_archive(fd, "modules/unused"), "");
	close(fd);
	drop_disk();
}

TEST(every_compression_of_modules_is_read)
{
	static const struct { const char *file, *filter; } t[] = {
		{ "virtio_pci.ko.xz", "xz" }, { "virtio_pci.ko.gz", "gzip" },
		{ "virtio_pci.ko.zst", "zstd" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		int fd;

		EQ(begin_disk(64 * MIB), 0);
		EQ(add_text("lib/modules/1/modules.dep", ""), 0);
		EQ(add_text("lib/modules/1/modules.order",
			    "kernel/virtio_pci.ko\n"), 0);
		EQ(add_packed(t[i].file, t[i].filter), 0);
		EQ(ext4_finish(&disk), 0);
		fd = open_out();
		EQ(make(fd), 1);
		OK(!memcmp(in_archive(fd, "modules/virtio_pci"), "\177ELF", 4));
		close(fd);
		drop_disk();
	}
}

TEST(a_kernel_that_has_it_all_built_in_needs_no_initrd)
{
	int fd;

	EQ(begin_disk(64 * MIB), 0);
	EQ(add_text("lib/modules/1/modules.builtin",
		    "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\n"
		    "kernel/ext4.ko\n"), 0);
	EQ(add_text("lib/modules/1/modules.order", "kernel/virtio_rng.ko\n"),
	   0);
	EQ(add_module("virtio_rng.ko", ""), 0);
	EQ(ext4_finish(&disk), 0);
	fd = open_out();
	EQ(make(fd), 0);
	EQ(lseek(fd, 0, SEEK_END), 0);
	close(fd);
	drop_disk();
}

/* A disk with these modules.order, and modules that need what they say. */
static int try(const char *order, const char *const *module, size_t n)
{
	int fd, rc;

	if (begin_disk(64 * MIB) < 0 ||
	    (order && add_text("lib/modules/1/modules.order", order) < 0))
		return -EIO;
	for (size_t i = 0; i < n; i += 2)
		if (add_module(module[i], module[i + 1]) < 0)
			return -EIO;
	if (ext4_finish(&disk) < 0)
		return -EIO;
	fd = open_out();
	rc = make(fd);
	close(fd);
	drop_disk();
	return rc;
}

TEST(hostile_modules_end_in_a_sentence)
{
	static const char *const circle[] = { "virtio_pci.ko", "b", "b.ko",
					      "virtio_pci" };
	static const char *const lacks[] = { "virtio_pci.ko", "gone" };
	static const char *const slash[] = { "virtio_pci.ko", "../../x" };
	autobuf struct buf order = BUF_INIT;
	static char names[20][2][16];
	const char *deep[40];

	EQ(try(NULL, NULL, 0), -ENOENT);
	EQ(try("kernel/virtio_pci.ko\nkernel/b.ko\n", circle, 4), 2);
	EQ(try("kernel/virtio_pci.ko\n", lacks, 2), -E_VERIFY);
	STR(err_text(), "/lib/modules/1: virtio_pci needs gone, which is not "
	    "there");
	EQ(try("kernel/virtio_pci.ko\n", slash, 2), -E_VERIFY);
	buf_str(&order, "kernel/virtio_pci.ko\n");
	for (int i = 0; i < 20; i++) {
		snprintf(names[i][0], 16, i ? "m%d.ko" : "virtio_pci.ko", i);
		snprintf(names[i][1], 16, "m%d", i + 1);
		deep[2 * i] = names[i][0];
		deep[2 * i + 1] = i < 19 ? names[i][1] : "";
		buf_printf(&order, "kernel/m%d.ko\n", i);
	}
	EQ(try(order.data, deep, 40), -E_CONFIG);
	OK(strstr(err_text(), "needed by too many"));
}

/* -- modules into a tree -- */

static int add_link(const char *path, const char *target)
{
	struct attr a = { .mode = S_IFLNK | 0777, .target = target };

	return ext4_add(&disk, path, &a);
}

TEST(modules_go_into_a_tree_that_lacks_them)
{
	struct ext4_conf conf = { .size = 64 * MIB, .inodes = 1000 };
	struct kernel_from k = { .version = "1" };
	struct attr a = { .mode = S_IFREG | 04711, .uid = 7, .gid = 70000,
			  .mtime = 1700000000 };
	int fd;

	EQ(begin_disk(64 * MIB), 0);
	EQ(add_text("lib/modules/1/modules.order", "kernel/a.ko\n"), 0);
	EQ(add_module("a.ko", ""), 0);
	EQ(add_link("lib/modules/1/build", "/usr/src/1"), 0);
	EQ(ext4_add(&disk, "lib/modules/1/odd", &a), 0);
	EQ(add_text("etc/passwd", "not to be taken"), 0);
	EQ(ext4_finish(&disk), 0);
	k.disk = open_block(disk_fd);
	EQ(rootfs_open(&k.root, k.disk), 0);
	fd = open("other", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ext4_release(&disk);
	EQ(ext4_begin(&disk, fd, &conf), 0);
	EQ(add_link("lib", "usr/lib"), 0);
	EQ(add_text("usr/lib/x", "x"), 0);
	EQ(kernel_from_modules(&k, &disk), 0);
	EQ(kernel_from_modules(&k, &disk), 0);	/* is there now */
	EQ(ext4_finish(&disk), 0);
	rootfs_close(&k.root);
	block_close(k.disk);
	dup2(fd, disk_fd);
	close(fd);
	STR(holds("/usr/lib/modules/1/modules.order"), "kernel/a.ko\n");
	STR(holds("/etc/passwd"),
	    "/etc/passwd: etc: No such file or directory");
	if (HAVE_E2FSPROGS) {
		EQ(rename("other", "d"), 0);
		OK(is_clean());
		OK(strstr(ask("stat /usr/lib/modules/1/build"),
			  "Fast link dest: \"/usr/src/1\""));
		OK(strstr(ask("stat /usr/lib/modules/1/odd"), "Mode:  04711"));
		OK(strstr(ask("stat /usr/lib/modules/1/odd"),
			  "Group: 70000"));
	}
	drop_disk();
}

TEST(attributes_are_read_as_they_were_written)
{
	static const struct attr made[] = {
		{ .mode = S_IFREG | 0640, .uid = 1, .gid = 2, .mtime = 3 },
		{ .mode = S_IFCHR | 0600, .major = 5, .minor = 1 },
		{ .mode = S_IFBLK | 0600, .major = 259, .minor = 300 },
		{ .mode = S_IFLNK | 0777, .target = "a/b" },
		{ .mode = S_IFDIR | 01777, .uid = 100000 },
	};
	struct buf target = BUF_INIT;
	struct ext4_view v;
	struct block *b;
	struct attr a;
	char name[8];

	EQ(begin_disk(64 * MIB), 0);
	for (size_t i = 0; i < ARRAY_SIZE(made); i++) {
		snprintf(name, sizeof(name), "f%zu", i);
		EQ(ext4_add(&disk, name, &made[i]), 0);
	}
	EQ(ext4_finish(&disk), 0);
	b = open_block(disk_fd);
	EQ(ext4_open(&v, b, 0, b->size), 0);
	for (size_t i = 0; i < ARRAY_SIZE(made); i++) {
		snprintf(name, sizeof(name), "f%zu", i);
		EQ(ext4_attr(&v, name, &a, &target), 0);
		EQ(a.mode, made[i].mode);
		EQ(a.uid, made[i].uid);
		EQ(a.gid, made[i].gid);
		EQ(a.mtime, made[i].mtime);
		EQ(a.major, made[i].major);
		EQ(a.minor, made[i].minor);
		OK(!a.target == !made[i].target);
	}
	STR(target.data, "a/b");
	EQ(ext4_attr(&v, "gone", &a, &target), -ENOENT);
	ext4_close(&v);
	block_close(b);
	buf_release(&target);
	drop_disk();
}

TESTS(T(modules_are_found_by_name_in_any_of_the_lists),
      T(a_path_too_long_is_passed_over), T(a_module_says_what_it_needs),
      T(damaged_modules_are_refused_and_nothing_outside_is_read),
      T(the_initrd_has_what_is_needed_in_the_order_to_load_it),
      T(every_compression_of_modules_is_read),
      T(a_kernel_that_has_it_all_built_in_needs_no_initrd),
      T(hostile_modules_end_in_a_sentence),
      T(modules_go_into_a_tree_that_lacks_them),
      T(attributes_are_read_as_they_were_written))
