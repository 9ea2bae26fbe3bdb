/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest may do to a virtio device: any bytes in its memory, any writes
 * to the registers, kicks, in any order. The device is the entropy one, with
 * its source replaced, so that an input always does the same.
 */
#define FAKE_RAM (64 << 10)

#include <sys/epoll.h>
#include <sys/random.h>

#include "../dev/fake.h"
#include "dev/virtio_rng.h"
#include "input.h"

enum { AT = 1 << 3, QUEUE = 0x1000, TABLE = 0x8000, TURNS = 80 };

static struct fake f;
static struct virtio_rng rng;
static struct virtio_pci pci;
static struct fake_drv drv;
static struct fake_queue q;

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	memset(buf, 0xa5, len);
	return len;
}

static void plug(void)
{
	fake_init(&f);
	hush(&f.pci.complaints);
	virtio_rng_init(&rng, &f.mem, &f.loop, "rng0");
	virtio_pci_init(&pci, &rng.virtio, &f.chip.irqchip);
	hush(&rng.virtio.complaints);
	pci_bus_add(&f.pci, &pci.pci, AT);
	fake_probe(&drv, &f, AT);
}

static void unplug(void)
{
	virtio_pci_release(&pci);
	virtio_rng_release(&rng);
	fake_release(&f);
}

/* A queue anywhere, of any size. */
static void wild_queue(struct input *in)
{
	q = (struct fake_queue){
		.d = &drv, .index = take8(in) % 3, .size = take16(in),
		.desc = take16(in), .avail = take16(in), .used = take16(in),
	};
	if (take8(in) & 1)
		q.desc = take64(in);
	fake_queue_regs(&q);
	fake_queue_enable(&q);
}

/* As far as an honest driver comes, or nearly. */
static void begin(struct input *in, uint8_t how)
{
	fake_reset(&drv);
	fake_negotiate(&drv, VIRTIO_F_BIT(VIRTIO_F_V1) |
		       (how & 1 ? VIRTIO_F_BIT(VIRTIO_F_EVENT) : 0) |
		       (how & 2 ? VIRTIO_F_BIT(VIRTIO_F_INDIRECT) : 0));
	drv.msix_on = false;
	if (how & 4)
		fake_msix_on(&drv, 2);
	if (how & 8)
		wild_queue(in);
	else
		fake_queue_init(&q, &drv, 0, 1 << (how >> 4) % 9, QUEUE);
	fake_driver_ok(&drv);
}

/* Lets the device serve, as the loop would; the ring bounds how often. */
static void serve(void)
{
	struct pollfd p = { .fd = rng.virtio.queue[0].kick, .events = POLLIN };
	int turns = 0;

	while (poll(&p, 1, 0) == 1) {
		rng.watch.fn(&rng.watch, EPOLLIN);
		MUST(turns++ < TURNS);
	}
}

static void check(void)
{
	const struct virtq *vq = &rng.virtio.queue[0];
	unsigned status = virtio_status(&rng.virtio);

	MUST(rng.virtio.broken == !!(status & VIRTIO_NEEDS_RESET));
	MUST(!(status & VIRTIO_DRIVER_OK) || (status & VIRTIO_FEATURES_OK));
	MUST(rng.virtio.started == rng.active);
	MUST(!rng.active || (status & VIRTIO_DRIVER_OK));
	if (!vq->enabled)
		return;
	MUST(vq->size && vq->size <= VIRTQ_MAX && !(vq->size & (vq->size - 1)));
	MUST(mem_valid(&f.mem, vq->desc, 16 * vq->size));
	MUST(mem_valid(&f.mem, vq->avail, 4 + 2 * vq->size));
	MUST(mem_valid(&f.mem, vq->used, 4 + 8 * vq->size));
	/* Every chain taken was given back, or the device is broken. */
	MUST(rng.virtio.broken || vq->last_avail == vq->used_idx);
}

static void write_memory(struct input *in)
{
	gpa_t at = take16(in);
	uint8_t bytes[32];
	size_t len = 1 + take8(in) % sizeof(bytes);

	take(in, bytes, len);
	mem_write(&f.mem, at, bytes, len);
}

/* A descriptor of the queue or of a table, more or less likely to do. */
static void write_desc(struct input *in)
{
	uint8_t how = take8(in);
	gpa_t table = how & 1 ? TABLE : q.desc;
	uint64_t addr = how & 2 ? take64(in) : how & 4 ? TABLE : take16(in);
	uint32_t len = how & 8 ? take32(in) : 16 * (take8(in) % 16);
	uint16_t flags = how >> 4 & 7, next = take8(in) % 16;

	fake_desc_at(&q, table, take8(in) % 16, addr, len, flags, next);
}

enum { HONEST = 4 << 4 | 4 | 2 | 1 };	/* all features, size 16 */

/* A chain, right but for what the input makes of it, and the device at it. */
static void wild_chain(struct input *in)
{
	unsigned n = 1 + take8(in) % 8, indirect = take8(in);
	gpa_t table = indirect & 1 ? TABLE : q.desc;
	uint8_t how;

	if (!rng.active || rng.virtio.broken)
		begin(in, HONEST);
	for (unsigned i = 0; i < n; i++) {
		how = take8(in);
		fake_desc_at(&q, table, i, how & 2 ? take64(in) : take16(in),
			     how & 4 ? take32(in) : 1 + take8(in),
			     (i + 1 < n || how & 0x20 ? FAKE_NEXT : 0) |
			     (how & 0x10 ? FAKE_WRITE : 0) |
			     ((how & 0xc0) == 0xc0 ? FAKE_INDIRECT : 0),
			     how & 8 ? take8(in) : i + 1);
	}
	if (indirect & 1)
		fake_desc(&q, 0, TABLE + (indirect & 2 ? take8(in) : 0),
			  16 * n, FAKE_INDIRECT | (indirect & 4), 0);
	if (q.size)
		fake_offer(&q, 0);
}

/* What a device may do with a chain; it cannot say how much there is. */
static void use_chain(struct input *in)
{
	struct virtq *vq = &rng.virtio.queue[0];
	struct virtio *v = &rng.virtio;
	uint64_t off = take8(in) & 1 ? take64(in) : take8(in), len = take16(in);
	struct iovec iov[4];
	struct virtq_chain c;
	uint8_t bytes[64];
	int n;

	if (!rng.active || virtq_pop(vq, &c) != 1)
		return;
	MUST(c.nout + c.nin <= VIRTQ_SEGS && c.head < vq->size);
	chain_read(v, &c, off, bytes, sizeof(bytes));
	chain_write(v, &c, off, bytes, sizeof(bytes));
	n = chain_out_iov(v, &c, off, len, iov, ARRAY_SIZE(iov));
	MUST(n < 0 || (n <= (int)ARRAY_SIZE(iov) &&
		       in_range(off, len, c.out_len)) || !len);
	n = chain_in_iov(v, &c, off, len, iov, ARRAY_SIZE(iov));
	MUST(n < 0 || (n <= (int)ARRAY_SIZE(iov) &&
		       in_range(off, len, c.in_len)) || !len);
	virtq_push(vq, &c, min_u64(len, c.in_len));
	virtq_signal(vq);
}

static void step(struct input *in)
{
	unsigned op = take8(in) % 14, size = 1 << take8(in) % 4;
	gpa_t bar = fake_bar(&drv, VIRTIO_PCI_BAR);

	switch (op) {
	case 0:
		begin(in, take8(in));
		break;
	case 1:
		write_memory(in);
		break;
	case 2:
		write_desc(in);
		break;
	case 3:
		if (q.size)
			fake_offer(&q, take8(in));
		break;
	case 4:
		if (q.size)
			mem_store16(&f.mem, q.avail + 2, take16(in));
		break;
	case 5:
		bus_write(&f.memory, drv.common + take8(in) % 0x40, size,
			  take64(in));
		break;
	case 6:
		bus_write(&f.memory, bar + take16(in) % VIRTIO_PCI_BAR_SIZE,
			  size, take64(in));
		break;
	case 7:
		bus_read(&f.memory, bar + take16(in) % VIRTIO_PCI_BAR_SIZE,
			 size);
		break;
	case 8:
		fake_conf_set(&f, AT, take8(in), size, take64(in));
		fake_conf(&f, AT, take8(in), size);
		break;
	case 9:
		fake_kick(&q);
		serve();
		break;
	case 10:
		use_chain(in);
		break;
	case 11:
		wild_chain(in);
		use_chain(in);
		break;
	case 12:
		wild_chain(in);
		fake_kick(&q);
		serve();
		break;
	case 13:
		virtio_config_changed(&rng.virtio);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };

	plug();
	begin(&in, take8(&in));
	for (int i = 0; in.len && i < MAX_STEPS; i++) {
		step(&in);
		check();
	}
	serve();
	check();
	unplug();
	return 0;
}
