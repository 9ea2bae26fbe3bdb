/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-set - changes the config of VMs.
 *
 * The new config is checked as a whole before it replaces the old one. Two
 * changes of one VM at the same time come one after the other: each holds a
 * lock on the VM's directory, for a running VM's own lock belongs to it.
 */
#include <errno.h>
#include <string.h>
#include <sys/file.h>

#include "base/err.h"
#include "cli/each.h"
#include "cli/near.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "ctl/ctl.h"
#include "image/check.h"
#include "state/vm.h"

static struct args {
	bool dry_run;
	uint64_t parallel;
	const char *vm;		/* the one at work in this process */
} args;

static const struct opt opts[] = {
	OPT(0, "dry-run", OPT_FLAG, NULL, struct args, dry_run,
	    "check everything, change nothing"),
	EACH_OPT(struct args, parallel),
	{ 0 }
};

/* KEY=VALUE as given; no VALUE takes the key out. */
struct setting {
	const char *key, *value;
};

struct task {
	struct store store;
	struct setting *set;
	size_t n;
};

/* -- what is asked for -- */

/* Cuts ARG, which is KEY=VALUE, in place. */
static int read_setting(char *arg, struct setting *s)
{
	s->key = cut(&arg, '=');
	s->value = *arg ? arg : NULL;
	return *s->key ? 0 : fail(E_USAGE, "'=%s': not KEY=VALUE", arg);
}

/*
 * Moves what has a '=' (no name has) from ARGV to T; the number of operands
 * that are names.
 */
static int read_operands(struct task *t, int argc, char **argv)
{
	int names = 0, rc;

	t->set = calloc(argc + 1, sizeof(*t->set));
	if (!t->set)
		return fail(ENOMEM, "out of memory");
	for (int i = 0; i < argc; i++) {
		if (!strchr(argv[i], '=')) {
			argv[names++] = argv[i];
			continue;
		}
		rc = read_setting(argv[i], &t->set[t->n++]);
		if (rc < 0)
			return rc;
	}
	if (!t->n)
		return fail(E_USAGE, "nothing to set: give KEY=VALUE");
	return names;
}

/* -- one VM -- */

/* A key nobody knows may be changed only where it is already. */
static int check_key(const struct config *conf, const char *key)
{
	struct near near = NEAR(key);

	if (vmconf_key(key) || config_get(conf, key))
		return 0;
	for (const struct vmconf_key *k = vmconf_keys; k->key; k++)
		near_try(&near, k->key);
	for (size_t i = 0; i < conf->n; i++)
		if (conf->line[i].key)
			near_try(&near, conf->line[i].key);
	return fail(E_USAGE, "unknown key '%s'%s%s%s", key, NEAR_HINT(&near));
}

static int apply(const struct task *t, struct config *conf)
{
	int rc = 0;

	for (size_t i = 0; i < t->n && rc == 0; i++) {
		rc = check_key(conf, t->set[i].key);
		if (rc == 0)
			rc = config_set(conf, t->set[i].key, t->set[i].value);
	}
	return rc;
}

static bool changed(const struct config *old, const struct config *new,
		    const char *key)
{
	const char *a = config_get(old, key), *b = config_get(new, key);

	return a && b ? strcmp(a, b) : a != b;
}

/* Whether S[I] is the last one that sets its key to something else. */
static bool is_change(const struct task *t, size_t i, const struct config *old,
		      const struct config *new)
{
	for (size_t k = i + 1; k < t->n; k++)
		if (!strcmp(t->set[k].key, t->set[i].key))
			return false;
	return changed(old, new, t->set[i].key);
}

/* Whether a VM that runs must be booted again to heed KEY. */
static bool waits(const char *key)
{
	const struct vmconf_key *row = vmconf_key(key);

	return !row || !row->live;
}

static void warn_key(const char *key)
{
	say("%s: unknown key '%s' is kept", args.vm, key);
}

/* Whether a file may have been named anew. */
static bool names_file(const struct task *t)
{
	static const char *const keys[] = { "kernel", "initrd", "disk" };

	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
			if (starts_with(t->set[i].key, keys[k], NULL))
				return true;
	return false;
}

/*
 * The config as a whole. The files are looked at when one is set: a disk that
 * is away for now is no reason against more memory.
 */
static int check(const struct task *t, const struct vm *vm,
		 const struct config *conf)
{
	struct vmconf vc = { 0 };
	int rc = vmconf_parse(&vc, conf, warn_key);

	if (rc < 0)
		return rc;
	if (names_file(t))
		rc = check_files(args.dry_run ? NULL : &t->store, vm->dir, &vc);
	vmconf_release(&vc);
	return rc;
}

/* Sets T's values in the config of VM, which runs if RUNNING. */
static int replace(const struct task *t, struct vm *vm, bool running,
		   const struct config *old, struct config *new)
{
	int rc = apply(t, new), changes = 0;

	if (rc == 0)
		rc = check(t, vm, new);
	if (rc < 0)
		return fail_in(rc, "%s", vm->name);
	for (size_t i = 0; i < t->n; i++)
		changes += is_change(t, i, old, new);
	if (!changes || args.dry_run)
		return 0;
	rc = vm_set_config(vm, new);
	for (size_t i = 0; i < t->n && rc == 0 && running; i++)
		if (is_change(t, i, old, new) && waits(t->set[i].key))
			say("%s: %s: from the next boot", vm->name,
			    t->set[i].key);
	return rc;
}

static int change(const struct task *t, struct vm *vm, bool running)
{
	struct config old = CONFIG_INIT, new = CONFIG_INIT;
	int rc = vm_config(vm, &old);

	if (rc == 0) {
		rc = config_copy(&new, &old);
		if (rc == 0)
			rc = replace(t, vm, running, &old, &new);
	}
	config_release(&old);
	config_release(&new);
	return rc;
}

/* Whether the VM, whose lock is held, runs: then its lock stays its own. */
static bool answers(const struct vm *vm)
{
	autoclose int dir = vm_run_dir(vm, false);
	autoclose int conn = dir < 0 ? -1 : ctl_connect(dir);

	return conn >= 0;
}

/* 1: it runs; 0: it does not, and VM has its lock. */
static int secure(struct vm *vm)
{
	int rc;

	if (flock(vm->dir, LOCK_EX) < 0)
		return fail_sys("%s", vm->name);
	rc = vm_lock(vm, 0);
	if (rc != -E_BUSY || answers(vm))
		return rc == -E_BUSY ? 1 : rc;
	return vm_lock(vm, common.lock_wait);
}

static int set_one(const char *name, void *arg)
{
	struct task *t = arg;
	struct vm vm;
	int rc = vm_open(&vm, &t->store, name);

	if (rc < 0)
		return rc;
	args.vm = vm.name;
	rc = secure(&vm);
	if (rc >= 0)
		rc = change(t, &vm, rc);
	vm_close(&vm);
	return rc;
}

static int set_all(struct task *t, int argc, char **argv)
{
	struct each each = {
		.parallel = args.parallel, .job = set_one, .arg = t,
	};
	int rc = store_open(&t->store, common.state, false);

	if (rc < 0)
		return rc;
	rc = each_run(&each, argc, argv);
	store_close(&t->store);
	return rc;
}

static int run(int argc, char **argv)
{
	struct task t = { 0 };
	int rc = read_operands(&t, argc, argv);

	if (rc >= 0)
		rc = set_all(&t, rc, argv);
	free(t.set);
	return rc;
}

const struct command command = {
	.name = "vm-set",
	.operands = "VM... KEY=VALUE...",
	.summary = "change the configuration of virtual machines",
	.details = "\"KEY=\" takes a key out, so that its default holds. A "
		   "running VM keeps what it has\nuntil it is booted anew; "
		   "which keys wait for that is said on standard error.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_KEY,
	.acts = true,
	.run = run,
};
