/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/disk.h"

#include <stdio.h>

#include "base/err.h"
#include "block/qcow2.h"
#include "state/image.h"

/*
 * Another process is to read the qcow2 image in B: one that names files of its
 * own choice, or that we would not read, is none of ours.
 */
static int check_header(const struct block *b, const char *path, bool backed)
{
	struct qcow2_info info;
	int rc = qcow2_info(block_fd(b), &info);

	if (rc == 0 && !backed)
		rc = qcow2_alone(&info);
	qcow2_info_release(&info);
	return rc < 0 ? fail_in(rc, "%s", path) : 0;
}

/* FILES: whatever the format, only the file itself, with what lies below it. */
static int open_format(struct block **b, enum disk_format format, bool files,
		       const char *path, bool readonly, struct block *backing)
{
	int rc;

	if (format == FORMAT_QCOW2 && !files)
		return qcow2_open(b, path, readonly, backing);
	rc = raw_open(b, path, readonly);
	if (rc < 0)
		return rc;
	if (format == FORMAT_QCOW2)
		rc = check_header(*b, path, backing);
	if (rc < 0)
		block_close(take_ptr(*b));
	else
		(*b)->backing = backing;
	return rc;
}

/* What a file that is only handed on holds, its reader knows. */
static int set_block_size(struct block *b, const struct disk_conf *d,
			  bool files)
{
	if (!files || d->format == FORMAT_RAW)
		return block_set_block_size(b, d->block_size);
	b->block_size = d->block_size;
	return 0;
}

/* The disk of image NAME, to show through others. */
static int open_image(struct block **b, const struct store *st,
		      const char *name, bool files, enum disk_format *format)
{
	char path[IMAGE_PATH], ref[IMAGE_PATH];
	struct image_meta m;
	struct image img;
	int rc = image_open(&img, st, name);

	if (rc < 0)
		return rc == -E_NOENT ? -E_CONFIG : rc;
	rc = image_meta(&img, &m);
	image_close(&img);
	if (rc < 0)
		return rc;
	snprintf(ref, sizeof(ref), "image:%s", name);
	*format = m.format;
	rc = open_format(b, m.format, files,
			 image_path(path, sizeof(path), ref, "disk"), true,
			 NULL);
	image_meta_release(&m);
	return rc < 0 ? fail_in(rc, "image %s", name) : 0;
}

int disk_open(struct block **b, const struct store *st,
	      const struct disk_conf *d, bool files, enum disk_format *below)
{
	struct block *backing = NULL;
	int rc = !d->image[0] ? 0 :
		 open_image(&backing, st, d->image, files, below);

	if (rc == 0)
		rc = open_format(b, d->format, files, d->path, d->readonly,
				 backing);
	if (rc < 0) {
		block_close(backing);
		return rc;
	}
	if (d->block_size)
		rc = set_block_size(*b, d, files);
	if (rc == 0)
		return 0;
	block_close(take_ptr(*b));
	return fail_in(rc, "%s", d->path);
}

int disk_open_image(struct block **out, int dir, enum disk_format format)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/disk", dir);
	return open_format(out, format, false, path, true, NULL);
}

int disk_open_fd(struct block **out, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return raw_open(out, path, true);
}
