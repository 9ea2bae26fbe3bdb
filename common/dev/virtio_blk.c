/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio_blk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/err.h"
#include "dev/blk_queue.h"

/* What the host's page cache and most disks work with. */
enum { PHYSICAL_BLOCK = 4096 };

static struct virtio_blk *blk_of(struct virtio *v)
{
	return container_of(v, struct virtio_blk, virtio);
}

/* -- configuration space -- */

static void config_read(struct virtio *v, uint32_t off, void *buf,
			uint32_t len)
{
	struct virtio_blk *b = blk_of(v);
	uint32_t size = b->disk->block_size;
	struct virtio_blk_config c = {
		.capacity = to_le64(block_bytes(b->disk) / BLK_SECTOR),
		/* Header and status need one each. */
		.seg_max = to_le32(VIRTQ_SEGS - 2),
		.blk_size = to_le32(size),
		.physical_block_exp = __builtin_ctz(PHYSICAL_BLOCK / size),
		.writeback = b->writeback,
		.num_queues = to_le16(v->nqueues),
		.max_discard_sectors = to_le32(BLK_RANGE_SECTORS),
		.max_discard_seg = to_le32(BLK_RANGES),
		.discard_sector_alignment = to_le32(size / BLK_SECTOR),
		.max_write_zeroes_sectors = to_le32(BLK_RANGE_SECTORS),
		.max_write_zeroes_seg = to_le32(BLK_RANGES),
		.write_zeroes_may_unmap = 1,
	};

	memcpy(buf, (const char *)&c + off, len);
}

/* Only whether the cache is write-back is the driver's to say (5.2.5.2). */
static void config_write(struct virtio *v, uint32_t off, const void *buf,
			 uint32_t len)
{
	uint32_t at = offsetof(struct virtio_blk_config, writeback);

	if (off <= at && at - off < len &&
	    virtio_has(v, VIRTIO_BLK_F_CONFIG_WCE))
		blk_of(v)->writeback = ((const uint8_t *)buf)[at - off];
}

/* -- starting and stopping -- */

static void each_queue(struct virtio_blk *b, void (*fn)(struct blk_queue *q))
{
	for (unsigned i = 0; i < b->virtio.nqueues; i++)
		fn(&b->queue[i]);
}

static void blk_stop(struct virtio *v)
{
	struct virtio_blk *b = blk_of(v);

	b->stopping = true;
	each_queue(b, blk_queue_ring);
	each_queue(b, blk_queue_join);
	b->stall = 0;
	b->writeback = b->conf.cache != BLK_WRITETHROUGH;
}

static int blk_start(struct virtio *v)
{
	struct virtio_blk *b = blk_of(v);
	int rc = 0;

	b->stopping = false;
	for (unsigned i = 0; rc == 0 && i < v->nqueues; i++)
		if (v->queue[i].enabled)
			rc = blk_queue_start(&b->queue[i]);
	if (rc < 0)
		blk_stop(v);
	return rc;
}

static void open_bell(struct blk_queue *q)
{
	q->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void close_bell(struct blk_queue *q)
{
	close_fd(&q->bell);
}

static uint64_t features(const struct virtio_blk *b)
{
	uint64_t f = VIRTIO_F_BIT(VIRTIO_BLK_F_SEG_MAX) |
		VIRTIO_F_BIT(VIRTIO_BLK_F_BLK_SIZE) |
		VIRTIO_F_BIT(VIRTIO_BLK_F_TOPOLOGY);

	if (b->virtio.nqueues > 1)
		f |= VIRTIO_F_BIT(VIRTIO_BLK_F_MQ);
	if (b->disk->readonly)
		return f | VIRTIO_F_BIT(VIRTIO_BLK_F_RO);
	if (b->conf.cache != BLK_WRITETHROUGH)
		f |= VIRTIO_F_BIT(VIRTIO_BLK_F_FLUSH) |
			VIRTIO_F_BIT(VIRTIO_BLK_F_CONFIG_WCE);
	return f | VIRTIO_F_BIT(VIRTIO_BLK_F_DISCARD) |
		VIRTIO_F_BIT(VIRTIO_BLK_F_WRITE_ZEROES);
}

int virtio_blk_init(struct virtio_blk *b, const struct mem *mem,
		    struct block *disk, const struct virtio_blk_conf *conf,
		    const char *name)
{
	static const struct virtio_ops ops = {
		.name = "blk",
		.id = 2,
		.pci_class = 0x018000,
		.config_size = sizeof(struct virtio_blk_config),
		.config_read = config_read,
		.config_write = config_write,
		.start = blk_start,
		.stop = blk_stop,
	};
	bool bells = true;
	int rc;

	assert(disk->block_size <= PHYSICAL_BLOCK);
	memset(b, 0, sizeof(*b));
	rc = virtio_init(&b->virtio, &ops, conf->queues, mem, name);
	if (rc < 0)
		return rc;
	b->disk = disk;
	b->conf = *conf;
	memcpy(b->serial, conf->serial, strnlen(conf->serial, BLK_SERIAL));
	b->writeback = conf->cache != BLK_WRITETHROUGH;
	b->virtio.offered |= features(b);
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
		b->queue[i] = (struct blk_queue){
			.blk = b, .vq = &b->virtio.queue[i], .bell = -1,
		};
	limit_init(&b->limit, &conf->rates);
	each_queue(b, open_bell);
	for (unsigned i = 0; i < conf->queues; i++)
		bells = bells && b->queue[i].bell >= 0;
	if (bells)
		return 0;
	rc = fail_sys("%s: eventfd", name);
	virtio_blk_release(b);
	return rc;
}

void virtio_blk_release(struct virtio_blk *b)
{
	virtio_release(&b->virtio);
	each_queue(b, close_bell);
	limit_release(&b->limit);
}

/* -- what people ask for -- */

static void try_again(struct blk_queue *q)
{
	q->again = true;
	blk_queue_ring(q);
}

void virtio_blk_retry(struct virtio_blk *b)
{
	b->stall = 0;
	each_queue(b, try_again);
}

int virtio_blk_resize(struct virtio_blk *b, uint64_t size)
{
	int rc = 0;

	pthread_mutex_lock(&b->virtio.lock);
	if (size < block_bytes(b->disk))
		rc = fail(E_CONFIG, "a running VM's disk only grows");
	else if (size > block_bytes(b->disk))
		rc = block_resize(b->disk, size);
	pthread_mutex_unlock(&b->virtio.lock);
	if (rc < 0)
		return fail_in(rc, "%s", b->virtio.name);
	virtio_config_changed(&b->virtio);
	return 0;
}

void virtio_blk_limit(struct virtio_blk *b, const struct limit_rates *rates)
{
	limit_set(&b->limit, rates);
	each_queue(b, blk_queue_ring);
}
