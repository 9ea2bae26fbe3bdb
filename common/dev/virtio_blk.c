/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio_blk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/err.h"
#include "base/section.h"
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

static void end_rest(struct blk_queue *q)
{
	q->quiet = false;
}

static void blk_stop(struct virtio *v)
{
	struct virtio_blk *b = blk_of(v);

	pthread_mutex_lock(&b->rest_lock);
	b->stopping = true;
	pthread_cond_broadcast(&b->rest);
	pthread_mutex_unlock(&b->rest_lock);
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

/* -- saving and loading -- */

static void blk_save(struct virtio *v, struct section_out *s)
{
	struct virtio_blk *b = blk_of(v);

	put_u64(s, block_bytes(b->disk));
	put_u32(s, b->disk->block_size);
	put_u8(s, b->disk->readonly);
	put_u8(s, b->writeback);
}

/* The disk is what it was; or larger, of which the driver will be told. */
static int blk_load(struct virtio *v, struct section *s)
{
	struct virtio_blk *b = blk_of(v);
	uint64_t size = get_u64(s), now = block_bytes(b->disk);
	uint32_t block_size = get_u32(s);
	bool readonly = get_u8(s), writeback = get_u8(s);

	if (s->failed || !size)
		return section_done(s, true);
	if (block_size != b->disk->block_size ||
	    readonly != b->disk->readonly || now < size)
		return fail(E_CONFIG, "%s: not the disk that was saved: "
			    "%s", v->name, now < size ? "smaller" :
			    readonly != b->disk->readonly ?
			    "read-only or not" : "other blocks");
	b->writeback = writeback;
	v->news = now != size;
	if (v->news)
		__atomic_fetch_add(&v->config_generation, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static struct blk_shape shape_of(const struct block *d)
{
	return (struct blk_shape){
		.bytes = block_bytes(d), .block_size = d->block_size,
		.readonly = d->readonly,
	};
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
		.save = blk_save,
		.load = blk_load,
	};
	bool bells = true;
	int rc;

	assert(disk->block_size <= PHYSICAL_BLOCK);
	memset(b, 0, sizeof(*b));
	rc = virtio_init(&b->virtio, &ops, conf->queues, mem, name);
	if (rc < 0)
		return rc;
	b->disk = disk;
	b->shape = shape_of(disk);
	b->conf = *conf;
	memcpy(b->serial, conf->serial, strnlen(conf->serial, BLK_SERIAL));
	b->writeback = conf->cache != BLK_WRITETHROUGH;
	b->virtio.offered |= features(b);
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
		b->queue[i] = (struct blk_queue){
			.blk = b, .vq = &b->virtio.queue[i], .bell = -1,
		};
	limit_init(&b->limit, &conf->rates);
	pthread_mutex_init(&b->rest_lock, NULL);
	pthread_cond_init(&b->rest, NULL);
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
	pthread_cond_destroy(&b->rest);
	pthread_mutex_destroy(&b->rest_lock);
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

/* Until every thread waits; then none uses its queue. */
static void await_rest(struct virtio_blk *b)
{
	pthread_mutex_lock(&b->rest_lock);
	for (unsigned i = 0; i < b->virtio.nqueues; i++)
		while (b->queue[i].running && !b->queue[i].quiet)
			pthread_cond_wait(&b->rest, &b->rest_lock);
	pthread_mutex_unlock(&b->rest_lock);
}

static bool keeps_something(const struct virtio_blk *b)
{
	bool keeps = false;

	for (unsigned i = 0; i < b->virtio.nqueues; i++)
		keeps |= b->queue[i].running && b->queue[i].parked;
	return keeps;
}

int virtio_blk_quiesce(struct virtio_blk *b)
{
	bool keeps;

	pthread_mutex_lock(&b->virtio.lock);
	b->pausing = true;
	each_queue(b, blk_queue_ring);
	await_rest(b);
	keeps = keeps_something(b);
	pthread_mutex_unlock(&b->virtio.lock);
	if (!keeps)
		return 0;
	virtio_blk_unquiesce(b);
	return fail(E_BUSY, "%s keeps what it could not write (make room, "
		    "vm-resume)", b->virtio.name);
}

void virtio_blk_unquiesce(struct virtio_blk *b)
{
	pthread_mutex_lock(&b->rest_lock);
	b->pausing = false;
	each_queue(b, end_rest);
	pthread_cond_broadcast(&b->rest);
	pthread_mutex_unlock(&b->rest_lock);
}

static bool same_shape(const struct blk_shape *a, const struct block *d)
{
	struct blk_shape b = shape_of(d);

	return a->bytes == b.bytes && a->block_size == b.block_size &&
		a->readonly == b.readonly;
}

/* What each thread at rest is to use; the one before it comes back. */
static void swap_queues(struct virtio_blk *b, struct queue *io[VIRTIO_QUEUES])
{
	for (unsigned i = 0; i < b->virtio.nqueues; i++) {
		struct queue *old = b->queue[i].io;

		if (!b->queue[i].running)
			continue;
		b->queue[i].io = io[i];
		io[i] = old;
	}
}

static int replace(struct virtio_blk *b, struct block *disk)
{
	struct queue *io[VIRTIO_QUEUES] = { 0 };
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < b->virtio.nqueues; i++)
		if (b->queue[i].running)
			rc = queue_open(&io[i], disk, b->queue[i].vq->size,
					!b->conf.threads);
	if (rc == 0) {
		swap_queues(b, io);
		b->disk = disk;
	}
	for (unsigned i = 0; i < b->virtio.nqueues; i++)
		queue_close(io[i]);
	return rc;
}

int virtio_blk_set_disk(struct virtio_blk *b, struct block *disk)
{
	int rc;

	assert(b->pausing);
	if (!same_shape(&b->shape, disk))
		return fail(E_CONFIG, "%s: the other disk has another size or "
			    "kind", b->virtio.name);
	pthread_mutex_lock(&b->virtio.lock);
	rc = replace(b, disk);
	pthread_mutex_unlock(&b->virtio.lock);
	return rc < 0 ? fail_in(rc, "%s", b->virtio.name) : 0;
}

int virtio_blk_resize(struct virtio_blk *b, uint64_t size)
{
	int rc = 0;

	pthread_mutex_lock(&b->virtio.lock);
	if (size < block_bytes(b->disk))
		rc = fail(E_CONFIG, "a running VM's disk only grows");
	else if (size > block_bytes(b->disk))
		rc = block_resize(b->disk, size);
	if (rc == 0)
		b->shape.bytes = block_bytes(b->disk);
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
