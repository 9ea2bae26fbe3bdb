/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * layers_graph.h - which file in disk/ rests on which, and who names it; what
 * the layers_*.c files share.
 */
#ifndef IMAGE_LAYERS_GRAPH_H
#define IMAGE_LAYERS_GRAPH_H

#include <sys/types.h>

#include "image/layers.h"
#include "image/links.h"

/* One file in disk/. */
struct layer_file {
	char name[LINK_NAME];
	bool known;		/* someone says its format, as below */
	enum disk_format format;
	int below;		/* the file it rests on, -1: none in disk/ */
	int child;		/* one that rests on it, -1: none */
	unsigned children;	/* how many do */
	unsigned names;		/* how many configs name it */
	unsigned snaps;		/* of them, snapshots */
	bool used;		/* named, or something used rests on it */
	bool pinned;		/* not ours to touch */
	int top_of;		/* the disk of the VM whose top it is, -1 */
	nlink_t links;
	uint64_t bytes;		/* that it takes on the host */
};

/* Whose config names files: the VM, and each snapshot. */
struct layer_user {
	char snap[NAME_MAX_LEN + 1];	/* "": the VM */
	struct config config;
	struct vmconf conf;
	int file[VMCONF_DISKS];		/* -1: none in disk/ */
	uint64_t memory;		/* bytes of mem and dev on the host */
};

struct layers {
	const struct snaps *s;
	int dir;			/* disk/, -1: there is none */
	struct layer_file *file;
	size_t nfiles;
	struct layer_user *user;	/* the VM is the first */
	size_t nusers;
};

/* The number of the file NAME (NULL: none), or -1. */
int layers_find(const struct layers *l, const char *name);

/* Finds out what file I rests on, and that, if it is not known. */
int layers_use(struct layers *l, int i);

/* Whether NAME is diskN.K.qcow2; then *N and *K. */
bool layers_number(const char *name, unsigned *n, uint64_t *k);

/*
 * VALUE, a disk's line, with PATH and FORMAT in place of its own, and base= (if
 * there is one to be added).
 */
void layers_edit(const char *value, const char *path, enum disk_format format,
		 const char *base, struct buf *out);

/* disk/ of the VM. CREATE makes it durably. -1: there is none. */
int layers_dir(const struct vm *vm, bool create, int *dir);

#endif
