/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is no disk, saved and loaded into another machine. */
#define FAKE_RAM (512 << 10)

#include "dev/doors.h"
#include "dev/serial.h"
#include "dev/virtio_console.h"
#include "dev/virtio_rng.h"

#include <errno.h>

#include "base/buf.h"
#include "saved.h"
#include "../unit/test.h"

enum {
	COM1 = 0x3f8,
	ACPI = 0x600,
	COM1_GSI = 4,
	EVENTS_GSI = 9,
	RX_QUEUE = 0x10000,
	TX_QUEUE = 0x14000,
	RNG_QUEUE = 0x18000,
	DATA = 0x30000,
	CONSOLE = 8,		/* PCI devfn */
	RNG = 16,
};

/* A machine with all of them. */
static struct rig {
	struct fake f;
	struct irq_line com1, events;
	struct doors doors;
	struct serial serial;
	struct virtio_console console;
	struct virtio_rng rng;
	struct virtio_pci console_pci, rng_pci;
	struct chr chr;
	struct buf out;
	unsigned readies;
	struct fake_drv drv, rng_drv;
	struct fake_queue rx, tx, entropy;
} rig;

static void on_write(struct chr *c, const void *data, size_t len)
{
	(void)c;
	buf_add(&rig.out, data, len);
}

static void on_ready(struct chr *c)
{
	(void)c;
	rig.readies++;
}

static void on_door(void *ctx, enum door_event e)
{
	(void)ctx;
	(void)e;
}

static void plug_virtio(struct virtio_pci *p, struct virtio *v, unsigned devfn)
{
	virtio_pci_init(p, v, &rig.f.chip.irqchip);
	pci_bus_add(&rig.f.pci, &p->pci, devfn);
	v->complaints = (struct log_limit){ .said = LOG_BURST,
					    .next_ns = UINT64_MAX };
}

/* As after power-on. */
static bool build(void)
{
	static const struct chr_ops ops = { on_write, on_ready };
	struct rig *r = &rig;

	r->chr = (struct chr){ .ops = &ops };
	buf_init(&r->out);
	r->readies = 0;
	if (fake_init(&r->f) < 0)
		return false;
	r->com1 = (struct irq_line){ .chip = &r->f.chip.irqchip,
				     .gsi = COM1_GSI };
	r->events = (struct irq_line){ .chip = &r->f.chip.irqchip,
				       .gsi = EVENTS_GSI };
	if (doors_init(&r->doors, &r->f.ports, ACPI, &r->events, on_door,
		       NULL) < 0 ||
	    serial_init(&r->serial, &r->f.ports, COM1, &r->com1, 0,
			&r->chr) < 0 ||
	    virtio_console_init(&r->console, &r->f.mem, &r->f.loop, &r->chr,
				"console") < 0 ||
	    virtio_rng_init(&r->rng, &r->f.mem, &r->f.loop, "rng") < 0)
		return false;
	plug_virtio(&r->console_pci, &r->console.virtio, CONSOLE);
	plug_virtio(&r->rng_pci, &r->rng.virtio, RNG);
	return true;
}

static void end(void)
{
	struct rig *r = &rig;

	virtio_pci_release(&r->rng_pci);
	virtio_pci_release(&r->console_pci);
	virtio_rng_release(&r->rng);
	virtio_console_release(&r->console);
	serial_release(&r->serial);
	doors_release(&r->doors);
	buf_release(&r->out);
	fake_release(&r->f);
}

static bool drive(void)
{
	struct rig *r = &rig;

	fake_probe(&r->drv, &r->f, CONSOLE);
	fake_probe(&r->rng_drv, &r->f, RNG);
	if (!fake_negotiate(&r->drv, ~0ULL) ||
	    !fake_negotiate(&r->rng_drv, ~0ULL))
		return false;
	fake_msix_on(&r->drv, 3);
	fake_msix_on(&r->rng_drv, 2);
	if (!fake_queue_init(&r->rx, &r->drv, 0, 16, RX_QUEUE) ||
	    !fake_queue_init(&r->tx, &r->drv, 1, 16, TX_QUEUE) ||
	    !fake_queue_init(&r->entropy, &r->rng_drv, 0, 16, RNG_QUEUE))
		return false;
	fake_driver_ok(&r->drv);
	fake_driver_ok(&r->rng_drv);
	return true;
}

static bool start(void)
{
	return build() && drive();
}

static bool save(struct buf *b)
{
	begin_saving(b);
	doors_save(&rig.doors, b);
	serial_save(&rig.serial, b);
	virtio_pci_save(&rig.console_pci, b);
	virtio_pci_save(&rig.rng_pci, b);
	carry_out(&rig.f);
	return !b->failed;
}

static int load(const struct buf *b)
{
	struct sections *all = parse(b);
	int rc = all ? doors_load(&rig.doors, all) : -EIO;

	if (rc == 0)
		rc = serial_load(&rig.serial, all);
	if (rc == 0)
		rc = virtio_pci_load(&rig.console_pci, all);
	if (rc == 0)
		rc = virtio_pci_load(&rig.rng_pci, all);
	if (rc == 0)
		rc = sections_done(all);
	if (rc == 0)
		rc = virtio_go_on(&rig.console.virtio);
	return rc == 0 ? virtio_go_on(&rig.rng.virtio) : rc;
}

static bool move_house(void)
{
	struct buf state;
	bool moved = save(&state);

	end();
	moved = moved && build();
	carry_in(&rig.f);
	moved = moved && load(&state) == 0;
	buf_release(&state);
	return moved;
}

static void out(unsigned port, uint8_t val)
{
	bus_write(&rig.f.ports, port, 1, val);
}

static unsigned in(unsigned port)
{
	return bus_read(&rig.f.ports, port, 1);
}

static size_t type(struct chr_front *front, const char *text)
{
	return front->input(front, text, strlen(text));
}

/* -- the serial port -- */

static void open_port(void)
{
	out(COM1 + 2, 0xc7);	/* FIFO, urgent from 14 on */
	out(COM1 + 3, 0x03);
	out(COM1 + 4, 0x0b);	/* DTR, RTS, OUT2 */
	out(COM1 + 1, 0x01);
}

TEST(characters_received_are_read_in_their_order)
{
	OK(start());
	open_port();
	EQ(type(&rig.serial.front, "ab0123456789"), 12);
	EQ(in(COM1), 'a');	/* the ring does not begin at 0 */
	EQ(in(COM1), 'b');
	EQ(type(&rig.serial.front, "ABCDEFG"), 6);
	OK(rig.f.chip.line[COM1_GSI]);
	OK(move_house());
	OK(rig.f.chip.line[COM1_GSI]);
	EQ(rig.f.chip.edges[COM1_GSI], 1);
	EQ(in(COM1 + 2), 0xc4);		/* as urgent as it was */
	for (const char *c = "0123456789ABCDEF"; *c; c++)
		EQ(in(COM1), *c);
	OK(!rig.f.chip.line[COM1_GSI]);
	EQ(rig.readies, 1);		/* the G was refused */
	end();
}

TEST(registers_of_the_port_are_kept)
{
	OK(start());
	out(COM1 + 7, 0x5a);
	out(COM1 + 4, 0x1b);	/* loopback */
	out(COM1 + 3, 0x83);	/* DLAB */
	out(COM1, 0x0c);
	out(COM1 + 1, 0x01);
	OK(move_house());
	EQ(in(COM1), 0x0c);
	EQ(in(COM1 + 1), 0x01);
	EQ(in(COM1 + 3), 0x83);
	EQ(in(COM1 + 4), 0x1b);
	EQ(in(COM1 + 6) & 0xf0, 0xb0);
	EQ(in(COM1 + 7), 0x5a);
	out(COM1 + 3, 0x03);
	EQ(in(COM1 + 1), 0);
	out(COM1, 'x');
	EQ(in(COM1), 'x');
	EQ(rig.out.len, 0);
	end();
}

TEST(the_empty_transmitter_interrupts_once_after_loading)
{
	OK(start());
	open_port();
	out(COM1 + 1, 0x02);
	OK(move_house());
	OK(rig.f.chip.line[COM1_GSI]);
	EQ(in(COM1 + 2), 0xc2);
	OK(!rig.f.chip.line[COM1_GSI]);
	OK(move_house());
	OK(!rig.f.chip.line[COM1_GSI]);
	out(COM1, 'y');
	EQ(rig.out.len, 1);
	OK(rig.f.chip.line[COM1_GSI]);
	end();
}

/* -- the doors -- */

TEST(an_event_not_read_is_told_again_and_read_once)
{
	OK(start());
	doors_press_power(&rig.doors);
	out(0xcf9, 0x02);
	out(0x92, 0x00);
	OK(move_house());
	EQ(rig.f.chip.edges[EVENTS_GSI], 1);
	EQ(in(ACPI + DOORS_EVENTS), DOORS_EVENT_POWER);
	EQ(in(0x92), 0x00);
	OK(move_house());
	EQ(rig.f.chip.edges[EVENTS_GSI], 0);
	EQ(in(ACPI + DOORS_EVENTS), 0);
	end();
}

TEST(a_new_generation_is_an_event_of_its_own)
{
	OK(start());
	doors_new_generation(&rig.doors);
	EQ(rig.f.chip.edges[EVENTS_GSI], 1);
	doors_press_power(&rig.doors);
	EQ(in(ACPI + DOORS_EVENTS), DOORS_EVENT_POWER | DOORS_EVENT_GENERATION);
	EQ(in(ACPI + DOORS_EVENTS), 0);
	end();
}

/* -- the console -- */

static void put(gpa_t gpa, const char *text)
{
	mem_write(&rig.f.mem, gpa, text, strlen(text));
}

TEST(what_the_guest_sent_but_nobody_took_is_sent_once)
{
	OK(start());
	put(DATA, "first.");
	fake_add(&rig.tx, &(struct fake_seg){ DATA, 6 }, 1, 0);
	fake_kick(&rig.tx);
	OK(fake_wait(&rig.tx, NULL, NULL));
	STR(rig.out.data, "first.");
	put(DATA, "second");
	fake_add(&rig.tx, &(struct fake_seg){ DATA, 6 }, 1, 0);
	fake_kick(&rig.tx);	/* the loop has not turned when it is saved */
	OK(move_house());
	OK(fake_wait(&rig.tx, NULL, NULL));
	STR(rig.out.data, "second");
	fake_loop(&rig.f, 2);
	OK(!fake_used(&rig.tx, NULL, NULL));
	EQ(rig.out.len, 6);
	end();
}

TEST(a_buffer_half_sent_goes_on_from_there)
{
	enum { LEN = CONSOLE_TURN + 7 };
	static char text[LEN + 1];
	size_t before;

	memset(text, 'x', LEN);
	memcpy(text + CONSOLE_TURN, "the end", 7);
	OK(start());
	put(DATA, text);
	fake_add(&rig.tx, &(struct fake_seg){ DATA, LEN }, 1, 0);
	fake_kick(&rig.tx);
	rig.console.watch[CONSOLE_TRANSMIT].fn(
		&rig.console.watch[CONSOLE_TRANSMIT], 0);	/* one turn */
	before = rig.out.len;
	EQ(before, CONSOLE_TURN);
	OK(!fake_used(&rig.tx, NULL, NULL));
	OK(move_house());
	OK(fake_wait(&rig.tx, NULL, NULL));
	STR(rig.out.data, "the end");
	fake_loop(&rig.f, 2);
	OK(!fake_used(&rig.tx, NULL, NULL));
	put(DATA, "whole");	/* the position was that buffer's alone */
	fake_add(&rig.tx, &(struct fake_seg){ DATA, 5 }, 1, 0);
	fake_kick(&rig.tx);
	OK(fake_wait(&rig.tx, NULL, NULL));
	STR(rig.out.data, "the endwhole");
	end();
}

TEST(lent_buffers_take_what_is_typed_after_loading)
{
	char got[6] = { 0 };
	uint32_t len;

	OK(start());
	fake_add(&rig.rx, &(struct fake_seg){ DATA, 3 }, 0, 1);
	fake_kick(&rig.rx);
	EQ(type(&rig.console.front, "abcdef"), 3);	/* and refuses the rest */
	OK(fake_used(&rig.rx, NULL, &len));
	fake_used_event(&rig.rx, 1);
	OK(move_house());
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 0);
	EQ(rig.readies, 0);
	fake_add(&rig.rx, &(struct fake_seg){ DATA + 8, 3 }, 0, 1);
	fake_kick(&rig.rx);
	fake_loop(&rig.f, 2);
	EQ(rig.readies, 1);
	EQ(type(&rig.console.front, "def"), 3);
	OK(fake_used(&rig.rx, NULL, &len));
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 1);
	mem_read(&rig.f.mem, DATA + 8, got, 3);
	STR(got, "def");
	end();
}

TEST(entropy_asked_for_before_is_given_after)
{
	uint32_t len;

	OK(start());
	fake_add(&rig.entropy, &(struct fake_seg){ DATA, 64 }, 0, 1);
	fake_kick(&rig.entropy);
	OK(move_house());
	OK(fake_wait(&rig.entropy, NULL, &len));
	EQ(len, 64);
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 1);
	end();
}

/* -- damage -- */

static struct buf good;

static bool make_good(void)
{
	if (!start())
		return false;
	open_port();
	type(&rig.serial.front, "half typed");
	doors_press_power(&rig.doors);
	fake_add(&rig.rx, &(struct fake_seg){ DATA, 3 }, 0, 1);
	fake_add(&rig.tx, &(struct fake_seg){ DATA, CONSOLE_TURN + 7 }, 1, 0);
	rig.console.watch[CONSOLE_TRANSMIT].fn(
		&rig.console.watch[CONSOLE_TRANSMIT], 0);
	return save(&good);
}

/* Loads what is damaged and, if that could be done, uses it a little. */
static int try_damage(const struct damage *d)
{
	struct buf bad = BUF_INIT;
	int rc = -EIO;

	pci_bus_reset(&rig.f.pci);
	carry_in(&rig.f);
	rig.out.len = 0;
	if (damaged(&bad, &good, d))
		rc = load(&bad);
	for (unsigned i = 0; i < SERIAL_PORTS; i++)
		in(COM1 + i);
	for (int i = 0; i < 20; i++)
		out(COM1, 'x');
	type(&rig.serial.front, "0123456789abcdefgh");
	type(&rig.console.front, "0123456789");
	rig.console.watch[CONSOLE_TRANSMIT].fn(
		&rig.console.watch[CONSOLE_TRANSMIT], 0);
	in(ACPI + DOORS_EVENTS);
	fake_status(&rig.drv);
	buf_release(&bad);
	return rc;
}

TEST(a_state_cut_short_anywhere_is_refused)
{
	OK(make_good());
	for (unsigned i = 0; section_len(&good, i); i++)
		for (size_t n = 0; n < section_len(&good, i); n++)
			OK(try_damage(&(struct damage){ i, n, 0, 0 }) < 0);
	EQ(try_damage(&(struct damage){ 0, SIZE_MAX, 0, 0 }), 0);
	buf_release(&good);
	end();
}

TEST(no_changed_byte_does_harm)
{
	static const uint8_t flips[] = { 0x01, 0x80, 0xff };

	OK(make_good());
	for (unsigned i = 0; section_len(&good, i); i++)
		for (size_t n = 0; n < section_len(&good, i); n++)
			for (size_t f = 0; f < sizeof(flips); f++)
				try_damage(&(struct damage){
					i, SIZE_MAX, n, flips[f] });
	EQ(try_damage(&(struct damage){ 0, SIZE_MAX, 0, 0 }), 0);
	buf_release(&good);
	end();
}

TEST(what_cannot_have_been_is_refused)
{
	/* The sections in their order: doors, serial, console's three. */
	static const struct damage wrong[] = {
		{ 0, SIZE_MAX, 0, 0x01 },	/* port 0x92 in reset */
		{ 0, SIZE_MAX, 4, 0x80 },	/* an event there is not */
		{ 1, SIZE_MAX, 0, 0x80 },	/* IER */
		{ 1, SIZE_MAX, 9, 0x01 },	/* a trigger level of 15 */
		{ 1, SIZE_MAX, 13, 0x40 },	/* 74 bytes in the FIFO */
		{ 3, SIZE_MAX, 0, 0x08 },	/* DRIVER_OK without features */
		{ 3, SIZE_MAX, 0, 0x40 },	/* NEEDS_RESET, not broken */
		{ 3, SIZE_MAX, 14, 0x03 },	/* other queues */
		{ 3, SIZE_MAX, 16, 0x01 },	/* a size of 17 */
		{ 3, SIZE_MAX, 25, 0xff },	/* descriptors outside RAM */
		{ 3, SIZE_MAX, 42, 0x01 },	/* a chain taken, not given */
		{ 4, SIZE_MAX, 1, 0x01 },	/* a position without a chain */
	};

	OK(make_good());
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		OK(try_damage(&wrong[i]) < 0);
	buf_release(&good);
	end();
}

TESTS(T(characters_received_are_read_in_their_order),
      T(registers_of_the_port_are_kept),
      T(the_empty_transmitter_interrupts_once_after_loading),
      T(an_event_not_read_is_told_again_and_read_once),
      T(a_new_generation_is_an_event_of_its_own),
      T(what_the_guest_sent_but_nobody_took_is_sent_once),
      T(a_buffer_half_sent_goes_on_from_there),
      T(lent_buffers_take_what_is_typed_after_loading),
      T(entropy_asked_for_before_is_given_after),
      T(a_state_cut_short_anywhere_is_refused),
      T(no_changed_byte_does_harm),
      T(what_cannot_have_been_is_refused))
