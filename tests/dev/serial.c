/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/serial.h"

#include "base/buf.h"
#include "fake.h"
#include "../unit/test.h"

enum {
	BASE = 0x3f8, GSI = 4,
	RBR = 0, THR = 0, DLL = 0, IER = 1, DLM = 1, IIR = 2, FCR = 2, LCR = 3,
	MCR = 4, LSR = 5, MSR = 6, SCR = 7,
	OUT2 = 0x08, LOOP = 0x10,
};

/* A port on a bus; behind it a buffer. */
struct rig {
	struct fake f;
	struct irq_line line;
	struct serial s;
	struct chr chr;
	struct buf out;
	unsigned readies;
};

static void on_write(struct chr *c, const void *data, size_t len)
{
	buf_add(&container_of(c, struct rig, chr)->out, data, len);
}

static void on_ready(struct chr *c)
{
	container_of(c, struct rig, chr)->readies++;
}

static bool rig_init(struct rig *r)
{
	static const struct chr_ops ops = { on_write, on_ready };

	memset(r, 0, sizeof(*r));
	if (fake_init(&r->f) < 0)
		return false;
	r->line = (struct irq_line){ .chip = &r->f.chip.irqchip, .gsi = GSI };
	r->chr.ops = &ops;
	r->chr.front = &r->s.front;
	buf_init(&r->out);
	return serial_init(&r->s, &r->f.ports, BASE, &r->line, 0,
			   &r->chr) == 0;
}

static void rig_release(struct rig *r)
{
	serial_release(&r->s);
	buf_release(&r->out);
	fake_release(&r->f);
}

static void out(struct rig *r, unsigned reg, uint8_t val)
{
	bus_write(&r->f.ports, BASE + reg, 1, val);
}

static unsigned in(struct rig *r, unsigned reg)
{
	return bus_read(&r->f.ports, BASE + reg, 1);
}

static bool up(struct rig *r)
{
	return r->f.chip.line[GSI];
}

static size_t type(struct rig *r, const char *text)
{
	return r->s.front.input(&r->s.front, text, strlen(text));
}

TEST(a_driver_that_probes_finds_a_16550a)
{
	struct rig r;

	OK(rig_init(&r));
	out(&r, IER, 0); EQ(in(&r, IER), 0);
	out(&r, IER, 0xff); EQ(in(&r, IER), 0x0f);	/* no sleep, no UUE */
	out(&r, IER, 0);
	out(&r, SCR, 0x5a); EQ(in(&r, SCR), 0x5a);
	/* RTS and OUT2 come back as CTS and DCD in loopback. */
	out(&r, MCR, LOOP | 0x0a); EQ(in(&r, MSR) & 0xf0, 0x90);
	out(&r, MCR, 0);
	EQ(in(&r, MSR) & 0xf0, 0xb0);
	EQ(in(&r, IIR), 0x01);
	out(&r, FCR, 1); EQ(in(&r, IIR), 0xc1);
	out(&r, LCR, 0x80); EQ(in(&r, IIR), 0xc1);	/* no EFR there */
	out(&r, FCR, 0x27); EQ(in(&r, IIR) >> 5, 6);	/* no 64 bytes */
	out(&r, DLL, 1); out(&r, DLM, 2);
	EQ(in(&r, DLL), 1); EQ(in(&r, DLM), 2);
	out(&r, LCR, 0x03); EQ(in(&r, LCR), 3);
	EQ(in(&r, IER), 0);
	EQ(in(&r, LSR), 0x60);
	EQ(r.out.len, 0);
	rig_release(&r);
}

TEST(what_the_guest_sends_arrives_at_once_and_in_order)
{
	struct rig r;
	static const char text[] = "Linux version 6.1.0\r\n";

	OK(rig_init(&r));
	for (const char *p = text; *p; p++) {
		OK(in(&r, LSR) & 0x20);
		out(&r, THR, *p);
		EQ(r.out.len, (size_t)(p - text) + 1);
	}
	STR(r.out.data, text);
	rig_release(&r);
}

TEST(an_empty_transmitter_interrupts_once_for_each_burst)
{
	struct rig r;

	OK(rig_init(&r));
	out(&r, MCR, OUT2);
	out(&r, FCR, 1);
	out(&r, IER, 2);
	OK(up(&r));
	EQ(in(&r, IIR), 0xc2);
	OK(!up(&r));
	EQ(in(&r, IIR), 0xc1);
	for (int i = 0; i < 16; i++)
		out(&r, THR, 'x');
	OK(up(&r));
	EQ(r.f.chip.edges[GSI], 2);
	/* A driver that looks at LSR only has its edge, too. */
	in(&r, LSR);
	out(&r, THR, 'x');
	out(&r, THR, 'x');
	EQ(r.f.chip.edges[GSI], 3);
	out(&r, IER, 0);
	OK(!up(&r));
	out(&r, IER, 2);	/* again, for it is still empty */
	OK(up(&r));
	rig_release(&r);
}

TEST(received_bytes_interrupt_at_the_trigger_or_as_timed_out)
{
	struct rig r;

	OK(rig_init(&r));
	out(&r, MCR, OUT2);
	out(&r, FCR, 0x81);	/* 8 bytes */
	out(&r, IER, 1);
	EQ(type(&r, "1234567"), 7);
	OK(up(&r));
	EQ(in(&r, IIR), 0xcc);
	EQ(type(&r, "8"), 1);
	EQ(in(&r, IIR), 0xc4);
	for (int i = 1; i <= 8; i++) {
		EQ(in(&r, LSR), 0x61);
		EQ(in(&r, RBR), '0' + i);
	}
	EQ(in(&r, LSR), 0x60);
	OK(!up(&r));
	rig_release(&r);
}

TEST(input_beyond_the_fifo_waits_for_the_guest)
{
	struct rig r;
	static const char text[] = "0123456789abcdefghij";

	OK(rig_init(&r));
	EQ(type(&r, text), 1);		/* no FIFO yet */
	EQ(in(&r, RBR), '0');
	EQ(r.readies, 1);
	out(&r, FCR, 1);
	EQ(type(&r, text), 16);
	EQ(type(&r, "no"), 0);
	for (int i = 0; i < 16; i++) {
		EQ(r.readies, 1);
		EQ(in(&r, RBR), text[i]);
	}
	EQ(r.readies, 2);
	EQ(in(&r, LSR) & 2, 0);		/* no overrun */
	EQ(type(&r, text + 16), 4);
	for (int i = 0; i < 4; i++)
		EQ(in(&r, RBR), text[16 + i]);
	EQ(r.readies, 2);		/* nothing was refused */
	EQ(in(&r, LSR), 0x60);
	rig_release(&r);
}

TEST(clearing_or_switching_the_fifo_empties_it)
{
	struct rig r;

	OK(rig_init(&r));
	out(&r, FCR, 1);
	EQ(type(&r, "0123456789abcdefg"), 16);
	out(&r, FCR, 3);
	EQ(in(&r, LSR), 0x60);
	EQ(r.readies, 1);
	EQ(type(&r, "x"), 1);
	out(&r, FCR, 0);
	EQ(in(&r, LSR), 0x60);
	EQ(type(&r, "xy"), 1);
	out(&r, FCR, 2);	/* has no effect without bit 0 */
	EQ(in(&r, LSR), 0x61);
	rig_release(&r);
}

TEST(loopback_keeps_bytes_inside_and_can_overrun)
{
	struct rig r;

	OK(rig_init(&r));
	out(&r, FCR, 1);
	out(&r, MCR, LOOP | OUT2);
	out(&r, IER, 4);
	EQ(type(&r, "outside"), 0);
	for (int i = 0; i < 17; i++)
		out(&r, THR, 'A' + i);
	OK(!up(&r));		/* the pin is off in loopback */
	EQ(in(&r, IIR), 0xc6);
	EQ(in(&r, LSR), 0x63);
	EQ(in(&r, LSR), 0x61);	/* reported once */
	EQ(in(&r, IIR), 0xc1);
	for (int i = 0; i < 16; i++)
		EQ(in(&r, RBR), 'A' + i);
	EQ(in(&r, LSR), 0x60);
	EQ(r.readies, 0);
	out(&r, MCR, 0);
	EQ(r.readies, 1);	/* now the outside may come in */
	EQ(r.out.len, 0);

	out(&r, FCR, 0);
	out(&r, MCR, LOOP);
	out(&r, THR, 'a');
	out(&r, THR, 'b');
	EQ(in(&r, LSR), 0x63);
	EQ(in(&r, RBR), 'b');	/* without FIFO the newer one stays */
	rig_release(&r);
}

TEST(modem_lines_report_changes_and_only_the_end_of_a_ring)
{
	struct rig r;

	OK(rig_init(&r));
	EQ(in(&r, MSR), 0xb0);
	out(&r, IER, 8);
	out(&r, MCR, LOOP | 0x0f);
	EQ(in(&r, MSR), 0xf0);		/* the ring began: no delta */
	out(&r, MCR, LOOP | 0x0b);
	EQ(in(&r, IIR), 0x00);
	EQ(in(&r, MSR), 0xb4);		/* it ended */
	EQ(in(&r, IIR), 0x01);
	out(&r, MCR, LOOP);
	EQ(in(&r, MSR), 0x0b);
	EQ(in(&r, MSR), 0x00);
	out(&r, MCR, OUT2);
	OK(up(&r));
	EQ(in(&r, MSR), 0xbb);
	OK(!up(&r));
	rig_release(&r);
}

TEST(interrupts_come_in_order_of_urgency_and_through_out2)
{
	struct rig r;

	OK(rig_init(&r));
	out(&r, FCR, 1);
	out(&r, MCR, LOOP);
	for (int i = 0; i < 17; i++)
		out(&r, THR, i);
	out(&r, IER, 0x0f);
	out(&r, MCR, 0);
	OK(!up(&r));
	out(&r, MCR, OUT2);
	OK(up(&r));
	EQ(in(&r, IIR), 0xc6);
	in(&r, LSR);
	EQ(in(&r, IIR), 0xc4);
	for (int i = 0; i < 16; i++)
		in(&r, RBR);
	EQ(in(&r, IIR), 0xc2);
	EQ(in(&r, IIR), 0xc0);
	in(&r, MSR);
	EQ(in(&r, IIR), 0xc1);
	OK(!up(&r));
	rig_release(&r);
}

TEST(wide_accesses_are_bytes_the_lowest_first)
{
	struct rig r;

	OK(rig_init(&r));
	bus_write(&r.f.ports, BASE, 2, 0x0f41);
	STR(r.out.data, "A");
	EQ(in(&r, IER), 0x0f);
	bus_write(&r.f.ports, BASE, 8, 0x5a00000b03010f42);
	STR(r.out.data, "AB");
	EQ(in(&r, LCR), 3);
	EQ(in(&r, MCR), 0x0b);
	EQ(in(&r, SCR), 0x5a);
	EQ(bus_read(&r.f.ports, BASE + 2, 4), 0x600b03c2);
	EQ(bus_read(&r.f.ports, BASE + 7, 2), 0xffff);	/* over the end */
	for (unsigned off = 0; off < 8; off++)
		for (unsigned size = 1; size <= 8; size *= 2) {
			bus_write(&r.f.ports, BASE + off, size, UINT64_MAX);
			bus_read(&r.f.ports, BASE + off, size);
		}
	rig_release(&r);
}

TEST(taken_ports_are_refused)
{
	struct rig r;
	struct serial second;

	OK(rig_init(&r));
	OK(serial_init(&second, &r.f.ports, BASE + 4, &r.line, 1,
		       &r.chr) < 0);
	rig_release(&r);
}

TESTS(T(a_driver_that_probes_finds_a_16550a),
      T(what_the_guest_sends_arrives_at_once_and_in_order),
      T(an_empty_transmitter_interrupts_once_for_each_burst),
      T(received_bytes_interrupt_at_the_trigger_or_as_timed_out),
      T(input_beyond_the_fifo_waits_for_the_guest),
      T(clearing_or_switching_the_fifo_empties_it),
      T(loopback_keeps_bytes_inside_and_can_overrun),
      T(modem_lines_report_changes_and_only_the_end_of_a_ring),
      T(interrupts_come_in_order_of_urgency_and_through_out2),
      T(wide_accesses_are_bytes_the_lowest_first),
      T(taken_ports_are_refused))
