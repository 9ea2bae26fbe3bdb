/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/tree.h"

#include <errno.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"

enum {
	FOLLOW_MAX = 40,	/* links on one way, as in Linux */
	STEPS_MAX = 4096,	/* components on one way, those of links too */
	EXTENT_BLOCKS = 32768,	/* the most ext4 has in one */
};

static int no_memory(void)
{
	return fail(ENOMEM, "out of memory");
}

/* -- inodes -- */

static void set_attr(struct inode *i, const struct attr *a, char *target)
{
	free(i->target);
	i->attr = *a;
	i->attr.target = i->target = target;
}

static void drop_xattrs(struct inode *i)
{
	struct xattr *x, *next;

	for (x = i->xattrs; x; x = next) {
		next = x->next;
		free(x);
	}
	i->xattrs = NULL;
}

static int new_inode(struct tree *t, const struct attr *a, struct inode **out)
{
	struct inode *i;
	char *target = NULL;

	if (t->inodes >= t->max)
		return fail(E_CONFIG, "more than %zu files", t->max);
	i = calloc(1, sizeof(*i));
	if (a->target)
		target = strdup(a->target);
	if (!i || (a->target && !target)) {
		free(i);
		free(target);
		return no_memory();
	}
	set_attr(i, a, target);
	if (t->last)
		t->last->next = i;
	t->last = i;
	t->inodes++;
	*out = i;
	return 0;
}

int inode_xattr(struct inode *i, const char *name, const void *value,
		size_t len)
{
	size_t bytes = strlen(name) + 1;
	struct xattr **end = &i->xattrs, *x = malloc(sizeof(*x) + len + bytes);

	if (!x)
		return no_memory();
	x->len = len;
	if (len)
		memcpy(x->value, value, len);
	x->name = memcpy(x->value + len, name, bytes);
	x->next = NULL;
	while (*end)
		end = &(*end)->next;
	*end = x;
	return 0;
}

int inode_extent(struct inode *i, uint32_t logical, uint64_t physical,
		 uint32_t blocks)
{
	size_t n = i->nextents;
	struct extent *e = n ? &i->extents[n - 1] : NULL;

	if (e && e->logical + e->blocks == logical &&
	    e->physical + e->blocks == physical &&
	    e->blocks + blocks <= EXTENT_BLOCKS) {
		e->blocks += blocks;
		return 0;
	}
	if (!(n & (n - 1))) {	/* full: there is room for a power of 2 */
		e = reallocarray(i->extents, n ? 2 * n : 1, sizeof(*e));
		if (!e)
			return no_memory();
		i->extents = e;
	}
	i->extents[i->nextents++] = (struct extent){
		.logical = logical, .physical = physical, .blocks = blocks,
	};
	return 0;
}

void inode_empty(struct inode *i)
{
	free(i->extents);
	i->extents = NULL;
	i->nextents = 0;
	i->size = 0;
}

/* -- names -- */

static int compare(const void *one, const void *other)
{
	const struct name *a = one, *b = other;

	if (a->dir != b->dir)
		return (uintptr_t)a->dir < (uintptr_t)b->dir ? -1 : 1;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->text, b->text, a->len);
}

static struct name *find(const struct tree *t, const struct inode *dir,
			 const char *text, size_t len)
{
	struct name key = { .dir = (struct inode *)dir, .text = text,
			    .len = len };
	struct name **found = tfind(&key, &t->names, compare);

	return found ? *found : NULL;
}

static int put_name(struct tree *t, struct inode *dir, const char *text,
		    size_t len, struct inode *i)
{
	struct name *n = malloc(sizeof(*n) + len);

	if (!n)
		return no_memory();
	*n = (struct name){ .dir = dir, .inode = i, .prev = dir->last,
			    .text = memcpy(n + 1, text, len), .len = len,
			    .layer = t->layer };
	if (!tsearch(n, &t->names, compare)) {
		free(n);
		return no_memory();
	}
	*(dir->last ? &dir->last->next : &dir->first) = n;
	dir->last = n;
	i->nlink++;
	if (S_ISDIR(i->attr.mode)) {
		i->parent = dir;
		i->self = n;
		i->cleared = t->layer;
		dir->subdirs++;
	}
	return 0;
}

static void drop_name(struct tree *t, struct name *n)
{
	struct inode *dir = n->dir;

	tdelete(n, &t->names, compare);
	*(n->prev ? &n->prev->next : &dir->first) = n->next;
	*(n->next ? &n->next->prev : &dir->last) = n->prev;
	n->inode->nlink--;
	if (S_ISDIR(n->inode->attr.mode))
		dir->subdirs--;
	free(n);
}

/* -- ways -- */

/* PATH without "." and empty components; 0, or -E_VERIFY for what may not be. */
static int clean(const char *path, char out[static TREE_PATH_MAX])
{
	size_t n, used = 0;

	if (strlen(path) >= TREE_PATH_MAX)
		return fail(E_VERIFY, "a name too long");
	for (const char *p = path; *p; p += n + (p[n] == '/')) {
		n = strcspn(p, "/");
		if (n == 0 || (n == 1 && p[0] == '.'))
			continue;
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return fail(E_VERIFY, "a name with '..'");
		if (n > TREE_NAME_MAX)
			return fail(E_VERIFY, "a name too long");
		if (used)
			out[used++] = '/';
		memcpy(out + used, p, n);
		used += n;
	}
	out[used] = '\0';
	return 0;
}

/* A clean PATH in two; returns its last component. */
static char *split(char *path, char **dir)
{
	char *slash = strrchr(path, '/');

	*dir = slash ? path : path + strlen(path);
	if (!slash)
		return path;
	*slash = '\0';
	return slash + 1;
}

static int make_dir(struct tree *t, struct inode *in, const char *text,
		    size_t len, struct inode **out)
{
	struct attr a = { .mode = S_IFDIR | 0755, .mtime = in->attr.mtime };
	int rc = len > TREE_NAME_MAX ? fail(E_VERIFY, "a name too long")
				     : new_inode(t, &a, out);

	return rc < 0 ? rc : put_name(t, in, text, len, *out);
}

/* Puts TARGET in front of what is left of the way; REST holds all of it. */
static const char *put_before(char rest[static 2 * TREE_PATH_MAX],
			      const char *left, const char *target)
{
	size_t n = strlen(target), more = strlen(left) + 1;

	if (n + 1 + more > 2 * TREE_PATH_MAX)
		return NULL;
	memmove(rest + n + 1, left, more);
	memcpy(rest, target, n);
	rest[n] = '/';
	return rest;
}

/*
 * From *AT, a directory, all of PATH, links followed, to a directory; missing
 * ones are made if MAKE. PATH is shorter than TREE_PATH_MAX.
 */
static int walk(struct tree *t, struct inode **at, const char *path, bool make)
{
	char rest[2 * TREE_PATH_MAX];
	int links = 0, steps = 0;
	struct inode *next;
	struct name *n;
	size_t len;
	int rc;

	if (*path == '/')
		*at = t->root;
	for (path = put_before(rest, "", path); *path; path += *path == '/') {
		len = strcspn(path, "/");
		if (++steps > STEPS_MAX)
			return fail(E_VERIFY, "a way too long");
		if (len == 2 && !memcmp(path, "..", 2))
			*at = (*at)->parent;
		if (len == 0 || (len <= 2 && !memcmp(path, "..", len))) {
			path += len;
			continue;
		}
		n = find(t, *at, path, len);
		if (n && S_ISLNK(n->inode->attr.mode)) {
			path = put_before(rest, path + len, n->inode->target);
			if (!path || ++links > FOLLOW_MAX)
				return fail(E_VERIFY, "too many links on the "
					    "way");
			if (*path == '/')
				*at = t->root;
			continue;
		}
		if (!n && !make)
			return fail(E_VERIFY, "is not there");
		if (n)
			next = n->inode;
		else if ((rc = make_dir(t, *at, path, len, &next)) < 0)
			return rc;
		if (!S_ISDIR(next->attr.mode))
			return fail(E_VERIFY, "'%.*s' on the way is no "
				    "directory", (int)len, path);
		*at = next;
		path += len;
	}
	return 0;
}

/* -- layers -- */

void tree_layer(struct tree *t)
{
	t->layer++;
}

/*
 * Drops what the layers below have in DIR, at any depth; directories that hold
 * something of this layer stay. A directory is gone through once for a layer,
 * as nothing of another one comes into it meanwhile.
 */
static void clear(struct tree *t, struct inode *dir)
{
	struct inode *at = dir;
	struct name *n = dir->cleared == t->layer ? NULL : dir->first, *done;

	dir->cleared = t->layer;
	for (;;) {
		if (n && S_ISDIR(n->inode->attr.mode) && n->inode->first &&
		    n->inode->cleared != t->layer) {
			at = n->inode;
			at->cleared = t->layer;
			n = at->first;
			continue;
		}
		if (!n && at == dir)
			return;
		done = n ? n : at->self;
		at = n ? at : at->parent;
		n = done->next;
		if (done->layer != t->layer && !done->inode->first)
			drop_name(t, done);
	}
}

/* -- entries -- */

/* A way to a name: PATH, clean, in two, and the directory that it leads to. */
struct place {
	char path[TREE_PATH_MAX];
	char *last;		/* "" is the root itself */
	struct inode *dir;
	struct name *name;	/* what is there */
};

static int find_place(struct tree *t, const char *path, bool make,
		      struct place *p)
{
	char *dir;
	int rc = clean(path, p->path);

	if (rc < 0)
		return rc;
	p->last = split(p->path, &dir);
	p->dir = t->root;
	rc = walk(t, &p->dir, dir, make);
	if (rc < 0)
		return rc;
	p->name = find(t, p->dir, p->last, strlen(p->last));
	return 0;
}

struct inode *tree_find(struct tree *t, const char *path)
{
	struct place p;

	if (find_place(t, path, false, &p) < 0)
		return NULL;
	if (!*p.last)
		return t->root;
	return p.name ? p.name->inode : NULL;
}

/*
 * The directory that is at P, itself or by a link, which in a layer gives way
 * to a directory; NULL: none.
 */
static struct inode *dir_at(struct tree *t, const struct place *p)
{
	struct inode *at = p->dir;

	if (!*p->last)
		return t->root;
	if (p->name && S_ISDIR(p->name->inode->attr.mode))
		return p->name->inode;
	if (t->layer || !p->name || !S_ISLNK(p->name->inode->attr.mode) ||
	    walk(t, &at, p->name->inode->target, false) < 0)
		return NULL;
	return at;
}

/* Gives P's name to I; what had it loses it. */
static int take_place(struct tree *t, struct place *p, struct inode *i)
{
	if (!*p->last)
		return fail(E_VERIFY, "the root is no directory");
	if (p->name && t->layer)
		clear(t, p->name->inode);
	if (p->name && p->name->inode->first)
		return fail(E_VERIFY, "in the place of a directory that "
			    "holds something");
	if (i->nlink >= TREE_LINKS_MAX)
		return fail(E_CONFIG, "a file of more than %d names",
			    TREE_LINKS_MAX);
	if (p->name)
		drop_name(t, p->name);
	return put_name(t, p->dir, p->last, strlen(p->last), i);
}

int tree_add(struct tree *t, const char *path, const struct attr *a,
	     struct inode **out)
{
	struct place p;
	int rc = find_place(t, path, true, &p);

	if (rc < 0)
		return rc;
	if (a->target && strlen(a->target) >= TREE_PATH_MAX)
		return fail(E_VERIFY, "a link too long");
	*out = S_ISDIR(a->mode) ? dir_at(t, &p) : NULL;
	if (*out) {
		if ((*out)->self)
			(*out)->self->layer = t->layer;
		set_attr(*out, a, NULL);
		drop_xattrs(*out);
		return 0;
	}
	rc = new_inode(t, a, out);
	return rc < 0 ? rc : take_place(t, &p, *out);
}

int tree_link(struct tree *t, const char *path, const char *to,
	      struct inode **out)
{
	struct place p;
	int rc = find_place(t, path, true, &p);

	if (rc < 0)
		return rc;
	*out = tree_find(t, to);
	if (!*out)
		return fail(E_VERIFY, "a link to '%s', which is not there", to);
	if (S_ISDIR((*out)->attr.mode))
		return fail(E_VERIFY, "a link to '%s', a directory", to);
	if (p.name && p.name->inode == *out) {
		p.name->layer = t->layer;
		return 0;
	}
	return take_place(t, &p, *out);
}

int tree_whiteout(struct tree *t, const char *path, bool all)
{
	struct place p;
	struct inode *i;
	int rc = clean(path, p.path);

	if (rc < 0)
		return rc;
	if (find_place(t, path, false, &p) < 0)
		return 0;
	i = *p.last ? NULL : t->root;
	if (p.name)
		i = p.name->inode;
	if (!i)
		return 0;
	if (all)
		i = dir_at(t, &p);
	if (i && S_ISDIR(i->attr.mode))
		clear(t, i);
	if (!all && p.name && p.name->layer != t->layer && !i->first)
		drop_name(t, p.name);
	return 0;
}

int tree_init(struct tree *t, size_t max)
{
	struct attr a = { .mode = S_IFDIR | 0755, .mtime = time(NULL) };
	int rc;

	*t = (struct tree){ .max = max };
	rc = new_inode(t, &a, &t->root);
	if (rc < 0)
		return rc;
	t->root->parent = t->root;
	t->root->nlink = 1;
	return 0;
}

void tree_release(struct tree *t)
{
	struct inode *next;

	for (struct inode *i = t->root; i; i = i->next)
		while (i->first)
			drop_name(t, i->first);
	for (struct inode *i = t->root; i; i = next) {
		next = i->next;
		drop_xattrs(i);
		free(i->extents);
		free(i->target);
		free(i);
	}
	*t = (struct tree){ 0 };
}
