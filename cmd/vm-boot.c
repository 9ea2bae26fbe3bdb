/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "cli/each.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "ctl/ctl.h"
#include "engine/engine.h"

static struct args {
	uint64_t parallel;
	const char *engine;
	bool foreground, remove, paused;
} args;

static const struct opt opts[] = {
	OPT('f', "foreground", OPT_FLAG, NULL, struct args, foreground,
	    "stay, with the console here, until the VM ends"),
	OPT(0, "rm", OPT_FLAG, NULL, struct args, remove,
	    "remove the VM when it ends"),
	OPT(0, "paused", OPT_FLAG, NULL, struct args, paused,
	    "stop before the first instruction (vm-resume goes on)"),
	OPT(0, "engine", OPT_STR, "auto|kvm|qemu|kvm-any", struct args,
	    engine, "what runs it (default: its config's, $VM_ENGINE, auto)",
	    COMPLETE_WORDS),
	EACH_OPT(struct args, parallel),
	{ 0 }
};

static const uint64_t ANSWER_NS = 2000000000;
static const char *booting;	/* the VM whose config is being read */
static enum engine_kind wanted;		/* by --engine */
static enum engine_kind usual;		/* by $VM_ENGINE */
static bool *told;			/* shared by all jobs */

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

/* The word WORD, which WHERE has, as a kind of engine. */
static int read_engine(const char *where, const char *word,
		       enum engine_kind *kind)
{
	int i = find_word(engine_kinds, word);

	*kind = i < 0 ? ENGINE_AUTO : (enum engine_kind)i;
	return i >= 0 ? 0 : fail(E_USAGE, "%s '%s': not an engine (auto, kvm, qemu, "
		    "kvm-any)", where, word);
}

/* Who is to run a VM with this config; what that costs is said once. */
static int choose(const struct vmconf *vc, const struct engine **e)
{
	enum engine_kind kind = args.engine ? wanted : vc->engine;
	char why[ERR_MAX];
	int rc;

	if (!args.engine && kind == ENGINE_AUTO)
		kind = usual;
	rc = engine_choose(kind, e, why, sizeof(why));
	if (rc == 0 && why[0] &&
	    !__atomic_exchange_n(told, true, __ATOMIC_SEQ_CST))
		say("%s", why);
	return rc;
}

/* With the lock held. */
static int start(struct vm *vm)
{
	const struct engine *e;
	struct vmconf vc = { 0 };
	struct start_args sa = {
		.conf = &vc, .paused = args.paused, .remove = args.remove,
		.foreground = args.foreground,
	};
	int rc = read_config(vm, &vc);

	if (rc < 0)
		return rc;
	rc = choose(&vc, &e);
	if (rc == 0)
		rc = engine_start(e, vm, &sa);
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

	const char *env = getenv("VM_ENGINE");
	int rc = 0;

	if (args.foreground && argc != 1)
		return fail(E_USAGE, "-f takes one VM");
	if (args.engine)
		rc = read_engine("--engine", args.engine, &wanted);
	if (rc == 0 && env && *env)
		rc = read_engine("VM_ENGINE", env, &usual);
	if (rc < 0)
		return rc;
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED)
		return fail_sys("memory");
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
