/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block.c - the block layer alone, asked in the pattern of "qemu-img bench".
 *
 * usage: block [-w] [-t] [-f FORMAT] [-c COUNT] [-d DEPTH] [-s BYTES]
 *		[-S STEP] FILE
 *
 * COUNT requests of BYTES, DEPTH at once, each STEP behind the one before it
 * and from the disk's beginning again where it ends. Prints how many seconds
 * that took.
 *
 *	-w	writes, not reads
 *	-t	by threads, not io_uring
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/text.h"
#include "block/qcow2.h"
#include "block/queue.h"

static struct {
	const char *format, *file;
	bool write, threads;
	uint64_t count, depth, bytes, step;
} args = {
	.format = "raw", .count = 75000, .depth = 64, .bytes = 4096,
};

static struct {
	struct queue *queue;
	uint64_t size, left, off;
	int rc;
} bench;

struct request {
	struct queue_io io;
	struct iovec iov;
	void *buf;
};

static int die(void)
{
	fprintf(stderr, "block: %s\n", err_text());
	return 1;
}

static void submit(struct queue_io *io)
{
	struct request *r = container_of(io, struct request, io);

	if (!bench.left || bench.rc < 0)
		return;
	bench.left--;
	r->iov = (struct iovec){ r->buf, args.bytes };
	io->off = bench.off;
	bench.off = (bench.off + args.step) % bench.size;
	queue_submit(bench.queue, io);
}

static void done(struct queue_io *io, int rc)
{
	if (rc < 0)
		bench.rc = fail(-rc, "request at %llu: %s",
				(unsigned long long)io->off, strerror(-rc));
	submit(io);
}

static struct request *make_requests(void)
{
	struct request *r = calloc(args.depth, sizeof(*r));
	char *buf = aligned_alloc(4096, args.depth * args.bytes);

	if (!r || !buf)
		abort();
	memset(buf, 1, args.depth * args.bytes);
	for (uint64_t i = 0; i < args.depth; i++) {
		r[i].buf = buf + i * args.bytes;
		r[i].io = (struct queue_io){
			.op = args.write ? QUEUE_WRITE : QUEUE_READ,
			.iov = &r[i].iov, .n = 1, .done = done,
		};
	}
	return r;
}

/* As a device does: what finished at once is not waited for. */
static void run(struct request *r)
{
	struct pollfd p = { .fd = queue_fd(bench.queue), .events = POLLIN };
	uint64_t to_come = args.count;

	for (uint64_t i = 0; i < args.depth; i++)
		submit(&r[i].io);
	queue_kick(bench.queue);
	while (to_come && bench.rc == 0) {
		unsigned n = queue_reap(bench.queue);

		to_come -= n;
		if (!n)
			poll(&p, 1, -1);
	}
	queue_drain(bench.queue);
}

static int open_qcow2(struct block **b, const char *path, bool readonly)
{
	return qcow2_open(b, path, readonly, NULL);
}

static int open_disk(struct block **b)
{
	static const struct {
		const char *name;
		int (*open)(struct block **b, const char *path, bool readonly);
	} formats[] = {
		{ "raw", raw_open },
		{ "qcow2", open_qcow2 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (!strcmp(args.format, formats[i].name))
			return formats[i].open(b, args.file, !args.write);
	return fail(E_USAGE, "format '%s': not known", args.format);
}

static int parse(int argc, char **argv)
{
	int o, rc = 0;

	while (rc == 0 && (o = getopt(argc, argv, "wtf:c:d:s:S:")) != -1)
		switch (o) {
		case 'w': args.write = true; break;
		case 't': args.threads = true; break;
		case 'f': args.format = optarg; break;
		case 'c': rc = parse_u64("-c", optarg, &args.count); break;
		case 'd': rc = parse_u64("-d", optarg, &args.depth); break;
		case 's': rc = parse_size("-s", optarg, &args.bytes); break;
		case 'S': rc = parse_size("-S", optarg, &args.step); break;
		default: return fail(E_USAGE, "see its beginning");
		}
	if (rc == 0 && optind != argc - 1)
		return fail(E_USAGE, "one file");
	if (!args.step)
		args.step = args.bytes;
	args.file = argv[optind];
	return rc;
}

int main(int argc, char **argv)
{
	struct request *r;
	struct block *b;
	uint64_t begin;

	if (parse(argc, argv) < 0 || open_disk(&b) < 0 ||
	    queue_open(&bench.queue, b, args.depth, !args.threads) < 0)
		return die();
	if (!args.threads && strcmp(queue_kind(bench.queue), "io_uring"))
		return fail(E_HOST, "no io_uring"), die();
	bench.size = b->size;
	bench.left = args.count;
	r = make_requests();
	begin = now_ns();
	run(r);
	if (bench.rc < 0)
		return die();
	printf("%.6f\n", (now_ns() - begin) / 1e9);
	queue_close(bench.queue);
	block_close(b);
	free(r->buf);
	free(r);
	return 0;
}
