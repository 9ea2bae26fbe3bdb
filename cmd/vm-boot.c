/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/err.h"
#include "cli/each.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "ctl/ctl.h"
#include "engine/engine.h"

static struct args {
	uint64_t parallel;
	bool foreground, remove, paused;
} args;

static const struct opt opts[] = {
	OPT('f', "foreground", OPT_FLAG, NULL, struct args, foreground,
	    "stay, with the console here, until the VM ends"),
	OPT(0, "rm", OPT_FLAG, NULL, struct args, remove,
	    "remove the VM when it ends"),
	OPT(0, "paused", OPT_FLAG, NULL, struct args, paused,
	    "stop before the first instruction (vm-resume goes on)"),
	EACH_OPT(struct args, parallel),
	{ 0 }
};

static const uint64_t ANSWER_NS = 2000000000;
static const char *booting;	/* the VM whose config is being read */

static void warn(const char *key)
{
	say("%s: config: unknown key '%s'", booting, key);
}

static int read_config(const struct vm *vm, struct vmconf *vc)
{
	struct config c = CONFIG_INIT;
	int rc = vm_config(vm, &c);

	booting = vm->name;
	if (rc == 0) {
		rc = vmconf_parse(vc, &c, warn);
		if (rc < 0)
			fail_in(rc, "%s: config", vm->name);
	}
	config_release(&c);
	return rc;
}

/* With the lock held. */
static int start(struct vm *vm)
{
	struct vmconf vc = { 0 };
	struct start_args sa = {
		.conf = &vc, .paused = args.paused, .remove = args.remove,
		.foreground = args.foreground,
	};
	int rc = read_config(vm, &vc);

	if (rc < 0)
		return rc;
	rc = engine_kvm.probe();
	if (rc == 0)
		rc = engine_start(&engine_kvm, vm, &sa);
	vmconf_release(&vc);
	return rc;
}

/* Whether the VM that someone else holds the lock of runs: it answers. */
static bool answers(const struct vm *vm)
{
	autoclose int dir = vm_run_dir(vm, false);
	autoclose int conn = dir < 0 ? -1 : ctl_connect(dir);

	return conn >= 0 &&
	       ctl_call(conn, "status", NULL, NULL, ANSWER_NS) == 0;
}

static int already(const struct vm *vm)
{
	if (common.verbose)
		say("%s: runs already", vm->name);
	return 0;
}

static int boot(const char *name, void *arg)
{
	struct vm vm;
	int rc = vm_open(&vm, arg, name);

	if (rc < 0)
		return rc;
	rc = vm_lock(&vm, common.lock_wait);
	if (rc == 0)
		rc = start(&vm);
	else if (rc == -E_BUSY && !args.foreground && !args.paused &&
		 !args.remove && answers(&vm))
		rc = already(&vm);
	vm_close(&vm);
	return rc;
}

static int run(int argc, char **argv)
{
	const struct each e = {
		.quiet = args.foreground, .parallel = args.parallel,
		.job = boot,
	};

	if (args.foreground && argc != 1)
		return fail(E_USAGE, "-f takes one VM");
	return each_vm(&e, argc, argv);
}

const struct command command = {
	.name = "vm-boot",
	.operands = "[VM...]",
	.summary = "start virtual machines",
	.details = "Returns when each VM runs and prints its name.\n",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
