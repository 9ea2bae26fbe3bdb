/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-prune - drops snapshots by rules, of VMs; or, as a filter, says which of
 * a list of names with times the same rules would drop.
 *
 * Standard input is read to its end before anything is done: a list that is
 * damaged in its last line drops nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/file.h"
#include "cli/each.h"
#include "cli/out.h"
#include "cli/rest.h"
#include "cli/table.h"
#include "cli/tally.h"
#include "image/unsnap.h"
#include "state/retain.h"
#include "state/snap.h"

enum { INPUT_MAX = 64 << 20 };

enum { NAME, TIME, VERDICT, RULE };

static const struct column cols[] = {
	[NAME] = { "name", COL_TEXT, true, "what it is called" },
	[TIME] = { "time", COL_TIME, true, "when it was made" },
	[VERDICT] = { "verdict", COL_TEXT, true, "keep or drop" },
	[RULE] = { "rule", COL_TEXT, true, "what keeps it" },
	{ 0 }
};

static struct args {
	uint64_t keep[RETAIN_RULES];
	bool dry_run, explain;
	uint64_t parallel;
	struct table_args table;
} args;

#define KEEP(word, rule, help) \
	OPT(0, "keep-" word, OPT_NUM, "N", struct args, keep[rule], help)

static const struct opt opts[] = {
	KEEP("last", RETAIN_LAST, "keep the N newest"),
	KEEP("hourly", RETAIN_HOURLY, "then the newest of each of N hours"),
	KEEP("daily", RETAIN_DAILY, "then the newest of each of N days"),
	KEEP("weekly", RETAIN_WEEKLY, "then the newest of each of N weeks"),
	KEEP("monthly", RETAIN_MONTHLY, "then the newest of each of N months"),
	KEEP("yearly", RETAIN_YEARLY, "then the newest of each of N years"),
	OPT(0, "dry-run", OPT_FLAG, NULL, struct args, dry_run,
	    "only print what would be dropped"),
	OPT(0, "explain", OPT_FLAG, NULL, struct args, explain,
	    "change nothing; a table: what is kept, by which rule"),
	TABLE_OPTS(struct args, table),
	EACH_OPT(struct args, parallel),
	{ 0 }
};

/* A list that grows. */
struct list {
	struct retain_item *item;
	size_t n, size;
};

static int list_add(struct list *l, const struct retain_item *item)
{
	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		struct retain_item *more = reallocarray(l->item, size,
							sizeof(*more));

		if (!more)
			return fail(ENOMEM, "out of memory");
		l->item = more;
		l->size = size;
	}
	l->item[l->n++] = *item;
	return 0;
}

/* -- what is said of all -- */

static int explain(struct table *t, const char *name,
		   const struct retain_item *item)
{
	struct cell *row = table_row(t);

	if (!row)
		return fail(ENOMEM, "out of memory");
	cell_text(&row[NAME], name);
	cell_num(&row[TIME], item->time);
	cell_text(&row[VERDICT], item->verdict == RETAIN_DROP ? "drop" :
								"keep");
	if (item->verdict != RETAIN_DROP)
		cell_text(&row[RULE], retain_words[item->verdict]);
	return 0;
}

/* -- the filter -- */

/* How many bytes of NAME say whose it is: "web1@" of "web1@nightly". */
static size_t owner_of(const char *name)
{
	const char *at = strchr(name, '@');

	return at ? (size_t)(at + 1 - name) : 0;
}

static bool same_owner(const char *a, const char *b)
{
	size_t len = owner_of(a);

	return len == owner_of(b) && !memcmp(a, b, len);
}

static int by_owner(const void *a, const void *b)
{
	const struct retain_item *x = a, *y = b;
	size_t m = owner_of(x->name), n = owner_of(y->name);
	int d = memcmp(x->name, y->name, min_u64(m, n));

	return d ? d : (m > n) - (m < n);
}

/* All names lie in one text, in the order they came. */
static int by_place(const void *a, const void *b)
{
	const struct retain_item *x = a, *y = b;

	return (x->name > y->name) - (x->name < y->name);
}

/* Each owner's are a list of their own. */
static int judge(struct list *l)
{
	int rc = 0;

	qsort(l->item, l->n, sizeof(*l->item), by_owner);
	for (size_t i = 0, end; i < l->n && rc == 0; i = end) {
		for (end = i + 1; end < l->n && same_owner(l->item[i].name,
							   l->item[end].name);)
			end++;
		rc = retain(l->item + i, end - i, args.keep);
	}
	qsort(l->item, l->n, sizeof(*l->item), by_place);
	return rc;
}

static int print_dropped(const struct list *l)
{
	autobuf struct buf out = BUF_INIT;

	for (size_t i = 0; i < l->n; i++)
		if (l->item[i].verdict == RETAIN_DROP)
			buf_printf(&out, "%s\n", l->item[i].name);
	if (out.failed)
		return fail(ENOMEM, "out of memory");
	return out_write(out.data, out.len);
}

static int print_explained(const struct list *l)
{
	struct table t;
	int rc = table_init(&t, cols, &args.table);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < l->n && rc == 0; i++)
		rc = explain(&t, l->item[i].name, &l->item[i]);
	if (rc == 0)
		rc = table_print(&t);
	table_release(&t);
	return rc;
}

static int filter(struct list *l)
{
	int rc = l->n ? judge(l) : 0;

	if (rc < 0)
		return rc;
	return args.explain ? print_explained(l) : print_dropped(l);
}

/* -- what is to be looked at -- */

struct input {
	struct buf text;	/* of standard input: all names below are in it */
	struct list list;	/* the filter's */
	char **name;		/* VMs' */
	int n;
};

/* LINE is NAME, tab, seconds, and maybe another tab and whether protected. */
static int add_item(struct input *in, char *line)
{
	struct retain_item item = { .name = cut(&line, '\t') };
	const char *when = cut(&line, '\t'), *is = line;
	int rc = *item.name ? parse_u64("time", when, &item.time) :
			      fail(E_USAGE, "no name");

	if (rc == 0 && is)
		rc = strcmp(is, "-") ? parse_bool("protected", is,
						  &item.is_protected) : 0;
	return rc < 0 ? rc : list_add(&in->list, &item);
}

static int add_name(struct input *in, char *name)
{
	char **more = reallocarray(in->name, in->n + 1, sizeof(*more));

	if (!more)
		return fail(ENOMEM, "out of memory");
	in->name = more;
	more[in->n++] = name;
	return 0;
}

/* One line: with a tab it is of the filter's list, without the name of a VM. */
static int add_line(struct input *in, char *line)
{
	size_t len = strlen(line);
	int rc;

	if (len && line[len - 1] == '\r')
		line[--len] = '\0';
	if (strchr(line, '\t')) {
		rc = add_item(in, line);
	} else {
		while (len && line[len - 1] == ' ')
			line[--len] = '\0';
		line += strspn(line, " ");
		rc = *line ? add_name(in, line) : 0;
	}
	if (rc == 0 && in->n && in->list.n)
		rc = fail(E_USAGE, "names of VMs, and names with times: one or "
			  "the other");
	return rc;
}

static int read_input(struct input *in)
{
	char *rest;
	int rc = fd_read(STDIN_FILENO, "standard input", &in->text, INPUT_MAX);

	if (rc < 0)
		return rc;
	if (strlen(in->text.data) != in->text.len)
		return fail(E_USAGE, "standard input: not text");
	rest = in->text.data;
	for (unsigned line = 1; rest && rc == 0; line++) {
		rc = add_line(in, cut(&rest, '\n'));
		if (rc < 0)
			fail_in(rc, "standard input: line %u", line);
	}
	return rc;
}

static int read_operands(struct input *in, int argc, char **argv)
{
	bool read = false;
	int rc = 0;

	for (int i = 0; i < argc && rc == 0; i++) {
		if (strcmp(argv[i], "-"))
			rc = add_name(in, argv[i]);
		else if (!read)
			rc = read_input(in);
		read |= !strcmp(argv[i], "-");
	}
	if (rc == 0 && in->n && in->list.n)
		rc = fail(E_USAGE, "names of VMs, and names with times: one or "
			  "the other");
	return rc;
}

/* -- one VM -- */

struct plan {
	struct vm vm;
	struct snaps snaps;
	struct snap_entry *all;
	size_t n;
	struct list list;
	struct tally tally;
	struct store *store;
};

static void plan_release(struct plan *p)
{
	free(p->list.item);
	snaps_list_free(p->all, p->n);
	snaps_close(&p->snaps);
	vm_close(&p->vm);
}

/*
 * The snapshot the next boot goes on from is as good as protected; one that
 * cannot be read is for people to look at.
 */
static int add_all(struct plan *p)
{
	struct config c = CONFIG_INIT;
	int rc = vm_config(&p->vm, &c);
	const char *restore = rc < 0 ? NULL : config_get(&c, "restore");

	for (size_t i = 0; i < p->n && rc == 0; i++) {
		const struct snap_entry *e = &p->all[i];
		struct retain_item item = {
			.name = e->name, .time = e->meta.created,
			.is_protected = e->meta.is_protected ||
				(restore && !strcmp(restore, e->name)),
		};

		if (!e->bad)
			rc = list_add(&p->list, &item);
		else
			say("%s@%s: cannot be read, and stays", p->vm.name,
			    e->name);
	}
	config_release(&c);
	return rc;
}

/* What is to become of each snapshot of VM NAME; LOCK: and stays so. */
static int plan_make(struct plan *p, struct store *st, const char *name,
		     bool lock)
{
	int rc;

	*p = (struct plan){ .store = st };
	rc = vm_open(&p->vm, st, name);
	if (rc < 0)
		return rc;
	rc = lock ? unsnap_open(&p->vm, &p->snaps, common.lock_wait) :
		    snaps_open(&p->snaps, &p->vm, false);
	if (rc < 0) {
		vm_close(&p->vm);
		return rc;
	}
	if (p->snaps.dir >= 0)
		rc = snaps_list(&p->snaps, &p->all, &p->n);
	if (rc == 0 && p->n)
		rc = add_all(p);
	if (rc == 0)
		rc = retain(p->list.item, p->list.n, args.keep);
	if (rc < 0)
		plan_release(p);
	return rc;
}

enum { FULL_NAME = 2 * NAME_MAX_LEN + 2 };

static const char *full_name(char out[FULL_NAME], const struct plan *p,
			     const char *snap)
{
	snprintf(out, FULL_NAME, "%s@%s", p->vm.name, snap);
	return out;
}

static void on_removed(void *arg, const char *snap, int rc)
{
	struct plan *p = arg;
	char name[FULL_NAME];

	full_name(name, p, snap);
	if (rc < 0) {
		say_failed(name);
		tally_failed(&p->tally, err_exit(rc));
	} else {
		tally_done(&p->tally, name);
	}
}

/* Oldest first: what is killed half-way leaves what is worth more. */
static int carry_out(struct plan *p)
{
	autofree const char **name = calloc(p->list.n + 1, sizeof(*name));
	struct rest rest = { p->store, p->vm.name };
	struct unsnap u = {
		.name = name, .done = on_removed, .arg = p,
		.rest = rest_ask, .rest_arg = &rest,
	};
	int rc;

	if (!name)
		return fail(ENOMEM, "out of memory");
	for (size_t i = p->list.n; i-- > 0;)
		if (p->list.item[i].verdict == RETAIN_DROP)
			name[u.n++] = p->list.item[i].name;
	rc = u.n ? unsnap(&p->snaps, &p->vm, &u) : 0;
	if (rc < 0) {
		say_failed(p->vm.name);
		tally_failed(&p->tally, err_exit(rc));
	}
	return tally_result(&p->tally);
}

/* Whether it was named, or is one of all, and may vanish. */
static bool all_vms;

static int prune_one(const char *name, void *arg)
{
	struct plan p;
	int rc = plan_make(&p, arg, name, true);

	if (rc == -E_NOENT && all_vms)
		return 0;
	if (rc < 0)
		return rc;
	rc = carry_out(&p);
	plan_release(&p);
	return rc;
}

/* -- VMs, of which nothing is changed -- */

struct report {
	struct store store;
	struct table table;
	struct tally tally;
};

static int report_plan(struct report *r, const struct plan *p)
{
	char name[FULL_NAME];
	int rc = 0;

	for (size_t i = 0; i < p->list.n && rc == 0; i++) {
		size_t at = args.explain ? i : p->list.n - 1 - i;
		const struct retain_item *item = &p->list.item[at];

		full_name(name, p, item->name);
		if (args.explain)
			rc = explain(&r->table, name, item);
		else if (item->verdict == RETAIN_DROP)
			tally_done(&r->tally, name);
	}
	r->tally.done_one = true;
	return rc;
}

static int report_all(struct report *r, int n, char **names)
{
	int rc = 0;

	for (int i = 0; i < n && rc == 0; i++) {
		struct plan p;
		int made = plan_make(&p, &r->store, names[i], false);

		if (made == -E_NOENT && all_vms)
			continue;
		if (made < 0) {
			say_failed(names[i]);
			tally_failed(&r->tally, err_exit(made));
			continue;
		}
		rc = report_plan(r, &p);
		plan_release(&p);
	}
	return rc;
}

static int report(struct report *r, int n, char **names)
{
	int rc = table_init(&r->table, cols, &args.table);

	if (rc < 0)
		return rc;
	rc = report_all(r, n, names);
	if (rc == 0 && args.explain)
		rc = table_print(&r->table);
	table_release(&r->table);
	return rc < 0 ? rc : tally_result(&r->tally);
}

/* -- all of it -- */

static int prune(struct report *r, int n, char **names)
{
	const struct each each = {
		.prints = true, .parallel = args.parallel, .job = prune_one,
		.arg = &r->store,
	};

	if (!n)
		return 0;
	return args.dry_run || args.explain ? report(r, n, names) :
					      each_run(&each, n, names);
}

static int prune_vms(int argc, struct input *in)
{
	struct report r = { 0 };
	char **names = in->name;
	size_t n = in->n;
	int rc = store_open(&r.store, common.state, false);

	if (rc < 0)
		return rc;
	all_vms = argc == 0;
	if (all_vms)
		rc = vm_list(&r.store, &names, &n);
	if (rc == 0)
		rc = prune(&r, n, names);
	if (all_vms && names != in->name)
		free(names);
	store_close(&r.store);
	return rc;
}

static int check_args(void)
{
	const struct table_args *t = &args.table;
	bool any = false;

	for (int i = 0; i < RETAIN_RULES; i++)
		any |= args.keep[i] != 0;
	if (!any)
		return fail(E_USAGE, "nothing would be kept: give at least "
			    "one --keep-...");
	if (!args.explain && (t->no_header || t->exact || t->quiet || t->json ||
			      t->columns || t->sort || t->sort_down ||
			      t->filter.n))
		return fail(E_USAGE, "options of a table go with --explain");
	return 0;
}

static int run(int argc, char **argv)
{
	struct input in = { .text = BUF_INIT };
	int rc = check_args();

	if (rc == 0)
		rc = read_operands(&in, argc, argv);
	if (rc == 0) {
		tzset();
		rc = argc && !in.n ? filter(&in.list) : prune_vms(argc, &in);
	}
	free(in.name);
	free(in.list.item);
	buf_release(&in.text);
	return rc;
}

const struct command command = {
	.name = "vm-prune",
	.operands = "[VM...|-]",
	.summary = "drop snapshots by age",
	.details = "Of the VMs named, or all. \"-\" reads standard input: names "
		   "of VMs, or lines of a\nname, a tab and seconds since the "
		   "epoch; then the names that the rules drop are\nprinted, "
		   "and nothing is changed.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.columns = cols,
	.run = run,
};
