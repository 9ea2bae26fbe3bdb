/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * doors.h - the ways out of a machine: reset, power off, the power button.
 *
 *	port 0x64	0xfe written: reset. There is no keyboard controller
 *	port 0x92	bit 0: reset; bit 1 (A20) is kept
 *	port 0xcf9	bit 2: reset; bits 1 and 3 are kept
 *	acpi + 0	sleep control (ACPI 6.5, 4.8.3.7): SLP_TYP in bits 2-4,
 *			SLP_EN bit 5; S5 is power off
 *	acpi + 1	sleep status (4.8.3.7.2): WAK_STS, bit 7
 *	acpi + 2	events: what happened since it was last read, which
 *			clears it. At each, an edge on `line`
 *			tells the guest (a generic event device in its DSDT)
 *
 * A keyboard controller that is not there reads 0xff on a PC. Here its status
 * reads 0xfd: who looks for one sees, as with 0xff, output that does not end,
 * and gives up after a few bytes; who wants to give it the reset command does
 * not first wait long for its input buffer.
 *
 * A sleeping state other than S5 is left as soon as it is entered: a guest
 * that tries one waits for WAK_STS.
 *
 * Threads: registers are accessed by any vCPU. event() is called on the
 * vCPU's thread, without a lock held; it may be called again, and by several
 * at once, until the machine stops. doors_press_power() and doors_new_generation() are for any
 * thread.
 */
#ifndef DEV_DOORS_H
#define DEV_DOORS_H

#include <pthread.h>
#include <stdatomic.h>

#include "vmm/bus.h"
#include "vmm/irq.h"

enum door_event { DOOR_RESET, DOOR_POWEROFF };

enum {
	DOORS_KEYBOARD = 0x64,
	DOORS_SYSTEM = 0x92,
	DOORS_RESET = 0xcf9,

	/* In the block at `acpi`. */
	DOORS_SLEEP_CONTROL = 0,
	DOORS_SLEEP_STATUS = 1,
	DOORS_EVENTS = 2,
	DOORS_ACPI_PORTS = 4,

	DOORS_SLEEP_S5 = 5,		/* SLP_TYP, as the DSDT's \_S5 says */
	DOORS_EVENT_POWER = 1 << 0,	/* the power button */
	DOORS_EVENT_GENERATION = 1 << 1,	/* the machine is another one */
};

struct buf;
struct sections;

struct doors {
	void (*event)(void *ctx, enum door_event e);
	void *ctx;
	struct irq_line *line;
	struct bus *ports;
	/*
	 * Port 0xcf9. It lies amid PCI's 0xcf8, so it is not added to the bus
	 * here but given to the host bridge (struct pci_plan).
	 */
	struct region reset;
	struct region keyboard, system, acpi;

	atomic_uchar reset_val, system_val;
	pthread_mutex_t lock;		/* of the ACPI registers */
	uint8_t sleep_control, sleep_status, events;
};

/*
 * Puts the doors on PORTS, the ACPI block at ACPI. PORTS and LINE must stay.
 * 0 or -errno with a sentence.
 */
int doors_init(struct doors *d, struct bus *ports, uint16_t acpi,
	       struct irq_line *line,
	       void (*event)(void *ctx, enum door_event e), void *ctx);
/* No vCPU runs any more. */
void doors_release(struct doors *d);

/* Presses the power button; what comes of it is the guest's decision. */
void doors_press_power(struct doors *d);

/*
 * Tells the guest that it goes on from a state that may have gone on before:
 * what it took for its own alone (keys, random numbers) others may have too.
 */
void doors_new_generation(struct doors *d);

/* The section "doors". An event that was not read yet is told of again. */
void doors_save(struct doors *d, struct buf *b);
/* Any thread, no vCPU runs. 0; -E_VERIFY, -E_CONFIG, -ENOENT with a sentence. */
int doors_load(struct doors *d, struct sections *all);

#endif
