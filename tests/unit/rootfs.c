/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/rootfs.h"

#include <errno.h>
#include <sys/stat.h>

#include "image/partition.h"

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
	struct rootfs r;
	int rc = rootfs_open(&r, disk_fd);
	bool ok = rc == 0 && !strcmp(r.kernel, kernel) &&
		  !strcmp(r.initrd, initrd);

	if (!ok)
		printf("# %d (%s): kernel %s initrd %s\n", rc, err_text(),
		       r.kernel, r.initrd);
	rootfs_close(&r);
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
		     pwrite_all(to, piece, MIB, off + at) == 0;
	dup2(to, disk_fd);
	close(to);
	return ok;
}

TEST(partitions_are_looked_into)
{
	static const char *const files[] = { "boot/vmlinuz-1",
					     "boot/initrd.img-1", NULL };
	uint8_t s[3 * SECTOR] = { 0 };
	struct rootfs r;
	struct buf b = BUF_INIT;

	OK(make(files));
	OK(move_disk(3 * MIB));
	put_mbr(s, 0, 0x83, 2048, 2048);	/* nothing in it */
	put_mbr(s, 2, 0x83, 6144, 64 * 2048);
	EQ(pwrite_all(disk_fd, s, sizeof(s), 0), 0);
	OK(finds("/boot/vmlinuz-1", "/boot/initrd.img-1"));
	EQ(rootfs_open(&r, disk_fd), 0);
	EQ(r.off, 3 * MIB);
	EQ(r.len, 64 * MIB);
	EQ(ext4_read(&r.view, r.kernel, &b, 10), 0);
	STR(b.data, "x");
	rootfs_close(&r);
	memset(s, 0, sizeof(s));
	put_mbr(s, 0, 0xee, 1, UINT32_MAX);
	memcpy(s + SECTOR, "EFI PART", 8);
	put_le(s + SECTOR + 72, 2, 8);
	put_le(s + SECTOR + 80, 128, 4);
	put_le(s + SECTOR + 84, 128, 4);
	for (int i = 0; i < 2; i++) {
		s[2 * SECTOR + 128 * i] = 1;
		put_le(s + 2 * SECTOR + 128 * i + 32, i ? 6144 : 40, 8);
		put_le(s + 2 * SECTOR + 128 * i + 40,
		       i ? 6143 + 64 * 2048 : 50, 8);
	}
	EQ(pwrite_all(disk_fd, s, sizeof(s), 0), 0);
	OK(finds("/boot/vmlinuz-1", "/boot/initrd.img-1"));
	buf_release(&b);
	drop_disk();
}

TEST(hostile_partition_tables_name_nothing_outside)
{
	struct partition p[PARTITION_MAX];
	uint8_t s[4 * SECTOR];
	uint32_t seed = 1;
	int fd, n;

	scratch_make(dir);
	fd = open("d", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
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
		n = partition_list(fd, sizeof(s), p);
		OK(n >= 0 && n <= PARTITION_MAX);
		for (int i = 0; i < n; i++)
			OK(p[i].len && in_range(p[i].off, p[i].len, sizeof(s)));
	}
	EQ(partition_list(fd, 0, p), 0);
	EQ(partition_list(fd, 511, p), 0);
	close(fd);
	scratch_remove(dir);
}

TEST(what_is_no_disk_is_refused)
{
	struct rootfs r;
	int fd;

	scratch_make(dir);
	fd = open("d", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	EQ(rootfs_open(&r, fd), -ENOENT);
	STR(err_text(), "holds no ext4");
	EQ(ftruncate(fd, 10 * MIB), 0);
	EQ(rootfs_open(&r, fd), -ENOENT);
	rootfs_close(&r);
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

	OK(make(files));
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
		if (rootfs_open(&r, disk_fd) == 0)
			rootfs_close(&r);
		if (round % 20 == 0)
			EQ(pwrite_all(disk_fd, good, sizeof(good), 0), 0);
	}
	EQ(pwrite_all(disk_fd, good, sizeof(good), 0), 0);
	EQ(ftruncate(disk_fd, sizeof(good)), 0);
	EQ(rootfs_open(&r, disk_fd), -E_VERIFY);
	STR(err_text(), "damaged ext4: ends behind its disk");
	drop_disk();
}

TESTS(T(versions_are_in_the_order_people_mean),
      T(each_distributions_kernel_and_initrd_are_found),
      T(links_that_lead_nowhere_are_no_kernels), T(partitions_are_looked_into),
      T(hostile_partition_tables_name_nothing_outside),
      T(what_is_no_disk_is_refused), T(damaged_disks_are_survived))
