/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * saved.h - what tests of saving and loading share: saved states as files of
 * sections, whole and damaged, and a machine's memory carried over.
 */
#ifndef TESTS_DEV_SAVED_H
#define TESTS_DEV_SAVED_H

#include "base/err.h"
#include "base/section.h"
#include "fake.h"

static struct sections parsed;
static uint8_t carried[FAKE_RAM];

static inline void begin_saving(struct buf *b)
{
	buf_init(b);
	sections_begin(b);
}

static inline struct sections *parse(const struct buf *b)
{
	return sections_parse(&parsed, b->data, b->len) == 0 ? &parsed : NULL;
}

static inline void carry_out(struct fake *f)
{
	mem_read(&f->mem, 0, carried, sizeof(carried));
}

static inline void carry_in(struct fake *f)
{
	mem_write(&f->mem, 0, carried, sizeof(carried));
}

/* How to damage the section WHICH of a file. */
struct damage {
	unsigned which;
	size_t keep;		/* bytes of it */
	size_t at;		/* of this byte ... */
	uint8_t flip;		/* ... these bits */
};

/* FROM with the damage, and right CRCs; false: there is no such section. */
static inline bool damaged(struct buf *to, const struct buf *from,
			   const struct damage *d)
{
	static struct sections all;
	static uint8_t body[8192];
	struct section_out s;

	begin_saving(to);
	if (sections_parse(&all, from->data, from->len) < 0 || d->which >= all.n)
		return false;
	for (unsigned i = 0; i < all.n; i++) {
		const struct section *in = &all.section[i];
		size_t len = i == d->which ? min_u64(d->keep, in->len) : in->len;

		memcpy(body, in->data, len);
		if (i == d->which && d->at < len)
			body[d->at] ^= d->flip;
		section_begin(&s, to, in->name, in->version);
		put_bytes(&s, body, len);
		section_end(&s);
	}
	return true;
}

/* The length of section WHICH; 0: there is none. */
static inline size_t section_len(const struct buf *from, unsigned which)
{
	static struct sections all;

	if (sections_parse(&all, from->data, from->len) < 0 || which >= all.n)
		return 0;
	return all.section[which].len;
}

#endif
