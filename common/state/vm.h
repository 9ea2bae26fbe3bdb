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
 * A new VM is made in vms/.NAME.new.PID-N, made durable, and renamed; names beginning
 * with a dot are no VMs, and stale ones (whose maker is gone: its lock on the
 * `lock` file in there is free) are swept by the next create. Removal renames
 * to vms/.NAME.old.PID-N first, so a VM is there whole or not at all.
 */
#ifndef STATE_VM_H
#define STATE_VM_H

#include "base/text.h"
#include "state/config.h"
#include "state/store.h"
#include "state/vmconf.h"

struct vm {
	const struct store *store;
	char name[NAME_MAX_LEN + 1];
	int dir;	/* vms/NAME */
	int lock;	/* descriptor holding the lock, -1: not held */
};

/* 0; -E_USAGE bad name; -E_NOENT "web1: no such VM"; -errno. */
int vm_open(struct vm *vm, const struct store *st, const char *name);
void vm_close(struct vm *vm);	/* frees the lock too if it is the last fd */

/*
 * Takes the lock, waiting up to WAIT_NS. -E_BUSY "web1: is running" or "web1: in use by
 * another command (pid 123)". Also checks, once it has it, that the VM was not removed meanwhile.
 */
int vm_lock(struct vm *vm, uint64_t wait_ns);
void vm_unlock(struct vm *vm);
/* Whether someone holds the lock now: 1, 0 or -errno. Needs no write right. */
int vm_locked(const struct vm *vm);

/* Reads the config. -E_CONFIG: "web1: config: line 3: ...". */
int vm_config(const struct vm *vm, struct config *c);
/* Replaces the config; the lock is not needed for it (rename is atomic), but
 * vm-set of a stopped VM holds it. */
int vm_set_config(struct vm *vm, const struct config *c);

/*
 * New VMs, many at once at the price of few syncs:
 *
 *	vm_stage(&s, st, name);		directory with lock held; -E_EXISTS early
 *	... fill s.dir: config, disk/ ...
 *	vm_publish(s, n, done, arg);	durable, renamed; done() for each in
 *					order with 0 or -E_EXISTS / -errno
 *	vm_unstage(&s);			frees; removes what was not published
 */
struct vm_stage {
	const struct store *store;
	char name[NAME_MAX_LEN + 1];
	char tmp[NAME_MAX_LEN + 32];
	int dir, lock;
	bool published;
};

int vm_stage(struct vm_stage *s, const struct store *st, const char *name);
int vm_publish(struct vm_stage *s, size_t n,
	       void (*done)(struct vm_stage *s, int rc, void *arg), void *arg);
void vm_unstage(struct vm_stage *s);

/* Destroys it; the lock must be held by VM. 0 or -errno with a sentence. */
int vm_remove(struct vm *vm);

/* Removes what makers and removers that died left. Quiet, best effort. */
void vm_sweep(const struct store *st);

/*
 * Names of all VMs, sorted as `ls -v` would (web2 before web10); an array of
 * *N strings in one allocation to free(). 0 or -errno with a sentence.
 */
int vm_list(const struct store *st, char ***names, size_t *n);

/* O_PATH descriptor of RUN/NAME; CREATE makes it empty. -ENOENT quietly. */
int vm_run_dir(const struct vm *vm, bool create);
void vm_remove_run_dir(const struct vm *vm);

#endif
