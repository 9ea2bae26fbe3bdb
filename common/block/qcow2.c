/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2.c - an image is opened, flushed and closed.
 */
#include "block/qcow2_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"

/* -- the file -- */

int qcow2_put(struct qcow2 *q, const void *data, size_t len, uint64_t off)
{
	q->writes++;
	return pwrite_all(q->fd, data, len, off);
}

/*
 * Linux reports a page that could not be written once and then drops it; the
 * next sync would succeed over lost data. So the first error stays.
 */
static int file_sync(const struct qcow2 *q)
{
	int rc;

	while ((rc = fdatasync(q->fd)) < 0 && errno == EINTR)
		;
	return rc < 0 ? -errno : 0;
}

static int synced(struct qcow2 *q, uint64_t writes, int rc)
{
	if (rc < 0 && !q->lost)
		q->lost = rc;
	if (!q->lost)
		q->durable = max_u64(q->durable, writes);
	return q->lost;
}

int qcow2_barrier(struct qcow2 *q)
{
	if (q->lost || q->durable == q->writes)
		return q->lost;
	return synced(q, q->writes, file_sync(q));
}

int qcow2_sync_unlocked(struct qcow2 *q)
{
	uint64_t writes = q->writes;
	int rc;

	pthread_mutex_unlock(&q->lock);
	rc = file_sync(q);
	pthread_mutex_lock(&q->lock);
	return synced(q, writes, rc);
}

static int put_features(struct qcow2 *q, uint64_t bits)
{
	be64 disk = to_be64(bits);

	q->h.incompatible = bits;
	return qcow2_put(q, &disk, sizeof(disk),
			 offsetof(struct qcow2_disk_header, incompatible));
}

int qcow2_damaged(struct qcow2 *q, const char *what, uint64_t where)
{
	if (q->corrupt)
		return -EIO;
	q->corrupt = true;
	log_line("disk %s: damaged: %s (0x%" PRIx64 ")%s", q->path, what,
		 where, q->block.readonly ? "" :
		 "; nothing more is written to it");
	if (!q->block.readonly)
		put_features(q, q->h.incompatible | QCOW2_CORRUPT);
	return -EIO;
}

/* -- flush, close -- */

/* What tables still hold is lost when the image turned out to be damaged. */
static int flushable(const struct qcow2 *q)
{
	return q->corrupt ? -EIO : q->lost;
}

/*
 * The first sync, for the data, is the long one: others go on meanwhile. What
 * they changed until it ended is written in a second, short one, which is not
 * needed when they changed nothing.
 */
int qcow2_flush(struct block *b)
{
	struct qcow2 *q = qcow2_of(b);
	uint64_t mark;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = flushable(q);
	if (rc == 0 && !q->lazy)
		rc = qcow2_refs_write(q);
	if (rc == 0)
		rc = qcow2_fresh_write(q);
	if (rc == 0)
		rc = qcow2_sync_unlocked(q);
	if (rc == 0)
		rc = flushable(q);
	if (rc == 0)
		rc = qcow2_tables_write(q);
	mark = qcow2_freed_mark(q);
	if (rc == 0 && q->durable < q->writes)
		rc = qcow2_sync_unlocked(q);
	if (rc == 0)
		qcow2_release(q, mark);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

int qcow2_settle(struct qcow2 *q)
{
	int rc = qcow2_flush(&q->block);

	if (rc == 0)
		rc = flushable(q);
	/*
	 * Others may still look, by tables they remember, where they were
	 * before; whoever comes now will not.
	 */
	if (rc == 0 && q->merger && lock_alone(q->fd)) {
		q->merger = false;
		qcow2_release(q, qcow2_freed_mark(q));
	}
	if (rc == 0)
		rc = qcow2_refs_write(q);
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc < 0 || !q->dirty)
		return rc;
	rc = put_features(q, q->h.incompatible & ~(uint64_t)QCOW2_DIRTY);
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc == 0)
		q->dirty = false;
	return rc;
}

static void release(struct qcow2 *q)
{
	pthread_mutex_destroy(&q->lock);
	pthread_mutex_destroy(&q->zlock);
	pthread_cond_destroy(&q->landed);
	qcow2_header_release(&q->h);
	qcow2_cache_release(&q->l2);
	qcow2_cache_release(&q->refs);
	free(q->meta.slot);
	free(q->l1);
	free(q->reftable);
	free(q->freed);
	free(q->zdata);
	free(q->path);
	close_fd(&q->fd);
	free(q);
}

static void qcow2_close(struct block *b)
{
	struct qcow2 *q = qcow2_of(b);

	if (!b->readonly)
		qcow2_settle(q);
	block_close(q->backing);
	release(q);
}

/* -- where the data lies -- */

/* What is to be read that this image has nothing of its own for. */
static int map_below(const struct qcow2 *q, uint64_t off, uint64_t len,
		     enum qcow2_kind kind, struct block_extent *e)
{
	if (kind == QCOW2_PACKED)
		return -EAGAIN;
	if (kind == QCOW2_NONE && qcow2_covered(q, off))
		return block_map(q->backing, off,
				 min_u64(len, q->backing->size - off), false,
				 e);
	*e = (struct block_extent){ .fd = -1, .len = len };
	return 0;
}

/* Of M, which says of LEN bytes where they lie. */
static int map_here(struct qcow2 *q, uint64_t len, const struct qcow2_map *m,
		    struct block_extent *e)
{
	/* A file may end within a cluster, unless we write to it. */
	if (q->block.readonly && !in_range(m->host, len, q->h.file_size))
		return -EAGAIN;
	*e = (struct block_extent){
		.fd = q->fd, .off = m->host, .len = len, .token = qcow2_pin(q),
	};
	return 0;
}

static int qcow2_map(struct block *b, uint64_t off, uint64_t len, bool write,
		     struct block_extent *e)
{
	struct qcow2 *q = qcow2_of(b);
	struct qcow2_map m;
	int rc = -EAGAIN;

	if (pthread_mutex_trylock(&q->lock))
		return -EAGAIN;
	if (!(write && q->corrupt))
		rc = qcow2_peek(q, off, len, &m);
	if (rc == 0 && write && !m.copied)
		rc = qcow2_map_new(q, off, len, &m, e);
	else if (rc == 0 && m.kind == QCOW2_DATA)
		rc = map_here(q, min_u64(len, m.len), &m, e);
	else if (rc == 0)
		rc = write ? -EAGAIN :
			map_below(q, off, min_u64(len, m.len), m.kind, e);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static int qcow2_unmap(struct block *b, struct block_extent *e)
{
	if (e->fd < 0)
		return 0;
	if (e->token > 1)
		return qcow2_unmap_new(qcow2_of(b), e);
	qcow2_unpin(qcow2_of(b), e->token);
	return 0;
}

static int qcow2_fd(const struct block *b)
{
	return container_of(b, struct qcow2, block)->fd;
}

bool qcow2_grew(struct qcow2 *q)
{
	uint64_t end = q->end;
	struct stat st;

	if (!q->block.readonly || fstat(q->fd, &st) < 0)
		return false;
	q->h.file_size = st.st_size;
	q->end = align_up(q->h.file_size, qcow2_cs(q));
	return q->end > end;
}

const struct block_ops qcow2_ops = {
	.name = "qcow2",
	.readv = qcow2_readv,
	.writev = qcow2_writev,
	.flush = qcow2_flush,
	.zero = qcow2_zero,
	.discard = qcow2_discard,
	.resize = qcow2_resize,
	.map = qcow2_map,
	.unmap = qcow2_unmap,
	.status = qcow2_status,
	.fd = qcow2_fd,
	.freeze = qcow2_freeze,
	.close = qcow2_close,
};

/* -- open -- */

static uint64_t *read_table(int fd, uint64_t off, uint64_t n, int *rc)
{
	autofree be64 *disk = calloc(n, sizeof(*disk));
	uint64_t *table;

	*rc = disk ? qcow2_read_table(fd, off, disk, n) : -ENOMEM;
	if (*rc < 0) {
		fail(-*rc, "%s", strerror(-*rc));
		return NULL;
	}
	/* In place: entry by entry, of one size. */
	table = (uint64_t *)disk;
	for (uint64_t i = 0; i < n; i++)
		table[i] = get_be64(disk[i]);
	disk = NULL;
	return table;
}

/* LEN bytes at OFF are a table's, and no other's. */
static int claim(struct qcow2 *q, uint64_t off, uint64_t len, const char *what)
{
	uint64_t mask = qcow2_cs(q) - 1;

	if (off & mask || !in_range(off, len, q->end))
		return fail(E_VERIFY, "damaged: the place of %s (0x%" PRIx64
			    ")", what, off);
	for (uint64_t at = off; at < off + len; at += qcow2_cs(q)) {
		int rc = qcow2_set_add(&q->meta, at >> q->h.cluster_bits);

		if (rc == -EEXIST)
			return fail(E_VERIFY, "damaged: %s lies over another "
				    "table (0x%" PRIx64 ")", what, at);
		if (rc < 0)
			return fail(ENOMEM, "out of memory");
	}
	return 0;
}

static int claim_snapshots(struct qcow2 *q)
{
	autofree struct qcow2_snapshot *list = NULL;
	uint64_t bytes;
	int rc = qcow2_snapshots_read(q->fd, &q->h, &list, &bytes);

	if (rc == 0)
		rc = claim(q, q->h.snapshots_off, bytes, "the snapshot table");
	for (unsigned i = 0; rc == 0 && i < q->h.snapshots; i++)
		rc = claim(q, list[i].l1_off, list[i].l1_n * sizeof(be64),
			   "a snapshot's L1 table");
	return rc;
}

/* The tables that TABLE names, whose entries may have FLAGS. */
static int claim_named(struct qcow2 *q, const uint64_t *table, uint64_t n,
		       uint64_t flags, const char *what)
{
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < n; i++)
		if (table[i])
			rc = claim(q, table[i] & ~flags, qcow2_cs(q), what);
	return rc;
}

/* A writer knows every cluster that must not be taken for data. */
static int claim_all(struct qcow2 *q)
{
	const struct qcow2_header *h = &q->h;
	int rc = claim(q, 0, qcow2_cs(q), "the header");

	if (rc == 0)
		rc = claim(q, h->l1_off, h->l1_n * sizeof(be64),
			   "the L1 table");
	if (rc == 0)
		rc = claim(q, h->reftable_off, h->reftable_n * sizeof(be64),
			   "the refcount table");
	if (rc == 0)
		rc = claim_named(q, q->reftable, h->reftable_n, 0,
				 "a refcount block");
	if (rc == 0)
		rc = claim_named(q, q->l1, h->l1_n, QCOW2_COPIED,
				 "an L2 table");
	return rc < 0 ? rc : claim_snapshots(q);
}

/* Features that we do not keep right must not look as if they were. */
static int clear_autoclear(struct qcow2 *q)
{
	be64 none = to_be64(0);
	int rc = 0;

	if (q->h.autoclear)
		rc = qcow2_put(q, &none, sizeof(none),
			       offsetof(struct qcow2_disk_header, autoclear));
	if (rc == 0)
		rc = qcow2_barrier(q);
	q->h.autoclear = 0;
	return rc < 0 ? fail(-rc, "%s", strerror(-rc)) : 0;
}

static int writable(const struct qcow2 *q)
{
	if (q->h.version < 3)
		return fail(E_CONFIG, "a qcow2 image of version 2, which can "
			    "only be read (qemu-img amend -o compat=v3)");
	if (q->h.incompatible & QCOW2_CORRUPT)
		return fail(E_VERIFY, "marked as damaged (qemu-img check)");
	return 0;
}

static int prepare_writer(struct qcow2 *q)
{
	int rc = writable(q);

	if (rc == 0)
		rc = clear_autoclear(q);
	if (rc == 0 && q->h.incompatible & QCOW2_DIRTY) {
		rc = qcow2_rebuild(q->fd, &q->h);
		q->end = align_up(q->h.file_size, qcow2_cs(q));
	}
	if (rc < 0)
		return rc;
	/* From here on, each cluster before the end is there as a whole. */
	if (ftruncate(q->fd, q->end) < 0)
		return fail(errno, "%s", strerror(errno));
	/* Beside readers, refcounts are right at every time. */
	q->lazy = q->h.compatible & QCOW2_LAZY && !q->merger;
	q->reftable = read_table(q->fd, q->h.reftable_off, q->h.reftable_n,
				 &rc);
	return rc < 0 ? rc : claim_all(q);
}

int qcow2_fit_backing(struct qcow2 *q, const struct block *backing)
{
	if (!backing || backing->block_size <= q->block.block_size)
		return 0;
	if (backing->block_size > qcow2_cs(q) ||
	    q->h.size % backing->block_size)
		return fail(E_CONFIG, "does not fit the blocks of its backing "
			    "file, %u bytes", backing->block_size);
	q->block.block_size = backing->block_size;
	return 0;
}

static int check_backing(struct qcow2 *q, const struct block *backing)
{
	if (!q->h.backing && backing)
		return fail(E_CONFIG, "has no backing file");
	if (q->h.backing && !backing)
		return fail(E_CONFIG, "lacks its backing file '%s'",
			    q->h.backing);
	return qcow2_fit_backing(q, backing);
}

static int prepare(struct qcow2 *q, const struct block *backing)
{
	int rc = qcow2_header_read(q->fd, &q->h);

	if (rc == 0)
		rc = check_backing(q, backing);
	if (rc < 0)
		return rc;
	q->end = align_up(q->h.file_size, qcow2_cs(q));
	q->block.size = q->h.size;
	q->l1 = read_table(q->fd, q->h.l1_off, q->h.l1_n, &rc);
	if (rc == 0 && (qcow2_cache_init(&q->l2, &q->h,
					 qcow2_tables_write) < 0 ||
			qcow2_cache_init(&q->refs, &q->h,
					 qcow2_refs_write) < 0))
		rc = fail(ENOMEM, "out of memory");
	if (rc == 0 && !q->block.readonly)
		rc = prepare_writer(q);
	return rc;
}

static struct qcow2 *make(const char *path, enum lock_use use)
{
	struct qcow2 *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->fd = -1;
	q->path = strdup(path);
	q->block = (struct block){
		.ops = &qcow2_ops, .block_size = QCOW2_SECTOR,
		.readonly = use == LOCK_READER,
	};
	q->merger = use == LOCK_MERGER;
	pthread_mutex_init(&q->lock, NULL);
	pthread_mutex_init(&q->zlock, NULL);
	pthread_cond_init(&q->landed, NULL);
	return q;
}

static int open_image(struct block **out, int dirfd, const char *path,
		      int flags, enum lock_use use, struct block *backing)
{
	struct qcow2 *q = make(path, use);
	int rc;

	if (!q || !q->path) {
		if (q)
			release(q);
		return fail(ENOMEM, "%s: out of memory", path);
	}
	flags |= use == LOCK_READER ? O_RDONLY : O_RDWR;
	rc = q->fd = file_open(dirfd, path, flags, 0);
	if (rc < 0) {
		release(q);
		return rc;
	}
	rc = lock_disk(q->fd, use);
	if (rc == 0)
		rc = prepare(q, backing);
	if (rc < 0) {
		release(q);
		return fail_in(rc, "%s", path);
	}
	q->backing = backing;
	*out = &q->block;
	return 0;
}

int qcow2_open(struct block **out, const char *path, bool readonly,
	       struct block *backing)
{
	return open_image(out, AT_FDCWD, path, 0,
			  readonly ? LOCK_READER : LOCK_WRITER, backing);
}

int qcow2_open_at(struct block **out, int dirfd, const char *name,
		  enum lock_use use, struct block *backing)
{
	return open_image(out, dirfd, name, O_NOFOLLOW, use, backing);
}
