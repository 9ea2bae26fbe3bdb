/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-rollback - makes VMs what they were at a snapshot.
 *
 * New, empty layers are laid over the snapshot's, and one rename makes the
 * snapshot's config, naming them, the VM's: before it all is as it was,
 * behind it all is as it was then.
 */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cli/each.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "image/take.h"

static struct args {
	bool destructive, disk_only;
	uint64_t parallel;
} args;

static const struct opt opts[] = {
	OPT(0, "destructive", OPT_FLAG, NULL, struct args, destructive,
	    "lose what is now: take no snapshot of it first"),
	OPT(0, "disk-only", OPT_FLAG, NULL, struct args, disk_only,
	    "the next boot begins with the disks alone, without the memory"),
	EACH_OPT(struct args, parallel),
	{ 0 }
};

/* What is now stays, as a snapshot of its own. */
static int keep_present(struct snaps *s, const char *to)
{
	char note[NAME_MAX_LEN + 32], name[NAME_MAX_LEN + 1];
	const struct take t = { .note = note };
	int rc;

	if (args.destructive)
		return 0;
	snprintf(note, sizeof(note), "before the rollback to %s", to);
	rc = take_snapshot(s, &t, name);
	if (rc == 0 && common.verbose)
		say("%s@%s is what was here before", s->vm->name, name);
	return rc;
}

/* C is the snapshot's config; it becomes the VM's. */
static int go_back(struct snaps *s, const struct snap *sn,
		   const struct config *c)
{
	struct config will = CONFIG_INIT;
	struct layer_top top[VMCONF_DISKS];
	struct snap_meta m = { 0 };
	unsigned n = 0;
	int rc = snap_meta(sn, &m);

	if (rc == 0)
		rc = layers_push(s, c, &will, top, &n);
	if (rc < 0)
		goto out;
	rc = config_set(&will, "parent", sn->name);
	if (rc == 0)
		rc = config_set(&will, "restore", m.engine[0] &&
				!args.disk_only ? sn->name : NULL);
	if (rc == 0)
		rc = vm_set_config(s->vm, &will);
	if (rc < 0)
		layers_drop(s, top, n);
out:
	config_release(&will);
	snap_meta_release(&m);
	return rc;
}

/* What nothing names any more goes; that it does can wait. */
static void tidy(struct snaps *s)
{
	bool merged;

	if (layers_tidy(s, NULL, &merged) < 0)
		say("%s", err_text());
}

/* The locks of the VM and its snapshots are held. */
static int rollback_locked(struct snaps *s, const char *name)
{
	struct config c = CONFIG_INIT;
	struct snap sn;
	int rc = snap_open(&sn, s, name);

	if (rc < 0)
		return rc;
	rc = snap_config(&sn, &c);
	if (rc == 0)
		rc = keep_present(s, sn.name);
	if (rc == 0)
		rc = go_back(s, &sn, &c);
	config_release(&c);
	snap_close(&sn);
	if (rc == 0)
		tidy(s);
	return rc;
}

static int rollback_vm(struct vm *vm, const struct snap_name *n)
{
	struct snaps s;
	int rc = vm_lock(vm, common.lock_wait);

	if (rc == 0)
		rc = snaps_open(&s, vm, false);
	if (rc < 0)
		return rc;
	rc = s.dir < 0 ? fail(E_NOENT, "%s@%s: no such snapshot", vm->name,
			      n->snap) : snaps_lock(&s, common.lock_wait);
	if (rc == 0)
		rc = rollback_locked(&s, n->snap);
	snaps_close(&s);
	return rc;
}

static int rollback(const char *name, void *arg)
{
	struct snap_name n;
	struct vm vm;
	int rc = snap_name_parse(&n, name);

	if (rc == 0 && !n.named)
		rc = fail(E_USAGE, "%s: which snapshot? (%s@NAME, or %s@ for "
			  "the newest)", name, name, name);
	if (rc == 0)
		rc = vm_open(&vm, arg, n.vm);
	if (rc < 0)
		return rc;
	rc = rollback_vm(&vm, &n);
	vm_close(&vm);
	return rc < 0 ? rc : out_name(n.vm);
}

static int run(int argc, char **argv)
{
	const struct each each = {
		.explicit = true, .prints = true, .parallel = args.parallel,
		.job = rollback,
	};

	return each_vm(&each, argc, argv);
}

const struct command command = {
	.name = "vm-rollback",
	.operands = "VM@SNAP...",
	.summary = "go back to snapshots",
	.details = "The VM must be stopped. Its disks and its config become "
		   "those of the snapshot; of a\nsnapshot with memory the next "
		   "vm-boot goes on where it was taken. What is now is\nkept as "
		   "a snapshot of its own first. Prints the VM's name.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
