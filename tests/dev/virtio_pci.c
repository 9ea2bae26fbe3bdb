/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers of a virtio-pci function, as drivers good and bad use them. */
#include "dev/virtio_pci.h"

#include "fake.h"
#include "../unit/test.h"

/* A device with a configuration of an odd length. */
struct box {
	struct virtio virtio;
	struct virtio_pci pci;
	uint8_t config[13];
};

static void box_read(struct virtio *v, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, container_of(v, struct box, virtio)->config + off, len);
}

static void box_write(struct virtio *v, uint32_t off, const void *buf,
		      uint32_t len)
{
	memcpy(container_of(v, struct box, virtio)->config + off, buf, len);
}

static int box_start(struct virtio *v)
{
	(void)v;
	return 0;
}

static void box_stop(struct virtio *v)
{
	(void)v;
}

static const struct virtio_ops box_ops = {
	.name = "box", .id = 2, .pci_class = 0x018000,
	.config_size = 13, .config_read = box_read, .config_write = box_write,
	.start = box_start, .stop = box_stop,
};

static struct fake f;
static struct box box;
static struct fake_drv drv;
static struct fake_queue q;
static struct virtq *const vq = &box.virtio.queue[1];
static const unsigned at = 3 << 3;	/* slot 3: its INTA is GSI 19 */

enum { LINE = 19, QUEUE = 0x10000, DATA = 0x20000, MOVES = 500000 };

static void setup(void)
{
	fake_init(&f);
	memset(&box, 0, sizeof(box));
	for (unsigned i = 0; i < sizeof(box.config); i++)
		box.config[i] = i + 1;
	virtio_init(&box.virtio, &box_ops, 3, &f.mem, "box0");
	virtio_pci_init(&box.pci, &box.virtio, &f.chip.irqchip);
	pci_bus_add(&f.pci, &box.pci.pci, at);
	fake_probe(&drv, &f, at);
}

static void run(unsigned vectors)
{
	fake_negotiate(&drv, VIRTIO_F_BIT(VIRTIO_F_V1));
	if (vectors)
		fake_msix_on(&drv, vectors);
	fake_queue_init(&q, &drv, 1, 8, QUEUE);
	fake_driver_ok(&drv);
}

static void teardown(void)
{
	virtio_pci_release(&box.pci);
	virtio_release(&box.virtio);
	fake_release(&f);
}

/* Lets the device answer one chain. */
static void turn(void)
{
	struct virtq_chain c;

	fake_add(&q, &(struct fake_seg){ DATA, 4 }, 0, 1);
	virtq_pop(vq, &c);
	virtq_push(vq, &c, 4);
	virtq_signal(vq);
}

static unsigned kicked(unsigned i)
{
	uint64_t n = 0;

	(void)!read(box.virtio.queue[i].kick, &n, sizeof(n));
	return n;
}

/* ------------------------------------------------------------------------ */

TEST(a_driver_finds_all_structures)
{
	setup();
	EQ(fake_conf(&f, at, 0, 4), 0x10421af4);
	EQ(fake_conf(&f, at, 8, 4), 0x01800001);
	OK(fake_conf(&f, at, PCI_SUBSYSTEM, 2) >= 0x40);
	OK(drv.common && drv.isr && drv.config && drv.notify && drv.window &&
	   drv.msix);
	EQ(drv.notify_step, 4);
	EQ(fake_conf(&f, at, drv.msix + 2, 2), 3);	/* 4 vectors */
	EQ(fake_reg(&drv, FAKE_COMMON(num_queues)), 3);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_size)), VIRTQ_MAX);
	teardown();
}

TEST(queue_registers_hold_until_enabled)
{
	setup();
	fake_accept(&drv, VIRTIO_F_BIT(VIRTIO_F_V1));
	q = (struct fake_queue){ .d = &drv, .index = 1, .size = 8,
				 .desc = 0x1000, .avail = 0x2000,
				 .used = 0x3000 };
	fake_queue_regs(&q);
	fake_reg_set(&drv, FAKE_COMMON(queue_enable), 0);
	fake_reg_set(&drv, FAKE_COMMON(queue_enable), 2);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_enable)), 0);
	fake_queue_init(&q, &drv, 1, 8, QUEUE);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_size)), 8);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_desc)), q.desc);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_driver)), q.avail);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_device)), q.used);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_enable)), 1);
	EQ(fake_reg(&drv, FAKE_COMMON(notify_off)), 1);
	fake_reg_set(&drv, FAKE_COMMON(queue_enable), 0);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_enable)), 1);
	/* In halves, as 32-bit drivers write. */
	fake_reg_set(&drv, FAKE_COMMON(queue_select), 2);
	fake_reg_set(&drv, 0x20, 4, 0x11111111);
	fake_reg_set(&drv, 0x24, 4, 0x22222222);
	EQ(fake_reg(&drv, 0x20, 8), 0x2222222211111111);
	EQ(fake_reg(&drv, 0x22, 4), 0x22221111);
	teardown();
}

TEST(queues_that_are_not_there_read_as_size_0)
{
	static const unsigned bad[] = { 3, 8, 255, 0x8000, 0xffff };

	setup();
	fake_accept(&drv, VIRTIO_F_BIT(VIRTIO_F_V1));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake_queue none = { .d = &drv, .index = bad[i],
					   .size = 8, .desc = 0x1000,
					   .avail = 0x2000, .used = 0x3000 };

		fake_reg_set(&drv, FAKE_COMMON(queue_select), bad[i]);
		EQ(fake_reg(&drv, FAKE_COMMON(queue_select)), bad[i]);
		EQ(fake_reg(&drv, FAKE_COMMON(queue_size)), 0);
		fake_queue_regs(&none);
		fake_reg_set(&drv, FAKE_COMMON(queue_vector), 1);
		OK(!fake_queue_enable(&none));
		EQ(fake_reg(&drv, FAKE_COMMON(queue_desc)), 0);
	}
	OK(!box.virtio.broken);
	teardown();
}

TEST(vectors_that_are_not_there_become_none)
{
	setup();
	fake_reg_set(&drv, FAKE_COMMON(config_vector), 3);
	EQ(fake_reg(&drv, FAKE_COMMON(config_vector)), 3);
	fake_reg_set(&drv, FAKE_COMMON(config_vector), 4);
	EQ(fake_reg(&drv, FAKE_COMMON(config_vector)), MSIX_NONE);
	fake_reg_set(&drv, FAKE_COMMON(queue_vector), 0x7fff);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_vector)), MSIX_NONE);
	fake_reg_set(&drv, FAKE_COMMON(queue_vector), 0);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_vector)), 0);
	fake_reg_set(&drv, FAKE_COMMON(queue_vector), MSIX_NONE);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_vector)), MSIX_NONE);
	teardown();
}

TEST(every_width_at_every_offset_is_safe)
{
	static const unsigned sizes[] = { 1, 2, 4, 8 };
	static const uint64_t vals[] = { 0, 1, UINT64_MAX, 0x4141414141414141 };
	gpa_t bar;

	setup();
	bar = fake_bar(&drv, VIRTIO_PCI_BAR);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < 4; j++)
			for (unsigned off = 0; off < VIRTIO_PCI_BAR_SIZE;
			     off++) {
				bus_write(&f.memory, bar + off, sizes[i],
					  vals[j]);
				bus_read(&f.memory, bar + off, sizes[i]);
			}
	OK(fake_reset(&drv));
	run(4);
	turn();
	OK(fake_used(&q, NULL, NULL));
	teardown();
}

TEST(a_write_does_only_what_it_covers)
{
	setup();
	fake_reg_set(&drv, FAKE_COMMON(device_feature_select), 0x04030201);
	fake_reg_set(&drv, 1, 1, 0xff);
	EQ(fake_reg(&drv, FAKE_COMMON(device_feature_select)), 0x0403ff01);
	/* Status, generation, select in one: as three writes. */
	fake_reg_set(&drv, 0x14, 4, 2u << 16 | VIRTIO_ACKNOWLEDGE);
	EQ(fake_status(&drv), VIRTIO_ACKNOWLEDGE);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_select)), 2);
	EQ(fake_reg(&drv, FAKE_COMMON(generation)), 0);
	/* Read-only ones. */
	fake_reg_set(&drv, FAKE_COMMON(num_queues), 77);
	EQ(fake_reg(&drv, FAKE_COMMON(num_queues)), 3);
	fake_reg_set(&drv, FAKE_COMMON(notify_off), 77);
	EQ(fake_reg(&drv, FAKE_COMMON(notify_off)), 2);
	EQ(fake_reg(&drv, sizeof(struct virtio_pci_common), 8), 0);
	EQ(fake_reg(&drv, sizeof(struct virtio_pci_common) - 2, 8), 0);
	teardown();
}

TEST(device_configuration_ends_where_it_ends)
{
	setup();
	EQ(fake_config(&drv, 0, 8), 0x0807060504030201);
	EQ(fake_config(&drv, 11, 2), 0x0d0c);
	EQ(fake_config(&drv, 12, 8), 0x0d);
	EQ(fake_config(&drv, 13, 4), 0);
	EQ(fake_config(&drv, 0xff8, 8), 0);
	fake_config_set(&drv, 11, 8, UINT64_MAX);
	fake_config_set(&drv, 13, 8, UINT64_MAX);
	EQ(fake_config(&drv, 8, 8), 0xffff0b0a09);
	teardown();
}

TEST(a_changed_configuration_is_told)
{
	setup();
	virtio_config_changed(&box.virtio);
	EQ(fake_reg(&drv, FAKE_COMMON(generation)), 1);
	EQ(fake_msi(&f, FAKE_MSI), 0);		/* no driver yet */
	run(4);
	virtio_config_changed(&box.virtio);
	EQ(fake_reg(&drv, FAKE_COMMON(generation)), 2);
	EQ(fake_msi(&f, FAKE_MSI), 1);
	teardown();
}

/* ------------------------------------------------------------------ kicks */

TEST(a_kick_reaches_its_queue)
{
	setup();
	run(0);
	fake_kick(&q);
	EQ(kicked(0), 0); EQ(kicked(1), 1); EQ(kicked(2), 0);
	bus_write(&f.memory, drv.notify + 8, 4, 0);
	EQ(kicked(2), 1);
	for (unsigned off = 0; off < 0x1000; off++)
		if (off % 4 || off >= 12)
			bus_write(&f.memory, drv.notify + off, 2, 1);
	EQ(kicked(0) + kicked(1) + kicked(2), 0);
	teardown();
}

TEST(doorbells_move_with_the_bar)
{
	gpa_t old;

	setup();
	run(0);
	old = q.bell;
	fake_conf_set(&f, at, PCI_BAR0, 4, 0xd8000000);
	bus_write(&f.memory, old, 2, 1);
	EQ(kicked(1), 0);
	bus_write(&f.memory, 0xd8000000 + VIRTIO_PCI_NOTIFY + 4, 2, 1);
	EQ(kicked(1), 1);
	EQ(f.memory.nbells, 3);
	fake_conf_set(&f, at, PCI_COMMAND, 2, 0);
	EQ(f.memory.nbells, 0);
	bus_write(&f.memory, 0xd8000000 + VIRTIO_PCI_NOTIFY + 4, 2, 1);
	EQ(kicked(1), 0);
	teardown();
}

TEST(kicks_work_without_room_for_doorbells)
{
	static struct doorbell bell[BUS_DOORBELLS];

	setup();
	fake_conf_set(&f, at, PCI_COMMAND, 2, 0);
	for (unsigned i = 0; i < BUS_DOORBELLS; i++) {
		bell[i] = (struct doorbell){ .addr = 8 * i, .fd = -1 };
		bus_add_doorbell(&f.memory, &bell[i]);
	}
	fake_conf_set(&f, at, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	run(0);
	fake_kick(&q);
	EQ(kicked(1), 1);
	teardown();
}

/* -------------------------------------------------------------- interrupts */

TEST(msix_vectors_belong_to_their_queues)
{
	setup();
	run(4);
	turn();
	EQ(fake_msi(&f, FAKE_MSI + 2), 1);
	EQ(fake_msi(&f, FAKE_MSI + 1), 0);
	OK(!f.chip.line[LINE]);
	fake_reg_set(&drv, FAKE_COMMON(queue_vector), MSIX_NONE);
	turn();
	EQ(fake_msi(&f, FAKE_MSI + 2), 0);
	OK(!f.chip.line[LINE]);
	EQ(bus_read(&f.memory, drv.isr, 1), 0);
	teardown();
}

TEST(without_msix_the_pin_and_the_isr_tell)
{
	setup();
	run(0);
	turn();
	OK(f.chip.line[LINE]);
	turn();
	EQ(f.chip.edges[LINE], 1);
	EQ(bus_read(&f.memory, drv.isr, 1), 1);
	OK(!f.chip.line[LINE]);
	EQ(bus_read(&f.memory, drv.isr, 1), 0);
	virtio_config_changed(&box.virtio);
	turn();
	EQ(bus_read(&f.memory, drv.isr, 4), 3);
	OK(!f.chip.line[LINE]);
	turn();
	OK(fake_reset(&drv));
	OK(!f.chip.line[LINE]);
	EQ(bus_read(&f.memory, drv.isr, 1), 0);
	teardown();
}

TEST(enabling_msix_silences_the_pin)
{
	setup();
	run(0);
	turn();
	OK(f.chip.line[LINE]);
	fake_msix_control(&drv, true, false);
	OK(!f.chip.line[LINE]);
	fake_msix_control(&drv, false, false);
	OK(f.chip.line[LINE]);
	teardown();
}

/* ------------------------------------- the window of configuration space */

static void window(unsigned bar, uint32_t off, uint32_t len)
{
	fake_conf_set(&f, at, drv.window + 4, 1, bar);
	fake_conf_set(&f, at, drv.window + 8, 4, off);
	fake_conf_set(&f, at, drv.window + 12, 4, len);
}

static uint32_t window_read(unsigned bar, uint32_t off, uint32_t len)
{
	window(bar, off, len);
	return fake_conf(&f, at, drv.window + 16, 4);
}

static void window_write(unsigned bar, uint32_t off, uint32_t len, uint32_t val)
{
	window(bar, off, len);
	fake_conf_set(&f, at, drv.window + 16, len, val);
}

TEST(the_window_reaches_the_registers_of_an_unmapped_bar)
{
	setup();
	fake_conf_set(&f, at, PCI_COMMAND, 2, 0);
	EQ(window_read(0, VIRTIO_PCI_COMMON + 0x12, 2), 3);
	EQ(window_read(0, VIRTIO_PCI_CONFIG, 4), 0x04030201);
	EQ(window_read(0, VIRTIO_PCI_CONFIG + 1, 1), 2);
	window_write(0, VIRTIO_PCI_COMMON + 0x14, 1, VIRTIO_ACKNOWLEDGE);
	EQ(window_read(0, VIRTIO_PCI_COMMON + 0x14, 1), VIRTIO_ACKNOWLEDGE);
	window_write(0, VIRTIO_PCI_NOTIFY + 8, 2, 2);
	EQ(kicked(2), 1);
	/* The identity of the capability stays. */
	fake_conf_set(&f, at, drv.window, 4, 0);
	EQ(fake_conf(&f, at, drv.window, 1), PCI_CAP_VENDOR);
	EQ(fake_conf(&f, at, drv.window + 3, 1), VIRTIO_PCI_CAP_WINDOW);
	teardown();
}

TEST(the_window_reaches_nothing_else)
{
	static const struct { unsigned bar; uint32_t off, len; } bad[] = {
		{ 1, 0x14, 1 }, { 5, 0x14, 1 }, { 6, 0x14, 1 },
		{ 255, 0x14, 1 }, { 0, VIRTIO_PCI_BAR_SIZE, 1 },
		{ 0, VIRTIO_PCI_BAR_SIZE, 4 }, { 0, UINT32_MAX, 1 },
		{ 0, UINT32_MAX - 3, 4 }, { 0, 0x14, 0 }, { 0, 0x12, 3 },
		{ 0, 0x10, 8 }, { 0, 0x14, UINT32_MAX }, { 0, 0x13, 2 },
		{ 0, 0x12, 4 }, { 0, VIRTIO_PCI_BAR_SIZE - 2, 4 },
	};

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		window(bad[i].bar, bad[i].off, bad[i].len);
		fake_conf_set(&f, at, drv.window + 16, 4, 0x0f0f0f0f);
		EQ(fake_conf(&f, at, drv.window + 16, 4), 0x0f0f0f0f);
		EQ(fake_status(&drv), 0);
	}
	EQ(window_read(0, VIRTIO_PCI_BAR_SIZE - 4, 4), 0);
	teardown();
}

/* -------------------------------------------------------- the machine's side */

TEST(a_machine_reset_leaves_a_clean_device)
{
	setup();
	run(4);
	turn();
	EQ(fake_msi(&f, FAKE_MSI + 2), 1);
	pci_bus_reset(&f.pci);
	EQ(f.memory.nbells, 0);
	EQ(box.virtio.status, 0);
	OK(!vq->enabled && !msix_enabled(&box.pci.msix));
	fake_conf_set(&f, at, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_select)), 0);
	EQ(fake_reg(&drv, FAKE_COMMON(config_vector)), MSIX_NONE);
	fake_reg_set(&drv, FAKE_COMMON(queue_select), 1);
	EQ(fake_reg(&drv, FAKE_COMMON(queue_size)), VIRTQ_MAX);
	fake_probe(&drv, &f, at);
	run(4);
	turn();
	EQ(fake_msi(&f, FAKE_MSI + 2), 1);
	teardown();
}

TEST(several_devices_share_a_bus)
{
	static struct box other;
	struct fake_drv d;
	struct fake_queue oq;

	setup();
	memset(&other, 0, sizeof(other));
	virtio_init(&other.virtio, &box_ops, 3, &f.mem, "box1");
	virtio_pci_init(&other.pci, &other.virtio, &f.chip.irqchip);
	EQ(pci_bus_add(&f.pci, &other.pci.pci, pci_devfn(7, 0)), 0);
	fake_probe(&d, &f, pci_devfn(7, 0));
	OK(d.common != drv.common);
	run(0);
	fake_negotiate(&d, ~0ULL);
	fake_queue_init(&oq, &d, 1, 8, 0x60000);
	fake_driver_ok(&d);
	turn();
	OK(f.chip.line[LINE]);			/* slots 3 and 7: one line */
	virtio_config_changed(&other.virtio);
	bus_read(&f.memory, drv.isr, 1);
	OK(f.chip.line[LINE]);
	EQ(bus_read(&f.memory, d.isr, 1), 2);
	OK(!f.chip.line[LINE]);
	/* One BAR put upon the other: that one stays as it is. */
	fake_conf_set(&f, pci_devfn(7, 0), PCI_BAR0, 4,
		      fake_bar(&drv, 0));
	fake_kick(&q);
	EQ(kicked(1), 1);
	virtio_pci_release(&other.pci);
	virtio_release(&other.virtio);
	EQ(fake_conf(&f, pci_devfn(7, 0), 0, 4), 0xffffffff);
	teardown();
}

/* Another vCPU: puts the BAR elsewhere and back; how often in vain. */
static void *move_bar(void *arg)
{
	const int kick = box.virtio.queue[1].kick;
	uint32_t base = fake_bar(&drv, 0);
	size_t *bad = arg;

	for (unsigned i = 0; i < MOVES; i++) {
		fake_conf_set(&f, at, PCI_BAR0, 4, base + 0x10000 * (i & 1));
		*bad += box.pci.bell[1].fd != kick;
	}
	return NULL;
}

TEST(a_reset_never_takes_away_what_another_vcpu_kicks)
{
	pthread_t vcpu;
	size_t bad = 0;

	setup();
	pthread_create(&vcpu, NULL, move_bar, &bad);
	/* By the transport's own way: the BAR is not always where it was. */
	while (pthread_tryjoin_np(vcpu, NULL) != 0) {
		pthread_mutex_lock(&box.virtio.lock);
		virtio_set_status(&box.virtio, 0);
		pthread_mutex_unlock(&box.virtio.lock);
	}
	EQ(bad, 0);
	teardown();
}

TESTS(T(a_driver_finds_all_structures),
      T(queue_registers_hold_until_enabled),
      T(queues_that_are_not_there_read_as_size_0),
      T(vectors_that_are_not_there_become_none),
      T(every_width_at_every_offset_is_safe),
      T(a_write_does_only_what_it_covers),
      T(device_configuration_ends_where_it_ends),
      T(a_changed_configuration_is_told), T(a_kick_reaches_its_queue),
      T(doorbells_move_with_the_bar),
      T(kicks_work_without_room_for_doorbells),
      T(msix_vectors_belong_to_their_queues),
      T(without_msix_the_pin_and_the_isr_tell),
      T(enabling_msix_silences_the_pin),
      T(the_window_reaches_the_registers_of_an_unmapped_bar),
      T(the_window_reaches_nothing_else),
      T(a_machine_reset_leaves_a_clean_device),
      T(several_devices_share_a_bus),
      T(a_reset_never_takes_away_what_another_vcpu_kicks))
