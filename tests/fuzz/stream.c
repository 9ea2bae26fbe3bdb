/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream.c - the input is a stream, or says of what members one is made whose
 * headers and sums are right, in any order and with any content.
 */
#include "stream/read.h"

#include <stdio.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/file.h"
#include "input.h"

#define ID "0123456789abcdef0123456789abcdef"

enum { MEMBERS = 64 };

struct maker {
	struct input in;
	struct buf out, sums;
	struct tar_member member;
	struct stream_point point;
	unsigned n_sums;
};

struct checker {
	struct stream_reader r;
	unsigned begun, ended;
	bool meta, config;
	unsigned object;
	uint64_t data, zero;	/* not below these */
};

/* -- what is given is what the header promises -- */

static struct checker *of(struct stream_reader *r)
{
	return container_of(r, struct checker, r);
}

static void check_head(const struct stream_head *h)
{
	MUST(name_ok(h->vm) && name_ok(h->snap));
	MUST(strlen(h->id) == STREAM_ID - 1);
	MUST(!h->from[0] || name_ok(h->from));
}

static int on_begin(struct stream_reader *r)
{
	struct checker *c = of(r);

	check_head(&r->head);
	c->begun++;
	c->meta = c->config = false;
	c->object = 0;
	c->data = c->zero = 0;
	return 0;
}

static int on_resume(struct stream_reader *r, const struct stream_point *p)
{
	struct stream_head h = {
		.vm = "web1", .snap = "s", .id = ID, .created = 7,
		.object[STREAM_DISK] = { 1 << 20, false },
	};

	MUST(strlen(p->last) == HASH_TEXT - 1);
	r->head = h;
	on_begin(r);
	of(r)->meta = of(r)->config = p->sums;
	return 0;
}

static int on_text(struct stream_reader *r, enum part_kind kind,
		   const char *text, size_t len)
{
	struct checker *c = of(r);

	MUST(text[len] == '\0' || len);
	MUST(kind == PART_META || (kind == PART_CONFIG && c->meta));
	MUST(kind == PART_META ? !c->meta : !c->config);
	*(kind == PART_META ? &c->meta : &c->config) = true;
	return 0;
}

static void check_place(struct stream_reader *r, unsigned object, uint64_t off,
			uint64_t len)
{
	struct checker *c = of(r);

	MUST(c->meta && c->config);
	MUST(object < STREAM_OBJECTS && object >= c->object);
	MUST(len && off % 512 == 0);
	MUST(in_range(off, len, r->head.object[object].size));
	if (object > c->object)
		c->data = c->zero = 0;
	c->object = object;
}

static int on_data(struct stream_reader *r, unsigned object, uint64_t off,
		   const void *data, size_t len)
{
	check_place(r, object, off, len);
	MUST(off >= of(r)->data);
	MUST(is_zero(data, 0));
	of(r)->data = off + len;
	return 0;
}

static int on_zero(struct stream_reader *r, unsigned object, uint64_t off,
		   uint64_t len)
{
	check_place(r, object, off, len);
	MUST(r->head.object[object].from && off >= of(r)->zero);
	of(r)->zero = off + len;
	return 0;
}

static int on_point(struct stream_reader *r)
{
	MUST(of(r)->begun);
	return 0;
}

static int on_end(struct stream_reader *r)
{
	MUST(of(r)->meta && of(r)->config);
	MUST(++of(r)->ended <= of(r)->begun);
	return 0;
}

static const struct stream_ops ops = {
	on_begin, on_resume, on_text, on_data, on_zero, on_point, on_end,
};

/* -- making one -- */

static void put_member(struct maker *m, const struct part *p,
		       const struct buf *content, bool summed)
{
	static const uint8_t zeros[TAR_BLOCK];
	uint8_t block[TAR_BLOCK];

	part_name(p, m->member.name);
	m->member.size = content->len;
	tar_header(&m->member, block);
	buf_add(&m->out, block, sizeof(block));
	buf_add(&m->out, content->data, content->len);
	buf_add(&m->out, zeros, tar_padding(content->len));
	if (summed)
		part_sum(&m->sums, m->member.name, content->data,
			 content->len);
}

static void put_head(struct maker *m)
{
	struct stream_head h = { .vm = "web1", .snap = "s", .id = ID,
				 .created = 7 };
	struct part p = { PART_HEAD };
	autobuf struct buf text = BUF_INIT;

	if (take8(&m->in) & 1)
		snprintf(h.from, sizeof(h.from), "f"),
		memcpy(h.from_id, ID, sizeof(ID));
	for (unsigned n = take8(&m->in) % 6; n; n--) {
		unsigned i = take8(&m->in) % STREAM_OBJECTS;

		h.object[i].size = (uint64_t)take16(&m->in) << take8(&m->in) %
				   40;
		h.object[i].from = take8(&m->in) & 1;
	}
	stream_head_format(&h, &text);
	if (take8(&m->in) > 240 && text.len > 40)
		text.data[take8(&m->in) % text.len] = take8(&m->in);
	buf_clear(&m->sums);
	m->n_sums = 0;
	put_member(m, &p, &text, true);
}

static void put_sums(struct maker *m)
{
	struct part p = { PART_SUMS, .number = m->n_sums };
	char name[TAR_NAME];

	put_member(m, &p, &m->sums, false);
	memcpy(name, m->member.name, sizeof(name));
	hash_text(m->sums.data, m->sums.len, m->point.last);
	m->point.sums = m->n_sums++;
	buf_clear(&m->sums);
	buf_printf(&m->sums, "%s  %s\n", m->point.last, name);
}

static void put_point(struct maker *m, enum part_kind kind)
{
	struct part p = { kind };
	autobuf struct buf text = BUF_INIT;

	stream_point_format(&m->point, &text);
	put_member(m, &p, &text, false);
}

static void put_content(struct maker *m, enum part_kind kind)
{
	autobuf struct buf b = BUF_INIT;
	struct part p = { kind };
	uint8_t byte[256];
	unsigned n = take8(&m->in);

	if (kind == PART_DATA || kind == PART_ZERO) {
		p.object = take8(&m->in) % STREAM_OBJECTS;
		p.number = (uint64_t)take16(&m->in) << take8(&m->in) % 49;
	}
	if (kind == PART_ZERO)
		for (unsigned i = 0; i < n % 4; i++)
			buf_printf(&b, "%016llx %016llx\n",
				   (unsigned long long)(i ? take64(&m->in) :
							p.number),
				   (unsigned long long)take32(&m->in));
	take(&m->in, byte, sizeof(byte));
	if (kind != PART_ZERO || n > 250)
		buf_add(&b, byte, n);
	if (kind == PART_DATA && n & 1) {	/* whole sectors */
		buf_clear(&b);
		buf_add(&b, byte, 256);
		buf_add(&b, byte, 256);
	}
	put_member(m, &p, &b, true);
}

static void put_next(struct maker *m)
{
	static const uint8_t zeros[2 * TAR_BLOCK];

	switch (take8(&m->in) % 10) {
	case 0: put_head(m); put_sums(m); break;
	case 1: put_head(m); break;
	case 2: put_content(m, PART_META); break;
	case 3: put_content(m, PART_CONFIG); break;
	case 4: put_content(m, PART_DATA); break;
	case 5: put_content(m, PART_ZERO); break;
	case 6: put_sums(m); break;
	case 7: put_point(m, PART_END); break;
	case 8: put_point(m, PART_RESUME); break;
	case 9: buf_add(&m->out, zeros, sizeof(zeros)); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	autoclose int fd = memfd_create("stream", MFD_CLOEXEC);
	struct maker m = {
		.in = { data, len }, .out = BUF_INIT, .sums = BUF_INIT,
		.member = { .prefix = "web1@s", .mtime = 7 },
		.point = { .id = ID },
	};
	struct checker c = { 0 };
	int rc;

	if (take8(&m.in) & 1)
		buf_add(&m.out, m.in.data, m.in.len);
	else
		for (unsigned n = 0; n < MEMBERS && m.in.len; n++)
			put_next(&m);
	MUST(write_all(fd, m.out.data, m.out.len) == 0);
	lseek(fd, 0, SEEK_SET);
	rc = stream_read(&c.r, fd, &ops);
	MUST(rc <= 0 && (rc == 0 || *err_text()));
	MUST(rc < 0 || c.begun);
	buf_release(&m.out);
	buf_release(&m.sums);
	return 0;
}
