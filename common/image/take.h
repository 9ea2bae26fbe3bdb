/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * take.h - takes a snapshot of a VM, stopped or running.
 *
 * The order in which it is done makes it one: new, empty layers are laid over
 * those of the VM's disks; the VM's config names them from then on, by one
 * rename, and whatever happens later, nothing that a guest wrote is lost, for
 * what lies below them still is what it was. A VM that runs is told to go on
 * in them; only then does what lies below stand still. Last, the snapshot's
 * record becomes visible, with the config that names the frozen layers. Who
 * is killed in between leaves a layer that no snapshot names, and that the
 * next layers_tidy() takes away.
 */
#ifndef IMAGE_TAKE_H
#define IMAGE_TAKE_H

#include "image/layers.h"
#include "state/snap.h"

struct take {
	const char *name;	/* NULL: one made of the time */
	const char *note;	/* or NULL */
	bool is_protected;
	/*
	 * The VM runs: sends it REQUEST (vm-ctl.7, "snap") and returns when
	 * all that is to be written was. NULL: it is stopped, its lock held.
	 */
	int (*tell)(void *arg, const char *request);
	void *arg;
	/* Of a VM that runs, and whose memory is to be kept: NULL: not. */
	const char *engine;
	uint64_t memory;	/* bytes, and vCPUs, as it has them */
	unsigned cpus;
};

/*
 * Takes one, with the lock of S held, into NAME. 0, or negative with a
 * sentence: -E_EXISTS, -E_CONFIG, -errno, what `tell` gave.
 */
int take_snapshot(struct snaps *s, const struct take *t,
		  char name[NAME_MAX_LEN + 1]);

/*
 * The same without a record: FROZEN, which is empty, becomes the config that
 * names the frozen layers. Of T only `tell` and `arg` count.
 */
int take_layers(struct snaps *s, const struct take *t, struct config *frozen);

#endif
