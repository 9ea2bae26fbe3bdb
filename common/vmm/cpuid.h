/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpuid.h - what the guest is told about its processor.
 *
 * Theory: KVM says what it and the host's processor can do; from that we make
 * one table for the VM (a hypervisor is present; as many logical processors as
 * there are vCPUs, all cores of one package; nothing offered that KVM will not
 * keep), and in it set, for each vCPU, the leaves that tell it its own APIC id.
 *
 * References: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E;
 * Linux Documentation/virt/kvm/x86/cpuid.rst.
 */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include "vmm/kvm.h"

struct kvm_cpuid2;

/*
 * The table for a VM of NCPUS vCPUs into *OUT, which the caller frees. 0 or
 * -errno with a sentence.
 */
int cpuid_for_vm(const struct kvm *k, unsigned ncpus, struct kvm_cpuid2 **out);

/*
 * Whether a VM that is offered OFFERED can go on with the table SAVED, which
 * may be hostile: all features of it are offered, all else is a description.
 * 0, or with a sentence -E_HOST naming what this host lacks. Flags of SAVED
 * that are not for KVM_SET_CPUID2 are cleared.
 */
int cpuid_check(const struct kvm_cpuid2 *offered, struct kvm_cpuid2 *saved);

/* Makes it the table of the vCPU with the local APIC id ID. */
void cpuid_set_id(struct kvm_cpuid2 *table, unsigned id);

#endif
