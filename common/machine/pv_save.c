/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pv machine at rest: saved, loaded, its disks replaced. */
#include "machine/pv.h"

#include <errno.h>

#include "base/err.h"
#include "base/section.h"
#include "boot/acpi.h"
#include "vmm/mem_save.h"

/* -- rest -- */

int pv_quiesce(struct pv *m)
{
	for (int i = 0; i < VMCONF_DISKS; i++) {
		int rc = m->disk[i] ? virtio_blk_quiesce(&m->disk[i]->blk) : 0;

		if (rc < 0) {
			pv_unquiesce(m);
			return rc;
		}
	}
	return 0;
}

void pv_unquiesce(struct pv *m)
{
	for (int i = 0; i < VMCONF_DISKS; i++)
		if (m->disk[i])
			virtio_blk_unquiesce(&m->disk[i]->blk);
}

int pv_set_disk(struct pv *m, unsigned i, struct block *disk)
{
	if (i >= VMCONF_DISKS || !m->disk[i])
		return fail(E_CONFIG, "disk%u: the running VM has none", i);
	return virtio_blk_set_disk(&m->disk[i]->blk, disk);
}

/* -- the parts, each with its sections -- */

/* What the devices are put into: section "machine". */
static int save_machine(struct pv *m, struct buf *b)
{
	struct section_out s;

	section_begin(&s, b, "machine", 1);
	put_u64(&s, m->parts->conf->memory);
	put_u32(&s, m->parts->conf->cpus);
	put_u8(&s, m->parts->conf->console);
	section_end(&s);
	return 0;
}

static int load_machine(struct pv *m, struct sections *all)
{
	const struct vmconf *conf = m->parts->conf;
	uint64_t memory;
	uint32_t cpus;
	uint8_t console;
	struct section s;
	int rc = section_take(all, "machine", 1, &s);

	if (rc < 0)
		return rc;
	memory = get_u64(&s);
	cpus = get_u32(&s);
	console = get_u8(&s);
	rc = section_done(&s, false);
	if (rc < 0)
		return rc;
	if (memory != conf->memory || cpus != conf->cpus)
		return fail(E_CONFIG, "saved with %u vCPUs and %lluM of memory, "
			    "not %u and %lluM", cpus,
			    (unsigned long long)memory >> 20, conf->cpus,
			    (unsigned long long)conf->memory >> 20);
	if (console != conf->console)
		return fail(E_CONFIG, "saved with another console");
	return 0;
}

static int save_kvm(struct pv *m, struct buf *b)
{
	return kvm_save(&m->kvm, b);
}

static int load_kvm(struct pv *m, struct sections *all)
{
	return kvm_load(&m->kvm, all);
}

static int save_vcpus(struct pv *m, struct buf *b)
{
	return vcpus_save(&m->vcpus, b);
}

static int load_vcpus(struct pv *m, struct sections *all)
{
	return vcpus_load(&m->vcpus, all);
}

static int save_doors(struct pv *m, struct buf *b)
{
	doors_save(&m->doors, b);
	return 0;
}

static int load_doors(struct pv *m, struct sections *all)
{
	return doors_load(&m->doors, all);
}

static int save_serial(struct pv *m, struct buf *b)
{
	serial_save(&m->serial, b);
	return 0;
}

static int load_serial(struct pv *m, struct sections *all)
{
	return serial_load(&m->serial, all);
}

static int save_pci(struct pv *m, struct buf *b)
{
	pci_bus_save(&m->pci, b);
	return 0;
}

static int load_pci(struct pv *m, struct sections *all)
{
	return pci_bus_load(&m->pci, all);
}

/* FN for each virtio device until it fails. */
static int each_virtio(struct pv *m, int (*fn)(struct virtio_pci *p, void *arg),
		       void *arg)
{
	int rc = fn(&m->rng_pci, arg);

	if (rc == 0 && m->parts->conf->console == CONSOLE_VIRTIO)
		rc = fn(&m->console_pci, arg);
	for (int i = 0; rc == 0 && i < VMCONF_DISKS; i++)
		if (m->disk[i])
			rc = fn(&m->disk[i]->pci, arg);
	return rc;
}

static int save_one(struct virtio_pci *p, void *arg)
{
	virtio_pci_save(p, arg);
	return 0;
}

static int load_one(struct virtio_pci *p, void *arg)
{
	return virtio_pci_load(p, arg);
}

static int go_on(struct virtio_pci *p, void *arg)
{
	(void)arg;
	return virtio_go_on(p->dev);
}

static int save_virtio(struct pv *m, struct buf *b)
{
	return each_virtio(m, save_one, b);
}

static int load_virtio(struct pv *m, struct sections *all)
{
	return each_virtio(m, load_one, all);
}

/*
 * In the order of loading: devices, which may raise interrupts, behind what
 * delivers them.
 */
static const struct part {
	int (*save)(struct pv *m, struct buf *b);
	int (*load)(struct pv *m, struct sections *all);
} parts[] = {
	{ save_machine, load_machine },
	{ save_kvm, load_kvm },
	{ save_vcpus, load_vcpus },
	{ save_doors, load_doors },
	{ save_serial, load_serial },
	{ save_pci, load_pci },
	{ save_virtio, load_virtio },
};

int pv_save(struct pv *m, struct buf *b)
{
	int rc = 0;

	sections_begin(b);
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(parts); i++)
		rc = parts[i].save(m, b);
	if (rc == 0 && b->failed)
		rc = fail(ENOMEM, "out of memory");
	return rc;
}

/* Devices go on only when nothing can be wrong any more. */
int pv_load(struct pv *m, struct sections *all)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(parts); i++)
		rc = parts[i].load(m, all);
	if (rc == 0)
		rc = sections_done(all);
	if (rc == 0)
		rc = each_virtio(m, go_on, NULL);
	if (rc == 0)
		rc = acpi_new_generation(&m->mem);
	if (rc == 0)
		doors_new_generation(&m->doors);
	/* What is here and was not there: another machine. */
	return rc == -ENOENT ? -E_CONFIG : rc;
}

int pv_save_memory(struct pv *m, int fd, int report)
{
	return mem_save(&m->mem, fd, report);
}

/* How it went was told to who asked for it. */
void pv_save_memory_end(int pidfd)
{
	mem_save_end(pidfd, false);
}
