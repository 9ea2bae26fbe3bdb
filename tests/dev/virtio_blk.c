/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "disk.h"

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
	static const uint32_t types[] = { 2, 3, 5, 7, 12, 14, 16, 1U << 31,
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
		rig.disk.fail = i % 2 ? -EIO : -EACCES;
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

TEST(a_reset_waits_for_what_is_in_flight_and_nothing_comes_after)
{
	pthread_t thread;

	OK(rig_init());
	memset(rig.disk.data, 'd', DISK);
	for (int i = 0; i < 3; i++) {
		OK(hold_one());
		/* Another one, which may have been taken by then or not. */
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
		OK(rig.disk.moves >= 1 && rig.disk.moves <= 2);
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

/* -- discarding and zeroing -- */

TEST(ranges_are_discarded_and_zeroed_one_after_the_other)
{
	static const struct range two[] = { { 0, 2, 0 }, { 8, 1, 0 } };
	static const struct range unmap[] = { { 3, 1, 1 } };

	OK(rig_init());
	EQ(fake_config(&rig.drv, 40, 4), BLK_RANGES);
	EQ(fake_config(&rig.drv, 56, 1), 1);
	memset(rig.disk.data, 'd', DISK);
	EQ(request_ranges(VIRTIO_BLK_T_WRITE_ZEROES, two, 2), VIRTIO_BLK_S_OK);
	EQ(rig.disk.zeroes, 2);
	OK(!rig.disk.unmap);
	OK(is_zero(rig.disk.data, 1024) && rig.disk.data[1024] == 'd');
	OK(rig.disk.data[8 * 512 - 1] == 'd' &&
	   is_zero(rig.disk.data + 8 * 512, 512) &&
	   rig.disk.data[9 * 512] == 'd');
	EQ(request_ranges(VIRTIO_BLK_T_WRITE_ZEROES, unmap, 1),
	   VIRTIO_BLK_S_OK);
	OK(rig.disk.unmap);
	EQ(request_ranges(VIRTIO_BLK_T_DISCARD, two, 2), VIRTIO_BLK_S_OK);
	EQ(rig.disk.discards, 2);
	EQ(rig.disk.data[0], 'x');
	EQ(rig.disk.data[1024], 'd');
	rig_release();
}

TEST(ranges_that_cannot_be_are_refused_before_the_first_is_carried_out)
{
	static const struct { struct range r[2]; unsigned n; int status; } t[] = {
		{ { { 0, 1, 0 }, { DISK / 512, 1, 0 } }, 2, VIRTIO_BLK_S_IOERR },
		{ { { DISK / 512 - 1, 2, 0 } }, 1, VIRTIO_BLK_S_IOERR },
		{ { { UINT64_MAX, 1, 0 } }, 1, VIRTIO_BLK_S_IOERR },
		{ { { 1ULL << 55, 1, 0 } }, 1, VIRTIO_BLK_S_IOERR },
		{ { { 0, UINT32_MAX, 0 } }, 1, VIRTIO_BLK_S_IOERR },
		{ { { 0, 1, 0 }, { 0, 1, 2 } }, 2, VIRTIO_BLK_S_UNSUPP },
		{ { { 0, 1, 1U << 31 } }, 1, VIRTIO_BLK_S_UNSUPP },
	};
	static const struct range unmap[] = { { 0, 1, 1 } };
	static struct range many[BLK_RANGES + 1];

	OK(rig_init());
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		EQ(request_ranges(VIRTIO_BLK_T_DISCARD, t[i].r, t[i].n),
		   t[i].status);
		EQ(request_ranges(VIRTIO_BLK_T_WRITE_ZEROES, t[i].r, t[i].n),
		   t[i].status);
	}
	/* A discard has no flags at all. */
	EQ(request_ranges(VIRTIO_BLK_T_DISCARD, unmap, 1), VIRTIO_BLK_S_UNSUPP);
	EQ(request_ranges(VIRTIO_BLK_T_DISCARD, many, BLK_RANGES + 1),
	   VIRTIO_BLK_S_IOERR);
	EQ(request(VIRTIO_BLK_T_DISCARD, 0, 0), VIRTIO_BLK_S_IOERR);
	EQ(rig.disk.discards, 0);
	EQ(rig.disk.zeroes, 0);
	EQ(request_ranges(VIRTIO_BLK_T_DISCARD, many, BLK_RANGES),
	   VIRTIO_BLK_S_OK);
	OK(fake_reset(&rig.drv));
	OK(drive(~(VIRTIO_F_BIT(VIRTIO_BLK_F_DISCARD) |
		   VIRTIO_F_BIT(VIRTIO_BLK_F_WRITE_ZEROES)), 16));
	EQ(request_ranges(VIRTIO_BLK_T_DISCARD, many, 1), VIRTIO_BLK_S_UNSUPP);
	EQ(request_ranges(VIRTIO_BLK_T_WRITE_ZEROES, many, 1),
	   VIRTIO_BLK_S_UNSUPP);
	rig_release();
	OK(plug(DISK, true));
	EQ(fake_offered(&rig.drv) & (VIRTIO_F_BIT(VIRTIO_BLK_F_DISCARD) |
				     VIRTIO_F_BIT(VIRTIO_BLK_F_WRITE_ZEROES)),
	   0);
	rig_release();
}

/* -- caches -- */

TEST(the_driver_may_turn_the_cache_to_write_through_and_back)
{
	enum { WRITEBACK = 32 };

	OK(rig_init());
	EQ(fake_config(&rig.drv, WRITEBACK, 1), 1);
	fake_config_set(&rig.drv, WRITEBACK, 1, 0);
	EQ(fake_config(&rig.drv, WRITEBACK, 1), 0);
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 1);
	EQ(request_ranges(VIRTIO_BLK_T_DISCARD,
			  (struct range[]){ { 0, 1, 0 } }, 1),
	   VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 2);
	fake_config_set(&rig.drv, WRITEBACK - 2, 4, 0x10000);
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 2);
	fake_config_set(&rig.drv, WRITEBACK, 1, 0);
	OK(fake_reset(&rig.drv));
	EQ(fake_config(&rig.drv, WRITEBACK, 1), 1);
	rig_release();
}

TEST(write_through_is_the_owners_to_demand_and_unsafe_too)
{
	struct virtio_blk_conf conf = { .serial = "", .queues = 1,
					.cache = BLK_WRITETHROUGH };

	OK(plug_as(DISK, false, &conf) && drive(~0ULL, 16));
	EQ(fake_offered(&rig.drv) & (VIRTIO_F_BIT(VIRTIO_BLK_F_FLUSH) |
				     VIRTIO_F_BIT(VIRTIO_BLK_F_CONFIG_WCE)),
	   0);
	fake_config_set(&rig.drv, 32, 1, 1);
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 1);
	rig_release();

	conf.cache = BLK_UNSAFE;
	OK(plug_as(DISK, false, &conf) && drive(~0ULL, 16));
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 0);
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

TESTS(T(the_driver_sees_the_disk),
      T(what_was_written_is_read_back),
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
      T(ranges_are_discarded_and_zeroed_one_after_the_other),
      T(ranges_that_cannot_be_are_refused_before_the_first_is_carried_out),
      T(the_driver_may_turn_the_cache_to_write_through_and_back),
      T(write_through_is_the_owners_to_demand_and_unsafe_too),
      T(requests_made_before_driver_ok_need_no_second_kick),
      T(a_driver_without_a_queue_may_start_and_reset_as_it_likes))
