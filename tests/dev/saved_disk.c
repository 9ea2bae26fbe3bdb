/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk brought to rest, saved, loaded into another machine, replaced. */
#define FAKE_RAM (512 << 10)

#include "disk.h"
#include "saved.h"

enum { OTHER = 0x23000 };	/* a second header */

static const struct virtio_blk_conf plain = { .serial = "s", .queues = 1 };

/* What of the driver goes to the other machine, and the disk's data. */
static struct {
	struct buf state;
	struct fake_drv drv;
	struct fake_queue q;
	unsigned char data[DISK];
} kept;

/* Saves the disk, at rest, and ends its machine. */
static bool save(void)
{
	if (virtio_blk_quiesce(&rig.blk) < 0)
		return false;
	begin_saving(&kept.state);
	virtio_pci_save(&rig.pci, &kept.state);
	pci_bus_save(&rig.f.pci, &kept.state);
	carry_out(&rig.f);
	kept.drv = rig.drv;
	kept.q = rig.q;
	memcpy(kept.data, rig.disk.data, DISK);
	rig_release();
	return !kept.state.failed;
}

/* A machine as after power-on, with the memory of the one before. */
static bool build(uint64_t size, bool readonly,
		  const struct virtio_blk_conf *conf)
{
	struct ram_disk *d = &rig.disk;

	memset(d, 0, sizeof(*d));
	memcpy(d->data, kept.data, DISK);
	d->block = (struct block){ .ops = &ram_ops, .size = size,
				   .block_size = 512, .readonly = readonly };
	if (fake_init(&rig.f) < 0 ||
	    virtio_blk_init(&rig.blk, &rig.f.mem, &d->block, conf, "disk0") < 0)
		return false;
	virtio_pci_init(&rig.pci, &rig.blk.virtio, &rig.f.chip.irqchip);
	if (pci_bus_add(&rig.f.pci, &rig.pci.pci, SLOT) < 0)
		return false;
	carry_in(&rig.f);
	rig.drv = kept.drv;
	rig.q = kept.q;
	return true;
}

static int load(const struct buf *state)
{
	struct sections *all = parse(state);
	int rc = all ? pci_bus_load(&rig.f.pci, all) : -EIO;

	if (rc == 0)
		rc = virtio_pci_load(&rig.pci, all);
	return rc == 0 ? sections_done(all) : rc;
}

static bool move_house(void)
{
	bool moved = save() && build(DISK, false, &plain) &&
		load(&kept.state) == 0 && virtio_go_on(&rig.blk.virtio) == 0;

	buf_release(&kept.state);
	return moved;
}

/* Offers a read of a sector that the driver does not wait for yet. */
static void offer(gpa_t header, uint64_t sector)
{
	put_header(header, VIRTIO_BLK_T_IN, sector);
	fake_add(&rig.q, (struct fake_seg[]){
			{ header, 16 }, { DATA, 512 }, { STATUS, 1 } }, 1, 2);
}

static bool moves_reach(unsigned n)
{
	for (int i = 0; i < 1000 && rig.disk.moves < n; i++)
		nap();
	return rig.disk.moves == n;
}

TEST(a_disk_goes_on_where_it_was)
{
	OK(rig_init());
	fill(DATA, 512, 7);
	for (int i = 0; i < 40; i++)	/* the indices are past their size */
		EQ(request(VIRTIO_BLK_T_OUT, i, 512), VIRTIO_BLK_S_OK);
	fake_used_event(&rig.q, 40);
	OK(move_house());
	EQ(fake_status(&rig.drv), 15);
	mem_zero(&rig.f.mem, DATA, 512);
	EQ(request(VIRTIO_BLK_T_IN, 39, 512), VIRTIO_BLK_S_OK);
	OK(same(DATA, rig.disk.data + 39 * 512, 512));
	OK(interrupted(FAKE_MSI + 1));
	EQ(rig.disk.moves, 1);
	OK(recovers());
	rig_release();
}

TEST(indirect_requests_and_event_indices_go_on)
{
	struct fake_seg seg[] = { { HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } };

	OK(rig_init());
	OK(rig.drv.features & VIRTIO_F_BIT(VIRTIO_F_EVENT));
	fake_used_event(&rig.q, 1);	/* at the second, not the first */
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 0);
	OK(move_house());
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 0);
	put_header(HEADER, VIRTIO_BLK_T_IN, 0);
	fake_add_indirect(&rig.q, TABLE, seg, 1, 2);
	OK(await() >= 0);
	OK(interrupted(FAKE_MSI + 1));
	nap();
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 0);
	rig_release();
}

TEST(an_interrupt_the_driver_waits_for_comes_once_more_and_no_other)
{
	OK(rig_init());
	fake_used_event(&rig.q, 0);
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	OK(move_house());		/* it was not taken */
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 1);
	fake_used_event(&rig.q, 1);	/* now it was */
	OK(move_house());
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 0);
	EQ(fake_msi(&rig.f, FAKE_MSI), 0);
	rig_release();
}

TEST(what_was_offered_but_not_taken_is_done_once_without_a_kick)
{
	OK(rig_init());
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	EQ(virtio_blk_quiesce(&rig.blk), 0);
	offer(HEADER, 1);
	offer(OTHER, 2);
	fake_kick(&rig.q);	/* of the old machine's eventfd */
	EQ(rig.disk.moves, 1);
	OK(move_house());
	OK(fake_wait(&rig.q, NULL, NULL) && fake_wait(&rig.q, NULL, NULL));
	OK(moves_reach(2));
	EQ(status_at(STATUS), VIRTIO_BLK_S_OK);
	OK(!fake_used(&rig.q, NULL, NULL));
	rig_release();
}

TEST(registers_half_written_are_as_they_were)
{
	uint8_t before[sizeof(struct virtio_pci_common)], byte;

	OK(plug(DISK, false));
	OK(fake_negotiate(&rig.drv, ~0ULL));
	rig.q = (struct fake_queue){ .d = &rig.drv, .size = 32,
				     .desc = 0x10000, .avail = 0x11000,
				     .used = 0x12000 };
	fake_queue_regs(&rig.q);
	fake_reg_set(&rig.drv, FAKE_COMMON(device_feature_select), 1);
	for (unsigned i = 0; i < sizeof(before); i++)
		before[i] = fake_reg(&rig.drv, i, 1);
	OK(move_house());
	for (unsigned i = 0; i < sizeof(before); i++) {
		byte = fake_reg(&rig.drv, i, 1);
		EQ(byte, before[i]);
	}
	OK(fake_queue_enable(&rig.q));
	fake_driver_ok(&rig.drv);
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	rig_release();
}

TEST(a_device_never_driven_stays_so)
{
	OK(plug(DISK, false));
	OK(move_house());
	EQ(fake_status(&rig.drv), 0);
	OK(drive(~0ULL, 16));
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	rig_release();
}

TEST(a_broken_device_stays_broken_until_reset)
{
	OK(rig_init());
	fake_offer(&rig.q, 0x4000);
	fake_kick(&rig.q);
	OK(broken());
	OK(move_house());
	OK(fake_status(&rig.drv) & VIRTIO_NEEDS_RESET);
	EQ(fake_msi(&rig.f, FAKE_MSI), 1);	/* it is told again */
	nap();
	EQ(rig.disk.moves, 0);
	OK(recovers());
	rig_release();
}

TEST(a_masked_vector_keeps_its_interrupt_and_gives_it_once)
{
	OK(rig_init());
	fake_msix_entry(&rig.drv, 1, FAKE_MSI_ADDR, FAKE_MSI + 9, true);
	fake_used_event(&rig.q, 0);
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	for (int i = 0; i < 1000 && !bus_read(&rig.f.memory, rig.drv.msix_pba, 1);
	     i++)
		nap();
	EQ(bus_read(&rig.f.memory, rig.drv.msix_pba, 1), 2);
	fake_used_event(&rig.q, 1);	/* so the ring asks for nothing */
	OK(move_house());
	EQ(bus_read(&rig.f.memory, rig.drv.msix_pba, 1), 2);
	EQ(fake_msi(&rig.f, FAKE_MSI + 9), 0);
	EQ(rig.f.chip.routings, 0);
	bus_write(&rig.f.memory, rig.drv.msix_table + 16 + 12, 4, 0);
	EQ(fake_msi(&rig.f, FAKE_MSI + 9), 1);
	EQ(bus_read(&rig.f.memory, rig.drv.msix_pba, 1), 0);
	rig_release();
}

TEST(a_pin_that_was_up_is_up_until_the_isr_is_read)
{
	unsigned gsi = 17;	/* slot 1, INTA */

	OK(plug(DISK, false) && fake_negotiate(&rig.drv, ~0ULL));
	OK(fake_queue_init(&rig.q, &rig.drv, 0, 16, QUEUE));
	fake_driver_ok(&rig.drv);
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	for (int i = 0; i < 1000 && !rig.f.chip.line[gsi]; i++)
		nap();
	OK(rig.f.chip.line[gsi]);
	fake_used_event(&rig.q, 1);	/* so the ring asks for nothing */
	OK(move_house());
	OK(rig.f.chip.line[gsi]);
	EQ(rig.f.chip.edges[gsi], 1);
	EQ(bus_read(&rig.f.memory, rig.drv.isr, 1), 1);
	OK(!rig.f.chip.line[gsi]);
	rig_release();
}

TEST(the_cache_stays_as_the_driver_set_it)
{
	unsigned at = offsetof(struct virtio_blk_config, writeback);

	OK(rig_init());
	EQ(fake_config(&rig.drv, at, 1), 1);
	fake_config_set(&rig.drv, at, 1, 0);
	OK(move_house());
	EQ(fake_config(&rig.drv, at, 1), 0);
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	EQ(rig.disk.flushes, 1);
	rig_release();
}

/* Whether loading into such a disk ends with RC. */
static bool loads(uint64_t size, bool readonly, unsigned queues, int rc)
{
	struct virtio_blk_conf conf = plain;
	bool as_told;

	conf.queues = queues;
	if (!rig_init() || !save() || !build(size, readonly, &conf))
		return false;
	as_told = load(&kept.state) == rc;
	as_told &= rc == 0 || virtio_status(&rig.blk.virtio) == 0;
	buf_release(&kept.state);
	rig_release();
	return as_told;
}

TEST(another_disk_than_the_driver_saw_is_refused)
{
	OK(loads(DISK, false, 1, 0));
	OK(loads(DISK - 4096, false, 1, -E_CONFIG));
	STR(err_text(), "disk0: not the disk that was saved: smaller");
	OK(loads(DISK, true, 1, -E_CONFIG));
	OK(loads(DISK, false, 2, -E_CONFIG));
}

TEST(a_disk_that_grew_is_told)
{
	OK(plug(DISK / 2, false) && drive(~0ULL, 16));
	OK(save() && build(DISK, false, &plain));
	EQ(load(&kept.state), 0);
	buf_release(&kept.state);
	EQ(virtio_go_on(&rig.blk.virtio), 0);
	EQ(fake_msi(&rig.f, FAKE_MSI), 1);
	EQ(fake_reg(&rig.drv, FAKE_COMMON(generation)), 1);
	EQ(fake_config(&rig.drv, 0, 8), DISK / 512);
	EQ(request(VIRTIO_BLK_T_IN, DISK / 512 - 1, 512), VIRTIO_BLK_S_OK);
	rig_release();
}

/* -- rest -- */

static void *quiesce(void *arg)
{
	*(int *)arg = virtio_blk_quiesce(&rig.blk);
	return NULL;
}

TEST(rest_comes_after_all_that_was_under_way_is_told)
{
	pthread_t thread;
	int rc = -1;

	OK(rig_init());
	OK(hold_one());
	OK(pthread_create(&thread, NULL, quiesce, &rc) == 0);
	for (int i = 0; i < 20; i++)
		nap();
	EQ(rc, -1);
	rig.disk.closed = false;
	pthread_join(thread, NULL);
	EQ(rc, 0);
	OK(fake_used(&rig.q, NULL, NULL));
	EQ(fake_msi(&rig.f, FAKE_MSI + 1), 1);
	virtio_blk_unquiesce(&rig.blk);
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	rig_release();
}

TEST(what_waits_for_a_limit_does_not_keep_rest_waiting)
{
	static const struct virtio_blk_conf slow = {
		.serial = "s", .queues = 1,
		.rates.requests = { 1, 1 },
	};
	uint64_t start;

	OK(plug_as(DISK, false, &slow) && drive(~0ULL, 16));
	offer(HEADER, 0);
	offer(HEADER, 0);
	fake_kick(&rig.q);
	OK(fake_wait(&rig.q, NULL, NULL));
	nap();
	start = now_ns();
	EQ(virtio_blk_quiesce(&rig.blk), 0);
	OK(now_ns() - start < 500000000);
	OK(fake_used(&rig.q, NULL, NULL));
	rig_release();
}

TEST(what_could_not_be_written_refuses_rest_and_is_kept)
{
	OK(rig_init());
	rig.disk.fail = -ENOSPC;
	put_header(HEADER, VIRTIO_BLK_T_OUT, 0);
	fake_add(&rig.q, (struct fake_seg[]){
			{ HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } }, 2, 1);
	fake_kick(&rig.q);
	for (int i = 0; i < 1000 && !virtio_blk_stall(&rig.blk); i++)
		nap();
	EQ(virtio_blk_quiesce(&rig.blk), -E_BUSY);
	STR(err_text(), "disk0 keeps what it could not write (make room, "
	    "vm-resume)");
	rig.disk.fail = 0;
	virtio_blk_retry(&rig.blk);
	EQ(virtio_blk_quiesce(&rig.blk), 0);	/* it comes after the retry */
	OK(fake_used(&rig.q, NULL, NULL));
	EQ(status_at(STATUS), VIRTIO_BLK_S_OK);
	virtio_blk_unquiesce(&rig.blk);
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	rig_release();
}

TEST(a_disk_is_replaced_between_two_requests)
{
	static struct ram_disk other;

	OK(rig_init());
	fill(DATA, 512, 1);
	EQ(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	other = (struct ram_disk){ .block = rig.disk.block };
	EQ(virtio_blk_quiesce(&rig.blk), 0);
	EQ(virtio_blk_set_disk(&rig.blk, &other.block), 0);
	offer(HEADER, 0);	/* no kick: it looks by itself */
	virtio_blk_unquiesce(&rig.blk);
	OK(fake_wait(&rig.q, NULL, NULL));
	EQ(other.moves, 1);
	EQ(rig.disk.moves, 1);
	OK(same(DATA, other.data, 512));
	EQ(virtio_blk_quiesce(&rig.blk), 0);
	rig.disk.block.size = DISK / 2;
	EQ(virtio_blk_set_disk(&rig.blk, &rig.disk.block), -E_CONFIG);
	rig.disk.block.size = DISK;
	EQ(virtio_blk_set_disk(&rig.blk, &rig.disk.block), 0);
	virtio_blk_unquiesce(&rig.blk);
	EQ(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	EQ(rig.disk.moves, 2);
	rig_release();
}

TEST(a_device_at_rest_can_be_reset_and_released)
{
	OK(rig_init());
	EQ(virtio_blk_quiesce(&rig.blk), 0);
	OK(fake_reset(&rig.drv));
	OK(drive(~0ULL, 16));	/* its new thread comes to rest as well */
	offer(HEADER, 0);
	fake_kick(&rig.q);
	for (int i = 0; i < 20; i++)
		nap();
	EQ(rig.disk.moves, 0);
	rig_release();
}

/* -- damage -- */

static struct buf good;

/* Loads GOOD with the damage D; whatever comes of it, it must do no harm. */
static int try_damage(const struct damage *d)
{
	struct buf bad = BUF_INIT;
	int rc = -EIO;

	if (damaged(&bad, &good, d))
		rc = load(&bad);
	if (rc == 0)
		rc = virtio_go_on(&rig.blk.virtio);
	if (rc == 0) {
		offer(HEADER, 0);
		fake_kick(&rig.q);
		fake_status(&rig.drv);
		fake_msi(&rig.f, FAKE_MSI + 1);
	}
	pci_bus_reset(&rig.f.pci);
	fake_conf_set(&rig.f, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	buf_release(&bad);
	return rc;
}

static bool make_good(void)
{
	if (!rig_init() || request(VIRTIO_BLK_T_IN, 0, 512) < 0 || !save() ||
	    !build(DISK, false, &plain))
		return false;
	good = kept.state;
	rig.blk.virtio.complaints = rig.f.pci.complaints =
		(struct log_limit){ .said = LOG_BURST, .next_ns = UINT64_MAX };
	return true;
}

TEST(a_state_cut_short_anywhere_is_refused)
{
	OK(make_good());
	for (unsigned i = 0; section_len(&good, i); i++)
		for (size_t n = 0; n < section_len(&good, i); n++)
			OK(try_damage(&(struct damage){ i, n, 0, 0 }) < 0);
	EQ(try_damage(&(struct damage){ 0, SIZE_MAX, 0, 0 }), 0);
	buf_release(&good);
	rig_release();
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
	OK(try_damage(&(struct damage){ 0, SIZE_MAX, 0, 0 }) == 0);
	buf_release(&good);
	rig_release();
}

TESTS(T(a_disk_goes_on_where_it_was),
      T(indirect_requests_and_event_indices_go_on),
      T(an_interrupt_the_driver_waits_for_comes_once_more_and_no_other),
      T(what_was_offered_but_not_taken_is_done_once_without_a_kick),
      T(registers_half_written_are_as_they_were),
      T(a_device_never_driven_stays_so),
      T(a_broken_device_stays_broken_until_reset),
      T(a_masked_vector_keeps_its_interrupt_and_gives_it_once),
      T(a_pin_that_was_up_is_up_until_the_isr_is_read),
      T(the_cache_stays_as_the_driver_set_it),
      T(another_disk_than_the_driver_saw_is_refused),
      T(a_disk_that_grew_is_told),
      T(rest_comes_after_all_that_was_under_way_is_told),
      T(what_waits_for_a_limit_does_not_keep_rest_waiting),
      T(what_could_not_be_written_refuses_rest_and_is_kept),
      T(a_disk_is_replaced_between_two_requests),
      T(a_device_at_rest_can_be_reset_and_released),
      T(a_state_cut_short_anywhere_is_refused),
      T(no_changed_byte_does_harm))
