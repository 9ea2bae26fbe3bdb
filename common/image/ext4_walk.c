/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/ext4_walk.h"

#include <errno.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "image/ext4_inode.h"

enum {
	PIECE_BYTES = 256 << 10,
	DIR_MAX = 64 << 20,
	HELD_MAX = 512 << 20,	/* of what is remembered on the way */
	DIRENT_HEAD = 8,
	SEEN_BYTES = 144,	/* that remembering one costs, but its path */
};

struct item {
	uint32_t inode;
	uint32_t at;		/* of its name in `names` */
};

/* A directory on the way down. */
struct level {
	struct buf names;	/* each ends with a NUL */
	struct buf items;	/* struct item, by name */
	size_t next;		/* of them */
	size_t path_len;	/* of the directory's own, with its slash */
};

/* An inode that may be met again: a directory, or one of several names. */
struct seen {
	uint32_t inode;
	struct attr attr;	/* but the target */
	char path[];		/* "": a directory */
};

struct walk {
	struct ext4_source source;
	const struct ext4_visitor *v;
	struct buf path;
	struct level *level;
	size_t depth, room;
	void *seen;
	uint64_t held;
	uint8_t *piece;
};

static int damaged(const char *what)
{
	return fail(E_VERIFY, "damaged ext4: %s", what);
}

static int hold(struct walk *w, uint64_t bytes)
{
	w->held += bytes;
	return w->held <= HELD_MAX ? 0 :
		fail(E_CONFIG, "more names than can be remembered");
}

/* -- what was seen -- */

static int compare_seen(const void *one, const void *other)
{
	const struct seen *a = one, *b = other;

	return a->inode < b->inode ? -1 : a->inode > b->inode;
}

static const struct seen *find_seen(const struct walk *w, uint32_t inode)
{
	struct seen key = { .inode = inode };
	void *node = tfind(&key, &w->seen, compare_seen);

	return node ? *(struct seen **)node : NULL;
}

static int remember(struct walk *w, const struct ext4_inode *i,
		    const char *path)
{
	size_t len = strlen(path) + 1;
	struct seen *s = malloc(sizeof(*s) + len);
	int rc = s ? hold(w, SEEN_BYTES + len) : -ENOMEM;

	if (s) {
		s->inode = i->number;
		s->attr = i->attr;
		s->attr.target = NULL;
		memcpy(s->path, path, len);
	}
	if (rc == 0 && !tsearch(s, &w->seen, compare_seen))
		rc = -ENOMEM;
	if (rc < 0)
		free(s);
	return rc == -ENOMEM ? fail(ENOMEM, "out of memory") : rc;
}

/* -- directories -- */

static size_t level_items(const struct level *l)
{
	return l->items.len / sizeof(struct item);
}

static void level_release(struct level *l)
{
	buf_release(&l->names);
	buf_release(&l->items);
}

/* NAME of a directory, its Nth: "." and ".." are the first two. */
static int add_name(struct level *l, const char *name, size_t len,
		    uint32_t inode, size_t n)
{
	struct item item = { inode, l->names.len };

	if (memchr(name, '/', len) || memchr(name, '\0', len))
		return damaged("a name that cannot be");
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return n == len - 1 ? 0 : damaged("a second '.' or '..'");
	buf_add(&l->names, name, len);
	buf_char(&l->names, '\0');
	buf_add(&l->items, &item, sizeof(item));
	return 0;
}

/* What DIR, a directory's content, holds. */
static int parse_dir(ext2_filsys fs, const struct buf *dir, struct level *l)
{
	size_t block = fs->blocksize, n = 0;
	unsigned rec;

	for (size_t off = 0; off + DIRENT_HEAD <= dir->len; off += rec) {
		const char *at = dir->data + off;
		struct ext2_dir_entry e = { 0 };
		size_t len;
		int rc = 0;

		memcpy(&e, at, DIRENT_HEAD);
		e.inode = ext2fs_le32_to_cpu(e.inode);
		e.rec_len = ext2fs_le16_to_cpu(e.rec_len);
		e.name_len = ext2fs_le16_to_cpu(e.name_len);
		len = ext2fs_dirent_name_len(&e);
		if (ext2fs_get_rec_len(fs, &e, &rec) ||
		    rec < DIRENT_HEAD + len || rec > block - off % block ||
		    !in_range(off, rec, dir->len))
			return damaged("a directory");
		if (e.inode)
			rc = len ? add_name(l, at + DIRENT_HEAD, len, e.inode,
					    n++) : damaged("an empty name");
		if (rc < 0)
			return rc;
	}
	return l->names.failed || l->items.failed ?
		fail(ENOMEM, "out of memory") : 0;
}

static int compare_items(const void *one, const void *other, void *names)
{
	const struct item *a = one, *b = other;

	return strcmp((char *)names + a->at, (char *)names + b->at);
}

static int sort_items(struct level *l)
{
	struct item *item = (void *)l->items.data;
	size_t n = level_items(l);

	if (!n)
		return 0;
	qsort_r(item, n, sizeof(*item), compare_items, l->names.data);
	for (size_t k = 1; k < n; k++)
		if (!compare_items(&item[k - 1], &item[k], l->names.data))
			return damaged("a name twice in a directory");
	return 0;
}

static int read_level(struct walk *w, const struct ext4_inode *i,
		      struct level *l)
{
	autobuf struct buf dir = BUF_INIT;
	int rc = ext4_inode_data(&w->source, i, &dir, DIR_MAX);

	if (rc == 0)
		rc = parse_dir(w->source.fs, &dir, l);
	return rc < 0 ? rc : sort_items(l);
}

/* L becomes the deepest level. */
static int push(struct walk *w, const struct level *l)
{
	int rc = hold(w, l->names.size + l->items.size);

	if (rc == 0 && w->depth == w->room) {
		size_t room = w->room ? 2 * w->room : 16;
		void *p = realloc(w->level, room * sizeof(*l));

		if (!p)
			return fail(ENOMEM, "out of memory");
		w->level = p;
		w->room = room;
	}
	if (rc == 0)
		w->level[w->depth++] = *l;
	return rc;
}

static void pop(struct walk *w)
{
	struct level *l = &w->level[--w->depth];

	w->held -= l->names.size + l->items.size;
	level_release(l);
}

/* -- entries -- */

static int tell(struct walk *w, const struct ext4_inode *i)
{
	bool file = S_ISREG(i->attr.mode);
	struct ext4_entry e = {
		.path = w->path.data, .attr = i->attr, .xattrs = i->xattrs,
		.size = file ? i->size : 0, .runs = i->runs,
		.nruns = file ? i->nruns : 0,
	};

	return w->v->entry(w->v->arg, &e);
}

static int tell_link(struct walk *w, const struct seen *s)
{
	struct ext4_entry e = { .path = w->path.data, .link = s->path,
				.attr = s->attr };

	return w->v->entry(w->v->arg, &e);
}

static int tell_data(struct walk *w, const struct ext4_inode *i)
{
	int rc = 0;

	for (size_t k = 0; k < i->nruns; k++) {
		const struct ext4_run *run = &i->runs[k];
		size_t n;

		for (uint64_t off = 0; off < run->len && rc == 0; off += n) {
			n = min_u64(PIECE_BYTES, run->len - off);
			rc = ext4_run_read(&w->source, run, off, w->piece, n);
			if (rc == 0)
				rc = w->v->data(w->v->arg, run->off + off,
						w->piece, n);
		}
	}
	return rc;
}

static bool is_empty_lost_found(const struct walk *w, const struct level *l)
{
	return !level_items(l) && !strcmp(w->path.data, "./lost+found/");
}

static int visit_dir(struct walk *w, const struct ext4_inode *i)
{
	struct level l = { .names = BUF_INIT, .items = BUF_INIT };
	int rc = 0;

	if (find_seen(w, i->number))
		return damaged("a directory in two places");
	buf_char(&w->path, '/');
	l.path_len = w->path.len;
	rc = read_level(w, i, &l);
	if (rc == 0)
		rc = remember(w, i, "");
	if (rc == 0 && !is_empty_lost_found(w, &l))
		rc = tell(w, i);
	if (rc == 0 && level_items(&l)) {
		rc = push(w, &l);
		if (rc == 0)
			return 0;
	}
	level_release(&l);
	return rc;
}

static int visit_file(struct walk *w, const struct ext4_inode *i)
{
	int rc = 0;

	if (S_ISSOCK(i->attr.mode))
		return 0;
	if (i->links > 1)
		rc = remember(w, i, w->path.data);
	if (rc == 0)
		rc = tell(w, i);
	return rc == 0 && S_ISREG(i->attr.mode) ? tell_data(w, i) : rc;
}

static int visit(struct walk *w, uint32_t number)
{
	const struct seen *s = find_seen(w, number);
	struct ext4_inode i = { .target = BUF_INIT };
	int rc;

	if (w->path.failed)
		return fail(ENOMEM, "out of memory");
	if (s && s->path[0])	/* a name more of a file */
		return tell_link(w, s);
	rc = w->path.len < TREE_PATH_MAX - 1 ?
	     ext4_inode_read(&w->source, number, &i) :
	     damaged("a path that is too long");
	if (rc == 0 && number == EXT2_ROOT_INO && !S_ISDIR(i.attr.mode))
		rc = damaged("its root is no directory");
	if (rc == 0)
		rc = S_ISDIR(i.attr.mode) ? visit_dir(w, &i) :
					    visit_file(w, &i);
	ext4_inode_release(&i);
	return rc;
}

/* The next name of the deepest directory. */
static int step(struct walk *w)
{
	struct level *l = &w->level[w->depth - 1];
	const struct item *item = (void *)l->items.data;

	if (l->next == level_items(l)) {
		pop(w);
		return 0;
	}
	item += l->next++;
	w->path.len = l->path_len;
	buf_str(&w->path, l->names.data + item->at);
	return visit(w, item->inode);
}

/* -- all -- */

static int start(struct walk *w)
{
	struct ext2_super_block *s = w->source.fs->super;

	if (s->s_feature_incompat & EXT3_FEATURE_INCOMPAT_RECOVER)
		return fail(E_CONFIG, "its ext4 was not unmounted");
	w->source.left = ext2fs_blocks_count(s);
	w->piece = malloc(PIECE_BYTES);
	return w->piece ? 0 : fail(ENOMEM, "out of memory");
}

static int walk(struct walk *w)
{
	int rc;

	buf_char(&w->path, '.');
	rc = visit(w, EXT2_ROOT_INO);
	while (rc == 0 && w->depth)
		rc = step(w);
	return rc < 0 ? fail_in(rc, "%s", w->path.data) : 0;
}

int ext4_walk(struct block *b, uint64_t off, uint64_t len,
	      const struct ext4_visitor *v)
{
	struct walk w = {
		.source.io = { .b = b, .off = off, .len = len },
		.v = v, .path = BUF_INIT,
	};
	int rc = ext4_io_open(&w.source.io, false, &w.source.fs);

	if (rc < 0)
		return rc;
	rc = start(&w);
	if (rc == 0)
		rc = walk(&w);
	while (w.depth)
		pop(&w);
	free(w.level);
	free(w.piece);
	tdestroy(w.seen, free);
	buf_release(&w.path);
	ext2fs_free(w.source.fs);
	return rc;
}
