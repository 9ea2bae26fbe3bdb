/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/import.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "block/qcow2.h"
#include "image/copy.h"
#include "image/rootfs.h"
#include "image/unpack_tree.h"

enum {
	HEAD = 64 << 10,	/* what is looked at to tell */
	SECTOR = 512,
	TREE_INODES = 4 << 20,
};
static const uint64_t disk_max = 1ULL << 44, tree_max = 1ULL << 40;
static const uint64_t kernel_max = 1ULL << 30;

const char *const import_kinds[] = {
	[IMPORT_ANY] = "any", [IMPORT_RAW] = "raw", [IMPORT_QCOW2] = "qcow2",
	[IMPORT_TREE] = "tree", NULL
};

/* What stands at OFF of what begins so. */
static const struct magic {
	enum import_kind kind;
	unsigned off, len;
	const char *bytes;
} magics[] = {
	{ IMPORT_QCOW2, 0, 4, "QFI\xfb" },
	{ IMPORT_TREE, 257, 5, "ustar" },
	{ IMPORT_TREE, 0, 2, "\x1f\x8b" },		/* gzip */
	{ IMPORT_TREE, 0, 4, "\x28\xb5\x2f\xfd" },	/* zstd */
	{ IMPORT_TREE, 0, 6, "\xfd" "7zXZ" },
	{ IMPORT_TREE, 0, 3, "BZh" },
	{ IMPORT_TREE, 0, 4, "\x04\x22\x4d\x18" },	/* lz4 */
	{ IMPORT_TREE, 0, 4, "LZIP" },
	{ IMPORT_TREE, 0, 8, "!<arch>\n" },		/* .deb */
	{ IMPORT_TREE, 0, 5, "07070" },			/* cpio */
	{ IMPORT_TREE, 0, 4, "PK\x03\x04" },
	{ IMPORT_RAW, 510, 2, "\x55\xaa" },		/* MBR, GPT's too */
	{ IMPORT_RAW, 1080, 2, "\x53\xef" },		/* ext2, 3, 4 */
	{ IMPORT_RAW, 0, 4, "XFSB" },
	{ 0 }
};

static enum import_kind tell(const uint8_t *head, size_t len)
{
	for (const struct magic *m = magics; m->len; m++)
		if (in_range(m->off, m->len, len) &&
		    !memcmp(head + m->off, m->bytes, m->len))
			return m->kind;
	return IMPORT_ANY;
}

static int new_file(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
			0600);

	return fd < 0 ? fail_sys("%s", name) : fd;
}

/* -- disks -- */

static int import_raw(int fd, struct image_meta *m)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail_sys("disk");
	if (!st.st_size)
		return fail(E_CONFIG, "is empty");
	m->format = FORMAT_RAW;
	m->size = st.st_size;
	return 0;
}

static int import_qcow2(int fd, struct image_meta *m)
{
	struct qcow2_check check;
	struct qcow2_info info;
	int rc = qcow2_info(fd, &info);

	if (rc < 0)
		return rc;
	rc = qcow2_alone(&info);
	if (rc == 0 && info.corrupt)
		rc = fail(E_VERIFY, "is marked as corrupt");
	if (rc == 0)
		rc = qcow2_check(fd, info.dirty, &check);
	if (rc == 0 && check.errors)
		rc = fail(E_VERIFY, "is damaged (%" PRIu64 " errors)",
			  check.errors);
	m->format = FORMAT_QCOW2;
	m->size = info.size;
	qcow2_info_release(&info);
	return rc;
}

/* A file's last bytes, less than a sector: they and zeros are one more. */
static int copy_tail(int from, const struct block *b, int disk)
{
	uint8_t tail[SECTOR] = { 0 };
	ssize_t n = pread(from, tail, sizeof(tail), b->size);
	int rc = n < 0 ? -errno : 0;

	if (n > 0)
		rc = pwrite_all(disk, tail, sizeof(tail), b->size);
	return rc < 0 ? fail(-rc, "%s", strerror(-rc)) : 0;
}

/* A disk that can be sought in: locked meanwhile, and its holes are known. */
static int copy_raw(int from, int disk)
{
	struct block *b;
	char path[32];
	int rc;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", from);
	rc = raw_open(&b, path, true);
	if (rc < 0)
		return rc;
	rc = copy_to_file(b, disk);
	if (rc == 0)
		rc = copy_tail(from, b, disk);
	block_close(b);
	return rc;
}

static int copy_disk(const struct import_conf *c, enum import_kind kind,
		     const void *head, size_t len, int disk)
{
	if (kind == IMPORT_RAW && lseek(c->from, 0, SEEK_CUR) >= 0)
		return copy_raw(c->from, disk);
	return copy_from_stream(c->from, head, len, disk, disk_max);
}

static int import_tree(const struct import_conf *c, const void *head,
		       size_t len, int disk, struct image_meta *m)
{
	struct ext4_conf conf = { .size = c->size, .inodes = TREE_INODES };
	struct ext4 x = { 0 };
	int rc = ext4_begin(&x, disk, &conf);

	if (rc == 0)
		rc = unpack_tree(c->from, head, len, tree_max, &x);
	if (rc == 0)
		rc = ext4_finish(&x);
	ext4_release(&x);
	return rc < 0 ? rc : import_raw(disk, m);
}

/* -- what boots it -- */

/* The file PATH of the disk as NAME of the image. */
static int take_file(int dir, const char *name, const struct rootfs *r,
		     const char *path)
{
	autoclose int fd = -1;
	int64_t n;

	if (!*path)
		return 0;
	fd = new_file(dir, name);
	if (fd < 0)
		return fd;
	n = ext4_copy(&r->view, path, fd, kernel_max);
	return n < 0 ? fail_in(n, "%s %s", name, path) : 0;
}

/*
 * A file system on the whole disk boots by its own kernel. Where there are
 * partitions their boot loader knows what boots, which we do not ask.
 */
static int take_kernel(int dir, int disk, struct image_meta *m)
{
	struct rootfs r = { 0 };
	int rc = m->format == FORMAT_RAW ? rootfs_open(&r, disk) : -ENOENT;

	if (rc < 0)	/* then it has none for us */
		return 0;
	if (!r.off && r.kernel[0]) {
		rc = take_file(dir, "kernel", &r, r.kernel);
		if (rc == 0)
			rc = take_file(dir, "initrd", &r, r.initrd);
		m->append = strdup("root=/dev/vda rw");
		if (rc == 0 && !m->append)
			rc = fail(ENOMEM, "out of memory");
	}
	rootfs_close(&r);
	return rc;
}

int import_disk(int dir, const struct import_conf *c, struct image_meta *m)
{
	autofree uint8_t *head = malloc(HEAD);
	enum import_kind kind = c->kind;
	autoclose int disk = -1;
	ssize_t len;
	int rc;

	if (!head)
		return fail(ENOMEM, "out of memory");
	len = read_up_to(c->from, head, HEAD);
	if (len < 0)
		return fail(-len, "read: %s", strerror(-len));
	rc = disk = new_file(dir, "disk");
	if (rc < 0)
		return rc;
	if (kind == IMPORT_ANY)
		kind = tell(head, len);
	if (kind == IMPORT_ANY)
		return fail(E_CONFIG, "neither a disk nor an archive "
			    "(--format says which)");
	if (c->size && kind != IMPORT_TREE)
		return fail(E_USAGE, "a size is for what comes as a tree");
	rc = kind == IMPORT_TREE ? import_tree(c, head, len, disk, m) :
	     copy_disk(c, kind, head, len, disk);
	if (rc == 0 && kind == IMPORT_RAW)
		rc = import_raw(disk, m);
	if (rc == 0 && kind == IMPORT_QCOW2)
		rc = import_qcow2(disk, m);
	return rc < 0 ? rc : take_kernel(dir, disk, m);
}
