/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vcpu.c - what a guest does reaches us, and what we do reaches the guest. */
#include "box.h"

#include <errno.h>
#include <time.h>

#include "base/loop.h"

enum { COUNTER = 0x9000 };	/* what guests that count, count */

static uint32_t counter(struct box *b)
{
	uint32_t n = 0;

	mem_read(&b->mem, COUNTER, &n, sizeof(n));
	return n;
}

static void nap(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

/* Whether the guest is at work: its counter moves. */
static bool counts(struct box *b)
{
	uint32_t from = counter(b);
	uint64_t end = now_ns() + WAIT_MS * 1000000ULL;

	while (counter(b) == from && now_ns() < end)
		nap(1);
	return counter(b) != from;
}

GUEST_CODE(g_sizes, 16,
	"movw $0x10, %dx\n"
	"movl $0x44332211, %eax\n"
	"outb %al, %dx\n"
	"outw %ax, %dx\n"
	"outl %eax, %dx\n"
	"inb %dx, %al\n"
	"inw %dx, %ax\n"
	"inl %dx, %eax\n"
	"outl %eax, $0xf4\n"
	"hlt\n");

TEST(port_accesses_have_their_size_and_value)
{
	struct box b;

	EQ(box_init(&b, 1), 0);
	RUN(&b, real, g_sizes);
	EQ(b.logged, 6);
	for (unsigned i = 0; i < 6; i++) {
		EQ(b.log[i].size, 1 << i % 3);
		EQ(b.log[i].write, i < 3);
	}
	EQ(b.log[0].val, 0x11);
	EQ(b.log[1].val, 0x2211);
	EQ(b.log[2].val, 0x44332211);
	EQ(b.done_val, 0x44332211);
	EQ(vcpus_exits(&b.vcpus).io, 7);
	EQ(vcpus_exits(&b.vcpus).mmio, 0);
	box_release(&b);
}

GUEST_CODE(g_strings, 16,
	"cld\n"
	"movw $0x10, %dx\n"
	"movw $0x9000, %di\n"
	"movw $3, %cx\n"
	"rep insw\n"
	"movw $0x9000, %si\n"
	"movw $6, %cx\n"
	"rep outsb\n"
	"outb %al, $0xf4\n"
	"hlt\n");

TEST(string_instructions_move_each_element)
{
	static const uint8_t out[] = { 0x11, 0x22, 0x11, 0x22, 0x11, 0x22 };
	struct box b;

	EQ(box_init(&b, 1), 0);
	RUN(&b, real, g_strings);
	EQ(b.logged, 9);
	for (unsigned i = 0; i < 9; i++)
		EQ(b.log[i].size, i < 3 ? 2 : 1);
	for (unsigned i = 0; i < 6; i++)
		EQ(b.log[3 + i].val, out[i]);
	box_release(&b);
}

GUEST_CODE(g_mmio, 32,
	"movl $0xd0000000, %edi\n"
	"movl $0x44332211, %eax\n"
	"movb %al, 1(%edi)\n"
	"movw %ax, 2(%edi)\n"
	"movl %eax, 5(%edi)\n"
	"movb (%edi), %al\n"
	"movw (%edi), %ax\n"
	"movl (%edi), %eax\n"
	"outl %eax, $0xf4\n"
	"hlt\n");

TEST(memory_accesses_have_their_size_and_value)
{
	static const uint64_t off[] = { 1, 2, 5, 0, 0, 0 };
	struct box b;

	EQ(box_init(&b, 1), 0);
	RUN(&b, pvh, g_mmio);
	EQ(b.logged, 6);
	for (unsigned i = 0; i < 6; i++) {
		EQ(b.log[i].size, 1 << i % 3);
		EQ(b.log[i].addr, off[i]);
	}
	EQ(b.log[2].val, 0x44332211);
	EQ(b.done_val, 0x44332211);
	EQ(vcpus_exits(&b.vcpus).mmio, 6);
	box_release(&b);
}

GUEST_CODE(g_nobody, 32,
	"movl $0xd8000000, %edi\n"
	"movl %edi, (%edi)\n"
	"movl (%edi), %eax\n"
	"movw $0x700, %dx\n"
	"outb %al, %dx\n"
	"inw %dx, %ax\n"
	"outl %eax, $0xf4\n"
	"hlt\n");

TEST(what_nobody_answers_reads_as_ones)
{
	struct box b;

	EQ(box_init(&b, 1), 0);
	RUN(&b, pvh, g_nobody);
	EQ(b.done_val, 0xffffffff);
	EQ(b.ports.unclaimed, 2);
	EQ(b.memory.unclaimed, 2);
	box_release(&b);
}

/* lidt of an empty table, then an exception */
GUEST_CODE(g_triple, 32,
	"movl $0x9000, %eax\n"
	"movl $0, (%eax)\n"
	"movl $0, 4(%eax)\n"
	"lidt (%eax)\n"
	"ud2\n");

TEST(triple_fault_is_a_reset)
{
	struct box b;

	EQ(box_init(&b, 1), 0);
	RUN(&b, pvh, g_triple);
	OK(b.evented);
	EQ(b.event, VCPU_RESET);
	vcpus_pause(&b.vcpus);
	vcpus_resume(&b.vcpus);
	OK(b.vcpus.cpu[0].parked);
	box_release(&b);
}

GUEST_CODE(g_wild, 32,
	"movl $0xd8000000, %eax\n"
	"jmp *%eax\n");

TEST(wild_jump_ends_in_reset_or_crash)
{
	struct box b;

	EQ(box_init(&b, 1), 0);
	RUN(&b, pvh, g_wild);
	OK(b.evented);
	OK(b.event == VCPU_RESET || b.vcpus.crash[0]);
	vcpus_pause(&b.vcpus);
	box_release(&b);
}

GUEST_CODE(g_count, 32,
	"1: incl 0x9000\n"
	"jmp 1b\n");

TEST(paused_guest_stands_still_and_goes_on_when_resumed)
{
	struct box b;
	uint32_t n;

	EQ(box_init(&b, 1), 0);
	EQ(place(&b, GUEST, g_count, g_count_end), 0);
	EQ(vcpus_start(&b.vcpus, &pvh, true), 0);
	nap(20);
	EQ(counter(&b), 0);
	for (int i = 0; i < 20; i++) {
		vcpus_resume(&b.vcpus);
		OK(counts(&b));
		vcpus_pause(&b.vcpus);
		n = counter(&b);
		nap(2);
		EQ(counter(&b), n);
	}
	box_release(&b);
}

GUEST_CODE(g_io_count, 32,
	"1: incl 0x9000\n"
	"inl $0x10, %eax\n"
	"cmpl $0x44332211, %eax\n"
	"je 1b\n"
	"outb %al, $0xf4\n"
	"hlt\n");

TEST(pause_amid_an_access_completes_it)
{
	struct box b;

	EQ(box_init(&b, 1), 0);
	EQ(place(&b, GUEST, g_io_count, g_io_count_end), 0);
	EQ(vcpus_start(&b.vcpus, &pvh, false), 0);
	for (int i = 0; i < 50; i++) {
		OK(counts(&b));
		vcpus_pause(&b.vcpus);
		vcpus_resume(&b.vcpus);
	}
	OK(!b.done);
	box_release(&b);
}

GUEST_CODE(g_request, 32,
	"outb %al, $0xf8\n"
	"1: incl 0x9000\n"
	"jmp 1b\n");

TEST(guest_that_asked_for_a_reset_runs_no_further)
{
	struct box b;

	EQ(box_init(&b, 1), 0);
	RUN(&b, pvh, g_request);
	EQ(b.event, VCPU_RESET);
	vcpus_pause(&b.vcpus);
	EQ(counter(&b), 0);
	box_release(&b);
}

/* Enables the local APIC; wakes all others by INIT and SIPI at 0x8000. */
GUEST_CODE(g_wake, 32,
	"movl $0x1ff, 0xfee000f0\n"
	"movl $0x000c4500, 0xfee00300\n"
	"movl $100, %ecx\n"
	"1: loop 1b\n"
	"movl $0x000c4608, 0xfee00300\n"
	"1: incl 0x9000\n"
	"jmp 1b\n");

/* Says its APIC id: leaf 1, then leaf 0xb */
GUEST_CODE(g_woken, 16,
	"movl $1, %eax\n"
	"cpuid\n"
	"shrl $24, %ebx\n"
	"movl %ebx, %eax\n"
	"outb %al, $0x10\n"
	"movl $11, %eax\n"
	"movl $1, %ecx\n"
	"cpuid\n"
	"movl %ebx, %eax\n"
	"outb %al, $0x11\n"
	"movl %edx, %eax\n"
	"outb %al, $0xf4\n"
	"cli\n"
	"1: hlt\n"
	"jmp 1b\n");

TEST(second_vcpu_wakes_and_knows_its_id)
{
	struct box b;

	EQ(box_init(&b, 2), 0);
	EQ(place(&b, GUEST_REAL, g_woken, g_woken_end), 0);
	RUN(&b, pvh, g_wake);
	OK(b.done);
	EQ(b.logged, 2);
	EQ(b.log[0].val, 1);	/* leaf 1 */
	EQ(b.log[1].val, 2);	/* leaf 0xb, cores of the package */
	EQ(b.done_val, 1);	/* leaf 0xb, x2APIC id */
	vcpus_pause(&b.vcpus);
	vcpus_resume(&b.vcpus);
	OK(counts(&b));
	box_release(&b);
}

TEST(vcpus_that_wait_to_be_woken_pause_and_end)
{
	struct box b;

	EQ(box_init(&b, 8), 0);
	EQ(place(&b, GUEST, g_count, g_count_end), 0);
	EQ(vcpus_start(&b.vcpus, &pvh, false), 0);
	OK(counts(&b));
	for (int i = 0; i < 5; i++) {
		vcpus_pause(&b.vcpus);
		vcpus_resume(&b.vcpus);
	}
	box_release(&b);
}

/*
 * A GDT, an IDT whose vectors 0x40 and 0x41 lead to 0x8000 and 0x8100, the
 * local APIC on, pin 4 of the I/O APIC to vector 0x41; says so, and waits.
 */
GUEST_CODE(g_irq, 32,
	"movl $0x4fff, %esp\n"
	"movl $0x0000ffff, 0x5010\n"
	"movl $0x00cf9b00, 0x5014\n"
	"movl $0x0000ffff, 0x5018\n"
	"movl $0x00cf9300, 0x501c\n"
	"movw $0x27, 0x5100\n"
	"movl $0x5000, 0x5102\n"
	"lgdt 0x5100\n"
	"movl $0x00108000, 0x6200\n"
	"movl $0x00008e00, 0x6204\n"
	"movl $0x00108100, 0x6208\n"
	"movl $0x00008e00, 0x620c\n"
	"movw $0x7ff, 0x5110\n"
	"movl $0x6000, 0x5112\n"
	"lidt 0x5110\n"
	"movl $0x1ff, 0xfee000f0\n"
	"movl $0x18, 0xfec00000\n"
	"movl $0x41, 0xfec00010\n"
	"sti\n"
	"outb %al, $0xf4\n"
	"1: hlt\n"
	"jmp 1b\n");

/*
 * Say which vector it was, and wait for the next. They do not return, because
 * an interpreter of guests may lack iret.
 */
#define HANDLER(vector) \
	"movl $0, 0xfee000b0\n" \
	"movb $" #vector ", %al\n" \
	"outb %al, $0xf4\n" \
	"addl $12, %esp\n" \
	"sti\n" \
	"1: hlt\n" \
	"jmp 1b\n"
GUEST_CODE(g_handler_40, 32, HANDLER(0x40));
GUEST_CODE(g_handler_41, 32, HANDLER(0x41));

TEST(interrupts_arrive_by_message_and_by_line)
{
	struct irq_line line = { .gsi = 4 };
	struct msi msi;
	struct box b;

	EQ(box_init(&b, 1), 0);
	msi_init(&msi, &b.kvm.chip);
	line.chip = &b.kvm.chip;
	OK(!kvm_pin_unmasked(&b.kvm, 4));
	EQ(place(&b, 0x8000, g_handler_40, g_handler_40_end), 0);
	EQ(place(&b, 0x8100, g_handler_41, g_handler_41_end), 0);
	RUN(&b, pvh, g_irq);
	OK(kvm_pin_unmasked(&b.kvm, 4));
	OK(!kvm_pin_unmasked(&b.kvm, 5));
	for (int i = 0; i < 3; i++) {
		irq_pulse(&line);
		OK(happened(&b));
		EQ(b.done_val, 0x41);
		EQ(msi_set(&msi, PV_LAPIC_BASE, 0x40), 0);
		msi_fire(&msi);
		OK(happened(&b));
		EQ(b.done_val, 0x40);
		EQ(msi_set(&msi, PV_LAPIC_BASE, 0x41), 0);
		msi_fire(&msi);
		OK(happened(&b));
		EQ(b.done_val, 0x41);
		if (i == 1)
			msi_release(&msi);
	}
	msi_release(&msi);
	box_release(&b);
}

GUEST_CODE(g_bell, 32,
	"movl $0xd0000010, %edi\n"
	"movw %ax, (%edi)\n"
	"outw %ax, $0x12\n"
	"movl %eax, 4(%edi)\n"
	"outb %al, $0xf4\n"
	"hlt\n");

TEST(doorbells_are_rung_without_the_device)
{
	struct doorbell port = { .addr = PORT_LOG + 2 };
	struct doorbell memory = { .addr = MMIO_LOG + 16 };
	struct box b;
	uint64_t n;

	EQ(box_init(&b, 1), 0);
	port.fd = eventfd(0, EFD_NONBLOCK);
	memory.fd = eventfd(0, EFD_NONBLOCK);
	EQ(bus_add_doorbell(&b.ports, &port), 0);
	EQ(bus_add_doorbell(&b.memory, &memory), 0);
	RUN(&b, pvh, g_bell);
	EQ(read(port.fd, &n, 8), 8);
	EQ(n, 1);
	EQ(read(memory.fd, &n, 8), 8);
	EQ(n, 1);
	EQ(b.logged, 1);
	EQ(b.log[0].addr, 20);
	bus_remove_doorbell(&b.ports, &port);
	bus_remove_doorbell(&b.memory, &memory);
	close(port.fd);
	close(memory.fd);
	box_release(&b);
}

TEST(reset_builds_the_machine_anew_at_the_same_place)
{
	struct box b;

	EQ(box_init(&b, 1), 0);
	for (int i = 0; i < 3; i++) {
		b.done = false;
		RUN(&b, real, g_sizes);
		OK(b.done);
		vcpus_release(&b.vcpus);
		kvm_release(&b.kvm);
		EQ(kvm_init(&b.kvm, b.dev, &b.mem, true), 0);
		EQ(vcpus_init(&b.vcpus, &b.kvm, &b.ports, &b.memory, 1,
			      on_event, &b), 0);
	}
	box_release(&b);
}

/* Features, KVM's signature and features, and the bytes of leaf 1's EBX */
GUEST_CODE(g_cpuid, 32,
	"movl $1, %eax\n"
	"cpuid\n"
	"movl %ecx, %eax\n"
	"outl %eax, $0x10\n"
	"movl %ebx, %eax\n"
	"outl %eax, $0x10\n"
	"movl $0x40000000, %eax\n"
	"cpuid\n"
	"movl %ebx, %eax\n"
	"outl %eax, $0x10\n"
	"movl $0x40000001, %eax\n"
	"cpuid\n"
	"outl %eax, $0x10\n"
	"movl $0x80000001, %eax\n"
	"cpuid\n"
	"movl %ecx, %eax\n"
	"outl %eax, $0x10\n"
	"outl %eax, $0xf4\n"
	"hlt\n");

TEST(processor_says_it_is_virtual_and_has_a_clock)
{
	struct box b;

	EQ(box_init(&b, 1), 0);
	RUN(&b, pvh, g_cpuid);
	EQ(b.logged, 5);
	OK(b.log[0].val & 1U << 31);		/* hypervisor */
	OK(!(b.log[0].val & 1 << 5));		/* VMX */
	if (b.kvm.software)
		OK(!(b.log[0].val & 1 << 13));	/* CX16 */
	EQ(b.log[1].val >> 16, 1);		/* one processor, id 0 */
	EQ(b.log[2].val, 0x4b4d564b);		/* "KVMK" */
	OK(b.log[3].val & 1 << 3);		/* kvmclock */
	OK(!(b.log[4].val & 1 << 2));		/* SVM */
	box_release(&b);
}

TEST(as_many_vcpus_as_there_can_be)
{
	struct box b;

	EQ(box_init(&b, VCPUS_MAX), 0);
	EQ(place(&b, GUEST, g_count, g_count_end), 0);
	EQ(vcpus_start(&b.vcpus, &pvh, false), 0);
	OK(counts(&b));
	vcpus_pause(&b.vcpus);
	vcpus_resume(&b.vcpus);
	OK(counts(&b));
	box_release(&b);
}

TEST(too_many_vcpus_are_refused)
{
	struct box b;

	EQ(box_init(&b, VCPUS_MAX + 1), -E_CONFIG);
	bus_release(&b.ports);
	bus_release(&b.memory);
	kvm_release(&b.kvm);
	mem_release(&b.mem);
	close(b.happened);
	close(b.dev);
}

static const struct test tests[] = {
	T(port_accesses_have_their_size_and_value),
	T(string_instructions_move_each_element),
	T(memory_accesses_have_their_size_and_value),
	T(what_nobody_answers_reads_as_ones),
	T(triple_fault_is_a_reset),
	T(wild_jump_ends_in_reset_or_crash),
	T(paused_guest_stands_still_and_goes_on_when_resumed),
	T(pause_amid_an_access_completes_it),
	T(guest_that_asked_for_a_reset_runs_no_further),
	T(second_vcpu_wakes_and_knows_its_id),
	T(vcpus_that_wait_to_be_woken_pause_and_end),
	T(interrupts_arrive_by_message_and_by_line),
	T(doorbells_are_rung_without_the_device),
	T(reset_builds_the_machine_anew_at_the_same_place),
	T(processor_says_it_is_virtual_and_has_a_clock),
	T(as_many_vcpus_as_there_can_be),
	T(too_many_vcpus_are_refused),
};

int main(void)
{
	return box_tests(tests, ARRAY_SIZE(tests));
}
