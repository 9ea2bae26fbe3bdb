/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * history.c - what may happen to an image in its life, at random, beside a
 * model of what it should hold.
 *
 *	history make SEED		0.qcow2, 1.qcow2 on top of it, ..., and
 *					model.raw, what the last one shows
 *	history more SEED IMAGE RAW	goes on with IMAGE, which shows RAW
 *	history same IMAGE RAW		whether IMAGE shows RAW
 *
 * Ends with 1, having said where, when the image is not what it should be.
 */
#include "model.h"

#include <sys/stat.h>

#include "base/file.h"

enum { MODEL_MAX = 24 << 20, STEPS = 160, LEVELS_MAX = 10 };

static unsigned char model[MODEL_MAX], buf[MODEL_MAX];
static uint64_t size, cluster;
static struct block *disk;

static const unsigned char zeros[SECTOR];

/* -- steps -- */

/* Somewhere, of some length: within a cluster, or some clusters. */
static void range(uint64_t *off, uint64_t *len)
{
	uint64_t most = any(3) ? cluster : 5 * cluster;

	if (!any(8))
		most = 4 * SECTOR;
	*off = any(size / SECTOR) * SECTOR;
	*len = (1 + any(most / SECTOR + 1)) * SECTOR;
	if (!any(3))
		*off -= *off % cluster;
	if (!any(3))
		*len = align_up(*len, cluster);
	*len = min_u64(*len, size - *off);
}

static void step_write(void)
{
	uint64_t off, len;

	range(&off, &len);
	fill_random(model + off, len);
	if (!any(16))
		memset(model + off, 0, len);
	memcpy(buf, model + off, len);
	MUST(move(disk, true, buf, off, len) == 0);
}

/* Three pieces, of which two need not be whole sectors. */
static void step_writev(void)
{
	uint64_t off, len;

	range(&off, &len);
	fill_random(model + off, len);
	struct iovec iov[] = {
		{ model + off, 1 }, { model + off + 1, len / 2 },
		{ model + off + 1 + len / 2, len - 1 - len / 2 },
	};

	MUST(block_writev(disk, iov, 3, off) == 0);
}

static void check(uint64_t off, uint64_t len)
{
	memset(buf, 0xaa, len);
	MUST(move(disk, false, buf, off, len) == 0);
	for (uint64_t at = 0; at < len; at += SECTOR)
		if (memcmp(buf + at, model + off + at, SECTOR)) {
			printf("differs at %" PRIu64 "\n", off + at);
			exit(1);
		}
}

static void step_read(void)
{
	uint64_t off, len;

	range(&off, &len);
	check(off, len);
}

static void step_zero(void)
{
	uint64_t off, len;

	range(&off, &len);
	memset(model + off, 0, len);
	MUST(block_zero(disk, off, len, any(2)) == 0);
}

/* What was there, or zeros: both are right, from then on it is what it is. */
static void step_discard(void)
{
	uint64_t off, len;

	range(&off, &len);
	MUST(block_discard(disk, off, len) == 0);
	MUST(move(disk, false, buf, off, len) == 0);
	for (uint64_t at = 0; at < len; at += SECTOR) {
		unsigned char *was = model + off + at;

		if (!memcmp(buf + at, zeros, SECTOR))
			memset(was, 0, SECTOR);
		MUST(!memcmp(buf + at, was, SECTOR));
	}
}

static void step_status(void)
{
	uint64_t off, len, n;
	int rc;

	range(&off, &len);
	rc = block_status(disk, off, len, &n);
	MUST(rc >= 0 && n && n <= len);
	for (uint64_t at = 0; rc == BLOCK_ZERO && at < n; at += SECTOR)
		MUST(!memcmp(model + off + at, zeros, SECTOR));
}

/* Around the disk, by the file that has the data, if any has. */
static void step_map(void)
{
	bool out = any(2);
	struct block_extent e;
	uint64_t off, len;

	range(&off, &len);
	if (block_map(disk, off, len, out, &e) < 0)
		return;
	MUST(e.len && e.len <= len);
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

static void step_resize(void)
{
	uint64_t more = (1 + any(4 * cluster / SECTOR)) * SECTOR;

	if (size + more > MODEL_MAX || any(3))
		return;
	MUST(block_resize(disk, size + more) == 0);
	memset(model + size, 0, more);
	size += more;
	MUST(disk->size == size);
}

static void step_flush(void)
{
	MUST(block_flush(disk) == 0);
}

/* -- lives -- */

static void live(const char *image, int steps)
{
	static void (*const step[])(void) = {
		step_write, step_write, step_write, step_writev, step_read,
		step_zero, step_discard, step_status, step_map, step_resize,
		step_flush,
	};

	disk = open_chain(image, false);
	MUST(disk->size == size);
	for (int i = 0; i < steps; i++) {
		step[any(ARRAY_SIZE(step))]();
		if (any(40))
			continue;
		block_close(disk);
		disk = open_chain(image, false);
	}
	check(0, size);
	block_close(disk);
}

/* No reference too many, no cluster lost. */
static void check_image(const char *image)
{
	autoclose int fd = open(image, O_RDONLY | O_CLOEXEC);
	struct qcow2_check result;

	MUST(qcow2_check(fd, false, &result) == 0);
	MUST(result.errors == 0);
	MUST(result.leaks == 0);
}

static void save(const char *raw)
{
	autoclose int fd = open(raw, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
				0600);

	MUST(fd >= 0 && write_all(fd, model, size) == 0);
}

static void load(const char *raw)
{
	autoclose int fd = open(raw, O_RDONLY | O_CLOEXEC);
	struct stat st;

	MUST(fd >= 0 && fstat(fd, &st) == 0 && st.st_size <= MODEL_MAX);
	size = st.st_size;
	MUST(read_all(fd, model, size) == 0);
}

/* The size of an image over one of the size it has now. */
static void choose_size(void)
{
	uint64_t was = size, most = min_u64(64 * cluster, MODEL_MAX / 2);

	if (most < 1 << 20)
		most = 1 << 20;
	size = (1 + any(most / SECTOR)) * SECTOR;
	if (was && any(2))
		size = was;
	if (size < was)
		memset(model + size, 0, was - size);
}

static int make(void)
{
	unsigned levels = any(2) ? 1 : 1 + any(LEVELS_MAX), first_bits = 0;
	char name[24], below[24] = "";

	for (unsigned i = 0; i < levels; i++) {
		struct qcow2_create c = {
			.cluster_bits = 9 + any(13), .lazy_refcounts = any(2),
			.backing = i ? below : NULL,
			.backing_format = i ? "qcow2" : NULL,
		};

		first_bits = i ? first_bits : c.cluster_bits;
		cluster = 1ULL << c.cluster_bits;
		choose_size();
		c.size = size;
		snprintf(name, sizeof(name), "%u.qcow2", i);
		MUST(qcow2_create(AT_FDCWD, name, &c) == 0);
		live(name, STEPS / levels);
		check_image(name);
		memcpy(below, name, sizeof(below));
	}
	save("model.raw");
	printf("levels %u, clusters of 2^%u below\n", levels, first_bits);
	return 0;
}

static int more(const char *image, const char *raw)
{
	load(raw);
	cluster = 1ULL << (9 + any(8));
	live(image, STEPS);
	save(raw);
	return 0;
}

static int same(const char *image, const char *raw)
{
	load(raw);
	disk = open_chain(image, true);
	MUST(disk->size == size);
	cluster = 1 << 16;
	for (int i = 0; i < 50; i++) {
		step_read();
		step_status();
	}
	check(0, size);
	block_close(disk);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	bool seeded = argc > 2 && strcmp(what, "same") != 0;

	random_seed(seeded ? strtoull(argv[2], NULL, 10) : 1);
	if (argc == 3 && !strcmp(what, "make"))
		return make();
	if (argc == 5 && !strcmp(what, "more"))
		return more(argv[3], argv[4]);
	if (argc == 4 && !strcmp(what, "same"))
		return same(argv[2], argv[3]);
	fprintf(stderr, "usage: history make SEED | more SEED IMAGE RAW | "
		"same IMAGE RAW\n");
	return 2;
}
