/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/serial.h"

#include <string.h>

#include "base/err.h"
#include "base/section.h"

enum reg { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

/* Interrupt enable. */
enum {
	IER_RECEIVED = 1 << 0,
	IER_SENT = 1 << 1,
	IER_LINE = 1 << 2,
	IER_MODEM = 1 << 3,
	IER_ALL = 0x0f,
};

/* Interrupt identification, in the order of their priority. */
enum {
	IIR_LINE = 0x06,
	IIR_RECEIVED = 0x04,
	IIR_TIMEOUT = 0x0c,
	IIR_SENT = 0x02,
	IIR_MODEM = 0x00,
	IIR_NONE = 0x01,
	IIR_FIFO = 0xc0,
};

enum {
	FCR_ENABLE = 1 << 0,
	FCR_CLEAR_RECEIVED = 1 << 1,
	FCR_TRIGGER_SHIFT = 6,
};

enum { LCR_DLAB = 1 << 7 };

enum {
	MCR_DTR = 1 << 0,
	MCR_RTS = 1 << 1,
	MCR_OUT1 = 1 << 2,
	MCR_OUT2 = 1 << 3,
	MCR_LOOP = 1 << 4,
	MCR_ALL = 0x1f,
};

enum {
	LSR_READY = 1 << 0,
	LSR_OVERRUN = 1 << 1,
	LSR_EMPTY = 1 << 5 | 1 << 6,	/* holding and shift register */
};

enum {
	MSR_DELTAS = 0x0f,
	MSR_CTS = 1 << 4,
	MSR_DSR = 1 << 5,
	MSR_RI = 1 << 6,
	MSR_DCD = 1 << 7,
};

static bool looped(const struct serial *s)
{
	return s->mcr & MCR_LOOP;
}

static unsigned interrupt(const struct serial *s)
{
	if (s->ier & IER_LINE && s->errors)
		return IIR_LINE;
	if (s->ier & IER_RECEIVED && s->count)
		return s->count >= s->trigger ? IIR_RECEIVED : IIR_TIMEOUT;
	if (s->ier & IER_SENT && s->sent)
		return IIR_SENT;
	if (s->ier & IER_MODEM && s->msr & MSR_DELTAS)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_line(struct serial *s)
{
	irq_set(s->line, s->src, interrupt(s) != IIR_NONE &&
		s->mcr & MCR_OUT2 && !looped(s));
}

/* Tells a backend that was refused to offer the rest, once all is read. */
static void ask_for_more(struct serial *s)
{
	if (!s->refused || s->count || looped(s))
		return;
	s->refused = false;
	chr_ready(s->chr);
}

static unsigned capacity(const struct serial *s)
{
	return s->fifo ? SERIAL_FIFO : 1;
}

static void receive(struct serial *s, uint8_t byte)
{
	s->received[(s->first + s->count++) % SERIAL_FIFO] = byte;
}

/*
 * A byte from ourselves. With the FIFO full it is lost in the shift register;
 * without a FIFO it takes the place of the one before.
 */
static void loop_back(struct serial *s, uint8_t byte)
{
	if (s->count == capacity(s)) {
		s->errors |= LSR_OVERRUN;
		if (s->fifo)
			return;
		s->count = 0;
	}
	receive(s, byte);
}

/*
 * Each write makes the transmitter busy and then empty again: an edge of the
 * interrupt, if that was up. A burst is written into the FIFO as a whole, so
 * it makes one edge.
 */
static void send(struct serial *s, uint8_t byte, bool burst)
{
	if (s->sent && !burst) {
		s->sent = false;
		update_line(s);
	}
	if (looped(s))
		loop_back(s, byte);
	else
		chr_write(s->chr, &byte, 1);
	s->sent = true;
	s->burst = true;
}

static uint8_t read_received(struct serial *s)
{
	uint8_t byte = s->received[s->first];

	if (!s->count)
		return byte;
	s->first = (s->first + 1) % SERIAL_FIFO;
	s->count--;
	ask_for_more(s);
	return byte;
}

static uint8_t read_interrupt(struct serial *s)
{
	unsigned id = interrupt(s);

	if (id == IIR_SENT)
		s->sent = false;
	return id | (s->fifo ? IIR_FIFO : 0);
}

static uint8_t read_line_status(struct serial *s)
{
	uint8_t lsr = LSR_EMPTY | s->errors | (s->count ? LSR_READY : 0);

	s->errors = 0;
	return lsr;
}

static uint8_t read_modem_status(struct serial *s)
{
	uint8_t msr = s->msr;

	s->msr &= ~MSR_DELTAS;
	return msr;
}

static void write_interrupts(struct serial *s, uint8_t val)
{
	if (val & ~s->ier & IER_SENT)
		s->sent = true;		/* for it is empty */
	s->ier = val & IER_ALL;
}

static const uint8_t triggers[] = { 1, 4, 8, 14 };

static void write_fifo_control(struct serial *s, uint8_t val)
{
	bool on = val & FCR_ENABLE;

	if (on != s->fifo || (on && val & FCR_CLEAR_RECEIVED))
		s->count = 0;
	s->fifo = on;
	s->trigger = on ? triggers[val >> FCR_TRIGGER_SHIFT] : 1;
	ask_for_more(s);
}

/* The modem lines as they are: a ready modem's, or our own outputs. */
static uint8_t modem_lines(const struct serial *s)
{
	static const struct { uint8_t out, in; } loop[] = {
		{ MCR_DTR, MSR_DSR }, { MCR_RTS, MSR_CTS },
		{ MCR_OUT1, MSR_RI }, { MCR_OUT2, MSR_DCD },
	};
	uint8_t lines = 0;

	if (!looped(s))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	for (size_t i = 0; i < ARRAY_SIZE(loop); i++)
		if (s->mcr & loop[i].out)
			lines |= loop[i].in;
	return lines;
}

static void write_modem_control(struct serial *s, uint8_t val)
{
	uint8_t now, changed;

	s->mcr = val & MCR_ALL;
	now = modem_lines(s);
	changed = (now ^ s->msr) & ~MSR_DELTAS;
	changed &= ~(now & MSR_RI);	/* of RI, only the trailing edge */
	s->msr = now | (s->msr & MSR_DELTAS) | changed >> 4;
	ask_for_more(s);
}

static uint8_t read_byte(struct serial *s, unsigned reg)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case RBR_THR:	return dlab ? s->dll : read_received(s);
	case IER:	return dlab ? s->dlm : s->ier;
	case IIR_FCR:	return read_interrupt(s);
	case LCR:	return s->lcr;
	case MCR:	return s->mcr;
	case LSR:	return read_line_status(s);
	case MSR:	return read_modem_status(s);
	default:	return s->scr;
	}
}

static void write_byte(struct serial *s, unsigned reg, uint8_t val, bool burst)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case RBR_THR:
		if (dlab)
			s->dll = val;
		else
			send(s, val, burst);
		break;
	case IER:
		if (dlab)
			s->dlm = val;
		else
			write_interrupts(s, val);
		break;
	case IIR_FCR:
		write_fifo_control(s, val);
		break;
	case LCR:
		s->lcr = val;
		break;
	case MCR:
		write_modem_control(s, val);
		break;
	case SCR:
		s->scr = val;
		break;
	}	/* LSR and MSR are for reading */
}

static uint64_t serial_read(void *dev, uint64_t off, unsigned size)
{
	struct serial *s = dev;
	uint64_t val = 0;

	pthread_mutex_lock(&s->lock);
	s->burst = false;
	for (unsigned i = 0; i < size; i++) {
		val |= (uint64_t)read_byte(s, off + i) << 8 * i;
		update_line(s);
	}
	pthread_mutex_unlock(&s->lock);
	return val;
}

static void serial_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct serial *s = dev;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < size; i++) {
		bool burst = s->burst;

		s->burst = false;
		write_byte(s, off + i, val >> 8 * i, burst);
		update_line(s);
	}
	pthread_mutex_unlock(&s->lock);
}

static size_t serial_input(struct chr_front *front, const void *data,
			   size_t len)
{
	struct serial *s = container_of(front, struct serial, front);
	const uint8_t *byte = data;
	size_t taken = 0;

	pthread_mutex_lock(&s->lock);
	while (taken < len && !looped(s) && s->count < capacity(s))
		receive(s, byte[taken++]);
	if (taken < len)
		s->refused = true;
	if (taken)
		update_line(s);
	pthread_mutex_unlock(&s->lock);
	return taken;
}

void serial_save(struct serial *s, struct buf *b)
{
	struct section_out out;

	pthread_mutex_lock(&s->lock);
	section_begin(&out, b, "serial", 1);
	put_u8(&out, s->ier);
	put_u8(&out, s->lcr);
	put_u8(&out, s->mcr);
	put_u8(&out, s->scr);
	put_u8(&out, s->dll);
	put_u8(&out, s->dlm);
	put_u8(&out, s->errors);
	put_u8(&out, s->msr & MSR_DELTAS);
	put_u8(&out, s->fifo);
	put_u8(&out, s->trigger);
	put_u8(&out, s->sent);
	put_u8(&out, s->burst);
	put_u8(&out, s->refused);
	/* One that is not there is still read from an empty FIFO. */
	put_u8(&out, s->count);
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		put_u8(&out, s->received[(s->first + i) % SERIAL_FIFO]);
	section_end(&out);
	pthread_mutex_unlock(&s->lock);
}

static bool trigger_good(const struct serial *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(triggers); i++)
		if (s->trigger == triggers[i])
			return s->fifo || s->trigger == 1;
	return false;
}

/* Whether S is as the functions above could have left it. */
static bool state_good(const struct serial *s)
{
	return !(s->ier & ~IER_ALL) && !(s->mcr & ~MCR_ALL) &&
		!(s->errors & ~LSR_OVERRUN) && !(s->msr & ~MSR_DELTAS) &&
		s->count <= capacity(s) && trigger_good(s);
}

static void get_state(struct serial *to, struct section *in)
{
	to->ier = get_u8(in);
	to->lcr = get_u8(in);
	to->mcr = get_u8(in);
	to->scr = get_u8(in);
	to->dll = get_u8(in);
	to->dlm = get_u8(in);
	to->errors = get_u8(in);
	to->msr = get_u8(in);
	to->fifo = get_u8(in);
	to->trigger = get_u8(in);
	to->sent = get_u8(in);
	to->burst = get_u8(in);
	to->refused = get_u8(in);
	to->count = get_u8(in);
	get_bytes(in, to->received, sizeof(to->received));
}

int serial_load(struct serial *s, struct sections *all)
{
	struct serial state = { 0 };
	struct section in;
	size_t from = offsetof(struct serial, ier);
	int rc = section_take(all, "serial", 1, &in);

	if (rc < 0)
		return rc;
	get_state(&state, &in);
	rc = section_done(&in, !state_good(&state));
	if (rc < 0)
		return rc;
	state.msr |= modem_lines(&state);
	pthread_mutex_lock(&s->lock);
	memcpy((char *)s + from, (char *)&state + from, sizeof(state) - from);
	ask_for_more(s);
	update_line(s);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

int serial_init(struct serial *s, struct bus *ports, uint16_t base,
		struct irq_line *line, unsigned src, struct chr *chr)
{
	static const struct bus_ops ops = { serial_read, serial_write };
	int rc;

	*s = (struct serial){
		.front.input = serial_input,
		.chr = chr,
		.ports = ports,
		.region = { .base = base, .size = SERIAL_PORTS, .ops = &ops,
			    .dev = s, .name = "serial" },
		.line = line,
		.src = src,
		.trigger = 1,
	};
	s->msr = modem_lines(s);
	pthread_mutex_init(&s->lock, NULL);
	rc = bus_add(ports, &s->region);
	if (rc == 0)
		return 0;
	pthread_mutex_destroy(&s->lock);
	return fail(-rc, "serial port at 0x%x: %s", base, strerror(-rc));
}

void serial_release(struct serial *s)
{
	bus_remove(s->ports, &s->region);
	irq_set(s->line, s->src, false);
	pthread_mutex_destroy(&s->lock);
}
