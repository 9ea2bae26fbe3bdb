/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pci.h - one PCI bus and the functions on it (PCI Local Bus 3.0, chapter 6;
 * PCI Express Base 3.0, 7.2.2 for ECAM).
 *
 * Theory: a function is its 256 bytes of configuration space and, beside each
 * byte, which of its bits a guest may write. That is all the sizing protocol
 * of a BAR needs: the bits below its size are not writable. After a write
 * that touched the command register or a BAR, each BAR that is to be decoded
 * becomes a region of the memory or the port bus, and ceases to be one when
 * it is not. A BAR laid over something else is refused by the bus, and then
 * simply not decoded; so is address 0, and the all-ones of sizing.
 *
 * Configuration space is reached by ECAM (in memory, 1 MiB for the one bus)
 * and by the ports 0xcf8/0xcfc. Any width at any offset is fine; what is not
 * there reads as all ones, and the extended space above 256 bytes as zero.
 * The port 0xcf9, the reset door of a PC, lies amid our 0xcf8: accesses other
 * than 4 bytes at 0xcf8 go to the region `cf9` of the plan.
 *
 * INTx: the pin of a function in slot S is wired to intx[(S + pin - 1) & 3];
 * a line is up while any function holds it.
 *
 * Each BAR is given an address when the function is added, so that a guest
 * without firmware finds them all assigned; decoding it must enable itself.
 *
 * Threads: configuration accesses come from any vCPU and hold `lock`, also
 * while they call the functions of struct pci_ops. pci_dev_intx() may come
 * from any thread and takes only `intx_lock`. The rest is for the thread that
 * builds or resets the machine.
 */
#ifndef DEV_PCI_H
#define DEV_PCI_H

#include <pthread.h>

#include "base/log.h"
#include "vmm/bus.h"
#include "vmm/irq.h"

struct buf;
struct sections;
struct section;
struct section_out;

enum {
	PCI_CONFIG_SIZE = 256,
	PCI_SLOTS = 32,
	PCI_FUNCTIONS = 8,
	PCI_BARS = 6,
	PCI_ECAM_SIZE = 1 << 20,
	PCI_LINES = 4,
};

/* Offsets in configuration space, and bits. */
enum {
	PCI_VENDOR = 0x00,
	PCI_DEVICE = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_CLASS = 0x09,
	PCI_CACHE_LINE = 0x0c,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR = 0x2c,
	PCI_SUBSYSTEM = 0x2e,
	PCI_CAPABILITIES = 0x34,
	PCI_IRQ_LINE = 0x3c,
	PCI_IRQ_PIN = 0x3d,

	PCI_COMMAND_IO = 1 << 0,
	PCI_COMMAND_MEMORY = 1 << 1,
	PCI_COMMAND_MASTER = 1 << 2,
	PCI_COMMAND_INTX_OFF = 1 << 10,
	PCI_STATUS_INTX = 1 << 3,
	PCI_STATUS_CAPS = 1 << 4,
	PCI_MULTIFUNCTION = 0x80,

	PCI_CAP_VENDOR = 0x09,
	PCI_CAP_MSIX = 0x11,
};

static inline unsigned pci_devfn(unsigned slot, unsigned function)
{
	return slot << 3 | function;
}

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bar {
	enum pci_bar_kind kind;
	struct region region;
};

struct pci_dev;

/* What a function may want to know; the bus's `lock` held. Each may be NULL. */
struct pci_ops {
	/* [OFF, OFF+LEN) is about to be read: d->config may be refreshed. */
	void (*config_read)(struct pci_dev *d, unsigned off, unsigned len);
	/* [OFF, OFF+LEN) was written. */
	void (*config_written)(struct pci_dev *d, unsigned off, unsigned len);
	/* BAR was mapped at its region's base (ON), or is about not to be. */
	void (*bar_mapped)(struct pci_dev *d, unsigned bar, bool on);
	/* The machine is reset; configuration space will be, after. */
	void (*reset)(struct pci_dev *d);
};

struct pci_dev {
	const struct pci_ops *ops;
	const char *name;		/* for messages */
	struct pci_bus *bus;		/* NULL: on none */
	uint8_t devfn;
	uint8_t caps_end;		/* where the next capability goes */
	uint8_t last_cap;		/* the `next` byte to link it from */
	bool intx;			/* the function asserts its pin */
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];
	uint8_t pristine[PCI_CONFIG_SIZE];	/* config after a reset */
	struct pci_bar bar[PCI_BARS];
};

struct pci_ids {
	uint16_t vendor, device;
	uint16_t subsystem_vendor, subsystem;
	uint8_t revision;
	uint32_t class;		/* 24 bits: class, subclass, interface */
};

struct pci_window {
	uint64_t base, size, next;
};

/* What the machine gives a bus. */
struct pci_plan {
	struct bus *memory, *ports;
	gpa_t ecam;			/* 1 MiB in `memory`; 0: no ECAM */
	struct pci_window mem, io;	/* where BARs are put; size 0: none */
	struct irq_line *intx[PCI_LINES];
	struct region *cf9;		/* NULL: nothing is there */
	struct pci_ids bridge;		/* of the host bridge, 00:00.0 */
};

struct pci_bus {
	struct pci_plan plan;
	pthread_mutex_t lock;		/* configuration space */
	pthread_mutex_t intx_lock;	/* leaf: `intx` here and in each dev */
	struct pci_dev *dev[PCI_SLOTS * PCI_FUNCTIONS];
	struct pci_dev bridge;
	uint32_t address;		/* port 0xcf8 */
	uint8_t intx[PCI_SLOTS][PCI_LINES];	/* bit per function */
	struct region ecam, cf8, cfc;
	struct log_limit complaints;
};

/* 0 or -errno with a sentence. P is copied. */
int pci_bus_init(struct pci_bus *b, const struct pci_plan *p);
void pci_bus_release(struct pci_bus *b);

/* Puts D, complete, at DEVFN; its BARs get addresses. 0 or -errno, sentence. */
int pci_bus_add(struct pci_bus *b, struct pci_dev *d, unsigned devfn);
/* Harmless if D is on no bus. */
void pci_bus_remove(struct pci_dev *d);
/* Every function as it was when it was added. */
void pci_bus_reset(struct pci_bus *b);

/*
 * The section "pci": what is the bus's own. The pins are not saved: functions
 * raise theirs again when they are loaded.
 */
void pci_bus_save(struct pci_bus *b, struct buf *to);
/* 0; -E_VERIFY, -E_CONFIG, -ENOENT with a sentence. Before the functions'. */
int pci_bus_load(struct pci_bus *b, struct sections *all);

/*
 * Configuration space, as a part of the section of whoever owns D. Loading
 * sets what a guest could have written, and decodes the BARs; the rest must be
 * as it was, else -E_CONFIG: a guest has seen another device. D's ops are not
 * told but of BARs.
 */
void pci_dev_save(struct pci_dev *d, struct section_out *s);
int pci_dev_load(struct pci_dev *d, struct section *s);

/* D is zeroed first. OPS and NAME must stay. PIN: 0 none, 1 INTA .. 4 INTD. */
void pci_dev_init(struct pci_dev *d, const char *name,
		  const struct pci_ops *ops, const struct pci_ids *ids,
		  unsigned pin);

/*
 * Describes BAR I (a 64-bit one takes I + 1, too), SIZE a power of two from
 * 16 (ports: 4) on. OPS are called as those of a region, with DEV.
 */
void pci_dev_bar(struct pci_dev *d, unsigned i, enum pci_bar_kind kind,
		 uint64_t size, const struct bus_ops *ops, void *dev);

/* Appends a capability of LEN bytes, zero but for ID; where it begins. */
unsigned pci_dev_cap(struct pci_dev *d, uint8_t id, unsigned len);

/* Asserts or releases the function's interrupt pin. */
void pci_dev_intx(struct pci_dev *d, bool level);

/* Fields of configuration space, little-endian; SIZE 1..8, within it. */
uint64_t pci_get(const struct pci_dev *d, unsigned off, unsigned size);
void pci_put(struct pci_dev *d, unsigned off, unsigned size, uint64_t val);

/* An access of any SIZE at any OFF of a function's 4 KiB. Takes `lock`. */
uint64_t pci_config_read(struct pci_bus *b, unsigned devfn, unsigned off,
			 unsigned size);
void pci_config_write(struct pci_bus *b, unsigned devfn, unsigned off,
		      unsigned size, uint64_t val);

#endif
