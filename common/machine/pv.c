/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine/pv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "boot/acpi.h"
#include "boot/kernel.h"
#include "boot/layout.h"
#include "boot/vector.h"
#include "machine/parts.h"

static_assert((int)DOORS_SLEEP_S5 == (int)PV_SLEEP_TYPE_S5 &&
	      (int)DOORS_EVENTS == (int)PV_ACPI_EVENTS &&
	      (int)DOORS_EVENT_GENERATION == (int)PV_EVENT_GENERATION &&
	      (int)DOORS_ACPI_PORTS == (int)PV_PORT_ACPI_LEN,
	      "the doors are where the ACPI tables say");

/* -- what the devices and vCPUs tell, on to the owner -- */

static void on_door(void *ctx, enum door_event e)
{
	struct pv *m = ctx;

	if (e == DOOR_RESET)
		vcpus_request(&m->vcpus, VCPU_RESET);
	else
		m->parts->event(m->parts->owner, PV_POWEROFF);
}

static void on_vcpu(void *owner, enum vcpu_event e)
{
	struct pv *m = owner;

	m->parts->event(m->parts->owner,
			e == VCPU_RESET ? PV_RESET : PV_CRASH);
}

/* -- the steps of building; each `down` undoes its `up` -- */

static int mem_up(struct pv *m)
{
	uint64_t size = m->parts->conf->memory;

	if (!m->parts->restore)
		return mem_init(&m->mem, size, PV_LOW_MAX);
	return mem_map(&m->mem, m->parts->restore_mem, size, PV_LOW_MAX,
		       "saved memory");
}

static void mem_down(struct pv *m)
{
	mem_release(&m->mem);
}

static int kvm_up(struct pv *m)
{
	return kvm_init(&m->kvm, m->parts->kvm, &m->mem, false);
}

static void kvm_down(struct pv *m)
{
	kvm_release(&m->kvm);
}

static int buses_up(struct pv *m)
{
	bus_init(&m->ports, "port", &m->kvm.ports.host);
	bus_init(&m->memory, "memory", &m->kvm.memory.host);
	return 0;
}

static void buses_down(struct pv *m)
{
	bus_release(&m->memory);
	bus_release(&m->ports);
}

static int doors_up(struct pv *m)
{
	m->power = (struct irq_line){ .chip = &m->kvm.chip,
				      .gsi = PV_GSI_EVENTS };
	return doors_init(&m->doors, &m->ports, PV_PORT_ACPI, &m->power,
			  on_door, m);
}

static void doors_down(struct pv *m)
{
	doors_release(&m->doors);
}

static int serial_up(struct pv *m)
{
	struct chr *chr = m->parts->console;
	int rc;

	m->com1 = (struct irq_line){ .chip = &m->kvm.chip,
				     .gsi = PV_GSI_COM1 };
	rc = serial_init(&m->serial, &m->ports, PV_PORT_COM1, &m->com1, 0,
			 chr);
	if (rc == 0 && m->parts->conf->console == CONSOLE_SERIAL)
		chr->front = &m->serial.front;
	return rc;
}

static void serial_down(struct pv *m)
{
	m->parts->console->front = NULL;
	serial_release(&m->serial);
}

static int pci_up(struct pv *m)
{
	struct pci_plan plan = {
		.memory = &m->memory, .ports = &m->ports,
		.ecam = PV_ECAM_BASE,
		.mem = { .base = PV_PCI_BASE, .size = PV_PCI_BYTES },
		.io = { .base = PV_PCI_IO_BASE, .size = PV_PCI_IO_BYTES },
		.cf9 = &m->doors.reset,
		/* A host bridge of no particular make: Red Hat's, as QEMU's. */
		.bridge = { .vendor = 0x1b36, .device = 0x0008,
			    .class = 0x060000 },
	};

	for (unsigned i = 0; i < PCI_LINES; i++) {
		m->intx[i] = (struct irq_line){ .chip = &m->kvm.chip,
						.gsi = PV_GSI_PCI + i };
		plan.intx[i] = &m->intx[i];
	}
	return pci_bus_init(&m->pci, &plan);
}

static void pci_down(struct pv *m)
{
	pci_bus_release(&m->pci);
}

/* Puts the virtio device V, behind P, into SLOT. */
static int plug(struct pv *m, struct virtio_pci *p, struct virtio *v,
		unsigned slot)
{
	virtio_pci_init(p, v, &m->kvm.chip);
	return pci_bus_add(&m->pci, &p->pci, pci_devfn(slot, 0));
}

static int rng_up(struct pv *m)
{
	int rc = virtio_rng_init(&m->rng, &m->mem, m->parts->loop, "rng");

	if (rc < 0)
		return rc;
	rc = plug(m, &m->rng_pci, &m->rng.virtio, PV_SLOT_RNG);
	if (rc < 0)
		virtio_rng_release(&m->rng);
	return rc;
}

static void rng_down(struct pv *m)
{
	virtio_pci_release(&m->rng_pci);
	virtio_rng_release(&m->rng);
}

static bool has_hvc(const struct pv *m)
{
	return m->parts->conf->console == CONSOLE_VIRTIO;
}

static int console_up(struct pv *m)
{
	struct chr *chr = m->parts->console;
	int rc;

	if (!has_hvc(m))
		return 0;
	rc = virtio_console_init(&m->console, &m->mem, m->parts->loop, chr,
				 "console");
	if (rc < 0)
		return rc;
	rc = plug(m, &m->console_pci, &m->console.virtio, PV_SLOT_CONSOLE);
	if (rc < 0)
		virtio_console_release(&m->console);
	else
		chr->front = &m->console.front;
	return rc;
}

static void console_down(struct pv *m)
{
	if (!has_hvc(m))
		return;
	m->parts->console->front = NULL;
	virtio_pci_release(&m->console_pci);
	virtio_console_release(&m->console);
}

static void disks_down(struct pv *m)
{
	for (int i = 0; i < VMCONF_DISKS; i++) {
		struct pv_disk *d = take_ptr(m->disk[i]);

		if (!d)
			continue;
		virtio_pci_release(&d->pci);
		virtio_blk_release(&d->blk);
		free(d);
	}
}

static void on_stall(void *owner, struct virtio_blk *b)
{
	struct pv *m = owner;

	(void)b;
	m->parts->event(m->parts->owner, PV_STALL);
}

static struct limit_rates rates_of(const struct disk_conf *d)
{
	return (struct limit_rates){
		.requests = { d->iops.per_second, d->iops.burst },
		.bytes = { d->bps.per_second, d->bps.burst },
	};
}

static struct virtio_blk_conf blk_conf(struct pv *m, const struct disk_conf *d)
{
	static const enum blk_cache caches[] = {
		[CACHE_WRITEBACK] = BLK_WRITEBACK,
		[CACHE_WRITETHROUGH] = BLK_WRITETHROUGH,
		[CACHE_UNSAFE] = BLK_UNSAFE,
	};
	static const enum blk_werror werrors[] = {
		[WERROR_ENOSPC] = BLK_STALL_FULL,
		[WERROR_STOP] = BLK_STALL_ALL,
		[WERROR_REPORT] = BLK_STALL_NONE,
	};

	return (struct virtio_blk_conf){
		.serial = d->serial, .cache = caches[d->cache],
		.werror = werrors[d->werror], .rates = rates_of(d),
		.queues = vmconf_queues(m->parts->conf, d),
		.stalled = on_stall, .owner = m,
	};
}

static int disk_up(struct pv *m, int i)
{
	const struct disk_conf *dc = &m->parts->conf->disk[i];
	struct virtio_blk_conf conf = blk_conf(m, dc);
	struct pv_disk *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return fail(ENOMEM, "out of memory");
	snprintf(d->name, sizeof(d->name), "disk%d", i);
	rc = virtio_blk_init(&d->blk, &m->mem, m->parts->disk[i], &conf,
			     d->name);
	if (rc < 0) {
		free(d);
		return rc;
	}
	m->disk[i] = d;
	return plug(m, &d->pci, &d->blk.virtio, PV_SLOT_DISKS + i);
}

static int disks_up(struct pv *m)
{
	int rc = 0;

	for (int i = 0; rc == 0 && i < VMCONF_DISKS; i++)
		if (m->parts->disk[i])
			rc = disk_up(m, i);
	if (rc < 0)
		disks_down(m);
	return rc;
}

static int load_up(struct pv *m)
{
	struct boot_params bp = parts_boot(m->parts);
	int rc;

	if (m->parts->restore)
		return 0;
	rc = acpi_build(&m->mem, m->parts->conf->cpus, &bp.rsdp);
	if (rc == 0)
		rc = acpi_new_generation(&m->mem);
	if (rc == 0)
		rc = vector_build(&m->mem);
	return rc == 0 ? boot_load(&m->mem, &bp, &m->entry) : rc;
}

static void load_down(struct pv *m)
{
	(void)m;	/* it went with the memory */
}

static int vcpus_up(struct pv *m)
{
	return vcpus_init(&m->vcpus, &m->kvm, &m->ports, &m->memory,
			  m->parts->conf->cpus, on_vcpu, m);
}

static void vcpus_down(struct pv *m)
{
	vcpus_release(&m->vcpus);
}

static int restore_up(struct pv *m)
{
	return m->parts->restore ? pv_load(m, m->parts->restore) : 0;
}

static void restore_down(struct pv *m)
{
	(void)m;
}

/* The machine, from the ground up. KVM wants its memory before its chips. */
static const struct step {
	int (*up)(struct pv *m);
	void (*down)(struct pv *m);
} steps[] = {
	{ mem_up, mem_down },
	{ kvm_up, kvm_down },
	{ buses_up, buses_down },
	{ doors_up, doors_down },
	{ serial_up, serial_down },
	{ pci_up, pci_down },
	{ rng_up, rng_down },
	{ console_up, console_down },
	{ disks_up, disks_down },
	{ load_up, load_down },
	{ vcpus_up, vcpus_down },
	{ restore_up, restore_down },
};

int pv_init(struct pv *m, const struct pv_parts *parts)
{
	memset(m, 0, sizeof(*m));
	m->parts = parts;
	for (; m->built < ARRAY_SIZE(steps); m->built++) {
		int rc = steps[m->built].up(m);

		if (rc < 0) {
			pv_release(m);
			return rc;
		}
	}
	return 0;
}

void pv_release(struct pv *m)
{
	while (m->built)
		steps[--m->built].down(m);
}

int pv_start(struct pv *m, bool paused)
{
	return vcpus_start(&m->vcpus, m->parts->restore ? NULL : &m->entry,
			   paused);
}

bool pv_stalled(const struct pv *m, char *why, size_t size)
{
	for (int i = 0; i < VMCONF_DISKS; i++) {
		int rc = m->disk[i] ? virtio_blk_stall(&m->disk[i]->blk) : 0;

		if (!rc)
			continue;
		snprintf(why, size, "%s: %s", m->disk[i]->name, strerror(-rc));
		return true;
	}
	return false;
}

void pv_retry(struct pv *m)
{
	for (int i = 0; i < VMCONF_DISKS; i++)
		if (m->disk[i])
			virtio_blk_retry(&m->disk[i]->blk);
}

static int find_disk(struct pv *m, unsigned i, struct virtio_blk **b)
{
	if (i >= VMCONF_DISKS || !m->disk[i])
		return fail(E_CONFIG, "disk%u: the running VM has none", i);
	*b = &m->disk[i]->blk;
	return 0;
}

int pv_resize_disk(struct pv *m, unsigned i, uint64_t size)
{
	struct virtio_blk *b;
	int rc = find_disk(m, i, &b);

	return rc < 0 ? rc : virtio_blk_resize(b, size);
}

int pv_limit_disk(struct pv *m, unsigned i, const struct disk_conf *conf)
{
	struct limit_rates rates = rates_of(conf);
	struct virtio_blk *b;
	int rc = find_disk(m, i, &b);

	if (rc == 0)
		virtio_blk_limit(b, &rates);
	return rc;
}

void pv_press(struct pv *m)
{
	doors_press_power(&m->doors);
}

bool pv_listens(const struct pv *m)
{
	return kvm_pin_unmasked(&m->kvm, PV_GSI_EVENTS);
}
