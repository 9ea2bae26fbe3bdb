/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * msix.h - MSI-X: a PCI function's message-signalled interrupts (PCI Local
 * Bus 3.0, 6.8.2).
 *
 * Theory: the table and the pending bits live in a BAR, which the owner
 * decodes and hands on. A vector that is fired while it or the function is
 * masked becomes pending and is delivered at the unmask. Routes of the
 * interrupt chip are a scarce thing and changing one is slow, so a vector has
 * none until it is delivered for the first time; afterwards its message is
 * brought up to date when it is unmasked. A guest that rewrites the message
 * of an unmasked vector (it must not) is obeyed at the next delivery.
 *
 * Threads: any; `lock` is a leaf.
 */
#ifndef DEV_MSIX_H
#define DEV_MSIX_H

#include "dev/pci.h"

enum {
	MSIX_VECTORS = 32,	/* of one function at most */
	MSIX_ENTRY_SIZE = 16,
	MSIX_NONE = 0xffff,	/* the vector that means "no interrupt" */
};

struct msix_vector {
	struct msi msi;
	bool routed;		/* delivered before: has a route */
	bool stale;		/* the route is not what the table says */
	bool pending;
};

struct msix {
	struct pci_dev *dev;
	unsigned cap;			/* offset of the capability */
	unsigned n;			/* vectors */
	bool enabled, masked;		/* of the whole function */
	pthread_mutex_t lock;
	uint8_t table[MSIX_VECTORS * MSIX_ENTRY_SIZE];	/* as it is read */
	struct msix_vector vector[MSIX_VECTORS];
	struct log_limit complaints;
};

/*
 * Adds the capability to D: N vectors (1..MSIX_VECTORS), the table at TABLE
 * of BAR, the pending bits at PBA of it; both multiples of 8.
 */
void msix_init(struct msix *m, struct pci_dev *d, struct irqchip *chip,
	       unsigned n, unsigned bar, uint32_t table, uint32_t pba);
void msix_release(struct msix *m);
/* As after power-up: all masked, nothing pending. Call on a PCI reset. */
void msix_reset(struct msix *m);

/* To be called when configuration space was written. */
void msix_config_written(struct msix *m);

/*
 * Accesses to the table and the pending bits, OFF from their start; any SIZE
 * up to 8 anywhere: beyond the end reads zero, writes are lost.
 */
uint64_t msix_table_read(struct msix *m, uint64_t off, unsigned size);
void msix_table_write(struct msix *m, uint64_t off, unsigned size,
		      uint64_t val);
uint64_t msix_pba_read(struct msix *m, uint64_t off, unsigned size);

/* Whether messages, and not the pin, are to be used. */
bool msix_enabled(struct msix *m);
/* Sends VECTOR, or keeps it pending; nothing if there is no such vector. */
void msix_fire(struct msix *m, uint16_t vector);

/*
 * Table and pending bits, a part of the section of the function; whether they
 * are in use is in its configuration space, which must be loaded before.
 * Routes are made anew as vectors are delivered. 0 or -E_VERIFY.
 */
void msix_save(struct msix *m, struct section_out *s);
int msix_load(struct msix *m, struct section *s);

#endif
