/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/config.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"

/*
 * Lines are what stands between newlines, so the last line of a text that
 * ends with one is empty, and joining the lines gives the text again.
 */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_control(unsigned char c)
{
	return (c < ' ' && c != '\t') || c == 0x7f;
}

static bool key_ok(const char *s, size_t len)
{
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";

	if (!len || s[0] < 'a' || s[0] > 'z')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!memchr(rest, s[i], sizeof(rest) - 1))
			return false;
	return true;
}

static int no_memory(void)
{
	return fail(ENOMEM, "config: out of memory");
}

static void line_release(struct config_line *l)
{
	free(l->text);
	free(l->key);
	free(l->value);
	*l = (struct config_line){ 0 };
}

void config_release(struct config *c)
{
	for (size_t i = 0; i < c->n; i++)
		line_release(&c->line[i]);
	free(c->line);
	*c = (struct config)CONFIG_INIT;
}

/* Room for MORE lines. */
static bool grow(struct config *c, size_t more)
{
	size_t size = c->size + c->size / 2 + 16;
	struct config_line *line;

	if (c->size - c->n >= more)
		return true;
	line = reallocarray(c->line, size, sizeof(*line));
	if (!line)
		return false;
	c->line = line;
	c->size = size;
	return true;
}

/* Fills L->key and ->value with what TEXT (LEN bytes, a '=' at EQ) says. */
static bool split(struct config_line *l, const char *text, size_t len,
		  size_t eq)
{
	size_t start = eq + 1;

	while (start < len && is_blank(text[start]))
		start++;
	while (len > start && is_blank(text[len - 1]))
		len--;
	l->key = strndup(text, eq);
	l->value = strndup(text + start, len - start);
	return l->key && l->value;
}

/* Reads one line into L, which is zeroed. */
static int parse_line(struct config_line *l, const char *text, size_t len)
{
	const char *eq = memchr(text, '=', len);
	size_t blanks = 0;

	for (size_t i = 0; i < len; i++)
		if (is_control(text[i]))
			return fail(E_CONFIG, "control character 0x%02x",
				    (unsigned char)text[i]);
	l->text = strndup(text, len);
	if (!l->text)
		return no_memory();
	while (blanks < len && is_blank(text[blanks]))
		blanks++;
	if (blanks == len || text[0] == '#')
		return 0;
	if (!eq)
		return fail(E_CONFIG, "'%.40s': not KEY=VALUE", l->text);
	if (!key_ok(text, eq - text))
		return fail(E_CONFIG, "'%.*s': not a key (a-z 0-9 . _ -, "
			    "beginning with a letter)",
			    (int)min_u64(eq - text, 40), text);
	return split(l, text, len, eq - text) ? 0 : no_memory();
}

static int by_key(const void *a, const void *b)
{
	const struct config_line *x = *(const struct config_line **)a;
	const struct config_line *y = *(const struct config_line **)b;
	int order = strcmp(x->key, y->key);

	return order ? order : (x > y) - (x < y);
}

/* Refuses a key that stands twice; sorted, as there may be many keys. */
static int check_twice(const struct config *c)
{
	autofree const struct config_line **keys =
		calloc(c->n + 1, sizeof(*keys));
	size_t n = 0;

	if (!keys)
		return no_memory();
	for (size_t i = 0; i < c->n; i++)
		if (c->line[i].key)
			keys[n++] = &c->line[i];
	qsort(keys, n, sizeof(*keys), by_key);
	for (size_t i = 1; i < n; i++)
		if (!strcmp(keys[i - 1]->key, keys[i]->key))
			return fail(E_CONFIG, "line %zu: %.40s stands in line "
				    "%zu already", keys[i] - c->line + 1,
				    keys[i]->key, keys[i - 1] - c->line + 1);
	return 0;
}

static int parse_lines(struct config *c, const char *text, size_t len)
{
	const char *end = text + len;

	for (const char *p = text;; p++) {
		const char *nl = memchr(p, '\n', end - p);
		int rc;

		if (!grow(c, 1))
			return no_memory();
		c->line[c->n] = (struct config_line){ 0 };
		rc = parse_line(&c->line[c->n++], p, (nl ? nl : end) - p);
		if (rc < 0)
			return fail_in(rc, "line %zu", c->n);
		if (!nl)
			return check_twice(c);
		p = nl;
	}
}

int config_parse(struct config *c, const char *text, size_t len)
{
	int rc;

	config_release(c);
	if (len > CONFIG_MAX)
		return fail(E_CONFIG, "larger than %d bytes", CONFIG_MAX);
	rc = parse_lines(c, text, len);
	if (rc < 0)
		config_release(c);
	return rc;
}

void config_format(const struct config *c, struct buf *out)
{
	for (size_t i = 0; i < c->n; i++) {
		if (i)
			buf_char(out, '\n');
		buf_str(out, c->line[i].text);
	}
}

static struct config_line *find(const struct config *c, const char *key)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->line[i].key && !strcmp(c->line[i].key, key))
			return &c->line[i];
	return NULL;
}

const char *config_get(const struct config *c, const char *key)
{
	const struct config_line *l = find(c, key);

	return l ? l->value : NULL;
}

static int check_value(const char *key, const char *value)
{
	size_t len = strlen(value);

	for (size_t i = 0; i < len; i++)
		if (is_control(value[i]))
			return fail(E_USAGE, "%s: a value holds no control "
				    "character (0x%02x)", key,
				    (unsigned char)value[i]);
	if (len && (is_blank(value[0]) || is_blank(value[len - 1])))
		return fail(E_USAGE, "%s '%s': a value neither begins nor ends "
			    "with a blank", key, value);
	return 0;
}

static bool make_line(struct config_line *l, const char *key,
		      const char *value)
{
	autobuf struct buf b = BUF_INIT;

	buf_printf(&b, "%s=%s", key, value);
	*l = (struct config_line){ .key = strdup(key), .value = strdup(value) };
	l->text = buf_take(&b);
	if (l->text && l->key && l->value)
		return true;
	line_release(l);
	return false;
}

/* Adds L at the end of the text, which then ends with a newline. */
static bool append(struct config *c, const struct config_line *l)
{
	char *empty = strdup("");

	if (!empty || !grow(c, 2)) {
		free(empty);
		return false;
	}
	/* a text that ends with a newline has its empty last line already */
	if (c->n && !c->line[c->n - 1].text[0])
		line_release(&c->line[--c->n]);
	c->line[c->n++] = *l;
	c->line[c->n++] = (struct config_line){ .text = empty };
	return true;
}

/* Removes the line L of C. */
static void drop(struct config *c, struct config_line *l)
{
	line_release(l);
	memmove(l, l + 1, (char *)&c->line[--c->n] - (char *)l);
}

int config_set(struct config *c, const char *key, const char *value)
{
	struct config_line *old = find(c, key), line;
	int rc;

	if (!value) {
		if (old)
			drop(c, old);
		return 0;
	}
	if (!key_ok(key, strlen(key)))
		return fail(E_USAGE, "'%s': not a key (a-z 0-9 . _ -, "
			    "beginning with a letter)", key);
	rc = check_value(key, value);
	if (rc < 0)
		return rc;
	if (!make_line(&line, key, value))
		return no_memory();
	if (old) {
		line_release(old);
		*old = line;
	} else if (!append(c, &line)) {
		line_release(&line);
		return no_memory();
	}
	return 0;
}

int config_copy(struct config *dst, const struct config *src)
{
	for (size_t i = 0; i < src->n; i++) {
		const struct config_line *s = &src->line[i];
		struct config_line *d;

		if (!grow(dst, 1))
			goto fail;
		d = &dst->line[dst->n++];
		*d = (struct config_line){ .text = strdup(s->text) };
		if (s->key) {
			d->key = strdup(s->key);
			d->value = strdup(s->value);
		}
		if (!d->text || (s->key && (!d->key || !d->value)))
			goto fail;
	}
	return 0;
fail:
	config_release(dst);
	return no_memory();
}
