/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue_data.c - many random requests to a queue at once, beside a model.
 */
#include "block/qcow2.h"
#include "block/queue.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "queues.h"

static char dir[SCRATCH_BYTES];

/* ------------------------------------------------------------ the model */

enum { SEGS = 8 };

struct job {
	struct queue_io io;
	struct iovec iov[SEGS];
	unsigned slot;
	unsigned char buf[SLOT];
};

static struct {
	unsigned char data[SIZE];
	bool busy[SLOTS], unknown[SLOTS];
	struct job jobs[2 * DEPTH];
	unsigned seed, left, wrong, failed;
	struct queue *q;
} model;

static unsigned chance(unsigned n)
{
	model.seed = model.seed * 1103515245 + 12345;
	return (model.seed >> 8) % n;
}

static void next_job(struct job *j);

static void job_done(struct queue_io *io, int rc)
{
	struct job *j = container_of(io, struct job, io);

	model.failed += rc != 0;
	if (io->op == QUEUE_READ && !model.unknown[j->slot])
		model.wrong += !!memcmp(j->buf, model.data + io->off, io->len);
	model.busy[j->slot] = false;
	next_job(j);
}

/* Cuts the LEN bytes of J->buf in pieces anywhere. */
static void cut_up(struct job *j, size_t len)
{
	size_t at = 0;

	j->io.n = 0;
	while (j->io.n < SEGS - 1 && at < len && chance(3)) {
		size_t piece = chance(len - at + 1);

		j->iov[j->io.n++] = (struct iovec){ j->buf + at, piece };
		at += piece;
	}
	j->iov[j->io.n++] = (struct iovec){ j->buf + at, len - at };
	j->io.iov = j->iov;
}

static void prepare(struct job *j)
{
	static const enum queue_op ops[] = {
		QUEUE_READ, QUEUE_READ, QUEUE_READ, QUEUE_READ, QUEUE_WRITE,
		QUEUE_WRITE, QUEUE_WRITE, QUEUE_ZERO, QUEUE_ZERO_UNMAP,
		QUEUE_DISCARD,
	};
	unsigned first = chance(SLOT / 512);
	uint64_t len = (1 + chance(SLOT / 512 - first)) * 512;
	uint64_t off = j->slot * SLOT + first * 512;

	/* Few have to wait for a real disk. */
	j->io = (struct queue_io){
		.op = chance(100) ? ops[chance(ARRAY_SIZE(ops))] : QUEUE_FLUSH,
		.off = off, .len = len, .durable = !chance(100),
		.done = job_done,
	};
	if (j->io.op == QUEUE_DISCARD)
		model.unknown[j->slot] = true;
	if (j->io.op == QUEUE_ZERO || j->io.op == QUEUE_ZERO_UNMAP)
		memset(model.data + off, 0, len);
	if (j->io.op == QUEUE_WRITE)
		for (uint64_t i = 0; i < len; i++)
			j->buf[i] = model.data[off + i] = chance(256);
	if (j->io.op == QUEUE_READ)
		memset(j->buf, 0xee, len);
	cut_up(j, len);
}

/* Never two in one slot, as what they left would be either's. */
static void next_job(struct job *j)
{
	if (!model.left)
		return;
	model.left--;
	do
		j->slot = chance(SLOTS);
	while (model.busy[j->slot]);
	model.busy[j->slot] = true;
	prepare(j);
	queue_submit(model.q, &j->io);
}

/* N random requests, JOBS at once, and at the end a look at everything. */
static bool model_run(struct block *b, struct queue *q, unsigned n,
		      unsigned jobs)
{
	static unsigned char all[SIZE];
	struct iovec v = { all, SIZE };

	memset(&model, 0, sizeof(model));
	model.seed = n + jobs;
	model.q = q;
	model.left = n;
	for (unsigned i = 0; i < jobs; i++)
		next_job(&model.jobs[i]);
	queue_drain(q);
	if (model.left || model.wrong || model.failed ||
	    block_readv(b, &v, 1, 0) < 0)
		return false;
	for (int i = 0; i < SLOTS; i++)
		if (!model.unknown[i] &&
		    memcmp(all + i * SLOT, model.data + i * SLOT, SLOT))
			return false;
	return true;
}

TEST(data_is_right_under_random_requests)
{
	FOR_KINDS(k) {
		struct block *b;
		struct queue *q = open_kind(k, DEPTH, &b);

		OK(q);
		OK(model_run(b, q, 2000, DEPTH));
		shut(q, b);
	}
}

TEST(more_than_the_depth_wait_and_are_all_carried_out)
{
	FOR_KINDS(k) {
		struct block *b;
		struct queue *q = open_kind(k, 3, &b);

		OK(q);
		OK(model_run(b, q, 500, 2 * DEPTH - 1));
		if (k->disk == odd_disk)
			OK(odd_of(b)->most <= 3);
		shut(q, b);
	}
}

TEST(what_was_mapped_is_given_back)
{
	struct kind k = { odd_disk, true };
	struct block *b;
	struct queue *q = open_kind(&k, DEPTH, &b);
	struct odd *o;

	if (!have_uring())
		SKIP("no io_uring");
	OK(q);
	o = odd_of(b);
	OK(model_run(b, q, 300, DEPTH));
	OK(o->asked > 100);
	EQ(o->mapped, 0);
	shut(q, b);
}

/* ---------------------------------------------------- images of many pieces */

/* PATH, of small clusters, over BELOW. */
static struct block *image(const char *path, struct block *below)
{
	struct qcow2_create c = {
		.size = SIZE, .cluster_bits = 12,
		.backing = below ? "below" : NULL,
		.backing_format = below ? "qcow2" : NULL,
	};
	struct block *b = NULL;

	unlink(path);
	if (qcow2_create(AT_FDCWD, path, &c) < 0 ||
	    qcow2_open(&b, path, false, below) < 0)
		return NULL;
	return b;
}

/* Over one with zeros that lie somewhere, in each third cluster. */
static struct block *layered_disk(void)
{
	static char zeros[4096];
	struct block *b = image("below", NULL);

	for (uint64_t off = 0; b && off < SIZE; off += 3 * sizeof(zeros)) {
		struct iovec v = { zeros, sizeof(zeros) };

		if (block_writev(b, &v, 1, off) < 0)
			return NULL;
	}
	block_close(b);
	if (qcow2_open(&b, "below", true, NULL) < 0)
		return NULL;
	return image("disk", b);
}

static struct block *image_disk(void)
{
	return image("disk", NULL);
}

static bool is_sound(void)
{
	autoclose int fd = open("disk", O_RDONLY | O_CLOEXEC);
	struct qcow2_check result;

	return qcow2_check(fd, false, &result) == 0 && !result.errors &&
		!result.leaks;
}

TEST(requests_across_many_pieces_of_an_image_are_right)
{
	static const struct kind images[] = {
		{ image_disk, true }, { image_disk, false },
		{ layered_disk, true }, { layered_disk, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		struct block *b;
		struct queue *q = open_kind(&images[i], DEPTH, &b);

		OK(q);
		OK(model_run(b, q, 2000, DEPTH));
		shut(q, b);
		OK(is_sound());
	}
}

/* ------------------------------------------------- where the kernel says no */

/* System call NR, and OTHER, end with ERROR from here on. */
static bool deny(unsigned nr, unsigned other, unsigned error)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, other, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { ARRAY_SIZE(f), f };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) == 0;
}

static void count_done(struct queue_io *io, int rc)
{
	(void)io;
	model.left--;
	model.failed += rc != 0;
}

/* Zeros to a cluster as a whole, and to a part of it at the same time. */
static bool overlapping_run(struct queue *q)
{
	static char zeros[4096];
	static const struct { uint64_t off, len; } parts[] = {
		{ 8192, 512 }, { 0, 4096 }, { 0, 512 }, { 512, 1024 },
	};
	struct iovec v[ARRAY_SIZE(parts)];
	struct queue_io io[ARRAY_SIZE(parts)];

	model.left = ARRAY_SIZE(parts);
	model.failed = 0;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		v[i] = (struct iovec){ zeros, parts[i].len };
		io[i] = (struct queue_io){
			.op = QUEUE_WRITE, .iov = &v[i], .n = 1,
			.off = parts[i].off, .done = count_done,
		};
		queue_submit(q, &io[i]);
		if (i == 0)	/* then the table is in memory */
			queue_drain(q);
	}
	queue_drain(q);
	return !model.left && !model.failed;
}

/* In a child where two system calls fail: the kind of queue, and its work. */
static bool works_without(unsigned nr, unsigned other, unsigned error,
			  struct kind k, const char *kind)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct block *b;
		struct queue *q = NULL;
		bool ok = !alarm(20) && deny(nr, other, error) &&
			(q = open_kind(&k, DEPTH, &b)) &&
			!strcmp(queue_kind(q), kind) &&
			overlapping_run(q) && model_run(b, q, 200, DEPTH);

		queue_close(q);
		_exit(!ok);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

TEST(without_io_uring_there_are_threads)
{
	static const unsigned errors[] = { ENOSYS, EPERM, ENOMEM };
	unsigned setup = SYS_io_uring_setup;

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		OK(works_without(setup, setup, errors[i],
				 (struct kind){ raw_disk, true }, "threads"));
	setup = SYS_io_uring_register;
	OK(works_without(setup, setup, EPERM, (struct kind){ raw_disk, true },
			 "threads"));
	setup = SYS_io_uring_setup;
	OK(works_without(setup, setup, EPERM, (struct kind){ raw_disk, false },
			 "threads"));
}

TEST(without_threads_the_owner_does_it)
{
	struct kind raw = { raw_disk, false }, layered = { layered_disk, true };

	OK(works_without(SYS_clone, SYS_clone3, EAGAIN, raw, "threads"));
	/* What the ring has mapped is not waited for by who must give it back. */
	if (have_uring())
		OK(works_without(SYS_clone, SYS_clone3, EAGAIN, layered,
				 "io_uring"));
}

int main(void)
{
	static const struct test tests[] = {
		T(data_is_right_under_random_requests),
		T(more_than_the_depth_wait_and_are_all_carried_out),
		T(what_was_mapped_is_given_back),
		T(requests_across_many_pieces_of_an_image_are_right),
		T(without_io_uring_there_are_threads),
		T(without_threads_the_owner_does_it),
	};
	int rc;

	scratch_make(dir);
	rc = test_run(tests, ARRAY_SIZE(tests));
	scratch_remove(dir);
	return rc;
}
