/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * box.h - a VM for guests of a few instructions, on the host's KVM, whatever
 * it is: one that interprets its guests runs them too.
 *
 * A guest reports by writing to PORT_DONE, which wakes the test; accesses to
 * PORT_LOG.. and MMIO_LOG.. are noted, and read as 0x8877665544332211.
 */
#ifndef TESTS_KVM_BOX_H
#define TESTS_KVM_BOX_H

#include "../unit/test.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "base/err.h"
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

static inline void wake(struct box *b)
{
	uint64_t one = 1;

	(void)!write(b->happened, &one, sizeof(one));
}

static inline void note(struct box *b, struct access a)
{
	if (b->logged < LOGGED)
		b->log[b->logged++] = a;
}

static inline uint64_t read_log(void *dev, uint64_t off, unsigned size)
{
	note(dev, (struct access){ .addr = off, .size = size });
	return 0x8877665544332211;
}

static inline void write_port(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	note(dev, (struct access){ true, true, off, val, size });
}

static inline void write_memory(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	note(dev, (struct access){ false, true, off, val, size });
}

static inline void write_done(void *dev, uint64_t off, unsigned size, uint64_t val)
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

static inline void on_event(void *owner, enum vcpu_event e)
{
	struct box *b = owner;

	b->event = e;
	b->evented = true;
	wake(b);
}

enum { BOX_BYTES = 64 << 20 };

/* With the memory that FD holds; -1: an empty one. */
static inline int box_init_from(struct box *b, unsigned ncpus, int fd)
{
	memset(b, 0, sizeof(*b));
	b->dev = kvm_open(false);
	b->happened = eventfd(0, EFD_CLOEXEC);
	b->port_region = (struct region){ PORT_LOG, 8, &port_ops, b, "log", 0 };
	b->done_region = (struct region){ PORT_DONE, 8, &done_ops, b, "done", 0 };
	b->memory_region = (struct region){ MMIO_LOG, 4096, &memory_ops, b,
					    "log", 0 };
	if (b->dev < 0 ||
	    (fd < 0 ? mem_init(&b->mem, BOX_BYTES, PV_LOW_MAX) :
	     mem_map(&b->mem, fd, BOX_BYTES, PV_LOW_MAX, "mem")) < 0 ||
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

static inline int box_init(struct box *b, unsigned ncpus)
{
	return box_init_from(b, ncpus, -1);
}

static inline void box_release(struct box *b)
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
static inline int place(struct box *b, gpa_t gpa, const uint8_t *code,
		 const uint8_t *end)
{
	return mem_write(&b->mem, gpa, code, end - code);
}

/* Whether the guest said something in time. */
static inline bool happened(struct box *b)
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

/* Runs the tests, or says why not. */
static inline int box_tests(const struct test *t, size_t n)
{
	if (kvm_probe(false) < 0) {
		printf("1..0 # SKIP %s\n", err_text());
		return 0;
	}
	return test_run(t, n);
}

#endif
