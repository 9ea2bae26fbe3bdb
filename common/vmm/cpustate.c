/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/cpustate.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"

/* Intel SDM vol. 3A, 2.5 (control registers), 3.4.5 (segments), 10.5 (APIC). */
enum {
	CR0_PE = 1U << 0,
	CR0_ET = 1U << 4,
	CR0_PG = 1U << 31,
	CR4_PAE = 1U << 5,
	EFER_LME = 1U << 8,
	EFER_LMA = 1U << 10,
	RFLAGS_FIXED = 1U << 1,

	SEG_DATA = 3,		/* read, write, accessed */
	SEG_CODE = 11,		/* execute, read, accessed */
	SEG_TSS_BUSY = 11,	/* a system segment */

	BOOT_CODE = 0x10,	/* Linux's __BOOT_CS, __BOOT_DS */
	BOOT_DATA = 0x18,
	BOOT_TSS = 0x20,
	TSS_LIMIT = 0x67,

	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360,
	LVT_NMI = 4 << 8,
	LVT_EXTINT = 7 << 8,

	MSR_MTRR_DEF_TYPE = 0x2ff,
	MTRR_WRITE_BACK = 6,
	MTRR_ENABLE = 1U << 11,
	MSR_MISC_ENABLE = 0x1a0,
	MISC_FAST_STRING = 1U << 0,
	MISC_BTS_UNAVAILABLE = 1U << 11,
	MISC_PEBS_UNAVAILABLE = 1U << 12,

	CODE_BEFORE = 16,	/* bytes shown around the instruction */
	CODE_BYTES = 48,
};

/* What firmware leaves behind. */
static const struct {
	uint32_t index;
	uint64_t value;
} start_msrs[] = {
	{ MSR_MISC_ENABLE, MISC_FAST_STRING | MISC_BTS_UNAVAILABLE |
			   MISC_PEBS_UNAVAILABLE },
	{ MSR_MTRR_DEF_TYPE, MTRR_ENABLE | MTRR_WRITE_BACK },
};

int cpustate_init(int fd)
{
	union {
		struct kvm_msrs head;
		uint8_t room[sizeof(struct kvm_msrs) +
			     sizeof(struct kvm_msr_entry) *
			     ARRAY_SIZE(start_msrs)];
	} msrs = { .head.nmsrs = ARRAY_SIZE(start_msrs) };

	for (size_t i = 0; i < ARRAY_SIZE(start_msrs); i++)
		msrs.head.entries[i] = (struct kvm_msr_entry){
			.index = start_msrs[i].index,
			.data = start_msrs[i].value,
		};
	/* Fewer set than given: a KVM without one of them. No harm. */
	if (ioctl(fd, KVM_SET_MSRS, &msrs) < 0)
		return fail_sys("/dev/kvm: MSRs");
	return 0;
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.limit = UINT32_MAX, .selector = selector, .type = type,
		.present = 1, .s = 1, .g = 1, .db = 1,
	};
}

static void set_flat(struct kvm_sregs *s)
{
	s->cs = flat_segment(BOOT_CODE, SEG_CODE);
	s->ds = flat_segment(BOOT_DATA, SEG_DATA);
	s->es = s->fs = s->gs = s->ss = s->ds;
	s->tr = (struct kvm_segment){
		.limit = TSS_LIMIT, .selector = BOOT_TSS,
		.type = SEG_TSS_BUSY, .present = 1,
	};
}

static void set_pvh(struct kvm_sregs *s, const struct cpu_entry *e)
{
	(void)e;
	set_flat(s);
	s->cr0 = CR0_PE | CR0_ET;
	s->cr4 = 0;
	s->efer = 0;
}

static void set_long64(struct kvm_sregs *s, const struct cpu_entry *e)
{
	set_flat(s);
	s->cs.db = 0;
	s->cs.l = 1;
	s->gdt.base = e->gdt;
	s->gdt.limit = e->gdt_bytes - 1;
	s->cr3 = e->cr3;
	s->cr4 = CR4_PAE;
	s->cr0 = CR0_PE | CR0_ET | CR0_PG;
	s->efer = EFER_LME | EFER_LMA;
}

/* All else is as KVM resets it: real mode. */
static void set_real(struct kvm_sregs *s, const struct cpu_entry *e)
{
	s->cs.base = e->rip & ~0xffffULL;
	s->cs.selector = s->cs.base >> 4;
}

static void (*const set_mode[])(struct kvm_sregs *, const struct cpu_entry *) = {
	[ENTRY_PVH] = set_pvh,
	[ENTRY_LONG64] = set_long64,
	[ENTRY_REAL] = set_real,
};

/* As a PC's firmware wires them: LINT0 to the 8259, LINT1 to NMI. */
static int set_lint(int fd)
{
	struct kvm_lapic_state apic;
	uint32_t extint = LVT_EXTINT, nmi = LVT_NMI;

	if (ioctl(fd, KVM_GET_LAPIC, &apic) < 0)
		return fail_sys("/dev/kvm: local APIC");
	memcpy(apic.regs + APIC_LVT_LINT0, &extint, sizeof(extint));
	memcpy(apic.regs + APIC_LVT_LINT1, &nmi, sizeof(nmi));
	if (ioctl(fd, KVM_SET_LAPIC, &apic) < 0)
		return fail_sys("/dev/kvm: local APIC");
	return 0;
}

int cpustate_enter(int fd, const struct cpu_entry *e)
{
	struct kvm_regs regs = {
		.rip = e->mode == ENTRY_REAL ? e->rip & 0xffff : e->rip,
		.rbx = e->rbx, .rsi = e->rsi, .rflags = RFLAGS_FIXED,
	};
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return fail_sys("/dev/kvm: registers");
	set_mode[e->mode](&sregs, e);
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(fd, KVM_SET_REGS, &regs) < 0)
		return fail_sys("/dev/kvm: registers");
	return e->mode == ENTRY_REAL ? 0 : set_lint(fd);
}

static void describe_regs(struct buf *b, const struct kvm_regs *r)
{
	typedef unsigned long long ull;
	const struct { const char *name; ull value; } regs[] = {
		{ "rax", r->rax }, { "rbx", r->rbx }, { "rcx", r->rcx },
		{ "rdx", r->rdx }, { "rsi", r->rsi }, { "rdi", r->rdi },
		{ "rsp", r->rsp }, { "rbp", r->rbp }, { "r8", r->r8 },
		{ "r9", r->r9 }, { "r10", r->r10 }, { "r11", r->r11 },
		{ "r12", r->r12 }, { "r13", r->r13 }, { "r14", r->r14 },
		{ "r15", r->r15 }, { "rip", r->rip }, { "rflags", r->rflags },
	};

	for (size_t i = 0; i < ARRAY_SIZE(regs); i++)
		buf_printf(b, "%s=%llx%c", regs[i].name, regs[i].value,
			   i % 9 == 8 ? '\n' : ' ');
}

static void describe_sregs(struct buf *b, const struct kvm_sregs *s)
{
	typedef unsigned long long ull;
	const struct { const char *name; const struct kvm_segment *seg; } segs[] = {
		{ "cs", &s->cs }, { "ds", &s->ds }, { "es", &s->es },
		{ "fs", &s->fs }, { "gs", &s->gs }, { "ss", &s->ss },
		{ "tr", &s->tr },
	};

	buf_printf(b, "cr0=%llx cr2=%llx cr3=%llx cr4=%llx efer=%llx "
		   "gdt=%llx+%x idt=%llx+%x\n", (ull)s->cr0, (ull)s->cr2,
		   (ull)s->cr3, (ull)s->cr4, (ull)s->efer, (ull)s->gdt.base,
		   s->gdt.limit, (ull)s->idt.base, s->idt.limit);
	for (size_t i = 0; i < ARRAY_SIZE(segs); i++)
		buf_printf(b, "%s=%x:%llx+%x%c", segs[i].name,
			   segs[i].seg->selector, (ull)segs[i].seg->base,
			   segs[i].seg->limit,
			   i + 1 < ARRAY_SIZE(segs) ? ' ' : '\n');
}

/* The bytes around the instruction, itself in <>; "??" is not in RAM. */
static void describe_code(int fd, const struct mem *m, struct buf *b,
			  uint64_t linear)
{
	buf_str(b, "code:");
	for (int i = -CODE_BEFORE; i < CODE_BYTES - CODE_BEFORE; i++) {
		struct kvm_translation at = { .linear_address = linear + i };
		const char *form = i ? " %02x" : " <%02x>";
		uint8_t byte;

		if (ioctl(fd, KVM_TRANSLATE, &at) < 0 || !at.valid ||
		    mem_read(m, at.physical_address, &byte, 1) < 0)
			buf_str(b, " ??");
		else
			buf_printf(b, form, byte);
	}
	buf_char(b, '\n');
}

void cpustate_describe(int fd, const struct mem *m, struct buf *b)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_REGS, &regs) < 0 ||
	    ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return;
	describe_regs(b, &regs);
	describe_sregs(b, &sregs);
	describe_code(fd, m, b, sregs.cs.base + regs.rip);
}
