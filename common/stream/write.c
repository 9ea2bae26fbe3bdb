/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream/write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"

static const uint8_t zeros[2 * TAR_BLOCK];

static int no_memory(void)
{
	return fail(ENOMEM, "stream: out of memory");
}

void stream_init(struct stream_writer *w,
		 int (*put)(struct stream_writer *w, const void *data,
			    size_t len))
{
	*w = (struct stream_writer){ .put = put };
	buf_init(&w->run);
	buf_init(&w->ranges);
	buf_init(&w->sums);
}

void stream_release(struct stream_writer *w)
{
	buf_release(&w->run);
	buf_release(&w->ranges);
	buf_release(&w->sums);
}

/* -- members -- */

static int put_member(struct stream_writer *w, const char *name,
		      const void *data, size_t len)
{
	struct tar_member m = { .size = len, .mtime = w->head->created };
	uint8_t block[TAR_BLOCK];
	int rc;

	if (w->silent)
		return 0;
	snprintf(m.prefix, sizeof(m.prefix), "%s", w->prefix);
	snprintf(m.name, sizeof(m.name), "%s", name);
	tar_header(&m, block);
	rc = w->put(w, block, sizeof(block));
	if (rc == 0 && len)
		rc = w->put(w, data, len);
	if (rc == 0 && tar_padding(len))
		rc = w->put(w, zeros, tar_padding(len));
	return rc;
}

/* What says how far a stream has come. */
static int put_point(struct stream_writer *w, enum part_kind kind)
{
	struct stream_point p = { .sums = w->n_sums - 1 };
	autobuf struct buf text = BUF_INIT;
	char name[TAR_NAME];

	memcpy(p.id, w->head->id, sizeof(p.id));
	memcpy(p.last, w->last, sizeof(p.last));
	stream_point_format(&p, &text);
	part_name(&(struct part){ .kind = kind }, name);
	return text.failed ? no_memory() :
			     put_member(w, name, text.data, text.len);
}

/* Whether the stream that was cut was this one so far; it goes on. */
static int go_on(struct stream_writer *w)
{
	if (strcmp(w->last, w->skip->last))
		return fail(E_VERIFY, "%s: is not what was sent before",
			    w->prefix);
	w->silent = false;
	return put_point(w, PART_RESUME);
}

/* The sums of the window, which the next ones begin with. */
static int put_sums(struct stream_writer *w)
{
	char name[TAR_NAME];
	int rc;

	if (w->sums.failed)
		return no_memory();
	part_name(&(struct part){ PART_SUMS, .number = w->n_sums }, name);
	rc = put_member(w, name, w->sums.data, w->sums.len);
	if (rc == 0)
		rc = hash_text(w->sums.data, w->sums.len, w->last);
	if (rc < 0)
		return rc;
	buf_clear(&w->sums);
	buf_printf(&w->sums, "%s  %s\n", w->last, name);
	w->n_parts = 0;
	w->window = 0;
	w->n_sums++;
	return w->silent && w->skip->sums == w->n_sums - 1 ? go_on(w) : 0;
}

static int put_part(struct stream_writer *w, const struct part *p,
		    const void *data, size_t len)
{
	char name[TAR_NAME];
	int rc;

	part_name(p, name);
	rc = part_sum(&w->sums, name, data, len);
	if (rc == 0)
		rc = put_member(w, name, data, len);
	w->window += len;
	w->n_parts++;
	if (rc == 0 && (w->window >= STREAM_WINDOW ||
			w->n_parts >= STREAM_WINDOW_PARTS))
		rc = put_sums(w);
	return rc;
}

/* -- one snapshot -- */

int stream_begin(struct stream_writer *w, const struct stream_head *h)
{
	autobuf struct buf text = BUF_INIT;
	int rc;

	w->head = h;
	snprintf(w->prefix, sizeof(w->prefix), "%s@%s", h->vm, h->snap);
	w->silent = w->skip;
	w->n_sums = w->n_parts = 0;
	w->window = 0;
	buf_clear(&w->sums);
	stream_head_format(h, &text);
	if (text.failed)
		return no_memory();
	rc = put_part(w, &(struct part){ PART_HEAD }, text.data, text.len);
	return rc < 0 ? rc : put_sums(w);
}

int stream_text(struct stream_writer *w, enum part_kind kind,
		const void *data, size_t len)
{
	return put_part(w, &(struct part){ .kind = kind }, data, len);
}

static int put_run(struct stream_writer *w)
{
	struct part p = { PART_DATA, w->object, w->run_off };
	int rc;

	if (w->run.failed)
		return no_memory();
	if (!w->run.len)
		return 0;
	rc = put_part(w, &p, w->run.data, w->run.len);
	buf_clear(&w->run);
	return rc;
}

static int put_ranges(struct stream_writer *w)
{
	struct part p = { PART_ZERO, w->object, w->first_range };
	int rc;

	if (w->ranges.failed)
		return no_memory();
	if (!w->n_ranges)
		return 0;
	rc = put_part(w, &p, w->ranges.data, w->ranges.len);
	buf_clear(&w->ranges);
	w->n_ranges = 0;
	return rc;
}

/* The range of zeros that no longer grows becomes a line. */
static int end_range(struct stream_writer *w)
{
	if (!w->zero_len)
		return 0;
	if (!w->n_ranges)
		w->first_range = w->zero_off;
	buf_printf(&w->ranges, "%016" PRIx64 " %016" PRIx64 "\n", w->zero_off,
		   w->zero_len);
	w->zero_len = 0;
	return ++w->n_ranges == STREAM_RANGES ? put_ranges(w) : 0;
}

/* What there is of an object is written, and its sums. */
static int end_object(struct stream_writer *w)
{
	int rc = put_run(w);

	if (rc == 0)
		rc = end_range(w);
	if (rc == 0)
		rc = put_ranges(w);
	return rc == 0 && w->n_parts ? put_sums(w) : rc;
}

int stream_object(struct stream_writer *w, unsigned object)
{
	int rc = end_object(w);

	w->object = object;
	return rc;
}

int stream_data(struct stream_writer *w, uint64_t off, const void *data,
		size_t len)
{
	int rc = 0;

	while (rc == 0 && len) {
		size_t n;

		if (off != w->run_off + w->run.len || w->run.len == STREAM_RUN)
			rc = put_run(w);
		if (!w->run.len)
			w->run_off = off;
		n = min_u64(len, STREAM_RUN - w->run.len);
		buf_add(&w->run, data, n);
		data = (const char *)data + n;
		off += n;
		len -= n;
	}
	return rc;
}

int stream_zero(struct stream_writer *w, uint64_t off, uint64_t len)
{
	int rc = 0;

	if (w->zero_len && off != w->zero_off + w->zero_len)
		rc = end_range(w);
	if (!w->zero_len)
		w->zero_off = off;
	w->zero_len += len;
	return rc;
}

int stream_end(struct stream_writer *w)
{
	int rc = end_object(w);

	if (rc < 0)
		return rc;
	if (w->silent)
		return fail(E_VERIFY, "%s: has no such point to go on from",
			    w->prefix);
	w->skip = NULL;
	return put_point(w, PART_END);
}

int stream_close(struct stream_writer *w)
{
	return w->put(w, zeros, sizeof(zeros));
}
