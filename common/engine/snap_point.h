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

/*
 * Reads ARGV into P, which is then released in any case. *FD becomes what
 * hears how the memory's writer ended, or stays. 0, or negative with a
 * sentence: -E_USAGE, -E_CONFIG, -errno.
 */
int snap_point_read(struct snap_point *p, int argc, char **argv, int *fd);
void snap_point_release(struct snap_point *p);

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
