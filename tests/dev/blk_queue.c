/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Many requests to a disk at once: queues, stalls, limits, growth. */
#include "disk.h"

#include <stdlib.h>

#include "base/err.h"

TEST(many_are_under_way_at_once_and_one_interrupt_tells_of_all)
{
	struct fake_seg seg[] = { { HEADER, 16 }, { DATA, 512 },
				  { STATUS, 1 } };
	uint32_t id;

	OK(plug(DISK, false));
	OK(drive(~VIRTIO_F_BIT(VIRTIO_F_EVENT), 64));
	OK(hold_one());
	for (int i = 0; i < 9; i++)
		fake_add(&rig.q, seg, 1, 2);
	fake_kick(&rig.q);
	for (int i = 0; i < 1000 && rig.disk.waiting < 10; i++)
		nap();
	EQ(rig.disk.waiting, 10);
	OK(!fake_used(&rig.q, NULL, NULL));
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 0);
	rig.disk.closed = false;
	for (int i = 0; i < 10; i++)
		OK(fake_wait(&rig.q, &id, NULL));
	OK(interrupted(FAKE_MSI + 1));
	for (int i = 0; i < 1000 && !fake_kick_wanted(&rig.q); i++)
		nap();
	OK(fake_kick_wanted(&rig.q));
	rig_release();
}

TEST(a_chain_offered_again_while_under_way_takes_no_more_than_the_slots)
{
	struct fake_seg seg[] = { { HEADER, 16 }, { DATA, 512 },
				  { STATUS, 1 } };
	uint16_t head;

	OK(plug(DISK, false) && drive(~0ULL, 8));
	rig.disk.closed = true;
	put_header(HEADER, VIRTIO_BLK_T_IN, 0);
	head = fake_add(&rig.q, seg, 1, 2);
	for (int i = 1; i < 40; i++) {
		fake_kick(&rig.q);
		for (int n = 0; n < 1000 && i <= 8 && rig.disk.waiting < i; n++)
			nap();
		if (i < 16)	/* more would be a jump of the index */
			fake_offer(&rig.q, head);
	}
	for (int i = 0; i < 5; i++)
		nap();
	EQ(rig.disk.waiting, 8);
	EQ(fake_status(&rig.drv) & VIRTIO_NEEDS_RESET, 0);
	rig.disk.closed = false;
	for (int i = 0; i < 16; i++)
		OK(fake_wait(&rig.q, NULL, NULL));
	OK(recovers());
	rig_release();
}

TEST(each_queue_is_served_by_itself)
{
	static const struct virtio_blk_conf conf = { .serial = "",
						     .queues = 3 };
	struct fake_seg seg[] = { { HEADER, 16 }, { DATA, 512 },
				  { STATUS, 1 } };
	struct fake_queue q[3];

	OK(plug_as(DISK, false, &conf));
	OK(fake_offered(&rig.drv) & VIRTIO_F_BIT(VIRTIO_BLK_F_MQ));
	EQ(fake_config(&rig.drv, 34, 2), 3);
	OK(fake_negotiate(&rig.drv, ~0ULL));
	fake_msix_on(&rig.drv, 4);
	/* the one in the middle stays disabled */
	OK(fake_queue_init(&q[0], &rig.drv, 0, 16, QUEUE));
	OK(fake_queue_init(&q[2], &rig.drv, 2, 16, QUEUE + 0x2000));
	fake_driver_ok(&rig.drv);
	put_header(HEADER, VIRTIO_BLK_T_IN, 0);
	for (int i = 0; i < 20; i++) {
		struct fake_queue *one = &q[i % 2 ? 2 : 0];

		fake_used_event(one, one->used_idx);
		fake_add(one, seg, 1, 2);
		fake_kick(one);
		OK(fake_wait(one, NULL, NULL));
		OK(interrupted(FAKE_MSI + 1 + one->index));
	}
	EQ(fake_msi(&rig.f, FAKE_MSI + 2), 0);
	OK(fake_reset(&rig.drv));
	rig_release();
}

/* -- stalls -- */

static void count_stall(void *owner, struct virtio_blk *b)
{
	(void)b;
	++*(atomic_int *)owner;
}

/* Offers a write of 512 bytes, and waits until it was tried TRIES times. */
static bool try_write(gpa_t status, unsigned tries)
{
	put_header(HEADER, VIRTIO_BLK_T_OUT, 4);
	mem_write(&rig.f.mem, status, "\xee", 1);
	fake_add(&rig.q, (struct fake_seg[]){
			{ HEADER, 16 }, { DATA, 512 }, { status, 1 } }, 2, 1);
	fake_kick(&rig.q);
	for (int i = 0; i < 1000 && rig.disk.moves < tries; i++)
		nap();
	return rig.disk.moves == tries;
}

static bool stalled(atomic_int *stalls, int n)
{
	for (int i = 0; i < 1000 && *stalls < n; i++)
		nap();
	return *stalls == n;
}

TEST(a_write_to_a_full_disk_waits_for_a_retry_and_loses_nothing)
{
	atomic_int stalls = 0;
	struct virtio_blk_conf conf = { .serial = "", .queues = 1,
					.stalled = count_stall,
					.owner = &stalls };

	OK(plug_as(DISK, false, &conf) && drive(~0ULL, 16));
	rig.disk.fail = -ENOSPC;
	fill(DATA, 512, 7);
	OK(try_write(STATUS, 1) && stalled(&stalls, 1));
	EQ(virtio_blk_stall(&rig.blk), -ENOSPC);
	OK(try_write(STATUS + 1, 2));
	EQ(stalls, 1);			/* told once */
	OK(!fake_used(&rig.q, NULL, NULL));

	virtio_blk_retry(&rig.blk);	/* still full */
	OK(stalled(&stalls, 2));
	EQ(status_at(STATUS), 0xee);
	for (int i = 0; i < 1000 && rig.disk.moves < 4; i++)
		nap();
	/* What the driver does to its header meanwhile changes nothing. */
	put_header(HEADER, VIRTIO_BLK_T_IN, 99);
	rig.disk.fail = 0;
	virtio_blk_retry(&rig.blk);
	OK(fake_wait(&rig.q, NULL, NULL) && fake_wait(&rig.q, NULL, NULL));
	EQ(status_at(STATUS), VIRTIO_BLK_S_OK);
	EQ(status_at(STATUS + 1), VIRTIO_BLK_S_OK);
	OK(same(DATA, rig.disk.data + 4 * 512, 512));
	EQ(virtio_blk_stall(&rig.blk), 0);
	EQ(stalls, 2);
	rig_release();
}

TEST(reads_never_stall_and_what_stalls_is_the_owners_to_say)
{
	static const struct { enum blk_werror werror; int rc; bool stalls; } t[] = {
		{ BLK_STALL_FULL, -EDQUOT, true },
		{ BLK_STALL_FULL, -EIO, false },
		{ BLK_STALL_ALL, -EIO, true },
		{ BLK_STALL_NONE, -ENOSPC, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		atomic_int stalls = 0;
		struct virtio_blk_conf conf = {
			.serial = "", .queues = 1, .werror = t[i].werror,
			.stalled = count_stall, .owner = &stalls,
		};

		OK(plug_as(DISK, false, &conf) && drive(~0ULL, 16));
		rig.disk.fail = t[i].rc;
		EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
		if (t[i].stalls) {
			OK(try_write(STATUS, 2) && stalled(&stalls, 1));
			rig.disk.fail = 0;
			virtio_blk_retry(&rig.blk);
			OK(fake_wait(&rig.q, NULL, NULL));
		} else {
			EQ(request(VIRTIO_BLK_T_OUT, 0, 512),
			   VIRTIO_BLK_S_IOERR);
			EQ(stalls, 0);
		}
		rig_release();
	}
}

TEST(a_reset_drops_what_is_parked)
{
	static const struct virtio_blk_conf conf = { .serial = "",
						     .queues = 1 };

	OK(plug_as(DISK, false, &conf) && drive(~0ULL, 16));
	rig.disk.fail = -ENOSPC;
	OK(try_write(STATUS, 1));
	for (int i = 0; i < 1000 && !virtio_blk_stall(&rig.blk); i++)
		nap();
	OK(fake_reset(&rig.drv));
	EQ(virtio_blk_stall(&rig.blk), 0);
	rig.disk.fail = 0;
	virtio_blk_retry(&rig.blk);
	OK(recovers());
	EQ(rig.disk.moves, 2);
	rig_release();
}

/* -- limits -- */

TEST(requests_wait_for_their_limit_and_go_when_it_is_lifted)
{
	struct virtio_blk_conf conf = {
		.serial = "", .queues = 1, .rates.requests = { 20, 1 },
	};
	uint64_t start = now_ns();

	OK(plug_as(DISK, false, &conf) && drive(~0ULL, 16));
	for (int i = 0; i < 4; i++)
		EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	OK(now_ns() - start >= 140000000);	/* three times 50 ms */
	EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);

	virtio_blk_limit(&rig.blk, &(struct limit_rates){
			.bytes = { 1, 512 } });
	rig.disk.moves = 0;
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	fake_add(&rig.q, (struct fake_seg[]){
			{ HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } }, 1, 2);
	fake_kick(&rig.q);
	for (int i = 0; i < 20; i++)
		nap();
	EQ(rig.disk.moves, 1);
	virtio_blk_limit(&rig.blk, &(struct limit_rates){ 0 });
	OK(fake_wait(&rig.q, NULL, NULL));
	rig_release();
}

TEST(a_reset_does_not_wait_for_a_limit)
{
	struct virtio_blk_conf conf = {
		.serial = "", .queues = 1, .rates.bytes = { 1, 512 },
	};
	uint64_t start = now_ns();

	OK(plug_as(DISK, false, &conf) && drive(~0ULL, 16));
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	for (int i = 0; i < 5; i++)
		fake_add(&rig.q, (struct fake_seg[]){
				{ HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } },
			 1, 2);
	fake_kick(&rig.q);
	nap();
	OK(fake_reset(&rig.drv));
	OK(now_ns() - start < 4000000000);
	EQ(rig.disk.moves, 1);
	rig_release();
}

/* -- growth -- */

TEST(a_disk_grows_under_a_running_guest)
{
	OK(plug(DISK / 2, false) && drive(~0ULL, 16));
	EQ(request(VIRTIO_BLK_T_IN, DISK / 1024, 512), VIRTIO_BLK_S_IOERR);
	EQ(virtio_blk_resize(&rig.blk, DISK / 2), 0);
	EQ(virtio_blk_resize(&rig.blk, DISK), 0);
	OK(interrupted(FAKE_MSI));
	EQ(fake_config(&rig.drv, 0, 8), DISK / 512);
	EQ(request(VIRTIO_BLK_T_OUT, DISK / 1024, 512), VIRTIO_BLK_S_OK);
	EQ(virtio_blk_resize(&rig.blk, DISK / 2), -E_CONFIG);
	EQ(fake_config(&rig.drv, 0, 8), DISK / 512);
	rig_release();
}

/* -- a real disk, both ways -- */

static bool moves_data(bool threads)
{
	struct virtio_blk_conf conf = { .serial = "", .queues = 2,
					.threads = threads };
	char path[] = "/tmp/virtio_blk.XXXXXX";
	autoclose int fd = mkstemp(path);
	unsigned char got[4096];
	struct block *disk;
	bool ok;

	ok = fd >= 0 && ftruncate(fd, DISK) == 0 &&
		raw_open(&disk, path, false) == 0;
	unlink(path);
	if (!ok)
		return false;
	ok = plug_disk(disk, &conf) && drive(~0ULL, 64);
	for (unsigned i = 0; ok && i < 32; i++) {
		fill(DATA, 4096, i);
		ok = request(VIRTIO_BLK_T_OUT, 8 * i, 4096) == 0 &&
			pread(fd, got, 4096, 4096 * i) == 4096 &&
			same(DATA, got, 4096) &&
			request(VIRTIO_BLK_T_FLUSH, 0, 0) == 0;
		mem_zero(&rig.f.mem, DATA, 4096);
		ok = ok && request(VIRTIO_BLK_T_IN, 8 * i, 4096) == 0 &&
			same(DATA, got, 4096);
	}
	rig_release();
	block_close(disk);
	return ok;
}

TEST(data_comes_and_goes_by_io_uring_and_by_threads)
{
	OK(moves_data(false));
	OK(moves_data(true));
}

TESTS(T(many_are_under_way_at_once_and_one_interrupt_tells_of_all),
      T(a_chain_offered_again_while_under_way_takes_no_more_than_the_slots),
      T(each_queue_is_served_by_itself),
      T(a_write_to_a_full_disk_waits_for_a_retry_and_loses_nothing),
      T(reads_never_stall_and_what_stalls_is_the_owners_to_say),
      T(a_reset_drops_what_is_parked),
      T(requests_wait_for_their_limit_and_go_when_it_is_lifted),
      T(a_reset_does_not_wait_for_a_limit),
      T(a_disk_grows_under_a_running_guest),
      T(data_comes_and_goes_by_io_uring_and_by_threads))
