/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blk.c - a driver that does as the input says, against virtio-blk over
 * virtio-pci: chains of any shape, registers at any time, rings and requests
 * changed while the I/O thread reads them. The disk asserts what the block
 * layer is promised.
 */
#include "dev/virtio_blk.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>

#include "../dev/fake.h"

enum {
	QUEUE = 0x10000,
	QUEUE_SIZE = 16,
	HEADER = 0x20000,
	DATA = 0x30000,
	SCRATCH = 0x40000,	/* zeroed below, for each input */
	DISK = 64 << 10,
	SLOT = 8,
	PATIENCE = 2000,
};

static struct {
	struct fake f;
	struct fake_drv drv;
	struct fake_queue q;
	struct virtio_blk blk;
	struct virtio_pci pci;
	struct block disk;
	unsigned char data[DISK];
} rig;

/* What is left of the input. */
struct input {
	const uint8_t *p;
	size_t left;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (; bytes && in->left; bytes--, in->left--)
		v = v << 8 | *in->p++;
	return v;
}

static int move(struct block *b, struct iovec *iov, int n, uint64_t off,
		uint64_t len, bool out)
{
	uint64_t end = off + len;

	assert(off % b->block_size == 0 && len % b->block_size == 0);
	assert(in_range(off, len, b->size));
	for (int i = 0; i < n; off += iov[i++].iov_len) {
		unsigned char *disk = rig.data + off;

		assert(in_range(off, iov[i].iov_len, DISK));
		memcpy(out ? disk : iov[i].iov_base,
		       out ? iov[i].iov_base : disk, iov[i].iov_len);
	}
	assert(off == end);
	return off % 7 ? 0 : -EIO;
}

static int disk_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		      uint64_t len)
{
	return move(b, iov, n, off, len, false);
}

static int disk_writev(struct block *b, struct iovec *iov, int n, uint64_t off,
		       uint64_t len)
{
	return move(b, iov, n, off, len, true);
}

static int disk_flush(struct block *b)
{
	(void)b;
	return 0;
}

static void set_up(void)
{
	static const struct virtio_blk_conf conf = {
		.serial = "fuzz", .queues = 1,
	};
	static const struct block_ops ops = {
		.name = "fuzz", .readv = disk_readv, .writev = disk_writev,
		.flush = disk_flush,
	};

	rig.disk = (struct block){ .ops = &ops, .size = DISK,
				   .block_size = 512 };
	if (fake_init(&rig.f) < 0 ||
	    virtio_blk_init(&rig.blk, &rig.f.mem, &rig.disk, &conf,
			    "disk0") < 0)
		abort();
	virtio_pci_init(&rig.pci, &rig.blk.virtio, &rig.f.chip.irqchip);
	if (pci_bus_add(&rig.f.pci, &rig.pci.pci, SLOT) < 0)
		abort();
	fake_probe(&rig.drv, &rig.f, SLOT);
}

static void drive(struct input *in)
{
	uint64_t features = ~0ULL << 32 | take(in, 4);

	if (!fake_reset(&rig.drv))
		abort();
	fake_negotiate(&rig.drv, features);
	fake_queue_init(&rig.q, &rig.drv, 0, QUEUE_SIZE, QUEUE);
	fake_driver_ok(&rig.drv);
}

/* Mostly plausible places and lengths, else whatever. */
static struct fake_seg segment(struct input *in)
{
	static const gpa_t base[] = { HEADER, DATA, DATA, QUEUE, FAKE_RAM,
				      FAKE_ECAM, 0 };
	static const uint32_t len[] = { 16, 512, 1, 4096, 15, 1 << 20, 0 };
	unsigned kind = take(in, 1), slack = take(in, 1);
	struct fake_seg seg = { 0, 0 };

	seg.gpa = kind % 8 < 7 ? base[kind % 8] : take(in, 8);
	seg.len = kind / 8 % 8 < 7 ? len[kind / 8 % 8] : take(in, 4);
	if (kind & 64)
		seg.gpa -= slack;
	if (kind & 128)
		seg.len += slack;
	return seg;
}

static void add_chain(struct input *in)
{
	struct fake_seg seg[8];
	unsigned shape = take(in, 1), nout = shape % 4, nin = shape / 4 % 4;

	for (unsigned i = 0; i < nout + nin; i++)
		seg[i] = segment(in);
	if (shape & 128)
		fake_add_indirect(&rig.q, HEADER + 0x1000, seg, nout, nin);
	else
		fake_add(&rig.q, seg, nout, nin);
}

static void poke(struct input *in)
{
	gpa_t at = take(in, 1) & 1 ? HEADER : QUEUE;
	uint64_t off = take(in, 2), val = take(in, 4);

	mem_write(&rig.f.mem, at + off % 0x400, &val, 4);
}

static void put_header(struct input *in)
{
	struct { le32 type, reserved; le64 sector; } h = {
		.type = to_le32(take(in, 1) % 10),
	};
	unsigned sector = take(in, 1);

	h.sector = to_le64(sector < 0xf0 ? sector : take(in, 8));
	mem_write(&rig.f.mem, HEADER, &h, sizeof(h));
}

static void access_bar(struct input *in)
{
	unsigned off = take(in, 2) % VIRTIO_PCI_BAR_SIZE;
	unsigned size = 1U << take(in, 1) % 4;

	bus_write(&rig.f.memory, rig.drv.common + off, size, take(in, size));
	bus_read(&rig.f.memory, rig.drv.common + off, size);
}

/* Until all is answered or broken, or the rings make no sense any more. */
static void settle(void)
{
	uint16_t avail, used;

	fake_kick(&rig.q);
	for (int i = 0; i < PATIENCE; i++) {
		mem_load16(&rig.f.mem, rig.q.avail + 2, &avail);
		mem_load16(&rig.f.mem, rig.q.used + 2, &used);
		if (avail == used ||
		    fake_status(&rig.drv) & VIRTIO_NEEDS_RESET)
			return;
		sched_yield();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const ops[])(struct input *) = {
		drive, add_chain, add_chain, add_chain, poke, put_header,
		access_bar,
	};
	struct input in = { data, size };

	if (!rig.disk.ops)
		set_up();
	mem_zero(&rig.f.mem, 0, SCRATCH);
	drive(&in);
	while (in.left) {
		unsigned op = take(&in, 1);

		ops[op % ARRAY_SIZE(ops)](&in);
		if (op & 0x80)
			settle();
	}
	settle();
	if (!fake_reset(&rig.drv))
		abort();
	return 0;
}
