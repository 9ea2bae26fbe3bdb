/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bare.h - what a guest in C needs that has nothing beneath it: its entry,
 * ports and memory accesses of exact widths, COM1 to print on, PCI, and a
 * driver of virtio devices that does as it is told.
 *
 * Entered by PVH: 32-bit code, flat segments, no paging, no interrupts, and
 * no interrupt table, so that any exception is a triple fault. main() gets
 * the start_info and must not return. Nothing here allocates; what devices
 * are to read and write lies at fixed places above the program:
 *
 *	0x100000	the program (see the Makefile)
 *	0x200000	rings and buffers, 64 KiB a device
 *	0x400000	free, to the end of RAM
 *
 * Registers are read and written by one instruction each, because the width
 * is what a test is about; 8 bytes by cmpxchg8b, which reads, then writes.
 */
#ifndef TESTS_GUEST_BARE_H
#define TESTS_GUEST_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum {
	COM1 = 0x3f8,
	AP_START = 0x10000,	/* where a processor begins that is started */
	AREA = 0x200000,
	AREA_BYTES = 0x10000,
	FREE = 0x400000,
};
#define ECAM	0xe0000000U
#define IOAPIC	0xfec00000U
#define LAPIC	0xfee00000U

/* ------------------------------------------------------------- the entry */

void main(const uint32_t *start_info) __attribute__((noreturn));
extern const char ap_code[], ap_code_end[];

/* What a started processor is to do. */
void (*ap_go)(void);

/* ap_code is copied to AP_START, where a started processor's CS begins. */
asm(
".pushsection .note.pvh, \"a\", @note\n"
"	.long	4, 4, 18\n"		/* XEN_ELFNOTE_PHYS32_ENTRY */
"	.asciz	\"Xen\"\n"
"	.long	_start\n"
".popsection\n"
".pushsection .text\n"
"	.globl	_start\n"
"_start:\n"
"	mov	$stack_end, %esp\n"
"	push	%ebx\n"
"	call	main\n"
"ap_code:\n"
"	.code16\n"
"	lgdtl	%cs:ap_gdtr - ap_code\n"
"	mov	%cr0, %eax\n"
"	or	$1, %eax\n"
"	mov	%eax, %cr0\n"
"	ljmpl	$8, $ap_flat\n"
"	.balign	8\n"
"ap_gdt:	.quad	0, 0xcf9b000000ffff, 0xcf93000000ffff\n"
"ap_gdtr:	.word	23\n"
"	.long	ap_gdt\n"
"ap_code_end:\n"
"	.code32\n"
"ap_flat:\n"
"	mov	$16, %eax\n"
"	mov	%eax, %ds\n"
"	mov	%eax, %es\n"
"	mov	%eax, %ss\n"
"	mov	$ap_stack_end, %esp\n"
"	call	*ap_go\n"
".popsection\n"
".pushsection .bss\n"
"	.balign	16\n"
"	.space	4096\n"
"stack_end:\n"
"	.space	4096\n"
"ap_stack_end:\n"
".popsection\n");

static inline _Noreturn void halt(void)
{
	for (;;)
		asm volatile("cli; hlt");
}

/* ----------------------------------------------------- accesses by width */

static inline uint32_t in(uint16_t port, unsigned size)
{
	uint32_t val = 0;

	if (size == 1)
		asm volatile("inb %1, %b0" : "+a"(val) : "Nd"(port));
	else if (size == 2)
		asm volatile("inw %1, %w0" : "+a"(val) : "Nd"(port));
	else
		asm volatile("inl %1, %0" : "=a"(val) : "Nd"(port));
	return val;
}

static inline void out(uint16_t port, unsigned size, uint32_t val)
{
	if (size == 1)
		asm volatile("outb %b0, %1" : : "a"(val), "Nd"(port));
	else if (size == 2)
		asm volatile("outw %w0, %1" : : "a"(val), "Nd"(port));
	else
		asm volatile("outl %0, %1" : : "a"(val), "Nd"(port));
}

static inline uint32_t get(uint32_t addr, unsigned size)
{
	if (size == 1)
		return *(volatile uint8_t *)addr;
	if (size == 2)
		return *(volatile uint16_t *)addr;
	return *(volatile uint32_t *)addr;
}

static inline void put(uint32_t addr, unsigned size, uint32_t val)
{
	if (size == 1)
		*(volatile uint8_t *)addr = val;
	else if (size == 2)
		*(volatile uint16_t *)addr = val;
	else
		*(volatile uint32_t *)addr = val;
}

/* Reads 8 bytes, and writes VAL over them, or again what they were. */
static inline uint64_t swap8(uint32_t addr, uint64_t val)
{
	uint64_t old = 0;

	asm volatile("cmpxchg8b (%1)" : "+A"(old)
		     : "r"(addr), "b"((uint32_t)val),
		       "c"((uint32_t)(val >> 32)) : "memory", "cc");
	return old;
}

/* ---------------------------------------------------------------- text */

static inline void say(const char *s)
{
	for (; *s; s++)
		out(COM1, 1, *s);
}

static inline void say_number(uint32_t n)
{
	char text[11], *p = text + sizeof(text);

	for (*--p = 0; p == text + sizeof(text) - 1 || n; n /= 10)
		*--p = '0' + n % 10;
	say(p);
}

/* Makes COM1 fit to print on, whatever its registers hold. */
static inline void serial_mend(void)
{
	out(COM1 + 3, 1, 3);	/* 8 bits, not the divisor latch */
	out(COM1 + 4, 1, 3);	/* not looped */
	out(COM1 + 1, 1, 0);
	out(COM1 + 2, 1, 7);
}

/* Whether S begins with W, which a space may end. */
static inline bool begins(const char *s, const char *w)
{
	while (*w && *w != ' ' && *s == *w)
		s++, w++;
	return !*w || *w == ' ';
}

static inline void copy(uint32_t to, const char *from, uint32_t len)
{
	while (len--)
		put(to++, 1, *from++);
}

static inline void fill(uint32_t at, uint32_t len, uint32_t val)
{
	for (; len; at += 4, len -= 4)
		put(at, 4, val);
}

/* -------------------------------------------------------- virtio devices */

enum {
	ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8,
	NEEDS_RESET = 0x40, FAILED = 0x80,

	F_INDIRECT = 1 << 28, F_EVENT = 1 << 29,	/* feature bits */

	NEXT = 1, WRITE = 2, INDIRECT = 4,		/* of a descriptor */
};

/* virtio 1.2, 4.1.4.3: offsets in the common configuration. */
enum {
	DEVICE_FEATURE_SELECT = 0x00, DEVICE_FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08, DRIVER_FEATURE = 0x0c,
	CONFIG_VECTOR = 0x10, NUM_QUEUES = 0x12, STATUS = 0x14,
	QUEUE_SELECT = 0x16, QUEUE_SIZE = 0x18, QUEUE_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c, NOTIFY_OFF = 0x1e, QUEUE_DESC = 0x20,
	QUEUE_DRIVER = 0x28, QUEUE_DEVICE = 0x30, COMMON_BYTES = 0x38,
};

/* A device, its one queue that is used, and the 64 KiB of RAM for both. */
struct dev {
	const char *name;
	unsigned slot, queue;
	uint32_t ecam, bar, common, notify;
	uint32_t desc, avail, used, table, buffer;
	uint16_t size;		/* of the queue, in descriptors */
	uint16_t added, seen;	/* chains given to it, and got back */
	uint32_t features;	/* low half of those to take */
};

enum { QUEUE = 16, TABLE_MAX = 512 };	/* usual size; of an indirect table */

/* Where in ECAM the first capability of that ID is. */
static inline uint32_t capability(const struct dev *d, unsigned id)
{
	unsigned at = get(d->ecam + 0x34, 1);

	while (at && get(d->ecam + at, 1) != id)
		at = get(d->ecam + at + 1, 1);
	return d->ecam + at;
}

/* Whether there is one in its slot; its registers then answer. */
static inline bool dev_find(struct dev *d)
{
	unsigned at;

	d->ecam = ECAM + (d->slot << 15);
	if (get(d->ecam, 2) != 0x1af4)
		return false;
	d->bar = get(d->ecam + 0x10, 4) & ~0xfU;
	put(d->ecam + 4, 2, 6);		/* decode memory, master the bus */
	for (at = get(d->ecam + 0x34, 1); at; at = get(d->ecam + at + 1, 1)) {
		uint32_t where = d->bar + get(d->ecam + at + 8, 4);

		if (get(d->ecam + at, 1) != 9)
			continue;
		if (get(d->ecam + at + 3, 1) == 1)
			d->common = where;
		if (get(d->ecam + at + 3, 1) == 2)
			d->notify = where + d->queue *
				get(d->ecam + at + 16, 4);
	}
	d->desc = AREA + d->slot * AREA_BYTES;
	d->avail = d->desc + 0x1000;
	d->used = d->desc + 0x2000;
	d->table = d->desc + 0x4000;
	d->buffer = d->desc + 0x8000;
	return true;
}

static inline void reg(struct dev *d, unsigned at, unsigned size, uint32_t val)
{
	put(d->common + at, size, val);
}

static inline void reg64(struct dev *d, unsigned at, uint64_t val)
{
	reg(d, at, 4, val);
	reg(d, at + 4, 4, val >> 32);
}

static inline unsigned status(const struct dev *d)
{
	return get(d->common + STATUS, 1);
}

/* Resets it and agrees on features. */
static inline void dev_negotiate(struct dev *d)
{
	reg(d, STATUS, 1, 0);
	while (status(d))
		;
	reg(d, STATUS, 1, ACKNOWLEDGE | DRIVER);
	reg(d, DRIVER_FEATURE_SELECT, 4, 0);
	reg(d, DRIVER_FEATURE, 4, d->features);
	reg(d, DRIVER_FEATURE_SELECT, 4, 1);
	reg(d, DRIVER_FEATURE, 4, 1);		/* VERSION_1 */
	reg(d, STATUS, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK);
}

static inline void dev_enable(struct dev *d, uint16_t size, uint64_t desc,
			      uint64_t avail, uint64_t used)
{
	reg(d, QUEUE_SELECT, 2, d->queue);
	reg(d, QUEUE_SIZE, 2, size);
	reg64(d, QUEUE_DESC, desc);
	reg64(d, QUEUE_DRIVER, avail);
	reg64(d, QUEUE_DEVICE, used);
	reg(d, QUEUE_ENABLE, 2, 1);
}

/* A clean queue of SIZE and DRIVER_OK. */
static inline void dev_begin(struct dev *d, uint16_t size)
{
	dev_negotiate(d);
	d->size = size;
	d->added = d->seen = 0;
	put(d->avail, 4, 0);
	put(d->used, 4, 0);
	dev_enable(d, size, d->desc, d->avail, d->used);
	reg(d, STATUS, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

/* Entry I of the table of descriptors at TABLE. */
static inline void desc_in(uint32_t table, unsigned i, uint64_t addr,
			   uint32_t len, uint16_t flags, uint16_t next)
{
	uint32_t at = table + 16 * i;

	put(at, 4, addr);
	put(at + 4, 4, addr >> 32);
	put(at + 8, 4, len);
	put(at + 12, 4, flags | (uint32_t)next << 16);
}

static inline void desc(struct dev *d, unsigned i, uint64_t addr,
			uint32_t len, uint16_t flags, uint16_t next)
{
	desc_in(d->desc, i, addr, len, flags, next);
}

static inline void kick(struct dev *d)
{
	put(d->notify, 2, d->queue);
}

/* Makes the chain that begins at HEAD available. */
static inline void add(struct dev *d, uint16_t head)
{
	put(d->avail + 4 + 2 * (d->added % d->size), 2, head);
	d->added++;
	put(d->avail + 2, 2, d->added);
}

static inline uint16_t used_idx(const struct dev *d)
{
	return get(d->used + 2, 2);
}

/* The length given back with the chain that was used last. */
static inline uint32_t used_len(const struct dev *d)
{
	return get(d->used + 8 + 8 * ((used_idx(d) - 1) % d->size), 4);
}

enum saw { SERVED, BROKEN, SILENT, ANY };

/*
 * What became of all that was added. Each look at the status is an exit, so
 * TURNS of them are seconds anywhere, and on a slow host more.
 */
enum { TURNS = 1 << 18, TURNS_SILENT = 1 << 10 };
static inline enum saw await(struct dev *d, unsigned turns)
{
	while (turns--) {
		if (status(d) & NEEDS_RESET)
			return BROKEN;
		if (used_idx(d) == d->added) {
			d->seen = d->added;
			return SERVED;
		}
	}
	return SILENT;
}

static inline enum saw submit(struct dev *d, uint16_t head)
{
	add(d, head);
	kick(d);
	return await(d, TURNS);
}

#endif
