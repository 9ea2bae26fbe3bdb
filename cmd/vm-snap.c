/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-snap - takes snapshots: of the disks and the config of a VM, and of its
 * memory and devices when it runs.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "cli/each.h"
#include "cli/live.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "image/take.h"

#define NSEC 1000000000ULL

static struct args {
	const char *name, *note;
	bool disk_only, keep;
	uint64_t newer, parallel;
} args;

static const struct opt opts[] = {
	OPT('n', "name", OPT_STR, "NAME", struct args, name,
	    "the snapshot's name (default: the time, as 20261125-021500)"),
	OPT(0, "disk-only", OPT_FLAG, NULL, struct args, disk_only,
	    "without the memory of what runs"),
	OPT(0, "note", OPT_STR, "TEXT", struct args, note,
	    "a line for people"),
	OPT(0, "protect", OPT_FLAG, NULL, struct args, keep,
	    "neither vm-prune nor vm-rm without --force removes it"),
	OPT(0, "unless-newer-than", OPT_TIME, "TIME", struct args, newer,
	    "take none of a VM that has one younger than that"),
	EACH_OPT(struct args, parallel),
	{ 0 }
};

/* Whether the VM has a snapshot that is young enough: 1, 0 or negative. */
static int has_newer(const struct snaps *s)
{
	struct snap_entry *all;
	uint64_t now = time(NULL);
	size_t n;
	bool newer;
	int rc = args.newer ? snaps_list(s, &all, &n) : 0;

	if (rc < 0 || !args.newer)
		return rc;
	newer = n && all[n - 1].meta.created + args.newer / NSEC > now;
	snaps_list_free(all, n);
	return newer;
}

static int tell(void *arg, const char *request)
{
	uint64_t pause;
	struct live *l = arg;
	int rc = live_snap(l, request, &pause);

	if (rc == 0 && common.verbose)
		say("%s: stood for %" PRIu64 ".%03" PRIu64 " ms", l->vm.name,
		    pause / 1000000, pause / 1000 % 1000);
	return rc;
}

/* What a VM that runs has: cpus=, memory=, engine= of its status. */
static int ask_live(struct live *l, struct take *t, char *engine, size_t size)
{
	autobuf struct buf status = BUF_INIT;
	char value[24] = "";
	uint64_t cpus = 0;
	int rc = live_call(l, "status", &status, NULL);

	t->tell = tell;
	t->arg = l;
	if (rc < 0 || args.disk_only)
		return rc;
	if (!ctl_value(status.data, "memory", value, sizeof(value)) ||
	    parse_u64("memory", value, &t->memory) < 0 ||
	    !ctl_value(status.data, "cpus", value, sizeof(value)) ||
	    parse_u64("cpus", value, &cpus) < 0 ||
	    !ctl_value(status.data, "engine", engine, size))
		return fail(EPROTO, "%s: its status cannot be read",
			    l->vm.name);
	if (starts_with(engine, "kvm", NULL))
		snprintf(engine, size, "kvm");	/* kvm-any is ours, too */
	t->cpus = cpus;
	t->engine = engine;
	return 0;
}

/* With the lock of the snapshots, and of a VM that is stopped. */
static int take(struct live *l, struct snaps *s, char *name)
{
	struct take t = { .name = args.name, .note = args.note,
			  .is_protected = args.keep };
	char engine[16];
	int rc = l->conn >= 0 ? ask_live(l, &t, engine, sizeof(engine)) : 0;

	return rc < 0 ? rc : take_snapshot(s, &t, name);
}

static int print(const char *vm, const char *snap)
{
	char line[2 * NAME_MAX_LEN + 2];

	snprintf(line, sizeof(line), "%s@%s", vm, snap);
	return out_name(line);
}

static int snap_open_vm(struct live *l)
{
	char name[NAME_MAX_LEN + 1];
	struct snaps s;
	int rc = l->conn < 0 ? vm_lock(&l->vm, common.lock_wait) : 0;

	if (rc == 0)
		rc = snaps_open(&s, &l->vm, true);
	if (rc < 0)
		return rc;
	rc = snaps_lock(&s, common.lock_wait);
	if (rc == 0)
		rc = has_newer(&s);
	if (rc == 0) {
		rc = take(l, &s, name);
		if (rc == 0)
			rc = print(l->vm.name, name);
	}
	snaps_close(&s);
	return rc < 0 ? rc : 0;
}

static int snap(const char *name, void *arg)
{
	struct live l;
	int rc = live_open(&l, arg, name);

	if (rc == 0 || rc == -E_STOPPED)
		rc = snap_open_vm(&l);
	live_close(&l);
	return rc;
}

static int run(int argc, char **argv)
{
	const struct each each = {
		.prints = true, .parallel = args.parallel, .job = snap,
	};
	int rc = args.name ? name_check("snapshot", args.name) : 0;

	if (rc < 0)
		return rc;
	if (args.note && strpbrk(args.note, "\n\r"))
		return fail(E_USAGE, "--note: one line");
	return each_vm(&each, argc, argv);
}

const struct command command = {
	.name = "vm-snap",
	.operands = "[VM...]",
	.summary = "take snapshots of virtual machines",
	.details = "Prints VM@SNAP. Of a VM that runs its memory is kept, too: "
		   "it stands for an\ninstant, and goes on while that is "
		   "written.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
