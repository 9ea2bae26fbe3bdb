/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu_snap.h - snapshots of what QEMU runs.
 *
 * Theory. A disk of QEMU's is a graph of nodes: nodeN the disk in fileN, and
 * fileN what lies in the descriptors of set N. A new layer is handed over as a
 * descriptor and becomes two more nodes; one transaction puts the new ones of all
 * disks over the old ones. The old file is handed over once more, to be read
 * only, and so that the next QEMU can have it so.
 *
 * Memory and devices are QEMU's own stream, that of a migration, written to
 * the file `mem` while the guest stands; `dev` is a few lines that say by
 * what QEMU. It is read by a QEMU whose machine is of that version.
 *
 * A QEMU that runs keeps open what it has of layers that were merged
 * meanwhile. That stays true: a merge changes nothing of what is read through
 * a chain. Their space comes back with its end.
 */
#ifndef ENGINE_QEMU_SNAP_H
#define ENGINE_QEMU_SNAP_H

#include "engine/engine.h"
#include "engine/qemu_args.h"
#include "engine/qmp.h"
#include "machine/pv.h"

/* What one QEMU's disks are to it, by now. */
struct qemu_nodes {
	int top[VMCONF_DISKS];	/* "nodeN" */
	int next;
};

void qemu_nodes_init(struct qemu_nodes *n);

/*
 * The disks of PARTS, open as files, go on in the layers of P, in PARTS and in
 * the QEMU of Q, whose guest stands. 0, or negative with a sentence, and all
 * are as they were; but for -E_STOPPED.
 */
int qemu_push(struct qmp *q, struct qemu_nodes *n, struct pv_parts *parts,
	      const struct snap_point *p);

/*
 * Writes the state of the guest, which stands, into `dev` and `mem` in DIR, S
 * saying what QEMU it is. 0 or negative with a sentence. Afterwards QEMU has
 * given up the disks until the guest runs again.
 */
int qemu_save(struct qmp *q, int dir, const struct qemu_start *s);

/*
 * What QEMU the state in DIR needs, into S: -E_HOST, -E_CONFIG. And has one
 * that was started so read it.
 */
int qemu_load_start(int dir, struct qemu_start *s);
int qemu_load(struct qmp *q, int dir);

#endif
