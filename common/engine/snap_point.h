/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snap_point.h - the request "snap" of vm-ctl.7 as a struct snap_point, and
 * where snapshots lie, both seen from the VM's directory, in which its process
 * is at home.
 *
 *	snap STAGE N=FILE...	with memory, into snap/STAGE
 *	snap - N=FILE...	the disks alone
 */
#ifndef ENGINE_SNAP_POINT_H
#define ENGINE_SNAP_POINT_H

#include "engine/engine.h"
#include "machine/pv.h"

/*
 * Reads ARGV into P, which is then released in any case. *FD becomes what
 * hears how the memory's writer ended, or stays. 0, or negative with a
 * sentence: -E_USAGE, -E_CONFIG, -errno.
 */
int snap_point_read(struct snap_point *p, int argc, char **argv, int *fd);
void snap_point_release(struct snap_point *p);

/*
 * Whether the disks of P are all that the guest can write: 0, or -E_CONFIG
 * with a sentence.
 */
int snap_point_fits(const struct snap_point *p, const struct pv_parts *parts);

/*
 * Whether a snapshot, whose directory is DIR, has its memory from the engine
 * called ENGINE: 0, or -E_HOST with a sentence that says what to do.
 */
int snap_point_is_of(int dir, const char *engine);

/*
 * The request "rest" into R:
 *
 *	rest DISK		on what its layer's header says
 *	rest DISK FILE FORMAT	on that
 *
 * 0 or -E_USAGE.
 */
int snap_rest_read(struct snap_rest *r, int argc, char **argv);

/* The directory snap/NAME. -E_NOENT, -errno with a sentence. */
int snap_point_open(const char *name);

#endif
