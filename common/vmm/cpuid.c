/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/cpuid.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "vmm/vcpu.h"

enum {
	ENTRIES = 256,		/* KVM's own limit */

	/* Leaf 1. */
	ECX_CX16 = 1U << 13,
	ECX_TSC_DEADLINE = 1U << 24,
	ECX_HYPERVISOR = 1U << 31,
	EDX_HTT = 1U << 28,
	EBX_ID_SHIFT = 24,
	EBX_COUNT_SHIFT = 16,

	/* Leaf 0x80000001. */
	ECX_CMP_LEGACY = 1U << 1,

	/* Leaves 4 and 0x8000001d: one cache each. */
	CACHE_TYPE = 0x1f,
	CACHE_LEVEL_SHIFT = 5,
	CACHE_SHARING_SHIFT = 14,
	CACHE_SHARING = 0xfffU << CACHE_SHARING_SHIFT,
	CACHE_CORES_SHIFT = 26,
	CACHE_CORES = 0x3fU << CACHE_CORES_SHIFT,

	/* Leaves 0xb and 0x1f: level types. */
	LEVEL_SMT = 1,
	LEVEL_CORE = 2,
	LEVEL_TYPE_SHIFT = 8,
};

/* Bits the guest must not see: KVM tells, but we do not keep the promise. */
static const struct mask {
	uint32_t leaf, index;
	uint32_t eax, ebx, ecx, edx;	/* bits taken away */
} masks[] = {
	/* VMX: VMs do not nest, their state would have to be saved, too. */
	{ 1, 0, .ecx = 1U << 5 },
	/* The leaf of MONITOR, which KVM does not offer. */
	{ 5, 0, ~0U, ~0U, ~0U, ~0U },
	/* Power: all but "the APIC timer always runs". */
	{ 6, 0, ~(1U << 2), ~0U, ~0U, ~0U },
	/* SGX and its launch control, processor trace. */
	{ 7, 0, .ebx = 1U << 2 | 1U << 25, .ecx = 1U << 30 },
	/* Performance counters: they are not part of a VM's state. */
	{ 0xa, 0, ~0U, ~0U, ~0U, ~0U },
	/* SVM, its leaf, and AMD's counters: PerfCtr*, LWP, IBS. */
	{ 0x80000001, 0, .ecx = 1U << 2 | 1U << 10 | 1U << 15 | 1U << 23 |
				1U << 24 | 1U << 28 },
	{ 0x8000000a, 0, ~0U, ~0U, ~0U, ~0U },
	{ 0x8000001b, 0, ~0U, ~0U, ~0U, ~0U },
	{ 0x80000022, 0, ~0U, ~0U, ~0U, ~0U },
};

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *t, uint32_t leaf,
				     uint32_t index)
{
	for (uint32_t i = 0; i < t->nent; i++)
		if (t->entries[i].function == leaf &&
		    t->entries[i].index == index)
			return &t->entries[i];
	return NULL;
}

static void drop_leaf(struct kvm_cpuid2 *t, uint32_t leaf)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->nent; i++)
		if (t->entries[i].function != leaf)
			t->entries[n++] = t->entries[i];
	t->nent = n;
}

static void apply_masks(struct kvm_cpuid2 *t)
{
	for (size_t i = 0; i < ARRAY_SIZE(masks); i++) {
		const struct mask *m = &masks[i];
		struct kvm_cpuid_entry2 *e = find(t, m->leaf, m->index);

		if (!e)
			continue;
		e->eax &= ~m->eax;
		e->ebx &= ~m->ebx;
		e->ecx &= ~m->ecx;
		e->edx &= ~m->edx;
	}
}

/* Bits an APIC id needs so that N of them differ. */
static unsigned id_bits(unsigned n)
{
	return n > 1 ? 32 - __builtin_clz(n - 1) : 0;
}

static void set_features(struct kvm_cpuid2 *t, const struct kvm *k, unsigned n)
{
	struct kvm_cpuid_entry2 *e = find(t, 1, 0);

	if (!e)
		return;
	e->ecx |= ECX_HYPERVISOR;
	if (ioctl(k->dev, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		e->ecx |= ECX_TSC_DEADLINE;
	/* An interpreter of instructions may lack lock cmpxchg16b. */
	if (k->software)
		e->ecx &= ~ECX_CX16;
	e->ebx &= 0xffff;
	e->ebx |= (uint32_t)min_u64(1U << id_bits(n), 255) << EBX_COUNT_SHIFT;
	e->edx &= ~EDX_HTT;
	if (n > 1)
		e->edx |= EDX_HTT;
}

/* Each vCPU is a core: it shares the third level of cache, no lower one. */
static void set_caches(struct kvm_cpuid2 *t, uint32_t leaf, unsigned n)
{
	unsigned last = (1U << id_bits(n)) - 1;

	for (uint32_t i = 0; i < t->nent; i++) {
		struct kvm_cpuid_entry2 *e = &t->entries[i];

		if (e->function != leaf || !(e->eax & CACHE_TYPE))
			continue;
		e->eax &= ~CACHE_SHARING;
		if ((e->eax >> CACHE_LEVEL_SHIFT & 7) >= 3)
			e->eax |= last << CACHE_SHARING_SHIFT;
		if (leaf != 4)
			continue;
		e->eax &= ~CACHE_CORES;
		e->eax |= (uint32_t)min_u64(last, 0x3f) << CACHE_CORES_SHIFT;
	}
}

static void add_level(struct kvm_cpuid2 *t, uint32_t leaf, uint32_t index,
		      uint32_t shift, uint32_t count, uint32_t type)
{
	t->entries[t->nent++] = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = index,
		.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.eax = shift,
		.ebx = count,
		.ecx = index | type << LEVEL_TYPE_SHIFT,
	};
}

/* One thread a core, N cores a package, one package. */
static void set_levels(struct kvm_cpuid2 *t, uint32_t leaf, unsigned n)
{
	const struct kvm_cpuid_entry2 *max = find(t, 0, 0);

	drop_leaf(t, leaf);
	if (!max || max->eax < leaf || t->nent + 3 > ENTRIES)
		return;
	add_level(t, leaf, 0, 0, 1, LEVEL_SMT);
	add_level(t, leaf, 1, id_bits(n), n, LEVEL_CORE);
	add_level(t, leaf, 2, 0, 0, 0);
}

/* AMD's own way to say how many cores there are. */
static void set_amd_cores(struct kvm_cpuid2 *t, unsigned n)
{
	const struct kvm_cpuid_entry2 *vendor = find(t, 0, 0);
	struct kvm_cpuid_entry2 *size = find(t, 0x80000008, 0);
	struct kvm_cpuid_entry2 *features = find(t, 0x80000001, 0);

	/* "AuthenticAMD", "HygonGenuine": ECX of leaf 0 */
	if (!vendor || (vendor->ecx != 0x444d4163 && vendor->ecx != 0x656e6975))
		return;
	if (size)
		size->ecx = (n - 1) | id_bits(n) << 12;
	if (features && n > 1)
		features->ecx |= ECX_CMP_LEGACY;
}

int cpuid_for_vm(const struct kvm *k, unsigned ncpus, struct kvm_cpuid2 **out)
{
	autofree struct kvm_cpuid2 *t =
		calloc(1, sizeof(*t) + ENTRIES * sizeof(t->entries[0]));

	if (!t)
		return fail(ENOMEM, "/dev/kvm: out of memory");
	t->nent = ENTRIES;
	if (ioctl(k->dev, KVM_GET_SUPPORTED_CPUID, t) < 0)
		return fail_sys("/dev/kvm: CPUID");
	apply_masks(t);
	set_features(t, k, ncpus);
	set_caches(t, 4, ncpus);
	set_caches(t, 0x8000001d, ncpus);
	set_levels(t, 0xb, ncpus);
	set_levels(t, 0x1f, ncpus);
	set_amd_cores(t, ncpus);
	*out = take_ptr(t);
	return 0;
}

void cpuid_set_id(struct kvm_cpuid2 *t, unsigned id)
{
	for (uint32_t i = 0; i < t->nent; i++) {
		struct kvm_cpuid_entry2 *e = &t->entries[i];

		switch (e->function) {
		case 1:
			e->ebx &= ~(0xffU << EBX_ID_SHIFT);
			e->ebx |= id << EBX_ID_SHIFT;
			break;
		case 0xb:
		case 0x1f:
			e->edx = id;
			break;
		case 0x8000001e:
			e->eax = id;
			e->ebx = id & 0xff;	/* core id; one thread each */
			e->ecx = 0;		/* node 0 of one */
			break;
		}
	}
}
