/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"

static const char blanks[] = " \t";

static int no_memory(void)
{
	return fail(ENOMEM, "out of memory");
}

static void entry_release(struct catalog_entry *e)
{
	free(e->name);
	free(e->url);
	free(e->sums);
	free(e->note);
	*e = (struct catalog_entry){ 0 };
}

void catalog_release(struct catalog *c)
{
	for (size_t i = 0; i < c->n; i++)
		entry_release(&c->entry[i]);
	free(c->entry);
	*c = (struct catalog)CATALOG_INIT;
}

static const struct catalog_entry *find(const struct catalog *c,
					const char *name)
{
	for (size_t i = 0; i < c->n; i++)
		if (!strcmp(c->entry[i].name, name))
			return &c->entry[i];
	return NULL;
}

const struct catalog_entry *catalog_find(const struct catalog *c,
					 const char *name)
{
	const struct catalog_entry *e = find(c, name);

	if (!e)
		fail(E_NOENT, "no image '%s' in the catalog", name);
	return e;
}

static bool is_web(const char *s)
{
	return starts_with(s, "https://", NULL) ||
	       starts_with(s, "http://", NULL);
}

/* The next word of *S, which is cut off; *S goes behind it. */
static char *word(char **s)
{
	char *start = *s + strspn(*s, blanks);
	size_t len = strcspn(start, blanks);

	*s = start + len;
	if (**s)
		*(*s)++ = '\0';
	return start;
}

/* Cuts blanks at both ends of S. */
static char *trim(char *s)
{
	size_t len;

	s += strspn(s, blanks);
	for (len = strlen(s); len && strchr(blanks, s[len - 1]); len--)
		;
	s[len] = '\0';
	return s;
}

static int check_sums(const char *s)
{
	struct sum sum;

	if (!*s)
		return fail(E_CONFIG, "nothing says where its sums are (a "
			    "list's name, or -)");
	if (strlen(s) > CATALOG_URL_MAX)
		return fail(E_CONFIG, "'%.40s...': too long", s);
	if (is_web(s))
		return 0;
	if (strchr(s, ':') && sum_parse(s, &sum) < 0)
		return -E_CONFIG;
	if (strchr(s, '/'))
		return fail(E_CONFIG, "'%.100s': not a list of sums beside the "
			    "image", s);
	return 0;
}

static int check_line(const char *name, const char *url, const char *sums)
{
	if (!name_ok(name))
		return fail(E_CONFIG, "'%.100s': not an image name (a-z 0-9 . "
			    "_ -, at most %d)", name, NAME_MAX_LEN);
	if (!is_web(url))
		return fail(E_CONFIG, "'%.100s': not a URL (https:// or "
			    "http://)", url);
	if (strlen(url) > CATALOG_URL_MAX)
		return fail(E_CONFIG, "'%.40s...': too long", url);
	return check_sums(sums);
}

/* Appends an entry. */
static int add(struct catalog *c, const char *name, const char *url,
	       const char *sums, const char *note, bool own)
{
	struct catalog_entry *e;

	if (c->n == c->size) {
		size_t size = c->size + c->size / 2 + 16;

		e = reallocarray(c->entry, size, sizeof(*e));
		if (!e)
			return no_memory();
		c->entry = e;
		c->size = size;
	}
	e = &c->entry[c->n];
	*e = (struct catalog_entry){
		.name = strdup(name), .url = strdup(url),
		.sums = strdup(sums), .note = strdup(note), .own = own,
	};
	if (!e->name || !e->url || !e->sums || !e->note) {
		entry_release(e);
		return no_memory();
	}
	c->n++;
	return 0;
}

/* LINE is cut into words. */
static int parse_line(struct catalog *c, char *line, bool own)
{
	char *name, *url, *sums;
	int rc;

	if (line[0] == '#' || !line[strspn(line, blanks)])
		return 0;
	for (const char *p = line; *p; p++)
		if ((unsigned char)*p < ' ' && *p != '\t')
			return fail(E_CONFIG, "control character 0x%02x", *p);
	name = word(&line);
	url = word(&line);
	sums = word(&line);
	rc = check_line(name, url, sums);
	if (rc < 0 || find(c, name))
		return rc;
	return add(c, name, url, sums, trim(line), own);
}

int catalog_parse(struct catalog *c, const char *text, size_t len, bool own)
{
	autofree char *copy = strndup(text, len);
	size_t n = 0;

	if (!copy)
		return no_memory();
	if (strlen(copy) != len)
		return fail(E_CONFIG, "a NUL in it: not a text");
	for (char *rest = copy; rest;) {
		char *line = cut(&rest, '\n');
		int rc = parse_line(c, line, own);

		n++;
		if (rc < 0)
			return fail_in(rc, "line %zu", n);
	}
	return 0;
}

/* Adds what PATH under DIR holds; a missing one is empty unless NEEDED. */
static int add_file(struct catalog *c, int dir, const char *path, bool own,
		    bool needed)
{
	autobuf struct buf b = BUF_INIT;
	int rc = file_read(dir, path, &b, CATALOG_MAX);

	if (rc == -ENOENT && !needed)
		return 0;
	if (rc < 0)
		return rc;
	rc = catalog_parse(c, b.data, b.len, own);
	return rc < 0 ? fail_in(rc, "%s", path) : 0;
}

static int add_installed(struct catalog *c)
{
	static const char place[] = "../share/vmutils/catalog";
	const char *named = getenv("VM_CATALOG");
	char program[4096];
	ssize_t n;
	char *slash;
	autoclose int dir = -1;

	if (named && named[0])
		return add_file(c, AT_FDCWD, named, false, true);
	n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	program[n < 0 ? 0 : n] = '\0';
	slash = strrchr(program, '/');
	if (!slash)
		return 0;
	slash[1] = '\0';
	dir = open(program, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? 0 : add_file(c, dir, place, false, false);
}

int catalog_open(struct catalog *c, const struct store *st)
{
	int rc = 0;

	*c = (struct catalog)CATALOG_INIT;
	if (st->fd >= 0)
		rc = add_file(c, st->fd, "catalog", true, false);
	if (rc < 0)
		fail_in(rc, "%s", st->path);
	else
		rc = add_installed(c);
	if (rc < 0)
		catalog_release(c);
	return rc;
}

int catalog_sums(const struct catalog_entry *e, struct sum *sum,
		 struct buf *url)
{
	size_t end = strcspn(e->url, "?#");
	int how = CATALOG_SUMS_LIST;

	if (!strcmp(e->sums, "-"))
		return CATALOG_SUMS_NONE;
	if (!is_web(e->sums) && strchr(e->sums, ':'))
		return sum_parse(e->sums, sum) < 0 ? -E_CONFIG
						   : CATALOG_SUMS_GIVEN;
	if (is_web(e->sums)) {
		buf_str(url, e->sums);
		return url->failed ? no_memory() : CATALOG_SUMS_LIST;
	}
	if (e->sums[0] == '.')
		how = CATALOG_SUMS_OWN;
	else	/* a URL has a '/' */
		while (e->url[end - 1] != '/')
			end--;
	buf_add(url, e->url, end);
	buf_str(url, e->sums);
	return url->failed ? no_memory() : how;
}
