/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * block.c - the block layer alone, asked in the pattern of "qemu-img bench".
 *
 * usage: block [-w] [-t] [-n] [-f FORMAT] [-c COUNT] [-d DEPTH] [-s BYTES]
 *		[-S STEP] FILE [BELOW...]
 *
 * FILE's backing file is the first BELOW, and so on; all of one FORMAT. COUNT
 * requests of BYTES, DEPTH at once, each STEP behind the one before it and from
 * the disk's beginning again where it ends, all from or to the same memory (as
 * there). Prints how many seconds that took.
 *
 *	-w	writes, not reads
 *	-t	by threads, not io_uring
 *	-n	through all layers, without chain.h
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/text.h"
#include "block/chain.h"
#include "block/qcow2.h"
#include "block/queue.h"

static struct {
	const char *format, **files;
	int nfiles;
	bool write, threads, plain;
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
	char *buf = aligned_alloc(4096, args.bytes);

	if (!r || !buf)
		abort();
	memset(buf, 1, args.bytes);
	for (uint64_t i = 0; i < args.depth; i++) {
		r[i].buf = buf;
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

static int open_chain(struct block **b)
{
	struct block *below = NULL;
	int rc = 0;

	for (int i = args.nfiles - 1; rc == 0 && i >= 0; i--) {
		rc = qcow2_open(b, args.files[i], i > 0 || !args.write, below);
		below = *b;
	}
	return rc < 0 || args.plain ? rc : chain_open(b, *b);
}

static int open_disk(struct block **b)
{
	if (!strcmp(args.format, "qcow2"))
		return open_chain(b);
	if (!strcmp(args.format, "raw") && args.nfiles == 1)
		return raw_open(b, args.files[0], !args.write);
	return fail(E_USAGE, "format '%s': not known", args.format);
}

static int parse(int argc, char **argv)
{
	int o, rc = 0;

	while (rc == 0 && (o = getopt(argc, argv, "wtnf:c:d:s:S:")) != -1)
		switch (o) {
		case 'w': args.write = true; break;
		case 't': args.threads = true; break;
		case 'n': args.plain = true; break;
		case 'f': args.format = optarg; break;
		case 'c': rc = parse_u64("-c", optarg, &args.count); break;
		case 'd': rc = parse_u64("-d", optarg, &args.depth); break;
		case 's': rc = parse_size("-s", optarg, &args.bytes); break;
		case 'S': rc = parse_size("-S", optarg, &args.step); break;
		default: return fail(E_USAGE, "see its beginning");
		}
	if (rc == 0 && optind == argc)
		return fail(E_USAGE, "no file");
	if (!args.step)
		args.step = args.bytes;
	args.files = (const char **)argv + optind;
	args.nfiles = argc - optind;
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
