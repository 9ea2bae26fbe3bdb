/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-ls - lists VMs, or their snapshots. Only what the columns asked for is
 * looked at: the names alone cost one directory, the state a lock and, of a VM
 * that runs, one question on its socket. A list of VMs opens no snapshot.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "block/qcow2.h"
#include "cli/each.h"
#include "cli/out.h"
#include "cli/table.h"
#include "cli/tally.h"
#include "ctl/ctl.h"
#include "image/layers.h"
#include "state/snap.h"
#include "state/vm.h"

/*
 * A VM that hangs must not hang the list: it is given ANSWER_NS, until those
 * that hang have used up PATIENCE_NS together; then HURRY_NS each.
 */
static const uint64_t answer_ns = 500000000, hurry_ns = 20000000;
static const uint64_t patience_ns = 2000000000;

enum {
	NAME, STATE, CPUS, MEMORY, DISK, UPTIME, REASON, PID, SINCE, BOOTS,
	EXITS, CREATED, MACHINE, ENGINE,
	KERNEL, INITRD, APPEND, CONSOLE, NOTE, NCOLS
};

static const struct column cols[] = {
	[NAME] = { "name", COL_TEXT, true, "its name" },
	[STATE] = { "state", COL_TEXT, true, "stopped, running, ..." },
	[CPUS] = { "cpus", COL_NUM, true, "number of vCPUs" },
	[MEMORY] = { "memory", COL_SIZE, true, "guest memory" },
	[DISK] = { "disk", COL_SIZE, true, "its disks' sizes, in sum" },
	[UPTIME] = { "uptime", COL_AGE, true, "how long it runs" },
	[REASON] = { "reason", COL_TEXT, false, "why it is paused or has crashed",
		     true },
	[PID] = { "pid", COL_NUM, false, "the process that runs it" },
	[SINCE] = { "since", COL_TIME, false, "when it was started" },
	[BOOTS] = { "boots", COL_NUM, false, "how often it was entered since" },
	[EXITS] = { "exits", COL_NUM, false, "how often it left KVM for us" },
	[CREATED] = { "created", COL_TIME, false, "when it was made" },
	[MACHINE] = { "machine", COL_TEXT, false, "kind of machine" },
	[ENGINE] = { "engine", COL_TEXT, false, "what runs it, or is to" },
	[KERNEL] = { "kernel", COL_TEXT, false, "kernel started" },
	[INITRD] = { "initrd", COL_TEXT, false, "its initial file system" },
	[APPEND] = { "append", COL_TEXT, false, "the kernel's command line" },
	[CONSOLE] = { "console", COL_TEXT, false, "device of its console" },
	[NOTE] = { "note", COL_TEXT, false, "what someone noted" },
	[NCOLS] = { 0 }
};

enum {
	S_NAME, S_CREATED, S_PARENT, S_MEMORY, S_OWN, S_SHARED, S_PROTECTED,
	S_NOTE, S_ENGINE
};

static const struct column snap_cols[] = {
	[S_NAME] = { "name", COL_TEXT, true, "its VM and its name" },
	[S_CREATED] = { "created", COL_TIME, true, "when it was taken" },
	[S_PARENT] = { "parent", COL_TEXT, false, "the snapshot before it" },
	[S_MEMORY] = { "memory", COL_SIZE, true, "guest memory it holds" },
	[S_OWN] = { "own", COL_SIZE, true, "what its removal would free" },
	[S_SHARED] = { "shared", COL_SIZE, true, "what others need, too" },
	[S_PROTECTED] = { "protected", COL_TEXT, false,
			  "yes: to be removed by force only", true },
	[S_NOTE] = { "note", COL_TEXT, false, "what someone noted", true },
	[S_ENGINE] = { "engine", COL_TEXT, false, "whose memory it is" },
	{ 0 }
};

static struct args {
	const char *type;
	struct table_args table;
} args;

static const struct opt opts[] = {
	OPT('t', "type", OPT_STR, "vm|snap", struct args, type,
	    "what to list (default vm)", COMPLETE_WORDS),
	TABLE_OPTS(struct args, table),
	{ 0 }
};

struct list {
	struct store store;
	struct table table;
	struct tally tally;
	uint64_t patience;	/* left, ns */
	bool all;		/* no names given: one that vanishes is none */
	bool snaps;		/* -t snap */
	bool want_live, want_config;
};

static void list_failed(struct list *l, const char *name, int rc)
{
	say_failed(name);
	tally_failed(&l->tally, err_exit(rc));
}

/* -- state -- */

/* What the VM on CONN says of itself, in ANSWER. 0 or negative. */
static int ask(struct list *l, int conn, struct buf *answer)
{
	uint64_t start = now_ns(), used;
	int rc = ctl_call(conn, "status", answer, NULL,
			  max_u64(min_u64(answer_ns, l->patience), hurry_ns));

	if (rc == -E_TIMEOUT) {
		used = now_ns() - start;
		l->patience -= min_u64(used, l->patience);
	}
	return rc;
}

/* Appends "state=..." and what else is known of a VM whose lock is held. */
static void probe_locked(struct list *l, const struct vm *vm,
			 struct buf *answer)
{
	autoclose int dir = vm_run_dir(vm, false);
	autoclose int conn = dir < 0 ? -1 : ctl_connect(dir);
	int rc = dir < 0 ? -E_STOPPED : conn;

	if (conn >= 0)
		rc = ask(l, conn, answer);
	if (rc >= 0)
		return;
	buf_clear(answer);
	buf_str(answer, rc == -E_STOPPED ? "state=busy\n" :
					   "state=unresponsive\n");
}

static void set_num(struct cell *c, const char *lines, const char *key)
{
	char text[24];
	uint64_t num;

	if (ctl_value(lines, key, text, sizeof(text)) &&
	    parse_u64(key, text, &num) == 0)
		cell_num(c, num);
}

static int add_live(struct list *l, const struct vm *vm, struct cell *row)
{
	autobuf struct buf answer = BUF_INIT;
	uint64_t now = time(NULL);
	char state[24], engine[24], reason[ERR_MAX];
	int rc = vm_locked(vm);

	if (rc < 0)
		return rc;
	if (rc > 0)
		probe_locked(l, vm, &answer);
	else
		buf_str(&answer, "state=stopped\n");
	if (ctl_value(answer.data, "state", state, sizeof(state)))
		cell_text(&row[STATE], state);
	if (ctl_value(answer.data, "reason", reason, sizeof(reason)))
		cell_text(&row[REASON], reason);
	set_num(&row[PID], answer.data, "pid");
	set_num(&row[SINCE], answer.data, "since");
	set_num(&row[BOOTS], answer.data, "boots");
	set_num(&row[EXITS], answer.data, "exits");
	if (ctl_value(answer.data, "engine", engine, sizeof(engine)))
		cell_text(&row[ENGINE], engine);
	if (row[SINCE].set)
		cell_num(&row[UPTIME], now - min_u64(now, row[SINCE].num));
	return 0;
}

/* -- config -- */

/* The size of the disk in the file or block device D. 0 or negative. */
static int disk_size(int dir, const struct disk_conf *d, uint64_t *size)
{
	struct qcow2_info info;
	struct stat st;
	int rc;

	if (fstatat(dir, d->path, &st, 0) < 0)
		return -errno;
	*size = st.st_size;
	if (d->format == FORMAT_RAW && !S_ISBLK(st.st_mode))
		return 0;
	autoclose int fd = openat(dir, d->path, O_RDONLY | O_CLOEXEC |
				  O_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (d->format == FORMAT_RAW) {
		*size = max_u64(lseek(fd, 0, SEEK_END), 0);
		return 0;
	}
	rc = qcow2_info(fd, &info);
	*size = info.size;
	qcow2_info_release(&info);
	return rc;
}

/* Left unset when one of the disks is not there. */
static void add_disks(const struct vm *vm, const struct vmconf *vc,
		      struct cell *c)
{
	uint64_t sum = 0, size = 0;

	for (int i = 0; i < VMCONF_DISKS; i++) {
		if (!vc->disk[i].path)
			continue;
		if (disk_size(vm->dir, &vc->disk[i], &size) < 0 ||
		    ckd_add(&sum, sum, size))
			return;
	}
	cell_num(c, sum);
}

static void set_text(struct cell *c, const struct config *conf,
		     const char *key)
{
	const char *value = config_get(conf, key);

	if (!value && vmconf_key(key))
		value = vmconf_key(key)->dflt;
	if (value)
		cell_text(c, value);
}

static int add_config(struct list *l, const struct vm *vm, struct cell *row)
{
	struct config conf = CONFIG_INIT;
	struct vmconf vc = { 0 };
	int rc = vm_config(vm, &conf);

	if (rc == 0) {
		rc = vmconf_parse(&vc, &conf, NULL);
		if (rc < 0)
			fail_in(rc, "%s: config", vm->name);
	}
	if (rc == 0) {
		cell_num(&row[CPUS], vc.cpus);
		cell_num(&row[MEMORY], vc.memory);
		if (table_wants(&l->table, DISK))
			add_disks(vm, &vc, &row[DISK]);
		for (int i = MACHINE; i < NCOLS; i++)
			if (table_wants(&l->table, i) && !row[i].set)
				set_text(&row[i], &conf, cols[i].name);
		vmconf_release(&vc);
	}
	config_release(&conf);
	return rc;
}

/* -- rows -- */

static void add_created(const struct vm *vm, struct cell *c)
{
	struct statx st;

	if (statx(vm->dir, "", AT_EMPTY_PATH, STATX_BTIME, &st) == 0 &&
	    st.stx_mask & STATX_BTIME)
		cell_num(c, st.stx_btime.tv_sec);
}

/* A VM whose config cannot be read is listed all the same. */
static void add_columns(struct list *l, const struct vm *vm, struct cell *row)
{
	int rc = l->want_live ? add_live(l, vm, row) : 0;

	if (rc == 0 && l->want_config) {
		rc = add_config(l, vm, row);
		if (rc < 0 && (!row[STATE].text ||
			       !strcmp(row[STATE].text, "stopped")))
			cell_text(&row[STATE], "damaged");
	}
	if (rc < 0) {
		say_failed(vm->name);
		tally_failed(&l->tally, EXIT_PARTIAL);
	}
	if (table_wants(&l->table, CREATED))
		add_created(vm, &row[CREATED]);
}

static int add_vm(struct list *l, const char *name)
{
	struct cell *row;
	struct vm vm;
	int rc = vm_open(&vm, &l->store, name);

	if (rc == -E_NOENT && l->all)
		return 0;	/* removed since it was listed */
	if (rc < 0)
		return list_failed(l, name, rc), 0;
	l->tally.done_one = true;
	row = table_row(&l->table);
	if (row) {
		cell_text(&row[NAME], name);
		add_columns(l, &vm, row);
	}
	vm_close(&vm);
	return row ? 0 : fail(ENOMEM, "out of memory");
}

/* -- snapshots -- */

/* The snapshots of one VM as a tree. */
struct history {
	struct list *list;
	struct vm vm;
	struct snaps snaps;
	struct layers *layers;	/* NULL: nobody asks for sizes */
	struct snap_entry *all;	/* oldest first */
	size_t n, now;		/* NOW: that the VM goes back to; n: none */
	struct node {
		size_t parent;	/* index of, n: none */
		bool leads_on;	/* to what the VM is now */
		bool done;
	} *node;
};

/* How much it takes, alone and with others. */
static int add_usage(const struct history *h, const struct snap_entry *e,
		     struct cell *row)
{
	uint64_t own, shared;
	int rc = layers_usage(h->layers, e->name, &own, &shared);

	if (rc < 0)
		return rc;
	cell_num(&row[S_OWN], own);
	cell_num(&row[S_SHARED], shared);
	return 0;
}

/* What its record says. */
static void add_meta(const struct snap_meta *m, struct cell *row)
{
	cell_num(&row[S_CREATED], m->created);
	if (m->parent[0])
		cell_text(&row[S_PARENT], m->parent);
	if (m->memory)
		cell_num(&row[S_MEMORY], m->memory);
	if (m->is_protected)
		cell_text(&row[S_PROTECTED], "yes");
	if (m->note)
		cell_text(&row[S_NOTE], m->note);
	if (m->engine[0])
		cell_text(&row[S_ENGINE], m->engine);
}

static int add_snap(struct history *h, const struct snap_entry *e,
		    size_t depth, bool branch)
{
	struct cell *row = table_row(&h->list->table);
	char name[2 * NAME_MAX_LEN + 2];
	int rc = 0;

	if (!row)
		return fail(ENOMEM, "out of memory");
	snprintf(name, sizeof(name), "%s@%s", h->vm.name, e->name);
	cell_text(&row[S_NAME], name);
	cell_lead(&row[S_NAME], depth, branch);
	if (e->bad)
		rc = fail(E_CONFIG, "%s: cannot be read", name);
	else
		add_meta(&e->meta, row);
	if (rc == 0 && h->layers)
		rc = add_usage(h, e, row);
	h->list->tally.done_one = true;
	if (rc < 0) {
		say_failed(name);
		tally_failed(&h->list->tally, EXIT_PARTIAL);
	}
	return 0;
}

static size_t find_snap(const struct history *h, const char *name)
{
	size_t i = 0;

	while (i < h->n && strcmp(h->all[i].name, name))
		i++;
	return i;
}

/* Who comes after whom, and which of them lead to what the VM is now. */
static int link_nodes(struct history *h)
{
	struct config c = CONFIG_INIT;
	const char *now;

	h->node = calloc(h->n + 1, sizeof(*h->node));
	if (!h->node)
		return fail(ENOMEM, "out of memory");
	for (size_t i = 0; i < h->n; i++)
		h->node[i].parent = find_snap(h, h->all[i].meta.parent);
	now = vm_config(&h->vm, &c) < 0 ? NULL : config_get(&c, "parent");
	h->now = now ? find_snap(h, now) : h->n;
	for (size_t i = h->now; i < h->n && !h->node[i].leads_on;
	     i = h->node[i].parent)
		h->node[i].leads_on = true;
	config_release(&c);
	return 0;
}

/* The one of I's children that goes on in its line: n if none does. */
static size_t next_in_line(const struct history *h, size_t i)
{
	size_t next = h->n;

	for (size_t c = 0; c < h->n && i != h->now; c++)
		if (h->node[c].parent == i && !h->node[c].done) {
			next = c;
			if (h->node[c].leads_on)
				break;
		}
	return next;
}

/* A line of history from I on; what branches off stands before it goes on. */
static int add_line(struct history *h, size_t i, size_t depth)
{
	bool branch = true;
	int rc = 0;

	for (; i < h->n && rc == 0; branch = false) {
		size_t next;

		h->node[i].done = true;
		rc = add_snap(h, &h->all[i], depth, branch);
		next = next_in_line(h, i);
		for (size_t c = 0; c < h->n && rc == 0; c++)
			if (h->node[c].parent == i && c != next &&
			    !h->node[c].done)
				rc = add_line(h, c, depth + 1);
		i = next;
	}
	return rc;
}

/* Those whose parents make a ring come last, and are not lost. */
static int add_tree(struct history *h)
{
	int rc = link_nodes(h);

	for (size_t i = 0; i < h->n && rc == 0; i++)
		if (h->node[i].parent == h->n)
			rc = add_line(h, i, 0);
	for (size_t i = 0; i < h->n && rc == 0; i++)
		if (!h->node[i].done)
			rc = add_line(h, i, 0);
	return rc;
}

/* All of the VM, or the one that N names. */
static int add_history(struct history *h, const struct snap_name *n)
{
	size_t i = h->n;
	int rc = 0;

	if (n->named) {
		i = n->snap[0] ? find_snap(h, n->snap) : h->n - 1;
		if (i >= h->n)
			return fail(E_NOENT, "%s@%s: no such snapshot",
				    n->vm, n->snap);
		return add_snap(h, &h->all[i], 0, false);
	}
	h->list->tally.done_one = true;
	if (table_shows_tree(&h->list->table))
		return add_tree(h);
	for (i = 0; i < h->n && rc == 0; i++)
		rc = add_snap(h, &h->all[i], 0, false);
	return rc;
}

static int load(struct history *h)
{
	const struct table *t = &h->list->table;
	int rc = snaps_list(&h->snaps, &h->all, &h->n);

	if (rc < 0 || !h->n || !(table_wants(t, S_OWN) ||
				 table_wants(t, S_SHARED)))
		return rc;
	return layers_load(&h->layers, &h->snaps);
}

static int add_snaps(struct list *l, const struct snap_name *n)
{
	struct history h = { .list = l };
	int rc = vm_open(&h.vm, &l->store, n->vm);

	if (rc < 0)
		return rc;
	rc = snaps_open(&h.snaps, &h.vm, false);
	if (rc == 0) {
		rc = h.snaps.dir >= 0 ? load(&h) : 0;
		if (rc == 0)
			rc = add_history(&h, n);
		snaps_close(&h.snaps);
	}
	layers_free(h.layers);
	snaps_list_free(h.all, h.n);
	free(h.node);
	vm_close(&h.vm);
	return rc;
}

/* What fails is said, and the rest goes on; -ENOMEM ends it. */
static int add_snaps_of(struct list *l, const char *name)
{
	struct snap_name n;
	int rc = snap_name_parse(&n, name);

	if (rc == 0)
		rc = add_snaps(l, &n);
	if (rc == -ENOMEM || rc == 0 || (rc == -E_NOENT && l->all))
		return rc == -ENOMEM ? rc : 0;
	list_failed(l, name, rc);
	return 0;
}

/* -- all of it -- */

/* All VMs, or those named. */
static int add_all(struct list *l, int argc, char **argv)
{
	char **names;
	size_t n;
	int rc;

	l->all = argc == 0;
	rc = l->all ? vm_list(&l->store, &names, &n) :
		      each_names(true, argc, argv, &names, &n);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = l->snaps ? add_snaps_of(l, names[i]) :
				add_vm(l, names[i]);
	if (l->all)
		free(names);
	else
		each_free(names, n);
	return rc;
}

static int fill_and_print(struct list *l, int argc, char **argv)
{
	int rc = store_open(&l->store, common.state, false);

	if (rc < 0)
		return rc;
	rc = add_all(l, argc, argv);
	store_close(&l->store);
	if (rc == 0)
		rc = table_print(&l->table);
	return rc < 0 ? rc : tally_result(&l->tally);
}

static bool wants_any(const struct table *t, const int *col, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (table_wants(t, col[i]))
			return true;
	return false;
}

static int choose_type(struct list *l)
{
	static const char *const types[] = { "vm", "snap", NULL };
	int type = args.type ? find_word(types, args.type) : 0;

	if (type < 0)
		return fail(E_USAGE, "-t '%s': vm or snap", args.type);
	l->snaps = type;
	return 0;
}

static int run(int argc, char **argv)
{
	static const int live[] = { STATE, UPTIME, REASON, PID, SINCE, BOOTS,
				    EXITS, ENGINE };
	static const int config[] = {
		STATE, CPUS, MEMORY, DISK, MACHINE, ENGINE, KERNEL, INITRD, APPEND,
		CONSOLE, NOTE,
	};
	struct list l = { .patience = patience_ns };
	int rc = choose_type(&l);

	if (rc == 0)
		rc = table_init(&l.table, l.snaps ? snap_cols : cols,
				&args.table);
	if (rc < 0)
		return rc;
	l.want_live = !l.snaps && wants_any(&l.table, live, ARRAY_SIZE(live));
	l.want_config = !l.snaps && wants_any(&l.table, config,
					      ARRAY_SIZE(config));
	rc = fill_and_print(&l, argc, argv);
	table_release(&l.table);
	return rc;
}

const struct command command = {
	.name = "vm-ls",
	.operands = "[VM|VM@SNAP...]",
	.summary = "list virtual machines, or snapshots of them",
	.details = "All of them, or those named; \"-\" reads names from "
		   "standard input. Of snapshots\n(-t snap) VM names all of "
		   "the VM, VM@ the newest.\n"
		   "States: stopped, running, paused, crashed, stopping, busy "
		   "(another command has it),\n"
		   "unresponsive (it runs and does not answer), damaged (its "
		   "config cannot be read).",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.columns = cols,
	.other_columns = snap_cols,
	.run = run,
};
