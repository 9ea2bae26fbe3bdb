/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/ext4_inode.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/text.h"

enum { TARGET_MAX = 4096, XATTRS_MAX = 1 << 20 };

static int damaged(const char *what)
{
	return fail(E_VERIFY, "damaged ext4: %s", what);
}

/* -- where its data lies -- */

struct mapper {
	struct ext4_source *s;
	struct ext4_inode *i;
	uint64_t next;		/* behind the last block, of the file's */
	size_t room;		/* in i->runs */
	int rc;
};

/* N blocks of the file system are this file's, and no other's. */
static int claim(struct ext4_source *s, uint64_t n)
{
	if (n > s->left)
		return damaged("blocks that are several files'");
	s->left -= n;
	return 0;
}

static int append(struct mapper *m, const struct ext4_run *run)
{
	struct ext4_inode *i = m->i;
	struct ext4_run *last = i->nruns ? &i->runs[i->nruns - 1] : NULL;

	if (last && last->off + last->len == run->off &&
	    last->at + last->len == run->at) {
		last->len += run->len;
		return 0;
	}
	if (i->nruns == m->room) {
		size_t room = m->room ? 2 * m->room : 4;
		void *p = realloc(i->runs, room * sizeof(*i->runs));

		if (!p)
			return fail(ENOMEM, "out of memory");
		i->runs = p;
		m->room = room;
	}
	i->runs[i->nruns++] = *run;
	return 0;
}

/* N blocks of the file from FROM on lie at block AT. */
static int add_blocks(struct mapper *m, uint64_t from, uint64_t at, uint64_t n,
		      bool written)
{
	uint64_t bs = m->s->fs->blocksize, size = m->i->size;
	struct ext4_run run = { from * bs, 0, at * bs };
	int rc = claim(m->s, n);

	if (rc < 0)
		return rc;
	if (from < m->next || !in_range(from, n, 1ull << 32))
		return damaged("a file's blocks are out of order");
	if (!in_range(at, n, ext2fs_blocks_count(m->s->fs->super)))
		return damaged("a file's blocks lie outside");
	m->next = from + n;
	if (run.off >= size || !written)
		return 0;	/* allocated ahead */
	run.len = min_u64(n * bs, size - run.off);
	return append(m, &run);
}

static int map_extents(struct mapper *m, struct ext2_inode *d)
{
	ext2_extent_handle_t h;
	struct ext2fs_extent e;
	errcode_t said;
	int rc = ext4_failed(ext2fs_extent_open2(m->s->fs, m->i->number, d,
						 &h));
	int op = EXT2_EXTENT_ROOT;

	if (rc < 0)
		return rc;
	while (rc == 0 && (said = ext2fs_extent_get(h, op, &e)) == 0) {
		op = EXT2_EXTENT_NEXT;
		if (e.e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT)
			continue;
		rc = !(e.e_flags & EXT2_EXTENT_FLAGS_LEAF) ? claim(m->s, 1) :
		     add_blocks(m, e.e_lblk, e.e_pblk, e.e_len,
				!(e.e_flags & EXT2_EXTENT_FLAGS_UNINIT));
	}
	ext2fs_extent_free(h);
	if (rc == 0 && said != EXT2_ET_EXTENT_NO_NEXT)
		rc = ext4_failed(said);
	return rc;
}

/* One block of a file without extents; a negative COUNT: of its map. */
static int map_block(ext2_filsys fs, blk64_t *block, e2_blkcnt_t count,
		     blk64_t ref, int ref_off, void *arg)
{
	struct mapper *m = arg;

	(void)fs, (void)ref, (void)ref_off;
	m->rc = count < 0 ? claim(m->s, 1) :
			    add_blocks(m, count, *block, 1, true);
	return m->rc < 0 ? BLOCK_ABORT : 0;
}

static int map_data(struct ext4_source *s, struct ext4_inode *i,
		    struct ext2_inode *d)
{
	struct mapper m = { .s = s, .i = i };
	int rc;

	if (d->i_flags & EXT4_EXTENTS_FL)
		return map_extents(&m, d);
	rc = ext4_failed(ext2fs_block_iterate3(s->fs, i->number,
					       BLOCK_FLAG_READ_ONLY, NULL,
					       map_block, &m));
	return m.rc < 0 ? m.rc : rc;
}

int ext4_run_read(const struct ext4_source *s, const struct ext4_run *run,
		  uint64_t off, void *data, size_t len)
{
	uint64_t bs = s->fs->blocksize;
	int rc = ext4_io_read(&s->io, run->at + off, data, align_up(len, bs));

	return rc < 0 ? fail(-rc, "%s", strerror(-rc)) : 0;
}

int ext4_inode_data(const struct ext4_source *s, const struct ext4_inode *i,
		    struct buf *b, size_t max)
{
	size_t start = b->len;
	int rc = 0;

	if (i->size > max)
		return fail(E_CONFIG, "larger than %zu bytes", max);
	if (!buf_grow(b, i->size + s->fs->blocksize))
		return fail(ENOMEM, "out of memory");
	memset(b->data + start, 0, i->size + 1);
	for (size_t k = 0; k < i->nruns && rc == 0; k++)
		rc = ext4_run_read(s, &i->runs[k], 0,
				   b->data + start + i->runs[k].off,
				   i->runs[k].len);
	b->len = start + i->size;
	b->data[b->len] = '\0';
	return rc;
}

/* -- extended attributes -- */

/* Those that a person or a kernel sees, not ext4's own. */
static bool is_shown(const char *name)
{
	static const char *const prefixes[] = { "user.", "trusted.",
						"security.",
						"system.posix_acl_" };

	for (size_t k = 0; k < ARRAY_SIZE(prefixes); k++)
		if (starts_with(name, prefixes[k], NULL))
			return true;
	return false;
}

/* Keeps the list in the order of its names. */
static int insert(struct ext4_inode *i, const char *name, const void *value,
		  size_t len)
{
	struct xattr **at = &i->xattrs;
	struct xattr *x = malloc(sizeof(*x) + len + strlen(name) + 1);
	char *text;

	if (!x)
		return fail(ENOMEM, "out of memory");
	text = (char *)x->value + len;
	memcpy(text, name, strlen(name) + 1);
	if (len)
		memcpy(x->value, value, len);
	while (*at && strcmp((*at)->name, name) < 0)
		at = &(*at)->next;
	x->name = text;
	x->len = len;
	x->next = *at;
	*at = x;
	return 0;
}

struct collector {
	struct ext2_xattr_handle *h;
	struct ext4_inode *i;
	size_t bytes;
	int rc;
};

/* The value is asked for by name: so an ACL comes as the kernel shows it. */
static int collect(char *name, char *raw, size_t raw_len, void *arg)
{
	struct collector *c = arg;
	void *value = NULL;
	size_t len = 0;

	(void)raw, (void)raw_len;
	if (!is_shown(name))
		return 0;
	c->rc = ext4_failed(ext2fs_xattr_get(c->h, name, &value, &len));
	c->bytes += strlen(name) + len;
	if (c->rc == 0 && c->bytes > XATTRS_MAX)
		c->rc = damaged("extended attributes without end");
	if (c->rc == 0)
		c->rc = insert(c->i, name, value, len);
	ext2fs_free_mem(&value);
	return c->rc < 0 ? XATTR_ABORT : 0;
}

static int read_xattrs(ext2_filsys fs, struct ext4_inode *i)
{
	struct collector c = { .i = i };
	int rc = ext4_failed(ext2fs_xattrs_open(fs, i->number, &c.h));

	if (rc < 0)
		return rc;
	rc = ext4_failed(ext2fs_xattrs_read(c.h));
	if (rc == 0)
		rc = ext4_failed(ext2fs_xattrs_iterate(c.h, collect, &c));
	ext2fs_xattrs_close(&c.h);
	return c.rc < 0 ? c.rc : rc;
}

/* -- all of it -- */

static void set_time(struct attr *a, const struct ext2_inode_large *d)
{
	uint32_t extra = 0;

	/* whether the inode has the field: its place, from byte 128 on */
	if (EXT2_GOOD_OLD_INODE_SIZE + (size_t)d->i_extra_isize >=
	    offsetof(struct ext2_inode_large, i_mtime_extra) + sizeof(extra))
		extra = d->i_mtime_extra;
	a->mtime = (int32_t)d->i_mtime + ((int64_t)(extra & 3) << 32);
	a->mtime_ns = (extra >> 2) % 1000000000;
}

static void set_device(struct attr *a, const struct ext2_inode_large *d)
{
	uint32_t dev = d->i_block[0], wide = d->i_block[1];

	if (dev) {
		a->major = dev >> 8 & 0xff;
		a->minor = dev & 0xff;
	} else {
		a->major = wide >> 8 & 0xfff;
		a->minor = (wide & 0xff) | (wide >> 12 & 0xfff00);
	}
}

static int read_target(struct ext4_source *s, struct ext4_inode *i,
		       struct ext2_inode *d)
{
	int rc = 0;

	if (i->size == 0 || i->size >= TARGET_MAX)
		return damaged("a link");
	if (ext2fs_is_fast_symlink(d)) {
		if (i->size > sizeof(d->i_block))
			return damaged("a link");
		buf_add(&i->target, d->i_block, i->size);
	} else {
		rc = map_data(s, i, d);
		if (rc == 0)
			rc = ext4_inode_data(s, i, &i->target, TARGET_MAX);
	}
	if (rc == 0 && i->target.failed)
		rc = fail(ENOMEM, "out of memory");
	if (rc == 0 && strlen(i->target.data) != i->size)
		rc = damaged("a link");
	i->attr.target = i->target.data;
	return rc;
}

static int read_kind(struct ext4_source *s, struct ext4_inode *i,
		     struct ext2_inode_large *d)
{
	switch (d->i_mode & S_IFMT) {
	case S_IFREG: case S_IFDIR:
		return map_data(s, i, (struct ext2_inode *)d);
	case S_IFLNK:
		return read_target(s, i, (struct ext2_inode *)d);
	case S_IFCHR: case S_IFBLK:
		set_device(&i->attr, d);
		return 0;
	case S_IFIFO: case S_IFSOCK:
		return 0;
	}
	return damaged("a file of no kind");
}

static int get_inode(struct ext4_source *s, uint32_t number,
		     struct ext2_inode_large *d)
{
	struct ext2_super_block *super = s->fs->super;
	int rc;

	if (number != EXT2_ROOT_INO && (number < EXT2_FIRST_INO(super) ||
					number > super->s_inodes_count))
		return damaged("no such inode");
	rc = ext4_failed(ext2fs_read_inode_full(s->fs, number,
						(struct ext2_inode *)d,
						sizeof(*d)));
	if (rc == 0 && !d->i_links_count)
		rc = damaged("an inode that is none has a name");
	if (rc == 0 && d->i_flags & (EXT4_ENCRYPT_FL | EXT4_INLINE_DATA_FL))
		rc = fail(ENOTSUP, "ext4 with %s, which is not known here",
			  d->i_flags & EXT4_ENCRYPT_FL ? "encryption" :
			  "data within inodes");
	return rc;
}

int ext4_inode_read(struct ext4_source *s, uint32_t number,
		    struct ext4_inode *i)
{
	struct ext2_inode_large d = { 0 };
	int rc = get_inode(s, number, &d);

	*i = (struct ext4_inode){ .number = number, .target = BUF_INIT };
	if (rc < 0)
		return rc;
	i->links = d.i_links_count;
	i->size = EXT2_I_SIZE(&d);
	i->attr = (struct attr){
		.mode = d.i_mode, .uid = inode_uid(d), .gid = inode_gid(d),
	};
	set_time(&i->attr, &d);
	if (i->size > (uint64_t)s->fs->blocksize << 32)
		return damaged("a file's size");
	rc = read_kind(s, i, &d);
	return rc < 0 ? rc : read_xattrs(s->fs, i);
}

void ext4_inode_release(struct ext4_inode *i)
{
	for (struct xattr *x = i->xattrs, *next; x; x = next) {
		next = x->next;
		free(x);
	}
	free(i->runs);
	buf_release(&i->target);
	*i = (struct ext4_inode){ .target = BUF_INIT };
}
