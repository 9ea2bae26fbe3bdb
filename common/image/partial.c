/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/partial.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "state/config.h"

enum { NOTE_MAX = 16 << 10 };

static int too_large(const struct partial *p)
{
	char text[16];

	return fail(EFBIG, "larger than %s", format_size(text, p->max));
}

/* Takes over what the note C says, if it is of the same address. */
static void take_note(struct partial *p, const struct config *c)
{
	const char *url = config_get(c, "url"), *size = config_get(c, "size");
	const char *validator = config_get(c, "validator");

	if (!url || strcmp(url, p->url) || !validator ||
	    strlen(validator) >= sizeof(p->validator))
		return;
	snprintf(p->validator, sizeof(p->validator), "%s", validator);
	p->has_size = size && parse_u64("size", size, &p->size) == 0;
}

static void read_note(struct partial *p)
{
	autobuf struct buf b = BUF_INIT;
	struct config c = CONFIG_INIT;

	if (p->note && file_read(p->dir, p->note, &b, NOTE_MAX) == 0 &&
	    config_parse(&c, b.data, b.len) == 0)
		take_note(p, &c);
	config_release(&c);
}

int partial_drop(struct partial *p)
{
	p->have = 0;
	p->has_size = false;
	p->validator[0] = '\0';
	return ftruncate(p->fd, 0) < 0 ? fail_sys("cut") : 0;
}

int partial_open(struct partial *p)
{
	struct stat sb;

	if (fstat(p->fd, &sb) < 0)
		return fail_sys("stat");
	p->have = sb.st_size;
	p->has_size = false;
	p->validator[0] = '\0';
	read_note(p);
	if (!p->validator[0] || p->have > p->max ||
	    (p->has_size && p->have > p->size))
		return partial_drop(p);
	return 0;
}

static int write_note(const struct partial *p)
{
	autobuf struct buf b = BUF_INIT;

	if (!p->note)
		return 0;
	buf_printf(&b, "url=%s\nvalidator=%s\n", p->url, p->validator);
	if (p->has_size)
		buf_printf(&b, "size=%" PRIu64 "\n", p->size);
	if (b.failed)
		return fail(ENOMEM, "out of memory");
	return file_replace(p->dir, p->note, b.data, b.len, 0600);
}

int partial_begin(struct partial *p, const struct reply *r)
{
	int rc = partial_drop(p);

	if (rc < 0)
		return rc;
	if (r->has_length && r->length > p->max)
		return too_large(p);
	p->has_size = r->has_length;
	p->size = r->length;
	snprintf(p->validator, sizeof(p->validator), "%s",
		 reply_validator(r));
	return write_note(p);
}

bool partial_fits(const struct partial *p, const struct reply *r)
{
	const char *now = p->validator[0] == '"' ? r->etag : r->modified;

	if (!p->validator[0] || !r->has_range || r->first != p->have)
		return false;
	if (r->has_total && (r->last != r->total - 1 || r->total > p->max ||
			     (p->has_size && p->size != r->total)))
		return false;
	/* a server may know Range and not If-Range */
	return !now[0] || !strcmp(now, p->validator);
}

int partial_add(struct partial *p, const void *data, size_t len)
{
	int rc;

	if (!in_range(p->have, len, p->max))
		return too_large(p);
	rc = pwrite_all(p->fd, data, len, p->have);
	if (rc < 0)
		return fail(-rc, "write: %s", strerror(-rc));
	p->have += len;
	return 0;
}
