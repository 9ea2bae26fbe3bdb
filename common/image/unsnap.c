/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/unsnap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/err.h"

struct removal {
	struct vm *vm;
	const struct snaps *snaps;
	const struct unsnap *ask;
	bool any;			/* is removed */
};

/* Whether C's KEY is NAME. */
static bool is_set_to(const struct config *c, const char *key,
		      const char *name)
{
	const char *value = config_get(c, key);

	return value && !strcmp(value, name);
}

/* What the VM is came after NAME, and comes after PARENT; C is its config. */
static int adopt(const struct removal *r, struct config *c, const char *name,
		 const char *parent)
{
	bool restores = is_set_to(c, "restore", name);
	int rc = 0;

	if (restores && !r->ask->force)
		return fail(E_BUSY, "%s@%s: the next vm-boot goes on from it",
			    r->vm->name, name);
	if (!restores && !is_set_to(c, "parent", name))
		return 0;
	if (restores)
		rc = config_set(c, "restore", NULL);
	if (rc == 0 && is_set_to(c, "parent", name))
		rc = config_set(c, "parent", *parent ? parent : NULL);
	return rc < 0 ? rc : vm_set_config(r->vm, c);
}

/* Its config may be changed by others at the same time, and not be lost. */
static int adopt_vm(const struct removal *r, const char *name,
		    const char *parent)
{
	struct config c = CONFIG_INIT;
	int rc;

	if (flock(r->vm->dir, LOCK_EX) < 0)
		return fail_sys("%s", r->vm->name);
	rc = vm_config(r->vm, &c);
	if (rc == 0)
		rc = adopt(r, &c, name, parent);
	config_release(&c);
	flock(r->vm->dir, LOCK_UN);
	return rc;
}

/* One whose meta cannot be read is removed like any other. */
static int look(const struct removal *r, const struct snap *sn,
		char parent[NAME_MAX_LEN + 1])
{
	struct snap_meta m;
	bool stays;

	parent[0] = '\0';
	if (snap_meta(sn, &m) < 0)
		return 0;
	stays = m.is_protected && !r->ask->force;
	snprintf(parent, NAME_MAX_LEN + 1, "%s", m.parent);
	snap_meta_release(&m);
	return stays ? fail(E_BUSY, "%s: is protected", sn->label) : 0;
}

/* One that is open. */
static int remove_open(struct removal *r, struct snap *sn)
{
	char parent[NAME_MAX_LEN + 1];
	int rc = look(r, sn, parent);

	if (rc == 0)
		rc = snap_lock(sn, false);
	if (rc == 0)
		rc = adopt_vm(r, sn->name, parent);
	return rc < 0 ? rc : snap_remove(sn, r->snaps);
}

static void remove_one(struct removal *r, const char *name)
{
	char is[NAME_MAX_LEN + 1];
	struct snap sn;
	int rc = snap_open(&sn, r->snaps, name);

	snprintf(is, sizeof(is), "%s", rc < 0 ? name : sn.name);
	if (rc == 0) {
		rc = remove_open(r, &sn);
		snap_close(&sn);
	}
	r->any |= rc == 0;
	r->ask->done(r->ask->arg, is, rc);
}

/* What it has open of what is gone takes room until it is told, or ends. */
static void rest_all(const struct removal *r)
{
	struct config c = CONFIG_INIT;
	struct vmconf vc = { 0 };
	int rc = vm_config(r->vm, &c);

	if (rc == 0)
		rc = vmconf_parse(&vc, &c, NULL);
	config_release(&c);
	if (rc < 0)
		return;
	for (int i = 0; i < VMCONF_DISKS; i++)
		if (vc.disk[i].path && !vc.disk[i].readonly &&
		    vc.disk[i].format == FORMAT_QCOW2)
			r->ask->rest(r->ask->rest_arg, i, NULL, FORMAT_QCOW2);
	vmconf_release(&vc);
}

/* A VM whose lock is not ours runs, or is about to. */
static int tidy(struct removal *r)
{
	const struct layers_live live = { r->ask->rest, r->ask->rest_arg };
	bool merged = false, runs = r->vm->lock < 0;
	int rc = layers_tidy(r->snaps, runs ? &live : NULL, &merged);

	if (merged && runs)
		rest_all(r);
	return rc;
}

int unsnap_open(struct vm *vm, struct snaps *s, uint64_t wait_ns)
{
	int rc = vm_lock(vm, 0);

	if (rc < 0 && rc != -E_BUSY)
		return rc;
	rc = snaps_open(s, vm, false);
	if (rc < 0 || s->dir < 0)
		return rc;
	rc = snaps_lock(s, wait_ns);
	if (rc < 0)
		snaps_close(s);
	return rc;
}

int unsnap(const struct snaps *s, struct vm *vm, const struct unsnap *u)
{
	struct removal r = { .vm = vm, .snaps = s, .ask = u };

	for (size_t i = 0; i < u->n; i++)
		remove_one(&r, u->name[i]);
	return r.any ? tidy(&r) : 0;
}
