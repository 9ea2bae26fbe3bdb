/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/cpuid.h"

#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

enum { EAX, EBX, ECX, EDX, REGS };

enum {
	LEAF_VENDOR = 0,
	LEAF_XSAVE = 0xd,
	FIRST_COMPONENT = 2,	/* of the leaf XSAVE: the subleaves from it */
	VENDOR = 12,
};

static const char *const reg_names[] = { "eax", "ebx", "ecx", "edx" };

/*
 * Bits that describe, or that change as the guest runs. All others offer
 * something that the host must have, too.
 */
static const struct mask {
	uint32_t leaf, from, to;	/* subleaves */
	uint32_t free[REGS];
} masks[] = {
	{ 0, 0, 0, { ~0U, ~0U, ~0U, ~0U } },	/* vendor: checked apart */
	{ 1, 0, 0, { ~0U, ~0U, 1U << 27, 1U << 28 } },	/* OSXSAVE; HTT */
	{ 2, 0, 0, { ~0U, ~0U, ~0U, ~0U } },	/* caches */
	{ 4, 0, ~0U, { ~0U, ~0U, ~0U, ~0U } },
	{ 7, 0, 0, { ~0U, 0, 1U << 4, 0 } },	/* subleaves, OSPKE */
	{ 0xb, 0, ~0U, { ~0U, ~0U, ~0U, ~0U } },	/* topology */
	{ 0xd, 0, 0, { 0, ~0U, ~0U, 0 } },	/* sizes */
	{ 0xd, 1, 1, { 0, ~0U, 0, 0 } },
	{ 0x15, 0, 0, { ~0U, ~0U, ~0U, ~0U } },	/* frequencies */
	{ 0x16, 0, 0, { ~0U, ~0U, ~0U, ~0U } },
	{ 0x1f, 0, ~0U, { ~0U, ~0U, ~0U, ~0U } },	/* topology */
	{ 0x40000000, 0, 0, { ~0U, 0, 0, 0 } },	/* the last leaf */
	{ 0x80000000, 0, 0, { ~0U, ~0U, ~0U, ~0U } },
	{ 0x80000001, 0, 0, { 0, 0, 1U << 1, 0 } },	/* CMP_LEGACY */
	{ 0x80000002, 0, 0, { ~0U, ~0U, ~0U, ~0U } },	/* its name */
	{ 0x80000003, 0, 0, { ~0U, ~0U, ~0U, ~0U } },
	{ 0x80000004, 0, 0, { ~0U, ~0U, ~0U, ~0U } },
	{ 0x80000005, 0, 0, { ~0U, ~0U, ~0U, ~0U } },	/* caches */
	{ 0x80000006, 0, 0, { ~0U, ~0U, ~0U, ~0U } },
	{ 0x80000008, 0, 0, { ~0U, 0, ~0U, 0 } },	/* sizes */
	{ 0x80000019, 0, 0, { ~0U, ~0U, ~0U, ~0U } },
	{ 0x8000001d, 0, ~0U, { ~0U, ~0U, ~0U, ~0U } },	/* caches, topology */
	{ 0x8000001e, 0, 0, { ~0U, ~0U, ~0U, ~0U } },
};

/* As /proc/cpuinfo calls them. */
static const struct {
	uint32_t leaf, index;
	unsigned reg, bit;
	const char *name;
} names[] = {
	{ 1, 0, ECX, 0, "pni" }, { 1, 0, ECX, 1, "pclmulqdq" },
	{ 1, 0, ECX, 5, "vmx" }, { 1, 0, ECX, 9, "ssse3" },
	{ 1, 0, ECX, 12, "fma" }, { 1, 0, ECX, 13, "cx16" },
	{ 1, 0, ECX, 17, "pcid" }, { 1, 0, ECX, 19, "sse4_1" },
	{ 1, 0, ECX, 20, "sse4_2" }, { 1, 0, ECX, 21, "x2apic" },
	{ 1, 0, ECX, 22, "movbe" }, { 1, 0, ECX, 23, "popcnt" },
	{ 1, 0, ECX, 24, "tsc_deadline_timer" }, { 1, 0, ECX, 25, "aes" },
	{ 1, 0, ECX, 26, "xsave" }, { 1, 0, ECX, 28, "avx" },
	{ 1, 0, ECX, 29, "f16c" }, { 1, 0, ECX, 30, "rdrand" },
	{ 7, 0, EBX, 0, "fsgsbase" }, { 7, 0, EBX, 3, "bmi1" },
	{ 7, 0, EBX, 5, "avx2" }, { 7, 0, EBX, 7, "smep" },
	{ 7, 0, EBX, 8, "bmi2" }, { 7, 0, EBX, 9, "erms" },
	{ 7, 0, EBX, 10, "invpcid" }, { 7, 0, EBX, 16, "avx512f" },
	{ 7, 0, EBX, 17, "avx512dq" }, { 7, 0, EBX, 18, "rdseed" },
	{ 7, 0, EBX, 19, "adx" }, { 7, 0, EBX, 20, "smap" },
	{ 7, 0, EBX, 23, "clflushopt" }, { 7, 0, EBX, 24, "clwb" },
	{ 7, 0, EBX, 28, "avx512cd" }, { 7, 0, EBX, 29, "sha_ni" },
	{ 7, 0, EBX, 30, "avx512bw" }, { 7, 0, EBX, 31, "avx512vl" },
	{ 7, 0, ECX, 2, "umip" }, { 7, 0, ECX, 3, "pku" },
	{ 7, 0, ECX, 8, "gfni" }, { 7, 0, ECX, 9, "vaes" },
	{ 7, 0, ECX, 11, "avx512_vnni" }, { 7, 0, ECX, 16, "la57" },
	{ 7, 0, ECX, 22, "rdpid" }, { 7, 0, EDX, 4, "fsrm" },
	{ 7, 0, EDX, 22, "amx_bf16" }, { 7, 0, EDX, 24, "amx_tile" },
	{ 7, 0, EDX, 26, "ibrs" }, { 7, 0, EDX, 31, "ssbd" },
	{ 0x80000001, 0, ECX, 2, "svm" }, { 0x80000001, 0, ECX, 5, "abm" },
	{ 0x80000001, 0, ECX, 6, "sse4a" },
	{ 0x80000001, 0, EDX, 20, "nx" }, { 0x80000001, 0, EDX, 26, "pdpe1gb" },
	{ 0x80000001, 0, EDX, 27, "rdtscp" },
	{ 0x80000007, 0, EDX, 8, "constant_tsc" },
};

static void get_regs(const struct kvm_cpuid_entry2 *e, uint32_t *reg)
{
	reg[EAX] = e->eax;
	reg[EBX] = e->ebx;
	reg[ECX] = e->ecx;
	reg[EDX] = e->edx;
}

/* The entry that answers for the leaf, as KVM finds it; NULL: reads as 0. */
static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *t,
					   uint32_t leaf, uint32_t index)
{
	for (uint32_t i = 0; i < t->nent; i++)
		if (t->entries[i].function == leaf &&
		    (t->entries[i].index == index ||
		     !(t->entries[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return &t->entries[i];
	return NULL;
}

static uint32_t free_bits(const struct kvm_cpuid_entry2 *e, unsigned reg)
{
	for (size_t i = 0; i < ARRAY_SIZE(masks); i++)
		if (masks[i].leaf == e->function && e->index >= masks[i].from &&
		    e->index <= masks[i].to)
			return masks[i].free[reg];
	return 0;
}

static int fail_bit(const struct kvm_cpuid_entry2 *e, unsigned reg,
		    unsigned bit)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].leaf == e->function &&
		    names[i].index == e->index && names[i].reg == reg &&
		    names[i].bit == bit)
			return fail(E_HOST, "the guest was given the CPU "
				    "feature %s, which this host does not "
				    "offer", names[i].name);
	return fail(E_HOST, "the guest was given a CPU feature (bit %u of %s, "
		    "CPUID 0x%x.%u) that this host does not offer", bit,
		    reg_names[reg], e->function, e->index);
}

static int check_entry(const struct kvm_cpuid2 *offered,
		       const struct kvm_cpuid_entry2 *e)
{
	const struct kvm_cpuid_entry2 *ours = find(offered, e->function,
						   e->index);
	uint32_t has[REGS] = { 0 }, wants[REGS];

	get_regs(e, wants);
	if (ours)
		get_regs(ours, has);
	/* Where a register lies in the vector state is not a matter of bits. */
	if (e->function == LEAF_XSAVE && e->index >= FIRST_COMPONENT &&
	    (wants[EAX] || wants[EBX]) &&
	    (wants[EAX] != has[EAX] || wants[EBX] != has[EBX]))
		return fail(E_HOST, "the guest's CPU keeps its vector state "
			    "in another form than this host's");
	for (unsigned reg = 0; reg < REGS; reg++) {
		uint32_t lacks = wants[reg] & ~has[reg] & ~free_bits(e, reg);

		if (lacks)
			return fail_bit(e, reg, __builtin_ctz(lacks));
	}
	return 0;
}

static void get_vendor(const struct kvm_cpuid2 *t, char *vendor)
{
	const struct kvm_cpuid_entry2 *e = find(t, LEAF_VENDOR, 0);
	const uint32_t part[] = { e ? e->ebx : 0, e ? e->edx : 0,
				  e ? e->ecx : 0 };

	memcpy(vendor, part, VENDOR);
	vendor[VENDOR] = '\0';
}

int cpuid_check(const struct kvm_cpuid2 *offered, struct kvm_cpuid2 *saved)
{
	char theirs[VENDOR + 1], ours[VENDOR + 1];
	int rc = 0;

	get_vendor(saved, theirs);
	get_vendor(offered, ours);
	if (strcmp(theirs, ours))
		return fail(E_HOST, "the guest runs on a CPU of %s, this "
			    "host's is of %s", theirs, ours);
	for (uint32_t i = 0; i < saved->nent && rc == 0; i++) {
		struct kvm_cpuid_entry2 *e = &saved->entries[i];

		e->flags &= KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		rc = check_entry(offered, e);
	}
	return rc;
}
