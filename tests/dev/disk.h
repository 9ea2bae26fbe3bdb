/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk.h - a virtio disk with a driver (fake.h), for tests of it: a disk in
 * memory that fails, waits and counts as told, and requests to it.
 */
#ifndef TESTS_DEV_DISK_H
#define TESTS_DEV_DISK_H

#include "dev/virtio_blk.h"

#include <errno.h>
#include <time.h>

#include "fake.h"
#include "../unit/test.h"

enum {
	QUEUE = 0x10000,
	HEADER = 0x20000,
	STATUS = 0x21000,
	DATA = 0x30000,
	TABLE = 0x22000,
	DISK = 256 << 10,
	SLOT = 8,		/* PCI devfn */
};

/* A disk in memory that fails, waits and counts as told. */
struct ram_disk {
	struct block block;
	unsigned char data[DISK];
	int fail;		/* what everything returns */
	atomic_uint moves, flushes, zeroes, discards;
	bool unmap;		/* of the last that was zeroed */
	atomic_bool closed;	/* the gate: transfers wait */
	atomic_int waiting;
};

static inline void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static inline int move(struct block *b, struct iovec *iov, int n, uint64_t off,
		bool out)
{
	struct ram_disk *d = container_of(b, struct ram_disk, block);

	d->waiting++;
	while (d->closed)
		nap();
	d->waiting--;
	d->moves++;
	for (int i = 0; i < n && !d->fail; off += iov[i++].iov_len) {
		void *at = d->data + off;

		if (!in_range(off, iov[i].iov_len, DISK))
			return -EIO;
		memcpy(out ? at : iov[i].iov_base, out ? iov[i].iov_base : at,
		       iov[i].iov_len);
	}
	return d->fail;
}

static inline int ram_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		     uint64_t len)
{
	(void)len;
	return move(b, iov, n, off, false);
}

static inline int ram_writev(struct block *b, struct iovec *iov, int n, uint64_t off,
		      uint64_t len)
{
	(void)len;
	return move(b, iov, n, off, true);
}

static inline int ram_flush(struct block *b)
{
	struct ram_disk *d = container_of(b, struct ram_disk, block);

	d->flushes++;
	return d->fail;
}

static inline int ram_zero(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
	struct ram_disk *d = container_of(b, struct ram_disk, block);

	d->zeroes++;
	d->unmap = unmap;
	if (!d->fail)
		memset(d->data + off, 0, len);
	return d->fail;
}

static inline int ram_discard(struct block *b, uint64_t off, uint64_t len)
{
	struct ram_disk *d = container_of(b, struct ram_disk, block);

	d->discards++;
	if (!d->fail)
		memset(d->data + off, 'x', len);
	return d->fail;
}

static inline int ram_resize(struct block *b, uint64_t size)
{
	block_set_bytes(b, size);
	return 0;
}

static const struct block_ops ram_ops = {
	.name = "ram", .readv = ram_readv, .writev = ram_writev,
	.flush = ram_flush, .zero = ram_zero, .discard = ram_discard,
	.resize = ram_resize,
};

struct rig {
	struct fake f;
	struct fake_drv drv;
	struct fake_queue q;
	struct ram_disk disk;
	struct virtio_blk blk;
	struct virtio_pci pci;
};

static struct rig rig;

/* A device before DISK, which is ours or a real one. */
static inline bool plug_disk(struct block *disk, const struct virtio_blk_conf *conf)
{
	struct rig *r = &rig;

	if (fake_init(&r->f) < 0 ||
	    virtio_blk_init(&r->blk, &r->f.mem, disk, conf, "disk0") < 0)
		return false;
	virtio_pci_init(&r->pci, &r->blk.virtio, &r->f.chip.irqchip);
	if (pci_bus_add(&r->f.pci, &r->pci.pci, SLOT) < 0)
		return false;
	fake_probe(&r->drv, &r->f, SLOT);
	return true;
}

static inline bool plug_as(uint64_t size, bool readonly,
		    const struct virtio_blk_conf *conf)
{
	struct ram_disk *d = &rig.disk;

	memset(d, 0, sizeof(*d));
	d->block = (struct block){ .ops = &ram_ops, .size = size,
				   .block_size = 512, .readonly = readonly };
	return plug_disk(&d->block, conf);
}

static inline bool plug(uint64_t size, bool readonly)
{
	static const struct virtio_blk_conf conf = {
		.serial = "serial-number-of-20-bytes", .queues = 1,
	};

	return plug_as(size, readonly, &conf);
}

/* Negotiates FEATURES and starts a queue of SIZE. */
static inline bool drive(uint64_t features, unsigned size)
{
	struct rig *r = &rig;

	if (!fake_negotiate(&r->drv, features))
		return false;
	fake_msix_on(&r->drv, 2);
	if (!fake_queue_init(&r->q, &r->drv, 0, size, QUEUE))
		return false;
	fake_driver_ok(&r->drv);
	return true;
}

static inline bool rig_init(void)
{
	return plug(DISK, false) && drive(~0ULL, 16);
}

static inline void rig_release(void)
{
	rig.disk.closed = false;
	virtio_pci_release(&rig.pci);
	virtio_blk_release(&rig.blk);
	fake_release(&rig.f);
}

static inline void put_header(gpa_t at, uint32_t type, uint64_t sector)
{
	struct { le32 type, reserved; le64 sector; } h = {
		.type = to_le32(type), .sector = to_le64(sector),
	};

	mem_write(&rig.f.mem, at, &h, sizeof(h));
}

static inline int status_at(gpa_t at)
{
	uint8_t status = 0xee;

	mem_read(&rig.f.mem, at, &status, 1);
	return status;
}

/* Kicks and waits for the answer; its length or -1. */
static inline long await(void)
{
	uint32_t len;

	fake_kick(&rig.q);
	return fake_wait(&rig.q, NULL, &len) ? (long)len : -1;
}

/* An ordinary request: header, data of LEN at DATA, status. Its status. */
static inline int request(uint32_t type, uint64_t sector, uint32_t len)
{
	bool out = type == VIRTIO_BLK_T_OUT;
	struct fake_seg seg[3] = { { HEADER, 16 }, { DATA, len },
				   { STATUS, 1 } };

	put_header(HEADER, type, sector);
	mem_write(&rig.f.mem, STATUS, "\xee", 1);
	if (len) {
		fake_add(&rig.q, seg, out ? 2 : 1, out ? 1 : 2);
	} else {
		seg[1] = seg[2];
		fake_add(&rig.q, seg, 1, 1);
	}
	return await() < 0 ? -1 : status_at(STATUS);
}

static inline bool broken(void)
{
	for (int i = 0; i < 1000; i++) {
		if (fake_status(&rig.drv) & VIRTIO_NEEDS_RESET)
			return true;
		nap();
	}
	return false;
}

/* Whether, after a reset, the device works as on the first day. */
static inline bool recovers(void)
{
	return fake_reset(&rig.drv) && drive(~0ULL, 16) &&
		request(VIRTIO_BLK_T_IN, 0, 512) == VIRTIO_BLK_S_OK;
}

/* Whether the interrupt MSI comes, after what it is about. */
static inline bool interrupted(uint32_t msi)
{
	for (int i = 0; i < 1000; i++) {
		if (fake_msi(&rig.f, msi))
			return true;
		nap();
	}
	return false;
}

static inline void fill(gpa_t gpa, unsigned len, unsigned seed)
{
	for (unsigned i = 0; i < len; i++)
		mem_write(&rig.f.mem, gpa + i,
			  &(uint8_t){ (i + seed) * 2654435761u >> 11 }, 1);
}

static inline bool same(gpa_t gpa, const void *data, unsigned len)
{
	unsigned char got[4096];

	return mem_read(&rig.f.mem, gpa, got, len) == 0 &&
		!memcmp(got, data, len);
}

/* One request that waits at the gate. */
static inline bool hold_one(void)
{
	rig.disk.closed = true;
	put_header(HEADER, VIRTIO_BLK_T_IN, 0);
	fake_add(&rig.q, (struct fake_seg[]){
			{ HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } }, 1, 2);
	fake_kick(&rig.q);
	for (int i = 0; i < 1000 && !rig.disk.waiting; i++)
		nap();
	return rig.disk.waiting;
}

struct range { uint64_t sector; uint32_t sectors, flags; };

/* A request of TYPE for N ranges; its status. */
static inline int request_ranges(uint32_t type, const struct range *range, unsigned n)
{
	struct { le64 sector; le32 sectors, flags; } r;

	put_header(HEADER, type, 0);
	for (unsigned i = 0; i < n; i++) {
		r.sector = to_le64(range[i].sector);
		r.sectors = to_le32(range[i].sectors);
		r.flags = to_le32(range[i].flags);
		mem_write(&rig.f.mem, DATA + 16 * i, &r, sizeof(r));
	}
	mem_write(&rig.f.mem, STATUS, "\xee", 1);
	fake_add(&rig.q, (struct fake_seg[]){
			{ HEADER, 16 }, { DATA, 16 * n }, { STATUS, 1 } },
		 2, 1);
	return await() < 0 ? -1 : status_at(STATUS);
}

#endif
