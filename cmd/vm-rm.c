/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-rm - destroys VMs: their config, their own disks, what they said; or
 * snapshots of them.
 *
 * All names are read first: snapshots of one VM are one job, so that what
 * lies between several of them is merged once, and nobody waits for himself.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "base/err.h"
#include "cli/each.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/rest.h"
#include "cli/tally.h"
#include "ctl/ctl.h"
#include "image/unsnap.h"
#include "state/vm.h"

/* How long a VM may take to answer, and then to be gone. */
static const uint64_t answer_ns = 5000000000, end_ns = 10000000000;

static struct args {
	bool force, dry_run;
	uint64_t parallel;
	/* What is to be removed: NAMES of them, some of them snapshots. */
	char **name;
	size_t names;
} args;

static const struct opt opts[] = {
	OPT(0, "force", OPT_FLAG, NULL, struct args, force,
	    "stop what runs, at once; snapshots: protected ones, too"),
	OPT(0, "dry-run", OPT_FLAG, NULL, struct args, dry_run,
	    "only print what would be removed"),
	EACH_OPT(struct args, parallel),
	{ 0 }
};

/* Kills the process that serves CONN and does not answer. */
static int kill_peer(int conn)
{
	autoclose int process = ctl_peer(conn);

	if (process < 0)
		return process;
	if (pidfd_send_signal(process, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return fail_sys("kill its process");
	return 0;
}

/* Ends the running VM as a pulled plug would. 0 also if it ended itself. */
static int pull_plug(const struct vm *vm)
{
	autoclose int dir = vm_run_dir(vm, false);
	autoclose int conn = dir < 0 ? -1 : ctl_connect(dir);
	int rc;

	if (conn < 0)
		return 0;	/* has ended, or another command has it */
	rc = ctl_call(conn, "stop now", NULL, NULL, answer_ns);
	if (rc == -E_STOPPED)
		return 0;
	return rc < 0 ? kill_peer(conn) : 0;
}

/* The lock, --force making whoever runs the VM give it up. */
static int take_lock(struct vm *vm)
{
	int rc = vm_lock(vm, args.force ? 0 : common.lock_wait);

	if (rc != -E_BUSY || !args.force)
		return rc;
	rc = pull_plug(vm);
	if (rc < 0)
		return fail_in(rc, "%s", vm->name);
	return vm_lock(vm, max_u64(common.lock_wait, end_ns));
}

static int check_free(const struct vm *vm)
{
	int rc = args.force ? 0 : vm_locked(vm);

	return rc > 0 ? fail(E_BUSY, "%s: is in use", vm->name) : rc;
}

static int remove_vm(struct store *st, const char *name)
{
	struct vm vm;
	int rc = vm_open(&vm, st, name);

	if (rc < 0)
		return rc;
	if (args.dry_run) {
		rc = check_free(&vm);
	} else {
		rc = take_lock(&vm);
		if (rc == 0) {
			vm_remove_run_dir(&vm);
			rc = vm_remove(&vm);
		}
	}
	vm_close(&vm);
	return rc < 0 ? rc : out_name(name);
}

/* -- snapshots -- */

struct cut {
	struct rest rest;
	struct vm vm;
	struct snaps snaps;
	struct tally tally;
};

static void on_removed(void *arg, const char *snap, int rc)
{
	struct cut *c = arg;
	char name[2 * NAME_MAX_LEN + 2];

	snprintf(name, sizeof(name), "%s@%s", c->vm.name, snap);
	if (rc < 0) {
		say_failed(name);
		tally_failed(&c->tally, err_exit(rc));
	} else {
		tally_done(&c->tally, name);
	}
}

static int check_open(const struct snap *sn)
{
	struct snap_meta m;
	int rc = 0;

	if (args.force || snap_meta(sn, &m) < 0)
		return 0;
	if (m.is_protected)
		rc = fail(E_BUSY, "%s: is protected", sn->label);
	snap_meta_release(&m);
	return rc;
}

static void check_snap(struct cut *c, const char *name)
{
	struct snap sn;
	int rc = snap_open(&sn, &c->snaps, name);

	if (rc < 0) {
		on_removed(c, name, rc);
		return;
	}
	on_removed(c, sn.name, check_open(&sn));
	snap_close(&sn);
}

/* U has the snapshots' names. */
static int remove_from(struct cut *c, const struct unsnap *u)
{
	int rc = args.dry_run ? snaps_open(&c->snaps, &c->vm, false) :
		 unsnap_open(&c->vm, &c->snaps, common.lock_wait);

	if (rc < 0)
		return rc;
	if (!args.dry_run && c->snaps.dir >= 0)
		rc = unsnap(&c->snaps, &c->vm, u);
	else
		for (size_t i = 0; i < u->n; i++)
			check_snap(c, u->name[i]);
	snaps_close(&c->snaps);
	return rc;
}

/* How many bytes of NAME, a snapshot's, say of which VM: "web1@". */
static size_t vm_part(const char *name)
{
	return strcspn(name, "@") + 1;
}

/* The snapshots' names, of all that were given of the VM of FIRST. */
static void find_snaps(struct cut *c, const char *first, struct snap_name *of,
		       const char **name, size_t *n)
{
	for (size_t i = 0; i < args.names; i++) {
		int rc;

		if (strncmp(args.name[i], first, vm_part(first)))
			continue;
		rc = snap_name_parse(&of[*n], args.name[i]);
		if (rc < 0) {
			say_failed(args.name[i]);
			tally_failed(&c->tally, err_exit(rc));
			continue;
		}
		name[*n] = of[*n].snap;
		++*n;
	}
}

static void remove_found(struct cut *c, const char *vm, struct unsnap *u)
{
	int rc = vm_open(&c->vm, c->rest.store, vm);

	c->rest.vm = vm;
	if (rc == 0) {
		rc = remove_from(c, u);
		vm_close(&c->vm);
	}
	if (rc < 0) {
		say_failed(vm);
		tally_failed(&c->tally, err_exit(rc));
	}
}

/* All that were named of the VM of FIRST. */
static int remove_snaps(struct store *st, const char *first)
{
	autofree struct snap_name *of = calloc(args.names, sizeof(*of));
	autofree const char **name = calloc(args.names, sizeof(*name));
	struct cut c = { .rest.store = st };
	struct unsnap u = {
		.name = name, .force = args.force, .done = on_removed,
		.arg = &c, .rest = rest_ask, .rest_arg = &c.rest,
	};

	if (!of || !name)
		return fail(ENOMEM, "out of memory");
	find_snaps(&c, first, of, name, &u.n);
	if (u.n)
		remove_found(&c, of->vm, &u);
	return tally_result(&c.tally);
}

/* -- all of it -- */

static int remove_one(const char *name, void *arg)
{
	return strchr(name, '@') ? remove_snaps(arg, name) :
				   remove_vm(arg, name);
}

/* Whether one of the first N is of the same VM as NAME, a snapshot. */
static bool is_in_job(char **job, size_t n, const char *name)
{
	for (size_t i = 0; i < n && strchr(name, '@'); i++)
		if (!strncmp(job[i], name, vm_part(name)))
			return true;
	return false;
}

static int remove_all(const struct each *each)
{
	autofree char **job = calloc(args.names + 1, sizeof(*job));
	size_t n = 0;

	if (!job)
		return fail(ENOMEM, "out of memory");
	for (size_t i = 0; i < args.names; i++)
		if (!is_in_job(job, n, args.name[i]))
			job[n++] = args.name[i];
	return n ? each_vm(each, n, job) : 0;
}

static int run(int argc, char **argv)
{
	const struct each each = {
		.parallel = args.parallel, .prints = true, .job = remove_one,
	};
	int rc = each_names(true, argc, argv, &args.name, &args.names);

	if (rc < 0)
		return rc;
	rc = remove_all(&each);
	each_free(args.name, args.names);
	return rc;
}

const struct command command = {
	.name = "vm-rm",
	.operands = "VM|VM@SNAP...",
	.summary = "destroy virtual machines, or snapshots of them",
	.details = "Removes each VM with all that is its own, or each snapshot "
		   "(VM@: the newest) alone.\nNames are read from standard "
		   "input only for an explicit \"-\".",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
