/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vcpu.c - small guests, each a few instructions, on the host's KVM, whatever
 * it is: one that interprets its guests runs them too.
 *
 * A guest reports by writing to PORT_DONE, which ends the test; a write to
 * PORT_LOG or PORT_LOG + 1.. is noted.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

#include "base/err.h"
#include "base/loop.h"
#include "boot/acpi.h"
#include "boot/kernel.h"
#include "boot/layout.h"
#include "vmm/kvm.h"
#include "vmm/vcpu.h"

enum {
	PORT_LOG = 0x10,
	PORT_DONE = 0xf4,
	PORT_RESET = 0xf8,	/* the device requests a reset */
	MMIO_LOG = 0xd0000000,
	GUEST = 0x100000,	/* where a guest in 32-bit mode begins */
	GUEST_REAL = 0x8000,
	COUNTER = 0x9000,	/* what guests that count, count */
	LOGGED = 64,
	WAIT_MS = 20000,
};

/* Guests in assembly: NAME[] .. NAME_end[]. */
#define GUEST_CODE(name, bits, text) \
	asm(".pushsection .rodata\n" #name ":\n.code" #bits "\n" text \
	    "\n.code64\n" #name "_end:\n.popsection"); \
	extern const uint8_t name[], name##_end[]

struct access {
	bool port, write;
	uint64_t addr, val;
	unsigned size;
};

/* A VM and what happened in it. */
struct box {
	struct mem mem;
	struct kvm kvm;
	struct bus ports, memory;
	struct vcpus vcpus;
	struct region port_region, done_region, memory_region;
	int happened;		/* eventfd: the guest is done, or an event */
	int dev;
	enum vcpu_event event;
	bool evented, done;
	uint64_t done_val;
	struct access log[LOGGED];
	unsigned logged;
};

static void wake(struct box *b)
{
	uint64_t one = 1;

	(void)!write(b->happened, &one, sizeof(one));
}

static void note(struct box *b, struct access a)
{
	if (b->logged < LOGGED)
		b->log[b->logged++] = a;
}

/* Reads as the address in each byte, so that a place shows. */
static uint64_t read_log(void *dev, uint64_t off, unsigned size)
{
	note(dev, (struct access){ .addr = off, .size = size });
	return 0x8877665544332211;
}

static void write_port(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	note(dev, (struct access){ true, true, off, val, size });
}

static void write_memory(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	note(dev, (struct access){ false, true, off, val, size });
}

static void write_done(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct box *b = dev;

	(void)size;
	if (off == PORT_RESET - PORT_DONE) {
		vcpus_request(&b->vcpus, VCPU_RESET);
		return;
	}
	b->done = true;
	b->done_val = val;
	wake(b);
}

static const struct bus_ops port_ops = { read_log, write_port };
static const struct bus_ops memory_ops = { read_log, write_memory };
static const struct bus_ops done_ops = { read_log, write_done };

static void on_event(void *owner, enum vcpu_event e)
{
	struct box *b = owner;

	b->event = e;
	b->evented = true;
	wake(b);
}

static int box_init(struct box *b, unsigned ncpus)
{
	memset(b, 0, sizeof(*b));
	b->dev = kvm_open();
	b->happened = eventfd(0, EFD_CLOEXEC);
	b->port_region = (struct region){ PORT_LOG, 8, &port_ops, b, "log", 0 };
	b->done_region = (struct region){ PORT_DONE, 8, &done_ops, b, "done", 0 };
	b->memory_region = (struct region){ MMIO_LOG, 4096, &memory_ops, b,
					    "log", 0 };
	if (b->dev < 0 || mem_init(&b->mem, 64 << 20, PV_LOW_MAX) < 0 ||
	    kvm_init(&b->kvm, b->dev, &b->mem, false) < 0)
		return -1;
	bus_init(&b->ports, "port", &b->kvm.ports.host);
	bus_init(&b->memory, "memory", &b->kvm.memory.host);
	bus_add(&b->ports, &b->port_region);
	bus_add(&b->ports, &b->done_region);
	bus_add(&b->memory, &b->memory_region);
	return vcpus_init(&b->vcpus, &b->kvm, &b->ports, &b->memory, ncpus,
			  on_event, b);
}

static void box_release(struct box *b)
{
	vcpus_release(&b->vcpus);
	bus_release(&b->ports);
	bus_release(&b->memory);
	kvm_release(&b->kvm);
	mem_release(&b->mem);
	close(b->happened);
	close(b->dev);
}

/* Puts the code of a guest at GPA. */
static int place(struct box *b, gpa_t gpa, const uint8_t *code,
		 const uint8_t *end)
{
	return mem_write(&b->mem, gpa, code, end - code);
}

/* Whether the guest said something in time. */
static bool happened(struct box *b)
{
	struct pollfd p = { .fd = b->happened, .events = POLLIN };
	uint64_t n;

	return poll(&p, 1, WAIT_MS) == 1 && read(b->happened, &n, 8) == 8;
}

static const struct cpu_entry real = { .mode = ENTRY_REAL, .rip = GUEST_REAL };
static const struct cpu_entry pvh = { .mode = ENTRY_PVH, .rip = GUEST };

/* Starts a guest's code and waits for its word. */
#define RUN(b, entry, name) do { \
	EQ(place(b, (entry).mode == ENTRY_REAL ? GUEST_REAL : GUEST, \
		 name, name##_end), 0); \
	EQ(vcpus_start(&(b)->vcpus, &(entry), false), 0); \
	OK(happened(b)); \
} while (0)

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

/* An ELF file of one segment, with a PVH note. */
static int elf_file(const uint8_t *code, size_t len)
{
	enum { CODE_AT = 0x1000, NOTE_AT = 0x200 };
	uint8_t f[CODE_AT + 256] = "\177ELF\2\1\1";
	uint64_t load[] = { 5ULL << 32 | 1, CODE_AT, 0, GUEST, len, 4096, 0 };
	uint64_t notes[] = { 4, NOTE_AT, 0, 0, 20, 20, 4 };
	uint32_t note[] = { 4, 4, 18, 0x006e6558, GUEST };
	int fd = memfd_create("elf", MFD_CLOEXEC);

	f[18] = 62;
	f[32] = 64;	/* phoff */
	f[54] = 56;
	f[56] = 2;
	memcpy(f + 64, load, sizeof(load));
	memcpy(f + 64 + 56, notes, sizeof(notes));
	memcpy(f + NOTE_AT, note, sizeof(note));
	memcpy(f + CODE_AT, code, len);
	return write(fd, f, sizeof(f)) == sizeof(f) ? fd : -1;
}

/* start_info's magic, the first byte of the command line, of the initrd */
GUEST_CODE(g_pvh, 32,
	"movl (%ebx), %eax\n"
	"outl %eax, $0x10\n"
	"movl 24(%ebx), %esi\n"
	"movb (%esi), %al\n"
	"outb %al, $0x10\n"
	"movl 16(%ebx), %esi\n"
	"movl (%esi), %esi\n"
	"movb (%esi), %al\n"
	"outb %al, $0x10\n"
	"movl 32(%ebx), %esi\n"
	"movl (%esi), %eax\n"
	"outl %eax, $0xf4\n"
	"hlt\n");

TEST(elf_kernel_is_entered_by_pvh_with_all_it_needs)
{
	struct boot_params p = { .initrd = memfd_create("initrd", 0),
				 .kernel_name = "kernel", .cmdline = "quiet",
				 .initrd_name = "initrd" };
	struct cpu_entry entry;
	struct box b;

	EQ(box_init(&b, 1), 0);
	EQ(write(p.initrd, "I", 1), 1);
	p.kernel = elf_file(g_pvh, g_pvh_end - g_pvh);
	EQ(acpi_build(&b.mem, 1, &p.rsdp), 0);
	EQ(boot_load(&b.mem, &p, &entry), 0);
	EQ(vcpus_start(&b.vcpus, &entry, false), 0);
	OK(happened(&b));
	EQ(b.log[0].val, 0x336ec578);
	EQ(b.log[1].val, 'q');
	EQ(b.log[2].val, 'I');
	EQ(b.done_val, 0x20445352);	/* "RSD " */
	close(p.kernel);
	close(p.initrd);
	box_release(&b);
}

/* Magic of the zero page's header; then memory by 8 bytes */
GUEST_CODE(g_long, 64,
	"movl 0x202(%rsi), %eax\n"
	"outl %eax, $0x10\n"
	"movl $0xd0000000, %edi\n"
	"movabsq $0x8877665544332211, %rax\n"
	"movq %rax, 8(%rdi)\n"
	"movq (%rdi), %rbx\n"
	"subq %rax, %rbx\n"
	"movl 0x228(%rsi), %ecx\n"
	"movb (%rcx), %bl\n"
	"movl %ebx, %eax\n"
	"outl %eax, $0xf4\n"
	"hlt\n");

static int bzimage_file(const uint8_t *code, size_t len)
{
	enum { CODE_AT = 512 * 3 };
	uint8_t f[CODE_AT + 0x200 + 256] = { 0 };
	uint32_t align = 0x100000, init = 0x100000, initrd_max = 0x7fffffff;
	uint32_t cmdline = 2047;
	uint64_t load = 0x1000000;
	int fd = memfd_create("bzimage", MFD_CLOEXEC);

	f[0x1f1] = 2;
	memcpy(f + 0x1fe, "\x55\xaa\xeb\x6a" "HdrS\x0f\x02", 10);
	memcpy(f + 0x22c, &initrd_max, 4);
	memcpy(f + 0x230, &align, 4);
	f[0x236] = 1;
	memcpy(f + 0x238, &cmdline, 4);
	memcpy(f + 0x258, &load, 8);
	memcpy(f + 0x260, &init, 4);
	memcpy(f + CODE_AT + 0x200, code, len);
	return write(fd, f, sizeof(f)) == sizeof(f) ? fd : -1;
}

TEST(bzimage_is_entered_in_64_bit_mode)
{
	struct boot_params p = { .initrd = -1, .kernel_name = "kernel",
				 .cmdline = "quiet" };
	struct cpu_entry entry;
	struct box b;

	EQ(box_init(&b, 1), 0);
	p.kernel = bzimage_file(g_long, g_long_end - g_long);
	EQ(boot_load(&b.mem, &p, &entry), 0);
	EQ(entry.mode, ENTRY_LONG64);
	EQ(vcpus_start(&b.vcpus, &entry, false), 0);
	OK(happened(&b));
	OK(b.done);
	EQ(b.log[0].val, 0x53726448);	/* "HdrS" */
	EQ(b.logged, 3);
	EQ(b.log[1].size, 8);
	EQ(b.log[1].val, 0x8877665544332211);
	EQ(b.log[2].size, 8);
	EQ(b.done_val, 'q');
	close(p.kernel);
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
	T(elf_kernel_is_entered_by_pvh_with_all_it_needs),
	T(bzimage_is_entered_in_64_bit_mode),
	T(reset_builds_the_machine_anew_at_the_same_place),
	T(too_many_vcpus_are_refused),
};

int main(void)
{
	if (kvm_probe(NULL) < 0) {
		printf("1..0 # SKIP %s\n", err_text());
		return 0;
	}
	return test_run(tests, ARRAY_SIZE(tests));
}
