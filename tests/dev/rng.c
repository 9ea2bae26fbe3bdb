/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The entropy device. */
#include "dev/virtio_rng.h"

#include "fake.h"
#include "../unit/test.h"

static struct fake f;
static struct virtio_rng rng;
static struct virtio_pci pci;
static struct fake_drv drv;
static struct fake_queue q;

enum { QUEUE = 0x10000, DATA = 0x100000, SIZE = 64 };

static void begin(uint64_t features)
{
	fake_negotiate(&drv, VIRTIO_F_BIT(VIRTIO_F_V1) | features);
	fake_msix_on(&drv, 2);
	fake_queue_init(&q, &drv, 0, SIZE, QUEUE);
}

static void setup(uint64_t features)
{
	fake_init(&f);
	virtio_rng_init(&rng, &f.mem, &f.loop, "rng0");
	virtio_pci_init(&pci, &rng.virtio, &f.chip.irqchip);
	pci_bus_add(&f.pci, &pci.pci, pci_devfn(1, 0));
	fake_probe(&drv, &f, pci_devfn(1, 0));
	begin(features);
}

static void teardown(void)
{
	virtio_pci_release(&pci);
	virtio_rng_release(&rng);
	fake_release(&f);
}

/* How many of LEN bytes at GPA are not zero. */
static unsigned nonzero(gpa_t gpa, unsigned len)
{
	unsigned n = 0;
	uint8_t byte;

	for (unsigned i = 0; i < len; i++) {
		mem_read(&f.mem, gpa + i, &byte, 1);
		n += byte != 0;
	}
	return n;
}

TEST(a_buffer_is_filled)
{
	uint32_t id, len;

	setup(~0ULL);
	fake_driver_ok(&drv);
	fake_add(&q, (struct fake_seg[]){ { DATA, 1000 }, { DATA + 2000, 24 } },
		 0, 2);
	fake_kick(&q);
	OK(fake_wait(&q, &id, &len));
	EQ(id, 0); EQ(len, 1024);
	EQ(fake_msi(&f, FAKE_MSI + 1), 1);
	OK(nonzero(DATA, 1000) > 900);
	EQ(nonzero(DATA + 1000, 1000), 0);
	OK(nonzero(DATA + 2000, 24) > 12);
	EQ(nonzero(DATA + 2024, 1000), 0);
	teardown();
}

TEST(every_buffer_is_answered_in_turn)
{
	uint32_t id;

	for (unsigned event = 0; event < 2; event++) {
		setup(event ? ~0ULL : 0);
		fake_driver_ok(&drv);
		for (unsigned i = 0; i < SIZE; i++)
			fake_add(&q, &(struct fake_seg){ DATA + 64 * i, 64 },
				 0, 1);
		fake_kick(&q);
		for (unsigned i = 0; i < SIZE; i++) {
			OK(fake_wait(&q, &id, NULL));
			EQ(id, i);
		}
		OK(fake_kick_wanted(&q));
		teardown();
	}
}

/* Counts how often the loop came round between the device's turns. */
static unsigned rounds;

static void on_round(struct timer *t)
{
	struct fake *fake = container_of(t, struct fake, stop);

	rounds++;
	if (fake_used(&q, NULL, NULL) && q.used_idx == SIZE)
		loop_stop(&fake->loop);
	else
		timer_set(&fake->loop, t, 1, on_round);
	while (fake_used(&q, NULL, NULL))
		;
	if (q.used_idx == SIZE)
		loop_stop(&fake->loop);
}

TEST(a_greedy_driver_does_not_keep_the_loop)
{
	setup(0);
	fake_driver_ok(&drv);
	for (unsigned i = 0; i < SIZE; i++)
		fake_add(&q, &(struct fake_seg){ DATA, RNG_BYTES }, 0, 1);
	fake_kick(&q);
	rounds = 0;
	timer_set(&f.loop, &f.stop, 1, on_round);
	loop_run(&f.loop);
	OK(rounds >= SIZE / RNG_BUFFERS / 2);
	teardown();
}

TEST(a_large_buffer_is_filled_in_part)
{
	uint32_t len;

	setup(0);
	fake_driver_ok(&drv);
	fake_add(&q, &(struct fake_seg){ DATA, RNG_BYTES + 4096 }, 0, 1);
	fake_kick(&q);
	OK(fake_wait(&q, NULL, &len));
	EQ(len, RNG_BYTES);
	OK(nonzero(DATA + RNG_BYTES - 256, 256) > 200);
	EQ(nonzero(DATA + RNG_BYTES, 4096), 0);
	teardown();
}

TEST(a_chain_without_room_is_given_back)
{
	uint32_t len;

	setup(0);
	fake_driver_ok(&drv);
	fake_add(&q, &(struct fake_seg){ DATA, 64 }, 1, 0);
	fake_kick(&q);
	OK(fake_wait(&q, NULL, &len));
	EQ(len, 0);
	EQ(nonzero(DATA, 64), 0);
	teardown();
}

TEST(a_kick_before_driver_ok_is_not_lost)
{
	setup(~0ULL);
	fake_add(&q, &(struct fake_seg){ DATA, 64 }, 0, 1);
	fake_kick(&q);
	fake_loop(&f, 2);			/* nobody serves it yet */
	OK(!fake_used(&q, NULL, NULL));
	fake_driver_ok(&drv);			/* no kick after this */
	OK(fake_wait(&q, NULL, NULL));
	teardown();
}

TEST(a_kick_while_inactive_does_not_spin)
{
	struct pollfd p;

	setup(0);
	fake_kick(&q);
	fake_loop(&f, 2);
	p = (struct pollfd){ .fd = rng.virtio.queue[0].kick, .events = POLLIN };
	EQ(poll(&p, 1, 0), 0);
	teardown();
}

TEST(nothing_is_written_after_a_reset)
{
	setup(0);
	fake_driver_ok(&drv);
	fake_add(&q, &(struct fake_seg){ DATA, 4096 }, 0, 1);
	fake_kick(&q);
	OK(fake_reset(&drv));
	fake_loop(&f, 5);
	EQ(nonzero(DATA, 4096), 0);
	begin(0);
	fake_driver_ok(&drv);
	fake_add(&q, &(struct fake_seg){ DATA, 4096 }, 0, 1);
	fake_kick(&q);
	OK(fake_wait(&q, NULL, NULL));
	teardown();
}

TEST(a_malformed_chain_breaks_only_the_device)
{
	setup(0);
	fake_driver_ok(&drv);
	fake_desc(&q, 0, DATA, 64, FAKE_WRITE | FAKE_NEXT, 0);
	fake_offer(&q, 0);
	fake_kick(&q);
	fake_loop(&f, 5);
	OK(fake_status(&drv) & VIRTIO_NEEDS_RESET);
	EQ(fake_msi(&f, FAKE_MSI), 1);
	for (unsigned i = 0; i < 100; i++)
		fake_kick(&q);
	fake_loop(&f, 5);
	EQ(fake_msi(&f, FAKE_MSI), 0);
	OK(fake_reset(&drv));
	begin(0);
	fake_driver_ok(&drv);
	fake_add(&q, &(struct fake_seg){ DATA, 64 }, 0, 1);
	fake_kick(&q);
	OK(fake_wait(&q, NULL, NULL));
	teardown();
}

/* A vCPU that resets the device again and again while it is served. */
static void *resetter(void *arg)
{
	bool *wrong = arg;

	for (unsigned i = 0; i < 200; i++) {
		begin(0);
		fake_driver_ok(&drv);
		for (unsigned j = 0; j < 8; j++)
			fake_add(&q, &(struct fake_seg){ DATA, 4096 }, 0, 1);
		fake_kick(&q);
		if (i % 3 == 0)
			usleep(100);
		*wrong |= !fake_reset(&drv);
	}
	loop_stop(&f.loop);
	return NULL;
}

TEST(resets_race_with_service)
{
	pthread_t thread;
	bool wrong = false;

	setup(0);
	fake_reset(&drv);
	EQ(pthread_create(&thread, NULL, resetter, &wrong), 0);
	loop_run(&f.loop);
	pthread_join(thread, NULL);
	OK(!wrong);
	OK(!rng.virtio.broken);
	teardown();
}

TESTS(T(a_buffer_is_filled), T(every_buffer_is_answered_in_turn),
      T(a_greedy_driver_does_not_keep_the_loop),
      T(a_large_buffer_is_filled_in_part),
      T(a_chain_without_room_is_given_back),
      T(a_kick_before_driver_ok_is_not_lost),
      T(a_kick_while_inactive_does_not_spin),
      T(nothing_is_written_after_a_reset),
      T(a_malformed_chain_breaks_only_the_device),
      T(resets_race_with_service))
