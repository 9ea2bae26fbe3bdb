/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/rootfs.h"

#include <errno.h>
#include <sys/stat.h>

#include "block/qcow2.h"

#include "disk.h"
#include "test.h"

enum { MIB = 1 << 20, SECTOR = 512 };

static int add_text(const char *path, const char *text)
{
	struct attr a = { .mode = S_IFREG | 0644 };
	int rc = ext4_add(&disk, path, &a);

	return rc < 0 ? rc : ext4_data(&disk, 0, text, strlen(text));
}

static int add_symlink(const char *path, const char *target)
{
	struct attr a = { .mode = S_IFLNK | 0777, .target = target };

	return ext4_add(&disk, path, &a);
}

/* Makes a disk of these files, a character each. */
static bool make(const char *const *paths)
{
	if (begin_disk(64 * MIB) < 0)
		return false;
	for (; *paths; paths++)
		if (add_text(*paths, "x") < 0)
			return false;
	return ext4_finish(&disk) == 0;
}

static bool finds(const char *kernel, const char *initrd)
{
	struct block *b = open_block(disk_fd);
	struct rootfs r;
	int rc = rootfs_open(&r, b);
	bool ok = rc == 0 && !strcmp(r.kernel, kernel) &&
		  !strcmp(r.initrd, initrd);

	if (!ok)
		printf("# %d (%s): kernel %s initrd %s\n", rc, err_text(),
		       r.kernel, r.initrd);
	rootfs_close(&r);
	block_close(b);
	return ok;
}

TEST(versions_are_in_the_order_people_mean)
{
	static const char *const rising[] = {
		"", "1", "5.10.0-30-amd64", "6.1.0-9-amd64",
		"6.1.0-10-amd64", "6.1.0-10-cloud-amd64", "6.9", "6.12~rc1",
		"6.12", "6.12.1", "6.12.01a", "virt",
	};

	for (size_t i = 0; i < ARRAY_SIZE(rising); i++)
		for (size_t k = 0; k < ARRAY_SIZE(rising); k++) {
			int d = version_compare(rising[i], rising[k]);

			if ((d > 0) - (d < 0) != (i > k) - (i < k))
				printf("# '%s' '%s': %d\n", rising[i],
				       rising[k], d);
			EQ((d > 0) - (d < 0), (i > k) - (i < k));
		}
	EQ(version_compare("6.01", "6.1"), 0);
}

TEST(each_distributions_kernel_and_initrd_are_found)
{
	static const struct {
		const char *files[6], *kernel, *initrd;
	} t[] = {
		{ { "boot/vmlinuz-6.1.0-9-amd64", "boot/vmlinuz-6.1.0-10-amd64",
		    "boot/initrd.img-6.1.0-9-amd64",
		    "boot/initrd.img-6.1.0-10-amd64" },
		  "/boot/vmlinuz-6.1.0-10-amd64",
		  "/boot/initrd.img-6.1.0-10-amd64" },
		{ { "boot/vmlinuz-6.1.0-10-amd64",
		    "boot/initrd.img-6.1.0-9-amd64" },
		  "/boot/vmlinuz-6.1.0-10-amd64", "" },
		{ { "boot/vmlinuz-6.8.5-301.fc40.x86_64",
		    "boot/vmlinuz-0-rescue-abc",
		    "boot/initramfs-6.8.5-301.fc40.x86_64.img" },
		  "/boot/vmlinuz-6.8.5-301.fc40.x86_64",
		  "/boot/initramfs-6.8.5-301.fc40.x86_64.img" },
		{ { "boot/vmlinuz-6.4.0-default", "boot/initrd-6.4.0-default" },
		  "/boot/vmlinuz-6.4.0-default", "/boot/initrd-6.4.0-default" },
		{ { "boot/vmlinuz-virt", "boot/initramfs-virt" },
		  "/boot/vmlinuz-virt", "/boot/initramfs-virt" },
		{ { "boot/vmlinuz-linux", "boot/initramfs-linux.img" },
		  "/boot/vmlinuz-linux", "/boot/initramfs-linux.img" },
		{ { "vmlinuz", "initrd.img" }, "/vmlinuz", "/initrd.img" },
		{ { "vmlinuz-6.1", "initrd.img-6.1", "grub/grub.cfg" },
		  "/vmlinuz-6.1", "/initrd.img-6.1" },
		{ { "etc/passwd", "boot/vmlinuz-", "boot/vmlinuz-1/x" },
		  "", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		OK(make(t[i].files));
		OK(finds(t[i].kernel, t[i].initrd));
		drop_disk();
	}
}

TEST(links_that_lead_nowhere_are_no_kernels)
{
	EQ(begin_disk(64 * MIB), 0);
	EQ(add_symlink("boot/vmlinuz-9", "/boot/vmlinuz-9"), 0);
	EQ(add_symlink("boot/vmlinuz-8", "gone"), 0);
	EQ(add_symlink("boot/vmlinuz-7", "../../usr/lib/../lib/k"), 0);
	EQ(add_text("usr/lib/k", "K"), 0);
	EQ(add_text("boot/vmlinuz-6", "six"), 0);
	EQ(ext4_finish(&disk), 0);
	OK(finds("/boot/vmlinuz-7", ""));
	drop_disk();
}

/* -- disks with partitions -- */

static void put_le(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++, v >>= 8)
		p[i] = v;
}

static void put_mbr(uint8_t *sector, int i, int type, uint32_t first,
		    uint32_t count)
{
	uint8_t *e = sector + 446 + 16 * i;

	e[4] = type;
	put_le(e + 8, first, 4);
	put_le(e + 12, count, 4);
	sector[510] = 0x55;
	sector[511] = 0xaa;
}

/* Moves the disk `d` to OFF of a larger one. */
static bool move_disk(uint64_t off)
{
	uint64_t size = lseek(disk_fd, 0, SEEK_END);
	int to = open("whole", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	static char piece[MIB];
	bool ok = to >= 0 && ftruncate(to, off + size + MIB) == 0;

	for (uint64_t at = 0; ok && at < size; at += MIB)
		ok = pread_all(disk_fd, piece, MIB, at) == 0 &&
		     (is_zero(piece, MIB) ||
		      pwrite_all(to, piece, MIB, off + at) == 0);
	dup2(to, disk_fd);
	close(to);
	return ok;
}

/* Writes a GPT, with a protective MBR, of two partitions. */
static int put_gpt(uint8_t s[static 3 * SECTOR], uint32_t first,
		   uint32_t sectors)
{
	static const uint8_t guid[16] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8,
		0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };

	memset(s, 0, 3 * SECTOR);
	put_mbr(s, 0, 0xee, 1, UINT32_MAX);
	memcpy(s + SECTOR, "EFI PART", 8);
	put_le(s + SECTOR + 72, 2, 8);
	put_le(s + SECTOR + 80, 128, 4);
	put_le(s + SECTOR + 84, 128, 4);
	for (int i = 0; i < 2; i++) {
		uint8_t *e = s + 2 * SECTOR + 128 * i;

		e[0] = 1;
		memcpy(e + 16, guid, sizeof(guid));
		put_le(e + 32, i ? first : 40, 8);
		put_le(e + 40, i ? first + sectors - 1 : 50, 8);
	}
	return pwrite_all(disk_fd, s, 3 * SECTOR, 0);
}

TEST(partitions_are_looked_into)
{
	static const char *const files[] = { "boot/vmlinuz-1",
					     "boot/initrd.img-1", NULL };
	uint8_t s[3 * SECTOR] = { 0 };
	struct buf b = BUF_INIT;
	struct block *whole;
	struct rootfs r;

	OK(make(files));
	OK(move_disk(3 * MIB));
	put_mbr(s, 0, 0x83, 2048, 2048);	/* nothing in it */
	put_mbr(s, 2, 0x83, 6144, 64 * 2048);
	put_le(s + 440, 0xcafe, 4);
	EQ(pwrite_all(disk_fd, s, sizeof(s), 0), 0);
	OK(finds("/boot/vmlinuz-1", "/boot/initrd.img-1"));
	whole = open_block(disk_fd);
	EQ(rootfs_open(&r, whole), 0);
	EQ(r.part.off, 3 * MIB);
	EQ(r.part.len, 64 * MIB);
	EQ(r.part.number, 3);
	STR(r.part.uuid, "0000cafe-03");
	EQ(ext4_read(rootfs_boot(&r), r.kernel, &b, 10), 0);
	STR(b.data, "x");
	rootfs_close(&r);
	EQ(put_gpt(s, 6144, 64 * 2048), 0);
	OK(finds("/boot/vmlinuz-1", "/boot/initrd.img-1"));
	EQ(rootfs_open(&r, whole), 0);
	EQ(r.part.number, 2);
	STR(r.part.uuid, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
	EQ(strlen(r.uuid), 36);
	rootfs_close(&r);
	block_close(whole);
	buf_release(&b);
	drop_disk();
}

/* A disk of these two file systems, or of a stranger and the second. */
static bool make_pair(const char *const *first, const char *const *second)
{
	uint8_t s[SECTOR] = { 0 };
	bool ok = make(second) && move_disk(80 * MIB);

	if (ok && first) {
		int whole = take_fd(&disk_fd);
		static char piece[MIB];

		ext4_release(&disk);
		ok = make(first);
		for (uint64_t at = 0; ok && at < 64 * MIB; at += MIB)
			ok = pread_all(disk_fd, piece, MIB, at) == 0 &&
			     (is_zero(piece, MIB) ||
			      pwrite_all(whole, piece, MIB, MIB + at) == 0);
		dup2(whole, disk_fd);
		close(whole);
	} else if (ok) {
		ok = pwrite_all(disk_fd, "XFSB", 4, MIB) == 0;
	}
	put_mbr(s, 0, 0x83, 2048, 64 * 2048);
	put_mbr(s, 1, 0x83, 160 * 1024, 64 * 2048);
	return ok && pwrite_all(disk_fd, s, sizeof(s), 0) == 0;
}

TEST(a_boot_of_its_own_goes_with_the_root_beside_it)
{
	static const char *const root[] = { "sbin/init", "boot/README", NULL };
	static const char *const boot[] = { "vmlinuz-2", "initramfs-2.img",
					    NULL };
	static const char *const both[] = { "boot/vmlinuz-1", NULL };
	struct block *b;
	struct rootfs r;

	for (int swapped = 0; swapped < 2; swapped++) {
		OK(swapped ? make_pair(boot, root) : make_pair(root, boot));
		b = open_block(disk_fd);
		EQ(rootfs_open(&r, b), 0);
		EQ(r.part.number, swapped ? 2 : 1);
		STR(r.part.uuid, "");
		STR(r.kernel, "/vmlinuz-2");
		STR(r.initrd, "/initramfs-2.img");
		EQ(ext4_size(rootfs_boot(&r), r.kernel), 1);
		EQ(ext4_size(&r.view, "/sbin/init"), 1);
		rootfs_close(&r);
		block_close(b);
		drop_disk();
	}
	OK(make_pair(boot, both));
	OK(finds("/boot/vmlinuz-1", ""));
	drop_disk();
}

TEST(a_root_that_cannot_be_read_is_not_taken_for_another)
{
	static const char *const boot[] = { "vmlinuz-2", "initramfs-2.img",
					    NULL };
	static const char *const data[] = { "data", NULL };
	struct block *b;
	struct rootfs r;

	for (int i = 0; i < 2; i++) {
		OK(make_pair(NULL, i ? data : boot));
		b = open_block(disk_fd);
		EQ(rootfs_open(&r, b), -ENOTSUP);
		STR(err_text(), "holds xfs, which is not read here");
		rootfs_close(&r);
		block_close(b);
		drop_disk();
	}
}

TEST(a_qcow2_image_is_read_as_well)
{
	static const char *const files[] = { "boot/vmlinuz-1", NULL };
	struct qcow2_create c = { .size = 68 * MIB };
	static uint8_t piece[MIB];
	uint8_t s[3 * SECTOR];
	struct block *b;
	struct rootfs r;

	OK(make(files));
	OK(move_disk(3 * MIB));
	EQ(put_gpt(s, 6144, 64 * 2048), 0);
	EQ(qcow2_create(AT_FDCWD, "q", &c), 0);
	EQ(qcow2_open(&b, "q", false, NULL), 0);
	for (uint64_t at = 0; at < 68 * MIB; at += MIB) {
		struct iovec iov = { piece, MIB };

		EQ(pread_all(disk_fd, piece, MIB, at), 0);
		if (!is_zero(piece, MIB))
			EQ(block_writev(b, &iov, 1, at), 0);
	}
	EQ(rootfs_open(&r, b), 0);
	STR(r.kernel, "/boot/vmlinuz-1");
	rootfs_close(&r);
	block_close(b);
	drop_disk();
}

TEST(hostile_partition_tables_name_nothing_outside)
{
	struct partition p[PARTITION_MAX];
	uint8_t s[4 * SECTOR];
	uint32_t seed = 1;
	struct block *b;
	int fd, n;

	scratch_make(dir);
	fd = open("d", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	EQ(ftruncate(fd, sizeof(s)), 0);
	b = open_block(fd);
	for (int round = 0; round < 3000; round++) {
		for (size_t i = 0; i < sizeof(s); i++) {
			seed = seed * 1103515245 + 12345;
			s[i] = seed >> (seed >> 30 ? 24 : 31);
		}
		s[510] = 0x55;
		s[511] = 0xaa;
		if (round % 2) {
			s[450] = 0xee;
			memcpy(s + SECTOR, "EFI PART", 8);
			put_le(s + SECTOR + 72, seed >> 31, 8);
			put_le(s + SECTOR + 84, 48 + (seed >> 20) % 99, 4);
		}
		EQ(pwrite_all(fd, s, sizeof(s), 0), 0);
		n = partition_list(b, p);
		OK(n >= 0 && n <= PARTITION_MAX);
		for (int i = 0; i < n; i++)
			OK(p[i].len && in_range(p[i].off, p[i].len, sizeof(s)));
	}
	block_close(b);
	EQ(ftruncate(fd, SECTOR), 0);
	b = open_block(fd);
	n = partition_list(b, p);
	OK(n >= 0 && n <= PARTITION_MAX);
	block_close(b);
	close(fd);
	scratch_remove(dir);
}

TEST(what_is_no_disk_is_refused)
{
	static const int sizes[] = { SECTOR, 1024, 10 * MIB };
	struct rootfs r;
	struct block *b;
	int fd;

	scratch_make(dir);
	fd = open("d", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		EQ(ftruncate(fd, sizes[i]), 0);
		b = open_block(fd);
		EQ(rootfs_open(&r, b), -ENOENT);
		STR(err_text(), "holds no ext4");
		rootfs_close(&r);
		block_close(b);
	}
	close(fd);
	scratch_remove(dir);
}

/* The reader neither crashes nor goes on for ever, whatever is damaged. */
TEST(damaged_disks_are_survived)
{
	static const char *const files[] = { "boot/vmlinuz-1",
					     "boot/initrd.img-1", "a/b/c", NULL };
	static uint8_t good[5 << 20];
	uint32_t seed = 7;
	struct rootfs r;
	struct block *b;

	OK(make(files));
	b = open_block(disk_fd);
	EQ(pread_all(disk_fd, good, sizeof(good), 0), 0);
	for (int round = 0; round < 400; round++) {
		for (int i = 0; i < 40; i++) {
			uint64_t off;
			uint8_t byte;

			seed = seed * 1103515245 + 12345;
			off = (seed >> 8) % (round % 4 ? sizeof(good) : 8192);
			byte = seed >> 3;
			EQ(pwrite_all(disk_fd, &byte, 1, off), 0);
		}
		if (rootfs_open(&r, b) == 0)
			rootfs_close(&r);
		if (round % 20 == 0)
			EQ(pwrite_all(disk_fd, good, sizeof(good), 0), 0);
	}
	EQ(pwrite_all(disk_fd, good, sizeof(good), 0), 0);
	block_close(b);
	EQ(ftruncate(disk_fd, sizeof(good)), 0);
	b = open_block(disk_fd);
	EQ(rootfs_open(&r, b), -E_VERIFY);
	STR(err_text(), "damaged ext4: ends behind its disk");
	block_close(b);
	drop_disk();
}

TESTS(T(versions_are_in_the_order_people_mean),
      T(each_distributions_kernel_and_initrd_are_found),
      T(links_that_lead_nowhere_are_no_kernels), T(partitions_are_looked_into),
      T(a_boot_of_its_own_goes_with_the_root_beside_it),
      T(a_root_that_cannot_be_read_is_not_taken_for_another),
      T(a_qcow2_image_is_read_as_well),
      T(hostile_partition_tables_name_nothing_outside),
      T(what_is_no_disk_is_refused), T(damaged_disks_are_survived))
