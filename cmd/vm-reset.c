/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-reset - starts running VMs again, by their button or their reset line.
 */
#include "base/err.h"
#include "cli/each.h"
#include "cli/live.h"
#include "cli/opt.h"

enum { PARALLEL = 64 };
#define DEFAULT_NS 90000000000ULL

static struct args {
	uint64_t wait, parallel;
	bool soft, hard;
} args = { .wait = DEFAULT_NS, .parallel = PARALLEL };

static const struct opt opts[] = {
	OPT(0, "soft", OPT_FLAG, NULL, struct args, soft,
	    "press the power button, start again when the guest is down"),
	OPT(0, "hard", OPT_FLAG, NULL, struct args, hard,
	    "pull the reset line at once"),
	OPT('t', "timeout", OPT_TIME, "SEC", struct args, wait,
	    "how long a guest may take to go down (default 90)"),
	OPT('P', "parallel", OPT_NUM, "N", struct args, parallel,
	    "VMs at the same time (default 64)"),
	{ 0 }
};

static int ended(const struct live *l)
{
	return fail(E_STOPPED, "%s: stopped instead of starting again",
		    l->vm.name);
}

static int reset_soft(struct live *l)
{
	uint64_t deadline;
	int rc;

	if (ckd_add(&deadline, now_ns(), args.wait))
		deadline = UINT64_MAX;
	rc = live_press(l, "reset soft", deadline);
	return rc == 0 ? ended(l) : rc;
}

/* Returns when the VM has entered the boot behind that of S. */
static int reset_hard(struct live *l, const struct live_status *s)
{
	uint64_t deadline = now_ns() + LIVE_BUILD_NS, now;
	struct live_status last = *s;
	int rc;

	l->until = deadline;
	rc = live_call(l, "watch", NULL, NULL);
	if (rc == 0)
		rc = live_call(l, "reset hard", NULL, NULL);
	while (rc == 0) {
		autobuf struct buf ev = BUF_INIT;

		rc = live_status(l, &last);
		if (rc < 0 || last.boots != s->boots)
			break;
		now = now_ns();
		rc = ctl_event(l->conn, &ev, deadline > now ?
			       deadline - now : 0);
		if (rc < 0)
			fail_in(rc, "%s", l->vm.name);
	}
	return rc == -E_STOPPED ? ended(l) : rc;
}

/* By the button where the guest can react to it, unless told how. */
static int reset_running(struct live *l)
{
	struct live_status s;
	int rc = live_status(l, &s);

	if (rc < 0)
		return rc;
	if (args.soft || (!args.hard && s.listens && s.state == LIVE_RUNNING))
		return reset_soft(l);
	return reset_hard(l, &s);
}

static int reset(const char *name, void *arg)
{
	struct live l;
	int rc = live_open(&l, arg, name);

	if (rc == 0)
		rc = reset_running(&l);
	live_close(&l);
	return rc < 0 ? rc : 0;
}

static int run(int argc, char **argv)
{
	const struct each each = {
		.parallel = args.parallel, .job = reset,
	};

	if (args.soft && args.hard)
		return fail(E_USAGE, "--soft or --hard, not both");
	return each_vm(&each, argc, argv);
}

const struct command command = {
	.name = "vm-reset",
	.operands = "[VM...]",
	.summary = "restart running virtual machines",
	.details = "Where the guest listens to its power button it goes down "
		   "by itself first,\nelse it loses what it had not written, "
		   "as by a reset button. Returns when each VM\nhas begun its "
		   "next boot.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
