/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/table.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/near.h"
#include "cli/out.h"
#include "cli/utf8.h"

enum {
	NS_PER_S = 1000000000,
	LEAD = 2,		/* columns of one level */
	MAX_DEPTH = 32,		/* beyond it a tree is as flat as here */
};

static struct cell *cell_at(const struct table *t, size_t row, int col)
{
	return &t->cells[row * t->ncols + col];
}

/* -- what is asked for -- */

/* The column called NAME (LEN bytes), or -E_USAGE. */
static int find_column(const struct table *t, const char *name, size_t len)
{
	autobuf struct buf word = BUF_INIT, all = BUF_INIT;
	struct near near;

	buf_add(&word, name, len);
	near = (struct near)NEAR(word.data);
	for (int i = 0; i < t->ncols; i++) {
		if (!strcmp(t->cols[i].name, word.data))
			return i;
		near_try(&near, t->cols[i].name);
		buf_printf(&all, "%s%s", i ? " " : "", t->cols[i].name);
	}
	return fail(E_USAGE, "no column '%s'%s%s%s; there are: %s", word.data,
		    NEAR_HINT(&near), all.data);
}

/* -o COL,... */
static int choose_columns(struct table *t, const char *list)
{
	for (;;) {
		size_t len = strcspn(list, ",");
		int col = find_column(t, list, len);

		if (col < 0)
			return col;
		if (t->nshow == TABLE_COLS)
			return fail(E_USAGE, "more than %d columns",
				    TABLE_COLS);
		t->show[t->nshow++] = col;
		if (!list[len])
			return 0;
		list += len + 1;
	}
}

static void default_columns(struct table *t)
{
	for (int i = 0; i < t->ncols; i++)
		if (t->cols[i].shown)
			t->show[t->nshow++] = i;
}

static int choose_sort(struct table *t)
{
	const struct table_args *a = t->args;
	const char *by = a->sort ? a->sort : a->sort_down;

	t->sort = -1;
	if (a->sort && a->sort_down)
		return fail(E_USAGE, "-s and -S: only one of them");
	if (!by)
		return 0;
	t->sort = find_column(t, by, strlen(by));
	return t->sort < 0 ? t->sort : 0;
}

/* Reads VALUE as the column's cells are: "1G", "5m", "running". */
static int parse_want(const struct column *col, const char *value,
		      struct cell *want)
{
	int rc = 0;

	if (!*value)
		return 0;
	switch (col->type) {
	case COL_TEXT:
		cell_text(want, value);
		return 0;
	case COL_NUM:
	case COL_TIME:
		rc = parse_u64(col->name, value, &want->num);
		break;
	case COL_SIZE:
		rc = parse_size(col->name, value, &want->num);
		break;
	case COL_AGE:
		rc = parse_duration(col->name, value, &want->num);
		want->num /= NS_PER_S;
		break;
	}
	want->set = rc == 0;
	return rc;
}

/* COL=VALUE or COL!=VALUE; no VALUE is an absent one. */
static int add_filter(struct table *t, const char *text)
{
	struct table_filter *f = &t->filter[t->nfilters];
	const char *eq = strchr(text, '=');
	size_t len;
	int rc;

	if (!eq || eq == text)
		return fail(E_USAGE, "filter '%s': not COL=VALUE", text);
	len = eq - text;
	f->not = eq[-1] == '!';
	f->col = find_column(t, text, len - f->not);
	if (f->col < 0)
		return f->col;
	t->nfilters++;
	rc = parse_want(&t->cols[f->col], eq + 1, &f->want);
	return rc < 0 ? fail_in(rc, "filter") : 0;
}

static int choose(struct table *t)
{
	const struct table_args *a = t->args;
	int rc = 0;

	if (a->quiet && (a->json || a->columns))
		return fail(E_USAGE, "-q goes with neither -o nor --json");
	if (a->quiet)
		t->show[t->nshow++] = 0;
	else if (a->columns)
		rc = choose_columns(t, a->columns);
	else
		default_columns(t);
	if (rc == 0)
		rc = choose_sort(t);
	t->filter = calloc(a->filter.n + 1, sizeof(*t->filter));
	if (!t->filter)
		return fail(ENOMEM, "out of memory");
	for (size_t i = 0; i < a->filter.n && rc == 0; i++)
		rc = add_filter(t, a->filter.item[i]);
	return rc;
}

int table_init(struct table *t, const struct column *cols,
	       const struct table_args *args)
{
	int rc;

	*t = (struct table){ .cols = cols, .args = args };
	while (cols[t->ncols].name)
		t->ncols++;
	rc = choose(t);
	if (rc < 0)
		table_release(t);
	return rc;
}

/* Whether columns may come as they are needed: nobody counts them. */
static bool for_people(const struct table_args *a)
{
	return !a->columns && !a->no_header && !a->quiet && !a->json;
}

bool table_shows_tree(const struct table *t)
{
	return for_people(t->args) && t->sort < 0 && !t->nfilters;
}

bool table_wants(const struct table *t, int col)
{
	if (t->cols[col].if_any && for_people(t->args))
		return true;
	for (int i = 0; i < t->nshow; i++)
		if (t->show[i] == col)
			return true;
	for (size_t i = 0; i < t->nfilters; i++)
		if (t->filter[i].col == col)
			return true;
	return t->sort == col;
}

/* -- rows -- */

struct cell *table_row(struct table *t)
{
	struct cell *row;

	if (t->nrows == t->size) {
		size_t size = t->size ? 2 * t->size : 64;
		struct cell *more = reallocarray(t->cells, size,
						 t->ncols * sizeof(*more));

		if (!more)
			return NULL;
		t->cells = more;
		t->size = size;
	}
	row = cell_at(t, t->nrows++, 0);
	memset(row, 0, t->ncols * sizeof(*row));
	return row;
}

void cell_text(struct cell *c, const char *text)
{
	free(c->text);
	c->text = strdup(text);
	c->set = c->text != NULL;
}

void cell_num(struct cell *c, uint64_t num)
{
	c->num = num;
	c->set = true;
}

void cell_lead(struct cell *c, size_t depth, bool branch)
{
	c->depth = min_u64(depth, MAX_DEPTH);
	c->branch = branch && c->depth;
}

void table_release(struct table *t)
{
	for (size_t i = 0; i < t->nrows * t->ncols; i++)
		free(t->cells[i].text);
	for (size_t i = 0; i < t->nfilters; i++)
		free(t->filter[i].want.text);
	free(t->cells);
	free(t->filter);
	*t = (struct table){ 0 };
}

static bool is_absent(const struct cell *c)
{
	return !c->set || (c->text && !*c->text);
}

static int compare(const struct cell *a, const struct cell *b)
{
	if (is_absent(a) || is_absent(b))
		return is_absent(b) - is_absent(a);
	if (a->text && b->text)
		return strverscmp(a->text, b->text);
	return (a->num > b->num) - (a->num < b->num);
}

static bool passes(const struct table *t, size_t row)
{
	for (size_t i = 0; i < t->nfilters; i++) {
		const struct table_filter *f = &t->filter[i];
		bool same = !compare(cell_at(t, row, f->col), &f->want);

		if (same == f->not)
			return false;
	}
	return true;
}

static int compare_rows(const void *a, const void *b, void *table)
{
	const struct table *t = table;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	int d = compare(cell_at(t, x, t->sort), cell_at(t, y, t->sort));

	if (t->args->sort_down)
		d = -d;
	return d ? d : (x > y) - (x < y);
}

/* The rows to print, in order: their number, into ORDER. */
static size_t arrange(struct table *t, size_t *order)
{
	size_t n = 0;

	for (size_t i = 0; i < t->nrows; i++)
		if (passes(t, i))
			order[n++] = i;
	if (t->sort >= 0)
		qsort_r(order, n, sizeof(*order), compare_rows, t);
	return n;
}

/* -- text -- */

static void add_time(struct buf *out, uint64_t epoch)
{
	time_t when = min_u64(epoch, INT32_MAX);
	char text[32];
	struct tm tm;

	gmtime_r(&when, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	buf_str(out, text);
}

/* Appends the cell as text; its width. */
static size_t add_cell(struct buf *out, const struct table *t,
		       const struct cell *c, enum col_type type)
{
	size_t start = out->len;
	char text[24];

	if (is_absent(c))
		buf_char(out, '-');
	else if (type == COL_TEXT)
		return utf8_plain(out, c->text);
	else if (type == COL_NUM || t->args->exact)
		buf_printf(out, "%llu", (unsigned long long)c->num);
	else if (type == COL_SIZE)
		buf_str(out, format_size(text, c->num));
	else if (type == COL_AGE)
		buf_str(out, format_duration(text, c->num));
	else
		add_time(out, c->num);
	return out->len - start;
}

/* The same behind its lead, in a table for people. */
static size_t add_led(struct buf *out, const struct table *t,
		      const struct cell *c, enum col_type type)
{
	size_t depth = table_shows_tree(t) ? c->depth : 0;

	if (!depth)
		return add_cell(out, t, c, type);
	buf_printf(out, "%*s%-*s", (int)(LEAD * (depth - 1)), "", LEAD,
		   c->branch ? "+" : "");
	return LEAD * depth + add_cell(out, t, c, type);
}

/* How wide the column shown in place I is, its head included. */
static size_t width_of(const struct table *t, int i, const size_t *order,
		       size_t n)
{
	autobuf struct buf text = BUF_INIT;
	const struct column *col = &t->cols[t->show[i]];
	size_t width = strlen(col->name);

	for (size_t r = 0; r < n; r++) {
		const struct cell *c = cell_at(t, order[r], t->show[i]);

		buf_clear(&text);
		width = max_u64(width, add_led(&text, t, c, col->type));
	}
	return width;
}

static void pad(struct buf *out, size_t n)
{
	buf_printf(out, "%*s", (int)n, "");
}

/* TEXT in a column of WIDTH: words to the left, numbers to the right. */
static void add_aligned(struct buf *out, const struct buf *text, size_t shown,
			size_t width, enum col_type type, bool last)
{
	bool left = type == COL_TEXT || type == COL_TIME;

	if (!left)
		pad(out, width - shown);
	buf_add(out, text->data, text->len);
	if (left && !last)
		pad(out, width - shown);
	buf_str(out, last ? "\n" : "  ");
}

static void add_header(struct buf *out, const struct table *t,
		       const size_t *width)
{
	for (int i = 0; i < t->nshow; i++) {
		const struct column *col = &t->cols[t->show[i]];
		autobuf struct buf text = BUF_INIT;

		for (const char *p = col->name; *p; p++)
			buf_char(&text, *p >= 'a' && *p <= 'z' ?
				 *p - 'a' + 'A' : *p);
		add_aligned(out, &text, text.len, width[i], col->type,
			    i == t->nshow - 1);
	}
}

static void add_aligned_row(struct buf *out, const struct table *t, size_t row,
			    const size_t *width)
{
	autobuf struct buf text = BUF_INIT;

	for (int i = 0; i < t->nshow; i++) {
		const struct column *col = &t->cols[t->show[i]];
		size_t shown;

		buf_clear(&text);
		shown = add_led(&text, t, cell_at(t, row, t->show[i]),
				col->type);
		add_aligned(out, &text, shown, width[i], col->type,
			    i == t->nshow - 1);
	}
	out->failed |= text.failed;
}

static void print_aligned(struct table *t, const size_t *order, size_t n,
			  struct buf *out)
{
	size_t width[TABLE_COLS];

	for (int i = 0; i < t->nshow; i++)
		width[i] = width_of(t, i, order, n);
	add_header(out, t, width);
	for (size_t r = 0; r < n; r++)
		add_aligned_row(out, t, order[r], width);
}

static void print_tabs(struct table *t, const size_t *order, size_t n,
		       struct buf *out)
{
	for (size_t r = 0; r < n; r++) {
		for (int i = 0; i < t->nshow; i++) {
			if (i)
				buf_char(out, '\t');
			add_cell(out, t, cell_at(t, order[r], t->show[i]),
				 t->cols[t->show[i]].type);
		}
		buf_char(out, '\n');
	}
}

/* -- JSON -- */

static json_t *json_cell(const struct cell *c)
{
	autobuf struct buf text = BUF_INIT;

	if (!c->set)
		return json_null();
	if (!c->text)
		return json_integer(min_u64(c->num, INT64_MAX));
	utf8_repair(&text, c->text);
	return text.failed ? NULL : json_string(text.data);
}

static int add_dump(const char *text, size_t len, void *out)
{
	buf_add(out, text, len);
	return 0;
}

static void print_json(struct table *t, const size_t *order, size_t n,
		       struct buf *out)
{
	for (size_t r = 0; r < n; r++) {
		json_t *row = json_object();

		for (int i = 0; i < t->nshow; i++)
			if (json_object_set_new(row, t->cols[t->show[i]].name,
				json_cell(cell_at(t, order[r], t->show[i]))))
				out->failed = true;
		if (json_dump_callback(row, add_dump, out, JSON_COMPACT))
			out->failed = true;
		buf_char(out, '\n');
		json_decref(row);
	}
}

static bool has_any(struct table *t, const size_t *order, size_t n, int col)
{
	for (size_t r = 0; r < n; r++)
		if (cell_at(t, order[r], col)->set)
			return true;
	return false;
}

static void add_needed(struct table *t, const size_t *order, size_t n)
{
	for (int i = 0; i < t->ncols; i++)
		if (t->cols[i].if_any && has_any(t, order, n, i))
			t->show[t->nshow++] = i;
}

int table_print(struct table *t)
{
	autobuf struct buf out = BUF_INIT;
	autofree size_t *order = calloc(t->nrows + 1, sizeof(*order));
	size_t n;

	if (!order)
		return fail(ENOMEM, "out of memory");
	n = arrange(t, order);
	if (for_people(t->args))
		add_needed(t, order, n);
	if (t->args->json)
		print_json(t, order, n, &out);
	else if (t->args->no_header || t->args->quiet)
		print_tabs(t, order, n, &out);
	else
		print_aligned(t, order, n, &out);
	if (out.failed)
		return fail(ENOMEM, "out of memory");
	return out_write(out.data, out.len);
}
