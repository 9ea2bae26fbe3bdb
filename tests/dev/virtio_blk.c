/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio_blk.h"

#include <errno.h>
#include <time.h>

#include "fake.h"
#include "../unit/test.h"

enum {
	QUEUE = 0x10000,
	HEADER = 0x20000,
	STATUS = 0x21000,
	DATA = 0x30000,
	TABLE = 0x22000,
	DISK = 256 << 10,
	SLOT = 8,		/* PCI devfn */
};

/* A disk in memory that fails, waits and counts as told. */
struct ram_disk {
	struct block block;
	unsigned char data[DISK];
	int fail;		/* what reads, writes and flushes return */
	unsigned moves, flushes;
	atomic_bool closed;	/* the gate: transfers wait */
	atomic_int waiting;
};

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static int move(struct block *b, struct iovec *iov, int n, uint64_t off,
		bool out)
{
	struct ram_disk *d = container_of(b, struct ram_disk, block);

	d->waiting++;
	while (d->closed)
		nap();
	d->waiting--;
	d->moves++;
	for (int i = 0; i < n && !d->fail; off += iov[i++].iov_len) {
		void *at = d->data + off;

		if (!in_range(off, iov[i].iov_len, DISK))
			return -EIO;
		memcpy(out ? at : iov[i].iov_base, out ? iov[i].iov_base : at,
		       iov[i].iov_len);
	}
	return d->fail;
}

static int ram_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		     uint64_t len)
{
	(void)len;
	return move(b, iov, n, off, false);
}

static int ram_writev(struct block *b, struct iovec *iov, int n, uint64_t off,
		      uint64_t len)
{
	(void)len;
	return move(b, iov, n, off, true);
}

static int ram_flush(struct block *b)
{
	struct ram_disk *d = container_of(b, struct ram_disk, block);

	d->flushes++;
	return d->fail;
}

static const struct block_ops ram_ops = {
	.name = "ram", .readv = ram_readv, .writev = ram_writev,
	.flush = ram_flush,
};

struct rig {
	struct fake f;
	struct fake_drv drv;
	struct fake_queue q;
	struct ram_disk disk;
	struct virtio_blk blk;
	struct virtio_pci pci;
};

static struct rig rig;

static bool plug(uint64_t size, bool readonly)
{
	struct rig *r = &rig;

	memset(&r->disk, 0, sizeof(r->disk));
	r->disk.block = (struct block){ .ops = &ram_ops, .size = size,
					.block_size = 512,
					.readonly = readonly };
	if (fake_init(&r->f) < 0 ||
	    virtio_blk_init(&r->blk, &r->f.mem, &r->disk.block,
			    "serial-number-of-20-bytes", "disk0") < 0)
		return false;
	virtio_pci_init(&r->pci, &r->blk.virtio, &r->f.chip.irqchip);
	if (pci_bus_add(&r->f.pci, &r->pci.pci, SLOT) < 0)
		return false;
	fake_probe(&r->drv, &r->f, SLOT);
	return true;
}

/* Negotiates FEATURES and starts a queue of SIZE. */
static bool drive(uint64_t features, unsigned size)
{
	struct rig *r = &rig;

	if (!fake_negotiate(&r->drv, features))
		return false;
	fake_msix_on(&r->drv, 2);
	if (!fake_queue_init(&r->q, &r->drv, 0, size, QUEUE))
		return false;
	fake_driver_ok(&r->drv);
	return true;
}

static bool rig_init(void)
{
	return plug(DISK, false) && drive(~0ULL, 16);
}

static void rig_release(void)
{
	rig.disk.closed = false;
	virtio_pci_release(&rig.pci);
	virtio_blk_release(&rig.blk);
	fake_release(&rig.f);
}

static void put_header(gpa_t at, uint32_t type, uint64_t sector)
{
	struct { le32 type, reserved; le64 sector; } h = {
		.type = to_le32(type), .sector = to_le64(sector),
	};

	mem_write(&rig.f.mem, at, &h, sizeof(h));
}

static int status_at(gpa_t at)
{
	uint8_t status = 0xee;

	mem_read(&rig.f.mem, at, &status, 1);
	return status;
}

/* Kicks and waits for the answer; its length or -1. */
static long await(void)
{
	uint32_t len;

	fake_kick(&rig.q);
	return fake_wait(&rig.q, NULL, &len) ? (long)len : -1;
}

/* An ordinary request: header, data of LEN at DATA, status. Its status. */
static int request(uint32_t type, uint64_t sector, uint32_t len)
{
	bool out = type == VIRTIO_BLK_T_OUT;
	struct fake_seg seg[3] = { { HEADER, 16 }, { DATA, len },
				   { STATUS, 1 } };

	put_header(HEADER, type, sector);
	mem_write(&rig.f.mem, STATUS, "\xee", 1);
	if (len) {
		fake_add(&rig.q, seg, out ? 2 : 1, out ? 1 : 2);
	} else {
		seg[1] = seg[2];
		fake_add(&rig.q, seg, 1, 1);
	}
	return await() < 0 ? -1 : status_at(STATUS);
}

static bool broken(void)
{
	for (int i = 0; i < 1000; i++) {
		if (fake_status(&rig.drv) & VIRTIO_NEEDS_RESET)
			return true;
		nap();
	}
	return false;
}

/* Whether, after a reset, the device works as on the first day. */
static bool recovers(void)
{
	return fake_reset(&rig.drv) && drive(~0ULL, 16) &&
		request(VIRTIO_BLK_T_IN, 0, 512) == VIRTIO_BLK_S_OK;
}

/* Whether the interrupt MSI comes, after what it is about. */
static bool interrupted(uint32_t msi)
{
	for (int i = 0; i < 1000; i++) {
		if (fake_msi(&rig.f, msi))
			return true;
		nap();
	}
	return false;
}

static void fill(gpa_t gpa, unsigned len, unsigned seed)
{
	for (unsigned i = 0; i < len; i++)
		mem_write(&rig.f.mem, gpa + i,
			  &(uint8_t){ (i + seed) * 2654435761u >> 11 }, 1);
}

static bool same(gpa_t gpa, const void *data, unsigned len)
{
	unsigned char got[4096];

	return mem_read(&rig.f.mem, gpa, got, len) == 0 &&
		!memcmp(got, data, len);
}

TEST(the_driver_sees_the_disk)
{
	uint64_t offered;

	OK(plug(DISK, false));
	offered = fake_offered(&rig.drv);
	OK(offered & VIRTIO_F_BIT(VIRTIO_BLK_F_FLUSH));
	OK(!(offered & VIRTIO_F_BIT(VIRTIO_BLK_F_RO)));
	EQ(fake_config(&rig.drv, 0, 8), DISK / 512);
	EQ(fake_config(&rig.drv, 12, 4), 254);
	EQ(fake_config(&rig.drv, 20, 4), 512);
	rig_release();
	OK(plug(DISK, true));
	OK(fake_offered(&rig.drv) & VIRTIO_F_BIT(VIRTIO_BLK_F_RO));
	rig_release();
}

TEST(what_was_written_is_read_back)
{
	OK(rig_init());
	fill(DATA, 4096, 1);
	EQ(request(VIRTIO_BLK_T_OUT, 8, 4096), VIRTIO_BLK_S_OK);
	OK(interrupted(FAKE_MSI + 1));
	OK(same(DATA, rig.disk.data + 4096, 4096));
	fake_used_event(&rig.q, 1);
	fill(DATA, 4096, 2);
	EQ(request(VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
	OK(same(DATA, rig.disk.data + 4096, 4096));
	OK(interrupted(FAKE_MSI + 1));
	rig_release();
}

TEST(segments_may_lie_across_all_borders)
{
	OK(rig_init());
	/* Out: header in three pieces, the last with data; status alone. */
	put_header(HEADER, VIRTIO_BLK_T_OUT, 2);
	fill(HEADER + 16, 1024, 3);
	fake_add(&rig.q, (struct fake_seg[]){
			{ HEADER, 3 }, { HEADER + 3, 9 }, { HEADER + 12, 105 },
			{ HEADER + 117, 923 }, { STATUS, 1 } }, 4, 1);
	EQ(await(), 1);
	EQ(status_at(STATUS), VIRTIO_BLK_S_OK);
	OK(same(HEADER + 16, rig.disk.data + 1024, 1024));
	/* In: the status is the last byte of the last of the data. */
	put_header(HEADER, VIRTIO_BLK_T_IN, 2);
	fake_add_indirect(&rig.q, TABLE, (struct fake_seg[]){
			{ HEADER, 16 }, { DATA, 1 }, { DATA + 1, 1024 } },
			1, 2);
	EQ(await(), 1025);
	OK(same(DATA, rig.disk.data + 1024, 1024));
	EQ(status_at(DATA + 1024), VIRTIO_BLK_S_OK);
	rig_release();
}

TEST(the_serial_number_is_20_bytes_cut_to_the_room)
{
	OK(rig_init());
	fill(DATA, 64, 4);
	EQ(request(VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	OK(same(DATA, "serial-number-of-20-bytes", 20));
	mem_zero(&rig.f.mem, DATA, 64);
	EQ(request(VIRTIO_BLK_T_GET_ID, 0, 6), VIRTIO_BLK_S_OK);
	OK(same(DATA, "serial\0", 7));
	rig_release();
}

TEST(unknown_requests_are_unsupported)
{
	static const uint32_t types[] = { 2, 3, 5, 7, 11, 13, 16, 1U << 31,
					  UINT32_MAX };

	OK(rig_init());
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		EQ(request(types[i], 0, 512), VIRTIO_BLK_S_UNSUPP);
		EQ(request(types[i], 0, 0), VIRTIO_BLK_S_UNSUPP);
	}
	EQ(rig.disk.moves, 0);
	rig_release();
}

TEST(without_flush_every_write_is_durable_before_its_answer)
{
	OK(plug(DISK, false) && drive(~0ULL, 16));
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 0);
	EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 1);
	OK(fake_reset(&rig.drv));
	OK(drive(~VIRTIO_F_BIT(VIRTIO_BLK_F_FLUSH), 16));
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 2);
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 2);
	rig_release();
}

TEST(errors_of_the_disk_reach_the_guest_and_nobody_else)
{
	OK(rig_init());
	for (int i = 0; i < 100; i++) {
		rig.disk.fail = i % 2 ? -EIO : -ENOSPC;
		EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
		EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
		EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	}
	rig.disk.fail = 0;
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	rig_release();
}

TEST(a_readonly_disk_is_not_written)
{
	OK(plug(DISK, true) && drive(~0ULL, 16));
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	EQ(rig.disk.moves, 1);
	rig_release();
}

TEST(requests_beyond_the_disk_or_off_its_sectors_fail)
{
	enum { LAST = DISK / 512 - 1 };
	static const struct { uint64_t sector; uint32_t len; int status; } t[] = {
		{ LAST, 512, VIRTIO_BLK_S_OK },
		{ LAST + 1, 0, VIRTIO_BLK_S_OK },
		{ LAST, 1024, VIRTIO_BLK_S_IOERR },
		{ LAST + 1, 512, VIRTIO_BLK_S_IOERR },
		{ 0, 511, VIRTIO_BLK_S_IOERR },
		{ 0, 513, VIRTIO_BLK_S_IOERR },
		{ 0, 1, VIRTIO_BLK_S_IOERR },
		{ 1ULL << 55, 512, VIRTIO_BLK_S_IOERR },
		{ 1ULL << 63, 512, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX, 512, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX, 0, VIRTIO_BLK_S_IOERR },
		{ 0, 3 << 20, VIRTIO_BLK_S_IOERR },
	};

	OK(rig_init());
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		EQ(request(VIRTIO_BLK_T_IN, t[i].sector, t[i].len),
		   t[i].status);
		EQ(request(VIRTIO_BLK_T_OUT, t[i].sector, t[i].len),
		   t[i].status);
	}
	EQ(rig.disk.moves, 2);
	rig_release();

	/* The largest disk there can be: still no sum wraps. */
	OK(plug(~511ULL, false) && drive(~0ULL, 16));
	EQ(request(VIRTIO_BLK_T_IN, 1ULL << 55, 512), VIRTIO_BLK_S_IOERR);
	EQ(rig.disk.moves, 0);
	EQ(request(VIRTIO_BLK_T_IN, (1ULL << 55) - 2, 512),
	   VIRTIO_BLK_S_IOERR);
	EQ(rig.disk.moves, 1);
	rig_release();
}

TEST(blocks_of_4096_bytes_are_transferred_whole)
{
	OK(plug(DISK, false));
	rig.disk.block.block_size = 4096;
	EQ(fake_config(&rig.drv, 20, 4), 4096);
	OK(drive(~0ULL, 16));
	EQ(request(VIRTIO_BLK_T_OUT, 8, 4096), VIRTIO_BLK_S_OK);
	EQ(request(VIRTIO_BLK_T_OUT, 8, 512), VIRTIO_BLK_S_IOERR);
	EQ(request(VIRTIO_BLK_T_IN, 1, 4096), VIRTIO_BLK_S_IOERR);
	rig_release();
}

TEST(a_short_header_is_an_error)
{
	OK(rig_init());
	put_header(HEADER, VIRTIO_BLK_T_IN, 0);
	fake_add(&rig.q, (struct fake_seg[]){
			{ HEADER, 15 }, { DATA, 512 }, { STATUS, 1 } }, 1, 2);
	EQ(await(), 513);
	EQ(status_at(STATUS), VIRTIO_BLK_S_IOERR);
	fake_add(&rig.q, (struct fake_seg[]){ { STATUS, 1 } }, 0, 1);
	EQ(await(), 1);
	EQ(status_at(STATUS), VIRTIO_BLK_S_IOERR);
	EQ(rig.disk.moves, 0);
	rig_release();
}

TEST(chains_that_cannot_be_answered_break_the_device_alone)
{
	static const struct { struct fake_seg seg[3]; unsigned nout, nin; } t[] = {
		{ { { HEADER, 16 } }, 1, 0 },
		/* the status lies where the device only reads */
		{ { { HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } }, 3, 0 },
		/* outside RAM, over its end, around the address space */
		{ { { HEADER, 16 }, { FAKE_RAM, 512 }, { STATUS, 1 } }, 1, 2 },
		{ { { HEADER, 16 }, { FAKE_RAM - 511, 512 }, { STATUS, 1 } },
		  2, 1 },
		{ { { HEADER, 16 }, { -512ULL, 1024 }, { STATUS, 1 } }, 1, 2 },
		{ { { FAKE_ECAM, 16 }, { STATUS, 1 } }, 1, 1 },
		{ { { HEADER, 16 }, { DATA, 512 }, { 1ULL << 40, 1 } }, 1, 2 },
		/* lengths that are none */
		{ { { HEADER, 16 }, { DATA, UINT32_MAX }, { STATUS, 1 } }, 1, 2 },
		{ { { HEADER, 0 }, { STATUS, 1 } }, 1, 1 },
		{ { { HEADER, 16 }, { STATUS, 0 } }, 1, 1 },
	};

	OK(rig_init());
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		put_header(HEADER, VIRTIO_BLK_T_IN, 0);
		fake_add(&rig.q, t[i].seg, t[i].nout, t[i].nin);
		fake_kick(&rig.q);
		OK(broken());
		OK(!fake_used(&rig.q, NULL, NULL));
		OK(interrupted(FAKE_MSI));
		fake_kick(&rig.q);
		OK(recovers());
	}
	/* A reading request whose segments are all of the wrong direction. */
	put_header(HEADER, VIRTIO_BLK_T_IN, 0);
	fake_add(&rig.q, (struct fake_seg[]){
			{ HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } }, 0, 3);
	EQ(await(), 16 + 512 + 1);
	EQ(status_at(STATUS), VIRTIO_BLK_S_IOERR);
	rig_release();
}

TEST(a_gigabyte_in_one_request_is_refused_without_harm)
{
	static struct fake_seg seg[256];

	OK(plug(DISK, false) && drive(~0ULL, 256));
	seg[0] = (struct fake_seg){ HEADER, 16 };
	for (int i = 1; i < 255; i++)
		seg[i] = (struct fake_seg){ 0, VIRTQ_BYTES / 256 };
	seg[255] = (struct fake_seg){ STATUS, 1 };
	put_header(HEADER, VIRTIO_BLK_T_OUT, 0);
	fake_add(&rig.q, seg, 255, 1);
	EQ(await(), 1);
	EQ(status_at(STATUS), VIRTIO_BLK_S_IOERR);
	EQ(rig.disk.moves, 0);
	rig_release();
}

static void *open_gate(void *arg)
{
	for (int i = 0; i < 30; i++)
		nap();
	((struct ram_disk *)arg)->closed = false;
	return NULL;
}

/* One request that waits at the gate. */
static bool hold_one(void)
{
	rig.disk.closed = true;
	put_header(HEADER, VIRTIO_BLK_T_IN, 0);
	fake_add(&rig.q, (struct fake_seg[]){
			{ HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } }, 1, 2);
	fake_kick(&rig.q);
	for (int i = 0; i < 1000 && !rig.disk.waiting; i++)
		nap();
	return rig.disk.waiting;
}

TEST(a_reset_waits_for_what_is_in_flight_and_nothing_comes_after)
{
	pthread_t thread;

	OK(rig_init());
	memset(rig.disk.data, 'd', DISK);
	for (int i = 0; i < 3; i++) {
		OK(hold_one());
		/* More wait behind it: they are not begun. */
		fake_add(&rig.q, (struct fake_seg[]){
				{ HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } },
			 1, 2);
		rig.disk.moves = 0;
		pthread_create(&thread, NULL, open_gate, &rig.disk);
		OK(fake_reset(&rig.drv));
		OK(!rig.disk.closed);
		mem_zero(&rig.f.mem, 0, FAKE_RAM);
		pthread_join(thread, NULL);
		for (int n = 0; n < 5; n++)
			nap();
		EQ(rig.disk.moves, 1);
		OK(same(DATA, (char[512]){ 0 }, 512));
		OK(same(QUEUE, (char[512]){ 0 }, 512));
		OK(drive(~0ULL, 16));
		EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	}
	rig_release();
}

TEST(registers_written_while_active_change_nothing)
{
	OK(rig_init());
	OK(hold_one());
	for (int i = 0; i < 2; i++) {
		fake_reg_set(&rig.drv, FAKE_COMMON(queue_select), 0);
		fake_reg_set(&rig.drv, FAKE_COMMON(queue_size), i ? 256 : 3);
		fake_reg_set(&rig.drv, FAKE_COMMON(queue_desc), -16ULL);
		fake_reg_set(&rig.drv, FAKE_COMMON(queue_driver), FAKE_RAM);
		fake_reg_set(&rig.drv, FAKE_COMMON(queue_device), 0);
		fake_reg_set(&rig.drv, FAKE_COMMON(queue_enable), 1);
		fake_reg_set(&rig.drv, FAKE_COMMON(driver_feature), 0);
		fake_driver_ok(&rig.drv);
	}
	rig.disk.closed = false;
	OK(fake_wait(&rig.q, NULL, NULL));
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 0);	/* FLUSH is still negotiated */
	rig_release();
}

TEST(no_kick_is_wanted_while_busy_and_a_batch_needs_one)
{
	struct fake_seg seg[] = { { HEADER, 16 }, { DATA, 512 },
				  { STATUS, 1 } };

	OK(plug(DISK, false));
	OK(drive(~VIRTIO_F_BIT(VIRTIO_F_EVENT), 64));
	OK(hold_one());
	OK(!fake_kick_wanted(&rig.q));
	for (int i = 0; i < 20; i++)
		fake_add(&rig.q, seg, 1, 2);
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 0);
	rig.disk.closed = false;
	for (int i = 0; i < 21; i++)
		OK(fake_wait(&rig.q, NULL, NULL));
	for (int i = 0; i < 1000 && !fake_kick_wanted(&rig.q); i++)
		nap();
	OK(fake_kick_wanted(&rig.q));
	OK(interrupted(FAKE_MSI + 1));
	rig_release();
}

TEST(requests_made_before_driver_ok_need_no_second_kick)
{
	OK(plug(DISK, false));
	OK(fake_negotiate(&rig.drv, ~0ULL));
	OK(fake_queue_init(&rig.q, &rig.drv, 0, 16, QUEUE));
	put_header(HEADER, VIRTIO_BLK_T_IN, 0);
	fake_add(&rig.q, (struct fake_seg[]){
			{ HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } }, 1, 2);
	fake_driver_ok(&rig.drv);
	OK(fake_wait(&rig.q, NULL, NULL));
	EQ(status_at(STATUS), VIRTIO_BLK_S_OK);
	rig_release();
}

TEST(a_driver_without_a_queue_may_start_and_reset_as_it_likes)
{
	OK(plug(DISK, false));
	for (int i = 0; i < 100; i++) {
		OK(fake_negotiate(&rig.drv, ~0ULL));
		fake_driver_ok(&rig.drv);
		bus_write(&rig.f.memory, rig.drv.notify, 2, 0);
		OK(fake_reset(&rig.drv));
	}
	OK(recovers());
	rig_release();
}

TESTS(T(the_driver_sees_the_disk), T(what_was_written_is_read_back),
      T(segments_may_lie_across_all_borders),
      T(the_serial_number_is_20_bytes_cut_to_the_room),
      T(unknown_requests_are_unsupported),
      T(without_flush_every_write_is_durable_before_its_answer),
      T(errors_of_the_disk_reach_the_guest_and_nobody_else),
      T(a_readonly_disk_is_not_written),
      T(requests_beyond_the_disk_or_off_its_sectors_fail),
      T(blocks_of_4096_bytes_are_transferred_whole),
      T(a_short_header_is_an_error),
      T(chains_that_cannot_be_answered_break_the_device_alone),
      T(a_gigabyte_in_one_request_is_refused_without_harm),
      T(a_reset_waits_for_what_is_in_flight_and_nothing_comes_after),
      T(registers_written_while_active_change_nothing),
      T(no_kick_is_wanted_while_busy_and_a_batch_needs_one),
      T(requests_made_before_driver_ok_need_no_second_kick),
      T(a_driver_without_a_queue_may_start_and_reset_as_it_likes))
