/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpusave.h - the whole state of one vCPU, given as KVM's descriptor of it, to
 * and from a section. Only for vcpu.c.
 *
 *	section "vcpuN", version 1; blobs of KVM's own structs (its ABI,
 *	linux/kvm.h), or numbers where said:
 *
 *	CPUID		the entries
 *	u32		kHz of the TSC; 0: not known
 *	MP_STATE, REGS, SREGS, XSAVE (of any size), XCRS, DEBUGREGS, LAPIC,
 *	VCPU_EVENTS
 *	MSRs		the entries
 *	u8 u64		whether the offset of its TSC is known, and the offset
 *
 * MSRs are those KVM lists, and the MTRRs, without those of what no guest of
 * ours is offered (VMX, performance counters, Hyper-V).
 *
 * What a guest may do is what its CPUID offers, so a saved CPUID is taken only
 * when this host offers all of it to a VM: a file cannot switch on what
 * cpuid.h leaves out. An MSR is taken only if this host's KVM lists it.
 *
 * A local APIC's timer that ran out, but whose interrupt KVM had not raised
 * yet, looks like one that is not in use. It would be lost, so a loaded vCPU
 * gets the interrupt of such a timer: a guest bears one too many, but not one
 * too few.
 *
 * The vCPU must not run meanwhile.
 */
#ifndef VMM_CPUSAVE_H
#define VMM_CPUSAVE_H

#include "base/section.h"
#include "vmm/kvm.h"

struct kvm_cpuid2;
struct kvm_msr_list;

/* What is the same for all vCPUs of a VM. */
struct cpusave {
	const struct kvm *kvm;
	struct kvm_msr_list *msrs;	/* those to be saved */
	struct kvm_cpuid2 *offered;	/* what a saved CPUID may have */
	size_t xsave_bytes;
	bool has_offset;		/* these are known, of the first vCPU: */
	uint64_t then, now;		/* its TSC's offset as saved, as loaded */
};

/* For a VM of NCPUS. 0 or -errno with a sentence. */
int cpusave_init(struct cpusave *c, const struct kvm *k, unsigned ncpus);
void cpusave_release(struct cpusave *c);

/* Appends the section of vCPU ID to B. 0 or -errno with a sentence. */
int cpusave_save(struct cpusave *c, int fd, unsigned id, struct buf *b);

/*
 * The state of vCPU ID from ALL; vCPU 0 comes first. 0 or negative with a
 * sentence, see vcpus_load().
 */
int cpusave_load(struct cpusave *c, int fd, unsigned id, struct sections *all);

#endif
