/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

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

/*
 * VM's lock is held by someone else: 0 if it runs, as it should; a sentence
 * if it does so in a way that booting it does not mend.
 */
static int already(const struct vm *vm)
{
	autobuf struct buf answer = BUF_INIT;
	autoclose int dir = vm_run_dir(vm, false);
	autoclose int conn = dir < 0 ? -1 : ctl_connect(dir);
	char state[16] = "";

	if (conn < 0 || ctl_call(conn, "status", &answer, NULL, ANSWER_NS) < 0)
		return fail(E_BUSY, "%s: in use by another command", vm->name);
	ctl_value(answer.data, "state", state, sizeof(state));
	if (!strcmp(state, "crashed"))
		return fail(E_BUSY, "%s: has crashed (vm-reset starts it "
			    "again)", vm->name);
	if (!strcmp(state, "paused"))
		return fail(E_BUSY, "%s: is paused (vm-resume goes on)",
			    vm->name);
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
		 !args.remove)
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
