/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/section.h"

#include <assert.h>
#include <errno.h>
#include <zlib.h>

#include "base/err.h"

enum { OPTIONAL = 1 << 0 };

static const char magic[8] = "VMSTATE1";

struct header {
	le32 len, crc;
	le16 version, flags;
	char name[SECTION_NAME];
};
static_assert(sizeof(struct header) == 28, "section.h");

/* Of what follows the CRC itself: H's other fields and the body. */
static uint32_t checksum(const struct header *h, const void *body, size_t len)
{
	const uint8_t *rest = (const uint8_t *)&h->version;
	uLong crc = crc32(0, (const Bytef *)&h->len, sizeof(h->len));

	crc = crc32(crc, rest, (const uint8_t *)(h + 1) - rest);
	return len ? crc32(crc, body, len) : crc;
}

void sections_begin(struct buf *b)
{
	buf_add(b, magic, sizeof(magic));
}

void section_begin(struct section_out *s, struct buf *b, const char *name,
		   unsigned version)
{
	struct header h = { .version = to_le16(version) };
	size_t len = strlen(name);

	assert(len < SECTION_NAME && version);
	memcpy(h.name, name, len);
	*s = (struct section_out){ .buf = b, .start = b->len };
	buf_add(b, &h, sizeof(h));
}

static struct header *header_of(struct section_out *s)
{
	return (struct header *)(s->buf->data + s->start);
}

void section_optional(struct section_out *s)
{
	struct header h;

	if (s->buf->failed)
		return;
	memcpy(&h, header_of(s), sizeof(h));
	h.flags = to_le16(OPTIONAL);
	memcpy(header_of(s), &h, sizeof(h));
}

void section_end(struct section_out *s)
{
	struct header h;
	size_t len;

	if (s->buf->failed)
		return;
	len = s->buf->len - s->start - sizeof(h);
	memcpy(&h, header_of(s), sizeof(h));
	h.len = to_le32(len);
	h.crc = to_le32(checksum(&h, s->buf->data + s->start + sizeof(h), len));
	memcpy(header_of(s), &h, sizeof(h));
}

void put_bytes(struct section_out *s, const void *data, size_t len)
{
	if (len)
		buf_add(s->buf, data, len);
}

void put_u8(struct section_out *s, uint8_t val)
{
	put_bytes(s, &val, sizeof(val));
}

void put_u16(struct section_out *s, uint16_t val)
{
	le16 v = to_le16(val);

	put_bytes(s, &v, sizeof(v));
}

void put_u32(struct section_out *s, uint32_t val)
{
	le32 v = to_le32(val);

	put_bytes(s, &v, sizeof(v));
}

void put_u64(struct section_out *s, uint64_t val)
{
	le64 v = to_le64(val);

	put_bytes(s, &v, sizeof(v));
}

void put_blob(struct section_out *s, const void *data, size_t len)
{
	put_u32(s, len);
	put_bytes(s, data, len);
}

/* Reads the section at *AT of LEN bytes of DATA, and goes behind it. */
static int parse_one(struct section *s, const uint8_t *data, size_t len,
		     size_t *at)
{
	struct header h;
	size_t body;

	if (!in_range(*at, sizeof(h), len))
		return fail(E_VERIFY, "saved state: ends early");
	memcpy(&h, data + *at, sizeof(h));
	*at += sizeof(h);
	body = get_le32(h.len);
	if (!in_range(*at, body, len))
		return fail(E_VERIFY, "saved state: ends early");
	if (h.name[SECTION_NAME - 1] || !h.name[0] ||
	    checksum(&h, data + *at, body) != get_le32(h.crc))
		return fail(E_VERIFY, "saved state: damaged");
	*s = (struct section){
		.data = data + *at, .len = body,
		.version = get_le16(h.version),
		.optional = get_le16(h.flags) & OPTIONAL,
	};
	memcpy(s->name, h.name, sizeof(s->name));
	*at += body;
	return 0;
}

int sections_parse(struct sections *all, const void *data, size_t len)
{
	size_t at = sizeof(magic);
	int rc = 0;

	all->n = 0;
	if (len < sizeof(magic) || memcmp(data, magic, sizeof(magic)))
		return fail(E_CONFIG, "saved state: not one that this vmutils "
			    "reads");
	while (rc == 0 && at < len) {
		if (all->n == SECTIONS)
			return fail(E_VERIFY, "saved state: more than %d parts",
				    SECTIONS);
		rc = parse_one(&all->section[all->n++], data, len, &at);
	}
	return rc;
}

int section_take(struct sections *all, const char *name, unsigned version,
		 struct section *s)
{
	for (unsigned i = 0; i < all->n; i++) {
		struct section *found = &all->section[i];

		if (found->taken || strcmp(found->name, name))
			continue;
		if (found->version > version)
			return fail(E_CONFIG, "%.15s: saved by a later vmutils",
				    name);
		found->taken = true;
		*s = *found;
		return 0;
	}
	return fail(ENOENT, "%.15s: not in the saved state", name);
}

void get_bytes(struct section *s, void *data, size_t len)
{
	memset(data, 0, len);
	if (s->failed || !in_range(s->at, len, s->len)) {
		s->failed = true;
		return;
	}
	memcpy(data, s->data + s->at, len);
	s->at += len;
}

uint8_t get_u8(struct section *s)
{
	uint8_t v;

	get_bytes(s, &v, sizeof(v));
	return v;
}

uint16_t get_u16(struct section *s)
{
	le16 v;

	get_bytes(s, &v, sizeof(v));
	return get_le16(v);
}

uint32_t get_u32(struct section *s)
{
	le32 v;

	get_bytes(s, &v, sizeof(v));
	return get_le32(v);
}

uint64_t get_u64(struct section *s)
{
	le64 v;

	get_bytes(s, &v, sizeof(v));
	return get_le64(v);
}

size_t get_blob(struct section *s, void *data, size_t max)
{
	size_t len = get_u32(s);

	if (len > max)
		s->failed = true;
	if (s->failed)
		return 0;
	get_bytes(s, data, len);
	return s->failed ? 0 : len;
}

int section_done(const struct section *s, bool wrong)
{
	if (!s->failed && !wrong)
		return 0;
	return fail(E_VERIFY, "%.15s: damaged state", s->name);
}

int sections_done(const struct sections *all)
{
	for (unsigned i = 0; i < all->n; i++)
		if (!all->section[i].taken && !all->section[i].optional)
			return fail(E_CONFIG, "%s: in the saved state, but not "
				    "in this VM", all->section[i].name);
	return 0;
}
