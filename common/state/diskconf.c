/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/diskconf.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"

const char *const disk_formats[] = {
	[FORMAT_RAW] = "raw", [FORMAT_QCOW2] = "qcow2", NULL
};

const char *const disk_caches[] = {
	[CACHE_WRITEBACK] = "writeback", [CACHE_WRITETHROUGH] = "writethrough",
	[CACHE_UNSAFE] = "unsafe", NULL
};

const char *const disk_werrors[] = {
	[WERROR_ENOSPC] = "enospc", [WERROR_STOP] = "stop",
	[WERROR_REPORT] = "report", NULL
};

/* -- the options -- */

static int set_serial(struct disk_conf *d, const char *key, const char *serial)
{
	size_t len = strlen(serial);

	if (!len || len >= sizeof(d->serial))
		return fail(E_CONFIG, "%s: serial '%s': 1 to %zu characters",
			    key, serial, sizeof(d->serial) - 1);
	for (size_t i = 0; i < len; i++)
		if (serial[i] < ' ' || serial[i] > '~')
			return fail(E_CONFIG, "%s: serial '%s': printable "
				    "ASCII only", key, serial);
	memcpy(d->serial, serial, len + 1);
	return 0;
}

/* Which of WORDS the VALUE of option WHAT is. */
static int read_word(const char *key, const char *what, const char *value,
		     const char *const *words)
{
	autobuf struct buf all = BUF_INIT;
	int i = find_word(words, value);

	if (i >= 0)
		return i;
	for (i = 0; words[i]; i++)
		buf_printf(&all, "%s%s", i ? " or " : "", words[i]);
	return fail(E_CONFIG, "%s: %s '%s': not %s", key, what, value,
		    all.data);
}

static int set_format(struct disk_conf *d, const char *key, const char *value)
{
	int i = read_word(key, "format", value, disk_formats);

	d->format = i < 0 ? FORMAT_RAW : (enum disk_format)i;
	return i < 0 ? i : 0;
}

static int set_cache(struct disk_conf *d, const char *key, const char *value)
{
	int i = read_word(key, "cache", value, disk_caches);

	d->cache = i < 0 ? CACHE_WRITEBACK : (enum disk_cache)i;
	return i < 0 ? i : 0;
}

static int set_werror(struct disk_conf *d, const char *key, const char *value)
{
	int i = read_word(key, "werror", value, disk_werrors);

	d->werror = i < 0 ? WERROR_ENOSPC : (enum disk_werror)i;
	return i < 0 ? i : 0;
}

static int set_image(struct disk_conf *d, const char *key, const char *name)
{
	int rc = name_check("image", name);

	if (rc < 0)
		return fail_in(rc, "%s", key);
	memcpy(d->image, name, strlen(name) + 1);
	return 0;
}

/* VALUE is FORMAT:PATH. */
static int set_base(struct disk_conf *d, const char *key, const char *value)
{
	size_t room = strlen(d->path) + 1;
	const char *path = strchr(value, ':');
	char *both;

	for (int i = 0; path && disk_formats[i]; i++) {
		const char *rest;

		if (!starts_with(value, disk_formats[i], &rest) ||
		    rest != path || path[1] != '/')
			continue;
		/* one allocation, freed with the path */
		both = realloc(d->path, room + strlen(path));
		if (!both)
			return fail(ENOMEM, "%s: out of memory", key);
		d->path = both;
		d->base = memcpy(both + room, path + 1, strlen(path));
		d->base_format = i;
		return 0;
	}
	return fail(E_CONFIG, "%s: base '%s': not raw:/PATH or qcow2:/PATH",
		    key, value);
}

static int set_bus(struct disk_conf *d, const char *key, const char *value)
{
	(void)d;
	return !strcmp(value, "virtio") ? 0 :
		fail(E_CONFIG, "%s: bus '%s': only virtio", key, value);
}

static int set_readonly(struct disk_conf *d, const char *key,
			const char *value)
{
	(void)key, (void)value;
	d->readonly = true;
	return 0;
}

static int set_queues(struct disk_conf *d, const char *key, const char *value)
{
	uint64_t n;
	int rc = parse_u64("queues", value, &n);

	if (rc < 0)
		return fail_in(rc, "%s", key);
	if (n < 1 || n > DISK_QUEUES)
		return fail(E_CONFIG, "%s: queues %s: 1 to %d", key, value,
			    DISK_QUEUES);
	d->queues = n;
	return 0;
}

static int set_block_size(struct disk_conf *d, const char *key,
			  const char *value)
{
	uint64_t n;
	int rc = parse_size("block_size", value, &n);

	if (rc < 0)
		return fail_in(rc, "%s", key);
	if (n != 512 && n != 4096)
		return fail(E_CONFIG, "%s: block_size %s: not 512 or 4096",
			    key, value);
	d->block_size = n;
	return 0;
}

/* VALUE is RATE[/BURST], each read by PARSE. */
static int set_rate(struct disk_rate *r, const char *key, const char *what,
		    const char *value,
		    int (*parse)(const char *what, const char *s,
				 uint64_t *out))
{
	autofree char *copy = strdup(value);
	char *rest = copy;
	int rc;

	if (!copy)
		return fail(ENOMEM, "%s: out of memory", key);
	*r = (struct disk_rate){ 0 };
	rc = parse(what, cut(&rest, '/'), &r->per_second);
	if (rc == 0 && rest)
		rc = parse(what, rest, &r->burst);
	if (rc < 0)
		return fail_in(rc, "%s", key);
	if (!r->per_second || (rest && !r->burst))
		return fail(E_CONFIG, "%s: %s %s: at least 1", key, what,
			    value);
	return 0;
}

static int set_iops(struct disk_conf *d, const char *key, const char *value)
{
	return set_rate(&d->iops, key, "iops", value, parse_u64);
}

static int set_bps(struct disk_conf *d, const char *key, const char *value)
{
	return set_rate(&d->bps, key, "bps", value, parse_size);
}

const struct disk_option disk_options[] = {
	{ "base", "FORMAT:PATH", false, set_base },
	{ "block_size", "512|4096", false, set_block_size },
	{ "bps", "SIZE[/BURST]", true, set_bps },
	{ "bus", "virtio", false, set_bus },
	{ "cache", "writeback|writethrough|unsafe", false, set_cache },
	{ "format", "raw|qcow2", false, set_format },
	{ "image", "NAME", false, set_image },
	{ "iops", "N[/BURST]", true, set_iops },
	{ "queues", "N", false, set_queues },
	{ "ro", NULL, false, set_readonly },
	{ "serial", "TEXT", false, set_serial },
	{ "werror", "enospc|stop|report", false, set_werror },
	{ 0 }
};

const struct disk_option *disk_option(const char *word)
{
	for (const struct disk_option *o = disk_options; o->word; o++)
		if (!strcmp(o->word, word))
			return o;
	return NULL;
}

static int unknown_option(const char *key, const char *option)
{
	autobuf struct buf all = BUF_INIT;

	for (const struct disk_option *o = disk_options; o->word; o++)
		buf_printf(&all, "%s%s%s", o == disk_options ? "" : " ",
			   o->word, o->meta ? "=" : "");
	return fail(E_USAGE, "%s: '%s': not a disk option (%s); a path may "
		    "hold no comma", key, option, all.data);
}

/* OPTION is WORD or WORD=VALUE; it is cut. */
static int set_option(struct disk_conf *d, const char *key, char *option)
{
	autofree char *whole = strdup(option);
	char *value = option;
	const struct disk_option *o;

	if (!whole)
		return fail(ENOMEM, "%s: out of memory", key);
	o = disk_option(cut(&value, '='));
	if (!o || !o->meta != !value)
		return unknown_option(key, whole);
	return o->set(d, key, value);
}

int disk_conf_parse(struct disk_conf *d, const char *key, const char *value)
{
	autofree char *copy = strdup(value);
	char *rest = copy, *path = copy ? cut(&rest, ',') : NULL;
	int rc = 0;

	free(d->path);
	*d = (struct disk_conf){ 0 };
	if (path && !*path)
		return fail(E_CONFIG, "%s: an empty path", key);
	d->path = path ? strdup(path) : NULL;
	if (!d->path)
		return fail(ENOMEM, "%s: out of memory", key);
	while (rc == 0 && rest)
		rc = set_option(d, key, cut(&rest, ','));
	if (rc == 0 && d->image[0] && d->format != FORMAT_QCOW2)
		rc = fail(E_CONFIG, "%s: image=%s wants format=qcow2", key,
			  d->image);
	if (rc == 0 && d->base && d->format != FORMAT_QCOW2)
		rc = fail(E_CONFIG, "%s: base=%s:%s wants format=qcow2", key,
			  disk_formats[d->base_format], d->base);
	return rc;
}

/* -- comparing and editing -- */

static bool same_rate(const struct disk_rate *a, const struct disk_rate *b)
{
	return a->per_second == b->per_second && a->burst == b->burst;
}

bool disk_conf_same_rates(const struct disk_conf *a, const struct disk_conf *b)
{
	return same_rate(&a->iops, &b->iops) && same_rate(&a->bps, &b->bps);
}

static bool same_base(const struct disk_conf *a, const struct disk_conf *b)
{
	if (!a->base || !b->base)
		return a->base == b->base;
	return a->base_format == b->base_format && !strcmp(a->base, b->base);
}

bool disk_conf_same(const struct disk_conf *a, const struct disk_conf *b)
{
	if (!a->path || !b->path)
		return a->path == b->path;
	return !strcmp(a->path, b->path) && a->format == b->format &&
		!strcmp(a->image, b->image) && same_base(a, b) &&
		a->readonly == b->readonly &&
		!strcmp(a->serial, b->serial) && a->cache == b->cache &&
		a->werror == b->werror && a->queues == b->queues &&
		a->block_size == b->block_size;
}

/* Whether PART, up to a comma or its end, is option WORD. */
static bool is_option(const char *part, const char *word)
{
	const char *rest;

	return starts_with(part, word, &rest) && strchr(",=", *rest);
}

void disk_conf_edit(const char *value, const char *option, const char *to,
		    struct buf *out)
{
	const struct disk_option *o = disk_option(option);
	size_t len = strcspn(value, ",");

	buf_add(out, value, len);
	for (value += len; *value; value += len) {
		len = 1 + strcspn(value + 1, ",");
		if (!is_option(value + 1, option))
			buf_add(out, value, len);
	}
	if (!to || !*to)
		return;
	buf_printf(out, ",%s", option);
	if (!o || o->meta)
		buf_printf(out, "=%s", to);
}

void disk_conf_move(const char *value, const char *path,
		    enum disk_format format, struct buf *out)
{
	autobuf struct buf moved = BUF_INIT, alone = BUF_INIT, bare = BUF_INIT;

	buf_printf(&moved, "%s%s", path, value + strcspn(value, ","));
	disk_conf_edit(moved.data, "image", NULL, &alone);
	disk_conf_edit(alone.data, "base", NULL, &bare);
	disk_conf_edit(bare.data, "format", disk_formats[format], out);
	out->failed |= moved.failed || alone.failed || bare.failed;
}
