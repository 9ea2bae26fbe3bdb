/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/queue.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>

#include "block/f_fault.h"

#include "queues.h"

static char dir[SCRATCH_BYTES];

/* ---------------------------------------------------------------- errors */

TEST(a_file_cut_short_is_an_error_not_a_loop)
{
	static char buf[SLOT];

	FOR_KINDS(k) {
		struct block *b;
		struct queue *q;

		if (k->disk == odd_disk)
			continue;
		q = open_kind(k, 4, &b);
		OK(q);
		EQ(truncate("disk", SLOT / 2 + 100), 0);
		EQ(run_op(q, QUEUE_READ, buf, 0, SLOT), -EIO);
		EQ(run_op(q, QUEUE_READ, buf, SLOT, SLOT), -EIO);
		EQ(run_op(q, QUEUE_READ, buf, 0, SLOT / 2), 0);
		shut(q, b);
	}
}

TEST(what_the_disk_refuses_is_refused)
{
	static char buf[1024];

	FOR_KINDS(k) {
		struct block *b;
		struct queue *q = open_kind(k, 4, &b);

		OK(q);
		EQ(run_op(q, QUEUE_READ, buf, SIZE - 512, 1024), -EIO);
		EQ(run_op(q, QUEUE_WRITE, buf, UINT64_MAX - 511, 512), -EIO);
		EQ(run_op(q, QUEUE_READ, buf, 1, 512), -EIO);
		EQ(run_op(q, QUEUE_READ, buf, 0, 511), -EIO);
		EQ(run_op(q, QUEUE_ZERO, NULL, SIZE, 512), -EIO);
		EQ(run_op(q, QUEUE_DISCARD, NULL, 0, 100), -EIO);
		EQ(run_op(q, QUEUE_READ, buf, SIZE, 0), 0);
		EQ(run_op(q, QUEUE_READ, buf, SIZE - 1024, 1024), 0);
		b->readonly = true;
		EQ(run_op(q, QUEUE_WRITE, buf, 0, 512), -EROFS);
		EQ(run_op(q, QUEUE_ZERO, buf, 0, 512), -EROFS);
		EQ(run_op(q, QUEUE_FLUSH, buf, 0, 0), 0);
		shut(q, b);
	}
}

TEST(memory_that_is_not_there_is_an_error)
{
	FOR_KINDS(k) {
		struct block *b;
		struct queue *q;

		if (k->disk == odd_disk)
			continue;
		q = open_kind(k, 4, &b);
		OK(q);
		EQ(run_op(q, QUEUE_READ, (void *)4096, 0, 512), -EFAULT);
		shut(q, b);
	}
}

TEST(one_failed_request_leaves_the_others_alone)
{
	static const struct fault_rule rules[] = {
		{ .ops = FAULT_WRITE, .first = 5, .count = 1, .rc = -ENOSPC },
	};
	static char buf[512];
	struct one o[16];
	unsigned failed = 0;
	struct queue *q;
	struct block *b = raw_disk();

	OK(b);
	EQ(fault_open(&b, b, rules, 1), 0);
	EQ(queue_open(&q, b, DEPTH, true), 0);
	STR(queue_kind(q), "threads");	/* nothing of it can be mapped */
	for (int i = 0; i < 16; i++) {
		set(&o[i], QUEUE_WRITE, buf, i * 512, 512);
		queue_submit(q, &o[i].io);
	}
	queue_drain(q);
	for (int i = 0; i < 16; i++) {
		EQ(o[i].called, 1);
		OK(o[i].rc == 0 || o[i].rc == -ENOSPC);
		failed += o[i].rc != 0;
	}
	EQ(failed, 1);
	shut(q, b);
}

/* ------------------------------------------------------------- durability */

TEST(a_durable_write_is_flushed_before_it_is_done)
{
	static char buf[512];

	for (int uring = 0; uring < 2; uring++) {
		struct kind k = { odd_disk, uring };
		struct block *b;
		struct queue *q = open_kind(&k, 4, &b);
		struct odd *d;
		struct one o;

		OK(q);
		d = odd_of(b);
		for (unsigned i = 1; i <= 8; i++) {	/* mapped or not */
			set(&o, QUEUE_WRITE, buf, 0, 512);
			o.io.durable = true;
			EQ(run(q, &o), 0);
			EQ(d->flushes, i);
		}
		set(&o, QUEUE_ZERO, NULL, 0, 512);
		o.io.durable = true;
		EQ(run(q, &o), 0);
		EQ(d->flushes, 9);
		set(&o, QUEUE_READ, buf, 0, 512);
		o.io.durable = true;
		EQ(run(q, &o), 0);
		EQ(d->flushes, 9);
		EQ(run_op(q, QUEUE_WRITE, buf, 0, 512), 0);
		EQ(d->flushes, 9);
		EQ(run_op(q, QUEUE_FLUSH, NULL, 0, 0), 0);
		EQ(d->flushes, 10);
		d->flush_rc = -EIO;
		for (int i = 0; i < 8; i++) {
			set(&o, QUEUE_WRITE, buf, 0, 512);
			o.io.durable = true;
			EQ(run(q, &o), -EIO);
		}
		EQ(run_op(q, QUEUE_FLUSH, NULL, 0, 0), -EIO);
		EQ(run_op(q, QUEUE_WRITE, buf, 0, 512), 0);
		shut(q, b);
	}
}

TEST(zeros_are_written_where_the_disk_cannot_zero)
{
	static unsigned char buf[SIZE / 2 + 512];

	FOR_KINDS(k) {
		struct block *b;
		struct queue *q = open_kind(k, 4, &b);
		size_t n = k->disk == raw_disk ? sizeof(buf) : 8 * 512;

		OK(q);
		for (int op = QUEUE_ZERO; op <= QUEUE_ZERO_UNMAP; op++) {
			memset(buf, 0xff, sizeof(buf));
			EQ(run_op(q, QUEUE_WRITE, buf, 0, n), 0);
			EQ(run_op(q, op, NULL, 512, n - 1024), 0);
			EQ(run_op(q, QUEUE_READ, buf, 0, n), 0);
			EQ(buf[511], 0xff);
			EQ(buf[512], 0);
			OK(!memcmp(buf + 512, buf + 513, n - 1025));
			EQ(buf[n - 512], 0xff);
		}
		shut(q, b);
	}
}

TEST(more_segments_than_the_kernel_takes_at_once)
{
	enum { N = SIZE / 512 };
	static unsigned char out[SIZE], in[SIZE];
	static struct iovec v[N];

	OK(N > IOV_MAX);
	for (int i = 0; i < SIZE; i++)
		out[i] = i * 2654435761u >> 13;
	FOR_KINDS(k) {
		struct block *b;
		struct queue *q;
		struct one o;

		if (k->disk == odd_disk)
			continue;
		q = open_kind(k, 4, &b);
		OK(q);
		for (int op = QUEUE_READ; op <= QUEUE_WRITE; op++) {
			unsigned char *p = op == QUEUE_READ ? in : out;

			set(&o, QUEUE_READ + QUEUE_WRITE - op, NULL, 0, 0);
			p = o.io.op == QUEUE_READ ? in : out;
			for (int i = 0; i < N; i++)
				v[i] = (struct iovec){ p + i * 512, 512 };
			o.io.iov = v;
			o.io.n = N;
			EQ(run(q, &o), 0);
			EQ(o.io.len, SIZE);
		}
		OK(!memcmp(in, out, SIZE));
		memset(in, 0, SIZE);
		shut(q, b);
	}
}

TEST(what_lies_nowhere_reads_as_zeros)
{
	static char buf[4][1024];
	struct kind k = { odd_disk, true };
	struct block *b;
	struct queue *q = open_kind(&k, 2, &b);
	struct one o[4];

	OK(q);
	memset(buf, 0xff, sizeof(buf));
	odd_of(b)->empty = true;
	for (int i = 0; i < 4; i++) {
		set(&o[i], QUEUE_READ, buf[i], i * 1024, 1024);
		queue_submit(q, &o[i].io);
		EQ(o[i].called, 0);
	}
	queue_drain(q);
	for (int i = 0; i < 4; i++) {
		EQ(o[i].called == 1 ? o[i].rc : -1, 0);
		OK(!buf[i][0] && !memcmp(buf[i], buf[i] + 1, 1023));
	}
	EQ(odd_of(b)->mapped, 0);
	shut(q, b);
}

/* ---------------------------------------------------------- when and where */

static bool readable(struct queue *q, int ms)
{
	struct pollfd p = { .fd = queue_fd(q), .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

TEST(done_is_called_by_reap_alone)
{
	static char buf[16][4096];

	FOR_KINDS(k) {
		struct block *b;
		struct queue *q = open_kind(k, DEPTH, &b);
		struct one o[16];
		unsigned reaped = 0;

		OK(q);
		OK(!readable(q, 0));
		EQ(queue_reap(q), 0);
		for (int i = 0; i < 16; i++) {
			set(&o[i], i % 3 ? QUEUE_READ : QUEUE_WRITE, buf[i],
			    i * 4096, 4096);
			o[i].io.durable = i == 3;
			queue_submit(q, &o[i].io);
		}
		queue_kick(q);
		for (int i = 0; i < 5; i++)
			nap();
		for (int i = 0; i < 16; i++)
			EQ(o[i].called, 0);
		while (reaped < 16) {
			OK(readable(q, 10000));
			reaped += queue_reap(q);
		}
		EQ(reaped, 16);
		for (int i = 0; i < 16; i++)
			EQ(o[i].called == 1 ? o[i].rc : -1, 0);
		queue_reap(q);
		OK(!readable(q, 0));
		shut(q, b);
	}
}

struct again {
	struct one one;
	struct queue *q;
	int left;
};

static void submit_again(struct queue_io *io, int rc)
{
	struct again *a = container_of(io, struct again, one.io);

	if (rc == 0 && --a->left > 0)
		queue_submit(a->q, io);
}

TEST(done_may_submit_again_and_does_not_hold_up_reap)
{
	static char buf[512];

	FOR_KINDS(k) {
		struct block *b;
		struct queue *q = open_kind(k, 1, &b);
		struct again a = { .q = q, .left = 500 };
		struct one other;

		OK(q);
		set(&a.one, QUEUE_READ, buf, 0, 512);
		a.one.io.done = submit_again;
		set(&other, QUEUE_READ, buf, 512, 512);
		queue_submit(q, &a.one.io);
		queue_submit(q, &other.io);
		queue_kick(q);
		while (!other.called) {
			OK(readable(q, 10000));
			OK(queue_reap(q) <= 1);
		}
		OK(a.left >= 498);
		queue_drain(q);
		EQ(a.left, 0);
		shut(q, b);
	}
}

static void free_it(struct queue_io *io, int rc)
{
	(void)rc;
	free(container_of(io, struct one, io));
}

TEST(done_may_free_its_request)
{
	static char buf[512];

	FOR_KINDS(k) {
		struct block *b;
		struct queue *q = open_kind(k, 2, &b);

		OK(q);
		for (int i = 0; i < 32; i++) {
			struct one *o = malloc(sizeof(*o));

			set(o, QUEUE_WRITE, buf, 512 * i, 512);
			o->io.done = free_it;
			o->io.durable = i % 2;
			queue_submit(q, &o->io);
		}
		shut(q, b);
	}
}

static void *open_gate(void *arg)
{
	struct odd *o = arg;

	for (int i = 0; i < 10; i++)
		nap();
	o->closed = false;
	return NULL;
}

TEST(close_waits_for_what_is_under_way)
{
	static char buf[64][512];

	for (int uring = 0; uring < 2; uring++) {
		struct kind k = { odd_disk, uring };
		struct block *b;
		struct queue *q = open_kind(&k, 8, &b);
		struct one o[64];
		pthread_t t;

		OK(q);
		odd_of(b)->closed = true;
		for (int i = 0; i < 64; i++) {
			set(&o[i], QUEUE_READ, buf[i], 512 * i, 512);
			queue_submit(q, &o[i].io);
		}
		EQ(pthread_create(&t, NULL, open_gate, odd_of(b)), 0);
		queue_close(q);
		for (int i = 0; i < 64; i++)
			EQ(o[i].called == 1 ? o[i].rc : -1, 0);
		EQ(odd_of(b)->under_way, 0);
		EQ(odd_of(b)->mapped, 0);
		pthread_join(t, NULL);
		block_close(b);
	}
	queue_close(NULL);
}

TEST(slow_requests_do_not_hold_up_those_the_kernel_can_do)
{
	static char buf[9][512];
	struct kind k = { odd_disk, true };
	struct block *b;
	struct queue *q = open_kind(&k, DEPTH, &b);
	struct one slow, fast;

	if (!have_uring())
		SKIP("no io_uring");
	OK(q);
	odd_of(b)->closed = odd_of(b)->mute = true;
	set(&slow, QUEUE_READ, buf[0], 0, 512);
	queue_submit(q, &slow.io);
	odd_of(b)->mute = false;
	set(&fast, QUEUE_READ, buf[1], 512, 512);
	queue_submit(q, &fast.io);
	queue_kick(q);
	while (!fast.called) {
		OK(readable(q, 10000));
		queue_reap(q);
	}
	EQ(slow.called, 0);
	odd_of(b)->closed = false;
	queue_drain(q);
	EQ(slow.called, 1);
	shut(q, b);
}

TEST(a_disk_that_was_closed_can_be_opened_at_once)
{
	static char buf[4096];

	for (int i = 0; i < 100; i++) {
		struct kind k = { raw_disk, true };
		struct block *b;
		struct queue *q = open_kind(&k, DEPTH, &b);
		struct one o[4];

		OK(q);
		for (int n = 0; n < 4; n++) {
			set(&o[n], n % 2 ? QUEUE_READ : QUEUE_WRITE, buf,
			    n * 4096, 4096);
			queue_submit(q, &o[n].io);
		}
		shut(q, b);
	}
}

int main(void)
{
	static const struct test tests[] = {
		T(a_file_cut_short_is_an_error_not_a_loop),
		T(what_the_disk_refuses_is_refused),
		T(memory_that_is_not_there_is_an_error),
		T(one_failed_request_leaves_the_others_alone),
		T(a_durable_write_is_flushed_before_it_is_done),
		T(zeros_are_written_where_the_disk_cannot_zero),
		T(more_segments_than_the_kernel_takes_at_once),
		T(what_lies_nowhere_reads_as_zeros),
		T(done_is_called_by_reap_alone),
		T(done_may_submit_again_and_does_not_hold_up_reap),
		T(done_may_free_its_request),
		T(close_waits_for_what_is_under_way),
		T(slow_requests_do_not_hold_up_those_the_kernel_can_do),
		T(a_disk_that_was_closed_can_be_opened_at_once),
	};
	int rc;

	scratch_make(dir);
	rc = test_run(tests, ARRAY_SIZE(tests));
	scratch_remove(dir);
	return rc;
}
