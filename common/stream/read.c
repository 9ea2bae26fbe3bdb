/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream/read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "base/file.h"

enum { TEXT_MAX = 256 << 10 };		/* of meta and config */

/* How far a snapshot has come. */
enum { STEP_NONE, STEP_META, STEP_CONFIG, STEP_OBJECT };

/* A member that waits for its sum. */
struct piece {
	struct part part;
	size_t at, len;		/* of its content */
};

static size_t count(const struct stream_reader *r)
{
	return r->pieces.len / sizeof(struct piece);
}

static const struct piece *piece(const struct stream_reader *r, size_t i)
{
	return (const struct piece *)(const void *)r->pieces.data + i;
}

static int no_memory(void)
{
	return fail(ENOMEM, "stream: out of memory");
}

static int damaged(const struct stream_reader *r, const char *what)
{
	return fail(E_VERIFY, "damaged stream: %s before byte %" PRIu64, what,
		    r->bytes);
}

static void forget_window(struct stream_reader *r)
{
	buf_clear(&r->content);
	buf_clear(&r->pieces);
	buf_clear(&r->sums);
}

/* -- bytes -- */

/* LEN bytes to TO; 1, or 0: there are none any more. */
static int get(struct stream_reader *r, void *to, size_t len)
{
	ssize_t n = read_up_to(r->fd, to, len);

	if (n < 0)
		return fail(-n, "standard input: %s", strerror(-n));
	r->bytes += n;
	if (n > 0 && (size_t)n < len)
		return fail(E_VERIFY, "the stream ends early, after %" PRIu64
			    " bytes", r->bytes);
	return n > 0;
}

static int get_all(struct stream_reader *r, void *to, size_t len)
{
	int rc = get(r, to, len);

	if (rc == 0)
		return fail(E_VERIFY, "the stream ends early, after %" PRIu64
			    " bytes", r->bytes);
	return rc < 0 ? rc : 0;
}

/* The content of member M behind what there is. */
static int get_content(struct stream_reader *r, const struct tar_member *m)
{
	uint8_t padding[TAR_BLOCK];
	int rc = 0;

	if (!buf_grow(&r->content, m->size))
		return no_memory();
	if (m->size)
		rc = get_all(r, r->content.data + r->content.len, m->size);
	if (rc == 0 && tar_padding(m->size))
		rc = get_all(r, padding, tar_padding(m->size));
	if (rc < 0)
		return rc;
	if (!is_zero(padding, tar_padding(m->size)))
		return damaged(r, "the padding");
	r->content.len += m->size;
	r->content.data[r->content.len] = '\0';
	return 0;
}

/* -- what may come -- */

static int step_of(const struct part *p)
{
	return p->kind == PART_META ? STEP_META :
	       p->kind == PART_CONFIG ? STEP_CONFIG :
	       STEP_OBJECT + (int)p->object;
}

/* Whether a part of LEN bytes from P's offset on may be in its object. */
static bool fits(const struct stream_head *h, const struct part *p,
		 uint64_t off, uint64_t len)
{
	uint64_t size = h->object[p->object].size;

	return len && off % TAR_BLOCK == 0 && in_range(off, len, size) &&
	       (len % TAR_BLOCK == 0 || off + len == size);
}

static bool may_come(struct stream_reader *r, const struct piece *p)
{
	unsigned step = step_of(&p->part);

	if (p->part.kind == PART_META || p->part.kind == PART_CONFIG)
		return step == r->step + 1 && p->len <= TEXT_MAX;
	if (r->step < STEP_CONFIG || step < r->step)
		return false;
	if (step > r->step) {
		if (count(r))		/* sums end an object, and the texts */
			return false;
		r->next_data = r->next_zero = 0;
	}
	if (p->part.kind == PART_DATA) {
		if (p->part.number < r->next_data ||
		    !fits(&r->head, &p->part, p->part.number, p->len))
			return false;
		r->next_data = p->part.number + p->len;
		return true;
	}
	return r->head.object[p->part.object].from && p->len &&
	       p->len % STREAM_RANGE == 0 &&
	       p->len <= STREAM_RANGE * STREAM_RANGES;
}

/* A member that is kept until its sum comes. */
static int take_piece(struct stream_reader *r, const struct piece *p,
		      const char *name)
{
	int rc;

	if (r->content.len - p->len >= STREAM_WINDOW ||
	    count(r) >= STREAM_WINDOW_PARTS)
		return damaged(r, "no sums");
	if (!may_come(r, p))
		return damaged(r, "a member out of place");
	r->step = step_of(&p->part);
	rc = part_sum(&r->sums, name, r->content.data + p->at, p->len);
	buf_add(&r->pieces, p, sizeof(*p));
	return rc == 0 && (r->sums.failed || r->pieces.failed) ? no_memory() :
								 rc;
}

/* -- handing out -- */

static int give_zeros(struct stream_reader *r, const struct part *p,
		      const char *text, size_t len)
{
	char again[STREAM_RANGE + 1];
	uint64_t off, n;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < len; i += STREAM_RANGE) {
		off = strtoull(text + i, NULL, 16);
		n = strtoull(text + i + 17, NULL, 16);
		snprintf(again, sizeof(again), "%016" PRIx64 " %016" PRIx64
			 "\n", off, n);
		if (memcmp(again, text + i, STREAM_RANGE) ||
		    (!i && off != p->number) || off < r->next_zero ||
		    !fits(&r->head, p, off, n))
			return damaged(r, "a range of zeros");
		r->next_zero = off + n;
		rc = r->ops->zero(r, p->object, off, n);
	}
	return rc;
}

static int give(struct stream_reader *r, const struct piece *p)
{
	const char *content = r->content.data + p->at;

	switch (p->part.kind) {
	case PART_META:
	case PART_CONFIG:
		return r->ops->text(r, p->part.kind, content, p->len);
	case PART_DATA:
		return r->ops->data(r, p->part.object, p->part.number,
				    content, p->len);
	default:
		return give_zeros(r, &p->part, content, p->len);
	}
}

/* All that was kept is verified. */
static int give_window(struct stream_reader *r)
{
	int rc = r->n_sums ? 0 : r->ops->begin(r);

	for (size_t i = 0; rc == 0 && i < count(r); i++)
		rc = give(r, piece(r, i));
	return rc;
}

/* Whether the names and the time in the headers are those of the head. */
static int check_named(const struct stream_reader *r)
{
	char prefix[TAR_PREFIX];

	snprintf(prefix, sizeof(prefix), "%s@%s", r->head.vm, r->head.snap);
	if (strcmp(prefix, r->first.prefix) ||
	    r->head.created != r->first.mtime)
		return damaged(r, "a head of another snapshot");
	return 0;
}

static int believe_head(struct stream_reader *r)
{
	int rc = stream_head_parse(&r->head, r->head_text.data,
				   r->head_text.len);

	return rc < 0 ? rc : check_named(r);
}

/* The next sums, TEXT, came. */
static int take_sums(struct stream_reader *r, const struct part *p,
		     const char *text, size_t len)
{
	char name[TAR_NAME], last[HASH_TEXT];
	int rc;

	if (p->number != r->n_sums || r->step == STEP_META ||
	    (r->n_sums && !count(r)))
		return damaged(r, "sums out of place");
	if (len != r->sums.len || memcmp(text, r->sums.data, len))
		return damaged(r, "the SHA-256 of a member is not what its "
			       "sums say");
	rc = r->n_sums ? 0 : believe_head(r);
	if (rc == 0)
		rc = hash_text(text, len, last);
	if (rc == 0)
		rc = give_window(r);
	if (rc < 0)
		return rc;
	memcpy(r->point.id, r->head.id, sizeof(r->point.id));
	memcpy(r->point.last, last, sizeof(last));
	r->point.sums = r->n_sums++;
	forget_window(r);
	part_name(p, name);
	buf_printf(&r->sums, "%s  %s\n", r->point.last, name);
	return r->ops->point(r);
}

/* -- the ends of a snapshot -- */

static bool same_point(const struct stream_point *a,
		       const struct stream_point *b)
{
	return !strcmp(a->id, b->id) && a->sums == b->sums &&
	       !strcmp(a->last, b->last);
}

static int take_end(struct stream_reader *r, const char *text, size_t len)
{
	struct stream_point p;

	if (r->step < STEP_CONFIG || count(r) ||
	    !stream_point_parse(&p, text, len) || !same_point(&p, &r->point))
		return damaged(r, "the end");
	r->inside = false;
	forget_window(r);
	return r->ops->end(r);
}

/* Its sums come next, before it is believed. */
static int take_head(struct stream_reader *r, const char *name,
		     const char *text, size_t len)
{
	int rc = part_sum(&r->sums, name, text, len);

	buf_clear(&r->head_text);
	buf_add(&r->head_text, text, len);
	r->inside = true;
	r->step = STEP_NONE;
	r->n_sums = 0;
	return rc == 0 && r->head_text.failed ? no_memory() : rc;
}

static int take_resume(struct stream_reader *r, const char *text, size_t len)
{
	char name[TAR_NAME];
	int rc;

	if (!stream_point_parse(&r->point, text, len))
		return damaged(r, "the point to go on from");
	rc = r->ops->resume(r, &r->point);
	if (rc == 0)
		rc = check_named(r);
	if (rc < 0)
		return rc;
	r->inside = true;
	r->step = r->point.sums ? STEP_CONFIG : STEP_NONE;
	r->n_sums = r->point.sums + 1;
	r->next_data = r->next_zero = 0;
	forget_window(r);
	part_name(&(struct part){ PART_SUMS, .number = r->point.sums }, name);
	buf_printf(&r->sums, "%s  %s\n", r->point.last, name);
	return 0;
}

/* -- members -- */

/* The first of a snapshot. */
static int enter(struct stream_reader *r, const struct tar_member *m,
		 const struct part *p)
{
	const char *text = r->content.data;

	r->first = *m;
	if (p->kind == PART_HEAD)
		return take_head(r, m->name, text, m->size);
	if (p->kind == PART_RESUME)
		return take_resume(r, text, m->size);
	return damaged(r, "a member of no snapshot");
}

/* P with the content that was just read. */
static int take_part(struct stream_reader *r, const struct tar_member *m,
		     const struct part *p)
{
	struct piece piece = { *p, r->content.len - m->size, m->size };
	const char *text = r->content.data + piece.at;

	if (p->kind == PART_SUMS)
		return take_sums(r, p, text, m->size);
	if (!r->n_sums || p->kind == PART_HEAD || p->kind == PART_RESUME)
		return damaged(r, "a member out of place");
	if (p->kind == PART_END)
		return take_end(r, text, m->size);
	return take_piece(r, &piece, m->name);
}

static int take_member(struct stream_reader *r,
		       const uint8_t block[static TAR_BLOCK])
{
	struct tar_member m;
	struct part p;
	int rc;

	if (!tar_parse(&m, block) || !part_parse(&p, m.name) ||
	    m.size > STREAM_RUN)
		return r->bytes == TAR_BLOCK ?
		       fail(E_VERIFY, "not a stream of vm-send, or damaged") :
		       damaged(r, "a header");
	if (r->inside && (strcmp(m.prefix, r->first.prefix) ||
			  m.mtime != r->first.mtime))
		return damaged(r, "a member of another snapshot");
	r->closed = false;
	if (!r->inside)
		forget_window(r);
	rc = get_content(r, &m);
	if (rc < 0)
		return rc;
	return r->inside ? take_part(r, &m, &p) : enter(r, &m, &p);
}

/* The first block of the two at the end of a tar. */
static int take_close(struct stream_reader *r)
{
	uint8_t block[TAR_BLOCK];
	int rc;

	if (r->inside || r->closed || r->bytes == TAR_BLOCK)
		return damaged(r, "a block of zeros");
	rc = get_all(r, block, sizeof(block));
	if (rc == 0 && !is_zero(block, sizeof(block)))
		return damaged(r, "the end of the tar");
	r->closed = true;
	return rc;
}

static int read_all_members(struct stream_reader *r)
{
	uint8_t block[TAR_BLOCK];
	int rc;

	do {
		rc = get(r, block, sizeof(block));
		if (rc <= 0)
			break;
		rc = is_zero(block, sizeof(block)) ? take_close(r) :
						     take_member(r, block);
	} while (rc == 0);
	if (rc == 0 && !r->closed)
		return fail(E_VERIFY, "the stream ends early, after %" PRIu64
			    " bytes", r->bytes);
	return rc;
}

int stream_read(struct stream_reader *r, int fd, const struct stream_ops *ops)
{
	int rc;

	*r = (struct stream_reader){ .fd = fd, .ops = ops };
	buf_init(&r->content);
	buf_init(&r->pieces);
	buf_init(&r->sums);
	buf_init(&r->head_text);
	rc = read_all_members(r);
	buf_release(&r->content);
	buf_release(&r->pieces);
	buf_release(&r->sums);
	buf_release(&r->head_text);
	return rc;
}
