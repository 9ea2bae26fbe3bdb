/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm.h - the record of one VM: a directory (vm-state.7).
 *
 *	vms/NAME/config		what it is (vm.conf.5)
 *	vms/NAME/disk/		its own disks
 *	vms/NAME/console.log	what the guest said, bounded
 *	vms/NAME/log		what the VM's process noted, bounded
 *	vms/NAME/lock		OFD lock
 *
 * The lock is held (exclusively) by whoever runs or changes the VM: vm-boot
 * takes it, the process that becomes the VM inherits it and holds it to its
 * end. It goes with its last descriptor, so kill -9 frees it. Readers take
 * none: each file is replaced whole.
 *
 * It is a record (record.h): there whole or not at all.
 */
#ifndef STATE_VM_H
#define STATE_VM_H

#include "base/text.h"
#include "state/config.h"
#include "state/record.h"
#include "state/store.h"
#include "state/vmconf.h"

struct vm {
	const struct store *store;
	char name[NAME_MAX_LEN + 1];
	int dir;	/* vms/NAME */
	int lock;	/* descriptor holding the lock, -1: not held */
};

/*
 * 0; -E_USAGE bad name; -E_NOENT "web1: no such VM"; -E_CONFIG "web1: not a
 * directory" (a link, a file); -errno.
 */
int vm_open(struct vm *vm, struct store *st, const char *name);
void vm_close(struct vm *vm);	/* frees the lock too if it is the last fd */

/*
 * Takes the lock, waiting up to WAIT_NS, and a little longer for what is left
 * of a VM's process that was killed. -E_BUSY "web1: is running" when the
 * VM's socket answers, else "web1: in use by another command"; -E_NOENT when
 * the VM was removed meanwhile; -errno (EROFS, EACCES) with a sentence.
 */
int vm_lock(struct vm *vm, uint64_t wait_ns);
void vm_unlock(struct vm *vm);
/* Whether someone holds the lock now: 1, 0 or -errno. Needs no write right. */
int vm_locked(const struct vm *vm);

/* Reads the config. -E_CONFIG: "web1: config: line 3: ...". */
int vm_config(const struct vm *vm, struct config *c);
/*
 * Replaces the config, durably. The lock is not needed for it (rename is
 * atomic), but vm-set of a stopped VM holds it.
 */
int vm_set_config(const struct vm *vm, const struct config *c);

/*
 * A new VM's directory (record.h), to hold a config and what else belongs
 * there; stage_publish() makes it a VM. As stage_open(); -ENOENT: there is no
 * state directory.
 */
int vm_stage(struct stage *s, const struct store *st, const char *name);
int vm_stage_config(struct stage *s, const struct config *c);

/* Destroys it; the lock must be held by VM. 0 or -errno with a sentence. */
int vm_remove(struct vm *vm);

/* Names of all VMs: record_list(). */
int vm_list(const struct store *st, char ***names, size_t *n);

/*
 * O_PATH descriptor of RUN/NAME; CREATE makes it, empty. -ENOENT when it is
 * not there, else -errno.
 */
int vm_run_dir(const struct vm *vm, bool create);
void vm_remove_run_dir(const struct vm *vm);

#endif
