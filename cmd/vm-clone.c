/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-clone - makes VMs that begin as another one is, or was.
 *
 * What the source's disks consist of stands still, and the new VM has the same
 * files under names of its own (hard links), with new layers above them: so
 * neither depends on the other, and what both have takes its room once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "cli/live.h"
#include "cli/names.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/tally.h"
#include "image/seed.h"
#include "image/take.h"

static struct args {
	bool disk_only, if_missing;
} args;

static const struct opt opts[] = {
	OPT(0, "disk-only", OPT_FLAG, NULL, struct args, disk_only,
	    "of a snapshot with memory, the disks alone"),
	OPT(0, "if-missing", OPT_FLAG, NULL, struct args, if_missing,
	    "a VM that exists already is none to make and no error"),
	{ 0 }
};

/* What the new VMs begin with. */
struct source {
	struct live live;
	struct snaps snaps;	/* locked */
	struct snap snap;	/* dir -1: none is named */
	struct snap_meta meta;
	struct config conf;	/* its disks stand still */
};

static bool goes_on(const struct source *src)
{
	return src->snap.dir >= 0 && src->meta.engine[0] && !args.disk_only;
}

/* -- the source -- */

static int tell(void *arg, const char *request)
{
	uint64_t pause;

	return live_snap(arg, request, &pause);
}

/* The VM as it is now. */
static int freeze(struct source *src)
{
	struct take t = { .arg = &src->live };

	if (src->live.conn >= 0)
		t.tell = tell;
	return take_layers(&src->snaps, &t, &src->conf);
}

static int open_snap(struct source *src, const char *name)
{
	int rc = snap_open(&src->snap, &src->snaps, name);

	if (rc == 0)
		rc = snap_meta(&src->snap, &src->meta);
	return rc == 0 ? snap_config(&src->snap, &src->conf) : rc;
}

static int source_open(struct source *src, struct store *st, const char *text)
{
	struct snap_name n;
	int rc = snap_name_parse(&n, text);

	if (rc < 0)
		return rc;
	rc = live_open(&src->live, st, n.vm);
	if (rc < 0 && rc != -E_STOPPED)
		return rc;
	rc = n.named || src->live.conn >= 0 ? 0 :
		vm_lock(&src->live.vm, common.lock_wait);
	if (rc == 0)
		rc = snaps_open(&src->snaps, &src->live.vm, true);
	if (rc == 0)
		rc = snaps_lock(&src->snaps, common.lock_wait);
	if (rc == 0)
		rc = n.named ? open_snap(src, n.snap) : freeze(src);
	return rc;
}

static void source_close(struct source *src)
{
	config_release(&src->conf);
	snap_meta_release(&src->meta);
	snap_close(&src->snap);
	snaps_close(&src->snaps);
	live_close(&src->live);
}

/* -- a clone -- */

/* The seed for cloud-init is for another instance, if there is one. */
static int reissue_seed(struct stage *s)
{
	autoclose int from = openat(s->dir, "disk/seed.iso", O_RDONLY |
				    O_NOFOLLOW | O_CLOEXEC);
	autoclose int to = -1;
	char id[SEED_ID];
	struct seed seed = { .id = id, .hostname = s->name };
	int rc;

	if (from < 0)
		return 0;
	rc = seed_new_id(id, s->name);
	if (rc < 0)
		return rc;
	if (unlinkat(s->dir, "disk/seed.iso", 0) < 0)
		return fail_sys("%s: disk/seed.iso", s->name);
	to = openat(s->dir, "disk/seed.iso", O_RDWR | O_CREAT | O_EXCL |
		    O_CLOEXEC, 0600);
	if (to < 0)
		return fail_sys("%s: disk/seed.iso", s->name);
	return seed_reissue(from, &seed, to);
}

/* The snapshot is one of the clone's too: it has the memory to go on from. */
static int link_snap(const struct source *src, struct stage *s)
{
	struct snap_meta m = src->meta;

	m.is_protected = false;
	m.parent[0] = '\0';
	return snap_link(&src->snap, &m, s->dir);
}

/* C with the clone's name above it, where the source's was. */
static int stage_config(const struct source *src, struct stage *s,
			const struct config *c)
{
	autobuf struct buf was = BUF_INIT, text = BUF_INIT;
	struct config named = CONFIG_INIT;
	char title[NAME_MAX_LEN + 4];
	const char *rest;
	int rc;

	config_format(c, &was);
	snprintf(title, sizeof(title), "# %s\n", src->live.vm.name);
	buf_printf(&text, "# %s\n", s->name);
	if (!was.failed)
		buf_str(&text, starts_with(was.data, title, &rest) ? rest :
			was.data);
	rc = was.failed || text.failed ? fail(ENOMEM, "out of memory") :
		config_parse(&named, text.data, text.len);
	if (rc == 0)
		rc = vm_stage_config(s, &named);
	config_release(&named);
	return rc;
}

/* A kernel and an initrd in the source's directory are the clone's, too. */
static int link_boot_files(const struct source *src, const struct stage *s)
{
	static const char *const keys[] = { "kernel", "initrd" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *file = config_get(&src->conf, keys[i]);

		if (!file || !name_ok(file))
			continue;
		if (linkat(src->live.vm.dir, file, s->dir, file, 0) < 0 &&
		    errno != EEXIST && errno != ENOENT)
			return fail_sys("%s: %s", s->name, file);
	}
	return 0;
}

static int fill(struct source *src, struct stage *s)
{
	struct vm vm = { .store = src->live.vm.store, .dir = s->dir,
			 .lock = -1 };
	struct snaps snaps = { .vm = &vm, .dir = -1, .lock = -1 };
	const char *snap = goes_on(src) ? src->snap.name : NULL;
	struct config c = CONFIG_INIT;
	unsigned ntops;
	int rc = layers_link(&src->snaps, &src->conf, s->dir);

	snprintf(vm.name, sizeof(vm.name), "%s", s->name);
	if (rc == 0)
		rc = layers_push(&snaps, &src->conf, &c, NULL, &ntops);
	if (rc == 0)
		rc = link_boot_files(src, s);
	if (rc == 0 && snap)
		rc = link_snap(src, s);
	if (rc == 0)
		rc = config_set(&c, "parent", snap);
	if (rc == 0)
		rc = config_set(&c, "restore", snap);
	if (rc == 0)
		rc = reissue_seed(s);
	if (rc == 0)
		rc = stage_config(src, s, &c);
	config_release(&c);
	return rc;
}

/* -- all of them -- */

struct maker {
	struct source *source;
	struct tally tally;
	struct stage stage[STAGE_BATCH];
	size_t n;
};

static void settle(struct stage *s, int rc, void *arg)
{
	struct maker *m = arg;

	if (rc == 0 || (rc == -E_EXISTS && args.if_missing)) {
		tally_done(&m->tally, s->name);
		return;
	}
	say_failed(s->name);
	tally_failed(&m->tally, err_exit(rc));
}

static void publish(struct maker *m)
{
	stage_publish(m->stage, m->n, settle, m);
	for (size_t i = 0; i < m->n; i++)
		stage_close(&m->stage[i]);
	m->n = 0;
}

static void make(struct maker *m, const char *name)
{
	struct stage *s = &m->stage[m->n];
	int rc = vm_stage(s, m->source->live.vm.store, name);

	if (rc < 0) {
		snprintf(s->name, sizeof(s->name), "%s", name);
		settle(s, rc, m);
		return;
	}
	rc = fill(m->source, s);
	if (rc < 0) {
		settle(s, rc, m);
		stage_close(s);
	} else if (++m->n == STAGE_BATCH) {
		publish(m);
	}
}

static int make_all(struct maker *m, struct names *names)
{
	char *name;
	int rc;

	while ((rc = names_next(names, &name))) {
		if (rc > 0) {
			make(m, name);
			continue;
		}
		publish(m);
		rc = names_fill(names);
		if (rc < 0)
			return rc;
	}
	publish(m);
	return tally_result(&m->tally);
}

static int clone(struct store *st, const char *source, struct names *names)
{
	struct source src = {
		.live = { .vm = { .dir = -1, .lock = -1 }, .conn = -1,
			  .peer = -1 },
		.snaps = { .dir = -1, .lock = -1 },
		.snap = { .parent = -1, .dir = -1, .lock = -1 },
	};
	struct maker *m = calloc(1, sizeof(*m));
	int rc = m ? source_open(&src, st, source) :
		     fail(ENOMEM, "out of memory");

	if (rc == 0) {
		record_sweep(st->vms);
		m->source = &src;
		rc = make_all(m, names);
	}
	source_close(&src);
	free(m);
	return rc;
}

static int run(int argc, char **argv)
{
	struct names names;
	struct store st;
	int rc;

	if (argc < 1)
		return fail(E_USAGE, "which VM?");
	rc = names_init(&names, false, argc - 1, argv + 1);
	if (rc < 0)
		return rc;
	rc = store_open(&st, common.state, false);
	if (rc == 0) {
		rc = clone(&st, argv[0], &names);
		store_close(&st);
	}
	names_release(&names);
	return rc;
}

const struct command command = {
	.name = "vm-clone",
	.operands = "VM[@SNAP] NEW...",
	.summary = "copy virtual machines, at once",
	.details = "The copies share what they have in common with the source, "
		   "and depend on nothing of it.\nOf a snapshot with memory "
		   "they go on where it was taken, each a machine of its own.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_VM,
	.acts = true,
	.run = run,
};
