/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm.h - one virtual machine of the host's KVM: its memory slots, interrupt
 * chips and doorbells. Its processors are vcpu.h.
 *
 * Theory: a struct kvm makes three things real for the rest of the VMM: the
 * guest-physical memory of a struct mem (as KVM's memory slots), a struct
 * irqchip (KVM's in-kernel local APICs, I/O APIC and, for a PC, 8259s), and a
 * struct bus_host for each bus (a doorbell becomes an ioeventfd, so the write
 * of a guest signals an eventfd without leaving the kernel). GSI n is pin n
 * of the I/O APIC; message GSIs get a route when an msi is first set.
 *
 * There is no 8254: a VM that needs one models it.
 *
 * A guest's reset is a new struct kvm at the same place: release the vCPUs,
 * take all doorbells and msi away (devices do so when they are reset),
 * kvm_release(), kvm_init() with the same /dev/kvm descriptor. What points to
 * `chip`, `ports` or `memory` stays valid.
 *
 * Threads: kvm_init() and kvm_release() belong to one thread, before the
 * vCPUs run and after they ended. The irqchip and the bus hosts may be used
 * by any thread.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <pthread.h>

#include "base/buf.h"
#include "vmm/bus.h"
#include "vmm/irq.h"
#include "vmm/mem.h"

/*
 * Four pages of guest-physical addresses that KVM takes for itself on Intel
 * processors (an identity map, and a TSS of three pages). They must be no RAM
 * and no device, and a memory map must not offer them to the guest.
 */
enum {
	KVM_IDENTITY_GPA = 0xfffbc000ULL,
	KVM_TSS_GPA = 0xfffbd000ULL,
	KVM_OWN_BYTES = 0x4000,
};

struct kvm_bus_host {
	struct bus_host host;
	struct kvm *kvm;
	uint32_t flags;		/* of the ioeventfd: which bus */
};

struct kvm_irq_routing;
struct sections;

struct kvm {
	int dev;		/* /dev/kvm, borrowed */
	int vm;
	const struct mem *mem;
	size_t run_bytes;	/* of a vCPU's shared page(s) */
	bool software;		/* KVM without VT-x or SVM beneath it */
	bool any_length;	/* doorbells match writes of any size */
	bool pic;
	struct irqchip chip;
	struct kvm_bus_host ports, memory;	/* .host is for bus_init() */
	pthread_mutex_t lock;	/* of routes */
	struct kvm_irq_routing *routes;
};

/*
 * Opens /dev/kvm and checks that it can do what we need. Without VT-x or SVM
 * behind it a KVM that works interprets its guests: with HARDWARE that is not
 * enough. The descriptor, or with a sentence that says what to do: -E_HOST
 * (there is none; too old), -E_PERM.
 */
int kvm_open(bool hardware);

/* Whether kvm_open() would: 0, or as it. */
int kvm_probe(bool hardware);

/*
 * Makes a VM with M as its memory; PIC adds the pair of 8259s to GSIs 0..15.
 * DEV stays the caller's. 0 or -errno with a sentence; then nothing is left.
 * Call it while the process has one thread: it also makes the process's table
 * of descriptors large, which costs milliseconds once threads share it.
 */
int kvm_init(struct kvm *k, int dev, const struct mem *m, bool pic);
void kvm_release(struct kvm *k);

/*
 * Appends the section "kvm" to B: the I/O APIC, the 8259s if there are, and
 * the guest's clock. No vCPU may run. Routes of messages are not in it: they
 * are made anew by their devices' msi_set(). 0 or -errno with a sentence.
 */
int kvm_save(const struct kvm *k, struct buf *b);

/*
 * The same state from ALL, before any vCPU runs, and before the devices, who
 * raise their lines again: the clock goes on from where it stood. 0 or
 * negative with a sentence: -E_VERIFY damaged; -E_CONFIG another machine's;
 * -E_HOST this KVM does not take it.
 */
int kvm_load(struct kvm *k, struct sections *all);

/*
 * Whether the guest listens to PIN of the I/O APIC (its entry there is not
 * masked); false when that cannot be told.
 */
bool kvm_pin_unmasked(const struct kvm *k, unsigned pin);

#endif
