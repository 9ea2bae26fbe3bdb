/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * image.h - the record of one image: what VMs begin with (vm-state.7).
 *
 *	images/NAME/meta	what it is: KEY=VALUE lines, see below
 *	images/NAME/disk	the disk, raw or qcow2, never written again
 *	images/NAME/kernel	what boots it, where it has them
 *	images/NAME/initrd
 *	images/NAME/lock	OFD lock
 *
 * An image is a record (record.h). It does not change: VMs are linked to it by
 * name, their disks show it wherever they have nothing of their own. Who makes
 * such a VM holds the image's lock shared until the VM is there; who removes
 * the image holds it alone, and looks for VMs first. So no VM loses its image.
 *
 * A config names an image's files by "image:NAME" (kernel, initrd) and by
 * image=NAME (a disk). From a VM's directory they are found by a relative
 * path, so a state directory can be moved.
 */
#ifndef STATE_IMAGE_H
#define STATE_IMAGE_H

#include "state/config.h"
#include "state/record.h"
#include "state/store.h"
#include "state/vmconf.h"

struct image {
	int parent;		/* images/, this struct's own descriptor */
	int dir;		/* images/NAME */
	int lock;		/* descriptor holding the lock, -1: not held */
	char name[NAME_MAX_LEN + 1];
};

/* What `meta` says. */
struct image_meta {
	enum disk_format format;	/* format=raw|qcow2 */
	uint64_t size;			/* size=BYTES, of the virtual disk */
	bool ext4;			/* filesystem=ext4: all of it is one, ours */
	char *append;			/* append=TEXT: how it is booted, or NULL */
	char *source;			/* source=TEXT: where it came from, or NULL */
	char *digest;			/* digest=sha256:HEX, or NULL: of what came */
	uint64_t created;		/* created=SECONDS since the epoch */
};

/* 0; -E_USAGE bad name; -E_NOENT "deb12: no such image"; -E_CONFIG; -errno. */
int image_open(struct image *img, const struct store *st, const char *name);
void image_close(struct image *img);	/* frees the lock */

/*
 * Takes the lock, shared to use the image, alone to remove it. -E_BUSY;
 * -E_NOENT: it was removed meanwhile; -errno.
 */
int image_lock(struct image *img, bool shared);

/* Reads `meta`. 0; -E_CONFIG "deb12: meta: ..."; -errno. Release it after. */
int image_meta(const struct image *img, struct image_meta *m);
void image_meta_release(struct image_meta *m);
/* Its text. */
void image_meta_format(const struct image_meta *m, struct buf *text);

/* Whether it has the file ("kernel", "initrd"). */
bool image_has(const struct image *img, const char *file);

/*
 * A new image: fill s->dir with `disk` and what else there is, then
 * image_publish(). 0; -E_EXISTS; -E_USAGE; -errno. S holds a descriptor of
 * images/ until image_unstage().
 */
int image_stage(struct stage *s, const struct store *st, const char *name);
int image_publish(struct stage *s, const struct image_meta *m);
void image_unstage(struct stage *s);

/*
 * Removes it; the lock must be held alone. -E_BUSY "deb12: used by web1" when
 * a VM of ST is linked to it, or its config cannot be read.
 */
int image_remove(struct image *img, struct store *st);

/* Names of all images: record_list(). */
int image_list(const struct store *st, char ***names, size_t *n);

/*
 * The path of FILE of the image that REF names, as seen from a VM's directory,
 * if REF is "image:NAME"; otherwise REF. OUT has SIZE bytes.
 */
enum { IMAGE_PATH = NAME_MAX_LEN + 32 };
const char *image_path(char *out, size_t size, const char *ref,
		       const char *file);

#endif
