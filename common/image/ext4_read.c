/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/ext4_read.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "image/ext4_io.h"

enum {
	PATH_BYTES = 4096,
	FOLLOW_MAX = 40,
	DIR_MAX = 64 << 20,
	PIECE_BYTES = 64 << 10,
	DIRENT_HEAD = 8,
};

/* -- open -- */

int ext4_open(struct ext4_view *v, struct block *disk, uint64_t off,
	      uint64_t len)
{
	struct ext4_io io = { disk, off, len };
	ext2_filsys fs = NULL;
	int rc = ext4_io_open(&io, false, &fs);

	v->fs = rc == 0 ? fs : NULL;
	return rc;
}

const uint8_t *ext4_uuid(const struct ext4_view *v)
{
	return ((ext2_filsys)v->fs)->super->s_uuid;
}

void ext4_close(struct ext4_view *v)
{
	if (v->fs)
		ext2fs_free(v->fs);
	v->fs = NULL;
}

/* -- inodes -- */

struct found {
	ext2_ino_t ino;
	struct ext2_inode inode;
};

static int get_inode(ext2_filsys fs, ext2_ino_t ino, struct found *f)
{
	f->ino = ino;
	if (ino < EXT2_ROOT_INO || ino > fs->super->s_inodes_count)
		return fail(E_VERIFY, "damaged ext4: no such inode");
	return ext4_failed(ext2fs_read_inode(fs, ino, &f->inode));
}

static uint64_t size_of(const struct found *f)
{
	return EXT2_I_SIZE(&f->inode);
}

/* Where content goes, a piece at a time. */
typedef int sink_fn(void *arg, const void *data, size_t n, uint64_t off);

static int pour(ext2_filsys fs, struct found *f, sink_fn *fn, void *arg)
{
	uint64_t size = size_of(f), off = 0;
	ext2_file_t file;
	char *piece;
	int rc;

	rc = ext4_failed(ext2fs_file_open2(fs, f->ino, &f->inode, 0, &file));
	if (rc < 0)
		return rc;
	piece = malloc(PIECE_BYTES);
	if (!piece)
		rc = fail(ENOMEM, "out of memory");
	while (rc == 0 && off < size) {
		unsigned n = min_u64(PIECE_BYTES, size - off), got = 0;

		rc = ext4_failed(ext2fs_file_read(file, piece, n, &got));
		if (rc == 0 && got == 0)
			rc = fail(E_VERIFY, "damaged ext4: a file ends early");
		if (rc == 0)
			rc = fn(arg, piece, got, off);
		off += got;
	}
	free(piece);
	ext2fs_file_close(file);
	return rc;
}

static int pour_buf(void *arg, const void *data, size_t n, uint64_t off)
{
	struct buf *b = arg;

	(void)off;
	buf_add(b, data, n);
	return b->failed ? fail(ENOMEM, "out of memory") : 0;
}

static int read_inode(ext2_filsys fs, struct found *f, struct buf *b,
		      uint64_t max)
{
	if (size_of(f) > max)
		return fail(E_CONFIG, "larger than %llu bytes",
			    (unsigned long long)max);
	return pour(fs, f, pour_buf, b);
}

/* -- directories -- */

typedef int name_fn(void *arg, const char *name, ext2_ino_t ino);

/* Calls FN for each name of what DIR, a directory's content, holds. */
static int each_name(ext2_filsys fs, const struct buf *dir, name_fn *fn,
		     void *arg)
{
	char name[EXT2_NAME_LEN + 1];
	size_t block = fs->blocksize;
	int rc = 0;

	for (size_t off = 0; off + DIRENT_HEAD <= dir->len && rc == 0;) {
		size_t left = block - off % block, len, bytes;
		struct ext2_dir_entry e = { 0 };
		unsigned rec;

		memcpy(&e, dir->data + off, DIRENT_HEAD);
		e.inode = ext2fs_le32_to_cpu(e.inode);
		e.rec_len = ext2fs_le16_to_cpu(e.rec_len);
		e.name_len = ext2fs_le16_to_cpu(e.name_len);
		if (ext2fs_get_rec_len(fs, &e, &rec))
			rec = 0;
		len = ext2fs_dirent_name_len(&e);
		bytes = DIRENT_HEAD + len;
		if (rec < DIRENT_HEAD || rec > left || bytes > rec ||
		    !in_range(off, rec, dir->len))
			return fail(E_VERIFY, "damaged ext4: a directory");
		memcpy(name, dir->data + off + DIRENT_HEAD, len);
		name[len] = '\0';
		if (e.inode && len && !memchr(name, '/', len))
			rc = fn(arg, name, e.inode);
		off += rec;
	}
	return rc;
}

static int read_dir(ext2_filsys fs, struct found *f, struct buf *b)
{
	if (!S_ISDIR(f->inode.i_mode))
		return fail(ENOENT, "not a directory");
	if (f->inode.i_flags & EXT4_INLINE_DATA_FL)
		return fail(ENOTSUP, "ext4 with directories in inodes");
	return read_inode(fs, f, b, DIR_MAX);
}

struct wanted {
	const char *name;
	ext2_ino_t ino;
};

static int is_wanted(void *arg, const char *name, ext2_ino_t ino)
{
	struct wanted *w = arg;

	if (strcmp(name, w->name))
		return 0;
	w->ino = ino;
	return 1;
}

/* Moves F from a directory to what is called NAME in it. */
static int enter(ext2_filsys fs, struct found *f, const char *name)
{
	autobuf struct buf b = BUF_INIT;
	struct wanted w = { .name = name };
	int rc = read_dir(fs, f, &b);

	if (rc == 0)
		rc = each_name(fs, &b, is_wanted, &w);
	if (rc == 0)
		return fail(ENOENT, "%s: %s", name, strerror(ENOENT));
	return rc < 0 ? rc : get_inode(fs, w.ino, f);
}

static int read_link(ext2_filsys fs, struct found *f, struct buf *b)
{
	uint64_t size = size_of(f);

	if (size == 0 || size >= PATH_BYTES)
		return fail(E_VERIFY, "damaged ext4: a link");
	if (!ext2fs_is_fast_symlink(&f->inode))
		return read_inode(fs, f, b, PATH_BYTES);
	buf_add(b, f->inode.i_block, size);
	return b->failed ? fail(ENOMEM, "out of memory") : 0;
}

/*
 * One step on the way: F is what the last component was, met in DIR; a link
 * goes in front of what is left.
 */
static int follow(ext2_filsys fs, struct found *f, const struct found *dir,
		  struct buf *way)
{
	autobuf struct buf b = BUF_INIT;
	int rc = read_link(fs, f, &b);

	if (rc < 0)
		return rc;
	buf_char(&b, '/');
	buf_str(&b, way->data);
	buf_clear(way);
	buf_str(way, b.data);	/* up to a NUL, if it holds one */
	if (b.failed || way->failed)
		return fail(ENOMEM, "out of memory");
	if (way->len >= 2 * PATH_BYTES)
		return fail(ENOENT, "%s", strerror(ENAMETOOLONG));
	*f = *dir;
	return way->data[0] == '/' ? get_inode(fs, EXT2_ROOT_INO, f) : 0;
}

/* LAST: a link that is the last component is followed, too. */
static int find(ext2_filsys fs, const char *path, bool last, struct found *f)
{
	autobuf struct buf way = BUF_INIT;
	char name[EXT2_NAME_LEN + 1];
	int links = 0, rc = get_inode(fs, EXT2_ROOT_INO, f);

	buf_str(&way, path);
	while (rc == 0 && way.len) {
		size_t n = strcspn(way.data, "/");
		struct found dir = *f;

		if (n > EXT2_NAME_LEN)
			return fail(ENOENT, "%s", strerror(ENAMETOOLONG));
		memcpy(name, way.data, n);
		name[n] = '\0';
		buf_drop(&way, n + (way.data[n] == '/'));
		if (n == 0 || !strcmp(name, "."))
			continue;
		rc = enter(fs, f, name);
		if (rc < 0 || !S_ISLNK(f->inode.i_mode) ||
		    (!last && !way.len))
			continue;
		rc = ++links > FOLLOW_MAX ? fail(ENOENT, "%s", strerror(ELOOP))
					  : follow(fs, f, &dir, &way);
	}
	return way.failed ? fail(ENOMEM, "out of memory") : rc;
}

/* -- what the header promises -- */

static int find_file(const struct ext4_view *v, const char *path,
		     struct found *f)
{
	int rc = find(v->fs, path, true, f);

	if (rc == 0 && !S_ISREG(f->inode.i_mode))
		rc = fail(E_CONFIG, "not a regular file");
	return rc;
}

/* The number of a device, of the old kind or the new (linux/kdev_t.h). */
static void get_device(const struct ext2_inode *i, struct attr *a)
{
	uint32_t old = i->i_block[0], new = i->i_block[1];

	a->major = old ? old >> 8 & 0xff : new >> 8 & 0xfff;
	a->minor = old ? old & 0xff : (new & 0xff) | (new >> 12 & 0xfff00);
}

int ext4_attr(const struct ext4_view *v, const char *path, struct attr *a,
	      struct buf *target)
{
	struct found f;
	size_t before = target->len;
	int rc = find(v->fs, path, false, &f);

	if (rc < 0)
		return fail_in(rc, "%s", path);
	*a = (struct attr){
		.mode = f.inode.i_mode,
		.uid = inode_uid(f.inode),
		.gid = inode_gid(f.inode),
		.mtime = (int32_t)f.inode.i_mtime,
	};
	if (S_ISCHR(a->mode) || S_ISBLK(a->mode))
		get_device(&f.inode, a);
	if (S_ISLNK(a->mode))
		rc = read_link(v->fs, &f, target);
	a->target = S_ISLNK(a->mode) ? target->data + before : NULL;
	return rc < 0 ? fail_in(rc, "%s", path) : 0;
}

int64_t ext4_size(const struct ext4_view *v, const char *path)
{
	struct found f;
	int rc = find_file(v, path, &f);

	if (rc == 0 && size_of(&f) > INT64_MAX)
		rc = fail(E_VERIFY, "damaged ext4: a size");
	return rc < 0 ? fail_in(rc, "%s", path) : (int64_t)size_of(&f);
}

int ext4_read(const struct ext4_view *v, const char *path, struct buf *b,
	      size_t max)
{
	struct found f;
	int rc = find_file(v, path, &f);

	if (rc == 0)
		rc = read_inode(v->fs, &f, b, max);
	return rc < 0 ? fail_in(rc, "%s", path) : 0;
}

static int pour_file(void *arg, const void *data, size_t n, uint64_t off)
{
	const char *p = data;
	int rc;

	if (!*p && !memcmp(p, p + 1, n - 1))
		return 0;
	rc = pwrite_all(*(int *)arg, data, n, off);
	return rc < 0 ? fail(-rc, "%s", strerror(-rc)) : 0;
}

static int copy_out(ext2_filsys fs, struct found *f, int out, uint64_t max)
{
	if (size_of(f) > max)
		return fail(E_CONFIG, "larger than %llu bytes",
			    (unsigned long long)max);
	if (ftruncate(out, 0) < 0 || ftruncate(out, size_of(f)) < 0)
		return fail_sys("truncate");
	return pour(fs, f, pour_file, &out);
}

int64_t ext4_copy(const struct ext4_view *v, const char *path, int out,
		  uint64_t max)
{
	struct found f;
	int rc = find_file(v, path, &f);

	if (rc == 0)
		rc = copy_out(v->fs, &f, out, min_u64(max, INT64_MAX));
	return rc < 0 ? fail_in(rc, "%s", path) : (int64_t)size_of(&f);
}

struct lister {
	int (*fn)(void *arg, const char *name);
	void *arg;
};

static int list_name(void *arg, const char *name, ext2_ino_t ino)
{
	struct lister *l = arg;

	(void)ino;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return 0;
	return l->fn(l->arg, name);
}

int ext4_list(const struct ext4_view *v, const char *path,
	      int (*fn)(void *arg, const char *name), void *arg)
{
	struct lister l = { fn, arg };
	autobuf struct buf b = BUF_INIT;
	struct found f;
	int rc = find(v->fs, path, true, &f);

	if (rc == 0)
		rc = read_dir(v->fs, &f, &b);
	if (rc < 0)
		return fail_in(rc, "%s", path);
	return each_name(v->fs, &b, list_name, &l);
}
