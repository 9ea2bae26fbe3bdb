/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio_console.h"

#include "base/buf.h"
#include "fake.h"
#include "../unit/test.h"

enum {
	RX_QUEUE = 0x10000,
	TX_QUEUE = 0x14000,
	DATA = 0x30000,
	SLOT = 8,
};

struct rig {
	struct fake f;
	struct fake_drv drv;
	struct fake_queue rx, tx;
	struct virtio_console console;
	struct virtio_pci pci;
	struct chr chr;
	struct buf out;
	size_t written;		/* bytes, also those not kept */
	bool keep;
	unsigned readies;
};

static struct rig rig;

static void on_write(struct chr *c, const void *data, size_t len)
{
	(void)c;
	rig.written += len;
	if (rig.keep)
		buf_add(&rig.out, data, len);
}

static void on_ready(struct chr *c)
{
	(void)c;
	rig.readies++;
}

static bool drive(uint64_t features)
{
	struct rig *r = &rig;

	if (!fake_negotiate(&r->drv, features))
		return false;
	fake_msix_on(&r->drv, 3);
	if (!fake_queue_init(&r->rx, &r->drv, 0, 16, RX_QUEUE) ||
	    !fake_queue_init(&r->tx, &r->drv, 1, 256, TX_QUEUE))
		return false;
	fake_driver_ok(&r->drv);
	return true;
}

static bool plug(void)
{
	static const struct chr_ops ops = { on_write, on_ready };
	struct rig *r = &rig;

	memset(r, 0, sizeof(*r));
	r->chr.ops = &ops;
	r->chr.front = &r->console.front;
	r->keep = true;
	buf_init(&r->out);
	if (fake_init(&r->f) < 0 ||
	    virtio_console_init(&r->console, &r->f.mem, &r->f.loop, &r->chr,
				"console") < 0)
		return false;
	virtio_pci_init(&r->pci, &r->console.virtio, &r->f.chip.irqchip);
	if (pci_bus_add(&r->f.pci, &r->pci.pci, SLOT) < 0)
		return false;
	fake_probe(&r->drv, &r->f, SLOT);
	return true;
}

static void rig_release(void)
{
	virtio_pci_release(&rig.pci);
	virtio_console_release(&rig.console);
	buf_release(&rig.out);
	fake_release(&rig.f);
}

static size_t type(const char *text)
{
	return rig.chr.front->input(rig.chr.front, text, strlen(text));
}

static void put(gpa_t gpa, const char *text)
{
	mem_write(&rig.f.mem, gpa, text, strlen(text));
}

/* Lends a buffer of LEN bytes at DATA + AT. */
static void lend(unsigned at, uint32_t len)
{
	fake_add(&rig.rx, &(struct fake_seg){ DATA + at, len }, 0, 1);
}

static bool holds(unsigned at, const char *text)
{
	char got[256] = { 0 };

	mem_read(&rig.f.mem, DATA + at, got, strlen(text));
	return !strcmp(got, text);
}

TEST(what_the_guest_sends_arrives_in_order)
{
	uint32_t len;

	OK(plug() && drive(~0ULL));
	put(DATA, "hello, world\n");
	fake_add(&rig.tx, (struct fake_seg[]){ { DATA, 5 }, { DATA + 5, 3 } },
		 2, 0);
	fake_add(&rig.tx, (struct fake_seg[]){ { DATA + 8, 5 } }, 1, 0);
	fake_kick(&rig.tx);
	OK(fake_wait(&rig.tx, NULL, &len));
	EQ(len, 0);
	OK(fake_wait(&rig.tx, NULL, &len));
	STR(rig.out.data, "hello, world\n");
	EQ(fake_msi(&rig.f, FAKE_MSI + 2), 1);	/* one for both */
	rig_release();
}

TEST(what_is_typed_fills_the_buffers_lent)
{
	uint32_t len;

	OK(plug() && drive(~0ULL));
	lend(0, 4);
	lend(16, 100);
	EQ(type("login\n"), 6);
	OK(fake_used(&rig.rx, NULL, &len));
	EQ(len, 4);
	OK(fake_used(&rig.rx, NULL, &len));
	EQ(len, 2);
	OK(holds(0, "logi") && holds(16, "n\n"));
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 1);
	rig_release();
}

TEST(input_without_buffers_waits_and_is_asked_for_once)
{
	OK(plug());
	EQ(type("early"), 0);		/* no driver yet */
	fake_loop(&rig.f, 2);
	EQ(rig.readies, 0);
	OK(drive(~0ULL));
	fake_loop(&rig.f, 2);
	EQ(rig.readies, 1);
	EQ(type("early"), 0);
	OK(fake_kick_wanted(&rig.rx));
	lend(0, 3);
	fake_kick(&rig.rx);
	fake_loop(&rig.f, 2);
	EQ(rig.readies, 2);
	EQ(type("early"), 3);
	OK(fake_kick_wanted(&rig.rx));
	lend(16, 8);
	fake_kick(&rig.rx);
	fake_loop(&rig.f, 2);
	EQ(rig.readies, 3);
	EQ(type("ly"), 2);
	lend(32, 8);
	fake_kick(&rig.rx);		/* nobody waits any more */
	fake_loop(&rig.f, 2);
	EQ(rig.readies, 3);
	OK(holds(0, "ear") && holds(16, "ly"));
	rig_release();
}

TEST(buffers_without_room_are_given_back_empty)
{
	uint32_t len;

	OK(plug() && drive(~0ULL));
	for (int i = 0; i < 3; i++)
		fake_add(&rig.rx, &(struct fake_seg){ DATA, 8 }, 1, 0);
	lend(64, 8);
	EQ(type("abc"), 3);
	for (int i = 0; i < 3; i++) {
		OK(fake_used(&rig.rx, NULL, &len));
		EQ(len, 0);
	}
	OK(fake_used(&rig.rx, NULL, &len));
	EQ(len, 3);
	/* The same for what the device may only write, sent. */
	fake_add(&rig.tx, &(struct fake_seg){ DATA, 8 }, 0, 1);
	fake_kick(&rig.tx);
	OK(fake_wait(&rig.tx, NULL, &len));
	EQ(len, 0);
	EQ(rig.written, 0);
	rig_release();
}

TEST(a_huge_buffer_is_sent_whole_and_others_have_their_turn)
{
	enum { SEGS = 64, LEN = 1 << 20 };
	static struct fake_seg seg[SEGS];
	unsigned turns = 0;

	OK(plug() && drive(~0ULL));
	rig.keep = false;
	for (int i = 0; i < SEGS; i++)
		seg[i] = (struct fake_seg){ 0x100000, LEN };
	fake_add(&rig.tx, seg, SEGS, 0);
	fake_kick(&rig.tx);
	while (!fake_used(&rig.tx, NULL, NULL) && turns++ < 100000)
		fake_loop(&rig.f, 0);
	EQ(rig.written, (size_t)SEGS * LEN);
	OK(turns > 1);
	rig_release();
}

TEST(a_reset_in_the_midst_of_a_buffer_forgets_it)
{
	static struct fake_seg seg[16];

	OK(plug() && drive(~0ULL));
	rig.keep = false;
	for (int i = 0; i < 16; i++)
		seg[i] = (struct fake_seg){ 0, VIRTQ_BYTES / 256 };
	fake_add(&rig.tx, seg, 16, 0);
	fake_kick(&rig.tx);
	while (!rig.written)
		fake_loop(&rig.f, 0);
	OK(fake_reset(&rig.drv));
	rig.written = 0;
	rig.keep = true;
	mem_zero(&rig.f.mem, 0, FAKE_RAM);
	fake_kick(&rig.tx);
	EQ(type("x"), 0);
	fake_loop(&rig.f, 5);
	EQ(rig.written, 0);
	OK(drive(~0ULL));
	put(DATA, "again");
	fake_add(&rig.tx, &(struct fake_seg){ DATA, 5 }, 1, 0);
	fake_kick(&rig.tx);
	OK(fake_wait(&rig.tx, NULL, NULL));
	STR(rig.out.data, "again");
	rig_release();
}

TEST(malformed_chains_break_the_console_alone)
{
	static const struct { struct fake_seg seg; unsigned nout; } t[] = {
		{ { FAKE_RAM, 1 }, 1 }, { { FAKE_RAM - 1, 2 }, 1 },
		{ { -1ULL, 1 }, 1 }, { { DATA, UINT32_MAX }, 1 },
		{ { DATA, 0 }, 1 }, { { FAKE_ECAM, 4 }, 1 },
	};

	OK(plug());
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		OK(drive(~0ULL));
		fake_add(&rig.tx, &t[i].seg, 1, 0);
		fake_kick(&rig.tx);
		fake_loop(&rig.f, 2);
		OK(fake_status(&rig.drv) & VIRTIO_NEEDS_RESET);
		EQ(type("lost on nobody"), 0);
		EQ(rig.written, 0);
		OK(fake_reset(&rig.drv));
		OK(drive(~0ULL));
		fake_add(&rig.rx, &t[i].seg, 0, 1);
		EQ(type("x"), 0);
		OK(fake_status(&rig.drv) & VIRTIO_NEEDS_RESET);
		OK(fake_reset(&rig.drv));
	}
	OK(drive(~0ULL));
	fake_desc(&rig.tx, 0, DATA, 1, FAKE_NEXT, 0);	/* a loop */
	fake_offer(&rig.tx, 0);
	fake_kick(&rig.tx);
	fake_loop(&rig.f, 2);
	OK(fake_status(&rig.drv) & VIRTIO_NEEDS_RESET);
	rig_release();
}

/* A guest's thread resets and restarts while the loop is at work. */
static void *restarts(void *arg)
{
	static struct fake_seg seg[] = { { DATA, 4096 } };

	for (int i = 0; i < 200; i++) {
		if (!fake_reset(&rig.drv) || !drive(~0ULL))
			return arg;
		lend(0x2000, 16);
		for (int n = 0; n < 100; n++)
			fake_add(&rig.tx, seg, 1, 0);
		fake_kick(&rig.tx);
	}
	return NULL;
}

TEST(resets_race_with_the_loop_without_harm)
{
	pthread_t thread;
	void *failed;

	OK(plug());
	rig.keep = false;
	OK(pthread_create(&thread, NULL, restarts, &rig) == 0);
	for (int i = 0; i < 20; i++) {
		fake_loop(&rig.f, 1);
		type("input while it runs");
	}
	pthread_join(thread, &failed);
	OK(!failed);
	for (int i = 0; i < 100; i++)
		OK(fake_wait(&rig.tx, NULL, NULL));
	rig_release();
}

TESTS(T(what_the_guest_sends_arrives_in_order),
      T(what_is_typed_fills_the_buffers_lent),
      T(input_without_buffers_waits_and_is_asked_for_once),
      T(buffers_without_room_are_given_back_empty),
      T(a_huge_buffer_is_sent_whole_and_others_have_their_turn),
      T(a_reset_in_the_midst_of_a_buffer_forgets_it),
      T(malformed_chains_break_the_console_alone),
      T(resets_race_with_the_loop_without_harm))
