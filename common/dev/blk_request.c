/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One request to a disk (virtio 1.2, 5.2.6): read, checked, carried out. */
#include "dev/blk_queue.h"

#include <errno.h>
#include <string.h>

struct blk_header {
	le32 type, reserved;
	le64 sector;
};
static_assert(sizeof(struct blk_header) == 16, "virtio 1.2, 5.2.6");

enum { RANGE_UNMAP = 1 };	/* the one flag there is */

/* What a kind's functions return besides 0 and -errno. */
enum { UNSUPPORTED = 1 };

struct blk_kind {
	uint32_t type;
	const char *name;	/* for the log */
	bool changes;		/* the disk: may stall, may have to be durable */
	/* Checks R and makes its copy whole. NULL: nothing to do. */
	int (*read)(struct blk_request *r);
	/* Fills in R->io. 0: to be submitted; NULL: not for the disk. */
	int (*prepare)(struct blk_request *r);
};

static struct virtio_blk *blk_of(const struct blk_request *r)
{
	return r->queue->blk;
}

static uint64_t in_bytes(const struct blk_request *r)
{
	return r->chain.in_len - 1;	/* the status */
}

static uint64_t out_bytes(const struct blk_request *r)
{
	return r->chain.out_len - sizeof(struct blk_header);
}

/* Compared in sectors: bytes might not fit 64 bits. */
static bool on_disk(const struct blk_request *r, uint64_t sector,
		    uint64_t sectors)
{
	return in_range(sector, sectors,
			block_bytes(blk_of(r)->disk) / BLK_SECTOR);
}

static int check_move(const struct blk_request *r, uint64_t len)
{
	return len % BLK_SECTOR == 0 &&
		on_disk(r, r->sector, len / BLK_SECTOR) ? 0 : -EINVAL;
}

/* -- reading and writing -- */

static int read_in(struct blk_request *r)
{
	return check_move(r, in_bytes(r));
}

static int read_out(struct blk_request *r)
{
	return check_move(r, out_bytes(r));
}

static int move(struct blk_request *r, enum queue_op op, int segments)
{
	r->io.op = op;
	r->io.iov = r->iov;
	r->io.n = segments;
	r->io.off = r->sector * BLK_SECTOR;
	return segments < 0 ? segments : 0;
}

static int prepare_in(struct blk_request *r)
{
	return move(r, QUEUE_READ,
		    chain_in_iov(&blk_of(r)->virtio, &r->chain, 0, in_bytes(r),
				 r->iov, VIRTQ_SEGS));
}

static int prepare_out(struct blk_request *r)
{
	return move(r, QUEUE_WRITE,
		    chain_out_iov(&blk_of(r)->virtio, &r->chain,
				  sizeof(struct blk_header), out_bytes(r),
				  r->iov, VIRTQ_SEGS));
}

/* -- what moves no data -- */

static int prepare_flush(struct blk_request *r)
{
	r->io.op = QUEUE_FLUSH;
	return 0;
}

static int read_id(struct blk_request *r)
{
	struct virtio_blk *b = blk_of(r);

	chain_write(&b->virtio, &r->chain, 0, b->serial,
		    min_u64(in_bytes(r), BLK_SERIAL));
	return 0;
}

static int check_range(const struct blk_request *r,
		       const struct blk_range *range, uint32_t flags)
{
	uint32_t sectors = get_le32(range->sectors);

	if (get_le32(range->flags) & ~flags)
		return UNSUPPORTED;
	if (sectors > BLK_RANGE_SECTORS ||
	    !on_disk(r, get_le64(range->sector), sectors))
		return -EINVAL;
	return 0;
}

/* All are checked before the first is carried out. */
static int read_ranges(struct blk_request *r, unsigned feature, uint32_t flags)
{
	const struct virtio *v = &blk_of(r)->virtio;
	uint64_t len = out_bytes(r);
	int rc = 0;

	if (!virtio_has(v, feature))
		return UNSUPPORTED;
	if (!len || len % sizeof(r->range[0]) || len > sizeof(r->range))
		return -EINVAL;
	r->ranges = len / sizeof(r->range[0]);
	if (chain_read(v, &r->chain, sizeof(struct blk_header), r->range,
		       len) != len)
		return -EFAULT;
	for (unsigned i = 0; rc == 0 && i < r->ranges; i++)
		rc = check_range(r, &r->range[i], flags);
	return rc;
}

static int read_discard(struct blk_request *r)
{
	return read_ranges(r, VIRTIO_BLK_F_DISCARD, 0);
}

static int read_zeroes(struct blk_request *r)
{
	return read_ranges(r, VIRTIO_BLK_F_WRITE_ZEROES, RANGE_UNMAP);
}

static void aim(struct blk_request *r, enum queue_op op)
{
	const struct blk_range *range = &r->range[r->done];

	r->io.op = op;
	r->io.off = get_le64(range->sector) * BLK_SECTOR;
	r->io.len = (uint64_t)get_le32(range->sectors) * BLK_SECTOR;
}

static int prepare_discard(struct blk_request *r)
{
	aim(r, QUEUE_DISCARD);
	return 0;
}

static int prepare_zeroes(struct blk_request *r)
{
	uint32_t flags = get_le32(r->range[r->done].flags);

	aim(r, flags & RANGE_UNMAP ? QUEUE_ZERO_UNMAP : QUEUE_ZERO);
	return 0;
}

static const struct blk_kind kinds[] = {
	{ VIRTIO_BLK_T_IN, "read", false, read_in, prepare_in },
	{ VIRTIO_BLK_T_OUT, "write", true, read_out, prepare_out },
	{ VIRTIO_BLK_T_FLUSH, "flush", true, NULL, prepare_flush },
	{ VIRTIO_BLK_T_GET_ID, "get id", false, read_id, NULL },
	{ VIRTIO_BLK_T_DISCARD, "discard", true, read_discard,
	  prepare_discard },
	{ VIRTIO_BLK_T_WRITE_ZEROES, "write zeroes", true, read_zeroes,
	  prepare_zeroes },
};

static const struct blk_kind *kind_of(uint32_t type)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].type == type)
			return &kinds[i];
	return NULL;
}

/* -- the way of a request -- */

static void refuse(struct blk_request *r, int rc)
{
	struct virtio_blk *b = blk_of(r);

	log_limited(&b->errors, "%s: %s at sector %llu: %s", b->virtio.name,
		    r->kind->name, (unsigned long long)r->sector,
		    strerror(-rc));
	blk_answer(r, VIRTIO_BLK_S_IOERR);
}

/* Whether a failure RC is to wait for a person rather than be answered. */
static bool stalls(const struct blk_request *r, int rc)
{
	const struct virtio_blk *b = blk_of(r);

	if (!r->kind->changes || b->stopping)
		return false;
	switch (b->conf.werror) {
	case BLK_STALL_FULL:
		return rc == -ENOSPC || rc == -EDQUOT;
	case BLK_STALL_ALL:
		return rc != -EROFS;
	case BLK_STALL_NONE:
		return false;
	}
	return false;
}

static void on_done(struct queue_io *io, int rc)
{
	struct blk_request *r = container_of(io, struct blk_request, io);

	if (rc < 0 && stalls(r, rc)) {
		blk_park(r, rc);
		return;
	}
	if (rc < 0) {
		refuse(r, rc);
		return;
	}
	if (++r->done < r->ranges)
		blk_run(r);
	else
		blk_answer(r, VIRTIO_BLK_S_OK);
}

static bool must_be_durable(const struct virtio_blk *b)
{
	if (b->conf.cache == BLK_UNSAFE)
		return false;
	return !virtio_has(&b->virtio, VIRTIO_BLK_F_FLUSH) || !b->writeback;
}

void blk_run(struct blk_request *r)
{
	struct virtio_blk *b = blk_of(r);
	bool idle = r->kind->type == VIRTIO_BLK_T_FLUSH &&
		b->conf.cache == BLK_UNSAFE;
	int rc = 0;

	if (r->kind->prepare && !idle)
		rc = r->kind->prepare(r);
	if (rc < 0) {
		refuse(r, rc);
		return;
	}
	if (!r->kind->prepare || idle) {
		blk_answer(r, VIRTIO_BLK_S_OK);
		return;
	}
	r->io.durable = r->kind->changes && must_be_durable(b);
	r->io.done = on_done;
	queue_submit(r->queue->io, &r->io);
}

bool blk_counts(const struct blk_request *r, uint64_t *bytes)
{
	uint32_t type = r->kind->type;

	*bytes = type == VIRTIO_BLK_T_IN ? in_bytes(r) :
		type == VIRTIO_BLK_T_OUT ? out_bytes(r) : 0;
	return type != VIRTIO_BLK_T_FLUSH && type != VIRTIO_BLK_T_GET_ID;
}

/* The status is the last byte of what the device writes. */
int blk_read_request(struct blk_request *r)
{
	struct virtio *v = &blk_of(r)->virtio;
	struct blk_header h;
	int rc;

	r->ranges = r->done = 0;
	if (!r->chain.in_len) {
		virtio_break(v, "request without room for a status");
		return -EPROTO;
	}
	if (chain_read(v, &r->chain, 0, &h, sizeof(h)) != sizeof(h)) {
		blk_answer(r, VIRTIO_BLK_S_IOERR);
		return -EINVAL;
	}
	r->sector = get_le64(h.sector);
	r->kind = kind_of(get_le32(h.type));
	rc = !r->kind ? UNSUPPORTED : r->kind->read ? r->kind->read(r) : 0;
	if (rc == UNSUPPORTED)
		blk_answer(r, VIRTIO_BLK_S_UNSUPP);
	else if (rc < 0)
		refuse(r, rc);
	return rc;
}
