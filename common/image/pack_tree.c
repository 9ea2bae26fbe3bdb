/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/pack_tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "image/ext4_inode.h"
#include "image/ext4_walk.h"

enum {
	RECORD = 20 * 512,	/* tar's; the archive ends with a whole one */
	HOLE_BYTES = 16 << 20,
};
static const uint64_t bytes_max = 1ull << 50;

struct packer {
	struct archive *a;
	struct archive_entry *e;
	int out, rc;		/* rc: why nothing more is written to out */
	uint64_t at;		/* of the entry's data */
	uint64_t total;		/* of all sizes */
	uint8_t *zeros;		/* HOLE_BYTES, never written to */
};

/*
 * After a failure the rest goes nowhere: libarchive, told of one, would never
 * free what it writes with.
 */
static la_ssize_t write_out(struct archive *a, void *arg, const void *data,
			    size_t n)
{
	struct packer *p = arg;

	(void)a;
	if (p->rc == 0)
		p->rc = write_all(p->out, data, n);
	return n;
}

/* What libarchive said, if it is no success. */
static int failed(const struct packer *p, int said)
{
	const char *why = archive_error_string(p->a);

	if (p->rc < 0)
		return fail(-p->rc, "writing: %s", strerror(-p->rc));
	/* a warning: a name that is not UTF-8 stays the bytes it is */
	if (said == ARCHIVE_OK || said == ARCHIVE_WARN)
		return 0;
	if (archive_errno(p->a) == ENOMEM)
		return fail(ENOMEM, "out of memory");
	return fail(E_CONFIG, "tar cannot hold it: %s", why ? why : "unknown");
}

/* -- an entry -- */

static int set_xattrs(struct archive_entry *to, const struct ext4_entry *e)
{
	for (const struct xattr *x = e->xattrs; x; x = x->next) {
		if (strchr(x->name, '='))
			return fail(E_CONFIG, "tar cannot hold an attribute "
				    "called '%s'", x->name);
		archive_entry_xattr_add_entry(to, x->name, x->value, x->len);
	}
	return 0;
}

/* A file with holes says where its data is. */
static void set_holes(struct archive_entry *to, const struct ext4_entry *e)
{
	uint64_t data = 0;

	for (size_t i = 0; i < e->nruns; i++)
		data += e->runs[i].len;
	if (data == e->size)
		return;
	for (size_t i = 0; i < e->nruns; i++)
		archive_entry_sparse_add_entry(to, e->runs[i].off,
					       e->runs[i].len);
	if (!data)
		archive_entry_sparse_add_entry(to, e->size, 0);
}

static void set_attr(struct archive_entry *to, const struct attr *a)
{
	archive_entry_set_mode(to, a->mode);
	archive_entry_set_uid(to, a->uid);
	archive_entry_set_gid(to, a->gid);
	archive_entry_set_mtime(to, a->mtime, a->mtime_ns);
	if (S_ISCHR(a->mode) || S_ISBLK(a->mode)) {
		archive_entry_set_rdevmajor(to, a->major);
		archive_entry_set_rdevminor(to, a->minor);
	}
}

static int set_content(struct packer *p, const struct ext4_entry *e)
{
	p->total += e->size;
	if (p->total > bytes_max)
		return fail(E_CONFIG, "files of more than 1P");
	archive_entry_set_size(p->e, e->size);
	if (S_ISLNK(e->attr.mode))
		archive_entry_copy_symlink(p->e, e->attr.target);
	set_holes(p->e, e);
	return set_xattrs(p->e, e);
}

static int put(struct packer *p, const void *data, size_t len)
{
	const uint8_t *from = data;

	while (len) {
		la_ssize_t n = archive_write_data(p->a, from, len);

		if (n <= 0 || p->rc < 0)
			return failed(p, ARCHIVE_FATAL);
		from += n;
		len -= n;
		p->at += n;
	}
	return 0;
}

static int pack_entry(void *arg, const struct ext4_entry *e)
{
	struct packer *p = arg;
	int rc = 0;

	archive_entry_clear(p->e);
	archive_entry_copy_pathname(p->e, e->path);
	set_attr(p->e, &e->attr);
	p->at = 0;
	if (e->link)
		archive_entry_copy_hardlink(p->e, e->link);
	else
		rc = set_content(p, e);
	if (rc == 0)
		rc = failed(p, archive_write_header(p->a, p->e));
	/* the map of a file that is one hole comes only with data */
	return rc == 0 && e->size && !e->nruns ? put(p, p->zeros, 1) : rc;
}

/* libarchive wants the holes too, though it does not look at them. */
static int pack_data(void *arg, uint64_t off, const void *data, size_t len)
{
	struct packer *p = arg;
	int rc = 0;

	while (p->at < off && rc == 0)
		rc = put(p, p->zeros, min_u64(HOLE_BYTES, off - p->at));
	return rc < 0 ? rc : put(p, data, len);
}

/* -- all -- */

static int open_archive(struct packer *p)
{
	if (archive_write_set_format_pax(p->a) != ARCHIVE_OK ||
	    archive_write_set_options(p->a, "xattrheader=SCHILY") !=
	    ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(p->a, 8 * RECORD) !=
	    ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(p->a, RECORD) != ARCHIVE_OK)
		return fail(E_HOST, "this libarchive does not write tar: %s",
			    archive_error_string(p->a));
	return failed(p, archive_write_open(p->a, p, NULL, write_out, NULL));
}

/* In a locale of UTF-8, which is what libarchive has names in. */
static int pack_utf8(struct packer *p, struct block *b, uint64_t off,
		     uint64_t len)
{
	const struct ext4_visitor v = { pack_entry, pack_data, p };
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", 0), before;
	int rc;

	if (!utf8)
		return fail(E_HOST, "this system has no locale C.UTF-8");
	before = uselocale(utf8);
	rc = open_archive(p);
	if (rc == 0)
		rc = ext4_walk(b, off, len, &v);
	if (rc == 0)
		rc = failed(p, archive_write_close(p->a));
	uselocale(before);
	freelocale(utf8);
	return rc;
}

int pack_tree(struct block *b, uint64_t off, uint64_t len, int out)
{
	struct packer p = {
		.a = archive_write_new(), .e = archive_entry_new(), .out = out,
		.zeros = calloc(1, HOLE_BYTES),
	};
	int rc = p.a && p.e && p.zeros ? pack_utf8(&p, b, off, len) :
					 fail(ENOMEM, "out of memory");

	if (rc < 0)
		p.rc = rc;	/* no end is written */
	archive_write_free(p.a);
	archive_entry_free(p.e);
	free(p.zeros);
	return rc;
}
