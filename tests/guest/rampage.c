/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rampage.c - a guest that misbehaves beyond its devices' queues (see
 * crime.h): every register and port in every width, BARs over anything,
 * processors that fight; and endings that no guest comes back from.
 */
#include "crime.h"

/* ------------------------------------------- addresses, ports, registers */

/* Every BAR where it was, MSI-X off. */
static void config_mend(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++) {
		if (!devs[i].bar)
			continue;
		put(devs[i].ecam + 4, 2, 0);
		put(capability(&devs[i], 0x11) + 2, 2, 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++) {
		if (!devs[i].bar)
			continue;
		put(devs[i].ecam + 0x10, 4, devs[i].bar);
		put(devs[i].ecam + 4, 2, 6);
	}
}

static void sweep(uint32_t from, uint32_t to, uint32_t val)
{
	for (uint32_t at = from; at < to; at++) {
		for (unsigned size = 1; size <= 4; size *= 2) {
			get(at, size);
			put(at, size, val ? val : chance());
		}
		swap8(at, (uint64_t)chance() << 32 | chance());
	}
}

/* All of one device's BAR; of the others', where one part meets the next. */
static enum saw sweep_bar(struct dev *d)
{
	static const uint16_t parts[] = { 0x800, 0x1000, 0x2000, 0x3000,
		0x3800 };

	if (d == rng)
		sweep(d->bar, d->bar + 0x4000 - 8, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		sweep(d->bar + parts[i] - 16, d->bar + parts[i] + 80, 0);
	sweep(d->bar, d->bar + COMMON_BYTES, 0xffffffff);
	for (unsigned i = 0; i < 8; i++)	/* over the end */
		swap8(d->bar + 0x3ff8 + i, chance());
	return ANY;
}

static enum saw sweep_config(struct dev *d)
{
	sweep(d->ecam, d->ecam + 0x120, 0);
	sweep(d->ecam, d->ecam + 0x120, 0xffffffff);
	sweep(d->ecam + 0xff0, d->ecam + 0x1000, 0);
	config_mend();
	return ANY;
}

/* All that a BAR may be laid over, used while it is there. */
static enum saw bar_over(struct dev *d)
{
	const uint32_t place[] = {
		0, 0xffffffff, 0xffffc000, 0x400000, RAM_END - 0x4000, ECAM,
		ECAM + 0xfc000, ECAM - 0x4000, IOAPIC, LAPIC, 0xfffbc000,
		rng->bar, disk->bar, disk->bar ^ 0x4000, 0xbfffc000, 0x80000000,
	};

	for (unsigned i = 0; i < 4 * ARRAY_SIZE(place); i++) {
		uint32_t at = place[i % ARRAY_SIZE(place)] & ~0x3fffU;

		put(d->ecam + 0x10, 4, place[i % ARRAY_SIZE(place)]);
		kick(d);
		get(at, 4);
		get(at + STATUS, 1);
		if (at >= FREE)
			put(at + 0x2000, 2, 0);
	}
	config_mend();
	return serves(d) ? SERVED : BROKEN;
}

/* The capability that accesses the BAR through configuration space. */
static enum saw bar_window(struct dev *d)
{
	static const uint32_t numbers[] = { 0, 1, 2, 3, 4, 5, 8, 0x14, 0x3ffc,
		0x3fff, 0x4000, 0xfffffffc, 0xffffffff };
	uint32_t cap = capability(d, 9);

	while (get(cap + 3, 1) != 5)
		cap = d->ecam + get(cap + 1, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(numbers); k++) {
			put(cap + 4, 1, k == 7 ? 6 : 0);
			put(cap + 8, 4, numbers[i]);
			put(cap + 12, 4, numbers[k]);
			put(cap + 16, 4, chance());
			get(cap + 16, 4);
			get(cap + 17, 2);
		}
	}
	config_mend();
	return ANY;
}

/* Whether the access reaches a door of reset or power-off. */
static bool is_door(unsigned port, unsigned size)
{
	static const uint16_t doors[] = { 0x64, 0x92, 0xcf9, 0x600 };

	for (unsigned i = 0; i < ARRAY_SIZE(doors); i++)
		if (port <= doors[i] && doors[i] < port + size)
			return true;
	return false;
}

static enum saw ports_read(struct dev *d)
{
	for (unsigned port = 0; port < 0x10000; port++)
		for (unsigned size = 1; size <= 4; size *= 2)
			in(port, size);
	serial_mend();
	return serves(d) ? SERVED : BROKEN;
}

/* Each width in turn where nothing is. */
static enum saw ports_write(struct dev *d)
{
	enum { LAST_DEVICE = 0xd00 };

	for (unsigned port = 0; port < 0x10000; port++)
		for (unsigned size = 1; size <= 4; size *= 2)
			if (!is_door(port, size) && (port < LAST_DEVICE ||
						     size == 1U << port % 3))
				out(port, size, 0xffffffff);
	for (unsigned port = 0x600; port < 0x608; port++)
		out(port, 1, 0);
	serial_mend();
	return serves(d) ? SERVED : BROKEN;
}

/* Every access of the two PCI ports but the one that resets. */
static enum saw ports_pci(struct dev *d)
{
	for (unsigned i = 0; i < 20000; i++) {
		unsigned port = 0xcf8 + chance() % 8, size = 1 << chance() % 3;

		if (!is_door(port, size))
			out(port, size, i & 1 ? chance() : 0x80000000 |
			    (chance() & 0xffff));
		in(port, size);
	}
	config_mend();
	dev_begin(d, QUEUE);
	return serves(d) ? SERVED : BROKEN;
}

/* Instructions that move many bytes at once. */
static enum saw ports_string(struct dev *d)
{
	static const uint16_t ports[] = { 0x80, 0xcf8, 0xcfc, COM1 + 7, 0x602 };

	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
		uint32_t at = FREE, n = 5000, p = ports[i];

		asm volatile("rep outsw" : "+S"(at), "+c"(n) : "d"(p) : "memory");
		at = FREE, n = 5000;
		asm volatile("rep insb" : "+D"(at), "+c"(n) : "d"(p) : "memory");
		at = FREE, n = 5000;
		asm volatile("rep insl" : "+D"(at), "+c"(n) : "d"(p) : "memory");
	}
	config_mend();
	dev_begin(d, QUEUE);
	return serves(d) ? SERVED : BROKEN;
}

/* The serial port loops back, interrupts and is read, all at once. */
static enum saw serial_storm(struct dev *d)
{
	put(IOAPIC, 4, 0x10 + 2 * 4);
	put(IOAPIC + 0x10, 4, 0x40);
	for (unsigned i = 0; i < 40000; i++) {
		unsigned at = COM1 + 1 + chance() % 7;

		if (chance() & 1)
			out(at, 1, chance());
		else
			in(at - 1, 1);
		out(COM1 + 4, 1, 0x18);		/* looped: to ourselves */
		out(COM1, 1, i);
	}
	put(IOAPIC + 0x10, 4, 0x10000);
	serial_mend();
	while (in(COM1 + 5, 1) & 1)
		in(COM1, 1);
	return serves(d) ? SERVED : BROKEN;
}

/* The registers of the interrupt chips, but for what ends in an NMI. */
static enum saw chips(struct dev *d)
{
	sweep(IOAPIC, IOAPIC + 0x20, 0x10000);
	for (unsigned i = 0; i < 256; i++) {
		put(IOAPIC, 4, i);
		put(IOAPIC + 0x10, 4, (chance() & ~0x700U) | 0x10000);
		get(IOAPIC + 0x10, 4);
	}
	for (unsigned at = 0; at < 0x1000; at++)
		for (unsigned size = 1; size <= 4; size *= 2)
			get(LAPIC + at, size);
	for (unsigned at = 0x400; at < 0xff0; at++)
		put(LAPIC + at, 4, chance());
	return serves(d) ? SERVED : BROKEN;
}

/* ------------------------------------------------------------- processors */

enum { NOT_FIXED = 0x700 };	/* in a message's data: an NMI or worse */

static volatile bool ap_work, ap_works;
/* Also where the rings are: devices may then write over this program. */
static bool ap_suicidal;

/* Sends COMMAND to all processors but this one. */
static void ipi(uint32_t command)
{
	put(LAPIC + 0x310, 4, 0);
	put(LAPIC + 0x300, 4, 0xc0000 | command);
}

/* Misuses a register of D, or uses it. */
static void meddle(struct dev *d)
{
	uint32_t at = chance() & 0x3fff;

	if (!(at & 0x300))
		at &= 0x3f;		/* the common configuration */
	if (!ap_suicidal && at >= QUEUE_DESC - 2 && at < COMMON_BYTES)
		at = STATUS;
	if (at & 1)
		kick(d);
	else if (at & 2)
		get(d->bar + at, 4);
	else if (chance() % 4)
		put(d->bar + at, 2, chance() & ~NOT_FIXED);
	else
		put(d->ecam + at % 256, 2, chance());
}

static void fight(void)
{
	ap_works = true;
	while (ap_work) {
		struct dev *d = &devs[chance() % ARRAY_SIZE(devs)];

		if (d->bar)
			meddle(d);
	}
	ap_works = false;
	halt();
}

static bool ap_start(void)
{
	copy(AP_START, ap_code, ap_code_end - ap_code);
	ap_go = fight;
	ap_work = true;
	ipi(0x4500);
	ipi(0x4600 | AP_START >> 12);
	for (unsigned i = 0; i < 200000 && !ap_works; i++)
		in(0x80, 1);
	return ap_works;
}

static enum saw smp_fight(struct dev *d)
{
	if (!ap_start())
		return SILENT;
	for (unsigned i = 0; i < 1000; i++) {
		d = &devs[i % ARRAY_SIZE(devs)];
		if (!d->bar)
			continue;
		reg(d, STATUS, 1, 0);
		reg(d, STATUS, 1, ACKNOWLEDGE | DRIVER);
		reg(d, DRIVER_FEATURE_SELECT, 4, 1);
		reg(d, DRIVER_FEATURE, 4, 1);
		reg(d, STATUS, 1, FEATURES_OK);
		dev_enable(d, QUEUE, d->desc, d->avail, d->used);
		reg(d, STATUS, 1, DRIVER_OK);
		d->size = QUEUE;
		honest(d);
		add(d, 0);
		put(d->avail + 2, 2, used_idx(d) + 1);
		kick(d);
		await(d, 16);
		if (i % 8 == 0) {
			put(d->ecam + 0x10, 4, i << 14);
			config_mend();
		}
	}
	ap_work = false;
	while (ap_works)
		in(0x80, 1);
	config_mend();
	return ANY;
}

/* ---------------------------------------------------------------- endings */

static void reset_fault(void)
{
	static const uint8_t none[6];

	asm volatile("lidt %0; ud2" : : "m"(none));
}

static void reset_control(void)
{
	out(0xcf9, 1, 6);
}

static void reset_keyboard(void)
{
	out(0x64, 1, 0xfe);
}

static void reset_system(void)
{
	out(0x92, 1, 1);
}

/* Makes each device complain as often as it can before the machine ends. */
static void reset_broken(void)
{
	for (unsigned i = 0; i < 20 * ARRAY_SIZE(devs); i++) {
		struct dev *d = &devs[i % ARRAY_SIZE(devs)];

		if (!d->bar)
			continue;
		dev_begin(d, QUEUE);
		submit(d, QUEUE);
	}
	reset_control();
}

/* Resets it with requests on their way in every device. */
static void reset_busy(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++) {
		struct dev *d = &devs[i];

		if (!d->bar)
			continue;
		dev_begin(d, QUEUE);
		honest(d);
		if (d == disk)
			disk_chain(d, 1, 8, FREE, 32 << 10, 0);
		for (unsigned k = 0; k < QUEUE; k++)
			add(d, 0);
		kick(d);
	}
	reset_control();
}

static void off(void)
{
	out(0x600, 1, 0x34);
}

static void jump(uint32_t to)
{
	asm volatile("jmp *%0" : : "r"(to));
}

static void jump_nowhere(void)
{
	jump(0xd8000000);
}

static void jump_bar(void)
{
	jump(disk->bar);
}

static void jump_ecam(void)
{
	jump(ECAM);
}

static void jump_top(void)
{
	jump(0xfffffff0);
}

static void wild_paging(void)
{
	asm volatile("mov %0, %%cr3; mov %%cr0, %%eax; or $0x80000000, %%eax;"
		     "mov %%eax, %%cr0; jmp ." : : "r"(0xfffff000) : "eax");
}

static void wild_segments(void)
{
	static const uint8_t none[6];

	asm volatile("lgdt %0; mov $0x18, %%eax; mov %%eax, %%ss; push %%eax"
		     : : "m"(none) : "eax");
}

static void wild_stack(void)
{
	asm volatile("mov $0xe0000010, %esp; 1: push %eax; call 1b");
}

static void init_self(void)
{
	put(LAPIC + 0x310, 4, 0);
	put(LAPIC + 0x300, 4, 0x4500);
	halt();
}

static void nmi_self(void)
{
	put(LAPIC + 0x310, 4, 0);
	put(LAPIC + 0x300, 4, 0x4400);
	halt();
}

/* The others begin again and again. */
static void storm_ipi(void)
{
	ap_start();
	for (;;) {
		ipi(0x4500);
		ipi(0x4600 | AP_START >> 12);
	}
}

/* The others begin anywhere below 1 MiB. */
static void storm_astray(void)
{
	for (;;) {
		ipi(0x4500);
		ipi(0x4600 | (chance() & 0xff));
	}
}

static void storm_fight(void)
{
	ap_suicidal = true;
	for (;;)
		smp_fight(rng);
}

/* The local APIC wanders over RAM, BARs and the void. */
static void storm_apic(void)
{
	static const uint32_t base[] = { FREE, ECAM, IOAPIC, 0xfffbc000,
		0xd0000000, 0, 0xfffff000 };

	for (unsigned i = 0;; i++) {
		uint32_t at = i % 8 == 7 ? rng->bar : base[i % 8];

		asm volatile("wrmsr" : : "c"(0x1b), "d"(i & 1 ? 0 : 0xf),
			     "a"(at | 0x900));
		get(at & ~0xfffU, 4);
		get(LAPIC + 0x20, 4);
	}
}

static void storm_kick(void)
{
	for (;;)
		for (unsigned i = 0; i < ARRAY_SIZE(devs); i++)
			if (devs[i].bar)
				kick(&devs[i]);
}

/* Kicks for queues that never have anything to give and always pretend. */
static void storm_queue(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++) {
		if (!devs[i].bar)
			continue;
		dev_begin(&devs[i], QUEUE);
		honest(&devs[i]);
	}
	for (;;) {
		for (unsigned i = 0; i < ARRAY_SIZE(devs); i++) {
			if (!devs[i].bar)
				continue;
			for (unsigned k = 0; k < QUEUE; k++)
				add(&devs[i], 0);
			kick(&devs[i]);
			while (devs[i].added != used_idx(&devs[i]))
				;
		}
	}
}

static void storm_console(void)
{
	struct dev *d = &devs[1];

	fill(FREE, 0x100000, 0x0a786878);
	dev_begin(d, QUEUE);
	desc(d, 0, FREE, 0x100000, 0, 0);
	for (;;) {
		for (unsigned k = 0; k < QUEUE; k++)
			add(d, 0);
		kick(d);
		while (d->added != used_idx(d))
			;
	}
}

static void storm_serial(void)
{
	fill(FREE, 0x10000, 0x0a786878);
	for (;;) {
		uint32_t at = FREE, n = 0x10000, port = COM1;

		asm volatile("rep outsb" : "+S"(at), "+c"(n) : "d"(port));
	}
}

/* --------------------------------------------------------------- the lists */

static const struct crime crimes[] = {
	{ "sweep-bar", sweep_bar, ANY, EACH },
	{ "sweep-config", sweep_config, ANY, EACH },
	{ "sweep-chips", chips, SERVED, RNG },
	{ "bar-over", bar_over, SERVED, EACH },
	{ "bar-window", bar_window, ANY, EACH },
	{ "ports-read", ports_read, SERVED, RNG },
	{ "ports-write", ports_write, SERVED, RNG },
	{ "ports-pci", ports_pci, SERVED, RNG },
	{ "ports-string", ports_string, SERVED, RNG },
	{ "serial-storm", serial_storm, SERVED, RNG },
	{ "smp-fight", smp_fight, ANY, RNG },
};

static const struct ending endings[] = {
	{ "halt", halt },
	{ "off", off },
	{ "reset-fault", reset_fault },
	{ "reset-control", reset_control },
	{ "reset-keyboard", reset_keyboard },
	{ "reset-system", reset_system },
	{ "reset-broken", reset_broken },
	{ "reset-busy", reset_busy },
	{ "jump-nowhere", jump_nowhere },
	{ "jump-bar", jump_bar },
	{ "jump-ecam", jump_ecam },
	{ "jump-top", jump_top },
	{ "wild-paging", wild_paging },
	{ "wild-segments", wild_segments },
	{ "wild-stack", wild_stack },
	{ "init-self", init_self },
	{ "nmi-self", nmi_self },
	{ "storm-ipi", storm_ipi },
	{ "storm-astray", storm_astray },
	{ "storm-fight", storm_fight },
	{ "storm-apic", storm_apic },
	{ "storm-kick", storm_kick },
	{ "storm-queue", storm_queue },
	{ "storm-console", storm_console },
	{ "storm-serial", storm_serial },
};

void main(const uint32_t *start_info)
{
	const char *what = order(start_info);

	devs_find();
	for (unsigned i = 0; i < ARRAY_SIZE(endings); i++) {
		if (!begins(what, endings[i].name))
			continue;
		say("hostile: ");
		say(endings[i].name);
		say("\r\n");
		endings[i].commit();
		halt();
	}
	crimes_run(what, crimes, ARRAY_SIZE(crimes));
}
