/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hostile.c - a guest whose drivers misbehave (see crime.h): rings that loop,
 * jump and point anywhere, queues of any geometry, steps out of order, kicks
 * without end, interrupts without vectors, requests without sense.
 */
#include "crime.h"

/* Where no DMA may go, and which lengths no sum may survive. */
static const struct {
	uint64_t addr;
	uint32_t len;
} nowhere[] = {
	{ RAM_END, 1 }, { RAM_END - 1, 2 }, { RAM_END - 512, 513 },
	{ RAM_END - 4096, 0xffffffff }, { 0, RAM_END + 1 },
	{ 0x1000, 0xffffffff }, { 0xc0000000, 16 }, { 0xc0002000, 2 },
	{ 0xc0004000, 64 }, { ECAM, 16 }, { ECAM + 0x8000, 4 },
	{ IOAPIC, 32 }, { LAPIC + 0x300, 4 }, { 0xfffbd000, 4096 },
	{ 0xfffffff0, 32 }, { 1ULL << 32, 16 }, { 1ULL << 52, 1 },
	{ 1ULL << 63, 4096 }, { UINT64_MAX, 1 }, { UINT64_MAX, 0xffffffff },
	{ UINT64_MAX - 15, 32 }, { UINT64_MAX - 15, 0xffffffff },
};

/* The way D takes a buffer. */
static uint16_t way(const struct dev *d)
{
	return d == rng ? WRITE : 0;
}

/* ------------------------------------------------------------------ rings */

static enum saw ring_loop(struct dev *d)
{
	for (unsigned i = 0; i < QUEUE; i++)
		desc(d, i, d->buffer, 8, way(d) | NEXT, (i + 1) % QUEUE);
	return submit(d, 0);
}

static enum saw ring_self(struct dev *d)
{
	desc(d, 3, d->buffer, 8, way(d) | NEXT, 3);
	return submit(d, 3);
}

static enum saw ring_next(struct dev *d)
{
	desc(d, 0, d->buffer, 8, way(d) | NEXT, QUEUE);
	return submit(d, 0);
}

static enum saw ring_head(struct dev *d)
{
	return submit(d, QUEUE);
}

static enum saw ring_jump(struct dev *d)
{
	honest(d);
	d->added = 0x8000;
	put(d->avail + 2, 2, d->added);
	kick(d);
	return await(d, TURNS);
}

static enum saw ring_back(struct dev *d)
{
	if (!serves(d))
		return SILENT;
	d->added = 0;
	put(d->avail + 2, 2, 0);
	kick(d);
	return await(d, TURNS);
}

static enum saw ring_empty(struct dev *d)
{
	desc(d, 0, d->buffer, 0, way(d), 0);
	return submit(d, 0);
}

static enum saw ring_order(struct dev *d)
{
	desc(d, 0, d->buffer, 16, WRITE | NEXT, 1);
	desc(d, 1, d->buffer + 16, 16, 0, 0);
	return submit(d, 0);
}

/* A GiB and more, all of it RAM, in a queue of full length. */
static enum saw ring_giant(struct dev *d)
{
	dev_begin(d, 256);
	for (unsigned i = 0; i < 256; i++)
		desc(d, i, FREE, RAM_END - FREE, way(d) | NEXT, i + 1);
	return submit(d, 0);
}

static enum saw ring_nowhere(struct dev *d)
{
	for (unsigned i = 0; i < ARRAY_SIZE(nowhere); i++) {
		dev_begin(d, QUEUE);
		desc(d, 0, nowhere[i].addr, nowhere[i].len, way(d), 0);
		if (submit(d, 0) != BROKEN)
			return SERVED;
	}
	return BROKEN;
}

/* Descriptors change while they are read: anything but harm may come of it. */
static enum saw ring_race(struct dev *d)
{
	for (unsigned i = 0; i < 300; i++) {
		if (status(d) & NEEDS_RESET)
			dev_begin(d, QUEUE);
		honest(d);
		add(d, 0);
		kick(d);
		desc(d, 0, nowhere[i % ARRAY_SIZE(nowhere)].addr, 4096,
		     NEXT, i % 20);
		put(d->avail + 2, 2, d->added + i % 3);
		honest(d);
	}
	return ANY;
}

/* -- indirect tables -- */

/* Sends the table of BYTES, its descriptors made before. */
static enum saw indirect(struct dev *d, uint32_t bytes, uint16_t flags)
{
	desc(d, 0, d->table, bytes, INDIRECT | flags, 1);
	desc(d, 1, d->buffer, 8, way(d), 0);
	return submit(d, 0);
}

static enum saw indirect_loop(struct dev *d)
{
	desc_in(d->table, 0, d->buffer, 8, way(d) | NEXT, 1);
	desc_in(d->table, 1, d->buffer, 8, way(d) | NEXT, 0);
	return indirect(d, 32, 0);
}

static enum saw indirect_nested(struct dev *d)
{
	desc_in(d->table, 0, d->table, 16, INDIRECT, 0);
	return indirect(d, 16, 0);
}

static enum saw indirect_next(struct dev *d)
{
	desc_in(d->table, 0, d->buffer, 8, way(d), 0);
	return indirect(d, 16, NEXT);
}

static enum saw indirect_odd(struct dev *d)
{
	desc_in(d->table, 0, d->buffer, 8, way(d), 0);
	return indirect(d, 17, 0);
}

static enum saw indirect_none(struct dev *d)
{
	return indirect(d, 0, 0);
}

static enum saw indirect_long(struct dev *d)
{
	for (unsigned i = 0; i < TABLE_MAX; i++)
		desc_in(d->table, i, d->buffer, 8, way(d) | NEXT, i + 1);
	return indirect(d, TABLE_MAX * 16, 0);
}

static enum saw indirect_refused(struct dev *d)
{
	d->features = 0;
	dev_begin(d, QUEUE);
	d->features = F_INDIRECT;
	desc_in(d->table, 0, d->buffer, 8, way(d), 0);
	return indirect(d, 16, 0);
}

static enum saw indirect_nowhere(struct dev *d)
{
	for (unsigned i = 0; i < ARRAY_SIZE(nowhere); i++) {
		dev_begin(d, QUEUE);
		desc(d, 0, nowhere[i].addr, (nowhere[i].len + 15) & ~15U,
		     INDIRECT, 0);
		if (submit(d, 0) != BROKEN)
			return SERVED;
	}
	return BROKEN;
}

/* -------------------------------------------------- queues as registered */

/* Enables a queue of this geometry: whether that broke the device. */
static bool refused(struct dev *d, uint16_t size, uint64_t table,
		    uint64_t avail, uint64_t used)
{
	dev_negotiate(d);
	dev_enable(d, size, table, avail, used);
	reg(d, STATUS, 1, status(d) | DRIVER_OK);
	kick(d);
	return status(d) & NEEDS_RESET;
}

static enum saw queue_size(struct dev *d)
{
	static const uint16_t sizes[] = { 0, 3, 255, 257, 512, 32768, 65535 };

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		if (!refused(d, sizes[i], d->desc, d->avail, d->used))
			return SERVED;
	return BROKEN;
}

static enum saw queue_misaligned(struct dev *d)
{
	return refused(d, QUEUE, d->desc + 8, d->avail, d->used) &&
	       refused(d, QUEUE, d->desc, d->avail + 1, d->used) &&
	       refused(d, QUEUE, d->desc, d->avail, d->used + 2) ?
	       BROKEN : SERVED;
}

static enum saw queue_nowhere(struct dev *d)
{
	for (unsigned i = 0; i < ARRAY_SIZE(nowhere); i++) {
		uint64_t at = nowhere[i].addr;

		if (at < RAM_END - 16)
			continue;	/* the length made those bad */
		if (!refused(d, QUEUE, at & ~15ULL, d->avail, d->used) ||
		    !refused(d, QUEUE, d->desc, at & ~1ULL, d->used) ||
		    !refused(d, QUEUE, d->desc, d->avail, at & ~3ULL))
			return SERVED;
	}
	return BROKEN;
}

/* Everything about it is written again while it is used. */
static enum saw queue_rewritten(struct dev *d)
{
	honest(d);
	for (unsigned i = 0; i < QUEUE / 2; i++)
		add(d, 0);
	kick(d);
	for (unsigned i = 0; i < 200; i++) {
		reg(d, QUEUE_SIZE, 2, chance());
		reg64(d, QUEUE_DESC, (uint64_t)chance() << 32 | FREE);
		reg64(d, QUEUE_DRIVER, FREE + 0x1000);
		reg64(d, QUEUE_DEVICE, FREE + 0x2000);
		reg(d, QUEUE_ENABLE, 2, i & 3);
		reg(d, DRIVER_FEATURE, 4, chance());
		reg(d, STATUS, 1, (chance() & 0x8f) | 1);
	}
	return await(d, TURNS);
}

/* There are queues of no number; their registers read 0 and keep nothing. */
static enum saw queue_select(struct dev *d)
{
	static const uint16_t numbers[] = { 2, 8, 255, 256, 0x7fff, 0xffff };

	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		reg(d, QUEUE_SELECT, 2, numbers[i]);
		for (unsigned at = QUEUE_SIZE; at < COMMON_BYTES; at += 2) {
			reg(d, at, 2, 0xffff);
			if (get(d->common + at, 2))
				return BROKEN;
		}
		put(d->notify + 4 * numbers[i], 2, numbers[i]);
	}
	return serves(d) ? SERVED : BROKEN;
}

/* -------------------------------------------------------------- the steps */

static enum saw step_no_features(struct dev *d)
{
	reg(d, STATUS, 1, 0);
	reg(d, STATUS, 1, ACKNOWLEDGE | DRIVER | DRIVER_OK);
	kick(d);
	return status(d) & DRIVER_OK ? SERVED : SILENT;
}

static enum saw step_no_version(struct dev *d)
{
	reg(d, STATUS, 1, 0);
	reg(d, STATUS, 1, ACKNOWLEDGE | DRIVER);
	reg(d, STATUS, 1, 0xff);
	return status(d) & (FEATURES_OK | DRIVER_OK) ? SERVED : SILENT;
}

static enum saw step_all_features(struct dev *d)
{
	reg(d, STATUS, 1, 0);
	for (unsigned i = 0; i < 40; i++) {
		reg(d, DRIVER_FEATURE_SELECT, 4, i);
		reg(d, DRIVER_FEATURE, 4, 0xffffffff);
	}
	reg(d, STATUS, 1, 0xff);
	return status(d) & (FEATURES_OK | DRIVER_OK) ? SERVED : SILENT;
}

static enum saw step_early_queue(struct dev *d)
{
	reg(d, STATUS, 1, 0);
	dev_enable(d, QUEUE, d->desc, d->avail, d->used);
	return status(d) & NEEDS_RESET ? BROKEN : SERVED;
}

/* DRIVER_OK without a queue, and kicks for none. */
static enum saw step_no_queue(struct dev *d)
{
	dev_negotiate(d);
	reg(d, STATUS, 1, status(d) | DRIVER_OK);
	for (unsigned i = 0; i < 2000; i++)
		kick(d);
	return status(d) & NEEDS_RESET ? BROKEN : SILENT;
}

/* Status 0 while requests are on their way, again and again. */
static enum saw step_reset_busy(struct dev *d)
{
	for (unsigned i = 0; i < 200; i++) {
		dev_begin(d, QUEUE);
		honest(d);
		for (unsigned k = 0; k < QUEUE; k++)
			add(d, 0);
		kick(d);
		if (i & 1)
			await(d, i);
	}
	return ANY;
}

/* ------------------------------------------------------------------ kicks */

static enum saw kick_flood(struct dev *d)
{
	for (unsigned i = 0; i < 40000; i++)
		kick(d);
	return serves(d) ? SERVED : BROKEN;
}

static enum saw kick_early(struct dev *d)
{
	dev_negotiate(d);
	for (unsigned i = 0; i < 10000; i++)
		kick(d);
	dev_begin(d, QUEUE);
	return serves(d) ? SERVED : BROKEN;
}

/* Every width at every offset of the doorbells and around them. */
static enum saw kick_widths(struct dev *d)
{
	for (uint32_t at = d->bar + 0x1ff0; at < d->bar + 0x2040; at++) {
		for (unsigned size = 1; size <= 4; size *= 2)
			put(at, size, chance());
		swap8(at, 0);
	}
	return serves(d) ? SERVED : BROKEN;
}

/* ------------------------------------------------------------------ MSI-X */

static enum saw msix_vector(struct dev *d)
{
	static const uint16_t numbers[] = { 4, 32, 255, 0x7fff, 0xfffe };

	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		reg(d, CONFIG_VECTOR, 2, numbers[i]);
		reg(d, QUEUE_VECTOR, 2, numbers[i]);
		if (get(d->common + CONFIG_VECTOR, 2) != 0xffff ||
		    get(d->common + QUEUE_VECTOR, 2) != 0xffff)
			return BROKEN;
	}
	return serves(d) ? SERVED : BROKEN;
}

/* The table and what is behind it, in all widths, with interrupts fired. */
static enum saw msix_table(struct dev *d)
{
	static const uint64_t to[] = { 0, FREE, LAPIC, ECAM, 0xfee00ff8,
		1ULL << 32 | LAPIC, UINT64_MAX };
	uint32_t cap = capability(d, 0x11), table = d->bar + 0x3000;
	bool well = true;

	put(cap + 2, 2, 0x8000);
	for (uint32_t at = table; at < table + 0x840; at++) {
		swap8(at, (uint64_t)chance() << 32 | chance());
		for (unsigned size = 1; size <= 4; size *= 2)
			put(at, size, chance());
	}
	reg(d, QUEUE_VECTOR, 2, 1);
	for (unsigned i = 0; i < 4 * ARRAY_SIZE(to); i++) {
		put(table + 16, 4, to[i / 4]);
		put(table + 20, 4, to[i / 4] >> 32);
		put(table + 24, 4, 0x40 + i);
		put(table + 28, 4, i & 1);
		put(cap + 2, 2, i & 2 ? 0xc000 : 0x8000);
		well = well && serves(d);
	}
	put(cap + 2, 2, 0);
	return well ? SERVED : BROKEN;
}

/* --------------------------------------------------------------- requests */

static enum saw disk_bounds(struct dev *d)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t len;
		uint16_t flags;
		uint8_t status;
	} bad[] = {
		{ 0, 1ULL << 55, 512, WRITE, 1 },
		{ 0, UINT64_MAX, 512, WRITE, 1 },
		{ 1, UINT64_MAX / 512, 1024, 0, 1 },
		{ 1, 1ULL << 63, 512, 0, 1 },
		{ 0, 0, 513, WRITE, 1 }, { 0, 0, 1, WRITE, 1 },
		{ 1, 0, 511, 0, 1 }, { 0, 1 << 20, 512, WRITE, 1 },
		{ 0, 0, RAM_END - FREE, WRITE, 1 },
		{ 1, 8, RAM_END - FREE, 0, 1 },
		{ 0, 0, 512, 0, 0 },	/* read, nowhere to */
		{ 1, 8, 512, WRITE, 0 },	/* write, nothing from */
		{ 2, 0, 512, 0, 2 }, { 0xffffffff, 0, 512, WRITE, 2 },
		{ 4, UINT64_MAX, 512, WRITE, 0 }, { 8, 0, 1, WRITE, 0 },
		{ 11, 0, 16, 0, 2 }, { 13, 0, 16, 0, 2 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		disk_chain(d, bad[i].type, bad[i].sector, FREE, bad[i].len,
			   bad[i].flags);
		if (submit(d, 0) != SERVED ||
		    get(d->buffer + DISK_STATUS, 1) != bad[i].status)
			return BROKEN;
	}
	return SERVED;
}

static enum saw disk_no_status(struct dev *d)
{
	disk_chain(d, 0, 0, d->buffer + DISK_DATA, 512, 0);
	desc(d, 1, d->buffer + DISK_DATA, 512, 0, 0);
	return submit(d, 0);
}

static enum saw disk_no_header(struct dev *d)
{
	desc(d, 0, d->buffer, 15, NEXT, 1);
	desc(d, 1, d->buffer + DISK_STATUS, 1, WRITE, 0);
	if (submit(d, 0) != SERVED)
		return BROKEN;
	return get(d->buffer + DISK_STATUS, 1) == 1 ? SERVED : BROKEN;
}

/* All of it, from one 12 MiB buffer that is given many times over. */
static enum saw disk_giant(struct dev *d)
{
	dev_begin(d, 256);
	disk_chain(d, 0, 0, FREE, RAM_END - FREE, WRITE);
	for (unsigned i = 1; i < 80; i++)
		desc(d, i, FREE, RAM_END - FREE, WRITE | NEXT, i + 1);
	desc(d, 80, d->buffer + DISK_STATUS, 1, WRITE, 0);
	return submit(d, 0);
}

/* A buffer of 12 MiB 16 times: the device fills of each what it likes. */
static enum saw rng_giant(struct dev *d)
{
	desc(d, 0, FREE, RAM_END - FREE, WRITE, 0);
	for (unsigned i = 0; i < QUEUE; i++)
		add(d, 0);
	kick(d);
	if (await(d, TURNS) != SERVED)
		return BROKEN;
	return used_len(d) <= RAM_END - FREE ? SERVED : BROKEN;
}

static enum saw rng_readable(struct dev *d)
{
	desc(d, 0, d->buffer, 64, 0, 0);
	return submit(d, 0) == SERVED && used_len(d) == 0 ? SERVED : BROKEN;
}

/* 8 MiB of text. */
static enum saw console_flood(struct dev *d)
{
	fill(FREE, 0x80000, 0x0a786878);
	desc(d, 0, FREE, 0x80000, 0, 0);
	for (unsigned i = 0; i < QUEUE; i++)
		add(d, 0);
	kick(d);
	return await(d, TURNS);
}

/* --------------------------------------------------------------- the list */

static const struct crime crimes[] = {
	{ "ring-loop", ring_loop, BROKEN, EACH },
	{ "ring-self", ring_self, BROKEN, EACH },
	{ "ring-next", ring_next, BROKEN, EACH },
	{ "ring-head", ring_head, BROKEN, EACH },
	{ "ring-jump", ring_jump, BROKEN, EACH },
	{ "ring-back", ring_back, BROKEN, EACH },
	{ "ring-empty", ring_empty, BROKEN, EACH },
	{ "ring-order", ring_order, BROKEN, EACH },
	{ "ring-giant", ring_giant, BROKEN, EACH },
	{ "ring-nowhere", ring_nowhere, BROKEN, EACH },
	{ "ring-race", ring_race, ANY, EACH },
	{ "indirect-loop", indirect_loop, BROKEN, EACH },
	{ "indirect-nested", indirect_nested, BROKEN, EACH },
	{ "indirect-next", indirect_next, BROKEN, EACH },
	{ "indirect-odd", indirect_odd, BROKEN, EACH },
	{ "indirect-none", indirect_none, BROKEN, EACH },
	{ "indirect-long", indirect_long, BROKEN, EACH },
	{ "indirect-refused", indirect_refused, BROKEN, EACH },
	{ "indirect-nowhere", indirect_nowhere, BROKEN, EACH },
	{ "queue-size", queue_size, BROKEN, EACH },
	{ "queue-misaligned", queue_misaligned, BROKEN, EACH },
	{ "queue-nowhere", queue_nowhere, BROKEN, EACH },
	{ "queue-rewritten", queue_rewritten, SERVED, EACH },
	{ "queue-select", queue_select, SERVED, EACH },
	{ "step-no-features", step_no_features, SILENT, EACH },
	{ "step-no-version", step_no_version, SILENT, EACH },
	{ "step-all-features", step_all_features, SILENT, EACH },
	{ "step-early-queue", step_early_queue, BROKEN, EACH },
	{ "step-no-queue", step_no_queue, SILENT, EACH },
	{ "step-reset-busy", step_reset_busy, ANY, EACH },
	{ "kick-flood", kick_flood, SERVED, EACH },
	{ "kick-early", kick_early, SERVED, EACH },
	{ "kick-widths", kick_widths, SERVED, EACH },
	{ "msix-vector", msix_vector, SERVED, EACH },
	{ "msix-table", msix_table, SERVED, EACH },
	{ "request-bounds", disk_bounds, SERVED, DISK },
	{ "request-no-status", disk_no_status, BROKEN, DISK },
	{ "request-no-header", disk_no_header, SERVED, DISK },
	{ "request-giant", disk_giant, SERVED, DISK },
	{ "request-giant", rng_giant, SERVED, RNG },
	{ "request-readable", rng_readable, SERVED, RNG },
	{ "request-flood", console_flood, SERVED, CONSOLE },
};

void main(const uint32_t *start_info)
{
	devs_find();
	crimes_run(order(start_info), crimes, ARRAY_SIZE(crimes));
}
