/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * promise.c - blocks that a guest wrote and was promised, and whether a disk
 * still has them.
 *
 *	promise write SEED FIRST DISK...
 *	promise check SEED BASE DISK FIRST:LAST...
 *
 * `write` runs in a guest. Its writes are numbered from FIRST on; SEED and the
 * number give the place. After some, and fdatasync(), it prints "promised
 * NUMBER": that one and all before are on every DISK. It does not end.
 *
 * `check` is told what was promised, a run of numbers for each life of the
 * guest, those of the next one AHEAD and more behind it. A sector of DISK must be of the last promised write of its block, or
 * of a later one that was under way; where nothing was written, as in BASE,
 * which is what the disk was in the beginning.
 *
 * Linked statically, so that it needs nothing in a guest.
 */
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum {
	SECTOR = 512, BLOCK = 4096,
	BLOCKS = 2048, APART = 16384,	/* four in a cluster of a layer */
	BATCH = 32,			/* the most without a promise */
	AHEAD = 100000,			/* of the last promise heard, as what
					   was said can be lost with a VM */
	DISKS_MAX = 4,
};

struct sector {
	uint64_t number, block, index, sum;
	uint64_t fill[SECTOR / 8 - 4];
};
static_assert(sizeof(struct sector) == SECTOR, "a sector");

static void must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(2);
}

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t block_of(uint64_t seed, uint64_t number)
{
	return mix(seed ^ mix(number)) % BLOCKS;
}

static struct sector make(uint64_t seed, uint64_t number, uint64_t index)
{
	struct sector s = {
		.number = number, .index = index,
		.block = block_of(seed, number),
	};
	uint64_t x = mix(seed + number * (BLOCK / SECTOR) + index);

	for (size_t i = 0; i < sizeof(s.fill) / 8; i++)
		s.sum ^= s.fill[i] = x = mix(x);
	return s;
}

/* -- in the guest -- */

static void put(const int *disk, int n, uint64_t seed, uint64_t number)
{
	static struct sector data[BLOCK / SECTOR]
		__attribute__((aligned(BLOCK)));

	for (int i = 0; i < BLOCK / SECTOR; i++)
		data[i] = make(seed, number, i);
	for (int i = 0; i < n; i++)
		must(pwrite(disk[i], data, BLOCK, data->block * APART) == BLOCK,
		     "write");
}

static _Noreturn void run_write(int argc, char **argv)
{
	uint64_t seed = strtoull(argv[0], NULL, 0);
	uint64_t number = strtoull(argv[1], NULL, 0);
	int disk[DISKS_MAX], n = 0;
	char line[64];

	for (int i = 2; i < argc && n < DISKS_MAX; i++) {
		disk[n] = open(argv[i], O_RDWR);
		must(disk[n++] >= 0, argv[i]);
	}
	for (;;) {
		int batch = 1 + mix(~seed ^ number) % BATCH;

		while (batch--)
			put(disk, n, seed, number++);
		for (int i = 0; i < n; i++)
			must(fdatasync(disk[i]) == 0, "fdatasync");
		snprintf(line, sizeof(line), "promised %" PRIu64 "\n",
			 number - 1);
		must(write(1, line, strlen(line)) > 0, "console");
		tcdrain(1);
	}
}

/* -- on the host -- */

/* Whether NUMBER may have been written, by the lives of RUN. */
static int may_be(uint64_t number, int runs, char **run)
{
	for (int i = 0; i < runs; i++) {
		uint64_t first, last;

		must(sscanf(run[i], "%" SCNu64 ":%" SCNu64, &first, &last) == 2,
		     run[i]);
		if (number >= first && number <= last + AHEAD)
			return 1;
	}
	return 0;
}

/* The last promised write of each block, from 1 on; 0: none. */
static uint64_t *promised(uint64_t seed, int runs, char **run)
{
	uint64_t *last = calloc(BLOCKS, sizeof(*last)), a, b;

	must(last != NULL, "memory");
	for (int i = 0; i < runs; i++) {
		must(sscanf(run[i], "%" SCNu64 ":%" SCNu64, &a, &b) == 2,
		     run[i]);
		for (; a <= b; a++)
			last[block_of(seed, a)] = a;
	}
	return last;
}

/* NULL, or what is wrong with what stands at the sector AT. */
static const char *judge(const struct sector *is, const struct sector *base,
			 uint64_t seed, uint64_t at, const uint64_t *last,
			 int runs, char **run)
{
	uint64_t block = at * SECTOR / APART;
	uint64_t index = at * SECTOR % APART / SECTOR;
	int ours = index < BLOCK / SECTOR && block < BLOCKS;
	struct sector want;

	if (!memcmp(is, base, SECTOR))
		return ours && last[block] ? "was promised, is not there" :
					     NULL;
	if (!ours)
		return "was never written, is changed";
	want = make(seed, is->number, index);
	if (memcmp(is, &want, SECTOR) || is->block != block)
		return "is damaged";
	if (is->number < last[block])
		return "is older than promised";
	return may_be(is->number, runs, run) ? NULL : "is of no life";
}

static int run_check(int argc, char **argv)
{
	uint64_t seed = strtoull(argv[0], NULL, 0), *last, at = 0, bad = 0;
	FILE *base = fopen(argv[1], "r"), *disk = fopen(argv[2], "r");
	struct sector is, was;
	char **run = argv + 3;
	int runs = argc - 3;

	must(base && disk, "open");
	last = promised(seed, runs, run);
	for (; fread(&was, SECTOR, 1, base) == 1; at++) {
		const char *wrong;

		must(fread(&is, SECTOR, 1, disk) == 1, "disk");
		wrong = judge(&is, &was, seed, at, last, runs, run);
		if (wrong && bad++ < 10)
			printf("sector %" PRIu64 " %s\n", at, wrong);
	}
	printf("%" PRIu64 " sectors, %" PRIu64 " wrong\n", at, bad);
	free(last);
	fclose(base);
	fclose(disk);
	return bad || !at;
}

int main(int argc, char **argv)
{
	if (argc > 4 && !strcmp(argv[1], "write"))
		run_write(argc - 2, argv + 2);
	if (argc > 5 && !strcmp(argv[1], "check"))
		return run_check(argc - 2, argv + 2);
	fputs("promise: write SEED FIRST DISK... | "
	      "check SEED BASE DISK FIRST:LAST...\n", stderr);
	return 2;
}
