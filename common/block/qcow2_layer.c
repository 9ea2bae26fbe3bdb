/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_layer.c - what chains of images need: one is frozen, gets another one
 * below it, says what it has of its own.
 */
#include "block/qcow2_int.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"

bool qcow2_is(const struct block *b)
{
	return b->ops == &qcow2_ops;
}

struct block *qcow2_below(const struct block *b)
{
	return container_of(b, struct qcow2, block)->backing;
}

int qcow2_set_backing(struct block *b, struct block *backing)
{
	struct qcow2 *q = qcow2_of(b);
	int rc = qcow2_fit_backing(q, backing);

	if (rc < 0)
		return rc;
	block_close(q->backing);
	q->backing = backing;
	return 0;
}

int qcow2_allocated(struct block *b, uint64_t off, uint64_t len, uint64_t *n)
{
	struct qcow2 *q = qcow2_of(b);
	struct qcow2_map m;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qcow2_lookup(q, off, len, &m);
	pthread_mutex_unlock(&q->lock);
	if (rc < 0)
		return rc;
	*n = m.len;
	if (m.kind == QCOW2_PACKED)
		*n = min_u64(len, qcow2_cs(q) - (off & (qcow2_cs(q) - 1)));
	return m.kind != QCOW2_NONE;
}

int qcow2_hide(struct block *b, uint64_t off, uint64_t len)
{
	if (b->readonly)
		return -EROFS;
	return qcow2_wipe(qcow2_of(b), off, len, block_bytes(b),
			  QCOW2_WIPE_HIDE);
}

/* Others may read it from here on, so nothing in it changes place any more. */
int qcow2_freeze(struct block *b)
{
	struct qcow2 *q = qcow2_of(b);
	struct stat st;
	int rc = qcow2_settle(q);

	if (rc == 0 && fstat(q->fd, &st) < 0)
		rc = -errno;
	if (rc == 0)
		rc = lock_disk(q->fd, LOCK_READER);
	if (rc < 0)
		return rc;
	q->h.file_size = st.st_size;
	return 0;
}

/* -- another backing file, on disk -- */

/* Whether all that stands behind the header can be written anew, or left out. */
static int check_extensions(int fd, const struct qcow2_disk_header *d,
			    uint64_t off)
{
	uint64_t end = 1ULL << get_be32(d->cluster_bits);
	struct qcow2_extension e;

	if (get_be64(d->backing_off))
		end = get_be64(d->backing_off);
	for (; in_range(off, sizeof(e), end); off = align_up(off, 8)) {
		int rc = pread_all(fd, &e, sizeof(e), off);

		if (rc < 0)
			return fail(-rc, "%s", strerror(-rc));
		switch (get_be32(e.type)) {
		case 0:
			return 0;
		case (uint32_t)QCOW2_EXT_BACKING_FORMAT:
		case (uint32_t)QCOW2_EXT_FEATURE_NAMES:
			break;
		default:
			return fail(E_CONFIG, "its header has an extension "
				    "(0x%x) that would be lost",
				    get_be32(e.type));
		}
		off += sizeof(e) + get_be32(e.len);
	}
	return 0;
}

static int new_header(int fd, struct buf *b, const char *backing,
		      const char *format)
{
	unsigned char sector[QCOW2_SECTOR];
	const struct qcow2_disk_header *d = (const void *)sector;
	uint64_t length = QCOW2_V2_HEADER;
	int rc = pread_all(fd, sector, sizeof(sector), 0);

	if (rc < 0)
		return fail(-rc, "%s", strerror(-rc));
	if (get_be32(d->version) > 2)
		length = get_be32(d->length);
	rc = check_extensions(fd, d, length);
	if (rc < 0)
		return rc;
	if (length <= sizeof(sector)) {
		buf_add(b, sector, length);
		rc = qcow2_header_finish(b, backing, format);
	}
	if (rc == 0 && (length > sizeof(sector) || b->len > sizeof(sector)))
		return fail(E_CONFIG, "the backing file's name does not fit "
			    "the first %zu bytes", sizeof(sector));
	return rc;
}

static int put_header(int fd, const struct buf *b)
{
	unsigned char sector[QCOW2_SECTOR] = { 0 };
	int rc;

	memcpy(sector, b->data, b->len);
	rc = pwrite_all(fd, sector, sizeof(sector), 0);
	if (rc == 0 && fdatasync(fd) < 0)
		rc = -errno;
	return rc < 0 ? fail(-rc, "%s", strerror(-rc)) : 0;
}

int qcow2_rename_backing(struct block *b, const char *backing,
			 const char *format)
{
	autobuf struct buf header = BUF_INIT;
	int fd = qcow2_of(b)->fd, rc = new_header(fd, &header, backing, format);

	return rc < 0 ? rc : put_header(fd, &header);
}

int qcow2_rebase(int fd, const char *backing, const char *format)
{
	autobuf struct buf b = BUF_INIT;
	struct qcow2_header h;
	int rc = lock_disk(fd, LOCK_MERGER);

	if (rc == 0)
		rc = qcow2_header_read(fd, &h);
	if (rc < 0)
		return rc;
	qcow2_header_release(&h);
	rc = new_header(fd, &b, backing, format);
	return rc < 0 ? rc : put_header(fd, &b);
}
