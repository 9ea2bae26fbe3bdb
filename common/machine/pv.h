/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pv.h - the paravirtual machine: virtio devices on a PCI bus, a 16550, ACPI
 * in hardware-reduced form, and no legacy beyond; entered at its kernel.
 *
 * One struct is one incarnation, from power-on or reset to the next. It is
 * built by explicit code, in order, in pv.c, and taken down in the reverse
 * order; nothing registers itself. What outlives it (disks, console, event
 * loop) is the owner's, in struct pv_parts.
 *
 *	slot 0		host bridge
 *	slot 1		virtio-rng
 *	slot 2		virtio-console (hvc0), when it is the VM's console
 *	slot 4 + N	virtio-blk, disk N
 */
#ifndef MACHINE_PV_H
#define MACHINE_PV_H

#include "base/loop.h"
#include "base/section.h"
#include "block/block.h"
#include "dev/doors.h"
#include "dev/pci.h"
#include "dev/serial.h"
#include "dev/virtio_blk.h"
#include "dev/virtio_console.h"
#include "dev/virtio_pci.h"
#include "dev/virtio_rng.h"
#include "state/vmconf.h"
#include "vmm/vcpu.h"

enum { PV_SLOT_RNG = 1, PV_SLOT_CONSOLE = 2, PV_SLOT_DISKS = 4 };

enum pv_event { PV_RESET, PV_POWEROFF, PV_CRASH, PV_STALL };

/* What a machine is built around; all borrowed. */
struct pv_parts {
	const struct vmconf *conf;
	int kvm;			/* /dev/kvm */
	int kernel, initrd;		/* descriptors; initrd -1: none */
	char *cmdline;
	struct block *disk[VMCONF_DISKS];	/* NULL: no such disk */
	enum disk_format below[VMCONF_DISKS];	/* of its image, if it has one */
	struct chr *console;
	struct loop *loop;
	/*
	 * NULL: it is started at its kernel. Else it goes on from this saved
	 * state and the memory in RESTORE_MEM, a file; of no use to the next
	 * incarnation.
	 */
	struct sections *restore;
	int restore_mem;
	/* From any thread; it may only wake the loop. */
	void (*event)(void *owner, enum pv_event e);
	void *owner;
};

struct pv_disk {
	char name[8];
	struct virtio_blk blk;
	struct virtio_pci pci;
};

struct pv {
	const struct pv_parts *parts;
	struct mem mem;
	struct kvm kvm;
	struct bus ports, memory;
	struct vcpus vcpus;
	struct irq_line intx[PCI_LINES], com1, power;
	struct pci_bus pci;
	struct doors doors;
	struct serial serial;
	struct virtio_rng rng;
	struct virtio_console console;
	struct virtio_pci rng_pci, console_pci;
	struct pv_disk *disk[VMCONF_DISKS];
	unsigned built;			/* how many steps of pv.c were done */
	struct cpu_entry entry;
};

/* Builds it, ready to start, or restored. 0 or negative with a sentence, nothing left. */
int pv_init(struct pv *m, const struct pv_parts *parts);
int pv_start(struct pv *m, bool paused);
void pv_release(struct pv *m);

/*
 * After PV_STALL a disk keeps what it could not write: pause the vCPUs. The
 * sentence is put into WHY (SIZE bytes); false: nothing is kept (any more).
 */
bool pv_stalled(const struct pv *m, char *why, size_t size);
/* Tries all of it again. */
void pv_retry(struct pv *m);

/*
 * Disk I grows to SIZE bytes, or has the limits that CONF says. 0; -E_CONFIG
 * there is no such disk, or it cannot; -errno; with a sentence.
 */
int pv_resize_disk(struct pv *m, unsigned i, uint64_t size);
int pv_limit_disk(struct pv *m, unsigned i, const struct disk_conf *conf);

/*
 * With all vCPUs paused, in the loop's thread: brings the devices to rest, so
 * that nothing is under way and their state and the guest's memory can be
 * saved. Devices on the event loop are at rest while it does not turn. 0, or
 * -E_BUSY with a sentence, and they go on as before.
 */
int pv_quiesce(struct pv *m);
void pv_unquiesce(struct pv *m);
/*
 * At rest: DISK, borrowed, takes the place of disk I, which the owner then
 * closes. 0; -E_CONFIG, -errno with a sentence and nothing has changed.
 */
int pv_set_disk(struct pv *m, unsigned i, struct block *disk);

/* At rest: a whole file of sections (base/section.h). 0 or -errno, sentence. */
int pv_save(struct pv *m, struct buf *b);
/*
 * Then, still at rest: begins to write its memory to FD, which goes on by
 * itself and tells REPORT at its end (mem_save.h). A pidfd, readable then, for
 * pv_save_memory_end(); or -errno with a sentence.
 */
int pv_save_memory(struct pv *m, int fd, int report);
void pv_save_memory_end(int pidfd);
/*
 * Into a machine that was built and not started; pv_init() calls it. It gets
 * another generation. 0; -E_VERIFY, -E_CONFIG, -errno with a sentence: then it
 * is good for pv_release() only.
 */
int pv_load(struct pv *m, struct sections *all);

/* Presses the power button. */
void pv_press(struct pv *m);
/* Whether the guest takes the button's interrupt. */
bool pv_listens(const struct pv *m);

#endif
