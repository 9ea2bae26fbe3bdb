/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * serial.c - a guest that accesses a serial port as the input says, while
 * someone types. What must always hold is asserted: nothing is lost, neither
 * typed nor sent, unless the guest throws it away itself; the interrupt line
 * agrees with the identification register.
 */
#include "dev/serial.h"

#include <assert.h>
#include <string.h>

enum { BASE = 0x3f8 };

static struct {
	struct irqchip chip;
	bool up;
	unsigned long sent;
} rig;

static void on_line(struct irqchip *c, unsigned gsi, bool level)
{
	(void)c, (void)gsi;
	assert(level != rig.up);
	rig.up = level;
}

static void on_write(struct chr *c, const void *data, size_t len)
{
	(void)c, (void)data;
	rig.sent += len;
}

static void on_ready(struct chr *c)
{
	*(bool *)(c + 1) = true;
}

/* A port and one who types: behind `chr`, whether he was asked for more. */
struct port {
	struct bus bus;
	struct irq_line line;
	struct serial s;
	struct {
		struct chr chr;
		bool ready;
	} typist;
	bool refused;
};

static void type(struct port *p, unsigned len)
{
	static const char text[256] = "typed";
	size_t taken = p->s.front.input(&p->s.front, text, len);

	assert(taken <= len && p->s.count <= SERIAL_FIFO);
	if (taken < len)
		p->refused = true;
	p->typist.ready = false;
}

static void check(struct port *p)
{
	struct serial *s = &p->s;
	bool gate = s->mcr & 0x08 && !(s->mcr & 0x10);
	unsigned iir;

	assert((bus_read(&p->bus, BASE + 3, 1) & 0xff) == s->lcr);
	/* Whoever was refused is asked again once the guest has read all. */
	if (p->refused && !s->count && !(s->mcr & 0x10))
		assert(p->typist.ready);
	if (p->typist.ready)
		p->refused = false;
	if (rig.sent % 3)
		return;
	iir = bus_read(&p->bus, BASE + 2, 1);
	assert((iir & 0xc0) == (s->fifo ? 0xc0 : 0));
	if ((iir & 0x0f) != 0x02)	/* reading that one takes it away */
		assert(rig.up == (gate && !(iir & 1)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct irqchip_ops irq_ops = { .line = on_line };
	static const struct chr_ops chr_ops = { on_write, on_ready };
	static struct port port;
	struct port *p = &port;

	memset(p, 0, sizeof(*p));
	memset(&rig, 0, sizeof(rig));
	rig.chip.ops = &irq_ops;
	bus_init(&p->bus, "port", NULL);
	p->line = (struct irq_line){ .chip = &rig.chip, .gsi = 4 };
	p->typist.chr.ops = &chr_ops;
	if (serial_init(&p->s, &p->bus, BASE, &p->line, 0,
			&p->typist.chr) < 0)
		abort();
	for (; size >= 2; data += 2, size -= 2) {
		unsigned off = data[0] % 8, width = 1U << (data[0] >> 3) % 4;
		unsigned long before = rig.sent;
		bool sends = off == 0 && !(p->s.lcr & 0x80) &&
			!(p->s.mcr & 0x10);

		switch (data[0] >> 5) {
		case 0:
			type(p, data[1]);
			break;
		case 1 ... 3:
			bus_read(&p->bus, BASE + off, width);
			assert(rig.sent == before);
			break;
		default:
			bus_write(&p->bus, BASE + off, width,
				  data[1] * 0x0101010101010101ULL);
			if (in_range(off, width, SERIAL_PORTS))
				assert(rig.sent == before + sends);
		}
		check(p);
	}
	serial_release(&p->s);
	assert(!rig.up);
	bus_release(&p->bus);
	return 0;
}
