/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpustate.h - the registers of one vCPU, given as KVM's descriptor of it: as
 * they are at the start, and in words when it crashed. Only for vcpu.c.
 *
 * The vCPU must not run meanwhile.
 */
#ifndef VMM_CPUSTATE_H
#define VMM_CPUSTATE_H

#include "base/buf.h"
#include "vmm/mem.h"
#include "vmm/vcpu.h"

/* What is the same for each vCPU and each way to start: MSRs. 0 or -errno. */
int cpustate_init(int fd);

/*
 * The registers, and on a direct start the local APIC's LINT pins, of the
 * first vCPU. 0 or -errno with a sentence.
 */
int cpustate_enter(int fd, const struct cpu_entry *e);

/*
 * Registers and the instruction's bytes, several lines, appended to B. What
 * cannot be read is left out.
 */
void cpustate_describe(int fd, const struct mem *m, struct buf *b);

#endif
