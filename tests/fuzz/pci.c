/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest may do to PCI: accesses to configuration space by both paths,
 * to BARs wherever they are, and interrupts between. After each, what must
 * always hold is checked.
 */
#define FAKE_RAM (64 << 10)

#include "../dev/fake.h"
#include "dev/virtio_rng.h"
#include "input.h"

enum { RNG = 1 << 3, GADGET = 2 << 3 | 1, PIN = 2 };

/* A function with every kind of BAR, and MSI-X. */
struct gadget {
	struct pci_dev pci;
	struct msix msix;
};

static uint64_t gadget_read(void *dev, uint64_t off, unsigned size)
{
	struct gadget *g = dev;

	return off & 0x800 ? msix_pba_read(&g->msix, off & 0x7ff, size) :
		msix_table_read(&g->msix, off & 0x7ff, size);
}

static void gadget_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct gadget *g = dev;

	msix_table_write(&g->msix, off, size, val);
}

static const struct bus_ops gadget_ops = { gadget_read, gadget_write };

static void gadget_written(struct pci_dev *d, unsigned off, unsigned len)
{
	(void)off;
	(void)len;
	msix_config_written(&container_of(d, struct gadget, pci)->msix);
}

static void gadget_reset(struct pci_dev *d)
{
	msix_reset(&container_of(d, struct gadget, pci)->msix);
}

static const struct pci_ops gadget_pci_ops = {
	.config_written = gadget_written, .reset = gadget_reset,
};

static const struct pci_ids gadget_ids = {
	.vendor = 0x1234, .device = 0x5678, .class = 0x020304,
};

static struct fake f;
static struct virtio_rng rng;
static struct virtio_pci rng_pci;
static struct gadget g;

static void plug(void)
{
	fake_init(&f);
	hush(&f.pci.complaints);
	virtio_rng_init(&rng, &f.mem, &f.loop, "rng0");
	virtio_pci_init(&rng_pci, &rng.virtio, &f.chip.irqchip);
	hush(&rng.virtio.complaints);
	pci_bus_add(&f.pci, &rng_pci.pci, RNG);

	memset(&g, 0, sizeof(g));
	pci_dev_init(&g.pci, "gadget", &gadget_pci_ops, &gadget_ids, PIN);
	pci_dev_bar(&g.pci, 0, PCI_BAR_MEM32, 16, &gadget_ops, &g);
	pci_dev_bar(&g.pci, 1, PCI_BAR_IO, 4, &gadget_ops, &g);
	pci_dev_bar(&g.pci, 2, PCI_BAR_MEM64, 1 << 16, &gadget_ops, &g);
	pci_dev_bar(&g.pci, 4, PCI_BAR_MEM64, 1ULL << 40, &gadget_ops, &g);
	f.pci.plan.mem.size = 1ULL << 42;
	msix_init(&g.msix, &g.pci, &f.chip.irqchip, MSIX_VECTORS, 2, 0, 0x800);
	pci_bus_add(&f.pci, &g.pci, GADGET);
}

static void unplug(void)
{
	msix_release(&g.msix);
	virtio_pci_release(&rng_pci);
	virtio_rng_release(&rng);
	fake_release(&f);
}

/* What a driver reads as its BARs is what is decoded, and nothing else is. */
static void check_bars(struct pci_dev *d)
{
	unsigned command = pci_get(d, PCI_COMMAND, 2);

	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &d->bar[i];
		bool wide = bar->kind == PCI_BAR_MEM64;
		uint64_t base = bar->region.base;

		if (!bar->region.mapped)
			continue;
		MUST(base && base % bar->region.size == 0);
		MUST((pci_get(d, PCI_BAR0 + 4 * i, wide ? 8 : 4) & ~15ULL) ==
		     (base & ~15ULL));
		MUST(command & (bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO :
				PCI_COMMAND_MEMORY));
	}
}

static void check(void)
{
	unsigned line = ((GADGET >> 3) + PIN - 1) % PCI_LINES;
	bool off = pci_get(&g.pci, PCI_COMMAND, 2) & PCI_COMMAND_INTX_OFF;

	MUST(fake_conf(&f, 0, 0, 4) == 0x12378086);
	MUST(fake_conf(&f, RNG, 0, 4) == 0x10441af4);
	MUST(fake_conf(&f, GADGET, 0, 4) == 0x56781234);
	MUST(fake_conf(&f, GADGET, PCI_IRQ_PIN, 1) == PIN);
	MUST(f.chip.line[16 + line] == (g.pci.intx && !off));
	check_bars(&g.pci);
	check_bars(&rng_pci.pci);
}

/* An address near one that means something. */
static uint64_t some_address(struct input *in)
{
	struct pci_dev *d = take8(in) & 1 ? &g.pci : &rng_pci.pci;
	unsigned i = take8(in) % (PCI_BARS + 1);

	return i == PCI_BARS ? take64(in) : d->bar[i].region.base + take16(in);
}

static void step(struct input *in)
{
	static const uint8_t devfn[] = { 0, RNG, GADGET, 255 };
	unsigned op = take8(in) % 10, size = 1 << take8(in) % 4;
	struct bus *bus = size < 8 && take8(in) & 1 ? &f.ports : &f.memory;
	gpa_t at = FAKE_ECAM + (devfn[take8(in) % 4] << 12);

	switch (op) {
	case 0:
		bus_read(&f.memory, at + (take16(in) & 0xfff), size);
		break;
	case 1:
	case 2:
		bus_write(&f.memory, at + take8(in), size, take64(in));
		break;
	case 3:
		bus_write(&f.ports, 0xcf8, 4, take32(in));
		bus_write(&f.ports, 0xcf8 + take8(in) % 8, size, take32(in));
		bus_read(&f.ports, 0xcf8 + take8(in) % 8, size);
		break;
	case 4:
		bus_read(bus, some_address(in), size);
		break;
	case 5:
		bus_write(bus, some_address(in), size, take64(in));
		break;
	case 6:
		msix_fire(&g.msix, take16(in) % (MSIX_VECTORS + 2));
		break;
	case 7:
		pci_dev_intx(&g.pci, take8(in) & 1);
		break;
	case 8:
		fake_conf_set(&f, GADGET, g.msix.cap + 2, 2, take16(in));
		msix_table_write(&g.msix, 16 * take8(in) + 8, 8, take32(in));
		break;
	case 9:
		pci_bus_reset(&f.pci);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };

	plug();
	for (int i = 0; in.len && i < MAX_STEPS; i++) {
		step(&in);
		check();
	}
	unplug();
	return 0;
}
