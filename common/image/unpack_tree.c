/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/unpack_tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "image/unpack.h"

enum { PIECE_BYTES = 64 << 10, SECTOR = 512 };

/* An archive that is read: from a file, or from an entry of another one. */
struct source {
	struct archive *a;
	int fd;
	const void *head;	/* of fd, already read */
	size_t head_len;
	struct archive *outer;	/* NULL: from fd */
	uint64_t outer_bytes;	/* that it gave */
	uint64_t max, bytes;	/* of data, so far */
	uint64_t unpacked;	/* in all, headers included */
	int rc;			/* what ended reading, its sentence set */
	bool layer;		/* a tar with whiteouts */
	struct ext4 *out;
	char piece[PIECE_BYTES];
};

static int unpack_source(struct source *s);

/* -- reading -- */

static int too_much(struct source *s)
{
	char size[16];

	s->unpacked = max_u64(s->bytes, archive_filter_bytes(s->a, 0));
	if (s->unpacked <= s->max)
		return 0;
	return fail(E_CONFIG, "unpacks to more than %s",
		    format_size(size, s->max));
}

/* What libarchive said; SAID is its status. */
static int damaged(struct archive *a)
{
	const char *why = archive_error_string(a);

	if (archive_errno(a) == ENOMEM)
		return fail(ENOMEM, "out of memory");
	return fail(E_VERIFY, "damaged: %s", why ? why : "cannot be read");
}

/* Some write no whole sector last; what a layer is, its digest tells. */
static ssize_t pad(struct source *s, const void **data)
{
	size_t n = -s->outer_bytes % SECTOR;

	*data = memset(s->piece, 0, n);
	s->outer_bytes += n;
	return n;
}

static ssize_t read_piece(struct source *s, const void **data)
{
	ssize_t n;
	int64_t off;
	size_t len;
	int rc;

	*data = s->piece;
	if (s->head_len) {
		*data = s->head;
		n = s->head_len;
		s->head_len = 0;
		return n;
	}
	if (!s->outer) {
		do
			n = read(s->fd, s->piece, sizeof(s->piece));
		while (n < 0 && errno == EINTR);
		return n < 0 ? fail_sys("read") : n;
	}
	do
		rc = archive_read_data_block(s->outer, data, &len, &off);
	while (rc == ARCHIVE_OK && !len);
	if (rc == ARCHIVE_EOF)
		return s->layer ? pad(s, data) : 0;
	if (rc != ARCHIVE_OK)
		return damaged(s->outer);
	s->outer_bytes += len;
	return len;
}

static la_ssize_t read_source(struct archive *a, void *arg, const void **data)
{
	struct source *s = arg;
	int rc = too_much(s);
	ssize_t n = rc < 0 ? rc : read_piece(s, data);

	if (n >= 0)
		return n;
	s->rc = n;
	archive_set_error(a, EIO, "cannot be read");
	return -1;
}

static la_int64_t seek_source(struct archive *a, void *arg, la_int64_t off,
			      int whence)
{
	struct source *s = arg;
	off_t at = lseek(s->fd, off, whence);

	if (at >= 0)
		return at;
	archive_set_error(a, errno, "seek");
	return ARCHIVE_FATAL;
}

/* Why S cannot go on. */
static int stopped(struct source *s)
{
	return s->rc < 0 ? s->rc : damaged(s->a);
}

/* -- one entry -- */

static int get_attr(struct archive_entry *e, struct attr *a)
{
	int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e);

	*a = (struct attr){
		.mode = archive_entry_mode(e) & (S_IFMT | 07777),
		.uid = uid,
		.gid = gid,
		.mtime = archive_entry_mtime(e),
		.mtime_ns = archive_entry_mtime_nsec(e),
		.major = archive_entry_rdevmajor(e),
		.minor = archive_entry_rdevminor(e),
	};
	if (uid != a->uid || gid != a->gid)
		return fail(E_VERIFY, "an owner out of range");
	if (archive_entry_mtime_nsec(e) < 0 || a->mtime_ns >= 1000000000)
		a->mtime_ns = 0;
	switch (a->mode & S_IFMT) {
	case S_IFREG: case S_IFDIR: case S_IFIFO: case S_IFSOCK:
		return 0;
	case S_IFCHR: case S_IFBLK:
		if (a->major >= 1 << 12 || a->minor >= 1 << 20)
			return fail(E_VERIFY, "a device number out of range");
		return 0;
	case S_IFLNK:
		a->target = archive_entry_symlink(e);
		return a->target && *a->target ? 0 :
			fail(E_VERIFY, "a link to nothing");
	}
	return fail(E_VERIFY, "of a type nobody knows");
}

static int add_xattrs(struct ext4 *x, struct archive_entry *e)
{
	const char *name;
	const void *value;
	size_t len;
	int rc = 0;

	archive_entry_xattr_reset(e);
	while (rc == 0 && archive_entry_xattr_next(e, &name, &value, &len) ==
	       ARCHIVE_OK)
		rc = name ? ext4_xattr(x, name, value, len) : 0;
	return rc;
}

/* linux/posix_acl_xattr.h; in this order of tags and owners. */
struct acl_entry {
	le16 tag, perm;
	le32 id;
};

static int compare_acl(const void *one, const void *other)
{
	const struct acl_entry *a = one, *b = other;
	int64_t d = get_le16(a->tag) - get_le16(b->tag);

	if (!d)
		d = (int64_t)get_le32(a->id) - get_le32(b->id);
	return d < 0 ? -1 : d > 0;
}

/* One of libarchive's entries as Linux has it. */
static int convert_acl(int tag, int perm, int id, const char *who,
		       struct acl_entry *out)
{
	static const struct { int from; uint16_t to; } tags[] = {
		{ ARCHIVE_ENTRY_ACL_USER_OBJ, 0x01 },
		{ ARCHIVE_ENTRY_ACL_USER, 0x02 },
		{ ARCHIVE_ENTRY_ACL_GROUP_OBJ, 0x04 },
		{ ARCHIVE_ENTRY_ACL_GROUP, 0x08 },
		{ ARCHIVE_ENTRY_ACL_MASK, 0x10 },
		{ ARCHIVE_ENTRY_ACL_OTHER, 0x20 },
	};
	bool named = tag == ARCHIVE_ENTRY_ACL_USER ||
		     tag == ARCHIVE_ENTRY_ACL_GROUP;

	if (named && id < 0)
		return fail(E_CONFIG, "its ACL is for '%s', a name, which only "
			    "a number can be here (tar --xattrs-include='*')",
			    who ? who : "");
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
		if (tags[i].from != tag)
			continue;
		*out = (struct acl_entry){
			.tag = to_le16(tags[i].to),
			.perm = to_le16(perm & 7),
			.id = to_le32(named ? (uint32_t)id : UINT32_MAX),
		};
		return 0;
	}
	return fail(E_VERIFY, "an ACL that Linux does not have");
}

static bool has_xattr(struct archive_entry *e, const char *wanted)
{
	const char *name;
	const void *value;
	size_t len;

	archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK)
		if (name && !strcmp(name, wanted))
			return true;
	return false;
}

/* An ACL told as text, unless it also comes as the attribute that it is. */
static int add_acl(struct ext4 *x, struct archive_entry *e, int type,
		   const char *name)
{
	enum { HEADER = sizeof(struct acl_entry) / 2 };
	autobuf struct buf b = BUF_INIT;
	le32 version = to_le32(2);
	int kind, perm, tag, id, rc;
	struct acl_entry entry;
	const char *who;

	if (has_xattr(e, name) || archive_entry_acl_reset(e, type) == 0)
		return 0;
	buf_add(&b, &version, sizeof(version));
	while (archive_entry_acl_next(e, type, &kind, &perm, &tag, &id, &who) ==
	       ARCHIVE_OK) {
		rc = convert_acl(tag, perm, id, who, &entry);
		if (rc < 0)
			return rc;
		buf_add(&b, &entry, sizeof(entry));
	}
	if (b.failed)
		return fail(ENOMEM, "out of memory");
	qsort(b.data + HEADER, b.len / sizeof(entry), sizeof(entry),
	      compare_acl);
	return ext4_xattr(x, name, b.data, b.len);
}

static int add_acls(struct ext4 *x, struct archive_entry *e)
{
	int rc = add_acl(x, e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS,
			 "system.posix_acl_access");

	return rc < 0 ? rc : add_acl(x, e, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT,
				     "system.posix_acl_default");
}

/* Data that the entry has; only a regular file may. */
static int add_data(struct source *s)
{
	const void *data;
	size_t len;
	int64_t off;
	int said, rc = 0;

	while (rc == 0 && (said = archive_read_data_block(s->a, &data, &len,
							   &off)) !=
	       ARCHIVE_EOF) {
		if (said != ARCHIVE_OK)
			return stopped(s);
		s->bytes += len;
		rc = too_much(s);
		if (rc == 0 && len)
			rc = ext4_data(s->out, off, data, len);
	}
	return rc;
}

static int add_file(struct source *s, struct archive_entry *e)
{
	struct attr a;
	int rc = get_attr(e, &a);

	if (rc == 0)
		rc = ext4_add(s->out, archive_entry_pathname(e), &a);
	if (rc == 0)
		rc = add_xattrs(s->out, e);
	if (rc == 0)
		rc = add_acls(s->out, e);
	if (rc == 0)
		rc = add_data(s);
	if (rc == 0 && S_ISREG(a.mode) && archive_entry_size_is_set(e) &&
	    (uint64_t)archive_entry_size(e) > s->out->at->size)
		rc = ext4_truncate(s->out, archive_entry_size(e));
	return rc;
}

/* A name more; in a cpio the last one of a file may bring its data. */
static int add_link(struct source *s, struct archive_entry *e)
{
	int rc = ext4_link(s->out, archive_entry_pathname(e),
			   archive_entry_hardlink(e));

	return rc < 0 ? rc : add_data(s);
}

/* Takes away what PATH, if it is a whiteout, says: 1 if so, 0 if it is none. */
static int add_whiteout(struct ext4 *x, const char *path)
{
	autofree char *copy = strdup(path);
	char *name, *gone;
	bool all;
	int rc;

	if (!copy)
		return fail(ENOMEM, "out of memory");
	for (size_t n = strlen(copy); n && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	name = strrchr(copy, '/');
	name = name ? name + 1 : copy;
	if (!starts_with(name, ".wh.", NULL))
		return 0;
	all = !strcmp(name, ".wh..wh..opq");
	gone = name + strlen(".wh.");
	if (!all && starts_with(gone, ".wh.", NULL))
		return 1;
	if (!*gone || !strcmp(gone, ".") || !strcmp(gone, ".."))
		return fail(E_VERIFY, "a whiteout of nothing");
	memmove(name, all ? "" : gone, all ? 1 : strlen(gone) + 1);
	rc = ext4_whiteout(x, copy, all);
	return rc < 0 ? rc : 1;
}

static int add_entry(struct source *s, struct archive_entry *e)
{
	const char *path = archive_entry_pathname(e);
	int rc;

	if (!path)
		return fail(E_VERIFY, "damaged: an entry without a name");
	rc = s->layer ? add_whiteout(s->out, path) : 0;
	if (rc == 0)
		rc = archive_entry_hardlink(e) ? add_link(s, e) :
						 add_file(s, e);
	return rc < 0 ? fail_in(rc, "%s", path) : 0;
}

/* -- all of them -- */

/* tar ends with blocks of zeros; libarchive does not insist. */
static int check_end(const struct source *s)
{
	int format = archive_format(s->a) & ARCHIVE_FORMAT_BASE_MASK;

	if (format != ARCHIVE_FORMAT_TAR || s->layer ||
	    archive_filter_bytes(s->a, 0) >=
	    archive_read_header_position(s->a) + SECTOR)
		return 0;
	return fail(E_VERIFY, "damaged: the archive ends before its end");
}

/* A .deb is an ar: of its members, the one with the files is an archive. */
static int unpack_deb_member(struct source *outer, const char *name)
{
	struct source *s;
	int rc;

	if (!starts_with(name, "data.tar", NULL))
		return 0;
	s = malloc(sizeof(*s));
	if (!s)
		return fail(ENOMEM, "out of memory");
	*s = (struct source){ .fd = -1, .outer = outer->a, .max = outer->max,
			      .out = outer->out };
	rc = unpack_source(s);
	free(s);
	return rc;
}

static int unpack_entry(struct source *s, struct archive_entry *e)
{
	const char *name = archive_entry_pathname(e);
	int format = archive_format(s->a) & ARCHIVE_FORMAT_BASE_MASK;

	if (format == ARCHIVE_FORMAT_AR)
		return unpack_deb_member(s, name ? name : "");
	return add_entry(s, e);
}

static int unpack_entries(struct source *s)
{
	struct archive_entry *e;
	int said, rc = 0;

	while (rc == 0 && (said = archive_read_next_header(s->a, &e)) !=
	       ARCHIVE_EOF) {
		/* a warning: something of the entry was lost */
		if (said != ARCHIVE_OK)
			return stopped(s);
		rc = too_much(s);
		if (rc == 0)
			rc = unpack_entry(s, e);
	}
	if (rc == 0)
		rc = too_much(s);
	return rc < 0 ? rc : check_end(s);
}

static int open_source(struct source *s)
{
	struct archive *a = s->a;
	bool seeks = !s->outer && lseek(s->fd, 0, SEEK_CUR) >= 0;
	int rc = s->layer ? 0 : unpack_filters(a);

	if (rc < 0)
		return rc;
	archive_read_support_format_tar(a);
	if (!s->layer)
		archive_read_support_format_cpio(a);
	if (!s->layer && !s->outer)
		archive_read_support_format_ar(a);
	if (!s->layer && seeks) {
		/* without its end a zip does not tell links from files */
		archive_read_support_format_zip_seekable(a);
		archive_read_set_seek_callback(a, seek_source);
	}
	if (archive_read_open(a, s, NULL, read_source, NULL) != ARCHIVE_OK)
		return stopped(s);
	return 0;
}

static int unpack_source(struct source *s)
{
	int rc;

	s->a = archive_read_new();
	if (!s->a)
		return fail(ENOMEM, "out of memory");
	rc = open_source(s);
	if (rc == 0)
		rc = unpack_entries(s);
	archive_read_free(s->a);
	return rc;
}

/* What comes behind the archive: who writes into a pipe is not to be killed. */
static int drain(struct source *s)
{
	const void *data;
	ssize_t n;

	if (lseek(s->fd, 0, SEEK_CUR) >= 0)
		return 0;
	while ((n = read_piece(s, &data)) > 0) {
		s->bytes += n;
		if (s->bytes > s->max)
			return fail(E_VERIFY, "more behind the archive's end");
	}
	return n;
}

/* In a locale of UTF-8, which is what libarchive has names in. */
static int unpack_utf8(struct source *s)
{
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", 0), before;
	int rc;

	if (!utf8)
		return fail(E_HOST, "this system has no locale C.UTF-8");
	before = uselocale(utf8);
	rc = unpack_source(s);
	uselocale(before);
	freelocale(utf8);
	return rc;
}

/* The tar in FD, out of what compresses it. */
static int open_layer(struct archive *a, int fd)
{
	struct archive_entry *e;
	int rc = unpack_filters(a);

	if (rc < 0)
		return rc;
	archive_read_support_format_raw(a);
	if (archive_read_open_fd(a, fd, PIECE_BYTES) != ARCHIVE_OK ||
	    archive_read_next_header(a, &e) != ARCHIVE_OK)
		return damaged(a);
	return 0;
}

int64_t unpack_layer(int fd, uint64_t max, struct ext4 *out)
{
	struct archive *outer = archive_read_new();
	struct source *s = malloc(sizeof(*s));
	int64_t rc = -ENOMEM;

	if (outer && s) {
		*s = (struct source){ .fd = fd, .outer = outer, .max = max,
				      .layer = true, .out = out };
		rc = open_layer(outer, fd);
	} else {
		fail(ENOMEM, "out of memory");
	}
	if (rc == 0)
		rc = ext4_layer(out);
	if (rc == 0)
		rc = unpack_utf8(s);
	if (rc == 0)
		rc = s->unpacked;
	archive_read_free(outer);
	free(s);
	return rc;
}

int unpack_tree(int fd, const void *head, size_t len, uint64_t max,
		struct ext4 *out)
{
	struct source *s = malloc(sizeof(*s));
	int rc;

	if (!s)
		return fail(ENOMEM, "out of memory");
	*s = (struct source){
		.fd = fd, .head = head, .head_len = len, .max = max, .out = out,
	};
	if (len && lseek(fd, -(off_t)len, SEEK_CUR) >= 0)
		s->head_len = 0;
	rc = unpack_utf8(s);
	if (rc == 0)
		rc = drain(s);
	if (rc == 0 && !out->tree.root->first)
		rc = fail(E_VERIFY, "holds no files");
	free(s);
	return rc;
}
