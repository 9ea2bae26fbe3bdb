/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * layers.h - the layers of a VM's disks: pushed, shared, merged, removed.
 *
 * Theory. What a VM's or a snapshot's config names as diskN is the top of a
 * chain of files in disk/: qcow2 layers that show, where they have nothing,
 * the file their header names; at the bottom a raw or qcow2 disk, an image, or
 * a disk outside (base=). Only the top of the VM's own config is written by a
 * guest. To snapshot is to push an empty top; from then on what lies below it
 * is frozen.
 *
 * A file in disk/ is in use if a config names it or a file in use does. A
 * layer (diskN.K.qcow2) that is not is removed. A frozen file that no config
 * names and on which exactly one other rests is merged with that one, its
 * child:
 *
 *	down	what the child has is written into it, which changes nothing,
 *		as the child covers that; now both show the same. Whoever
 *		names the child is made to name it, one by one; then the child
 *		is removed.
 *	up	what the child has not is copied into the child; both ways
 *		down the child shows the same. Its header is made to name what
 *		lay below; then the other is removed.
 *
 * After each step every config shows what it showed before, so a crash at any
 * instant loses nothing and the next layers_tidy() goes on. A file with more
 * than one link is another VM's, too (a clone's): it is neither written to nor
 * copied away from. What is outside disk/ is never written to.
 *
 * The caller holds the lock of the VM's snapshots (snap.h) throughout, and
 * that of the VM unless it runs.
 */
#ifndef IMAGE_LAYERS_H
#define IMAGE_LAYERS_H

#include "state/snap.h"

enum { LAYER_PATH = 64 };

/* What a running VM is to be told: disk N is written to PATH from now on. */
struct layer_top {
	unsigned disk;
	char path[LAYER_PATH];		/* "disk/disk0.3.qcow2" */
};

/*
 * Makes a new, empty top over each disk of C (the VM's own or a snapshot's
 * config) that is not `ro`, in the VM's disk/, durably, and writes C with
 * those as its disks into OUT (which was empty); other keys are the caller's to
 * change. *TOPS (VMCONF_DISKS of them) and *N say which; TOPS may be NULL.
 * Of the VM's own config, OUT is to be written (vm_set_config) before anybody
 * writes to a new top. 0; -E_CONFIG: a disk's path is neither absolute nor in disk/; negative with
 * a sentence; then nothing is left.
 */
int layers_push(const struct snaps *s, const struct config *c,
		struct config *out, struct layer_top *tops, unsigned *n);
/* Removes them again: OUT was not written. */
void layers_drop(const struct snaps *s, const struct layer_top *tops,
		 unsigned n);

/*
 * Gives the VM being made in STAGE_DIR every file in disk/ of which C's disks
 * consist, by hard links; where those cannot be, by copies (which share what
 * they hold if the file system can). They must be frozen, or `ro`: of the VM's
 * own present config, push first and link the old one. What is there already
 * stays. 0; -E_CONFIG: a path is neither absolute nor in disk/; negative with
 * a sentence.
 */
int layers_link(const struct snaps *s, const struct config *c, int stage_dir);

/*
 * Of a VM that runs: makes it put the top of disk DISK on the layer BELOW
 * ("disk0.2.qcow2", of FORMAT), which shows the same as what is below it now,
 * and write that into the top's header. 0 or negative: then nothing is merged
 * that needs it, which is no failure.
 */
struct layers_live {
	int (*rest)(void *arg, unsigned disk, const char *below,
		    enum disk_format format);
	void *arg;
	bool qemu;	/* it is QEMU that has the disks open */
};

/*
 * Removes and merges what nothing refers to. LIVE: the VM runs: its present
 * tops are neither merged nor their headers written (rest() may be NULL).
 * NULL: it does not, and its lock is held; its config may change. *MERGED: a
 * running VM should be told to reopen what lies below its tops. May be
 * killed at any time; a merge that finds a disk in use leaves it for later. 0
 * or negative with a sentence.
 */
int layers_tidy(const struct snaps *s, const struct layers_live *live,
		bool *merged);

/*
 * What the snapshots take on the host, from headers and stat() alone. OWN are
 * the bytes of the layers from the ones the snapshot SNAP names down to those
 * that another snapshot names, and of its memory; SHARED those below. Images
 * and disks outside do not count.
 */
struct layers;
int layers_load(struct layers **l, const struct snaps *s);
int layers_usage(const struct layers *l, const char *snap, uint64_t *own,
		 uint64_t *shared);
void layers_free(struct layers *l);

#endif
