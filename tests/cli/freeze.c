/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * freeze.c - a snapshot of a stopped VM, with any memory and any time:
 *
 *	freeze VM SNAP CREATED [DEV MEM]
 *
 * DEV and MEM are files, of what would be a live one of the engine `kvm`.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/file.h"
#include "image/copy.h"
#include "image/layers.h"
#include "state/snap.h"

static int copy(const char *from, const struct stage *st, const char *name,
		uint64_t *size)
{
	autoclose int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;

	out = openat(st->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		     0600);
	if (in < 0 || out < 0)
		return fail_sys("%s", from);
	*size = lseek(in, 0, SEEK_END);
	lseek(in, 0, SEEK_SET);
	return copy_from_stream(in, NULL, 0, out, INT64_MAX);
}

static int fill(struct stage *st, struct snap_meta *m, char **argv)
{
	uint64_t size;
	int rc = 0;

	if (!argv[0])
		return 0;
	snprintf(m->engine, sizeof(m->engine), "kvm");
	rc = copy(argv[0], st, "dev", &size);
	return rc == 0 ? copy(argv[1], st, "mem", &m->memory) : rc;
}

static int freeze(struct vm *vm, const char *name, uint64_t created,
		  char **argv)
{
	struct config now = CONFIG_INIT, next = CONFIG_INIT;
	struct layer_top tops[VMCONF_DISKS];
	struct snap_meta m = { .created = created };
	struct stage st = { .dir = -1, .lock = -1 };
	struct snaps s;
	const char *parent;
	unsigned n;
	int rc = snaps_open(&s, vm, true);

	if (rc == 0)
		rc = snaps_lock(&s, 0);
	if (rc == 0)
		rc = vm_config(vm, &now);
	if (rc == 0)
		rc = snap_stage(&st, &s, name);
	if (rc == 0)
		rc = layers_push(&s, &now, &next, tops, &n);
	if (rc == 0)
		rc = config_set(&next, "parent", name);
	if (rc == 0)
		rc = vm_set_config(vm, &next);
	if (rc == 0)
		rc = snap_stage_config(&st, &now);
	if (rc == 0)
		rc = fill(&st, &m, argv);
	parent = config_get(&now, "parent");
	snprintf(m.parent, sizeof(m.parent), "%s", parent ? parent : "");
	if (rc == 0)
		rc = snap_publish(&st, &m);
	stage_close(&st);
	snaps_close(&s);
	config_release(&next);
	config_release(&now);
	return rc;
}

int main(int argc, char **argv)
{
	struct vm vm = { .dir = -1, .lock = -1 };
	struct store st;
	int rc;

	if (argc != 4 && argc != 6)
		return EXIT_USAGE;
	rc = store_open(&st, NULL, false);
	if (rc == 0)
		rc = vm_open(&vm, &st, argv[1]);
	if (rc == 0)
		rc = vm_lock(&vm, 0);
	if (rc == 0)
		rc = freeze(&vm, argv[2], strtoull(argv[3], NULL, 10),
			    argv + 4);
	vm_close(&vm);
	store_close(&st);
	if (rc < 0)
		fprintf(stderr, "freeze: %s\n", err_text());
	return err_exit(rc);
}
