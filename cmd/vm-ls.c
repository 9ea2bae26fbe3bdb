/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-ls - lists VMs. Only what the columns asked for is looked at: the names
 * alone cost one directory, the state a lock and, of a VM that runs, one
 * question on its socket.
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

static struct args {
	struct table_args table;
} args;

static const struct opt opts[] = {
	TABLE_OPTS(struct args, table),
	{ 0 }
};

struct list {
	struct store store;
	struct table table;
	struct tally tally;
	uint64_t patience;	/* left, ns */
	bool all;		/* no names given: one that vanishes is none */
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
		rc = add_vm(l, names[i]);
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

static int run(int argc, char **argv)
{
	static const int live[] = { STATE, UPTIME, REASON, PID, SINCE, BOOTS,
				    EXITS, ENGINE };
	static const int config[] = {
		STATE, CPUS, MEMORY, DISK, MACHINE, ENGINE, KERNEL, INITRD, APPEND,
		CONSOLE, NOTE,
	};
	struct list l = { .patience = patience_ns };
	int rc = table_init(&l.table, cols, &args.table);

	if (rc < 0)
		return rc;
	l.want_live = wants_any(&l.table, live, ARRAY_SIZE(live));
	l.want_config = wants_any(&l.table, config, ARRAY_SIZE(config));
	rc = fill_and_print(&l, argc, argv);
	table_release(&l.table);
	return rc;
}

const struct command command = {
	.name = "vm-ls",
	.operands = "[VM...]",
	.summary = "list virtual machines",
	.details = "All of them, or those named; \"-\" reads names from "
		   "standard input.\n"
		   "States: stopped, running, paused, crashed, stopping, busy "
		   "(another command has it),\n"
		   "unresponsive (it runs and does not answer), damaged (its "
		   "config cannot be read).",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.columns = cols,
	.run = run,
};
