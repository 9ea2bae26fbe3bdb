/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * parts.h - opens what a machine is built around and outlives its resets:
 * the kernel and initrd, the command line, the disks, /dev/kvm.
 */
#ifndef MACHINE_PARTS_H
#define MACHINE_PARTS_H

#include "boot/kernel.h"
#include "machine/pv.h"
#include "state/vm.h"

/*
 * Opens what CONF names into P, whose other fields are left alone. CONF must
 * stay. The working directory is the VM's: relative paths begin there. With
 * FILES the disks are their files and what lies below, locked and their formats
 * not read: for another process to do so. 0 or negative with a sentence;
 * parts_close() is due in either case.
 */
int parts_open(struct pv_parts *p, const struct vm *vm,
	       const struct vmconf *conf, bool files);
void parts_close(struct pv_parts *p);

/*
 * Disk I goes on in the new, empty layer PATH, over what it is now, which
 * nobody writes any more; or rests on BELOW, of FORMAT (NULL: on what its header
 * says), which shows the same as what it rests on now. Nobody is in the disk meanwhile. 0,
 * or negative with a sentence, and it is as it was.
 */
int parts_push_disk(struct pv_parts *p, unsigned i, const char *path);
int parts_rest_disk(struct pv_parts *p, const struct vm *vm, unsigned i,
		    const char *below, enum disk_format format);

/*
 * /dev/kvm too, for a machine of ours. With HARDWARE only one that stands on
 * VT-x or SVM will do: -E_HOST, -E_PERM with a sentence. probe: whether it
 * would.
 */
int parts_open_kvm(struct pv_parts *p, bool hardware);
int parts_probe_kvm(bool hardware);

/* What the loader is to load. */
struct boot_params parts_boot(const struct pv_parts *p);

/*
 * Whether kernel and initrd can be booted, with this memory: loads them as
 * pv_init() would, and forgets it. 0, or boot_load()'s failure.
 */
int parts_try(const struct pv_parts *p);

#endif
