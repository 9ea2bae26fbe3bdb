/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/take.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"

struct taking {
	struct snaps *snaps;
	const struct take *take;
	struct config was, will;	/* the VM's, before and after */
	struct layer_top top[VMCONF_DISKS];
	unsigned ntops;
	struct stage stage;
};

/* Lays the tops and makes them the VM's, for good. */
static int freeze(struct taking *t, const char *name)
{
	struct snaps *s = t->snaps;
	int rc = layers_push(s, &t->was, &t->will, t->top, &t->ntops);

	if (rc < 0)
		return rc;
	if (name)
		rc = config_set(&t->will, "parent", name);
	if (rc == 0)
		rc = vm_set_config(s->vm, &t->will);
	if (rc < 0)
		layers_drop(s, t->top, t->ntops);
	return rc;
}

/* A VM that runs goes on in the tops; STAGE is where its memory goes. */
static int tell(const struct taking *t, const char *stage)
{
	autobuf struct buf request = BUF_INIT;

	if (!t->take->tell)
		return 0;
	buf_printf(&request, "snap %s", stage);
	for (unsigned i = 0; i < t->ntops; i++)
		buf_printf(&request, " %u=%s", t->top[i].disk, t->top[i].path);
	if (request.failed)
		return fail(ENOMEM, "out of memory");
	return t->take->tell(t->take->arg, request.data);
}

/* The config of the snapshot: as the VM was, in what it runs with, too. */
static int stage_config(struct taking *t)
{
	const struct take *k = t->take;
	struct config c = CONFIG_INIT;
	char value[24];
	int rc = config_copy(&c, &t->was);

	if (rc == 0)
		rc = config_set(&c, "restore", NULL);
	if (rc == 0 && k->engine) {
		format_size_exact(value, k->memory);
		rc = config_set(&c, "memory", value);
		snprintf(value, sizeof(value), "%u", k->cpus);
	}
	if (rc == 0 && k->engine)
		rc = config_set(&c, "cpus", value);
	if (rc == 0)
		rc = snap_stage_config(&t->stage, &c);
	config_release(&c);
	return rc;
}

/* What is said of it; freed by snap_meta_release(). */
static int make_meta(const struct taking *t, struct snap_meta *m)
{
	const struct take *k = t->take;
	const char *parent = config_get(&t->was, "parent");

	*m = (struct snap_meta){
		.created = time(NULL), .is_protected = k->is_protected,
		.memory = k->engine ? k->memory : 0,
	};
	if (parent && name_ok(parent))
		snprintf(m->parent, sizeof(m->parent), "%s", parent);
	if (k->engine)
		snprintf(m->engine, sizeof(m->engine), "%s", k->engine);
	if (k->note) {
		m->note = strdup(k->note);
		if (!m->note)
			return fail(ENOMEM, "out of memory");
	}
	return 0;
}

static int take(struct taking *t, const char *name)
{
	struct snap_meta m;
	int rc = make_meta(t, &m);

	if (rc == 0)
		rc = stage_config(t);
	if (rc == 0)
		rc = freeze(t, name);
	if (rc == 0)
		rc = tell(t, t->take->engine ? t->stage.tmp : "-");
	if (rc == 0)
		rc = snap_publish(&t->stage, &m);
	snap_meta_release(&m);
	return rc;
}

static void taking_release(struct taking *t)
{
	config_release(&t->was);
	config_release(&t->will);
}

int take_snapshot(struct snaps *s, const struct take *k,
		  char name[NAME_MAX_LEN + 1])
{
	struct taking t = { .snaps = s, .take = k };
	int rc = 0;

	if (k->name)
		snprintf(name, NAME_MAX_LEN + 1, "%s", k->name);
	else
		rc = snap_new_name(s, time(NULL), name);
	if (rc == 0)
		rc = snap_stage(&t.stage, s, name);
	if (rc < 0)
		return rc;
	rc = vm_config(s->vm, &t.was);
	if (rc == 0)
		rc = take(&t, name);
	stage_close(&t.stage);
	taking_release(&t);
	return rc;
}

int take_layers(struct snaps *s, const struct take *k, struct config *frozen)
{
	struct taking t = { .snaps = s, .take = k };
	int rc = vm_config(s->vm, &t.was);

	if (rc == 0)
		rc = freeze(&t, NULL);
	if (rc == 0)
		rc = tell(&t, "-");
	if (rc == 0)
		rc = config_copy(frozen, &t.was);
	taking_release(&t);
	return rc;
}
