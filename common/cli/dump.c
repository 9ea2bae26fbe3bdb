/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/dump.h"

#include <assert.h>

#include "cli/table.h"
#include "state/vmconf.h"

static const char *const complete_names[] = {
	[COMPLETE_NONE] = "none",
	[COMPLETE_FILE] = "file",
	[COMPLETE_VM] = "vm",
	[COMPLETE_DIR] = "dir",
	[COMPLETE_WORDS] = "words",
	[COMPLETE_KEY] = "key",
	[COMPLETE_COLUMN] = "column",
};
static_assert(ARRAY_SIZE(complete_names) == COMPLETE_COLUMN + 1, "complete");

static const char *or_dash(const char *s)
{
	return s ? s : "-";
}

/* Whether one of them completes a key of the config. */
static bool dump_table(const char *kind, const struct opt *table,
		       struct buf *out)
{
	bool keys = false;

	for (const struct opt *o = table; o && o->type; o++) {
		char brief[3] = { '-', o->brief };

		if (!o->help)
			continue;
		keys |= o->complete == COMPLETE_KEY;
		buf_printf(out, "%s\t%s\t--%s\t%s\t%s\t%s\n", kind, brief,
			   o->name, or_dash(o->meta),
			   complete_names[o->complete], o->help);
	}
	return keys;
}

static void dump_keys(struct buf *out)
{
	for (const struct vmconf_key *k = vmconf_keys; k->key; k++)
		buf_printf(out, "key\t%s\t%s\t%s\n", k->key, or_dash(k->meta),
			   k->help);
}

static bool has_column(const struct column *cols, const char *name)
{
	for (; cols && cols->name; cols++)
		if (!strcmp(cols->name, name))
			return true;
	return false;
}

/* Each name once: what both tables have is one word to a shell. */
static void dump_columns(const struct command *c, struct buf *out)
{
	const struct column *col;

	for (col = c->columns; col && col->name; col++)
		buf_printf(out, "column\t%s\t%s\n", col->name, col->help);
	for (col = c->other_columns; col && col->name; col++)
		if (!has_column(c->columns, col->name))
			buf_printf(out, "column\t%s\t%s\n", col->name,
				   col->help);
}

void dump_command(const struct command *c, struct buf *out)
{
	bool keys = c->complete == COMPLETE_KEY;

	buf_printf(out, "command\t%s\t%s\t%s\t%s\n", c->name,
		   or_dash(c->operands), complete_names[c->complete],
		   c->summary);
	keys |= dump_table("option", c->opts, out);
	dump_table("common", common_opts, out);
	dump_columns(c, out);
	if (keys)
		dump_keys(out);
}
