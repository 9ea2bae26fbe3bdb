/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state.c - a saved state that someone made: the sections of every device,
 * changed as the input says, loaded into a machine that is then driven a
 * little, saved, and loaded once more, which must then succeed.
 *
 * The input is a row of changes: section, place, bytes. So it gets past what
 * a CRC would stop.
 */
#define FAKE_RAM (512 << 10)

#include "dev/doors.h"
#include "dev/serial.h"
#include "dev/virtio_blk.h"
#include "dev/virtio_console.h"
#include "dev/virtio_rng.h"

#include "base/buf.h"
#include "../dev/fake.h"
#include "base/section.h"
#include "input.h"

enum {
	RNG = 8, CONSOLE = 16, BLK = 24, DEVICES = 3,
	QUEUE = 0x10000, QUEUE_STEP = 0x1000,
	DATA = 0x30000,
	DISK = 64 << 10,
	COM1 = 0x3f8, ACPI = 0x600,
	SECTION_MAX = 4096,
};

static struct {
	struct fake f;
	struct irq_line com1, events;
	struct doors doors;
	struct serial serial;
	struct virtio_rng rng;
	struct virtio_console console;
	struct virtio_blk blk;
	struct virtio_pci pci[DEVICES];
	struct chr chr;
	struct block disk;
	unsigned char data[DISK];
	struct fake_drv drv[DEVICES];
	struct fake_queue q[DEVICES];
	struct buf good;		/* the state that is changed */
	uint8_t ram[FAKE_RAM];
} rig;

static const unsigned devfn[DEVICES] = { RNG, CONSOLE, BLK };

static void on_write(struct chr *c, const void *data, size_t len)
{
	volatile uint8_t sum = 0;

	(void)c;
	for (size_t i = 0; i < len; i++)
		sum += ((const uint8_t *)data)[i];
}

static void on_ready(struct chr *c)
{
	(void)c;
}

static void on_door(void *ctx, enum door_event e)
{
	(void)ctx;
	(void)e;
}

static int disk_move(struct block *b, struct iovec *iov, int n, uint64_t off,
		     bool out)
{
	for (int i = 0; i < n; off += iov[i++].iov_len) {
		MUST(in_range(off, iov[i].iov_len, b->size));
		memcpy(out ? rig.data + off : iov[i].iov_base,
		       out ? iov[i].iov_base : rig.data + off, iov[i].iov_len);
	}
	return 0;
}

static int disk_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		      uint64_t len)
{
	(void)len;
	return disk_move(b, iov, n, off, false);
}

static int disk_writev(struct block *b, struct iovec *iov, int n, uint64_t off,
		       uint64_t len)
{
	(void)len;
	return disk_move(b, iov, n, off, true);
}

static int disk_flush(struct block *b)
{
	(void)b;
	return 0;
}

static struct virtio *virtio_of(unsigned i)
{
	struct virtio *const v[DEVICES] = {
		&rig.rng.virtio, &rig.console.virtio, &rig.blk.virtio,
	};

	return v[i];
}

static void build(void)
{
	static const struct virtio_blk_conf conf = {
		.serial = "fuzz", .queues = 1, .threads = true,
	};
	static const struct block_ops disk_ops = {
		.name = "fuzz", .readv = disk_readv, .writev = disk_writev,
		.flush = disk_flush,
	};
	static const struct chr_ops chr_ops = { on_write, on_ready };

	rig.chr.ops = &chr_ops;
	rig.disk = (struct block){ .ops = &disk_ops, .size = DISK,
				   .block_size = 512 };
	MUST(fake_init(&rig.f) == 0);
	rig.com1 = (struct irq_line){ .chip = &rig.f.chip.irqchip, .gsi = 4 };
	rig.events = (struct irq_line){ .chip = &rig.f.chip.irqchip, .gsi = 9 };
	MUST(doors_init(&rig.doors, &rig.f.ports, ACPI, &rig.events, on_door,
			NULL) == 0);
	MUST(serial_init(&rig.serial, &rig.f.ports, COM1, &rig.com1, 0,
			 &rig.chr) == 0);
	MUST(virtio_rng_init(&rig.rng, &rig.f.mem, &rig.f.loop, "rng") == 0);
	MUST(virtio_console_init(&rig.console, &rig.f.mem, &rig.f.loop,
				 &rig.chr, "console") == 0);
	MUST(virtio_blk_init(&rig.blk, &rig.f.mem, &rig.disk, &conf,
			     "disk0") == 0);
	hush(&rig.f.pci.complaints);
	hush(&rig.blk.errors);
	for (unsigned i = 0; i < DEVICES; i++) {
		virtio_pci_init(&rig.pci[i], virtio_of(i),
				&rig.f.chip.irqchip);
		hush(&virtio_of(i)->complaints);
		hush(&rig.pci[i].msix.complaints);
		MUST(pci_bus_add(&rig.f.pci, &rig.pci[i].pci, devfn[i]) == 0);
	}
}

static void drive(unsigned i)
{
	struct fake_drv *d = &rig.drv[i];

	fake_probe(d, &rig.f, devfn[i]);
	fake_negotiate(d, ~0ULL);
	fake_msix_on(d, 2);
	fake_queue_init(&rig.q[i], d, i == 1, 16, QUEUE + i * QUEUE_STEP);
	fake_driver_ok(d);
}

static void save(struct buf *b)
{
	buf_init(b);
	sections_begin(b);
	doors_save(&rig.doors, b);
	serial_save(&rig.serial, b);
	pci_bus_save(&rig.f.pci, b);
	for (unsigned i = 0; i < DEVICES; i++)
		virtio_pci_save(&rig.pci[i], b);
	MUST(!b->failed);
}

static int load(const struct buf *b)
{
	static struct sections all;
	int rc = sections_parse(&all, b->data, b->len);

	if (rc == 0)
		rc = doors_load(&rig.doors, &all);
	if (rc == 0)
		rc = serial_load(&rig.serial, &all);
	if (rc == 0)
		rc = pci_bus_load(&rig.f.pci, &all);
	for (unsigned i = 0; rc == 0 && i < DEVICES; i++)
		rc = virtio_pci_load(&rig.pci[i], &all);
	for (unsigned i = 0; rc == 0 && i < DEVICES; i++)
		rc = virtio_go_on(virtio_of(i));
	return rc;
}

/* A machine in use, saved. */
static void set_up(void)
{
	build();
	for (unsigned i = 0; i < DEVICES; i++)
		drive(i);
	save(&rig.good);
	mem_read(&rig.f.mem, 0, rig.ram, FAKE_RAM);
}

/* One change: which section, where, how many bytes, what. */
struct change {
	unsigned section, at, len;
	uint8_t to[8];
};

static void apply(const struct change *c, uint8_t *body, size_t len)
{
	for (unsigned i = 0; i < c->len; i++)
		if (c->at + i < len)
			body[c->at + i] = c->to[i];
}

static void change(struct input *in, struct buf *to)
{
	static struct sections all;
	static uint8_t body[SECTION_MAX];
	struct change c[8];
	unsigned n = take8(in) % 8 + 1, cut = take8(in);
	struct section_out s;

	for (unsigned i = 0; i < n; i++) {
		c[i].section = take8(in);
		c[i].at = take16(in) % 640;
		c[i].len = take8(in) % 8 + 1;
		take(in, c[i].to, sizeof(c[i].to));
	}
	MUST(sections_parse(&all, rig.good.data, rig.good.len) == 0);
	buf_init(to);
	sections_begin(to);
	for (unsigned i = 0; i < all.n; i++) {
		const struct section *from = &all.section[i];
		size_t len = min_u64(from->len, SECTION_MAX);

		memcpy(body, from->data, len);
		for (unsigned k = 0; k < n; k++)
			if (c[k].section % all.n == i)
				apply(&c[k], body, len);
		section_begin(&s, to, from->name, from->version);
		put_bytes(&s, body, cut == i ? len / 2 : len);
		section_end(&s);
	}
}

/* What stays in use of the rings is the input's, too. */
static void use(struct input *in)
{
	unsigned port = take8(in) % SERIAL_PORTS, i = take8(in) % DEVICES;
	struct fake_queue *q = &rig.q[i];
	struct watch *w = &rig.console.watch[CONSOLE_TRANSMIT];

	bus_write(&rig.f.ports, COM1 + port, 1, take8(in));
	bus_read(&rig.f.ports, COM1 + port, 1);
	bus_read(&rig.f.ports, ACPI + port % 4, 1);
	rig.serial.front.input(&rig.serial.front, "0123456789abcdefgh", 18);
	rig.console.front.input(&rig.console.front, "0123456789", 10);
	fake_add(q, (struct fake_seg[]){ { DATA, 16 }, { DATA + 64, 512 },
			{ DATA + 600, 1 } }, i == 0 ? 0 : 1, i == 1 ? 0 : 2);
	fake_kick(q);
	w->fn(w, 0);
	rig.rng.watch.fn(&rig.rng.watch, 0);
	fake_reg(&rig.drv[i], take8(in), 4);
	fake_msi(&rig.f, FAKE_MSI + 1);
}

static void end(void)
{
	pci_bus_reset(&rig.f.pci);
	mem_write(&rig.f.mem, 0, rig.ram, FAKE_RAM);
	for (unsigned i = 0; i < DEVICES; i++)
		rig.q[i].next = rig.q[i].avail_idx = rig.q[i].used_idx = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	struct buf state, again;

	if (!rig.disk.ops)
		set_up();
	end();
	change(&in, &state);
	if (load(&state) == 0) {
		use(&in);
		MUST(virtio_blk_quiesce(&rig.blk) == 0);
		save(&again);
		virtio_blk_unquiesce(&rig.blk);
		pci_bus_reset(&rig.f.pci);
		MUST(load(&again) == 0);
		use(&in);
		buf_release(&again);
	}
	buf_release(&state);
	end();
	return 0;
}
