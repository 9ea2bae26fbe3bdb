/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmconf.h - what a VM's config means: the typed form that engines run.
 *
 * One table of keys (vmconf_keys) gives the parser, its checks, the list in
 * vm.conf.5 and what vm-set completes. A value that cannot be read is
 * -E_USAGE ("memory '12x': not a size"), one that reads well and cannot be is -E_CONFIG
 * ("memory 0: at least 2M"). Unknown keys are kept and warned about.
 *
 * Paths: absolute, or relative to the VM's directory. A kernel or initrd may
 * be an image's: "image:NAME" (image.h).
 */
#ifndef STATE_VMCONF_H
#define STATE_VMCONF_H

#include "base/text.h"
#include "base/types.h"
#include "state/config.h"
#include "state/diskconf.h"

enum {
	VMCONF_DISKS = 16,
	VMCONF_CPUS = 254,
};
#define VMCONF_MEMORY_MIN (2ULL << 20)
#define VMCONF_MEMORY_MAX (1ULL << 40)
#define VMCONF_LOG_MIN (64ULL << 10)
#define VMCONF_LOG_MAX (64ULL << 20)

enum machine_kind { MACHINE_PV };

/* Which device the VM's console is: ttyS0 or hvc0. */
enum console_kind { CONSOLE_SERIAL, CONSOLE_VIRTIO };

/*
 * Who runs the VM: our hypervisor (kvm), QEMU, or the first of the two that
 * can. kvm-any: ours, even where KVM interprets the guest for want of VT-x
 * and SVM, which only guests made for it bear.
 */
enum engine_kind { ENGINE_AUTO, ENGINE_KVM, ENGINE_QEMU, ENGINE_KVM_ANY };
extern const char *const engine_kinds[];	/* their words; NULL at the end */

struct vmconf {
	unsigned cpus;
	uint64_t memory;	/* bytes, multiple of 1 MiB */
	enum machine_kind machine;
	enum engine_kind engine;
	char *kernel, *initrd, *append;		/* NULL: none */
	enum console_kind console;
	uint64_t console_log;	/* bytes kept on disk, default 1M */
	struct disk_conf disk[VMCONF_DISKS];
	/* snapshots: what this state goes back to, goes on from; "": none */
	char parent[NAME_MAX_LEN + 1], restore[NAME_MAX_LEN + 1];
};

/* One key of the config. `dflt` is its text when absent, NULL: none. */
struct vmconf_key {
	const char *key;	/* "disk*" stands for disk0..disk15 */
	const char *meta;	/* "SIZE" */
	const char *dflt;
	const char *help;	/* half a line, for vm.conf.5 and completion */
	bool live;		/* vm-set can change it while the VM runs */
	int (*parse)(struct vmconf *vc, const char *key, const char *value);
};

extern const struct vmconf_key vmconf_keys[];	/* ends with key NULL */

/* The table's row for KEY, NULL if unknown. */
const struct vmconf_key *vmconf_key(const char *key);

/*
 * Reads C into VC (which was zeroed). Each unknown key is passed to WARN
 * (may be NULL). 0 or negative with a sentence; VC is then released.
 */
int vmconf_parse(struct vmconf *vc, const struct config *c,
		 void (*warn)(const char *key));
void vmconf_release(struct vmconf *vc);

/*
 * Whether KEY is "diskN.WORD", WORD of a disk: then the WORD, and the disk's
 * own key in DISK. NULL: it is another key, and DISK may be anything.
 */
enum { VMCONF_KEY = 16 };
const char *vmconf_disk_word(const char *key, char disk[VMCONF_KEY]);
/*
 * Sets WORD of DISK in C; no VALUE takes it out. 0; -E_USAGE no such word, or
 * none of its values; -E_CONFIG no such disk; -ENOMEM.
 */
int vmconf_set_word(struct config *c, const char *disk, const char *word,
		    const char *value);

/* How many queues disk D of VC has. */
unsigned vmconf_queues(const struct vmconf *vc, const struct disk_conf *d);

#endif
