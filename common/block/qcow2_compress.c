/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_compress.c - clusters that are compressed: read, never written.
 *
 * The cluster unpacked last is kept, for a guest that reads a cluster in small
 * pieces. It is known by its L2 entry, whose bytes in the file never change:
 * freed, they are used again for anything but this.
 */
#include "block/qcow2_int.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

/* Exactly OUT_LEN bytes; what follows them in the input does not matter. */
static int unpack_zlib(void *out, size_t out_len, const void *in,
		       size_t in_len)
{
	enum { WINDOW = -12 };		/* raw deflate; qcow2.txt */
	z_stream z = {
		.next_in = (Bytef *)in, .avail_in = in_len,
		.next_out = out, .avail_out = out_len,
	};
	int rc;

	if (inflateInit2(&z, WINDOW) != Z_OK)
		return -ENOMEM;
	rc = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	/* Z_BUF_ERROR: full, and the end of the stream not looked at. */
	if ((rc == Z_STREAM_END || rc == Z_BUF_ERROR) && !z.avail_out)
		return 0;
	return -EIO;
}

static int unpack_zstd(void *out, size_t out_len, const void *in,
		       size_t in_len)
{
	enum { WINDOW_MAX = 23 };	/* the memory a stream may ask for */
	ZSTD_outBuffer to = { out, out_len, 0 };
	ZSTD_inBuffer from = { in, in_len, 0 };
	ZSTD_DCtx *z = ZSTD_createDCtx();
	int rc = z ? 0 : -ENOMEM;

	if (rc == 0)
		ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_MAX);
	while (rc == 0 && to.pos < to.size) {
		size_t in_was = from.pos, out_was = to.pos;
		size_t left = ZSTD_decompressStream(z, &to, &from);

		if (ZSTD_isError(left) ||
		    (from.pos == in_was && to.pos == out_was))
			rc = -EIO;
	}
	ZSTD_freeDCtx(z);
	return rc;
}

static int unpack(struct qcow2 *q, const struct qcow2_map *m, void *out)
{
	autofree void *in = malloc(m->len);
	struct iovec iov = { in, m->len };
	int rc = in ? vec_read(q->fd, &iov, 1, m->host) : -ENOMEM;

	if (rc < 0)
		return rc;
	return q->h.zstd ? unpack_zstd(out, qcow2_cs(q), in, m->len) :
		unpack_zlib(out, qcow2_cs(q), in, m->len);
}

/* Takes the kept cluster out, if it is the one of ENTRY. */
static void *take_kept(struct qcow2 *q, uint64_t entry)
{
	void *data = NULL;

	pthread_mutex_lock(&q->zlock);
	if (q->zentry == entry)
		data = take_ptr(q->zdata);
	pthread_mutex_unlock(&q->zlock);
	return data;
}

static void keep(struct qcow2 *q, uint64_t entry, void *data)
{
	void *old;

	pthread_mutex_lock(&q->zlock);
	old = q->zdata;
	q->zdata = data;
	q->zentry = entry;
	pthread_mutex_unlock(&q->zlock);
	free(old);
}

int qcow2_read_packed(struct qcow2 *q, const struct qcow2_map *m, uint64_t at,
		      const struct iovec *part, int n)
{
	autofree char *data = take_kept(q, m->entry);
	int rc = 0;

	if (!data) {
		data = malloc(qcow2_cs(q));
		rc = data ? unpack(q, m, data) : -ENOMEM;
	}
	if (rc < 0)
		return rc;
	vec_fill(part, n, data + at);
	keep(q, m->entry, take_ptr(data));
	return 0;
}
