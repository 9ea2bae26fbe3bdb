/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * irq.h - interrupts as a device sees them: lines and messages.
 *
 * Theory: `struct irqchip` is what delivers them: KVM's in-kernel chips in a
 * VM, an array that remembers in a test. Devices hold one of
 *
 *	struct irq_line	a level-triggered line that several devices share: its
 *			level is the OR of its sources (PCI INTx), or one of
 *			its own (edge: irq_pulse()).
 *	struct msi	one message-signalled interrupt: an eventfd bound to a
 *			GSI whose route is the message. The route is made at
 *			the first msi_set() and changed only when the message
 *			changes; whoever holds the eventfd (an I/O thread, the
 *			host's kernel) fires it by a write.
 *
 * Threads: any. Lines lock themselves; msi_set() and msi_release() of one msi
 * are serialized by its device; msi_fire() may run beside them.
 */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include "base/types.h"

struct irqchip;

struct irqchip_ops {
	/* Sets the input GSI of the chips to LEVEL. */
	void (*line)(struct irqchip *c, unsigned gsi, bool level);
	/*
	 * Routes GSI to the message and binds FD to it (or, FD same as
	 * before, only changes the message). 0 or -errno.
	 */
	int (*route_msi)(struct irqchip *c, unsigned gsi, uint64_t addr,
			 uint32_t data, int fd);
	/* Undoes route_msi(). */
	void (*unroute_msi)(struct irqchip *c, unsigned gsi, int fd);
};

/* GSIs below are the I/O APIC's pins; those from it on are for messages. */
enum { IRQ_PINS = 24, IRQ_GSIS = 1024 };

struct irqchip {
	const struct irqchip_ops *ops;
	uint64_t used[IRQ_GSIS / 64];	/* message GSIs taken; atomic */
};

/* A line and how many sources hold it up. */
struct irq_line {
	struct irqchip *chip;
	unsigned gsi;
	uint32_t holders;	/* bit per source, atomic under `busy` */
	bool busy;
};

/* Sets source SRC (0..31) of the line. Calls the chip only on a change. */
void irq_set(struct irq_line *l, unsigned src, bool level);
/* Up and down: one edge. */
void irq_pulse(struct irq_line *l);

struct msi {
	struct irqchip *chip;
	int fd;			/* eventfd; -1 until the first msi_set() */
	int gsi;		/* -1 likewise */
	bool busy;		/* fd is in use: fired, or going away */
	uint64_t addr;
	uint32_t data;
};

void msi_init(struct msi *m, struct irqchip *chip);
/* Makes M deliver (ADDR, DATA). 0 or -errno; then it delivers nothing. */
int msi_set(struct msi *m, uint64_t addr, uint32_t data);
/* Sends it once; nothing if never set. Safe in any thread. */
void msi_fire(struct msi *m);
void msi_release(struct msi *m);

#endif
