/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI bus and MSI-X, seen from a guest's side. */
#include "dev/pci.h"

#include "fake.h"
#include "../unit/test.h"

enum { MEM_SIZE = 0x1000, WIDE_SIZE = 0x10000, IO_SIZE = 0x20 };

/* A function with one BAR of each kind; its registers are plain memory. */
struct gadget {
	struct pci_dev pci;
	struct msix msix;
	uint8_t bytes[WIDE_SIZE];
	unsigned maps[PCI_BARS], unmaps[PCI_BARS], resets, written;
};

static uint64_t gadget_read(void *dev, uint64_t off, unsigned size)
{
	struct gadget *g = dev;
	uint64_t val = 0;

	if (off < 0x100)
		return msix_table_read(&g->msix, off, size);
	if (off < 0x200)
		return msix_pba_read(&g->msix, off - 0x100, size);
	memcpy(&val, g->bytes + off, size);
	return val;
}

static void gadget_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct gadget *g = dev;

	if (off < 0x100)
		msix_table_write(&g->msix, off, size, val);
	else
		memcpy(g->bytes + off, &val, size);
}

static const struct bus_ops gadget_ops = { gadget_read, gadget_write };

static struct gadget *gadget_of(struct pci_dev *d)
{
	return container_of(d, struct gadget, pci);
}

static void gadget_mapped(struct pci_dev *d, unsigned bar, bool on)
{
	if (on)
		gadget_of(d)->maps[bar]++;
	else
		gadget_of(d)->unmaps[bar]++;
}

static void gadget_written(struct pci_dev *d, unsigned off, unsigned len)
{
	(void)off;
	(void)len;
	gadget_of(d)->written++;
	msix_config_written(&gadget_of(d)->msix);
}

static void gadget_reset(struct pci_dev *d)
{
	gadget_of(d)->resets++;
	msix_reset(&gadget_of(d)->msix);
}

static const struct pci_ops pci_ops = {
	.config_written = gadget_written,
	.bar_mapped = gadget_mapped,
	.reset = gadget_reset,
};

static void gadget_init(struct gadget *g, struct fake *f, unsigned pin)
{
	static const struct pci_ids ids = {
		.vendor = 0x1234, .device = 0x5678, .subsystem_vendor = 0x9abc,
		.subsystem = 0xdef0, .revision = 7, .class = 0x020304,
	};

	memset(g, 0, sizeof(*g));
	pci_dev_init(&g->pci, "gadget", &pci_ops, &ids, pin);
	pci_dev_bar(&g->pci, 0, PCI_BAR_MEM32, MEM_SIZE, &gadget_ops, g);
	pci_dev_bar(&g->pci, 1, PCI_BAR_IO, IO_SIZE, &gadget_ops, g);
	pci_dev_bar(&g->pci, 2, PCI_BAR_MEM64, WIDE_SIZE, &gadget_ops, g);
	msix_init(&g->msix, &g->pci, &f->chip.irqchip, 3, 0, 0, 0x100);
}

static struct fake f;
static struct gadget g;
static const unsigned at = 1 << 3;	/* slot 1, function 0 */

static void setup(unsigned pin)
{
	fake_init(&f);
	gadget_init(&g, &f, pin);
	pci_bus_add(&f.pci, &g.pci, at);
}

static void teardown(void)
{
	msix_release(&g.msix);
	fake_release(&f);
}

static uint32_t conf(unsigned off, unsigned size)
{
	return fake_conf(&f, at, off, size);
}

static void conf_set(unsigned off, unsigned size, uint32_t val)
{
	fake_conf_set(&f, at, off, size, val);
}

static void select_address(unsigned bus, unsigned devfn, unsigned reg)
{
	bus_write(&f.ports, 0xcf8, 4, 1u << 31 | bus << 16 | devfn << 8 | reg);
}

/* ------------------------------------------------------------------------ */

TEST(identity_reads_the_same_by_both_paths)
{
	setup(1);
	EQ(conf(0, 4), 0x56781234);
	EQ(conf(8, 4), 0x02030407);
	EQ(conf(0x2c, 4), 0xdef09abc);
	select_address(0, at, 0);
	EQ(bus_read(&f.ports, 0xcfc, 4), 0x56781234);
	EQ(bus_read(&f.ports, 0xcfc, 2), 0x1234);
	EQ(bus_read(&f.ports, 0xcfe, 2), 0x5678);
	EQ(bus_read(&f.ports, 0xcfd, 1), 0x12);
	EQ(bus_read(&f.ports, 0xcfd, 2), 0x7812);
	select_address(0, 0, 0);
	EQ(bus_read(&f.ports, 0xcfc, 4), 0x12378086);
	EQ(fake_conf(&f, 0, 8, 4) >> 8, 0x060000);
	teardown();
}

TEST(identity_cannot_be_written)
{
	setup(1);
	for (unsigned off = 0; off < 0x40; off++)
		if (off != PCI_COMMAND && off != PCI_COMMAND + 1)
			conf_set(off, 1, 0xff);
	EQ(conf(0, 4), 0x56781234);
	EQ(conf(8, 4), 0x02030407);
	EQ(conf(0x2c, 4), 0xdef09abc);
	EQ(conf(PCI_STATUS, 2), PCI_STATUS_CAPS);
	EQ(conf(PCI_IRQ_LINE, 1), 0xff);
	EQ(conf(PCI_IRQ_PIN, 1), 1);
	teardown();
}

TEST(what_is_absent_reads_all_ones)
{
	setup(1);
	EQ(fake_conf(&f, pci_devfn(2, 0), 0, 4), 0xffffffff);
	EQ(fake_conf(&f, pci_devfn(1, 1), 0, 2), 0xffff);
	EQ(fake_conf(&f, pci_devfn(31, 7), 0xff8, 8), -1);
	fake_conf_set(&f, pci_devfn(31, 7), 4, 4, -1);
	select_address(1, at, 0);
	EQ(bus_read(&f.ports, 0xcfc, 4), 0xffffffff);
	select_address(0, pci_devfn(2, 0), 0);
	EQ(bus_read(&f.ports, 0xcfc, 1), 0xff);
	bus_write(&f.ports, 0xcf8, 4, at << 8);		/* not enabled */
	EQ(bus_read(&f.ports, 0xcfc, 4), 0xffffffff);
	bus_write(&f.ports, 0xcfc, 4, 0x12345678);
	EQ(bus_read(&f.ports, 0xcf8, 4), at << 8);
	teardown();
}

TEST(every_width_at_every_offset_is_safe)
{
	static const unsigned sizes[] = { 1, 2, 4, 8 };

	setup(1);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned off = 0; off < 2 * 4096; off++) {
			fake_conf_set(&f, at, off, sizes[i], -1ULL);
			fake_conf(&f, at, off, sizes[i]);
			fake_conf_set(&f, at, off, sizes[i], 0);
		}
	EQ(conf(0, 4), 0x56781234);
	EQ(conf(0x100, 4), 0);				/* no extended ones */
	EQ(fake_conf(&f, at, 252, 8) >> 32, 0);
	EQ(fake_conf(&f, at, 4093, 8), -1);		/* into the next */
	EQ(bus_read(&f.memory, FAKE_ECAM + PCI_ECAM_SIZE - 4, 8), -1);
	teardown();
}

TEST(bars_are_sized_by_writing_ones)
{
	uint32_t old;

	setup(1);
	old = conf(0x10, 4);
	EQ(old & 0xf, 0);
	conf_set(0x10, 4, ~0u);
	EQ(conf(0x10, 4), (uint32_t)-MEM_SIZE);
	conf_set(0x10, 4, old);
	EQ(conf(0x10, 4), old);
	conf_set(0x14, 4, ~0u);
	EQ(conf(0x14, 4), (uint32_t)-IO_SIZE | 1);
	conf_set(0x18, 4, ~0u);
	conf_set(0x1c, 4, ~0u);
	EQ(conf(0x18, 4), (uint32_t)-WIDE_SIZE | 4);
	EQ(conf(0x1c, 4), 0xffffffff);
	conf_set(0x20, 4, ~0u);
	EQ(conf(0x20, 4), 0);				/* there is none */
	conf_set(0x30, 4, ~0u);
	EQ(conf(0x30, 4), 0);
	teardown();
}

TEST(bars_have_addresses_and_are_decoded_when_enabled)
{
	gpa_t mem, wide;
	unsigned io;

	setup(1);
	mem = conf(0x10, 4);
	io = conf(0x14, 4) & ~3u;
	wide = conf(0x18, 4) & ~15u;
	OK(mem >= FAKE_WINDOW && mem % MEM_SIZE == 0);
	OK(wide >= FAKE_WINDOW && wide % WIDE_SIZE == 0 && wide != mem);
	OK(io >= 0xc000 && io % IO_SIZE == 0);
	g.bytes[0x800] = 0x5a;
	g.bytes[0x210] = 0xa5;
	EQ(bus_read(&f.memory, mem + 0x800, 1), 0xff);
	conf_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	EQ(bus_read(&f.memory, mem + 0x800, 1), 0x5a);
	EQ(bus_read(&f.memory, wide + 0x210, 1), 0xa5);
	EQ(bus_read(&f.ports, io + 4, 1), 0xff);
	conf_set(PCI_COMMAND, 2, PCI_COMMAND_IO);
	EQ(bus_read(&f.memory, mem + 0x800, 1), 0xff);
	EQ(bus_read(&f.ports, io + 12, 1), 1);		/* a mask bit */
	EQ(g.maps[0], 1); EQ(g.unmaps[0], 1); EQ(g.maps[1], 1);
	teardown();
}

TEST(bars_move_and_are_put_above_4g)
{
	setup(1);
	g.bytes[0x800] = 0x5a;
	conf_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	conf_set(0x10, 4, 0xd8000000);
	EQ(bus_read(&f.memory, 0xd8000800, 1), 0x5a);
	EQ(bus_read(&f.memory, FAKE_WINDOW + 0x800, 1), 0xff);
	conf_set(0x1c, 4, 0x40);
	conf_set(0x18, 4, 0);
	EQ(bus_read(&f.memory, 0x4000000800, 1), 0x5a);
	EQ(g.maps[2], g.unmaps[2] + 1);
	teardown();
}

TEST(a_bar_upon_something_else_is_not_decoded)
{
	setup(1);
	g.bytes[0x800] = 0x5a;
	conf_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	conf_set(0x10, 4, FAKE_ECAM);
	EQ(conf(0x10, 4), FAKE_ECAM);
	EQ(conf(0, 4), 0x56781234);		/* ECAM is still itself */
	OK(!g.pci.bar[0].region.mapped);
	conf_set(0x10, 4, 0xd8000000);
	EQ(bus_read(&f.memory, 0xd8000800, 1), 0x5a);
	conf_set(0x18, 4, 0xd8000000);		/* its own other BAR */
	OK(!g.pci.bar[2].region.mapped);
	EQ(bus_read(&f.memory, 0xd8000800, 1), 0x5a);
	teardown();
}

TEST(sizing_while_decoded_and_address_0_are_harmless)
{
	setup(1);
	conf_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	for (unsigned off = 0x10; off < 0x28; off += 4) {
		uint32_t old = conf(off, 4);

		conf_set(off, 4, ~0u);
		conf_set(off, 4, 0);
		conf_set(off, 4, old);
	}
	OK(g.pci.bar[0].region.mapped && g.pci.bar[1].region.mapped &&
	   g.pci.bar[2].region.mapped);
	conf_set(0x10, 4, 0);
	OK(!g.pci.bar[0].region.mapped);
	conf_set(0x1c, 4, ~0u);
	conf_set(0x18, 4, ~0u);
	OK(!g.pci.bar[2].region.mapped);
	conf_set(0x1c, 4, ~0u);			/* the last 64 KiB but one */
	conf_set(0x18, 4, 0xfffe0000);
	OK(g.pci.bar[2].region.mapped);
	teardown();
}

TEST(bars_do_not_outgrow_their_window)
{
	struct gadget *more = calloc(1, sizeof(*more));
	int rc = 0;

	setup(1);
	f.pci.plan.mem.size = f.pci.plan.mem.next + MEM_SIZE;
	gadget_init(more, &f, 1);
	rc = pci_bus_add(&f.pci, &more->pci, pci_devfn(2, 0));
	EQ(rc, -28);
	OK(!f.pci.dev[pci_devfn(2, 0)]);
	rc = pci_bus_add(&f.pci, &more->pci, at);
	EQ(rc, -16);
	EQ(pci_bus_add(&f.pci, &more->pci, 256), -22);
	msix_release(&more->msix);
	free(more);
	teardown();
}

/* -------------------------------------------------------------------- INTx */

TEST(pins_are_swizzled_onto_four_lines)
{
	for (unsigned pin = 1; pin <= 4; pin++) {
		setup(pin);
		EQ(conf(PCI_IRQ_LINE, 1), 16 + (1 + pin - 1) % 4);
		pci_dev_intx(&g.pci, true);
		for (unsigned i = 0; i < 4; i++)
			EQ(f.chip.line[16 + i], i == pin % 4);
		EQ(conf(PCI_STATUS, 2) & PCI_STATUS_INTX, PCI_STATUS_INTX);
		pci_dev_intx(&g.pci, false);
		for (unsigned i = 0; i < 4; i++)
			EQ(f.chip.line[16 + i], false);
		teardown();
	}
}

TEST(a_line_is_up_while_anyone_holds_it)
{
	struct gadget *same = calloc(1, sizeof(*same));
	struct gadget *sister = calloc(1, sizeof(*sister));

	setup(1);
	gadget_init(same, &f, 1);
	gadget_init(sister, &f, 1);
	pci_bus_add(&f.pci, &same->pci, pci_devfn(5, 0));
	pci_bus_add(&f.pci, &sister->pci, pci_devfn(1, 3));
	pci_dev_intx(&g.pci, true);
	pci_dev_intx(&same->pci, true);
	pci_dev_intx(&sister->pci, true);
	EQ(f.chip.edges[17], 1);
	pci_dev_intx(&g.pci, false);
	pci_dev_intx(&same->pci, false);
	OK(f.chip.line[17]);
	pci_dev_intx(&sister->pci, false);
	OK(!f.chip.line[17]);
	EQ(conf(PCI_HEADER_TYPE, 1), PCI_MULTIFUNCTION);
	EQ(fake_conf(&f, pci_devfn(5, 0), PCI_HEADER_TYPE, 1), 0);
	pci_bus_reset(&f.pci);
	EQ(conf(PCI_HEADER_TYPE, 1), PCI_MULTIFUNCTION);
	msix_release(&same->msix);
	msix_release(&sister->msix);
	teardown();
	free(same);
	free(sister);
}

TEST(the_command_register_silences_the_pin)
{
	setup(1);
	pci_dev_intx(&g.pci, true);
	conf_set(PCI_COMMAND, 2, PCI_COMMAND_INTX_OFF);
	OK(!f.chip.line[17]);
	OK(conf(PCI_STATUS, 2) & PCI_STATUS_INTX);
	conf_set(PCI_COMMAND, 2, 0);
	OK(f.chip.line[17]);
	teardown();
}

TEST(reset_puts_everything_back)
{
	uint32_t bar;

	setup(1);
	bar = conf(0x10, 4);
	conf_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	conf_set(0x10, 4, 0xd8000000);
	conf_set(PCI_IRQ_LINE, 1, 3);
	select_address(0, at, 0);
	pci_dev_intx(&g.pci, true);
	pci_bus_reset(&f.pci);
	EQ(g.resets, 1);
	OK(!f.chip.line[17]);
	EQ(conf(0x10, 4), bar);
	EQ(conf(PCI_COMMAND, 2), 0);
	EQ(conf(PCI_IRQ_LINE, 1), 17);
	EQ(bus_read(&f.memory, 0xd8000800, 1), 0xff);
	EQ(bus_read(&f.ports, 0xcf8, 4), 0);
	EQ(g.maps[0], g.unmaps[0]);
	teardown();
}

/* ---------------------------------------------------------------- the ports */

static unsigned door_opened;

static uint64_t door_read(void *dev, uint64_t off, unsigned size)
{
	(void)dev;
	(void)size;
	return 0x77 + off;
}

static void door_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	(void)dev;
	(void)off;
	(void)size;
	door_opened = val;
}

TEST(the_reset_door_lies_amid_the_address_port)
{
	static const struct bus_ops ops = { door_read, door_write };
	struct region door = { .base = 0xcf9, .size = 1, .ops = &ops };

	setup(1);
	select_address(0, at, 0);
	EQ(bus_read(&f.ports, 0xcf9, 1), 0xff);
	EQ(bus_read(&f.ports, 0xcf8, 1), 0xff);
	EQ(bus_read(&f.ports, 0xcf8, 2), 0xffff);
	bus_write(&f.ports, 0xcf9, 1, 6);
	f.pci.plan.cf9 = &door;
	EQ(bus_read(&f.ports, 0xcf9, 1), 0x77);
	EQ(bus_read(&f.ports, 0xcf9, 2), 0xffff);
	EQ(bus_read(&f.ports, 0xcfa, 1), 0xff);
	bus_write(&f.ports, 0xcf9, 1, 6);
	EQ(door_opened, 6);
	bus_write(&f.ports, 0xcf8, 1, 9);
	bus_write(&f.ports, 0xcf8, 2, 9);
	EQ(door_opened, 6);
	EQ(bus_read(&f.ports, 0xcf8, 4), 1u << 31 | at << 8);
	EQ(bus_read(&f.ports, 0xcfe, 4), 0xffffffff);	/* over the end */
	bus_write(&f.ports, 0xcf8, 4, 0xffffffff);
	EQ(bus_read(&f.ports, 0xcf8, 4), 0x80fffffc);
	teardown();
}

/* -------------------------------------------------------------------- MSI-X */

static struct fake_drv drv;

static void msix_setup(void)
{
	setup(1);
	drv = (struct fake_drv){ .f = &f, .devfn = at };
	conf_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	for (unsigned cap = conf(PCI_CAPABILITIES, 1); cap;
	     cap = conf(cap + 1, 1))
		if (conf(cap, 1) == PCI_CAP_MSIX)
			fake_take_msix(&drv, cap);
}

TEST(msix_delivers_what_the_table_says)
{
	msix_setup();
	OK(drv.msix && drv.msix_table);
	EQ(conf(drv.msix + 2, 2), 2);
	msix_fire(&g.msix, 0);
	EQ(f.chip.routings, 0);				/* not enabled */
	fake_msix_control(&drv, true, false);
	OK(msix_enabled(&g.msix));
	fake_msix_entry(&drv, 1, FAKE_MSI_ADDR, 0x41, false);
	EQ(f.chip.routings, 0);				/* lazily */
	msix_fire(&g.msix, 1);
	msix_fire(&g.msix, 1);
	EQ(fake_msi(&f, 0x41), 2);
	EQ(f.chip.routings, 1);
	EQ(f.chip.route[24].addr, FAKE_MSI_ADDR);
	teardown();
}

TEST(masked_vectors_are_pending_until_unmasked)
{
	msix_setup();
	fake_msix_control(&drv, true, false);
	fake_msix_entry(&drv, 2, FAKE_MSI_ADDR, 0x42, true);
	msix_fire(&g.msix, 2);
	msix_fire(&g.msix, 2);
	EQ(bus_read(&f.memory, drv.msix_pba, 8), 4);
	EQ(bus_read(&f.memory, drv.msix_pba, 1), 4);
	EQ(bus_read(&f.memory, drv.msix_pba + 1, 4), 0);
	bus_write(&f.memory, drv.msix_pba, 8, 0xff);	/* read-only */
	EQ(fake_msi(&f, 0x42), 0);
	bus_write(&f.memory, drv.msix_table + 2 * 16 + 12, 4, 0);
	EQ(fake_msi(&f, 0x42), 1);
	EQ(bus_read(&f.memory, drv.msix_pba, 8), 0);

	fake_msix_control(&drv, true, true);		/* the whole function */
	msix_fire(&g.msix, 2);
	EQ(fake_msi(&f, 0x42), 0);
	fake_msix_control(&drv, true, false);
	EQ(fake_msi(&f, 0x42), 1);
	teardown();
}

TEST(a_message_changed_while_masked_is_the_one_delivered)
{
	msix_setup();
	fake_msix_control(&drv, true, false);
	fake_msix_entry(&drv, 0, FAKE_MSI_ADDR, 0x40, false);
	msix_fire(&g.msix, 0);
	bus_write(&f.memory, drv.msix_table + 12, 4, 1);
	bus_write(&f.memory, drv.msix_table + 8, 4, 0x50);
	msix_fire(&g.msix, 0);
	EQ(f.chip.routings, 1);
	bus_write(&f.memory, drv.msix_table + 12, 4, 0);
	EQ(f.chip.routings, 2);				/* at the unmask */
	EQ(fake_msi(&f, 0x40), 1);
	EQ(fake_msi(&f, 0x50), 1);
	bus_write(&f.memory, drv.msix_table + 12, 4, 1);
	bus_write(&f.memory, drv.msix_table + 8, 4, 0x51);
	bus_write(&f.memory, drv.msix_table + 12, 4, 0);
	EQ(f.chip.routings, 3);				/* pending or not */
	/* 8 bytes: data and unmask in one. */
	bus_write(&f.memory, drv.msix_table + 12, 4, 1);
	bus_write(&f.memory, drv.msix_table + 8, 8, 0x60);
	EQ(bus_read(&f.memory, drv.msix_table, 8), FAKE_MSI_ADDR);
	msix_fire(&g.msix, 0);
	EQ(fake_msi(&f, 0x60), 1);
	/* Without masking, too, though no driver may. */
	bus_write(&f.memory, drv.msix_table + 8, 4, 0x61);
	msix_fire(&g.msix, 0);
	EQ(fake_msi(&f, 0x61), 1);
	teardown();
}

TEST(vectors_that_are_not_there_do_nothing)
{
	msix_setup();
	fake_msix_control(&drv, true, false);
	msix_fire(&g.msix, 3);
	msix_fire(&g.msix, MSIX_NONE);
	EQ(f.chip.routings, 0);
	EQ(bus_read(&f.memory, drv.msix_table + 3 * 16, 8), 0);
	bus_write(&f.memory, drv.msix_table + 3 * 16 - 4, 8, -1ULL);
	EQ(bus_read(&f.memory, drv.msix_table + 3 * 16 - 4, 8), 1);
	for (unsigned off = 0; off < 0x100; off++) {
		bus_write(&f.memory, drv.msix_table + off, 8, -1ULL);
		bus_read(&f.memory, drv.msix_table + off, 8);
		bus_write(&f.memory, drv.msix_table + off, 1, 0);
		bus_read(&f.memory, drv.msix_pba + off, 8);
	}
	EQ(msix_table_read(&g.msix, UINT64_MAX, 8), 0);
	EQ(msix_table_read(&g.msix, UINT64_MAX - 7, 8), 0);
	EQ(msix_pba_read(&g.msix, UINT64_MAX, 8), 0);
	msix_table_write(&g.msix, UINT64_MAX - 3, 8, 0);
	teardown();
}

TEST(no_route_is_no_message_and_no_harm)
{
	msix_setup();
	f.chip.refuse = true;
	fake_msix_control(&drv, true, false);
	fake_msix_entry(&drv, 0, FAKE_MSI_ADDR, 0x40, false);
	msix_fire(&g.msix, 0);
	EQ(fake_msi(&f, 0x40), 0);
	f.chip.refuse = false;
	msix_fire(&g.msix, 0);
	EQ(fake_msi(&f, 0x40), 1);
	teardown();
}

TEST(reset_masks_all_vectors)
{
	msix_setup();
	fake_msix_control(&drv, true, false);
	fake_msix_entry(&drv, 0, FAKE_MSI_ADDR, 0x40, false);
	fake_msix_entry(&drv, 1, FAKE_MSI_ADDR, 0x41, true);
	msix_fire(&g.msix, 1);
	pci_bus_reset(&f.pci);
	OK(!msix_enabled(&g.msix));
	conf_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	EQ(bus_read(&f.memory, drv.msix_table, 8), 0);
	EQ(bus_read(&f.memory, drv.msix_table + 12, 4), 1);
	EQ(bus_read(&f.memory, drv.msix_pba, 8), 0);
	teardown();
}

TESTS(T(identity_reads_the_same_by_both_paths),
      T(identity_cannot_be_written), T(what_is_absent_reads_all_ones),
      T(every_width_at_every_offset_is_safe),
      T(bars_are_sized_by_writing_ones),
      T(bars_have_addresses_and_are_decoded_when_enabled),
      T(bars_move_and_are_put_above_4g),
      T(a_bar_upon_something_else_is_not_decoded),
      T(sizing_while_decoded_and_address_0_are_harmless),
      T(bars_do_not_outgrow_their_window),
      T(pins_are_swizzled_onto_four_lines),
      T(a_line_is_up_while_anyone_holds_it),
      T(the_command_register_silences_the_pin),
      T(reset_puts_everything_back),
      T(the_reset_door_lies_amid_the_address_port),
      T(msix_delivers_what_the_table_says),
      T(masked_vectors_are_pending_until_unmasked),
      T(a_message_changed_while_masked_is_the_one_delivered),
      T(vectors_that_are_not_there_do_nothing),
      T(no_route_is_no_message_and_no_harm), T(reset_masks_all_vectors))
