/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream.h - a small snapshot, written as a stream and read from one.
 */
#ifndef TESTS_UNIT_STREAM_H
#define TESTS_UNIT_STREAM_H

#include <sys/mman.h>

#include "base/err.h"
#include "base/file.h"
#include "stream/read.h"
#include "stream/write.h"

#define ID "0123456789abcdef0123456789abcdef"
#define FROM_ID "fedcba9876543210fedcba9876543210"

struct snapshot {
	struct stream_writer w;
	struct stream_reader r;
	struct buf *out;
	struct stream_head head;
	struct stream_point point;
	char meta[64], config[64];
	uint8_t disk[4096], kernel[700];
	bool crumbs;			/* much of little */
	unsigned ended, data_parts;
};

/* Its disk has 4 KiB: two sectors of data, then zeros. */
static inline void sample(struct snapshot *s, bool from)
{
	*s = (struct snapshot){
		.head = { .vm = "web1", .snap = "nightly", .id = ID,
			  .created = 1795000000 },
		.meta = "note=x\n", .config = "cpus=2\n",
	};
	s->head.object[STREAM_KERNEL].size = sizeof(s->kernel);
	s->head.object[STREAM_DISK].size = sizeof(s->disk);
	if (from) {
		memcpy(s->head.from, "before", sizeof("before"));
		memcpy(s->head.from_id, FROM_ID, sizeof(FROM_ID));
		s->head.object[STREAM_DISK].from = true;
	}
	for (size_t i = 0; i < sizeof(s->kernel); i++)
		s->kernel[i] = i * 7;
	for (size_t i = 0; i < 1024; i++)
		s->disk[i] = i * 5 + (i >> 8);
}

static inline int to_buf(struct stream_writer *w, const void *data, size_t len)
{
	struct snapshot *s = container_of(w, struct snapshot, w);

	buf_add(s->out, data, len);
	return s->out->failed ? fail(12, "out of memory") : 0;
}

static inline int write_objects(struct snapshot *s)
{
	struct stream_writer *w = &s->w;
	int rc = stream_object(w, STREAM_KERNEL);

	if (rc == 0)
		rc = stream_data(w, 0, s->kernel, sizeof(s->kernel));
	if (rc == 0)
		rc = stream_object(w, STREAM_DISK);
	if (rc == 0)
		rc = stream_data(w, 0, s->disk, 512);
	if (rc == 0)
		rc = stream_data(w, 512, s->disk + 512, 512);
	if (rc == 0 && s->head.from[0])
		rc = stream_zero(w, 1024, 512);
	if (rc == 0 && s->head.from[0])
		rc = stream_zero(w, 1536, 512);
	return rc;
}

/* With a disk of many sectors of data, each alone. */
static inline int write_crumbs(struct snapshot *s)
{
	int rc = stream_object(&s->w, STREAM_DISK);

	for (unsigned i = 0; rc == 0 && i < STREAM_WINDOW_PARTS + 100; i++)
		rc = stream_data(&s->w, i * 1024ULL, s->disk, 512);
	return rc;
}

/* Appends S, or what there is of it behind SKIP, to OUT. */
static inline int write_stream(struct buf *out, struct snapshot *s,
			       const struct stream_point *skip)
{
	struct stream_writer *w = &s->w;
	int rc;

	s->out = out;
	if (s->crumbs)
		s->head.object[STREAM_DISK].size = 16 << 20;
	stream_init(w, to_buf);
	w->skip = skip;
	rc = stream_begin(w, &s->head);
	if (rc == 0)
		rc = stream_text(w, PART_META, s->meta, strlen(s->meta));
	if (rc == 0)
		rc = stream_text(w, PART_CONFIG, s->config, strlen(s->config));
	if (rc == 0)
		rc = s->crumbs ? write_crumbs(s) : write_objects(s);
	if (rc == 0)
		rc = stream_end(w);
	if (rc == 0)
		rc = stream_close(w);
	stream_release(w);
	return rc;
}

/* -- reading -- */

static inline struct snapshot *of(struct stream_reader *r)
{
	return container_of(r, struct snapshot, r);
}

static inline int on_begin(struct stream_reader *r)
{
	of(r)->head = r->head;
	return 0;
}

static inline int on_resume(struct stream_reader *r,
			    const struct stream_point *p)
{
	struct snapshot *s = of(r);

	if (strcmp(p->id, s->point.id) || p->sums != s->point.sums ||
	    strcmp(p->last, s->point.last))
		return fail(E_VERIFY, "another point");
	r->head = s->head;
	return 0;
}

static inline int on_text(struct stream_reader *r, enum part_kind kind,
			  const char *text, size_t len)
{
	char *to = kind == PART_META ? of(r)->meta : of(r)->config;

	memset(to, 0, 64);
	memcpy(to, text, min_u64(len, 63));
	return 0;
}

/* Where LEN bytes of an object at OFF are kept; NULL: nowhere. */
static inline uint8_t *place(struct snapshot *s, unsigned object, uint64_t off,
			     uint64_t len)
{
	if (object == STREAM_KERNEL && in_range(off, len, sizeof(s->kernel)))
		return s->kernel + off;
	if (object == STREAM_DISK && in_range(off, len, sizeof(s->disk)))
		return s->disk + off;
	return NULL;
}

static inline int on_data(struct stream_reader *r, unsigned object,
			  uint64_t off, const void *data, size_t len)
{
	uint8_t *to = place(of(r), object, off, len);

	of(r)->data_parts++;
	if (to)
		memcpy(to, data, len);
	return 0;
}

static inline int on_zero(struct stream_reader *r, unsigned object,
			  uint64_t off, uint64_t len)
{
	uint8_t *to = place(of(r), object, off, len);

	if (to)
		memset(to, 0, len);
	return 0;
}

static inline int on_point(struct stream_reader *r)
{
	of(r)->point = r->point;
	return 0;
}

static inline int on_end(struct stream_reader *r)
{
	of(r)->ended++;
	return 0;
}

static const struct stream_ops test_ops = {
	on_begin, on_resume, on_text, on_data, on_zero, on_point, on_end,
};

/* Reads the stream B into S. */
static inline int read_stream(const struct buf *b, struct snapshot *s)
{
	autoclose int fd = memfd_create("stream", MFD_CLOEXEC);

	if (fd < 0 || write_all(fd, b->data, b->len) < 0)
		return fail_sys("stream");
	lseek(fd, 0, SEEK_SET);
	return stream_read(&s->r, fd, &test_ops);
}

static inline bool same_snapshot(const struct snapshot *a,
				 const struct snapshot *b)
{
	return !memcmp(a->disk, b->disk, sizeof(a->disk)) &&
	       !memcmp(a->kernel, b->kernel, sizeof(a->kernel)) &&
	       !memcmp(&a->head, &b->head, sizeof(a->head)) &&
	       !strcmp(a->meta, b->meta) && !strcmp(a->config, b->config);
}

#endif
