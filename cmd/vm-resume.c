/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-resume - let paused virtual machines go on.
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

static int resume_one(const char *name, void *arg)
{
	return live_ask(arg, name, "resume");
}

static int run(int argc, char **argv)
{
	const struct each each = {
		.parallel = args.parallel, .job = resume_one,
	};

	return each_vm(&each, argc, argv);
}

const struct command command = {
	.name = "vm-resume",
	.operands = "[VM...]",
	.summary = "let paused virtual machines go on",
	.details = "A VM that is not paused is left as it is.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
