/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tree.h - a tree of files in memory: names, inodes, and where data lies.
 *
 * Entries come as an archive has them, by path, in any order, and from anyone.
 * They land where unpacking in a chroot of that tree would put them: a link on
 * the way is followed within the tree, from its root if it is absolute, and
 * `..` of the root is the root. What the host has under such a name plays no
 * part. A later entry replaces an earlier one of its name. Directories on the
 * way that no entry made are made (0755, root's).
 *
 * A tree may be made in layers, as images of containers are (OCI image-spec,
 * layer.md): each lies over those before. What a layer takes away by a whiteout
 * is what lies below, never its own, in whatever order they come; and what is
 * no directory below gives way to one, and the other way round.
 *
 * No sentence names the entry: the caller does. Memory is what grows: about
 * 200 bytes for each inode, of which there are at most as many as tree_init()
 * was told.
 */
#ifndef IMAGE_TREE_H
#define IMAGE_TREE_H

#include "base/types.h"

enum {
	TREE_PATH_MAX = 4096,	/* of a name or a link, its NUL included */
	TREE_NAME_MAX = 255,	/* of one component */
	TREE_LINKS_MAX = 65000,	/* names of one file */
};

/* What an entry says of its inode. */
struct attr {
	uint32_t mode;		/* with the type: S_IFREG ... */
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	uint32_t major, minor;	/* a device's */
	const char *target;	/* a symbolic link's; tree_add() copies it */
};

struct xattr {
	struct xattr *next;
	const char *name;	/* "security.capability" */
	size_t len;
	uint8_t value[];
};

/* A run of blocks of a file, and where they lie on the disk. */
struct extent {
	uint32_t logical, blocks;
	uint64_t physical;
};

struct inode {
	struct inode *next;		/* of all */
	struct attr attr;
	char *target;			/* attr.target points to it */
	struct xattr *xattrs;
	uint32_t nlink;			/* names; 0: is no more */
	uint32_t number;		/* on the disk; the disk's maker's */
	uint64_t size;
	struct extent *extents;		/* by logical */
	size_t nextents;
	struct inode *parent;		/* a directory's; the root's is itself */
	struct name *self;		/* a directory's; the root has none */
	uint32_t cleared;		/* in that layer nothing was below it */
	struct name *first, *last;	/* in a directory, as they came */
	uint32_t subdirs;		/* directories in it */
};

/* A name in a directory. */
struct name {
	struct name *next, *prev;
	struct inode *dir, *inode;
	const char *text;
	size_t len;
	uint32_t layer;		/* that gave it */
};

struct tree {
	struct inode *root, *last;	/* the list of all inodes */
	void *names;			/* every name, found by <search.h> */
	size_t inodes, max;
	uint32_t layer;		/* of what comes; 0: there are none */
};

/* A tree of a root directory, for at most MAX inodes. 0 or -ENOMEM. */
int tree_init(struct tree *t, size_t max);
void tree_release(struct tree *t);

/*
 * Adds PATH; *OUT is its inode, the tree's. A directory that is there, or a
 * link to one, stays and gets the attributes. 0; -E_VERIFY for what no honest
 * archive holds: a name with `..` or too long, a way through a file or round
 * in links, a file in the place of a directory that holds something;
 * -E_CONFIG more than MAX; -ENOMEM.
 */
int tree_add(struct tree *t, const char *path, const struct attr *a,
	     struct inode **out);

/*
 * Adds PATH as one more name of TO, which must be there and no directory; a
 * link as its last component is meant itself. Else as tree_add().
 */
int tree_link(struct tree *t, const char *path, const char *to,
	      struct inode **out);

/* What comes from now on lies over all there is. */
void tree_layer(struct tree *t);

/*
 * Takes PATH away as the layers below have it: a file, or a directory with
 * all in it; what this layer put there stays. ALL: PATH is a directory, and
 * only what is in it goes. Nothing there is no error. 0, or -E_VERIFY for a
 * name that may not be.
 */
int tree_whiteout(struct tree *t, const char *path, bool all);

/* What PATH is, links on the way followed; NULL: it is not there. */
struct inode *tree_find(struct tree *t, const char *path);

/* Adds an extended attribute, copied. 0 or -ENOMEM. */
int inode_xattr(struct inode *i, const char *name, const void *value,
		size_t len);

/* Adds blocks behind all there are. 0 or -ENOMEM. */
int inode_extent(struct inode *i, uint32_t logical, uint64_t physical,
		 uint32_t blocks);

/* A file as if nothing had been written to it. */
void inode_empty(struct inode *i);

#endif
