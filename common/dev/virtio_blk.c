/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/virtio_blk.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/err.h"
#include "base/loop.h"

enum { STACK_BYTES = 128 << 10 };

/* virtio 1.2, 5.2.4, as far as our features go. */
struct blk_config {
	le64 capacity;			/* sectors */
	le32 size_max, seg_max;
	le16 cylinders;
	uint8_t heads, sectors;
	le32 blk_size;
};
static_assert(sizeof(struct blk_config) == 24, "virtio 1.2, 5.2.4");

/* virtio 1.2, 5.2.6. */
struct blk_header {
	le32 type, reserved;
	le64 sector;
};
static_assert(sizeof(struct blk_header) == 16, "virtio 1.2, 5.2.6");

static struct virtio_blk *blk_of(struct virtio *v)
{
	return container_of(v, struct virtio_blk, virtio);
}

static void config_read(struct virtio *v, uint32_t off, void *buf,
			uint32_t len)
{
	const struct block *disk = blk_of(v)->disk;
	struct blk_config c = {
		.capacity = to_le64(disk->size / BLK_SECTOR),
		/* Header and status need one each. */
		.seg_max = to_le32(VIRTQ_SEGS - 2),
		.blk_size = to_le32(disk->block_size),
	};

	memcpy(buf, (const char *)&c + off, len);
}

/* --------------------------------------------------------- the requests */

/* Compared in sectors: bytes might not fit 64 bits. */
static bool on_disk(const struct virtio_blk *b, uint64_t sector, uint64_t len)
{
	return len % BLK_SECTOR == 0 &&
		in_range(sector, len / BLK_SECTOR, b->disk->size / BLK_SECTOR);
}

static int blk_read(struct virtio_blk *b, uint64_t sector)
{
	uint64_t len = b->chain.in_len - 1;
	int n = chain_in_iov(&b->virtio, &b->chain, 0, len, b->iov,
			     VIRTQ_SEGS);

	if (n < 0 || !on_disk(b, sector, len))
		return -EINVAL;
	return block_readv(b->disk, b->iov, n, sector * BLK_SECTOR);
}

static int blk_write(struct virtio_blk *b, uint64_t sector)
{
	uint64_t len = b->chain.out_len - sizeof(struct blk_header);
	int n = chain_out_iov(&b->virtio, &b->chain,
			      sizeof(struct blk_header), len, b->iov,
			      VIRTQ_SEGS);
	int rc;

	if (n < 0 || !on_disk(b, sector, len))
		return -EINVAL;
	rc = block_writev(b->disk, b->iov, n, sector * BLK_SECTOR);
	if (rc == 0 && !virtio_has(&b->virtio, VIRTIO_BLK_F_FLUSH))
		rc = block_flush(b->disk);
	return rc;
}

static int blk_flush(struct virtio_blk *b, uint64_t sector)
{
	(void)sector;
	return block_flush(b->disk);
}

static int blk_get_id(struct virtio_blk *b, uint64_t sector)
{
	uint64_t room = b->chain.in_len - 1;

	(void)sector;
	chain_write(&b->virtio, &b->chain, 0, b->serial,
		    min_u64(room, BLK_SERIAL));
	return 0;
}

static const struct {
	uint32_t type;
	const char *name;	/* for the log */
	int (*run)(struct virtio_blk *b, uint64_t sector);
} requests[] = {
	{ VIRTIO_BLK_T_IN, "read", blk_read },
	{ VIRTIO_BLK_T_OUT, "write", blk_write },
	{ VIRTIO_BLK_T_FLUSH, "flush", blk_flush },
	{ VIRTIO_BLK_T_GET_ID, "get id", blk_get_id },
};

/* Carries out the request in b->chain; its status. */
static uint8_t run_request(struct virtio_blk *b)
{
	struct blk_header h;
	uint64_t sector;
	int rc;

	if (chain_read(&b->virtio, &b->chain, 0, &h, sizeof(h)) != sizeof(h))
		return VIRTIO_BLK_S_IOERR;
	sector = get_le64(h.sector);
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		if (requests[i].type != get_le32(h.type))
			continue;
		rc = requests[i].run(b, sector);
		if (rc == 0)
			return VIRTIO_BLK_S_OK;
		log_limited(&b->errors, "%s: %s at sector %llu: %s",
			    b->virtio.name, requests[i].name,
			    (unsigned long long)sector, strerror(-rc));
		return VIRTIO_BLK_S_IOERR;
	}
	return VIRTIO_BLK_S_UNSUPP;
}

/*
 * Answers the request in b->chain. The length given back reaches up to the
 * status, which is the last byte. 0 or -EPROTO: the device is broken.
 */
static int answer(struct virtio_blk *b)
{
	struct virtq_chain *c = &b->chain;
	uint8_t status;

	if (!c->in_len) {
		virtio_break(&b->virtio, "request without room for a status");
		return -EPROTO;
	}
	status = run_request(b);
	chain_write(&b->virtio, c, c->in_len - 1, &status, sizeof(status));
	return virtq_push(&b->virtio.queue[0], c, c->in_len);
}

/* ------------------------------------------------------------ the thread */

/* Until nothing is available, the device is broken, or it is to stop. */
static void serve(struct virtio_blk *b)
{
	struct virtq *q = &b->virtio.queue[0];
	uint64_t now, first = now_ns();

	while (!b->stopping && virtq_pop(q, &b->chain) > 0) {
		if (answer(b) < 0)
			return;
		now = now_ns();
		if (now - first < BLK_SIGNAL_NS)
			continue;
		virtq_signal(q);
		first = now;
	}
	virtq_signal(q);
}

static void wait_for_kick(struct virtio_blk *b)
{
	struct pollfd p[] = {
		{ .fd = b->virtio.queue[0].kick, .events = POLLIN },
		{ .fd = b->stop_fd, .events = POLLIN },
	};
	uint64_t kicks;

	poll(p, ARRAY_SIZE(p), -1);
	(void)!read(p[0].fd, &kicks, sizeof(kicks));
}

static void *io_thread(void *arg)
{
	struct virtio_blk *b = arg;
	struct virtq *q = &b->virtio.queue[0];

	while (!b->stopping) {
		virtq_want_kick(q, false);
		serve(b);
		virtq_want_kick(q, true);
		if (!virtq_pending(q))
			wait_for_kick(b);
	}
	return NULL;
}

static int blk_start(struct virtio *v)
{
	struct virtio_blk *b = blk_of(v);
	pthread_attr_t attr;
	sigset_t all;
	int rc;

	b->stopping = false;
	sigfillset(&all);	/* signals are for other threads */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setsigmask_np(&attr, &all);
	rc = pthread_create(&b->thread, &attr, io_thread, b);
	pthread_attr_destroy(&attr);
	if (rc)
		return -rc;
	b->running = true;
	pthread_setname_np(b->thread, v->name);
	return 0;
}

static void blk_stop(struct virtio *v)
{
	static const uint64_t one = 1;
	struct virtio_blk *b = blk_of(v);
	uint64_t n;

	if (!b->running)
		return;
	b->stopping = true;
	(void)!write(b->stop_fd, &one, sizeof(one));
	pthread_join(b->thread, NULL);
	b->running = false;
	(void)!read(b->stop_fd, &n, sizeof(n));
}

int virtio_blk_init(struct virtio_blk *b, const struct mem *mem,
		    struct block *disk, const char *serial, const char *name)
{
	static const struct virtio_ops ops = {
		.name = "blk",
		.id = 2,
		.pci_class = 0x018000,
		.nqueues = 1,
		.features = VIRTIO_F_BIT(VIRTIO_BLK_F_SEG_MAX) |
			VIRTIO_F_BIT(VIRTIO_BLK_F_BLK_SIZE) |
			VIRTIO_F_BIT(VIRTIO_BLK_F_FLUSH),
		.config_size = sizeof(struct blk_config),
		.config_read = config_read,
		.start = blk_start,
		.stop = blk_stop,
	};
	int rc;

	memset(b, 0, sizeof(*b));
	b->disk = disk;
	memcpy(b->serial, serial, strnlen(serial, BLK_SERIAL));
	b->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->stop_fd < 0)
		return fail_sys("%s: eventfd", name);
	rc = virtio_init(&b->virtio, &ops, mem, name);
	if (rc < 0) {
		close(b->stop_fd);
		return rc;
	}
	if (disk->readonly)
		b->virtio.offered |= VIRTIO_F_BIT(VIRTIO_BLK_F_RO);
	return 0;
}

void virtio_blk_release(struct virtio_blk *b)
{
	virtio_release(&b->virtio);
	close(b->stop_fd);
}
