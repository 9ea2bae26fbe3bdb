/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/export.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/file.h"
#include "block/qcow2.h"
#include "image/copy.h"
#include "image/ext4_walk.h"
#include "image/pack_tree.h"
#include "image/partition.h"

enum { TABLE_BYTES = 1 << 20 };

const char *const export_kinds[] = {
	[EXPORT_RAW] = "raw", [EXPORT_QCOW2] = "qcow2", [EXPORT_TAR] = "tar",
	NULL
};

static int new_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	if (fd >= 0)
		return fd;
	return fail(errno == EEXIST ? E_EXISTS : errno, "%s: %s", path,
		    strerror(errno));
}

/* -- raw and qcow2 -- */

static int export_raw(struct block *from, const char *path, int out)
{
	return path ? copy_to_file(from, out) : copy_to_stream(from, out);
}

static int export_qcow2(struct block *from, const char *path)
{
	struct qcow2_create c = { .size = from->size };
	struct block *to;
	int rc;

	if (!path)
		return fail(E_USAGE, "a qcow2 image is not written in order: "
			    "name a file (--output)");
	rc = qcow2_create(AT_FDCWD, path, &c);
	if (rc < 0)
		return rc;
	rc = qcow2_open(&to, path, false, NULL);
	if (rc == 0) {
		rc = copy_to_disk(from, to);
		if (rc == 0 && block_flush(to) < 0)
			rc = fail(EIO, "%s: not written whole", path);
		block_close(to);
	}
	if (rc < 0)
		unlink(path);
	return rc;
}

/* -- tar -- */

/* The partitions of B, whose table lies at its start. */
static int list_partitions(struct block *b, struct partition *p)
{
	autofree uint8_t *head = malloc(TABLE_BYTES);
	autoclose int fd = memfd_create("table", MFD_CLOEXEC);
	struct iovec iov = { head, min_u64(TABLE_BYTES, b->size) };
	int rc;

	if (!head || fd < 0)
		return head ? fail_sys("partition table") :
			      fail(ENOMEM, "out of memory");
	rc = block_readv(b, &iov, 1, 0);
	if (rc == 0)
		rc = write_all(fd, head, min_u64(TABLE_BYTES, b->size));
	if (rc == 0 && ftruncate(fd, b->size) < 0)
		rc = -errno;
	return rc < 0 ? fail(-rc, "partition table: %s", strerror(-rc)) :
			partition_list(fd, b->size, p);
}

/* Where the root file system of B lies. */
static int find_root(struct block *b, struct partition *root)
{
	static const char *const names[] = { "etc", "usr", NULL };
	struct partition p[PARTITION_MAX], *first = NULL;
	int n, rc;

	*root = (struct partition){ 0, b->size };
	if (ext4_root_has(b, 0, b->size, names) != -ENOENT)
		return 0;
	n = list_partitions(b, p);
	for (int i = 0; i < n; i++) {
		rc = ext4_root_has(b, p[i].off, p[i].len, names);
		if (rc < 0)
			continue;
		if (rc > 0 || !first)
			first = &p[i];
		if (rc > 0)
			break;
	}
	if (n < 0 || !first)
		return n < 0 ? n : fail(ENOENT, "holds no ext4");
	*root = *first;
	return 0;
}

static int export_tar(struct block *from, int out)
{
	struct partition root;
	int rc = find_root(from, &root);

	return rc < 0 ? rc : pack_tree(from, root.off, root.len, out);
}

/* -- which of them -- */

static int export_to(struct block *from, enum export_kind kind,
		     const char *path, int out)
{
	return kind == EXPORT_TAR ? export_tar(from, out) :
				    export_raw(from, path, out);
}

int export_disk(struct block *from, enum export_kind kind, const char *path,
		int out)
{
	autoclose int fd = -1;
	int rc;

	if (kind == EXPORT_QCOW2)
		return export_qcow2(from, path);
	if (!path)
		return export_to(from, kind, path, out);
	rc = fd = new_file(path);
	if (rc < 0)
		return rc;
	rc = export_to(from, kind, path, fd);
	if (rc == 0 && fsync(fd) < 0)
		rc = fail_sys("%s", path);
	if (rc < 0)
		unlink(path);
	return rc;
}
