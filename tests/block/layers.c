/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * layers.c - a disk of layers, at random, beside a model: written to, frozen
 * with a new layer on top, its frozen layers merged down and up while it and
 * others go on with what they had open.
 *
 *	layers SEED	leaves the chain, its layers' names from the bottom in
 *			"names", and for each that is a snapshot what it shows,
 *			NAME.model; the last one is the disk
 *
 *	layers hold read|write|merge FILE COMMAND...
 *			runs it while FILE, which rests on nothing, is open
 *
 * Ends with 1, having said where, when a view is not what it should be.
 */
#include "model.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "block/chain.h"
#include "block/merge.h"

enum { SIZE_MAX_ = 6 << 20, LAYERS = 24, STEPS = 60 };

struct layer {
	char name[24];
	unsigned bits;
	bool raw, wanted;	/* a snapshot: its view is to stay */
	bool merged;		/* into this one, while others had it open */
	uint64_t size;
	unsigned char *model;	/* if wanted */
};

static struct layer layer[LAYERS];
static unsigned n, made;	/* the last one is the top */
static unsigned char model[SIZE_MAX_], buf[SIZE_MAX_];
static uint64_t size;
static struct block *disk, *reader;
static int reads;		/* which one READER is */
static unsigned char *reader_model;
static uint64_t reader_size;

/* -- opening -- */

static struct block *open_layer(unsigned i, enum lock_use use,
				enum lock_use below)
{
	struct block *b, *under = NULL;

	if (layer[i].raw) {
		MUST(raw_open_at(&b, AT_FDCWD, layer[i].name, use) == 0);
		return b;
	}
	if (i)
		under = open_layer(i - 1, below, LOCK_READER);
	MUST(qcow2_open_at(&b, AT_FDCWD, layer[i].name, use, under) == 0);
	return b;
}

static void compare(struct block *b, const unsigned char *want, uint64_t len)
{
	MUST(block_bytes(b) == len);
	memset(buf, 0xaa, len);
	MUST(move(b, false, buf, 0, len) == 0);
	for (uint64_t at = 0; at < len; at += SECTOR)
		if (memcmp(buf + at, want + at, SECTOR)) {
			printf("differs at %" PRIu64 "\n", at);
			exit(1);
		}
}

/* -- the disk -- */

static void range(uint64_t *off, uint64_t *len)
{
	uint64_t cs = 1ULL << layer[n - 1].bits;
	uint64_t most = any(2) ? cs : 3 * cs;

	*off = any(size / SECTOR) * SECTOR;
	*len = (1 + any(most / SECTOR + 1)) * SECTOR;
	if (any(2)) {
		*off -= *off % cs;
		*len = align_up(*len, cs);
	}
	*len = min_u64(*len, size - *off);
}

static void step_write(void)
{
	uint64_t off, len;

	range(&off, &len);
	fill_random(model + off, len);
	if (!any(6))
		memset(model + off, 0, len);
	memcpy(buf, model + off, len);
	MUST(move(disk, true, buf, off, len) == 0);
}

static void step_map(void)
{
	bool out = any(2);
	struct block_extent e;
	uint64_t off, len;

	range(&off, &len);
	if (block_map(disk, off, len, out, &e) < 0)
		return;
	len = e.len;
	if (out) {
		fill_random(model + off, len);
		MUST(pwrite_all(e.fd, model + off, len, e.off) == 0);
	} else {
		memset(buf, 0, len);
		MUST(e.fd < 0 || pread_all(e.fd, buf, len, e.off) == 0);
		MUST(!memcmp(buf, model + off, len));
	}
	MUST(block_unmap(disk, &e) == 0);
}

static void step_zero(void)
{
	uint64_t off, len;

	range(&off, &len);
	memset(model + off, 0, len);
	memset(buf, 0, len);
	if (block_zero(disk, off, len, any(2)) == -EOPNOTSUPP)
		MUST(move(disk, true, buf, off, len) == 0);
}

static void step_discard(void)
{
	uint64_t off, len;

	range(&off, &len);
	MUST(block_discard(disk, off, len) == 0);
	MUST(move(disk, false, model + off, off, len) == 0);
}

static void step_read(void)
{
	uint64_t off, len, k;

	range(&off, &len);
	MUST(move(disk, false, buf, off, len) == 0);
	MUST(!memcmp(buf, model + off, len));
	if (block_status(disk, off, len, &k) == BLOCK_ZERO)
		for (uint64_t i = 0; i < k; i++)
			MUST(!model[off + i]);
}

static void step_resize(void)
{
	uint64_t more = (1 + any(400)) * SECTOR;

	if (layer[n - 1].raw || any(4) || size + more > SIZE_MAX_)
		return;
	MUST(block_resize(disk, size + more) == 0);
	memset(model + size, 0, more);
	size += more;
}

static void write_some(void)
{
	static void (*const step[])(void) = {
		step_write, step_write, step_map, step_zero, step_discard,
		step_read, step_read, step_resize,
	};

	for (uint64_t k = any(30); k; k--)
		step[any(ARRAY_SIZE(step))]();
}

/* -- layers -- */

static void add_layer(void)
{
	struct layer *l = &layer[n];
	struct qcow2_create c = {
		.cluster_bits = any(3) ? 12 + any(6) : 9 + any(12),
		.lazy_refcounts = any(2), .size = size,
	};

	*l = (struct layer){ .bits = c.cluster_bits, .size = size };
	snprintf(l->name, sizeof(l->name), "%u.qcow2", made++);
	if (n) {
		c.backing = layer[n - 1].name;
		c.backing_format = layer[n - 1].raw ? "raw" : "qcow2";
	}
	MUST(qcow2_create(AT_FDCWD, l->name, &c) == 0);
	n++;
}

static void first_layer(void)
{
	struct layer *l = &layer[0];
	int fd;

	size = (64 + any(6000)) * SECTOR;
	if (any(2)) {
		add_layer();
		return;
	}
	*l = (struct layer){ .name = "0.raw", .bits = 16, .raw = true };
	fd = open(l->name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	MUST(fd >= 0 && ftruncate(fd, size) == 0);
	close(fd);
	made = n = 1;
}

/* The disk goes on in a new layer; its old one is a snapshot, perhaps. */
static void push(void)
{
	struct layer *l = &layer[n - 1];
	struct block *top;

	if (n == LAYERS)
		return;
	top = chain_release(disk);
	l->size = size;
	l->wanted = any(2);
	if (l->wanted) {
		l->model = malloc(size);
		memcpy(l->model, model, size);
	}
	MUST(block_freeze(top) == 0);
	MUST(move(top, true, buf, 0, SECTOR) == -EROFS);
	add_layer();
	MUST(qcow2_open_at(&disk, AT_FDCWD, layer[n - 1].name, LOCK_WRITER,
			   top) == 0);
	MUST(chain_open(&disk, disk) == 0);
}

/* Somebody else begins to read one of the frozen, or looks again. */
static void read_other(void)
{
	if (!reader && n > 1) {
		reads = any(n - 1);
		if (!layer[reads].wanted)
			return;
		reader = open_layer(reads, LOCK_READER, LOCK_READER);
		reader_size = layer[reads].size;
		reader_model = malloc(reader_size);
		memcpy(reader_model, layer[reads].model, reader_size);
		MUST(chain_open(&reader, reader) == 0);
		if (any(2))	/* else its tables are read later */
			compare(reader, reader_model, reader_size);
	} else if (reader && !any(3)) {
		compare(reader, reader_model, reader_size);
		block_close(reader);
		free(reader_model);
		reader = NULL;
	}
}

static void rebase(unsigned i, unsigned on)
{
	int fd = open(layer[i].name, O_RDWR | O_CLOEXEC);
	bool none = on == UINT32_MAX;

	MUST(qcow2_rebase(fd, none ? NULL : layer[on].name, none ? NULL :
			  layer[on].raw ? "raw" : "qcow2") == 0);
	close(fd);
}

static void drop(unsigned i)
{
	MUST(unlink(layer[i].name) == 0);
	free(layer[i].model);
	memmove(&layer[i], &layer[i + 1], (n - i - 1) * sizeof(*layer));
	n--;
}

static void check_layer(const struct layer *l)
{
	autoclose int fd = open(l->name, O_RDWR | O_CLOEXEC);
	struct qcow2_check result;

	if (l->raw)
		return;
	MUST(qcow2_check(fd, false, &result) == 0);
	MUST(result.errors == 0);
	/* What others may still have looked at is lost, no more. */
	MUST(result.leaks == 0 || l->merged);
	if (result.leaks && !disk)
		MUST(qcow2_check(fd, true, &result) == 0);
}

/* Layer I+1, not the top nor that below it, into I. */
static void down(unsigned i)
{
	struct block *b = open_layer(i + 1, LOCK_READER, LOCK_MERGER);

	MUST(merge_down(b) == 0);
	block_close(b);
	layer[i].merged = true;
	check_layer(&layer[i]);
	rebase(i + 2, i);
	layer[i].size = layer[i + 1].size;
	layer[i].wanted = layer[i + 1].wanted;
	layer[i].model = layer[i + 1].model;
	layer[i + 1].model = NULL;
	drop(i + 1);
}

static void up(unsigned i)
{
	struct block *b = open_layer(i + 1, LOCK_MERGER, LOCK_READER);

	MUST(merge_up(b) == 0);
	block_close(b);
	layer[i + 1].merged = true;
	check_layer(&layer[i + 1]);
	rebase(i + 1, i - 1);
	drop(i);
}

static void reopen(void)
{
	struct block *top = chain_release(disk);

	MUST(qcow2_set_backing(top, open_layer(n - 2, LOCK_READER,
					       LOCK_READER)) == 0);
	MUST(chain_open(&disk, top) == 0);
}

static void merge(void)
{
	unsigned i = n > 3 ? any(n - 3) : 0;
	struct merge_cost cost;
	struct block *b;

	/* A reader of the lower by itself would see it change. */
	if (n <= 3 || layer[i].wanted || (reader && reads == (int)i))
		return;
	b = open_layer(i + 1, LOCK_READER, LOCK_READER);
	MUST(merge_cost(b, &cost) == 0);
	block_close(b);
	if (any(2))
		down(i);
	else
		up(i);
	if (reader && reads > (int)i)
		reads--;
	if (any(2))
		reopen();
}

static void finish(void)
{
	FILE *f = fopen("names", "w");
	char name[48];

	for (unsigned i = 0; i < n; i++) {
		struct layer *l = &layer[i];
		int fd;

		fprintf(f, "%s\n", l->name);
		check_layer(l);
		if (!l->wanted)
			continue;
		struct block *b = open_layer(i, LOCK_READER, LOCK_READER);

		compare(b, l->model, l->size);
		block_close(b);
		snprintf(name, sizeof(name), "%.30s.model", l->name);
		fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		MUST(fd >= 0 && write_all(fd, l->model, l->size) == 0);
		close(fd);
		free(l->model);
	}
	fclose(f);
}

static int hold(char **argv)
{
	enum lock_use use = argv[0][0] == 'r' ? LOCK_READER :
			    argv[0][0] == 'w' ? LOCK_WRITER : LOCK_MERGER;
	int status;
	pid_t pid;

	MUST(qcow2_open_at(&disk, AT_FDCWD, argv[1], use, NULL) == 0);
	pid = fork();
	if (pid == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	block_close(disk);
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	if (argc > 4 && !strcmp(argv[1], "hold"))
		return hold(argv + 2);
	if (argc != 2) {
		fprintf(stderr, "usage: layers SEED | hold USE FILE "
			"COMMAND...\n");
		return 2;
	}
	random_seed(strtoull(argv[1], NULL, 10));
	first_layer();
	disk = open_layer(0, LOCK_WRITER, LOCK_READER);
	for (int i = 0; i < STEPS; i++) {
		write_some();
		if (any(2))
			push();
		else
			merge();
		read_other();
	}
	compare(disk, model, size);
	block_close(disk);
	disk = NULL;
	if (reader) {
		compare(reader, reader_model, reader_size);
		block_close(reader);
		free(reader_model);
		reader = NULL;
	}
	layer[n - 1].size = size;
	layer[n - 1].wanted = true;
	layer[n - 1].model = malloc(size);
	memcpy(layer[n - 1].model, model, size);
	finish();
	return 0;
}
