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
 * A new VM is made in vms/.NAME.new.PID-N, made durable, and renamed; names
 * beginning with a dot are no VMs, and stale ones (whose maker is gone: its
 * lock on the `lock` file in there is free) are swept by the next create.
 * Removal renames to vms/.NAME.old.PID-N first, so a VM is there whole or not
 * at all.
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
int vm_set_config(struct vm *vm, const struct config *c);

/*
 * New VMs, many at once at the price of few syncs:
 *
 *	vm_sweep(st);				once
 *	vm_stage(&s[i], st, name);		directory with lock held
 *	vm_stage_config(&s[i], &config);	and what else belongs in s.dir
 *	vm_publish(s, n, done, arg);
 *	vm_unstage(&s[i]);
 *
 * Each stage has two descriptors open: VM_BATCH at a time leaves room.
 */
enum {
	VM_BATCH = 256,
	VM_TMP_BYTES = NAME_MAX_LEN + 32,
};

struct vm_stage {
	const struct store *store;
	char name[NAME_MAX_LEN + 1];
	char tmp[VM_TMP_BYTES];
	int dir, lock;
	int rc;			/* what vm_publish() made of it */
	bool published;
};

/*
 * 0; -E_EXISTS "web1: already exists"; -E_USAGE; -errno. On failure S needs no
 * vm_unstage(), which does no harm.
 */
int vm_stage(struct vm_stage *s, const struct store *st, const char *name);

/* Writes the config, which vm_publish() makes durable, as all in s.dir. */
int vm_stage_config(struct vm_stage *s, const struct config *c);

/*
 * Makes all durable, gives them their names and unlocks them; then calls
 * DONE for each in order with 0, or with -E_EXISTS / -errno and the sentence
 * set. The first failure, or 0.
 */
int vm_publish(struct vm_stage *s, size_t n,
	       void (*done)(struct vm_stage *s, int rc, void *arg), void *arg);

/* Frees S; removes what was not published. */
void vm_unstage(struct vm_stage *s);

/* Destroys it; the lock must be held by VM. 0 or -errno with a sentence. */
int vm_remove(struct vm *vm);

/* Removes what makers and removers that died left. Best effort. */
void vm_sweep(const struct store *st);

/*
 * Names of all VMs, sorted as `ls -v` would (web2 before web10); an array of
 * *N strings in one allocation to free(). 0 or -errno with a sentence.
 */
int vm_list(const struct store *st, char ***names, size_t *n);

/*
 * O_PATH descriptor of RUN/NAME; CREATE makes it, empty. -ENOENT when it is
 * not there, else -errno.
 */
int vm_run_dir(const struct vm *vm, bool create);
void vm_remove_run_dir(const struct vm *vm);

#endif
