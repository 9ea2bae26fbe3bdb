/* SPDX-License-Identifier: GPL-2.0-or-later */
/* save.c - a guest that was saved goes on in another VM, and knows nothing of it. */
#include "box.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "base/loop.h"
#include "base/section.h"
#include "vmm/mem_save.h"

enum {
	COUNTER = 0x9000,	/* what guests that count, count */
	NONCE = 0x9004,
	GUEST_TSC = 0x9008,
	COUNTERS = 0x9100,	/* one for each vCPU but the first */
	WISH = 0x9200,		/* of the test, to the guest */
	PVCLOCK = 0xa000,
	HANDLER = 0x8200,
	APIC_EOI = 0xb0,
};

/* A saved VM. */
struct saved {
	struct buf state;
	int mem;
};

static uint32_t word(struct box *b, gpa_t at)
{
	uint32_t n = 0;

	mem_read(&b->mem, at, &n, sizeof(n));
	return n;
}

static uint64_t longword(struct box *b, gpa_t at)
{
	uint64_t n = 0;

	mem_read(&b->mem, at, &n, sizeof(n));
	return n;
}

static void nap(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

/* Whether the word at AT moves. */
static bool moves(struct box *b, gpa_t at)
{
	uint32_t from = word(b, at);
	uint64_t end = now_ns() + WAIT_MS * 1000000ULL;

	while (word(b, at) == from && now_ns() < end)
		nap(1);
	return word(b, at) != from;
}

/* Pauses B and saves all of it. */
static int save(struct box *b, struct saved *s)
{
	int rc;

	buf_init(&s->state);
	s->mem = memfd_create("mem", MFD_CLOEXEC);
	vcpus_pause(&b->vcpus);
	sections_begin(&s->state);
	rc = kvm_save(&b->kvm, &s->state);
	if (rc == 0)
		rc = vcpus_save(&b->vcpus, &s->state);
	if (rc == 0)
		rc = mem_save_write(&b->mem, s->mem, -1);
	return rc;
}

static void forget(struct saved *s)
{
	buf_release(&s->state);
	close(s->mem);
}

static int load_state(struct box *b, const void *data, size_t len)
{
	autofree struct sections *all = calloc(1, sizeof(*all));
	int rc = sections_parse(all, data, len);

	if (rc == 0)
		rc = kvm_load(&b->kvm, all);
	if (rc == 0)
		rc = vcpus_load(&b->vcpus, all);
	return rc < 0 ? rc : sections_done(all);
}

/* A new VM that is as the saved one was, and paused. */
static int revive(struct box *b, unsigned ncpus, const struct saved *s)
{
	int rc = box_init_from(b, ncpus, s->mem);

	if (rc == 0)
		rc = load_state(b, s->state.data, s->state.len);
	return rc < 0 ? rc : vcpus_start(&b->vcpus, NULL, true);
}

/* Saves B, ends it, and makes it anew at the same place, paused. */
static int move(struct box *b, unsigned ncpus)
{
	struct saved s;
	int rc = save(b, &s);

	box_release(b);
	if (rc == 0)
		rc = revive(b, ncpus, &s);
	forget(&s);
	if (rc < 0)
		printf("# %s\n", err_text());
	return rc;
}

/* Counts in a register, and tells it and a nonce it has nowhere else. */
GUEST_CODE(g_count, 32,
	"movl $0x5eed1234, %edi\n"
	"1: incl %ebx\n"
	"movl %ebx, 0x9000\n"
	"movl %edi, 0x9004\n"
	"jmp 1b\n");

TEST(guest_goes_on_where_it_was_saved)
{
	struct box b;
	uint32_t n;

	EQ(box_init(&b, 1), 0);
	EQ(place(&b, GUEST, g_count, g_count_end), 0);
	EQ(vcpus_start(&b.vcpus, &pvh, false), 0);
	OK(moves(&b, COUNTER));
	for (int i = 0; i < 3; i++) {
		vcpus_pause(&b.vcpus);
		n = word(&b, COUNTER);
		EQ(move(&b, 1), 0);
		EQ(word(&b, COUNTER), n);
		nap(5);
		EQ(word(&b, COUNTER), n);
		mem_zero(&b.mem, NONCE, 4);
		vcpus_resume(&b.vcpus);
		OK(moves(&b, COUNTER));
		OK(moves(&b, COUNTER));
		OK(word(&b, COUNTER) > n);
		EQ(word(&b, NONCE), 0x5eed1234);
	}
	box_release(&b);
}

TEST(restored_guest_starts_at_once_when_told_so)
{
	struct saved s;
	struct box b;

	EQ(box_init(&b, 1), 0);
	EQ(place(&b, GUEST, g_count, g_count_end), 0);
	EQ(vcpus_start(&b.vcpus, &pvh, false), 0);
	OK(moves(&b, COUNTER));
	EQ(save(&b, &s), 0);
	box_release(&b);
	EQ(box_init_from(&b, 1, s.mem), 0);
	EQ(load_state(&b, s.state.data, s.state.len), 0);
	EQ(vcpus_start(&b.vcpus, NULL, false), 0);
	OK(moves(&b, COUNTER));
	box_release(&b);
	forget(&s);
}

/* Reads a port, whose answer it must get once, and whole. */
GUEST_CODE(g_io_count, 32,
	"1: incl 0x9000\n"
	"inl $0x10, %eax\n"
	"cmpl $0x44332211, %eax\n"
	"je 1b\n"
	"outb %al, $0xf4\n"
	"hlt\n");

TEST(access_under_way_is_complete_when_saved)
{
	struct box b;

	EQ(box_init(&b, 1), 0);
	EQ(place(&b, GUEST, g_io_count, g_io_count_end), 0);
	EQ(vcpus_start(&b.vcpus, &pvh, false), 0);
	for (int i = 0; i < 8; i++) {
		OK(moves(&b, COUNTER));
		EQ(move(&b, 1), 0);
		vcpus_resume(&b.vcpus);
	}
	OK(moves(&b, COUNTER));
	OK(!b.done);
	box_release(&b);
}

/*
 * A GDT, an IDT whose vector 0x40 leads to HANDLER, the local APIC on; what
 * starts its timer comes next.
 */
#define TABLES \
	"movl $0x4fff, %esp\n" \
	"movl $0x0000ffff, 0x5010\n" \
	"movl $0x00cf9b00, 0x5014\n" \
	"movl $0x0000ffff, 0x5018\n" \
	"movl $0x00cf9300, 0x501c\n" \
	"movw $0x27, 0x5100\n" \
	"movl $0x5000, 0x5102\n" \
	"lgdt 0x5100\n" \
	"movl $0x00108200, 0x6200\n" \
	"movl $0x00008e00, 0x6204\n" \
	"movw $0x7ff, 0x5110\n" \
	"movl $0x6000, 0x5112\n" \
	"lidt 0x5110\n" \
	"movl $0x1ff, 0xfee000f0\n"
#define WAIT \
	"sti\n" \
	"1: hlt\n" \
	"jmp 1b\n"
/* Counts, and waits for the next: an interpreter of guests may lack iret. */
#define TICK \
	"incl 0x9000\n" \
	"movl $0, 0xfee000b0\n" \
	"addl $12, %esp\n"
/* The timer in 1,000,000 cycles of its own, or of the TSC. */
#define COUNT "movl $1000000, 0xfee00380\n"
#define DEADLINE \
	"rdtsc\n" \
	"addl $1000000, %eax\n" \
	"adcl $0, %edx\n" \
	"movl $0x6e0, %ecx\n" \
	"wrmsr\n"

GUEST_CODE(g_periodic, 32, TABLES
	"movl $0xb, 0xfee003e0\n"
	"movl $0x20040, 0xfee00320\n"
	COUNT WAIT);
GUEST_CODE(g_periodic_tick, 32, TICK WAIT);
GUEST_CODE(g_one_shot, 32, TABLES
	"movl $0xb, 0xfee003e0\n"
	"movl $0x40, 0xfee00320\n"
	COUNT WAIT);
GUEST_CODE(g_one_shot_tick, 32, TICK COUNT WAIT);
GUEST_CODE(g_deadline, 32, TABLES
	"movl $0x40040, 0xfee00320\n"
	DEADLINE WAIT);
GUEST_CODE(g_deadline_tick, 32, TICK DEADLINE WAIT);

static const struct ticker {
	const uint8_t *code, *code_end, *tick, *tick_end;
} tickers[] = {
	{ g_periodic, g_periodic_end, g_periodic_tick, g_periodic_tick_end },
	{ g_one_shot, g_one_shot_end, g_one_shot_tick, g_one_shot_tick_end },
	{ g_deadline, g_deadline_end, g_deadline_tick, g_deadline_tick_end },
};

/* Is saved PAUSE ms after it was paused, in which its timer runs out. */
static bool ticks_on(const struct ticker *t, long pause)
{
	struct box b;
	bool ok = box_init(&b, 1) == 0 &&
		  place(&b, GUEST, t->code, t->code_end) == 0 &&
		  place(&b, HANDLER, t->tick, t->tick_end) == 0 &&
		  vcpus_start(&b.vcpus, &pvh, false) == 0;

	for (int i = 0; i < 4 && ok; i++) {
		ok = moves(&b, COUNTER) && moves(&b, COUNTER);
		vcpus_pause(&b.vcpus);
		nap(pause);
		ok = ok && move(&b, 1) == 0;
		vcpus_resume(&b.vcpus);
	}
	ok = ok && moves(&b, COUNTER) && moves(&b, COUNTER);
	box_release(&b);
	return ok;
}

TEST(timer_of_the_apic_goes_on)
{
	for (size_t i = 0; i < ARRAY_SIZE(tickers); i++)
		OK(ticks_on(&tickers[i], 0));
}

TEST(timer_that_ran_out_meanwhile_is_not_lost)
{
	for (size_t i = 0; i < ARRAY_SIZE(tickers); i++)
		OK(ticks_on(&tickers[i], 30));
}

/* kvmclock on; then counts, and tells its TSC. */
GUEST_CODE(g_clock, 32,
	"movl $0x4b564d01, %ecx\n"
	"movl $0xa001, %eax\n"
	"xorl %edx, %edx\n"
	"wrmsr\n"
	"1: rdtsc\n"
	"movl %eax, 0x9008\n"
	"movl %edx, 0x900c\n"
	"incl 0x9000\n"
	"jmp 1b\n");

/* Linux, Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW. */
enum { PV_SYSTEM_TIME = PVCLOCK + 16, PV_FLAGS = PVCLOCK + 29, PV_STOPPED = 2 };

static const uint64_t second = 1000000000;

TEST(clocks_go_on_from_where_they_stood)
{
	struct kvm_clock_data far = { .clock = 5000 * second };
	uint64_t tsc, then, now;
	uint8_t flags;
	struct box b;

	EQ(box_init(&b, 1), 0);
	EQ(ioctl(b.kvm.vm, KVM_SET_CLOCK, &far), 0);
	EQ(place(&b, GUEST, g_clock, g_clock_end), 0);
	EQ(vcpus_start(&b.vcpus, &pvh, false), 0);
	OK(moves(&b, COUNTER));
	nap(100);
	for (int i = 0; i < 2; i++) {
		vcpus_pause(&b.vcpus);
		tsc = longword(&b, GUEST_TSC);
		then = longword(&b, PV_SYSTEM_TIME);
		OK(then >= 5000 * second);
		EQ(move(&b, 1), 0);
		vcpus_resume(&b.vcpus);
		OK(moves(&b, COUNTER));
		vcpus_pause(&b.vcpus);
		now = longword(&b, PV_SYSTEM_TIME);
		OK(now > then && now < then + 60 * second);
		EQ(mem_read(&b.mem, PV_FLAGS, &flags, 1), 0);
		OK(flags & PV_STOPPED);
		OK(longword(&b, GUEST_TSC) > tsc);
	}
	box_release(&b);
}

/* Wakes vCPUs 1 and 2, counts, and wakes 3 when it is wished. */
#define WAKE(id) \
	"movl $" #id "<<24, 0xfee00310\n" \
	"movl $0x4500, 0xfee00300\n" \
	"movl $100, %ecx\n" \
	"1: loop 1b\n" \
	"movl $" #id "<<24, 0xfee00310\n" \
	"movl $0x4608, 0xfee00300\n"
GUEST_CODE(g_four, 32,
	"movl $0x1ff, 0xfee000f0\n"
	WAKE(1)
	WAKE(2)
	"2: incl 0x9000\n"
	"cmpl $0, 0x9200\n"
	"je 2b\n"
	"movl $0, 0x9200\n"
	WAKE(3)
	"jmp 2b\n");

/* The second halts for good, the others count. */
GUEST_CODE(g_woken, 16,
	"movl $1, %eax\n"
	"cpuid\n"
	"shrl $24, %ebx\n"
	"movw %bx, %si\n"
	"shlw $2, %si\n"
	"addw $0x9100, %si\n"
	"incl (%si)\n"
	"cmpb $2, %bl\n"
	"jne 1f\n"
	"cli\n"
	"hlt\n"
	"1: incl (%si)\n"
	"jmp 1b\n");

static gpa_t counter_of(unsigned id)
{
	return COUNTERS + 4 * id;
}

/* Whether all vCPUs' TSCs are the same; true where KVM does not tell. */
static bool together(struct box *b)
{
	uint64_t off, first = 0;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&off,
	};

	for (unsigned i = 0; i < b->vcpus.n; i++) {
		if (ioctl(b->vcpus.cpu[i].fd, KVM_GET_DEVICE_ATTR, &attr) < 0)
			return true;
		if (i == 0)
			first = off;
		if (off != first)
			return false;
	}
	return true;
}

TEST(each_vcpu_is_what_it_was)
{
	uint32_t one = 1;
	bool were;
	struct box b;

	EQ(box_init(&b, 4), 0);
	EQ(place(&b, GUEST, g_four, g_four_end), 0);
	EQ(place(&b, GUEST_REAL, g_woken, g_woken_end), 0);
	EQ(vcpus_start(&b.vcpus, &pvh, false), 0);
	OK(moves(&b, counter_of(1)));
	OK(word(&b, counter_of(2)) || moves(&b, counter_of(2)));
	for (int i = 0; i < 2; i++) {
		vcpus_pause(&b.vcpus);
		were = together(&b);
		EQ(move(&b, 4), 0);
		EQ(together(&b), were);
		vcpus_resume(&b.vcpus);
		OK(moves(&b, COUNTER));
		OK(moves(&b, counter_of(1)));
		EQ(word(&b, counter_of(2)), 1);
		EQ(word(&b, counter_of(3)), 0);
	}
	EQ(mem_write(&b.mem, WISH, &one, sizeof(one)), 0);
	OK(moves(&b, counter_of(3)));
	EQ(move(&b, 4), 0);
	vcpus_resume(&b.vcpus);
	OK(moves(&b, counter_of(3)));
	OK(moves(&b, COUNTER));
	box_release(&b);
}

/* Pin 4 of the I/O APIC to vector 0x40. */
GUEST_CODE(g_pin, 32, TABLES
	"movl $0x18, 0xfec00000\n"
	"movl $0x40, 0xfec00010\n"
	"outb %al, $0xf4\n"
	WAIT);

TEST(lines_and_messages_arrive_after_a_restore)
{
	struct irq_line line = { .gsi = 4 };
	struct msi msi;
	struct box b;

	EQ(box_init(&b, 1), 0);
	EQ(place(&b, HANDLER, g_periodic_tick, g_periodic_tick_end), 0);
	RUN(&b, pvh, g_pin);
	EQ(move(&b, 1), 0);
	vcpus_resume(&b.vcpus);
	OK(kvm_pin_unmasked(&b.kvm, 4));
	OK(!kvm_pin_unmasked(&b.kvm, 5));
	line.chip = &b.kvm.chip;
	irq_pulse(&line);
	OK(word(&b, COUNTER) || moves(&b, COUNTER));
	msi_init(&msi, &b.kvm.chip);
	EQ(msi_set(&msi, PV_LAPIC_BASE, 0x40), 0);
	msi_fire(&msi);
	OK(word(&b, COUNTER) == 2 || moves(&b, COUNTER));
	msi_release(&msi);
	box_release(&b);
}

/* --- what is not to be taken --- */

/* How a section is spoiled. */
struct spoil {
	const char *name;
	size_t keep;		/* bytes left of it */
	size_t at, n;		/* and those that become VAL */
	uint8_t val;
};

/* SAVED with one section spoiled; its CRC is right. */
static void spoil(const struct saved *saved, struct buf *out,
		  const struct spoil *how)
{
	autofree struct sections *all = calloc(1, sizeof(*all));

	sections_parse(all, saved->state.data, saved->state.len);
	sections_begin(out);
	for (unsigned i = 0; i < all->n; i++) {
		const struct section *s = &all->section[i];
		bool this = !strcmp(s->name, how->name);
		size_t len = this ? min_u64(how->keep, s->len) : s->len;
		struct section_out o;

		section_begin(&o, out, s->name, s->version);
		put_bytes(&o, s->data, len);
		if (this && in_range(how->at, how->n, len))
			memset(out->data + out->len - len + how->at, how->val,
			       how->n);
		section_end(&o);
	}
}

static int load_spoiled(struct box *b, const struct saved *s,
			const struct spoil *how)
{
	autobuf struct buf bad = BUF_INIT;

	spoil(s, &bad, how);
	return load_state(b, bad.data, bad.len);
}

static size_t length_of(const struct saved *saved, const char *name)
{
	autofree struct sections *all = calloc(1, sizeof(*all));
	struct section s = { 0 };

	sections_parse(all, saved->state.data, saved->state.len);
	section_take(all, name, 1, &s);
	return s.len;
}

static bool save_counting(struct saved *s, unsigned ncpus)
{
	struct box b;
	bool ok = box_init(&b, ncpus) == 0 &&
		  place(&b, GUEST, g_count, g_count_end) == 0 &&
		  vcpus_start(&b.vcpus, &pvh, false) == 0 &&
		  moves(&b, COUNTER) && save(&b, s) == 0;

	box_release(&b);
	return ok;
}

TEST(sections_cut_short_are_refused)
{
	static const char *const names[] = { "kvm", "vcpu0", "vcpu1" };
	struct saved s;
	struct box b;

	OK(save_counting(&s, 2));
	EQ(box_init_from(&b, 2, s.mem), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		size_t len = length_of(&s, names[i]);

		OK(len > 100);
		for (size_t keep = 0; keep < len; keep += len / 50 + 1)
			EQ(load_spoiled(&b, &s, &(struct spoil){ names[i],
					keep, 0, 0, 0 }), -E_VERIFY);
		EQ(load_spoiled(&b, &s, &(struct spoil){ names[i], len - 1,
				0, 0, 0 }), -E_VERIFY);
	}
	EQ(load_state(&b, s.state.data, s.state.len), 0);
	box_release(&b);
	forget(&s);
}

/* Runs what was taken although it is nonsense: it may end in any way. */
static bool survives(const struct saved *s, const struct spoil *how)
{
	struct box b;
	bool ok = box_init_from(&b, 1, s->mem) == 0;

	if (ok && load_spoiled(&b, s, how) == 0) {
		ok = vcpus_start(&b.vcpus, NULL, false) == 0;
		nap(2);
		vcpus_pause(&b.vcpus);
	}
	box_release(&b);
	return ok;
}

TEST(nonsense_is_refused_or_the_guests_own_harm)
{
	static const uint8_t vals[] = { 0xff, 0x80, 0x01 };
	struct saved s;
	struct box b;
	size_t len, i = 0;
	unsigned refused = 0;

	OK(save_counting(&s, 1));
	EQ(box_init_from(&b, 1, s.mem), 0);
	len = length_of(&s, "vcpu0");
	for (size_t at = 0; at < len - 8; at += 41, i++) {
		struct spoil how = { "vcpu0", len, at, 8, vals[i % 3] };
		int rc = load_spoiled(&b, &s, &how);

		OK(rc == 0 || (rc <= -E_BASE && err_text()[0]));
		refused += rc < 0;
		if (rc == 0 && i % 8 == 0)
			OK(survives(&s, &how));
	}
	OK(refused > 10);
	len = length_of(&s, "kvm");
	for (size_t at = 0; at < len - 8; at += 41)
		OK(survives(&s, &(struct spoil){ "kvm", len, at, 8, 0xff }));
	box_release(&b);
	forget(&s);
}

/* Where leaf 1's ECX is in a vCPU's section. */
static size_t find_features(const struct saved *saved)
{
	autofree struct sections *all = calloc(1, sizeof(*all));
	struct kvm_cpuid_entry2 e;
	struct section s = { 0 };

	sections_parse(all, saved->state.data, saved->state.len);
	section_take(all, "vcpu0", 1, &s);
	for (size_t at = 4; in_range(at, sizeof(e), s.len); at += sizeof(e)) {
		memcpy(&e, s.data + at, sizeof(e));
		if (e.function == 1)
			return at + offsetof(struct kvm_cpuid_entry2, ecx);
	}
	return 0;
}

TEST(features_this_host_does_not_offer_are_refused_by_name)
{
	struct saved s;
	struct box b;
	size_t at;

	OK(save_counting(&s, 1));
	at = find_features(&s);
	OK(at);
	EQ(box_init_from(&b, 1, s.mem), 0);
	/* Bit 5, VMX, alone. */
	EQ(load_spoiled(&b, &s, &(struct spoil){ "vcpu0", SIZE_MAX, at, 1,
			1 << 5 }), -E_HOST);
	OK(strstr(err_text(), "vcpu0: the guest was given the CPU feature vmx"));
	/* None at all: a host may offer more. */
	EQ(load_spoiled(&b, &s, &(struct spoil){ "vcpu0", SIZE_MAX, at, 4,
			0 }), 0);
	box_release(&b);
	forget(&s);
}

TEST(state_of_another_machine_is_refused)
{
	struct saved s;
	struct box b;

	OK(save_counting(&s, 2));
	EQ(box_init_from(&b, 1, s.mem), 0);
	EQ(load_state(&b, s.state.data, s.state.len), -E_CONFIG);
	OK(strstr(err_text(), "vcpu1"));
	box_release(&b);
	EQ(box_init_from(&b, 4, s.mem), 0);
	EQ(load_state(&b, s.state.data, s.state.len), -ENOENT);
	vcpus_release(&b.vcpus);
	kvm_release(&b.kvm);
	EQ(kvm_init(&b.kvm, b.dev, &b.mem, true), 0);
	EQ(vcpus_init(&b.vcpus, &b.kvm, &b.ports, &b.memory, 2, on_event, &b), 0);
	EQ(load_state(&b, s.state.data, s.state.len), -E_CONFIG);
	OK(strstr(err_text(), "interrupt chips"));
	forget(&s);
	EQ(vcpus_start(&b.vcpus, &pvh, true), 0);
	EQ(save(&b, &s), 0);
	EQ(load_state(&b, s.state.data, s.state.len), 0);
	box_release(&b);
	forget(&s);
}

static const struct test tests[] = {
	T(guest_goes_on_where_it_was_saved),
	T(restored_guest_starts_at_once_when_told_so),
	T(access_under_way_is_complete_when_saved),
	T(timer_of_the_apic_goes_on),
	T(timer_that_ran_out_meanwhile_is_not_lost),
	T(clocks_go_on_from_where_they_stood),
	T(each_vcpu_is_what_it_was),
	T(lines_and_messages_arrive_after_a_restore),
	T(sections_cut_short_are_refused),
	T(nonsense_is_refused_or_the_guests_own_harm),
	T(features_this_host_does_not_offer_are_refused_by_name),
	T(state_of_another_machine_is_refused),
};

int main(void)
{
	return box_tests(tests, ARRAY_SIZE(tests));
}
