/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * table.h - rows of values; one table of columns gives text, JSON, names,
 * sorting and filters (vm.7, OUTPUT).
 *
 *	static const struct column cols[] = {
 *		{ "name", COL_TEXT, true, "its name" },
 *		{ "memory", COL_SIZE, true, "guest memory" },
 *		{ 0 }
 *	};
 *
 * Text: a header in capitals and aligned columns (one that most lists lack only
 * where a row has it: `if_any`); -H no header and tabs; -p exact
 * numbers (bytes, epoch seconds); --json one object a line, numbers as
 * numbers, absent values null ("-" in text); -q the first column only.
 * Control characters of a value, and bytes that are no UTF-8, become '?' in
 * text; in JSON the former are escaped, the latter replaced. Text sorts with
 * numbers in it by their value (web2 before web10), absent values first.
 *
 * A tree is rows in its order whose text has a lead: blanks and a mark in
 * front of it. It is printed where people read all rows as they came.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "base/buf.h"
#include "cli/opt.h"

enum col_type {
	COL_TEXT,
	COL_NUM,	/* plain number */
	COL_SIZE,	/* bytes */
	COL_AGE,	/* seconds, as a duration */
	COL_TIME,	/* epoch seconds, as UTC */
};

struct column {
	const char *name;
	enum col_type type;
	bool shown;		/* without -o */
	const char *help;
	bool if_any;		/* shown, in aligned text, when a row has it */
};

struct cell {
	bool set;
	char *text;		/* COL_TEXT, owned */
	uint64_t num;
	uint16_t depth;		/* of its lead: levels */
	bool branch;		/* its lead ends in a mark: a branch begins */
};

/* -H -p -o -s -S -f -q --json, to be embedded in a command's args. */
struct table_args {
	bool no_header, exact, quiet, json;
	const char *columns, *sort, *sort_down;
	struct opt_list filter;
};

/* The rows of these for a command's table of options. */
#define TABLE_OPTS(args, f) \
	OPT('H', "no-header", OPT_FLAG, NULL, args, f.no_header, \
	    "no header, columns separated by one tab"), \
	OPT('p', "exact", OPT_FLAG, NULL, args, f.exact, \
	    "exact numbers: bytes, epoch seconds"), \
	OPT('o', "columns", OPT_STR, "COL,...", args, f.columns, \
	    "print these columns", COMPLETE_COLUMN), \
	OPT('s', "sort", OPT_STR, "COL", args, f.sort, "sort up by COL", \
	    COMPLETE_COLUMN), \
	OPT('S', "sort-down", OPT_STR, "COL", args, f.sort_down, \
	    "sort down by COL", COMPLETE_COLUMN), \
	OPT('f', "filter", OPT_LIST, "COL=VALUE", args, f.filter, \
	    "only rows whose COL is VALUE (COL!=VALUE: is not)", \
	    COMPLETE_COLUMN), \
	OPT('q', "quiet", OPT_FLAG, NULL, args, f.quiet, "names only"), \
	OPT(0, "json", OPT_FLAG, NULL, args, f.json, \
	    "one JSON object a line")

enum { TABLE_COLS = 32 };

/* One -f: what its cell must be, or (NOT) must not be. */
struct table_filter {
	int col;
	bool not;
	struct cell want;
};

struct table {
	const struct column *cols;
	int ncols;
	const struct table_args *args;
	struct cell *cells;		/* nrows * ncols */
	size_t nrows, size;
	int show[TABLE_COLS], nshow;	/* what is printed, in order */
	int sort;			/* by this column, -1: as they came */
	struct table_filter *filter;
	size_t nfilters;
};

/*
 * Checks -o, -s, -S, -f against COLS, at most TABLE_COLS, ended by a NULL
 * name: 0 or -E_USAGE.
 */
int table_init(struct table *t, const struct column *cols,
	       const struct table_args *args);
/* Whether column COL is wanted at all (shown, sorted or filtered by). */
bool table_wants(const struct table *t, int col);
/* Whether rows are printed as they come, with leads. */
bool table_shows_tree(const struct table *t);
/* A new row, all cells unset, until the next call; NULL: no memory. */
struct cell *table_row(struct table *t);
void cell_text(struct cell *c, const char *text);
void cell_num(struct cell *c, uint64_t num);
/* The lead of its text: DEPTH levels of a tree; BRANCH: the first of one. */
void cell_lead(struct cell *c, size_t depth, bool branch);
/* Filters, sorts, prints on standard output. 0 or -errno. */
int table_print(struct table *t);
void table_release(struct table *t);

#endif
