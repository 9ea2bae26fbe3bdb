/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * parts.h - opens what a machine is built around and outlives its resets:
 * /dev/kvm, the kernel and initrd, the command line, the disks.
 */
#ifndef MACHINE_PARTS_H
#define MACHINE_PARTS_H

#include "machine/pv.h"
#include "state/vm.h"

/*
 * Opens what CONF names into P, whose other fields are left alone. CONF must
 * stay. The working directory is the VM's: relative paths begin there. 0 or
 * negative with a sentence; parts_close() is due in either case.
 */
int parts_open(struct pv_parts *p, const struct vm *vm,
	       const struct vmconf *conf);
void parts_close(struct pv_parts *p);

#endif
