/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vcpu.h - the processors of a VM: one thread each.
 *
 * Theory: a thread runs its vCPU in KVM until the guest touches a port or an
 * address that is no RAM; it then asks the bus, and goes on. The set of vCPUs
 * is paused, resumed and ended together, by its owner (the event loop's
 * thread):
 *
 *	vcpus_init() -> vcpus_start() -> pause, resume ... -> vcpus_release()
 *
 * To save one: vcpus_pause(), let the devices come to rest, vcpus_save(). To go
 * on from that, with as many vCPUs of a new struct kvm: vcpus_init(),
 * kvm_load(), vcpus_load(), the devices, vcpus_start(v, NULL, paused).
 *
 * A vCPU pauses between two instructions, never within one: it is kicked (a
 * flag in the page shared with KVM, and a signal that gets it out of the
 * kernel), completes the access under way, and only then parks. Its registers
 * may be read and written while it is parked.
 *
 * What a guest does to the whole machine - a triple fault, a wedged processor
 * - is told to the owner by event(), which is called on a vCPU's thread and
 * may do no more than wake the owner. All vCPUs are on their way to parking by
 * then; vcpus_pause() waits until they are there. The owner decides: release
 * and build anew (reset), or keep the parked vCPUs to be looked at (crash). A
 * device that is told to reset the machine (port 0xcf9) does the same through
 * vcpus_request().
 *
 * A device must not, from within its bus functions, wait for the owner.
 *
 * Threads: all functions belong to the owner's thread, but vcpus_request() and
 * vcpus_exits(), which any thread may call.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <pthread.h>

#include "base/buf.h"
#include "vmm/bus.h"
#include "vmm/kvm.h"

enum { VCPUS_MAX = 254 };	/* local APIC ids 0..253; 255 is broadcast */

/* The state the first vCPU starts in; the others wait to be woken (SIPI). */
enum entry_mode {
	/*
	 * 32-bit protected mode, paging off, flat segments, no GDT in memory
	 * (Xen's PVH, docs/misc/pvh.pandoc). RBX goes to EBX.
	 */
	ENTRY_PVH,
	/*
	 * 64-bit mode, paging on with CR3, flat segments 0x10 (code) and 0x18
	 * (data) of the GDT at GDT (Linux's 64-bit boot protocol). RSI is set.
	 */
	ENTRY_LONG64,
	/*
	 * Real mode at the linear address RIP, the code segment's base being
	 * RIP without its low 16 bits. 0xfffffff0 is a PC's reset.
	 */
	ENTRY_REAL,
};

struct cpu_entry {
	enum entry_mode mode;
	uint64_t rip, rbx, rsi;
	gpa_t cr3;
	gpa_t gdt;
	uint16_t gdt_bytes;
};

enum vcpu_event {
	VCPU_RESET,	/* the guest asked for, or fell into, a reset */
	VCPU_CRASH,	/* KVM cannot go on with it; vcpus->crash says why */
};

/* How often the guest left KVM for us, and why. */
struct vcpu_exits {
	uint64_t io, mmio, other;
};

enum vcpus_want { VCPUS_RUN, VCPUS_PARK, VCPUS_END };

struct kvm_run;
struct sections;
struct vcpus;

struct vcpu {
	struct vcpus *set;
	unsigned id;		/* local APIC id too */
	int fd;
	struct kvm_run *run;	/* shared with KVM */
	pthread_t thread;
	bool started;		/* thread is valid */
	bool parked;		/* under set->lock */
	struct vcpu_exits exits;	/* written by its thread, atomically */
};

struct vcpus {
	struct kvm *kvm;
	struct bus *ports, *memory;
	void (*event)(void *owner, enum vcpu_event e);
	void *owner;
	unsigned n;
	struct vcpu *cpu;	/* n of them */
	pthread_mutex_t lock;
	pthread_cond_t changed;	/* `want`, or a vCPU parked */
	enum vcpus_want want;	/* under lock */
	bool ended;		/* an event was sent: no vCPU runs again */
	char crash[256];	/* after VCPU_CRASH: one line for people */
};

/*
 * Makes N vCPUs (1..VCPUS_MAX) of K, with their CPUID, MSRs and local APICs.
 * 0 or -errno with a sentence; then nothing is left.
 */
int vcpus_init(struct vcpus *v, struct kvm *k, struct bus *ports,
	       struct bus *memory, unsigned n,
	       void (*event)(void *owner, enum vcpu_event e), void *owner);

/*
 * Puts the first vCPU into the state E (NULL: all go on from the state that
 * vcpus_load() gave them) and starts the threads; PAUSED: they park before
 * their first instruction. 0 or -errno with a sentence.
 */
int vcpus_start(struct vcpus *v, const struct cpu_entry *e, bool paused);

/* Returns when all have parked. Idempotent. */
void vcpus_pause(struct vcpus *v);
/* Lets them run again; nothing after an event. Idempotent. */
void vcpus_resume(struct vcpus *v);

/*
 * Appends a section for each vCPU, "vcpu0" and so on, to B: all that KVM knows
 * of it. All are parked, and no device raises an interrupt any more: one that
 * comes later is lost. 0 or -errno with a sentence.
 */
int vcpus_save(struct vcpus *v, struct buf *b);

/*
 * Between vcpus_init() and vcpus_start(): gives each vCPU the state of its
 * section, all of it checked. The devices are loaded after it: an interrupt
 * that one raises before would be forgotten. The guest's clocks go on from
 * where they stood, its TSCs together as they were. 0 or negative with a
 * sentence: -ENOENT, -E_VERIFY it is not there, is damaged; -E_HOST this
 * host's processor or KVM lacks what the guest had. After a failure the vCPUs
 * are good for vcpus_release() only.
 */
int vcpus_load(struct vcpus *v, struct sections *all);

/* Any thread, vCPUs' own too: parks all for good and sends event E. */
void vcpus_request(struct vcpus *v, enum vcpu_event e);

/* The sum over all vCPUs, since vcpus_init(). */
struct vcpu_exits vcpus_exits(const struct vcpus *v);

/* Ends and joins the threads, and forgets the vCPUs. */
void vcpus_release(struct vcpus *v);

#endif
