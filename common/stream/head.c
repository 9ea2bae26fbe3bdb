/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream/head.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"

static const char magic[] = "vm-stream ";

/* Of one object at most: of a disk and the memory 4 PiB, of the others less. */
static uint64_t size_max(unsigned object)
{
	if (object == STREAM_KERNEL || object == STREAM_INITRD)
		return 1ULL << 30;
	return object == STREAM_DEV ? 64ULL << 20 : 1ULL << 52;
}

const char *stream_object_name(unsigned object, char name[static 8])
{
	const char *word = object == STREAM_KERNEL ? "kernel" :
			   object == STREAM_INITRD ? "initrd" :
			   object == STREAM_DEV ? "dev" :
			   object == STREAM_MEM ? "mem" : NULL;

	if (word)
		snprintf(name, 8, "%s", word);
	else
		snprintf(name, 8, "disk%hhu",
			 (uint8_t)(object - STREAM_DISK));
	return name;
}

void stream_head_format(const struct stream_head *h, struct buf *text)
{
	char name[8];

	buf_printf(text, "%s%d\nvm=%s\nsnapshot=%s\nid=%s\ncreated=%" PRIu64
		   "\n", magic, STREAM_FORMAT, h->vm, h->snap, h->id,
		   h->created);
	if (h->from[0])
		buf_printf(text, "from=%s\nfrom_id=%s\n", h->from, h->from_id);
	for (unsigned i = 0; i < STREAM_OBJECTS; i++)
		if (h->object[i].size)
			buf_printf(text, "%s=%" PRIu64 "%s\n",
				   stream_object_name(i, name),
				   h->object[i].size,
				   h->object[i].from ? ",from" : "");
}

static bool is_hex(const char *text, size_t digits)
{
	return strlen(text) == digits &&
	       strspn(text, "0123456789abcdef") == digits;
}

/* TEXT, cut if need be: that shows when it is written again. */
#define set_field(field, text) snprintf(field, sizeof(field), "%s", text)

static void take_object(struct stream_head *h, const char *key, char *value)
{
	char name[8], *size = cut(&value, ',');

	for (unsigned i = 0; i < STREAM_OBJECTS; i++)
		if (!strcmp(stream_object_name(i, name), key) &&
		    parse_u64(key, size, &h->object[i].size) == 0)
			h->object[i].from = value && !strcmp(value, "from");
}

static void take_line(struct stream_head *h, char *line)
{
	char *value = line, *key = cut(&value, '=');

	if (!value)
		return;
	if (!strcmp(key, "vm"))
		set_field(h->vm, value);
	else if (!strcmp(key, "snapshot"))
		set_field(h->snap, value);
	else if (!strcmp(key, "id"))
		set_field(h->id, value);
	else if (!strcmp(key, "from"))
		set_field(h->from, value);
	else if (!strcmp(key, "from_id"))
		set_field(h->from_id, value);
	else if (!strcmp(key, "created"))
		parse_u64(key, value, &h->created);
	else
		take_object(h, key, value);
}

/* Whether what was read is what can be, however it was written. */
static bool makes_sense(const struct stream_head *h)
{
	if (!name_ok(h->vm) || !name_ok(h->snap) || h->created >> 33 ||
	    !is_hex(h->id, STREAM_ID - 1) ||
	    (h->from[0] && (!name_ok(h->from) ||
			    !is_hex(h->from_id, STREAM_ID - 1))))
		return false;
	for (unsigned i = 0; i < STREAM_OBJECTS; i++) {
		const struct stream_object_head *o = &h->object[i];
		bool is_disk = i >= STREAM_DISK && i < STREAM_DEV;

		if (o->size > size_max(i) || (is_disk && o->size % 512) ||
		    (o->from && (!h->from[0] ||
				 !(is_disk || i == STREAM_MEM))))
			return false;
	}
	return !h->object[STREAM_DEV].size == !h->object[STREAM_MEM].size;
}

static int check_format(const char *text)
{
	uint64_t format;
	const char *rest;

	if (!starts_with(text, magic, &rest) || rest[0] < '1' ||
	    rest[0] > '9')
		return fail(E_VERIFY, "vm-stream: damaged");
	format = strtoull(rest, NULL, 10);
	if (format != STREAM_FORMAT)
		return fail(E_CONFIG, "of format %" PRIu64 "; this vmutils "
			    "reads %d", format, STREAM_FORMAT);
	return 0;
}

int stream_head_parse(struct stream_head *h, const char *text, size_t len)
{
	autobuf struct buf copy = BUF_INIT, again = BUF_INIT;
	char *rest;
	int rc;

	*h = (struct stream_head){ 0 };
	buf_add(&copy, text, len);
	if (copy.failed)
		return fail(ENOMEM, "vm-stream: out of memory");
	rc = check_format(copy.data);
	if (rc < 0)
		return rc;
	for (rest = copy.data; rest; )
		take_line(h, cut(&rest, '\n'));
	stream_head_format(h, &again);
	if (again.failed)
		return fail(ENOMEM, "vm-stream: out of memory");
	if (again.len != len || memcmp(again.data, text, len) ||
	    !makes_sense(h))
		return fail(E_VERIFY, "vm-stream: damaged");
	return 0;
}

/* -- points -- */

void stream_point_format(const struct stream_point *p, struct buf *text)
{
	buf_printf(text, "%s%d\nid=%s\nsums=%u\nlast=%s\n", magic,
		   STREAM_FORMAT, p->id, p->sums, p->last);
}

bool stream_point_parse(struct stream_point *p, const char *text, size_t len)
{
	autobuf struct buf copy = BUF_INIT, again = BUF_INIT;

	*p = (struct stream_point){ 0 };
	buf_add(&copy, text, len);
	if (sscanf(copy.data, "vm-stream %*u\nid=%32[0-9a-f]\nsums=%9u\n"
		   "last=%64[0-9a-f]", p->id, &p->sums, p->last) != 3 ||
	    !is_hex(p->id, STREAM_ID - 1) || !is_hex(p->last, HASH_TEXT - 1))
		return false;
	stream_point_format(p, &again);
	return !copy.failed && !again.failed && again.len == len &&
	       !memcmp(again.data, text, len);
}

void stream_token_format(const struct stream_head *h,
			 const struct stream_point *p,
			 char token[static STREAM_TOKEN])
{
	snprintf(token, STREAM_TOKEN, "%d:%s@%s:%s:%s:%u:%s", STREAM_FORMAT,
		 h->vm, h->snap, h->from, p->id, p->sums, p->last);
}

int stream_token_parse(struct stream_head *h, struct stream_point *p,
		       const char *token)
{
	char copy[STREAM_TOKEN], again[STREAM_TOKEN], *rest = copy;
	const char *vm, *snap, *from, *id, *sums, *last;
	uint64_t n;

	*h = (struct stream_head){ 0 };
	*p = (struct stream_point){ 0 };
	snprintf(copy, sizeof(copy), "%s", token);
	cut(&rest, ':');
	vm = rest ? cut(&rest, '@') : NULL;
	snap = rest ? cut(&rest, ':') : NULL;
	from = rest ? cut(&rest, ':') : NULL;
	id = rest ? cut(&rest, ':') : NULL;
	sums = rest ? cut(&rest, ':') : NULL;
	last = rest;
	if (!last || parse_u64("sums", sums, &n) < 0 || n > INT32_MAX ||
	    !name_ok(vm) || !name_ok(snap) || (*from && !name_ok(from)) ||
	    !is_hex(id, STREAM_ID - 1) || !is_hex(last, HASH_TEXT - 1))
		return fail(E_USAGE, "'%.100s': not a token of vm-recv", token);
	set_field(h->vm, vm);
	set_field(h->snap, snap);
	set_field(h->from, from);
	set_field(h->id, id);
	set_field(p->id, id);
	set_field(p->last, last);
	p->sums = n;
	stream_token_format(h, p, again);
	return strcmp(again, token) ?
	       fail(E_USAGE, "'%.100s': not a token of vm-recv", token) : 0;
}
