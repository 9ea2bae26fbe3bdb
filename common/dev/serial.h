/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * serial.h - a serial port: the 16550A UART (National Semiconductor
 * PC16550D, the data sheet) as a PC wires it, on eight ports and one
 * interrupt.
 *
 *	offset	DLAB=0: read, write		DLAB=1
 *	0	RBR received, THR to send	DLL  divisor latch
 *	1	IER interrupts enabled		DLM
 *	2	IIR which interrupt, FCR FIFOs
 *	3	LCR line control (bit 7: DLAB)
 *	4	MCR modem control
 *	5	LSR line status
 *	6	MSR modem status
 *	7	SCR scratch
 *
 * Theory. There is no line: what the guest sends is at its backend before the
 * instruction ends, so the transmitter is empty whenever one looks, and a
 * guest never waits for it. What the backend offers goes into the receive
 * FIFO as far as there is room, and the rest stays with the backend: only in
 * loopback, where the guest sends to itself, can the FIFO be overrun.
 * Without time there is no character timeout to wait for either: characters
 * below the trigger level are reported as timed out at once.
 *
 * The other end is a modem that is always ready: CTS, DSR and DCD are up. As
 * on a PC, the interrupt leaves the chip only while OUT2 is set and loopback
 * is not.
 *
 * Accesses wider than a byte are as many accesses of single bytes, the lowest
 * first. What has no meaning here - speed, format, break, DMA mode - is kept
 * and read back.
 *
 * Threads: the registers are accessed by any vCPU, input() is called by the
 * loop's thread; `lock` is held for each. chr_write() and chr_ready() are
 * called under it, and the interrupt line is set under it.
 */
#ifndef DEV_SERIAL_H
#define DEV_SERIAL_H

#include <pthread.h>

#include "dev/chr.h"
#include "vmm/bus.h"
#include "vmm/irq.h"

struct buf;
struct sections;

enum {
	SERIAL_PORTS = 8,
	SERIAL_FIFO = 16,
};

struct serial {
	struct chr_front front;		/* for chr->front */
	struct chr *chr;
	struct bus *ports;
	struct region region;
	struct irq_line *line;
	unsigned src;			/* our source number on the line */

	pthread_mutex_t lock;		/* of all that follows */
	uint8_t ier, lcr, mcr, scr, dll, dlm;
	uint8_t errors;			/* LSR: overrun */
	uint8_t msr;			/* with the deltas, bits 0-3 */
	bool fifo;			/* FCR bit 0; else one byte is held */
	uint8_t trigger;		/* bytes that make it urgent */
	bool sent;			/* interrupt: transmitter empty */
	bool burst;			/* the last access wrote THR */
	bool refused;			/* the backend holds back some input */
	unsigned first, count;		/* of `received`, a ring */
	uint8_t received[SERIAL_FIFO];
};

/*
 * Puts the port, as after power-on, at BASE of PORTS. CHR, PORTS and LINE
 * must stay. 0 or -errno with a sentence.
 */
int serial_init(struct serial *s, struct bus *ports, uint16_t base,
		struct irq_line *line, unsigned src, struct chr *chr);
/* No vCPU runs any more, and the backend does not call input(). */
void serial_release(struct serial *s);

/* The section "serial". What the backend holds back is not the port's. */
void serial_save(struct serial *s, struct buf *b);
/* Sets the line too. 0; -E_VERIFY, -E_CONFIG, -ENOENT with a sentence. */
int serial_load(struct serial *s, struct sections *all);

#endif
