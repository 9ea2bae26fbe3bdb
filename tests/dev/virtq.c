/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtqueues and the device's state, against drivers good and bad. */
#include "dev/virtio.h"

#include <errno.h>

#include "fake.h"
#include "../unit/test.h"

/* A device that does nothing by itself: the test takes its chains. */
struct idle {
	struct virtio virtio;
	struct virtio_pci pci;
	unsigned starts, stops;
	int start_rc;
};

static int idle_start(struct virtio *v)
{
	struct idle *i = container_of(v, struct idle, virtio);

	i->starts++;
	return i->start_rc;
}

static void idle_stop(struct virtio *v)
{
	container_of(v, struct idle, virtio)->stops++;
}

static const struct virtio_ops idle_ops = {
	.name = "idle", .id = 40, .pci_class = 0xff0000,
	.features = VIRTIO_F_BIT(3), .start = idle_start, .stop = idle_stop,
};

static struct fake f;
static struct idle dev;
static struct fake_drv drv;
static struct fake_queue q;
static struct virtq *const vq = &dev.virtio.queue[0];
static struct virtq_chain c;

enum {
	QUEUE = 0x10000, SIZE = 8, DATA = 0x20000, TABLE = 0x30000,
	LAST = FAKE_RAM,
};

#define SOME_FEATURES(bits) (VIRTIO_F_BIT(VIRTIO_F_V1) | (bits))
#define EVENT VIRTIO_F_BIT(VIRTIO_F_EVENT)
#define INDIRECT VIRTIO_F_BIT(VIRTIO_F_INDIRECT)

static void plug(void)
{
	fake_init(&f);
	memset(&dev, 0, sizeof(dev));
	virtio_init(&dev.virtio, &idle_ops, 2, &f.mem, "idle0");
	virtio_pci_init(&dev.pci, &dev.virtio, &f.chip.irqchip);
	pci_bus_add(&f.pci, &dev.pci.pci, pci_devfn(1, 0));
	fake_probe(&drv, &f, pci_devfn(1, 0));
}

static void begin(uint64_t features)
{
	fake_accept(&drv, SOME_FEATURES(features));
	fake_msix_on(&drv, 3);
	fake_queue_init(&q, &drv, 0, SIZE, QUEUE);
	fake_driver_ok(&drv);
}

static void setup(uint64_t features)
{
	plug();
	begin(features);
}

static void teardown(void)
{
	virtio_pci_release(&dev.pci);
	virtio_release(&dev.virtio);
	fake_release(&f);
}

/* Whether the driver is told that the device is broken, once. */
static bool told_broken(void)
{
	return dev.virtio.broken && (fake_status(&drv) & VIRTIO_NEEDS_RESET) &&
		fake_msi(&f, FAKE_MSI) == 1 && virtq_pop(vq, &c) == -EPROTO &&
		virtq_push(vq, &c, 0) == -EPROTO && !virtq_pending(vq) &&
		fake_msi(&f, FAKE_MSI) == 0;
}

/* A broken device works again after a reset. */
static bool mends(void)
{
	if (!fake_reset(&drv) || dev.virtio.broken)
		return false;
	begin(INDIRECT);
	fake_add(&q, &(struct fake_seg){ DATA, 16 }, 1, 0);
	return virtq_pop(vq, &c) == 1 && c.nout == 1 &&
		virtq_push(vq, &c, 0) == 0 && fake_used(&q, NULL, NULL);
}

/* The chain of descriptors from 0 on, as they were written, is refused. */
static bool refused(void)
{
	bool ok;

	fake_offer(&q, 0);
	ok = virtq_pop(vq, &c) == -EPROTO && told_broken() && mends();
	fake_reset(&drv);
	return ok;
}

/* -------------------------------------------------------------- the ordinary */

TEST(a_chain_comes_as_it_was_added)
{
	static const struct fake_seg seg[] = {
		{ DATA, 16 }, { DATA + 64, 3 }, { DATA + 128, 512 },
		{ DATA + 1024, 1 },
	};
	uint32_t id, len;

	setup(0);
	EQ(virtq_pop(vq, &c), 0);
	q.next = 6;
	fake_add(&q, seg, 2, 2);
	OK(virtq_pending(vq));
	EQ(virtq_pop(vq, &c), 1);
	EQ(c.head, 6); EQ(c.nout, 2); EQ(c.nin, 2);
	EQ(c.out_len, 19); EQ(c.in_len, 513);
	for (unsigned i = 0; i < 4; i++) {
		EQ(c.seg[i].gpa, seg[i].gpa);
		EQ(c.seg[i].len, seg[i].len);
	}
	EQ(virtq_pop(vq, &c), 0);
	OK(!virtq_pending(vq));
	OK(!fake_used(&q, &id, &len));
	EQ(virtq_push(vq, &c, 513), 0);
	OK(fake_used(&q, &id, &len));
	EQ(id, 6); EQ(len, 513);
	teardown();
}

TEST(a_chain_may_end_in_an_indirect_table)
{
	static const struct fake_seg seg[] = {
		{ DATA, 16 }, { DATA + 64, 3 }, { DATA + 128, 512 },
	};

	setup(INDIRECT);
	fake_add_indirect(&q, TABLE, seg, 1, 2);
	EQ(virtq_pop(vq, &c), 1);
	EQ(c.nout, 1); EQ(c.nin, 2); EQ(c.in_len, 515);
	/* A direct one first; the write flag of the table means nothing. */
	fake_desc(&q, 3, DATA, 8, FAKE_NEXT, 4);
	fake_desc(&q, 4, TABLE, 3 * 16, FAKE_INDIRECT | FAKE_WRITE, 0);
	fake_offer(&q, 3);
	EQ(virtq_pop(vq, &c), 1);
	EQ(c.head, 3); EQ(c.nout, 2); EQ(c.out_len, 24); EQ(c.in_len, 515);
	teardown();
}

TEST(an_indirect_chain_may_be_longer_than_the_queue)
{
	struct fake_seg seg[VIRTQ_SEGS + 1];

	for (unsigned i = 0; i < ARRAY_SIZE(seg); i++)
		seg[i] = (struct fake_seg){ DATA + i, 1 };
	setup(INDIRECT);
	fake_add_indirect(&q, TABLE, seg, 0, VIRTQ_SEGS);
	EQ(virtq_pop(vq, &c), 1);
	EQ(c.nin, VIRTQ_SEGS);
	fake_add_indirect(&q, TABLE, seg, 0, VIRTQ_SEGS + 1);
	EQ(virtq_pop(vq, &c), -EPROTO);
	OK(told_broken());
	teardown();
}

TEST(indices_wrap_around)
{
	uint32_t id;

	setup(EVENT);
	for (unsigned i = 0; i < 70000; i++) {
		uint16_t head = fake_add(&q, &(struct fake_seg){ DATA, 4 }, 0,
					 1);

		EQ(virtq_pop(vq, &c), 1);
		EQ(virtq_push(vq, &c, 4), 0);
		OK(fake_used(&q, &id, NULL));
		EQ(id, head);
	}
	EQ(vq->used_idx, 70000 - 65536);
	teardown();
}

TEST(a_full_queue_is_taken_whole_and_given_back_in_any_order)
{
	static struct virtq_chain all[SIZE];
	uint32_t id;

	setup(0);
	for (unsigned i = 0; i < SIZE; i++)
		fake_add(&q, &(struct fake_seg){ DATA + i, 1 }, 1, 0);
	for (unsigned i = 0; i < SIZE; i++)
		EQ(virtq_pop(vq, &all[i]), 1);
	EQ(virtq_pop(vq, &c), 0);
	for (unsigned i = SIZE; i-- > 0; )
		EQ(virtq_push(vq, &all[i], 0), 0);
	for (unsigned i = SIZE; i-- > 0; ) {
		OK(fake_used(&q, &id, NULL));
		EQ(id, i);
	}
	teardown();
}

TEST(copies_and_iovecs_go_across_segments)
{
	static const struct fake_seg seg[] = {
		{ DATA, 3 }, { DATA + 100, 5 }, { DATA + 200, 4 },
		{ DATA + 300, 4 },
	};
	struct iovec iov[4];
	char text[16] = "";

	setup(0);
	mem_write(&f.mem, DATA, "abc", 3);
	mem_write(&f.mem, DATA + 100, "defgh", 5);
	fake_add(&q, seg, 2, 2);
	EQ(virtq_pop(vq, &c), 1);
	EQ(chain_read(&dev.virtio, &c, 0, text, sizeof(text)), 8);
	STR(text, "abcdefgh");
	memset(text, 0, sizeof(text));
	EQ(chain_read(&dev.virtio, &c, 2, text, 3), 3);
	STR(text, "cde");
	EQ(chain_read(&dev.virtio, &c, 8, text, 3), 0);
	EQ(chain_read(&dev.virtio, &c, UINT64_MAX, text, 3), 0);
	EQ(chain_write(&dev.virtio, &c, 2, "123456789", 9), 6);
	mem_read(&f.mem, DATA + 200, text, 4);
	OK(!memcmp(text + 2, "12", 2));
	mem_read(&f.mem, DATA + 300, text, 4);
	OK(!memcmp(text, "3456", 4));

	EQ(chain_out_iov(&dev.virtio, &c, 0, 8, iov, 4), 2);
	EQ(iov[1].iov_len, 5);
	EQ(chain_out_iov(&dev.virtio, &c, 4, 2, iov, 1), 1);
	EQ(iov[0].iov_len, 2);
	OK(!memcmp(iov[0].iov_base, "ef", 2));
	EQ(chain_out_iov(&dev.virtio, &c, 3, 5, iov, 4), 1);
	EQ(chain_out_iov(&dev.virtio, &c, 0, 0, iov, 0), 0);
	EQ(chain_out_iov(&dev.virtio, &c, 0, 8, iov, 1), -EFAULT);
	EQ(chain_out_iov(&dev.virtio, &c, 0, 9, iov, 4), -EFAULT);
	EQ(chain_out_iov(&dev.virtio, &c, UINT64_MAX, 2, iov, 4), -EFAULT);
	EQ(chain_in_iov(&dev.virtio, &c, 0, 8, iov, 4), 2);
	EQ(chain_in_iov(&dev.virtio, &c, 1, UINT64_MAX, iov, 4), -EFAULT);
	teardown();
}

/* --------------------------------------------------- kicks and interrupts */

static void turn(bool signal)
{
	fake_add(&q, &(struct fake_seg){ DATA, 4 }, 0, 1);
	virtq_pop(vq, &c);
	virtq_push(vq, &c, 4);
	if (signal)
		virtq_signal(vq);
}

TEST(interrupts_follow_the_flag)
{
	setup(0);
	virtq_signal(vq);
	EQ(fake_msi(&f, FAKE_MSI + 1), 0);	/* nothing was pushed */
	turn(true);
	EQ(fake_msi(&f, FAKE_MSI + 1), 1);
	virtq_signal(vq);
	EQ(fake_msi(&f, FAKE_MSI + 1), 0);
	mem_store16(&f.mem, q.avail, 1);
	turn(true);
	EQ(fake_msi(&f, FAKE_MSI + 1), 0);
	mem_store16(&f.mem, q.avail, 0);
	turn(true);
	EQ(fake_msi(&f, FAKE_MSI + 1), 1);
	teardown();
}

TEST(interrupts_follow_the_used_event)
{
	setup(EVENT);
	turn(true);
	EQ(fake_msi(&f, FAKE_MSI + 1), 1);	/* event 0: the first */
	turn(true);
	EQ(fake_msi(&f, FAKE_MSI + 1), 0);	/* passed before */
	fake_used_event(&q, 3);
	turn(true);
	EQ(fake_msi(&f, FAKE_MSI + 1), 0);
	turn(false);
	turn(true);				/* 3 to 5 passes 3 */
	EQ(fake_msi(&f, FAKE_MSI + 1), 1);
	mem_store16(&f.mem, q.avail, 1);	/* the flag means nothing now */
	fake_used_event(&q, 5);
	turn(true);
	EQ(fake_msi(&f, FAKE_MSI + 1), 1);
	teardown();
}

TEST(kicks_are_asked_for_by_flag_or_event)
{
	setup(0);
	OK(fake_kick_wanted(&q));
	virtq_want_kick(vq, false);
	OK(!fake_kick_wanted(&q));
	virtq_want_kick(vq, true);
	OK(fake_kick_wanted(&q));
	teardown();

	setup(EVENT);
	OK(fake_kick_wanted(&q));
	turn(true);
	OK(!fake_kick_wanted(&q));		/* passed, not asked again */
	virtq_want_kick(vq, false);
	OK(!fake_kick_wanted(&q));
	virtq_want_kick(vq, true);
	OK(fake_kick_wanted(&q));
	OK(!virtq_pending(vq));
	teardown();
}

/* ------------------------------------------------------- malformed chains */

TEST(loops_end)
{
	setup(INDIRECT);
	fake_desc(&q, 0, DATA, 1, FAKE_NEXT, 0);
	fake_offer(&q, 0);
	EQ(virtq_pop(vq, &c), -EPROTO);
	EQ(c.nout, SIZE);		/* and no longer than the queue is */
	OK(told_broken() && fake_reset(&drv));
	begin(INDIRECT);
	for (unsigned i = 0; i < SIZE; i++)
		fake_desc(&q, i, DATA, 1, FAKE_NEXT, (i + 1) % SIZE);
	OK(refused());
	begin(INDIRECT);
	fake_desc(&q, 0, TABLE, 32, FAKE_INDIRECT, 0);
	fake_desc_at(&q, TABLE, 0, DATA, 1, FAKE_NEXT, 1);
	fake_desc_at(&q, TABLE, 1, DATA, 1, FAKE_NEXT, 0);
	OK(refused());
	teardown();
}

TEST(indices_out_of_range_are_refused)
{
	setup(INDIRECT);
	/* What lies there would do as a descriptor. */
	fake_desc(&q, 0xffff, DATA, 1, 0, 0);
	fake_desc(&q, 0, DATA, 1, FAKE_NEXT, 0xffff);
	OK(refused());
	begin(INDIRECT);
	fake_desc(&q, 0, TABLE, 16, FAKE_INDIRECT, 0);
	fake_desc_at(&q, TABLE, 0, DATA, 1, FAKE_NEXT, 1);
	fake_desc_at(&q, TABLE, 1, DATA, 1, 0, 0);
	OK(refused());
	begin(INDIRECT);
	fake_offer(&q, 0xffff);
	EQ(virtq_pop(vq, &c), -EPROTO);
	OK(told_broken() && mends() && fake_reset(&drv));
	begin(INDIRECT);
	fake_offer(&q, SIZE);
	EQ(virtq_pop(vq, &c), -EPROTO);
	OK(told_broken());
	teardown();
}

TEST(the_available_index_cannot_jump)
{
	setup(0);
	fake_desc(&q, 0, DATA, 1, 0, 0);
	mem_store16(&f.mem, q.avail + 2, SIZE);
	EQ(virtq_pop(vq, &c), 1);
	fake_reset(&drv);
	begin(0);
	fake_desc(&q, 0, DATA, 1, 0, 0);
	mem_store16(&f.mem, q.avail + 2, SIZE + 1);
	EQ(virtq_pop(vq, &c), -EPROTO);
	OK(told_broken() && mends());
	fake_reset(&drv);
	begin(0);
	fake_desc(&q, 0, DATA, 1, 0, 0);
	mem_store16(&f.mem, q.avail + 2, 0xffff);	/* backwards */
	EQ(virtq_pop(vq, &c), -EPROTO);
	OK(told_broken());
	teardown();
}

TEST(buffers_outside_ram_are_refused)
{
	static const struct { uint64_t gpa; uint32_t len; } bad[] = {
		{ LAST, 1 }, { LAST - 1, 2 }, { LAST - 4, UINT32_MAX },
		{ UINT64_MAX, 1 }, { UINT64_MAX - 3, 4 }, { UINT64_MAX, 2 },
		{ FAKE_WINDOW, 4 }, { FAKE_ECAM, 4 }, { 0, LAST + 1 },
	};

	setup(INDIRECT);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		fake_desc(&q, 0, bad[i].gpa, bad[i].len, FAKE_WRITE, 0);
		OK(refused());
		begin(INDIRECT);
		fake_desc(&q, 0, bad[i].gpa, bad[i].len & ~15u,
			  FAKE_INDIRECT, 0);
		OK(refused());
		begin(INDIRECT);
	}
	/* A table that begins in RAM, and of which only that is used. */
	fake_desc(&q, 0, LAST - 16, 32, FAKE_INDIRECT, 0);
	fake_desc_at(&q, LAST - 16, 0, DATA, 1, 0, 0);
	OK(refused());
	begin(INDIRECT);
	fake_desc(&q, 0, LAST - 4, 4, FAKE_WRITE, 0);
	fake_offer(&q, 0);
	EQ(virtq_pop(vq, &c), 1);
	teardown();
}

TEST(a_chain_describes_only_so_many_bytes)
{
	/* RAM is small, but may be described again and again. */
	struct fake_seg seg[VIRTQ_SEGS];
	unsigned fit = VIRTQ_BYTES / FAKE_RAM;

	for (unsigned i = 0; i < ARRAY_SIZE(seg); i++)
		seg[i] = (struct fake_seg){ 0, FAKE_RAM };
	setup(INDIRECT);
	OK(fit < VIRTQ_SEGS);
	fake_add_indirect(&q, TABLE, seg, 0, fit);
	EQ(virtq_pop(vq, &c), 1);
	EQ(c.in_len, VIRTQ_BYTES);
	fake_add_indirect(&q, TABLE, seg, 0, fit + 1);
	EQ(virtq_pop(vq, &c), -EPROTO);
	OK(told_broken());
	teardown();
}

TEST(empty_and_misordered_descriptors_are_refused)
{
	setup(INDIRECT);
	fake_desc(&q, 0, DATA, 0, 0, 0);
	OK(refused());
	begin(INDIRECT);
	fake_desc(&q, 0, DATA, 4, FAKE_WRITE | FAKE_NEXT, 1);
	fake_desc(&q, 1, DATA, 4, 0, 0);
	OK(refused());
	begin(INDIRECT);
	fake_desc(&q, 0, TABLE, 0, FAKE_INDIRECT, 0);
	OK(refused());
	begin(INDIRECT);
	fake_desc(&q, 0, TABLE, 24, FAKE_INDIRECT, 0);
	fake_desc_at(&q, TABLE, 0, DATA, 1, 0, 0);
	OK(refused());
	teardown();
}

TEST(indirect_tables_do_not_nest_nor_go_on)
{
	setup(INDIRECT);
	fake_desc(&q, 0, TABLE, 16, FAKE_INDIRECT, 0);
	fake_desc_at(&q, TABLE, 0, TABLE, 16, FAKE_INDIRECT, 0);
	OK(refused());
	begin(INDIRECT);
	fake_desc(&q, 0, TABLE, 16, FAKE_INDIRECT | FAKE_NEXT, 1);
	fake_desc_at(&q, TABLE, 0, DATA, 1, 0, 0);
	fake_desc(&q, 1, DATA, 1, 0, 0);
	OK(refused());
	begin(0);				/* not negotiated */
	fake_desc(&q, 0, TABLE, 16, FAKE_INDIRECT, 0);
	fake_desc_at(&q, TABLE, 0, DATA, 1, 0, 0);
	OK(refused());
	teardown();
}

/* ----------------------------------------------------------------- geometry */

/* Whether a queue of SIZE laid out so is taken; a refusal breaks. */
static bool taken(uint32_t size, gpa_t desc, gpa_t avail, gpa_t used,
		  uint64_t features)
{
	struct fake_queue bad = { .d = &drv, .size = size, .desc = desc,
				  .avail = avail, .used = used };
	bool ok;

	fake_reset(&drv);
	fake_accept(&drv, SOME_FEATURES(features));
	fake_queue_regs(&bad);
	ok = fake_queue_enable(&bad);
	return ok == !(fake_status(&drv) & VIRTIO_NEEDS_RESET) && ok;
}

TEST(queues_lie_aligned_in_ram_or_not_at_all)
{
	plug();
	OK(taken(8, 0x1000, 0x2000, 0x3000, 0));
	OK(taken(256, 0x1000, 0x2000, 0x3000, EVENT));
	OK(taken(1, 0x1000, 0x2000, 0x3000, 0));
	OK(!taken(0, 0x1000, 0x2000, 0x3000, 0));
	OK(!taken(7, 0x1000, 0x2000, 0x3000, 0));
	OK(!taken(512, 0x1000, 0x2000, 0x3000, 0));
	OK(!taken(0x8000, 0x1000, 0x2000, 0x3000, 0));
	OK(!taken(0xffff, 0x1000, 0x2000, 0x3000, 0));
	OK(!taken(8, 0x1008, 0x2000, 0x3000, 0));
	OK(!taken(8, 0x1000, 0x2001, 0x3000, 0));
	OK(taken(8, 0x1000, 0x2002, 0x3000, 0));
	OK(!taken(8, 0x1000, 0x2000, 0x3002, 0));
	OK(taken(8, 0x1000, 0x2000, 0x3004, 0));
	OK(taken(8, LAST - 128, 0x2000, 0x3000, 0));
	OK(!taken(8, LAST - 112, 0x2000, 0x3000, 0));
	OK(taken(8, 0x1000, LAST - 20, 0x3000, 0));
	OK(!taken(8, 0x1000, LAST - 18, 0x3000, 0));
	OK(!taken(8, 0x1000, LAST - 20, 0x3000, EVENT));
	OK(taken(8, 0x1000, 0x2000, LAST - 68, 0));
	OK(!taken(8, 0x1000, 0x2000, LAST - 68, EVENT));
	OK(!taken(8, UINT64_MAX - 15, 0x2000, 0x3000, 0));
	OK(!taken(8, 0x1000, UINT64_MAX - 1, 0x3000, 0));
	OK(!taken(8, 0x1000, 0x2000, UINT64_MAX - 3, 0));
	OK(!taken(8, FAKE_WINDOW, 0x2000, 0x3000, 0));
	teardown();
}

TEST(geometry_is_frozen_when_the_queue_is_enabled)
{
	struct fake_queue other;

	setup(0);
	other = q;
	other.size = 256;
	other.desc = LAST - 16;
	other.avail = LAST - 2;
	other.used = LAST - 4;
	fake_queue_regs(&other);
	OK(fake_queue_enable(&other));		/* as it was before */
	EQ(fake_reg(&drv, FAKE_COMMON(queue_size)), SIZE);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_desc)), QUEUE);
	EQ(vq->size, SIZE);
	EQ(vq->desc, QUEUE);
	turn(true);
	OK(fake_used(&q, NULL, NULL));
	/* Another queue cannot come in once the device runs. */
	other.index = 1;
	other.desc = 0x50000, other.avail = 0x52000, other.used = 0x53000;
	fake_queue_regs(&other);
	OK(!fake_queue_enable(&other));
	OK(!dev.virtio.broken);
	teardown();
}

TEST(the_core_trusts_no_transport)
{
	static const unsigned bad[] = { 2, VIRTIO_QUEUES, 0xffff };

	plug();
	fake_accept(&drv, SOME_FEATURES(0));
	fake_queue_init(&q, &drv, 0, SIZE, QUEUE);
	pthread_mutex_lock(&dev.virtio.lock);
	virtio_enable_queue(&dev.virtio, 0, 256, 0x1000, 0x3000, 0x4000);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		virtio_enable_queue(&dev.virtio, bad[i], 8, 0x1000, 0x3000,
				    0x4000);
	virtio_set_features(&dev.virtio, ~0ULL);
	pthread_mutex_unlock(&dev.virtio.lock);
	EQ(vq->size, SIZE); EQ(vq->desc, QUEUE);
	for (unsigned i = 1; i < VIRTIO_QUEUES; i++)
		OK(!dev.virtio.queue[i].enabled);
	EQ(dev.virtio.features, SOME_FEATURES(0));
	teardown();
}

TEST(a_driver_is_told_once)
{
	setup(0);
	virtio_break(&dev.virtio, "for this");
	virtio_break(&dev.virtio, "and for that");
	EQ(fake_msi(&f, FAKE_MSI), 1);
	teardown();
}

TEST(queues_wait_for_the_features)
{
	struct fake_queue early = { .d = &drv, .size = 8, .desc = 0x1000,
				    .avail = 0x2000, .used = 0x3000 };

	plug();
	fake_status_set(&drv, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	fake_queue_regs(&early);
	OK(!fake_queue_enable(&early));
	OK(dev.virtio.broken && fake_reset(&drv));
	teardown();
}

TEST(a_queue_never_enabled_is_empty)
{
	setup(0);
	EQ(virtq_pop(&dev.virtio.queue[1], &c), 0);
	OK(!virtq_pending(&dev.virtio.queue[1]));
	virtq_want_kick(&dev.virtio.queue[1], true);
	virtq_signal(&dev.virtio.queue[1]);
	EQ(virtq_push(&dev.virtio.queue[1], &c, 0), -EPROTO);
	OK(!dev.virtio.broken);
	teardown();
}

/* ---------------------------------------------------------------- the status */

TEST(features_must_be_offered_and_modern)
{
	plug();
	EQ(fake_offered(&drv), SOME_FEATURES(EVENT | INDIRECT |
					     VIRTIO_F_BIT(3)));
	OK(!fake_accept(&drv, EVENT));				/* not V1 */
	OK(!fake_accept(&drv, SOME_FEATURES(VIRTIO_F_BIT(4))));
	OK(!fake_accept(&drv, ~0ULL));
	fake_driver_ok(&drv);
	OK(!(fake_status(&drv) & VIRTIO_DRIVER_OK));
	EQ(dev.starts, 0);
	OK(fake_accept(&drv, SOME_FEATURES(VIRTIO_F_BIT(3))));
	OK(virtio_has(&dev.virtio, 3) && !virtio_has(&dev.virtio, 28));
	/* Frozen now. */
	fake_reg_set(&drv, FAKE_COMMON(driver_feature_select), 0);
	fake_reg_set(&drv, FAKE_COMMON(driver_feature), ~0u);
	OK(!virtio_has(&dev.virtio, 28));
	EQ(fake_reg(&drv, FAKE_COMMON(driver_feature)), 8);
	teardown();
}

TEST(status_bits_are_only_added)
{
	setup(0);
	EQ(dev.starts, 1);
	fake_status_set(&drv, VIRTIO_ACKNOWLEDGE);
	EQ(fake_status(&drv), VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER |
	   VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
	fake_status_set(&drv, 0x70);
	OK(!(fake_status(&drv) & 0x70));
	fake_driver_ok(&drv);
	EQ(dev.starts, 1);
	fake_status_set(&drv, VIRTIO_FAILED);
	OK(fake_status(&drv) & VIRTIO_FAILED);
	teardown();
}

TEST(reset_is_complete_before_it_reads_back)
{
	uint64_t kicks;

	setup(EVENT);
	turn(true);
	fake_kick(&q);
	OK(fake_reset(&drv));
	EQ(dev.stops, 1);
	EQ(vq->enabled, false); EQ(vq->size, 0); EQ(vq->last_avail, 0);
	EQ(vq->used_idx, 0); EQ(dev.virtio.features, 0);
	EQ(read(vq->kick, &kicks, sizeof(kicks)), -1);	/* not signalled */
	EQ(fake_reg(&drv, FAKE_COMMON(queue_size)), VIRTQ_MAX);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_desc)), 0);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_vector)), MSIX_NONE);
	EQ(fake_reg(&drv, FAKE_COMMON(config_vector)), MSIX_NONE);
	OK(fake_reset(&drv));
	EQ(dev.stops, 1);				/* was not running */
	teardown();
}

TEST(a_device_that_cannot_start_is_broken_not_running)
{
	plug();
	dev.start_rc = -EIO;
	begin(0);
	OK(fake_status(&drv) & VIRTIO_NEEDS_RESET);
	EQ(dev.starts, 1);
	OK(fake_reset(&drv));
	EQ(dev.stops, 0);
	dev.start_rc = 0;
	begin(0);
	OK(!(fake_status(&drv) & VIRTIO_NEEDS_RESET));
	teardown();
}

TEST(a_kick_before_driver_ok_is_kept)
{
	uint64_t kicks = 0;

	plug();
	fake_accept(&drv, SOME_FEATURES(0));
	fake_queue_init(&q, &drv, 0, SIZE, QUEUE);
	fake_kick(&q);
	fake_driver_ok(&drv);
	EQ(read(vq->kick, &kicks, sizeof(kicks)), 8);
	EQ(kicks, 1);
	teardown();
}

TESTS(T(a_chain_comes_as_it_was_added),
      T(a_chain_may_end_in_an_indirect_table),
      T(an_indirect_chain_may_be_longer_than_the_queue),
      T(indices_wrap_around),
      T(a_full_queue_is_taken_whole_and_given_back_in_any_order),
      T(copies_and_iovecs_go_across_segments),
      T(interrupts_follow_the_flag), T(interrupts_follow_the_used_event),
      T(kicks_are_asked_for_by_flag_or_event), T(loops_end),
      T(indices_out_of_range_are_refused),
      T(the_available_index_cannot_jump),
      T(buffers_outside_ram_are_refused),
      T(a_chain_describes_only_so_many_bytes),
      T(empty_and_misordered_descriptors_are_refused),
      T(indirect_tables_do_not_nest_nor_go_on),
      T(queues_lie_aligned_in_ram_or_not_at_all),
      T(geometry_is_frozen_when_the_queue_is_enabled),
      T(the_core_trusts_no_transport), T(a_driver_is_told_once),
      T(queues_wait_for_the_features), T(a_queue_never_enabled_is_empty),
      T(features_must_be_offered_and_modern),
      T(status_bits_are_only_added),
      T(reset_is_complete_before_it_reads_back),
      T(a_device_that_cannot_start_is_broken_not_running),
      T(a_kick_before_driver_ok_is_kept))
