/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpusave.h - the whole state of one vCPU, given as KVM's descriptor of it, to
 * and from a section. Only for vcpu.c.
 *
 *	section "vcpuN", version 1; each a blob of KVM's own structs (linux/
 *	kvm.h, KVM's ABI), or numbers where said:
 *
 *	CPUID		the entries, as they were given to KVM
 *	u32		kHz of the TSC
 *	MP_STATE, REGS, SREGS, XSAVE (of any size), XCRS, DEBUGREGS, LAPIC
 *	MSRs		the entries
 *	VCPU_EVENTS
 *	u8 u64		whether the TSC's offset is known, and the offset
 *
 * MSRs are those KVM lists, and the MTRRs, without those of what no guest of
 * ours is offered (VMX, performance counters, Hyper-V).
 *
 * What a guest may do is what its CPUID offers, so a saved CPUID is taken only
 * when this host offers all of it to a VM: a file cannot switch on what
 * cpuid.h leaves out.
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
	struct kvm_cpuid2 *offered;	/* for loading: what may be */
	size_t xsave_bytes;
	bool first;			/* for loading: none before it */
	bool has_offset;		/* first_offset is known */
	uint64_t saved_offset, offset;	/* of the first vCPU's TSC: then, now */
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
