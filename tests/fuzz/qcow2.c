/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2.c - an image, and what is done to it, as the input says: a sound one;
 * a sound one of whose file a call fails; one that an enemy changed; the input
 * itself. All in memory (memfile.h).
 *
 * A sound image shows what a model says and is sound at its end, without a
 * leak. After a failed call it has no error but leaks. Of an enemy's image
 * what is read twice is the same, and a write that succeeded is read.
 */
#include "block/qcow2.h"

#include "input.h"
#include "memfile.h"

/*
 * Sectors that are used lie in groups: one behind the other, or (wide) each in
 * the realm of another L2 table.
 */
enum {
	SECTOR = 512, GROUPS = 24, GROUP = 16, SECTORS = GROUPS * GROUP,
	STEPS = 32, REOPENED = 3, CHANGES = 16, BITS_MAX = 13,
};

enum { LAZY = 1, BACKING = 2, WIDE = 4, FILLED = 8, FORMS = 16 };

static struct {
	unsigned bits, form;
	uint64_t stride;
	uint64_t model[SECTORS];	/* a number for each sector */
	uint64_t next;
	bool sound;			/* nobody changed it */
	unsigned reopened;
	struct block *disk;
} life;

static uint64_t buf[2][SECTORS * SECTOR / 8];

/* What is not to be learned about. */
#define QUICK __attribute__((no_sanitize("coverage", "undefined")))

/* Whether the disk must be as the model is. */
static bool exact(void)
{
	return life.sound && !memfile.failed;
}

static uint64_t place(uint64_t sector)
{
	return sector / GROUP * life.stride + sector % GROUP * SECTOR;
}

QUICK static void put_number(uint64_t *sector, uint64_t number)
{
	for (int i = 0; i < SECTOR / 8; i++)
		sector[i] = number;
}

/* -- the backing file: shorter than the disk; each sector has its number -- */

enum { BELOW = SECTORS / 2 + 3, BELOW_NUMBER = 1 << 20 };

static uint64_t below_number(uint64_t off)
{
	uint64_t group = off / life.stride, in = off % life.stride / SECTOR;

	return in < GROUP ? BELOW_NUMBER + group * GROUP + in : 0;
}

static int below_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		       uint64_t len)
{
	(void)b;
	(void)len;
	for (int i = 0; i < n; i++)
		for (uint64_t at = 0, part; at < iov[i].iov_len; at += part) {
			uint64_t sector[SECTOR / 8], in = off % SECTOR;

			part = min_u64(SECTOR - in, iov[i].iov_len - at);
			put_number(sector, below_number(off));
			memcpy((char *)iov[i].iov_base + at,
			       (char *)sector + in, part);
			off += part;
		}
	return 0;
}

static int below_flush(struct block *b)
{
	(void)b;
	return 0;
}

static void below_close(struct block *b)
{
	free(b);
}

static const struct block_ops below_ops = {
	.name = "below",
	.readv = below_readv,
	.flush = below_flush,
	.close = below_close,
};

static struct block *below_open(void)
{
	struct block *b = calloc(1, sizeof(*b));

	MUST(b);
	*b = (struct block){
		.ops = &below_ops, .size = place(BELOW), .block_size = SECTOR,
		.readonly = true,
	};
	return b;
}

/* -- opened, checked -- */

static int reopen(bool readonly)
{
	struct qcow2_info info;
	struct block *below = NULL;
	int rc = qcow2_info(MEMFILE_FD, &info);

	if (rc == 0 && info.backing)
		below = below_open();
	if (rc == 0)
		qcow2_info_release(&info);
	rc = qcow2_open(&life.disk, "image", readonly, below);
	if (rc < 0)
		block_close(below);
	return rc;
}

static void check_closed(void)
{
	struct qcow2_check result;

	MUST(qcow2_check(MEMFILE_FD, false, &result) == 0);
	MUST(result.errors == 0);
	MUST(!result.leaks || memfile.failed);
}

/* -- steps -- */

static int io(bool write, void *data, uint64_t off, uint64_t len, uint64_t cut)
{
	struct iovec iov[] = {
		{ data, cut }, { (char *)data + cut, len - cut },
	};

	return write ? block_writev(life.disk, iov, 2, off) :
		block_readv(life.disk, iov, 2, off);
}

static void compare(const uint64_t *data, uint64_t first, uint64_t n)
{
	uint64_t sector[SECTOR / 8];

	for (uint64_t s = 0; s < n; s++) {
		put_number(sector, life.model[first + s]);
		MUST(!memcmp(data + s * SECTOR / 8, sector, SECTOR));
	}
}

static void step_read(uint64_t first, uint64_t n, uint8_t how)
{
	uint64_t len = n * SECTOR;

	if (io(false, buf[0], place(first), len, how % len) < 0) {
		MUST(!exact());
		return;
	}
	if (exact())
		compare(buf[0], first, n);
	else if (io(false, buf[1], place(first), len, 0) == 0)
		MUST(!memcmp(buf[0], buf[1], len));
}

static void step_write(uint64_t first, uint64_t n, uint8_t how)
{
	uint64_t len = n * SECTOR, *last = buf[0] + (n - 1) * SECTOR / 8;

	for (uint64_t i = 0; i < n; i++) {
		life.model[first + i] = life.next;
		put_number(buf[0] + i * SECTOR / 8, life.next++);
	}
	if (io(true, buf[0], place(first), len, how % len) < 0) {
		MUST(!exact());
		return;
	}
	/* An enemy's image may have one cluster at many places of the disk. */
	if (exact())
		step_read(first, n, how);
	else if (io(false, buf[1], place(first), len, 0) == 0)
		MUST(!memcmp(last, buf[1] + (last - buf[0]), SECTOR));
}

static void step_zero(uint64_t first, uint64_t n, uint8_t how)
{
	memset(&life.model[first], 0, n * sizeof(*life.model));
	if (block_zero(life.disk, place(first), n * SECTOR, how & 1) < 0)
		MUST(!exact());
	step_read(first, n, how);
}

/* Then it is what it was, or zeros. */
static void step_discard(uint64_t first, uint64_t n, uint8_t how)
{
	int rc = block_discard(life.disk, place(first), n * SECTOR);

	if (!exact())
		return;
	MUST(rc == 0);
	MUST(io(false, buf[0], place(first), n * SECTOR, how) == 0);
	for (uint64_t i = 0; i < n; i++)
		if (!buf[0][i * SECTOR / 8])
			life.model[first + i] = 0;
	compare(buf[0], first, n);
}

static void step_map(uint64_t first, uint64_t n, uint8_t how)
{
	bool write = how & 1;
	struct block_extent e;

	if (block_map(life.disk, place(first), n * SECTOR, write, &e) < 0)
		return;
	MUST(e.len && e.len <= n * SECTOR && e.len % SECTOR == 0);
	n = e.len / SECTOR;
	memset(buf[0], 0, n * SECTOR);
	if (write) {
		for (uint64_t i = 0; i < n; i++) {
			life.model[first + i] = life.next;
			put_number(buf[0] + i * SECTOR / 8, life.next++);
		}
		if (pwrite(e.fd, buf[0], n * SECTOR, e.off) < 0)
			e.rc = -errno;
	} else if (e.fd >= 0) {
		(void)!pread(e.fd, buf[0], n * SECTOR, e.off);
	}
	if (exact() && !write)
		compare(buf[0], first, n);
	if (block_unmap(life.disk, &e) < 0)
		MUST(!exact());
	if (write)
		step_read(first, n, how);
}

static void step_status(uint64_t first, uint64_t n, uint8_t how)
{
	uint64_t got;
	int rc = block_status(life.disk, place(first), n * SECTOR, &got);

	(void)how;
	MUST(rc < 0 || (got && got <= n * SECTOR && got % SECTOR == 0));
	if (!exact())
		return;
	MUST(rc >= 0);
	for (uint64_t i = 0; rc == BLOCK_ZERO && i < got / SECTOR; i++)
		MUST(!life.model[first + i]);
}

static void step_flush(uint64_t first, uint64_t n, uint8_t how)
{
	(void)first;
	(void)n;
	(void)how;
	if (block_flush(life.disk) < 0)
		MUST(!exact());
}

static void step_resize(uint64_t first, uint64_t n, uint8_t how)
{
	uint64_t more = how & 1 ? life.stride : n * SECTOR;

	(void)first;
	if (life.disk->size > INT64_MAX / 2)
		return;
	if (block_resize(life.disk, life.disk->size + more) < 0)
		MUST(!exact());
}

static void step_reopen(uint64_t first, uint64_t n, uint8_t how)
{
	bool readonly = life.disk->readonly;

	(void)first;
	(void)n;
	if (life.reopened++ == REOPENED)
		return;
	block_close(life.disk);
	life.disk = NULL;
	if (exact() && how & 1)
		check_closed();
	if (reopen(readonly) < 0)
		MUST(!exact());
}

static void step(struct input *in)
{
	static void (*const steps[])(uint64_t first, uint64_t n, uint8_t how) = {
		step_read, step_read, step_write, step_write, step_write,
		step_write, step_write, step_zero, step_zero, step_discard,
		step_discard, step_map, step_status, step_flush, step_resize,
		step_reopen,
	};
	uint8_t what = take8(in);
	uint64_t first = take16(in) % SECTORS, n = 1 + (what >> 4);

	if (life.form & WIDE)
		n = min_u64(n, GROUP - first % GROUP);
	n = min_u64(n, SECTORS - first);
	steps[what % ARRAY_SIZE(steps)](first, n, take8(in));
}

/* -- the image -- */

static void make(struct memfile_copy *c)
{
	struct qcow2_create create = {
		.size = GROUPS * life.stride, .cluster_bits = life.bits,
		.lazy_refcounts = life.form & LAZY,
	};

	if (life.form & BACKING) {
		create.backing = "below";
		create.backing_format = "raw";
	}
	memfile_reset();
	MUST(qcow2_create(AT_FDCWD, "image", &create) == 0);
	MUST(reopen(false) == 0);
	for (uint64_t s = 0; life.form & FILLED && s < SECTORS; s += 2 * GROUP)
		step_write(s, GROUP, 1);
	block_close(life.disk);
	MUST(!memfile.failed);
	memfile_save(c);
}

static void shown_at_first(void)
{
	life.next = 1;
	for (uint64_t s = 0; s < SECTORS; s++) {
		bool below = life.form & BACKING && s < BELOW;

		life.model[s] = below ? BELOW_NUMBER + s : 0;
	}
}

/* One of each form is made once, and kept. Large clusters take long. */
static void begin(struct input *in)
{
	static const uint8_t cluster_bits[] = {
		9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 10, 10, 10, 10, 11, 12,
	};
	uint8_t which = take8(in);
	static struct {
		struct memfile_copy copy;
		uint64_t model[SECTORS], next;
	} kept[BITS_MAX + 1][FORMS], *k;

	life.bits = which == UINT8_MAX ? BITS_MAX :
		cluster_bits[which % ARRAY_SIZE(cluster_bits)];
	life.form = take8(in) % FORMS;
	life.stride = life.form & WIDE ? 1ULL << (2 * life.bits - 3) :
		GROUP * SECTOR;
	life.sound = true;
	life.reopened = 0;
	k = &kept[life.bits][life.form];
	if (!k->copy.pages) {
		shown_at_first();
		make(&k->copy);
		memcpy(k->model, life.model, sizeof(k->model));
		k->next = life.next;
	}
	memfile_load(&k->copy);
	memcpy(life.model, k->model, sizeof(life.model));
	life.next = k->next;
}

/* The next place from OFF on that holds something. */
static uint64_t something(uint64_t off)
{
	uint64_t at = off & ~7ULL;

	for (int i = 0; i < 4096; i++, at += 8) {
		if (at + 8 > memfile.size)
			at = 0;
		if (memcmp(memfile.data + at, "\0\0\0\0\0\0\0", 8))
			return at;
	}
	return off & ~7ULL;
}

/* Numbers that mean something, at places that do. */
static void spoil(struct input *in)
{
	unsigned how = take8(in);
	uint64_t off = how & 1 ? take8(in) : take32(in) % memfile.size;
	uint64_t val = how & 2 ? take64(in) : take16(in);
	be64 disk = to_be64(0);

	if (how & 4)
		off = something(off);
	pread(MEMFILE_FD, &disk, sizeof(disk), off);
	if (how & 8)		/* near to what was there */
		val = get_be64(disk) ^ val << (how & 16 ? life.bits : 0);
	else if (how & 16)	/* what is elsewhere */
		pread(MEMFILE_FD, &disk, sizeof(disk),
		      something(val % memfile.size));
	if (how & 8 || !(how & 16))
		disk = to_be64(val);
	val = get_be64(disk);
	val ^= how & 32 ? 1ULL << 63 : 0;
	val ^= how & 64 ? 1ULL << 62 : 0;
	disk = to_be64(val);
	if (off + sizeof(disk) <= memfile.size)
		pwrite(MEMFILE_FD, &disk, how & 128 ? 4 : 8, off);
}

static void image(struct input *in)
{
	unsigned how = take8(in);

	begin(in);
	switch (how % 8) {
	case 0:			/* nothing happens to it */
	case 1:
		break;
	case 2:
		memfile.countdown = 1 + take8(in);
		break;
	case 3:
		memfile_reset();
		life.sound = false;
		pwrite(MEMFILE_FD, in->data, in->len, 0);
		break;
	default:
		life.sound = false;
		for (unsigned n = 1 + take8(in) % CHANGES; n; n--)
			spoil(in);
	}
	memfile.failed = false;
}

/* Its end, with a file that works. */
static void end(void)
{
	block_close(life.disk);
	memfile.countdown = 0;
	if (!life.sound)
		return;
	/* What was not counted when a call failed is now. */
	MUST(reopen(false) == 0);
	for (uint64_t s = 0; s < SECTORS; s += GROUP)
		step_read(s, GROUP, 0);
	block_close(life.disk);
	check_closed();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	struct qcow2_check result;
	unsigned how;

	memfile.on = true;
	life.disk = NULL;
	image(&in);
	how = take8(&in);
	if (how & 2)
		qcow2_check(MEMFILE_FD, how & 4, &result);
	if (reopen(!life.sound && how & 1) < 0) {
		MUST(!exact());
		life.disk = NULL;
	}
	for (int i = 0; life.disk && in.len && i < STEPS; i++)
		step(&in);
	end();
	memfile.on = false;
	return 0;
}
