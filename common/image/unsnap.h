/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unsnap.h - removes snapshots of a VM, and what of its layers only they had.
 *
 * The order makes it one: what goes back to a snapshot (the VM, the next
 * snapshots) is made to go back to that one's own parent, then its record is
 * removed, durably, and what is left is layers that nobody names, which are
 * merged or removed last. Who is killed in between leaves no more than those,
 * and the next call, for whatever snapshot, goes on with them.
 */
#ifndef IMAGE_UNSNAP_H
#define IMAGE_UNSNAP_H

#include "image/layers.h"
#include "state/snap.h"

struct unsnap {
	const char *const *name;	/* "": the newest of all */
	size_t n;
	/* Protected ones, too, and one that the next boot would go on from. */
	bool force;
	/*
	 * What became of each, as soon as it has: 0, or negative with the
	 * sentence set, which begins with "VM@SNAP". NAME is the snapshot's.
	 */
	void (*done)(void *arg, const char *name, int rc);
	void *arg;
	/*
	 * Tells a VM that runs on what the top of DISK rests from now on;
	 * BELOW NULL: on what its header says, opened anew. What it does not
	 * do it does at its next boot. REST_ARG is handed to it.
	 */
	int (*rest)(void *rest_arg, unsigned disk, const char *below,
		    enum disk_format format);
	void *rest_arg;
};

/*
 * The snapshots S of VM, which is open, with their lock, for which it waits up
 * to WAIT_NS; and before that VM's own, which is taken if it is free and stays.
 * 0, S->dir -1: there are none. Negative with a sentence: S is closed.
 */
int unsnap_open(struct vm *vm, struct snaps *s, uint64_t wait_ns);

/*
 * Removes U's from S, as unsnap_open() left it. 0 when all that was to be done
 * after the last of them was, or negative with a sentence that begins with the
 * VM's name.
 */
int unsnap(const struct snaps *s, struct vm *vm, const struct unsnap *u);

#endif
