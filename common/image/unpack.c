/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/unpack.h"

#include <archive.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"

/* What is read: a part of a file, a piece at a time. */
struct range {
	int fd;
	uint64_t off, len;
	int error;		/* -errno of a read that failed */
	char piece[64 * 1024];
};

static ssize_t read_range(struct archive *a, void *arg, const void **data)
{
	struct range *r = arg;
	size_t n = min_u64(r->len, sizeof(r->piece));

	r->error = pread_all(r->fd, r->piece, n, r->off);
	if (r->error < 0) {
		archive_set_error(a, -r->error, "%s", strerror(-r->error));
		return -1;
	}
	r->off += n;
	r->len -= n;
	*data = r->piece;
	return n;
}

static int damaged(struct archive *a, const struct range *r)
{
	const char *why = archive_error_string(a);

	if (r->error < 0)
		return fail(-r->error, "%s", strerror(-r->error));
	if (archive_errno(a) == ENOMEM)
		return fail(ENOMEM, "out of memory");
	return fail(E_CONFIG, "damaged: %s", why ? why : "cannot be unpacked");
}

int unpack_filters(struct archive *a)
{
	static int (*const filters[])(struct archive *) = {
		archive_read_support_filter_gzip,
		archive_read_support_filter_bzip2,
		archive_read_support_filter_lzma,
		archive_read_support_filter_xz,
		archive_read_support_filter_lz4,
		archive_read_support_filter_zstd,
	};

	/* a warning: this libarchive would start a program for it */
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		if (filters[i](a) != ARCHIVE_OK)
			return fail(E_HOST, "this libarchive lacks a "
				    "compression: %s", archive_error_string(a));
	return 0;
}

/* Decompression without any archive format. */
static int open_range(struct archive *a, struct range *r)
{
	struct archive_entry *entry;
	int rc = unpack_filters(a);

	if (rc < 0)
		return rc;
	if (archive_read_support_format_raw(a) != ARCHIVE_OK ||
	    archive_read_open(a, r, NULL, read_range, NULL) != ARCHIVE_OK ||
	    archive_read_next_header(a, &entry) != ARCHIVE_OK)
		return damaged(a, r);
	if (archive_filter_code(a, 0) == ARCHIVE_FILTER_NONE)
		return fail(ENOTSUP, "an unknown compression");
	return 0;
}

static int64_t copy_out(struct archive *a, struct range *r, int out,
			uint64_t max)
{
	uint64_t total = 0;
	const void *data;
	size_t n;
	int64_t off;
	int rc;

	while ((rc = archive_read_data_block(a, &data, &n, &off)) ==
	       ARCHIVE_OK) {
		if (!in_range(off, n, max))
			return fail(E_CONFIG, "damaged: larger than it says");
		rc = pwrite_all(out, data, n, off);
		if (rc < 0)
			return fail(-rc, "%s", strerror(-rc));
		total = max_u64(total, off + n);
	}
	return rc == ARCHIVE_EOF ? (int64_t)total : damaged(a, r);
}

int64_t unpack_range(int fd, uint64_t off, uint64_t len, int out,
		     uint64_t max)
{
	struct archive *a = archive_read_new();
	struct range *r = malloc(sizeof(*r));
	int64_t rc = -ENOMEM;

	if (a && r) {
		*r = (struct range){ .fd = fd, .off = off, .len = len };
		rc = open_range(a, r);
		if (rc == 0)
			rc = copy_out(a, r, out, max);
	} else {
		fail(ENOMEM, "out of memory");
	}
	archive_read_free(a);
	free(r);
	return rc;
}
