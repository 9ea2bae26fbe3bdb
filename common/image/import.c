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
#include "image/disk.h"
#include "image/kernel_from.h"
#include "image/oci_layout.h"
#include "image/unpack_blobs.h"
#include "image/unpack_dir.h"
#include "image/unpack_tree.h"

enum {
	HEAD = 256 << 10,	/* what is looked at to tell */
	SECTOR = 512,
	TREE_INODES = 4 << 20,
};
static const uint64_t disk_max = 1ULL << 44, tree_max = 1ULL << 40;

const char *const import_kinds[] = {
	[IMPORT_ANY] = "any", [IMPORT_RAW] = "raw", [IMPORT_QCOW2] = "qcow2",
	[IMPORT_TREE] = "tree", [IMPORT_OCI] = "oci", NULL
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
			return m->kind == IMPORT_TREE &&
			       unpack_is_blobs(head, len) ? IMPORT_OCI :
							    m->kind;
	return IMPORT_ANY;
}

/* What is under way. */
struct import {
	const struct import_conf *c;
	const struct kernel_from *from;	/* or NULL */
	int dir, disk;			/* disk: open in dir */
	struct image_meta *m;
};

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
	int rc = disk_open_fd(&b, from);

	if (rc < 0)
		return rc;
	rc = copy_to_file(b, disk);
	if (rc == 0)
		rc = copy_tail(from, b, disk);
	block_close(b);
	return rc;
}

static int copy_disk(const struct import *im, enum import_kind kind,
		     const void *head, size_t len)
{
	int from = im->c->from;

	if (kind == IMPORT_RAW && lseek(from, 0, SEEK_CUR) >= 0)
		return copy_raw(from, im->disk);
	return copy_from_stream(from, head, len, im->disk, disk_max);
}

/* -- trees -- */

static int begin_tree(struct ext4 *x, const struct import *im)
{
	struct ext4_conf conf = { .size = im->c->size, .inodes = TREE_INODES };

	*x = (struct ext4){ 0 };
	return ext4_begin(x, im->disk, &conf);
}

/* RC is what became of filling X. */
static int end_tree(struct ext4 *x, const struct import *im, int rc)
{
	if (rc == 0 && im->from)
		rc = kernel_from_modules(im->from, x);
	if (rc == 0)
		rc = ext4_finish(x);
	ext4_release(x);
	im->m->ext4 = true;
	return rc < 0 ? rc : import_raw(im->disk, im->m);
}

static int import_tree(const struct import *im, const void *head, size_t len)
{
	struct ext4 x;
	int rc = begin_tree(&x, im);

	if (rc == 0)
		rc = unpack_tree(im->c->from, head, len, tree_max, &x);
	return end_tree(&x, im, rc);
}

static int import_layout(const struct import *im, int layout)
{
	char digest[OCI_DIGEST_BYTES];
	struct ext4 x;
	int rc = begin_tree(&x, im);

	if (rc == 0)
		rc = oci_layout_unpack(layout, tree_max, &x, digest);
	if (rc == 0) {
		im->m->digest = strdup(digest);
		rc = im->m->digest ? 0 : fail(ENOMEM, "out of memory");
	}
	return end_tree(&x, im, rc);
}

/* An archive: unpacked beside the disk first, as its parts come in any order. */
static int import_archive(const struct import *im, const void *head, size_t len)
{
	autoclose int layout = -1;
	int rc;

	if (mkdirat(im->dir, "layout", 0700) < 0)
		return fail_sys("layout");
	layout = openat(im->dir, "layout", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layout < 0)
		return fail_sys("layout");
	rc = unpack_blobs(im->c->from, head, len, tree_max, layout);
	if (rc == 0)
		rc = import_layout(im, layout);
	return rc < 0 ? rc : remove_tree(im->dir, "layout");
}

static int import_dir(const struct import *im)
{
	const struct import_conf *c = im->c;
	struct ext4 x;
	int rc;

	if (c->kind == IMPORT_OCI ||
	    (c->kind == IMPORT_ANY && oci_layout_is(c->from)))
		return import_layout(im, c->from);
	if (c->kind != IMPORT_ANY && c->kind != IMPORT_TREE)
		return fail(E_CONFIG, "is a directory");
	rc = begin_tree(&x, im);
	if (rc == 0)
		rc = unpack_dir(c->from, tree_max, &x);
	return end_tree(&x, im, rc);
}

/* -- all of it -- */

/* What is no directory: as it follows from what it begins with. */
static int import_file(const struct import *im)
{
	autofree uint8_t *head = malloc(HEAD);
	enum import_kind kind = im->c->kind;
	ssize_t len;
	int rc;

	if (!head)
		return fail(ENOMEM, "out of memory");
	len = read_up_to(im->c->from, head, HEAD);
	if (len < 0)
		return fail(-len, "read: %s", strerror(-len));
	if (kind == IMPORT_ANY)
		kind = tell(head, len);
	if (kind == IMPORT_ANY)
		return fail(E_CONFIG, "neither a disk nor an archive "
			    "(--format says which)");
	if (kind == IMPORT_OCI)
		return import_archive(im, head, len);
	if (kind == IMPORT_TREE)
		return import_tree(im, head, len);
	if (im->c->size)
		return fail(E_USAGE, "a size is for what comes as a tree");
	rc = copy_disk(im, kind, head, len);
	if (rc == 0)
		rc = kind == IMPORT_RAW ? import_raw(im->disk, im->m) :
					  import_qcow2(im->disk, im->m);
	return rc;
}

static int make_disk(struct import *im)
{
	autoclose int disk = new_file(im->dir, "disk");
	struct stat st;

	if (disk < 0)
		return disk;
	if (fstat(im->c->from, &st) < 0)
		return fail_sys("stat");
	im->disk = disk;
	return S_ISDIR(st.st_mode) ? import_dir(im) : import_file(im);
}

int import_disk(int dir, const struct import_conf *c, struct image_meta *m,
		struct buf *note)
{
	struct kernel_from from = { .disk = NULL };
	struct import im = { .c = c, .dir = dir, .m = m };
	int rc = 0;

	if (c->kernel_from) {
		im.from = &from;
		rc = kernel_from_open(&from, c->st, c->kernel_from, dir);
		if (rc < 0)
			fail_in(rc, "--kernel-from");
	}
	if (rc == 0)
		rc = make_disk(&im);
	if (rc == 0)
		rc = equip(dir, c->st, &c->equip, im.from, m, note);
	if (im.from)
		kernel_from_close(&from);
	return rc;
}
