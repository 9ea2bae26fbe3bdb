/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/doors.h"

#include "fake.h"
#include "../unit/test.h"

enum { ACPI = 0x600, GSI = 9 };

struct rig {
	struct fake f;
	struct irq_line line;
	struct doors d;
	unsigned resets, offs;
};

static void on_event(void *ctx, enum door_event e)
{
	struct rig *r = ctx;

	*(e == DOOR_RESET ? &r->resets : &r->offs) += 1;
}

/* With the host bridge, which hands 0xcf9 on. */
static bool rig_init(struct rig *r)
{
	struct pci_plan plan;

	memset(r, 0, sizeof(*r));
	if (fake_init(&r->f) < 0)
		return false;
	r->line = (struct irq_line){ .chip = &r->f.chip.irqchip, .gsi = GSI };
	if (doors_init(&r->d, &r->f.ports, ACPI, &r->line, on_event, r) < 0)
		return false;
	plan = r->f.pci.plan;
	plan.cf9 = &r->d.reset;
	pci_bus_release(&r->f.pci);
	return pci_bus_init(&r->f.pci, &plan) == 0;
}

static void rig_release(struct rig *r)
{
	doors_release(&r->d);
	fake_release(&r->f);
}

static void out(struct rig *r, unsigned port, uint8_t val)
{
	bus_write(&r->f.ports, port, 1, val);
}

static unsigned in(struct rig *r, unsigned port)
{
	return bus_read(&r->f.ports, port, 1);
}

TEST(each_reset_door_opens_and_nothing_near_it)
{
	static const struct { unsigned port; uint8_t val; bool reset; } t[] = {
		{ 0x64, 0xfe, true }, { 0x64, 0xff, false },
		{ 0x64, 0xd1, false }, { 0x60, 0xfe, false },
		{ 0x92, 0x03, true }, { 0x92, 0x02, false },
		{ 0xcf9, 0x06, true }, { 0xcf9, 0x0e, true },
		{ 0xcf9, 0x04, true }, { 0xcf9, 0x02, false },
		{ 0xcf8, 0x06, false }, { 0xcfa, 0x06, false },
	};
	struct rig r;

	OK(rig_init(&r));
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		r.resets = 0;
		out(&r, t[i].port, t[i].val);
		EQ(r.resets, t[i].reset);
	}
	bus_write(&r.f.ports, 0xcf8, 4, 0x80000600);	/* a PCI address */
	EQ(r.resets, 0);
	EQ(r.offs, 0);
	rig_release(&r);
}

TEST(doors_read_back_what_a_guest_expects)
{
	struct rig r;

	OK(rig_init(&r));
	/* Output without end, room for a command. */
	EQ(in(&r, 0x64) & 3, 1);
	EQ(in(&r, 0x60), 0xff);
	EQ(in(&r, 0x92), 0x02);
	out(&r, 0x92, 0); EQ(in(&r, 0x92), 0);
	EQ(in(&r, 0xcf9), 0);
	out(&r, 0xcf9, 0x0e); EQ(in(&r, 0xcf9), 0x0a);
	rig_release(&r);
}

TEST(s5_turns_off_and_other_sleep_wakes_at_once)
{
	struct rig r;

	OK(rig_init(&r));
	out(&r, ACPI, 5 << 2);			/* without SLP_EN */
	EQ(r.offs, 0);
	EQ(in(&r, ACPI), 5 << 2);
	EQ(in(&r, ACPI + 1), 0);
	out(&r, ACPI, 3 << 2 | 1 << 5);
	EQ(r.offs, 0);
	EQ(in(&r, ACPI), 3 << 2);		/* SLP_EN is write-only */
	EQ(in(&r, ACPI + 1), 0x80);
	out(&r, ACPI + 1, 0x80);
	EQ(in(&r, ACPI + 1), 0);
	out(&r, ACPI, 5 << 2 | 1 << 5);
	EQ(r.offs, 1);
	EQ(r.resets, 0);
	rig_release(&r);
}

TEST(each_press_of_the_power_button_is_an_edge)
{
	struct rig r;

	OK(rig_init(&r));
	EQ(in(&r, ACPI + 2), 0);
	doors_press_power(&r.d);
	EQ(r.f.chip.edges[GSI], 1);
	doors_press_power(&r.d);	/* the first may have met a masked pin */
	EQ(r.f.chip.edges[GSI], 2);
	OK(!r.f.chip.line[GSI]);
	EQ(in(&r, ACPI + 2), 1);
	EQ(in(&r, ACPI + 2), 0);
	doors_press_power(&r.d);
	EQ(r.f.chip.edges[GSI], 3);
	rig_release(&r);
}

TEST(every_width_at_every_port_is_safe)
{
	static const unsigned ports[] = { 0x60, 0x64, 0x92, 0xcf8, 0xcf9,
					  ACPI };
	struct rig r;

	OK(rig_init(&r));
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
		for (unsigned off = 0; off < 8; off++)
			for (unsigned size = 1; size <= 8; size *= 2) {
				bus_read(&r.f.ports, ports[i] + off, size);
				bus_write(&r.f.ports, ports[i] + off, size,
					  UINT64_MAX);
			}
	r.offs = 0;
	bus_write(&r.f.ports, ACPI, 4, 5 << 2 | 1 << 5);
	EQ(r.offs, 1);
	rig_release(&r);
}

TESTS(T(each_reset_door_opens_and_nothing_near_it),
      T(doors_read_back_what_a_guest_expects),
      T(s5_turns_off_and_other_sleep_wakes_at_once),
      T(each_press_of_the_power_button_is_an_edge),
      T(every_width_at_every_port_is_safe))
