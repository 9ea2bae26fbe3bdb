/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-rm - destroys VMs: their config, their own disks, what they said.
 */
#include <errno.h>
#include <signal.h>
#include <sys/pidfd.h>

#include "base/err.h"
#include "cli/each.h"
#include "cli/opt.h"
#include "ctl/ctl.h"
#include "state/vm.h"

/* How long a VM may take to answer, and then to be gone. */
static const uint64_t answer_ns = 5000000000, end_ns = 10000000000;

static struct args {
	bool force, dry_run;
	uint64_t parallel;
} args;

static const struct opt opts[] = {
	OPT(0, "force", OPT_FLAG, NULL, struct args, force,
	    "stop what runs, at once"),
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

static int remove_one(const char *name, void *arg)
{
	struct store *st = arg;
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
	return rc;
}

static int run(int argc, char **argv)
{
	const struct each each = {
		.explicit = true, .parallel = args.parallel,
		.job = remove_one,
	};

	return each_vm(&each, argc, argv);
}

const struct command command = {
	.name = "vm-rm",
	.operands = "VM...",
	.summary = "destroy virtual machines",
	.details = "Removes each VM with all that is its own. Names are read "
		   "from standard input\nonly for an explicit \"-\".",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
