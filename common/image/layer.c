/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/err.h"
#include "block/qcow2.h"
#include "image/copy.h"
#include "image/ext4_grow.h"

static int new_layer(const struct layer *l, int dir, const char *name)
{
	char backing[IMAGE_PATH + 8];
	struct qcow2_create c = {
		.size = l->size, .backing = backing,
		.backing_format = disk_formats[l->meta->format],
	};

	/* for other tools; ours go by the VM's config */
	snprintf(backing, sizeof(backing), "../../../images/%s/disk",
		 l->image->name);
	return qcow2_create(dir, name, &c);
}

static int open_layer(const struct layer *l, int dir, const char *name,
		      struct block **out)
{
	struct block *below;
	char path[64];
	int rc;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/disk", l->image->dir);
	rc = raw_open(&below, path, true);
	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	rc = qcow2_open(out, path, false, below);
	if (rc < 0)
		block_close(below);
	return rc;
}

static int grow(const struct layer *l, int dir, const char *name)
{
	struct block *b;
	int rc = open_layer(l, dir, name, &b);

	if (rc < 0)
		return rc;
	rc = ext4_grow(b);
	if (rc < 0)
		fail_in(rc, "image %s", l->image->name);
	else if (block_flush(b) < 0)
		rc = fail(EIO, "%s: not written whole", name);
	block_close(b);
	return rc;
}

/* What this VM has, before it is anybody's to write. */
static int keep(struct layer *l, int dir, const char *name)
{
	autoclose int from = openat(dir, name, O_RDONLY | O_CLOEXEC);
	autoclose int fd = memfd_create(name, MFD_CLOEXEC);
	int rc;

	if (from < 0 || fd < 0)
		return fail_sys("%s", name);
	rc = copy_from_stream(from, NULL, 0, fd, INT64_MAX);
	if (rc == 0)
		l->grown = take_fd(&fd);
	return rc;
}

static int copy(const struct layer *l, int dir, const char *name)
{
	autoclose int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL |
				  O_CLOEXEC, 0600);

	if (fd < 0 || lseek(l->grown, 0, SEEK_SET) < 0)
		return fail_sys("%s", name);
	return copy_from_stream(l->grown, NULL, 0, fd, INT64_MAX);
}

int layer_make(struct layer *l, int dir, const char *name)
{
	int rc;

	if (l->grown >= 0)
		return copy(l, dir, name);
	rc = new_layer(l, dir, name);
	if (rc < 0 || !l->meta->ext4 || l->size <= l->meta->size)
		return rc;
	rc = grow(l, dir, name);
	if (rc == 0 && l->again)	/* else it would not pay */
		rc = keep(l, dir, name);
	l->again = true;
	return rc;
}

void layer_release(struct layer *l)
{
	close_fd(&l->grown);
	l->grown = -1;
}
