/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-set - changes the config of VMs, and what is noted of snapshots.
 *
 * The new config is checked as a whole before it replaces the old one, and
 * what a running VM can be given comes last: limits and sizes of disks. Two
 * changes of one VM at the same time come one after the other: each holds a
 * lock on the VM's directory, for a running VM's own lock belongs to it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/err.h"
#include "cli/each.h"
#include "cli/live.h"
#include "cli/near.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "ctl/ctl.h"
#include "image/check.h"
#include "image/disk.h"
#include "image/ext4_grow.h"
#include "state/image.h"
#include "state/snap.h"
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

/* What is to become of it, and where it stands. */
struct work {
	struct task *task;
	struct vm *vm;
	bool running;
	struct config old, new;
	struct vmconf was, is;		/* `was` is empty where it cannot be read */
	uint64_t size[VMCONF_DISKS];	/* to grow to, 0: stays */
};

/* The N of "diskN", a key that is known. */
static unsigned disk_index(const char *key)
{
	return strtoul(key + strlen("disk"), NULL, 10) % VMCONF_DISKS;
}

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

/* diskN.size: not of the config, but of the disk itself. */
static int ask_size(struct work *w, const char *disk, const char *value)
{
	uint64_t *size = &w->size[disk_index(disk)];
	int rc = value ? parse_size("size", value, size) :
			 fail(E_USAGE, "size: none given");

	if (rc == 0 && (!*size || *size > INT64_MAX))
		rc = fail(E_CONFIG, "size %s: larger than any file, or none",
			  value);
	return rc < 0 ? fail_in(rc, "%s", disk) : 0;
}

static int set_word(struct work *w, const struct setting *s, const char *word,
		    const char *disk)
{
	if (strcmp(word, "size"))
		return vmconf_set_word(&w->new, disk, word, s->value);
	if (!config_get(&w->new, disk))
		return fail(E_CONFIG, "%s: there is no such disk", disk);
	return ask_size(w, disk, s->value);
}

static int apply(struct work *w)
{
	const struct task *t = w->task;
	int rc = 0;

	for (size_t i = 0; i < t->n && rc == 0; i++) {
		const struct setting *s = &t->set[i];
		char disk[VMCONF_KEY];
		const char *word = vmconf_disk_word(s->key, disk);

		if (word) {
			rc = set_word(w, s, word, disk);
			continue;
		}
		rc = check_key(&w->new, s->key);
		if (rc == 0)
			rc = config_set(&w->new, s->key, s->value);
	}
	return rc;
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
static int check(struct work *w)
{
	int rc = vmconf_parse(&w->is, &w->new, warn_key);

	if (rc == 0 && names_file(w->task))
		rc = check_files(args.dry_run ? NULL : &w->task->store,
				 w->vm->dir, &w->is);
	return rc;
}

/* -- what takes effect at once -- */

/* Whether a VM that runs must be booted again to heed KEY, which changed. */
static bool waits(const struct work *w, const char *key)
{
	const struct vmconf_key *row = vmconf_key(key);
	unsigned i;

	if (!row || !starts_with(key, "disk", NULL))
		return !row || !row->live;
	i = disk_index(key);
	return !disk_conf_same(&w->was.disk[i], &w->is.disk[i]);
}

static bool changed(const struct work *w, const char *key)
{
	const char *a = config_get(&w->old, key), *b = config_get(&w->new, key);

	return a && b ? strcmp(a, b) : a != b;
}

/* Says which keys the running VM does not heed yet. */
static void say_waiting(const struct work *w)
{
	const struct config *of[] = { &w->new, &w->old };

	for (size_t c = 0; c < ARRAY_SIZE(of); c++)
		for (size_t i = 0; i < of[c]->n; i++) {
			const char *key = of[c]->line[i].key;

			/* what was taken out is in the old one alone */
			if (!key || (c && config_get(&w->new, key)))
				continue;
			if (changed(w, key) && waits(w, key))
				say("%s: %s: from the next boot", w->vm->name,
				    key);
		}
}

static void add_rate(struct buf *b, const char *word, const struct disk_rate *r)
{
	if (!r->per_second)
		return;
	buf_printf(b, "%s%s=%" PRIu64, b->len && b->data[b->len - 1] != ' ' ?
		   "," : "", word, r->per_second);
	if (r->burst)
		buf_printf(b, "/%" PRIu64, r->burst);
}

/* The running VM's disk I has the limits of its config from now on. */
static int limit_disk(const struct work *w, int i)
{
	const struct disk_conf *d = &w->is.disk[i];
	autobuf struct buf request = BUF_INIT;

	buf_printf(&request, "limit %d ", i);
	add_rate(&request, "iops", &d->iops);
	add_rate(&request, "bps", &d->bps);
	if (request.failed)
		return fail(ENOMEM, "out of memory");
	return live_ask(&w->task->store, w->vm->name, request.data);
}

/* Whether D began as an image that is one ext4 of ours. */
static bool has_our_ext4(const struct work *w, const struct disk_conf *d)
{
	struct image_meta m = { 0 };
	struct image img;
	bool has;

	if (!d->image[0] || image_open(&img, &w->task->store, d->image) < 0)
		return false;
	has = image_meta(&img, &m) == 0 && m.ext4;
	image_meta_release(&m);
	image_close(&img);
	return has;
}

/* The guest may have made something else of it by now, which is its own. */
static void grow_ext4(const struct work *w, int i, struct block *b)
{
	if (ext4_grow(b) < 0)
		say("%s: disk%d: has grown, the file system on it has not: %s",
		    w->vm->name, i, err_text());
}

/* Of one that does not run the file is open to us as to it. */
static int grow_offline(const struct work *w, int i)
{
	const struct disk_conf *d = &w->is.disk[i];
	enum disk_format below;
	struct block *b;
	int rc;

	if (fchdir(w->vm->dir) < 0)
		return fail_sys("%s", w->vm->name);
	rc = disk_open(&b, &w->task->store, d, false, &below);
	if (rc < 0)
		return rc;
	if (w->size[i] < block_bytes(b))
		rc = fail(E_CONFIG, "a disk only grows, and it has %" PRIu64
			  " bytes", block_bytes(b));
	else if (w->size[i] > block_bytes(b))
		rc = block_resize(b, w->size[i]);
	if (rc == 0 && has_our_ext4(w, d))
		grow_ext4(w, i, b);
	if (rc == 0 && block_flush(b) < 0)
		rc = fail(EIO, "%s: not written whole", d->path);
	block_close(b);
	return rc;
}

static int grow_disk(const struct work *w, int i)
{
	char request[64];
	int rc;

	snprintf(request, sizeof(request), "resize %d %" PRIu64, i,
		 w->size[i]);
	if (w->running)
		return live_ask(&w->task->store, w->vm->name, request);
	rc = grow_offline(w, i);
	return rc < 0 ? fail_in(rc, "%s: disk%d", w->vm->name, i) : 0;
}

/* Every sentence of what follows begins with the VM's name. */
static int apply_to_disks(const struct work *w)
{
	int rc = 0;

	for (int i = 0; i < VMCONF_DISKS && rc == 0; i++) {
		if (w->running && w->is.disk[i].path &&
		    disk_conf_same(&w->was.disk[i], &w->is.disk[i]) &&
		    !disk_conf_same_rates(&w->was.disk[i], &w->is.disk[i]))
			rc = limit_disk(w, i);
		if (rc == 0 && w->size[i])
			rc = grow_disk(w, i);
	}
	return rc;
}

/* -- all of it -- */

static bool any_changed(const struct work *w)
{
	for (size_t i = 0; i < w->task->n; i++) {
		char disk[VMCONF_KEY];
		bool of_disk = vmconf_disk_word(w->task->set[i].key,
						disk);

		if (changed(w, of_disk ? disk : w->task->set[i].key))
			return true;
	}
	return false;
}

static int carry_out(struct work *w)
{
	int rc = apply(w);

	if (rc == 0)
		rc = check(w);
	if (rc < 0)
		return fail_in(rc, "%s", w->vm->name);
	/* One that cannot be read is repaired here, not compared with. */
	if (vmconf_parse(&w->was, &w->old, NULL) < 0)
		w->was = (struct vmconf){ 0 };
	if (args.dry_run)
		return 0;
	if (any_changed(w)) {
		rc = vm_set_config(w->vm, &w->new);
		if (rc == 0 && w->running)
			say_waiting(w);
	}
	return rc == 0 ? apply_to_disks(w) : rc;
}

static int change(struct task *t, struct vm *vm, bool running)
{
	struct work w = { .task = t, .vm = vm, .running = running };
	int rc = vm_config(vm, &w.old);

	if (rc == 0)
		rc = config_copy(&w.new, &w.old);
	if (rc == 0)
		rc = carry_out(&w);
	vmconf_release(&w.was);
	vmconf_release(&w.is);
	config_release(&w.old);
	config_release(&w.new);
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

static int set_vm(struct task *t, const char *name)
{
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

/* -- snapshots -- */

static int set_note(struct snap_meta *m, const char *value)
{
	struct config c = CONFIG_INIT;
	int rc = value ? config_set(&c, "note", value) : 0;

	if (rc == 0) {
		free(take_ptr(m->note));
		m->note = value ? strdup(value) : NULL;
		if (value && !m->note)
			rc = fail(ENOMEM, "out of memory");
	}
	config_release(&c);
	return rc;
}

/* Of a snapshot these two are to be changed, and nothing else ever. */
static int apply_to_meta(const struct task *t, struct snap_meta *m)
{
	int rc = 0;

	for (size_t i = 0; i < t->n && rc == 0; i++) {
		const char *key = t->set[i].key, *value = t->set[i].value;

		if (!strcmp(key, "note"))
			rc = set_note(m, value);
		else if (strcmp(key, "protected"))
			rc = fail(E_USAGE, "unknown key '%s' of a snapshot; "
				  "there are: note protected", key);
		else if (value)
			rc = parse_bool(key, value, &m->is_protected);
		else
			m->is_protected = false;
	}
	return rc;
}

static int set_meta(const struct task *t, const struct snaps *s,
		    const char *name)
{
	struct snap_meta m;
	struct snap sn;
	int rc = snap_open(&sn, s, name);

	if (rc < 0)
		return rc;
	rc = snap_meta(&sn, &m);
	if (rc == 0) {
		rc = apply_to_meta(t, &m);
		if (rc < 0)
			fail_in(rc, "%s", sn.label);
		if (rc == 0 && !args.dry_run)
			rc = snap_set_meta(&sn, &m);
		snap_meta_release(&m);
	}
	snap_close(&sn);
	return rc;
}

static int set_snap(struct task *t, const char *name)
{
	struct snap_name n;
	struct snaps s;
	struct vm vm;
	int rc = snap_name_parse(&n, name);

	if (rc == 0)
		rc = vm_open(&vm, &t->store, n.vm);
	if (rc < 0)
		return rc;
	rc = snaps_open(&s, &vm, false);
	if (rc == 0) {
		if (s.dir >= 0 && !args.dry_run)
			rc = snaps_lock(&s, common.lock_wait);
		if (rc == 0)
			rc = set_meta(t, &s, n.snap);
		snaps_close(&s);
	}
	vm_close(&vm);
	return rc;
}

/* -- all of them -- */

static int set_one(const char *name, void *arg)
{
	return strchr(name, '@') ? set_snap(arg, name) : set_vm(arg, name);
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
	.operands = "VM|VM@SNAP... KEY=VALUE...",
	.summary = "change the configuration of virtual machines",
	.details = "\"KEY=\" takes a key out, so that its default holds; "
		   "diskN.WORD=VALUE sets one option\nof a disk, diskN.size= "
		   "grows it. A running VM grows its disks and heeds their\n"
		   "limits at once; the rest waits for the next boot, and "
		   "which that is, is said on\nstandard error. Of a snapshot "
		   "note= and protected=yes|no can be set.",
	.opts = opts,
	.args = &args,
	.complete = COMPLETE_KEY,
	.acts = true,
	.run = run,
};
