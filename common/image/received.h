/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * received.h - a snapshot that has arrived whole (state/arrival.h) becomes one
 * of a VM.
 *
 * In the arrival's directory are, made by us from what the stream said, as far
 * as the snapshot has them:
 *
 *	kernel, initrd
 *	diskN.qcow2		an image of its own, or a layer over FROM's diskN
 *				(whatever its header names until it is placed)
 *	dev, mem		of a live one
 *
 * The config came from elsewhere. Of it are kept the keys that vm.conf.5 knows
 * and that name nothing: paths are ours, always, and below the VM's directory
 * but for those that FROM's config on this host already has.
 */
#ifndef IMAGE_RECEIVED_H
#define IMAGE_RECEIVED_H

#include "state/arrival.h"
#include "state/snap.h"

struct received {
	struct store *store;
	struct arrival *arrival;	/* emptied by what is done here */
	const char *vm, *snap;
	const char *from, *from_id;	/* NULL: it is whole */
	struct snap_meta *meta;
	struct config *config;		/* as it came */
	struct received_disk {
		uint64_t size;		/* 0: there is none */
		bool from;
	} disk[VMCONF_DISKS];
	bool kernel, initrd, live;	/* came with it */
};

/*
 * Whether the config is one of a VM with just these disks, so far as it is
 * believed: 0, -E_VERIFY, or as vmconf_parse(), with a sentence.
 */
int received_check(const struct received *r);

/*
 * The VM FROM is of, its snapshots and FROM itself, open and locked shared.
 * -E_VERIFY: that VM has no such snapshot.
 */
struct received_base {
	struct vm vm;
	struct snaps snaps;
	struct snap snap;
	struct config config;
	struct vmconf vc;
};
int received_base_open(struct received_base *b, const struct received *r);
void received_base_close(struct received_base *b);

/*
 * A new VM, whose present state is the snapshot. 0; -E_EXISTS; negative with a
 * sentence: then there is none.
 */
int received_new(const struct received *r);

/*
 * A new snapshot of the VM that has FROM. If the VM does not run and was not
 * changed since FROM, this becomes its present state. 0; -E_EXISTS; negative with a
 * sentence: then there is no such snapshot.
 */
int received_onto(const struct received *r, uint64_t lock_wait);

/* The second half of it alone, for a snapshot that is there already. */
int received_move(const struct received *r, uint64_t lock_wait);

#endif
