/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/cpusave.h"

#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "vmm/cpuid.h"

enum {
	STATE_VERSION = 1,
	CPUID_ENTRIES = 256,	/* KVM's own limit */
	MSR_ENTRIES = 1024,	/* more than any KVM lists */
	MSR_PIECE = 128,	/* in one call; KVM takes 255 */
	XSAVE_MAX = 1 << 20,

	/* Intel SDM vol. 4, chapter 2. */
	MSR_TSC = 0x10,
	MSR_TSC_DEADLINE = 0x6e0,

	/* Intel SDM vol. 3A, 11.4.1, 11.5.1. */
	APIC_SVR = 0xf0,
	APIC_ISR = 0x100,
	APIC_IRR = 0x200,
	APIC_LVTT = 0x320,
	APIC_TMICT = 0x380,
	APIC_TMCCT = 0x390,
	SVR_ENABLED = 1 << 8,
	LVT_MASKED = 1 << 16,
	LVT_VECTOR = 0xff,
	LVTT_MODE = 3 << 17,
	LVTT_ONE_SHOT = 0 << 17,
	LVTT_DEADLINE = 2 << 17,
	FIRST_VECTOR = 16,	/* the APIC refuses those below */
};

/* MSRs that are part of the state, but that KVM does not list. */
static const struct range {
	uint32_t from, to;
} mtrrs[] = {
	{ 0x200, 0x20f }, { 0x250, 0x250 }, { 0x258, 0x259 },
	{ 0x268, 0x26f }, { 0x2ff, 0x2ff },
};

/* MSRs of what cpuid.c takes away. */
static const struct range not_ours[] = {
	{ 0x3a, 0x3a },				/* FEATURE_CONTROL */
	{ 0xc1, 0xc8 }, { 0x186, 0x18d },	/* performance counters */
	{ 0x309, 0x30c }, { 0x329, 0x329 }, { 0x345, 0x345 },
	{ 0x38d, 0x390 }, { 0x3f1, 0x3f2 }, { 0x4c1, 0x4c8 },
	{ 0x600, 0x600 },
	{ 0x480, 0x493 },			/* VMX */
	{ 0x570, 0x587 },			/* processor trace */
	{ 0x40000000, 0x400001ff },		/* Hyper-V */
	{ 0xc0000300, 0xc0000303 },		/* AMD's counters */
	{ 0xc0010000, 0xc0010007 }, { 0xc0010200, 0xc001020b },
	{ 0xc0010117, 0xc0010117 },		/* VM_HSAVE_PA */
};

/* struct kvm_msrs and kvm_cpuid2, with room for so many entries. */
struct msr_room {
	uint32_t nmsrs, pad;
	struct kvm_msr_entry entry[MSR_PIECE];
};

struct cpuid_room {
	uint32_t nent, pad;
	struct kvm_cpuid_entry2 entry[CPUID_ENTRIES];
};
static_assert(offsetof(struct msr_room, entry) == sizeof(struct kvm_msrs), "KVM's");
static_assert(offsetof(struct cpuid_room, entry) == sizeof(struct kvm_cpuid2), "KVM's");

/* One vCPU's state, outside KVM. */
struct state {
	char name[SECTION_NAME];
	struct cpuid_room cpuid;
	uint32_t tsc_khz;
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_msr_entry msr[MSR_ENTRIES];
	unsigned nmsrs;
	bool has_offset;
	uint64_t offset;
	size_t xsave_bytes;
	uint8_t xsave[];
};

/* What KVM gives and takes as one struct, in the order of the section. */
static const struct part {
	const char *what;
	size_t off, size;
	unsigned long get, set;
} parts[] = {
#define PART(name, member, nr) { name, offsetof(struct state, member), \
	sizeof(((struct state *)0)->member), KVM_GET_##nr, KVM_SET_##nr }
	PART("run state", mp, MP_STATE),
	PART("registers", regs, REGS),
	PART("system registers", sregs, SREGS),
	/* The vector state comes here; XCR0 after it. */
	PART("XCRs", xcrs, XCRS),
	PART("debug registers", debugregs, DEBUGREGS),
	PART("local APIC", lapic, LAPIC),
	PART("events", events, VCPU_EVENTS),
#undef PART
};
enum { PART_XCRS = 3, PART_EVENTS = 6 };

static void *part_of(struct state *st, const struct part *p)
{
	return (uint8_t *)st + p->off;
}

/* --- what there is to save --- */

static bool is_in(const struct range *r, size_t n, uint32_t index)
{
	for (size_t i = 0; i < n; i++)
		if (index >= r[i].from && index <= r[i].to)
			return true;
	return false;
}

static bool is_listed(const struct kvm_msr_list *l, uint32_t index)
{
	for (uint32_t i = 0; i < l->nmsrs; i++)
		if (l->indices[i] == index)
			return true;
	return false;
}

static void add_mtrrs(struct kvm_msr_list *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(mtrrs); i++)
		for (uint32_t m = mtrrs[i].from; m <= mtrrs[i].to; m++)
			if (!is_listed(l, m) && l->nmsrs < MSR_ENTRIES)
				l->indices[l->nmsrs++] = m;
}

static void drop_msr(struct kvm_msr_list *l, uint32_t at)
{
	l->nmsrs--;
	memmove(&l->indices[at], &l->indices[at + 1],
		(l->nmsrs - at) * sizeof(l->indices[0]));
}

static int list_msrs(struct cpusave *c)
{
	struct kvm_msr_list *l =
		calloc(1, sizeof(*l) + MSR_ENTRIES * sizeof(l->indices[0]));

	c->msrs = l;
	if (!l)
		return fail(ENOMEM, "/dev/kvm: out of memory");
	l->nmsrs = MSR_ENTRIES;
	if (ioctl(c->kvm->dev, KVM_GET_MSR_INDEX_LIST, l) < 0)
		return fail_sys("/dev/kvm: list of MSRs");
	for (uint32_t i = l->nmsrs; i--;)
		if (is_in(not_ours, ARRAY_SIZE(not_ours), l->indices[i]))
			drop_msr(l, i);
	add_mtrrs(l);
	return 0;
}

int cpusave_init(struct cpusave *c, const struct kvm *k, unsigned ncpus)
{
	int bytes = ioctl(k->vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	int rc;

	*c = (struct cpusave){ .kvm = k };
	c->xsave_bytes = sizeof(struct kvm_xsave);
	if (bytes > 0)
		c->xsave_bytes = max_u64(c->xsave_bytes, bytes);
	rc = list_msrs(c);
	if (rc == 0)
		rc = cpuid_for_vm(k, ncpus, &c->offered);
	if (rc < 0)
		cpusave_release(c);
	return rc;
}

void cpusave_release(struct cpusave *c)
{
	free(take_ptr(c->msrs));
	free(take_ptr(c->offered));
}

static struct state *new_state(const struct cpusave *c, unsigned id)
{
	struct state *st = calloc(1, sizeof(*st) + c->xsave_bytes);

	if (!st) {
		fail(ENOMEM, "vcpu%u: out of memory", id);
		return NULL;
	}
	snprintf(st->name, sizeof(st->name), "vcpu%u", id);
	st->xsave_bytes = c->xsave_bytes;
	return st;
}

/* --- from KVM --- */

static int fail_get(const struct state *st, const char *what)
{
	return fail_sys("/dev/kvm: %s of %s", what, st->name);
}

static int get_parts(struct state *st, int fd)
{
	unsigned long request = st->xsave_bytes > sizeof(struct kvm_xsave) ?
				KVM_GET_XSAVE2 : KVM_GET_XSAVE;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (ioctl(fd, parts[i].get, part_of(st, &parts[i])) < 0)
			return fail_get(st, parts[i].what);
	if (ioctl(fd, request, st->xsave) < 0)
		return fail_get(st, "vector state");
	return 0;
}

/*
 * KVM stops at an MSR that cannot be read, which the vCPU then has not: it is
 * left out of the list for good.
 */
static int read_msrs(struct cpusave *c, struct state *st, int fd)
{
	struct kvm_msr_list *l = c->msrs;
	struct msr_room room;

	while (st->nmsrs < l->nmsrs) {
		unsigned n = min_u64(MSR_PIECE, l->nmsrs - st->nmsrs);
		int got;

		room.nmsrs = n;
		room.pad = 0;
		for (unsigned i = 0; i < n; i++)
			room.entry[i] = (struct kvm_msr_entry){
				.index = l->indices[st->nmsrs + i],
			};
		got = ioctl(fd, KVM_GET_MSRS, &room);
		if (got < 0)
			return fail_get(st, "MSRs");
		memcpy(&st->msr[st->nmsrs], room.entry,
		       got * sizeof(room.entry[0]));
		st->nmsrs += got;
		if ((unsigned)got < n)
			drop_msr(l, st->nmsrs);
	}
	return 0;
}

static bool get_offset(int fd, uint64_t *offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)offset,
	};

	return ioctl(fd, KVM_GET_DEVICE_ATTR, &attr) == 0;
}

static int get_state(struct cpusave *c, struct state *st, int fd)
{
	int khz = ioctl(fd, KVM_GET_TSC_KHZ, 0), rc;

	st->tsc_khz = khz > 0 ? khz : 0;
	st->has_offset = get_offset(fd, &st->offset);
	st->cpuid.nent = CPUID_ENTRIES;
	if (ioctl(fd, KVM_GET_CPUID2, &st->cpuid) < 0)
		return fail_get(st, "CPUID");
	rc = get_parts(st, fd);
	return rc < 0 ? rc : read_msrs(c, st, fd);
}

static void put_state(struct section_out *s, struct state *st)
{
	put_blob(s, st->cpuid.entry,
		 st->cpuid.nent * sizeof(st->cpuid.entry[0]));
	put_u32(s, st->tsc_khz);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (i == PART_XCRS)
			put_blob(s, st->xsave, st->xsave_bytes);
		put_blob(s, part_of(st, &parts[i]), parts[i].size);
	}
	put_blob(s, st->msr, st->nmsrs * sizeof(st->msr[0]));
	put_u8(s, st->has_offset);
	put_u64(s, st->offset);
}

int cpusave_save(struct cpusave *c, int fd, unsigned id, struct buf *b)
{
	autofree struct state *st = new_state(c, id);
	struct section_out s;
	int rc;

	if (!st)
		return -ENOMEM;
	rc = get_state(c, st, fd);
	if (rc < 0)
		return rc;
	section_begin(&s, b, st->name, STATE_VERSION);
	put_state(&s, st);
	section_end(&s);
	return b->failed ? fail(ENOMEM, "%s: out of memory", st->name) : 0;
}

/* --- from the file --- */

/* A vector state larger than this host's KVM has is zero beyond it, or lost. */
static int parse_xsave(struct state *st, struct section *s)
{
	autofree uint8_t *room = calloc(1, XSAVE_MAX);
	size_t len;

	if (!room)
		return fail(ENOMEM, "%s: out of memory", st->name);
	len = get_blob(s, room, XSAVE_MAX);
	if (len < sizeof(struct kvm_xsave))
		s->failed = true;
	if (!s->failed && len > st->xsave_bytes &&
	    !is_zero(room + st->xsave_bytes, len - st->xsave_bytes))
		return fail(E_HOST, "%s: the guest's vector state takes %zu "
			    "bytes, this host's KVM has %zu", st->name, len,
			    st->xsave_bytes);
	memcpy(st->xsave, room, min_u64(len, st->xsave_bytes));
	return 0;
}

/* The number of records of SIZE bytes, at most MAX; whole ones. */
static unsigned parse_records(struct section *s, void *to, size_t size,
			      unsigned max)
{
	size_t len = get_blob(s, to, size * max);

	if (len % size)
		s->failed = true;
	return s->failed ? 0 : len / size;
}

static int parse(struct state *st, struct section *s)
{
	int rc = 0;

	st->cpuid.nent = parse_records(s, st->cpuid.entry,
					    sizeof(st->cpuid.entry[0]),
					    CPUID_ENTRIES);
	st->tsc_khz = get_u32(s);
	for (size_t i = 0; i < ARRAY_SIZE(parts) && rc == 0; i++) {
		const struct part *p = &parts[i];

		if (i == PART_XCRS)
			rc = parse_xsave(st, s);
		if (get_blob(s, part_of(st, p), p->size) != p->size)
			s->failed = true;
	}
	st->nmsrs = parse_records(s, st->msr, sizeof(st->msr[0]), MSR_ENTRIES);
	st->has_offset = get_u8(s);
	st->offset = get_u64(s);
	return rc < 0 ? rc : section_done(s, !st->cpuid.nent);
}

/* --- to KVM --- */

static int fail_set(const struct state *st, const char *what)
{
	return fail(E_HOST, "%s: this host's KVM does not take the saved %s: "
		    "%s", st->name, what, strerror(errno));
}

static int set_cpuid(const struct cpusave *c, struct state *st, int fd)
{
	int rc = cpuid_check(c->offered, (void *)&st->cpuid);

	if (rc < 0)
		return fail_in(rc, "%s", st->name);
	if (ioctl(fd, KVM_SET_CPUID2, &st->cpuid) < 0)
		return fail_set(st, "CPUID");
	return 0;
}

/* KVM scales, or bears with a frequency that is nearly the same. */
static int set_khz(const struct state *st, int fd)
{
	int khz = ioctl(fd, KVM_GET_TSC_KHZ, 0);

	if (!st->tsc_khz || khz < 0 || (uint32_t)khz == st->tsc_khz)
		return 0;
	if (ioctl(fd, KVM_SET_TSC_KHZ, (unsigned long)st->tsc_khz) < 0)
		return fail(E_HOST, "%s: its clock (TSC) runs at %u kHz, this "
			    "host's at %d kHz, and its KVM cannot scale it",
			    st->name, st->tsc_khz, khz);
	return 0;
}

static uint32_t apic_reg(const struct kvm_lapic_state *a, unsigned reg)
{
	le32 v;

	memcpy(&v, a->regs + reg, sizeof(v));
	return get_le32(v);
}

/* The byte of a 256-bit register that holds VECTOR's bit. */
static uint8_t *apic_byte(struct kvm_lapic_state *a, unsigned reg,
			  unsigned vector)
{
	return (uint8_t *)a->regs + reg + vector / 32 * 16 + vector % 32 / 8;
}

static const struct kvm_msr_entry *find_msr(const struct state *st,
					    uint32_t index)
{
	for (unsigned i = 0; i < st->nmsrs; i++)
		if (st->msr[i].index == index)
			return &st->msr[i];
	return NULL;
}

static bool ran_out(const struct state *st)
{
	const struct kvm_msr_entry *deadline = find_msr(st, MSR_TSC_DEADLINE);

	switch (apic_reg(&st->lapic, APIC_LVTT) & LVTT_MODE) {
	case LVTT_DEADLINE:
		return !deadline || !deadline->data;
	case LVTT_ONE_SHOT:
		return apic_reg(&st->lapic, APIC_TMICT) &&
		       !apic_reg(&st->lapic, APIC_TMCCT);
	}
	return false;
}

/* See the header: the interrupt of a timer that ran out. */
static void raise_timer(struct state *st)
{
	uint32_t lvtt = apic_reg(&st->lapic, APIC_LVTT);
	unsigned vector = lvtt & LVT_VECTOR;
	uint8_t bit = 1 << vector % 8;

	if (lvtt & LVT_MASKED || vector < FIRST_VECTOR || !ran_out(st) ||
	    !(apic_reg(&st->lapic, APIC_SVR) & SVR_ENABLED) ||
	    *apic_byte(&st->lapic, APIC_ISR, vector) & bit)
		return;
	*apic_byte(&st->lapic, APIC_IRR, vector) |= bit;
}

static int set_part(struct state *st, int fd, size_t i)
{
	/* A host without XSAVE has none, and takes none. */
	if (i == PART_XCRS && !st->xcrs.nr_xcrs)
		return 0;
	if (ioctl(fd, parts[i].set, part_of(st, &parts[i])) < 0)
		return fail_set(st, parts[i].what);
	return 0;
}

static int set_parts(struct state *st, int fd)
{
	int rc = 0;

	for (size_t i = 0; i < PART_EVENTS && rc == 0; i++) {
		if (i == PART_XCRS && ioctl(fd, KVM_SET_XSAVE, st->xsave) < 0)
			return fail_set(st, "vector state");
		rc = set_part(st, fd, i);
	}
	return rc;
}

static int set_msr(int fd, const struct kvm_msr_entry *e)
{
	struct msr_room room = { .nmsrs = 1, .entry[0] = *e };

	return ioctl(fd, KVM_SET_MSRS, &room);
}

/* E was not taken: whether the vCPU is as good without, unused or so anyway. */
static int miss_msr(const struct state *st, int fd,
		    const struct kvm_msr_entry *e)
{
	struct msr_room room = { .nmsrs = 1, .entry[0].index = e->index };

	if (!e->data || (ioctl(fd, KVM_GET_MSRS, &room) == 1 &&
			 room.entry[0].data == e->data))
		return 0;
	return fail(E_HOST, "%s: this host's KVM does not take MSR 0x%x of the "
		    "value 0x%llx", st->name, e->index,
		    (unsigned long long)e->data);
}

/* Those in ROOM; KVM stops at one it does not take. */
static int set_room(const struct state *st, int fd, struct msr_room *room)
{
	int rc = 0;

	while (rc == 0 && room->nmsrs) {
		unsigned n = room->nmsrs;
		int got = ioctl(fd, KVM_SET_MSRS, room);

		if (got < 0)
			return fail_set(st, "MSRs");
		if ((unsigned)got >= n)
			break;
		rc = miss_msr(st, fd, &room->entry[got]);
		room->nmsrs = n - got - 1;
		memmove(room->entry, &room->entry[got + 1],
			room->nmsrs * sizeof(room->entry[0]));
	}
	room->nmsrs = 0;
	return rc;
}

static int set_msrs(const struct cpusave *c, const struct state *st, int fd)
{
	struct msr_room room = { 0 };
	int rc = 0;

	for (unsigned i = 0; i < st->nmsrs && rc == 0; i++) {
		const struct kvm_msr_entry *e = &st->msr[i];

		if (e->index == MSR_TSC_DEADLINE)
			continue;
		if (!is_listed(c->msrs, e->index)) {
			rc = miss_msr(st, fd, e);
			continue;
		}
		room.entry[room.nmsrs++] = *e;
		if (room.nmsrs == MSR_PIECE)
			rc = set_room(st, fd, &room);
	}
	return rc < 0 ? rc : set_room(st, fd, &room);
}

static int put_offset(const struct state *st, int fd, uint64_t offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&offset,
	};

	return ioctl(fd, KVM_SET_DEVICE_ATTR, &attr) < 0 ?
	       fail_set(st, "TSC") : 0;
}

/*
 * KVM takes a TSC that is set to within a second of what it would be anyway
 * for one that is to be the same, and leaves it: a young guest's would go
 * back. What it lacks is added to the offset.
 */
static int mend_offset(const struct state *st, int fd, uint64_t offset)
{
	const struct kvm_msr_entry *saved = find_msr(st, MSR_TSC);
	struct msr_room is = { .nmsrs = 1, .entry[0].index = MSR_TSC };

	if (!saved || ioctl(fd, KVM_GET_MSRS, &is) != 1 ||
	    is.entry[0].data >= saved->data)
		return 0;
	return put_offset(st, fd, offset + saved->data - is.entry[0].data);
}

/*
 * TSCs that were together are so again, to the cycle, although they are set
 * one after the other. A KVM that does not tell offsets does the same where
 * a TSC is set to nearly what the one before it is.
 */
static int set_offset(struct cpusave *c, struct state *st, int fd)
{
	uint64_t now;
	int rc;

	if (!st->has_offset || !get_offset(fd, &now))
		return 0;
	if (c->has_offset && c->then == st->offset)
		return put_offset(st, fd, c->now);
	rc = mend_offset(st, fd, now);
	if (rc == 0 && !strcmp(st->name, "vcpu0")) {
		c->then = st->offset;
		c->has_offset = get_offset(fd, &c->now);
	}
	return rc;
}

static int set_deadline(const struct state *st, int fd)
{
	const struct kvm_msr_entry *e = find_msr(st, MSR_TSC_DEADLINE);

	if (e && set_msr(fd, e) != 1 && e->data)
		return fail_set(st, "deadline of its timer");
	return 0;
}

/* The order matters: what others depend on first, the APIC's timer after what it counts. */
static int set_state(struct cpusave *c, struct state *st, int fd)
{
	int rc = set_cpuid(c, st, fd);

	raise_timer(st);
	if (rc == 0)
		rc = set_khz(st, fd);
	if (rc == 0)
		rc = set_parts(st, fd);
	if (rc == 0)
		rc = set_msrs(c, st, fd);
	if (rc == 0)
		rc = set_offset(c, st, fd);
	if (rc == 0)
		rc = set_deadline(st, fd);
	if (rc == 0)
		rc = set_part(st, fd, PART_EVENTS);
	/* So that the guest's watchdog does not take the pause for a hang. */
	if (rc == 0)
		ioctl(fd, KVM_KVMCLOCK_CTRL, 0);
	return rc;
}

int cpusave_load(struct cpusave *c, int fd, unsigned id, struct sections *all)
{
	autofree struct state *st = new_state(c, id);
	struct section s;
	int rc;

	if (!st)
		return -ENOMEM;
	rc = section_take(all, st->name, STATE_VERSION, &s);
	if (rc == 0)
		rc = parse(st, &s);
	return rc < 0 ? rc : set_state(c, st, fd);
}
