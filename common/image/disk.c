/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/file.h"
#include "block/chain.h"
#include "block/qcow2.h"
#include "image/links.h"
#include "state/image.h"

enum {
	PATH_ROOM = sizeof("disk/") + LINK_NAME,
	FILES_EASY = 64,	/* what every process may have open besides */
};

/* A disk on its way to be opened. */
struct opening {
	int dir;			/* the VM's */
	const struct store *st;
	const struct disk_conf *d;
	bool files;
	enum disk_format below;		/* of the lowest file */
	struct link *layer;		/* below the top, from above */
	size_t n, size;
	enum link_to end;		/* what the last one rests on */
};

/* -- single files -- */

static int open_raw(struct block **b, int dir, const char *path,
		    enum lock_use use)
{
	/* what only a config names may be a link, as that of a volume is */
	if (path[0] == '/' || (dir == AT_FDCWD && !layer_name(path)))
		return raw_open(b, path, use == LOCK_READER);
	return raw_open_at(b, dir, path, use);
}

static int open_qcow2(struct block **b, int dir, const char *path,
		      enum lock_use use, struct block *backing)
{
	if (path[0] == '/' || (dir == AT_FDCWD && !layer_name(path)))
		return qcow2_open(b, path, use == LOCK_READER, backing);
	return qcow2_open_at(b, dir, path, use, backing);
}

/*
 * PATH over BACKING, which is taken on success. FILES: whatever the format,
 * the file itself; its header was checked.
 */
static int open_format(struct block **b, const struct opening *o,
		       const char *path, enum disk_format format,
		       enum lock_use use, struct block *backing)
{
	int rc;

	if (format == FORMAT_QCOW2 && !o->files)
		return open_qcow2(b, o->dir, path, use, backing);
	if (backing && format == FORMAT_RAW)
		return fail(E_CONFIG, "%s: a raw disk rests on nothing", path);
	rc = open_raw(b, o->dir, path, use);
	if (rc == 0)
		(*b)->backing = backing;
	return rc;
}

/* -- what lies at the bottom -- */

/*
 * Another process is to read the qcow2 image PATH: one that names files of its
 * own choice, or that we would not read, is none of ours. BACKED: the config
 * says what lies below.
 */
static int check_header(int dir, const char *path, bool backed)
{
	autoclose int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY |
				  O_NONBLOCK);
	struct qcow2_info info;
	int rc;

	if (fd < 0)
		return fail_sys("%s", path);
	rc = qcow2_info(fd, &info);
	if (rc == 0 && !backed)
		rc = qcow2_alone(&info);
	if (rc == 0 && backed && !info.backing)
		rc = fail(E_CONFIG, "has no backing file");
	qcow2_info_release(&info);
	return rc < 0 ? fail_in(rc, "%s", path) : 0;
}

/* The disk of the image D names, to show through others. */
static int open_image(struct block **b, struct opening *o)
{
	char path[IMAGE_PATH], ref[IMAGE_PATH];
	struct image_meta m;
	struct image img;
	int rc = image_open(&img, o->st, o->d->image);

	if (rc < 0)
		return rc == -E_NOENT ? -E_CONFIG : rc;
	rc = image_meta(&img, &m);
	if (rc < 0) {
		image_close(&img);
		return rc;
	}
	snprintf(ref, sizeof(ref), "image:%s", o->d->image);
	image_path(path, sizeof(path), ref, "disk");
	o->below = m.format;
	if (m.format == FORMAT_QCOW2)
		rc = check_header(o->dir, path, false);
	if (rc == 0)
		rc = open_format(b, o, path, m.format, LOCK_READER, NULL);
	image_meta_release(&m);
	image_close(&img);
	return rc < 0 ? fail_in(rc, "image %s", o->d->image) : 0;
}

/*
 * A file outside of disk/, over the image that D names, if it does: what it
 * names itself does not count.
 */
static int open_outside(struct block **b, struct opening *o, const char *path,
			enum disk_format format, enum lock_use use)
{
	struct block *image = NULL;
	int rc = 0;

	o->below = format;
	if (format == FORMAT_QCOW2)
		rc = check_header(o->dir, path, o->d->image[0]);
	if (rc == 0 && o->d->image[0])
		rc = open_image(&image, o);
	if (rc == 0)
		rc = open_format(b, o, path, format, use, image);
	if (rc < 0)
		block_close(image);
	return rc;
}

/* What the lowest file in disk/ rests on; NULL: nothing. */
static int open_end(struct block **b, struct opening *o)
{
	const struct disk_conf *d = o->d;

	*b = NULL;
	if (o->end == LINK_IMAGE)
		return open_image(b, o);
	if (o->end == LINK_OUTSIDE)
		return open_outside(b, o, d->base, d->base_format,
				    LOCK_READER);
	if (d->image[0] || d->base)
		return fail(E_CONFIG, "%s: does not rest on %s, as its "
			    "configuration says", d->path, d->base ? d->base :
			    d->image);
	return 0;
}

/* -- the chain -- */

static int add_layer(struct opening *o, const struct link *l)
{
	for (size_t i = 0; i < o->n; i++)
		if (!strcmp(o->layer[i].name, l->name))
			return fail(E_VERIFY, "disk/%s: rests on itself",
				    l->name);
	if (o->n == LINK_DEPTH)
		return fail(E_VERIFY, "%s: rests on more than %d layers",
			    o->d->path, LINK_DEPTH);
	if (o->n == o->size) {
		size_t size = o->size ? 2 * o->size : 16;
		struct link *layer = reallocarray(o->layer, size,
						  sizeof(*layer));

		if (!layer)
			return fail(ENOMEM, "out of memory");
		o->layer = layer;
		o->size = size;
	}
	o->layer[o->n++] = *l;
	return 0;
}

static const char *layer_path(char path[PATH_ROOM], const char *name)
{
	snprintf(path, PATH_ROOM, "disk/%s", name);
	return path;
}

/* What the header of layer NAME says. */
static int read_layer(const struct opening *o, const char *name,
		      struct link *l)
{
	char path[PATH_ROOM];
	autoclose int fd = file_open(o->dir, layer_path(path, name), O_RDONLY |
				     O_NOFOLLOW, 0);
	int rc = fd < 0 ? fd : link_read(l, fd, o->d);

	return rc < 0 && fd >= 0 ? fail_in(rc, "%s", path) : rc;
}

/* Notes the layers from L on, which the header of a higher one said. */
static int follow(struct opening *o, struct link l)
{
	while (l.to == LINK_LAYER) {
		int rc = add_layer(o, &l);
		struct link next = { .to = LINK_NOTHING };

		o->below = l.format;
		if (rc == 0 && l.format == FORMAT_QCOW2)
			rc = read_layer(o, o->layer[o->n - 1].name, &next);
		if (rc < 0)
			return rc;
		l = next;
	}
	o->end = l.to;
	return 0;
}

/* Many layers are many files. */
static void allow_files(size_t n)
{
	struct rlimit lim;

	if (n <= FILES_EASY || getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}

/* Opens the layers that were noted, from the bottom; none: NULL. */
static int open_layers(struct block **out, struct opening *o)
{
	struct block *b = NULL;
	int rc = open_end(&b, o);

	allow_files(o->n);
	for (size_t i = o->n; i-- > 0 && rc == 0;) {
		struct block *above;
		char path[PATH_ROOM];

		rc = open_format(&above, o, layer_path(path, o->layer[i].name),
				 o->layer[i].format, LOCK_READER, b);
		if (rc == 0)
			b = above;
	}
	if (rc < 0)
		block_close(b);
	else
		*out = b;
	return rc;
}

/* What the top, NAME in disk/, rests on. */
static int open_own_below(struct block **below, struct opening *o,
			  const char *name)
{
	struct link top = { .to = LINK_LAYER, .format = o->d->format };
	int rc;

	snprintf(top.name, sizeof(top.name), "%s", name);
	rc = follow(o, top);
	if (rc < 0)
		return rc;
	/* the first of the list is the top itself */
	memmove(o->layer, o->layer + 1, --o->n * sizeof(*o->layer));
	return open_layers(below, o);
}

/* The top, in disk/, and what it rests on. */
static int open_own(struct block **b, struct opening *o, const char *name,
		    enum lock_use use)
{
	struct block *below = NULL;
	int rc = open_own_below(&below, o, name);

	if (rc == 0)
		rc = open_format(b, o, o->d->path, o->d->format, use, below);
	if (rc < 0)
		block_close(below);
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

/* Looked up as a whole, if it has many layers. */
static int as_chain(struct block **b)
{
	struct block *top = *b;
	int rc = chain_open(b, top);

	if (rc < 0)
		*b = top;
	return rc;
}

int disk_open_at(struct block **b, int dir, const struct store *st,
		 const struct disk_conf *d, unsigned flags,
		 enum disk_format *below)
{
	struct opening o = { .dir = dir, .st = st, .d = d,
			     .files = flags & DISK_FILES };
	enum lock_use use = d->readonly || flags & DISK_READ ? LOCK_READER :
							       LOCK_WRITER;
	const char *name = layer_name(d->path);
	int rc;

	if (!name && d->base)
		return fail(E_CONFIG, "%s: is not in disk/, and cannot rest on "
			    "%s", d->path, d->base);
	rc = name ? open_own(b, &o, name, use) :
		    open_outside(b, &o, d->path, d->format, use);
	free(o.layer);
	if (rc < 0)
		return rc;
	if (below)
		*below = o.below;
	if (d->block_size)
		rc = set_block_size(*b, d, o.files);
	if (rc == 0 && !o.files)
		rc = as_chain(b);
	if (rc == 0)
		return 0;
	block_close(take_ptr(*b));
	return fail_in(rc, "%s", d->path);
}

int disk_open(struct block **b, const struct store *st,
	      const struct disk_conf *d, bool files, enum disk_format *below)
{
	return disk_open_at(b, AT_FDCWD, st, d, files ? DISK_FILES : 0, below);
}

int disk_open_below(struct block **b, int dir, const struct store *st,
		    const struct disk_conf *d)
{
	struct opening o = { .dir = dir, .st = st, .d = d };
	const char *name = layer_name(d->path);
	int rc;

	*b = NULL;
	rc = name ? open_own_below(b, &o, name) :
		    fail(E_CONFIG, "%s: is not in disk/", d->path);
	free(o.layer);
	return rc;
}

/* -- while the VM runs -- */

static void stand_in_close(struct block *b)
{
	free(b);
}

/* Nobody reads or writes it. */
static const struct block_ops stand_in_ops = {
	.name = "stand-in", .close = stand_in_close,
};

/* A top that is not on B yet, but could be. */
static int open_top(struct block **top, const char *path,
		    const struct block *b)
{
	struct block *stand_in = calloc(1, sizeof(*stand_in));
	int rc;

	if (!stand_in)
		return fail(ENOMEM, "%s: out of memory", path);
	*stand_in = (struct block){
		.ops = &stand_in_ops, .size = b->size,
		.block_size = b->block_size, .readonly = true,
	};
	rc = qcow2_open_at(top, AT_FDCWD, path, LOCK_WRITER, stand_in);
	if (rc < 0)
		free(stand_in);
	return rc;
}

int disk_push(struct block **b, const char *path)
{
	struct block *top;
	int rc = open_top(&top, path, *b);

	if (rc < 0)
		return rc;
	rc = block_freeze(*b);
	if (rc < 0) {
		block_close(top);
		return fail(-rc, "%s: %s", path, strerror(-rc));
	}
	/* Its blocks fit, as the stand-in's did. */
	qcow2_set_backing(top, chain_release(*b));
	*b = top;
	as_chain(b);		/* without, it is only slower */
	return 0;
}

/* Opens the layers from L on, for below the top of D. */
static int open_below(struct block **b, const struct store *st,
		      const struct disk_conf *d, const struct link *l)
{
	struct opening o = { .dir = AT_FDCWD, .st = st, .d = d };
	int rc = follow(&o, *l);

	if (rc == 0)
		rc = open_layers(b, &o);
	free(o.layer);
	return rc;
}

int disk_reopen(struct block **b, const struct store *st,
		const struct disk_conf *d, const char *below,
		enum disk_format format)
{
	struct block *top = chain_top(*b), *layers = NULL;
	struct link l = { .to = LINK_LAYER, .format = format };
	int rc = 0;

	if (!layer_name(d->path) || !qcow2_is(top))
		return 0;	/* rests on no layer */
	if (below && !layer_name_ok(below))
		return fail(E_CONFIG, "'%s': not a layer's name", below);
	if (below)
		snprintf(l.name, sizeof(l.name), "%s", below);
	else
		rc = link_read(&l, block_fd(top), d);
	if (rc < 0)
		return fail_in(rc, "%s", d->path);
	rc = open_below(&layers, st, d, &l);
	if (rc == 0 && below)
		rc = qcow2_rename_backing(top, below, disk_formats[format]);
	if (rc == 0)
		rc = qcow2_set_backing(top, layers);
	if (rc < 0) {
		block_close(layers);
		return fail_in(rc, "%s", d->path);
	}
	*b = chain_release(*b);
	as_chain(b);
	return 0;
}

/* -- images -- */

int disk_open_image(struct block **out, int dir, enum disk_format format)
{
	char path[64];
	int rc = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/disk", dir);
	if (format == FORMAT_RAW)
		return raw_open(out, path, true);
	return rc < 0 ? rc : qcow2_open(out, path, true, NULL);
}

int disk_open_fd(struct block **out, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return raw_open(out, path, true);
}
