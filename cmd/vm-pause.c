/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-pause - stop the vCPUs of running virtual machines.
 */
#include "base/err.h"
#include "cli/each.h"
#include "cli/live.h"
#include "cli/opt.h"

static struct args {
	uint64_t parallel;
} args;

static const struct opt opts[] = {
	EACH_OPT(struct args, parallel),
	{ 0 }
};

static int pause_one(const char *name, void *arg)
{
	return live_ask(arg, name, "pause");
}

static int run(int argc, char **argv)
{
	const struct each each = {
		.parallel = args.parallel, .job = pause_one,
	};

	return each_vm(&each, argc, argv);
}

const struct command command = {
	.name = "vm-pause",
	.operands = "[VM...]",
	.summary = "stop the vCPUs of running virtual machines",
	.details = "Each VM keeps its memory and its devices; vm-resume goes on from there.\n"
		   "A VM that is paused already is left so.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
