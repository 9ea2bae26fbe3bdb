/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu_args.h - a VM's config as the command line of qemu-system-x86_64.
 *
 * The machine is QEMU's q35 without what it brings along by default, and our
 * devices in the slots where pv.h has them. QEMU opens no file of the VM by
 * name: it is given descriptors, which its process has under the same
 * numbers as ours. The disks are locked by us, on those same descriptions.
 */
#ifndef ENGINE_QEMU_ARGS_H
#define ENGINE_QEMU_ARGS_H

#include "machine/pv.h"

enum { QEMU_COM = 0, QEMU_HVC = 1, QEMU_LINKS = 2 };

struct qemu_fds {
	int qmp;		/* stream sockets: the monitor, */
	int link[QEMU_LINKS];	/* COM1 and hvc0; -1: there is none */
};

/* What is said of this start of it alone. */
struct qemu_start {
	bool kvm;		/* on QEMU's own use of it */
	bool incoming;		/* the guest's state comes by the monitor */
	int major, minor;	/* the machine of that version; 0: the newest */
};

/* An argument vector for execv(). */
struct qemu_args {
	char **v;		/* ends with NULL */
	size_t n;
	bool failed;		/* no memory */
};

/* P as parts_open() left it. */
int qemu_args_make(struct qemu_args *a, const struct pv_parts *p,
		   const struct qemu_fds *fds, const struct qemu_start *s);
/* The number N of "nodeN", which DISK is to QEMU at its start. */
int qemu_args_node(int disk);
/* The arguments of QMP's block_set_io_throttle: DISK has the limits of D. */
enum { QEMU_LIMITS = 400 };
void qemu_args_limits(char args[QEMU_LIMITS], unsigned disk,
		      const struct disk_conf *d);
void qemu_args_release(struct qemu_args *a);	/* idempotent */

#endif
