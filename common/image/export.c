/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/export.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "block/qcow2.h"
#include "image/copy.h"
#include "image/pack_tree.h"
#include "image/rootfs.h"

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
	int rc, flushed;

	if (!path)
		return fail(E_USAGE, "a qcow2 image is not written in order: "
			    "name a file (--output)");
	rc = qcow2_create(AT_FDCWD, path, &c);
	if (rc < 0)
		return rc;
	rc = qcow2_open(&to, path, false, NULL);
	if (rc == 0) {
		rc = copy_to_disk(from, to);
		flushed = block_flush(to);
		if (rc == 0 && flushed < 0)
			rc = fail(-flushed, "%s: %s", path, strerror(-flushed));
		block_close(to);
	}
	if (rc < 0)
		unlink(path);
	return rc;
}

/* -- tar -- */

static int export_tar(struct block *from, int out)
{
	struct rootfs r = { 0 };
	int rc = rootfs_open(&r, from);

	if (rc == 0)
		rc = pack_tree(from, r.part.off, r.part.len, out);
	rootfs_close(&r);
	return rc;
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
