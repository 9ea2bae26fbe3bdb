/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-stop - presses the power button and waits; pulls the plug when told to.
 */
#include <errno.h>
#include <time.h>

#include "base/err.h"
#include "cli/each.h"
#include "cli/live.h"
#include "cli/opt.h"

enum { PARALLEL = 64, LOOK_NS = 20000000 };
#define DEFAULT_NS 90000000000ULL

static struct args {
	uint64_t wait, parallel;
	bool force, now;
} args = { .wait = DEFAULT_NS, .parallel = PARALLEL };

static const struct opt opts[] = {
	OPT('t', "timeout", OPT_TIME, "SEC", struct args, wait,
	    "how long the guest may take (default 90)"),
	OPT(0, "force", OPT_FLAG, NULL, struct args, force,
	    "then pull the plug"),
	OPT(0, "now", OPT_FLAG, NULL, struct args, now,
	    "pull the plug at once"),
	OPT('P', "parallel", OPT_NUM, "N", struct args, parallel,
	    "VMs at the same time (default 64)"),
	{ 0 }
};

/*
 * A VM that does not run is stopped, unless someone holds its lock: it may be
 * starting. 1: it runs by now, 0: stopped, negative with a sentence.
 */
static int wait_settled(struct live *l)
{
	uint64_t deadline = now_ns() + max_u64(common.lock_wait, LIVE_END_NS);
	int rc;

	while ((rc = vm_locked(&l->vm)) > 0) {
		rc = live_connect(l);
		if (rc != -E_STOPPED)
			return rc < 0 ? rc : 1;
		if (now_ns() > deadline)
			return fail(E_BUSY, "%s: in use by another command",
				    l->vm.name);
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
	}
	return rc;
}

/* A guest that cannot react any more has nothing to lose by the plug. */
static int stop_running(struct live *l)
{
	uint64_t deadline;
	int rc;

	if (args.now)
		return live_pull(l);
	if (ckd_add(&deadline, now_ns(), args.wait))
		deadline = UINT64_MAX;
	rc = live_press(l, "button", deadline);
	if (rc == -EIO || (args.force && rc < 0))
		return live_pull(l);
	return rc;
}

static int stop(const char *name, void *arg)
{
	struct live l;
	int rc = live_open(&l, arg, name);

	if (rc == 0)
		rc = 1;
	else if (rc == -E_STOPPED)
		rc = wait_settled(&l);
	if (rc > 0)
		rc = stop_running(&l);
	live_close(&l);
	return rc;
}

static int run(int argc, char **argv)
{
	const struct each each = {
		.parallel = args.parallel, .job = stop,
	};

	return each_vm(&each, argc, argv);
}

const struct command command = {
	.name = "vm-stop",
	.operands = "[VM...]",
	.summary = "stop virtual machines",
	.details = "Presses the power button and waits until the guest has "
		   "powered off. A VM that\ndoes not run is stopped already.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
