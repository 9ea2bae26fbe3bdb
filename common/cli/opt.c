/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/opt.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/near.h"
#include "cli/table.h"

struct common_args common;

const struct opt common_opts[] = {
	OPT('h', "help", OPT_FLAG, NULL, struct common_args, help,
	    "print this and end"),
	OPT(0, "version", OPT_FLAG, NULL, struct common_args, version,
	    "print the version and end"),
	OPT(0, "state", OPT_STR, "DIR", struct common_args, state,
	    "the state directory (default $VM_STATE)", COMPLETE_DIR),
	OPT('v', "verbose", OPT_FLAG, NULL, struct common_args, verbose,
	    "say more on standard error"),
	OPT(0, "lock-wait", OPT_TIME, "SEC", struct common_args, lock_wait,
	    "wait so long for a VM another command uses (default 0)"),
	OPT(0, "dump-options", OPT_FLAG, NULL, struct common_args, dump, NULL),
	{ 0 }
};

/* An option as it was found, and the struct its field lies in. */
struct found {
	const struct opt *opt;
	void *base;
};

/* What is read, and where. */
struct scan {
	const struct command *c;
	char **argv;
	int argc, next;
};

static struct found find_brief(const struct command *c, char brief)
{
	for (const struct opt *o = c->opts; o && o->type; o++)
		if (o->brief == brief)
			return (struct found){ o, c->args };
	for (const struct opt *o = common_opts; o->type; o++)
		if (o->brief == brief)
			return (struct found){ o, &common };
	return (struct found){ NULL, NULL };
}

/*
 * The option of TABLE that NAME (LEN bytes) names in full, or all but in
 * full; *MATCHES counts those it is the beginning of.
 */
static const struct opt *find_in(const struct opt *table, const char *name,
				 size_t len, int *matches)
{
	const struct opt *found = NULL;

	for (const struct opt *o = table; o && o->type; o++) {
		if (strncmp(o->name, name, len))
			continue;
		if (!o->name[len])
			return *matches = 1, o;
		if (!o->help)
			continue;
		found = o;
		++*matches;
	}
	return found;
}

static int unknown_long(const struct command *c, const char *name, size_t len)
{
	char word[NEAR_WORD] = "";
	struct near near = NEAR(word);

	if (len < sizeof(word))
		memcpy(word, name, len);
	for (const struct opt *o = c->opts; o && o->type; o++)
		near_try(&near, o->name);
	for (const struct opt *o = common_opts; o->type; o++)
		if (o->help)
			near_try(&near, o->name);
	return fail(E_USAGE, "unknown option --%.*s%s%s%s", (int)len, name,
		    near.best ? " (--" : "", near.best ? near.best : "",
		    near.best ? "?)" : "");
}

static int find_long(const struct command *c, const char *name, size_t len,
		     struct found *f)
{
	int own = 0, other = 0;
	const struct opt *o = find_in(c->opts, name, len, &own);
	const struct opt *s = find_in(common_opts, name, len, &other);

	if (s && !s->name[len])		/* in full */
		own = 0, other = 1;
	else if (o && !o->name[len])
		other = 0;
	if (own + other == 0)
		return unknown_long(c, name, len);
	if (own + other > 1)
		return fail(E_USAGE, "option --%.*s: several begin so", (int)len,
			    name);
	*f = own ? (struct found){ o, c->args } : (struct found){ s, &common };
	return 0;
}

static int list_add(struct opt_list *l, const char *value)
{
	const char **item = realloc(l->item, (l->n + 1) * sizeof(*item));

	if (!item)
		return fail(ENOMEM, "out of memory");
	item[l->n++] = value;
	l->item = item;
	return 0;
}

/* Stores VALUE (NULL for flags) where F's option wants it. */
static int store(const struct found *f, const char *value)
{
	void *field = (char *)f->base + f->opt->offset;
	const char *what = f->opt->name;

	switch (f->opt->type) {
	case OPT_FLAG:
		*(bool *)field = true;
		return 0;
	case OPT_NUM:
		return parse_u64(what, value, field);
	case OPT_SIZE:
		return parse_size(what, value, field);
	case OPT_TIME:
		return parse_duration(what, value, field);
	case OPT_STR:
		*(const char **)field = value;
		return 0;
	case OPT_LIST:
		return list_add(field, value);
	case OPT_END:
		break;
	}
	assert(!"option type");
	return 0;
}

/* The value is JOINED (not NULL), else the next word. */
static int take_value(struct scan *s, const struct found *f,
		      const char *spelt, const char *joined)
{
	if (joined)
		return store(f, joined);
	if (s->next == s->argc)
		return fail(E_USAGE, "option %s: wants a value: %s", spelt,
			    f->opt->meta);
	return store(f, s->argv[s->next++]);
}

/* --NAME, --NAME=VALUE, --NAME VALUE */
static int parse_long(struct scan *s, const char *word)
{
	size_t len = strcspn(word + 2, "=");
	const char *value = word[2 + len] ? word + 2 + len + 1 : NULL;
	struct found f = { 0 };
	int rc = find_long(s->c, word + 2, len, &f);

	if (rc < 0)
		return rc;
	if (f.opt->type != OPT_FLAG)
		return take_value(s, &f, word, value);
	if (value)
		return fail(E_USAGE, "option --%s: takes no value",
			    f.opt->name);
	return store(&f, NULL);
}

/* -a, -abc, -mVALUE, -m VALUE */
static int parse_brief(struct scan *s, const char *word)
{
	int rc = 0;

	for (const char *p = word + 1; *p && rc == 0; p++) {
		struct found f = find_brief(s->c, *p);
		char spelt[3] = { '-', *p };

		if (!f.opt)
			return fail(E_USAGE, "unknown option %s", spelt);
		if (f.opt->type != OPT_FLAG)
			return take_value(s, &f, spelt, p[1] ? p + 1 : NULL);
		rc = store(&f, NULL);
	}
	return rc;
}

int opt_parse(const struct command *c, int argc, char **argv)
{
	struct scan s = { .c = c, .argv = argv, .argc = argc, .next = 1 };
	bool ended = false;
	int n = 0, rc = 0;

	while (s.next < argc) {
		char *word = argv[s.next++];

		if (ended || word[0] != '-' || !word[1]) {
			argv[n++] = word;
			ended |= c->verbatim;
		} else if (!strcmp(word, "--")) {
			ended = true;
		} else {
			rc = word[1] == '-' ? parse_long(&s, word) :
					      parse_brief(&s, word);
		}
		if (rc < 0)
			return rc;
	}
	if (argc > 0)
		argv[n] = NULL;
	return n;
}

enum { HELP_COLUMN = 26 };

/* Behind the USED letters of a term: what it means, in its column. */
static void help_text(const char *help, size_t used, struct buf *out)
{
	if (used > HELP_COLUMN - 2) {
		buf_char(out, '\n');
		used = 0;
	}
	buf_printf(out, "%*s%s\n", (int)(HELP_COLUMN - used), "", help);
}

/* "  -m, --memory SIZE       guest memory" */
static void help_opt(const struct opt *o, struct buf *out)
{
	size_t start = out->len;

	if (o->brief)
		buf_printf(out, "  -%c, --%s", o->brief, o->name);
	else
		buf_printf(out, "      --%s", o->name);
	if (o->meta)
		buf_printf(out, " %s", o->meta);
	help_text(o->help, out->len - start, out);
}

static void help_columns(const char *title, const struct column *cols,
			 struct buf *out)
{
	if (!cols)
		return;
	buf_printf(out, "\n%s (*: printed without -o):\n", title);
	for (; cols->name; cols++) {
		size_t start = out->len;

		buf_printf(out, "%s %s", cols->shown ? " *" : "  ", cols->name);
		help_text(cols->help, out->len - start, out);
	}
}

static void help_table(const char *title, const struct opt *table,
		       struct buf *out)
{
	if (!table || !table->type)
		return;
	buf_printf(out, "\n%s:\n", title);
	for (const struct opt *o = table; o->type; o++)
		if (o->help)
			help_opt(o, out);
}

void opt_help(const struct command *c, struct buf *out)
{
	buf_printf(out, "usage: %s [OPTION]...%s%s\n%s\n", c->name,
		   c->operands ? " " : "", c->operands ? c->operands : "",
		   c->summary);
	if (c->details)
		buf_printf(out, "\n%s\n", c->details);
	help_table("options", c->opts, out);
	help_columns("columns", c->columns, out);
	help_columns("columns of the other list", c->other_columns, out);
	help_table("common options", common_opts, out);
}
