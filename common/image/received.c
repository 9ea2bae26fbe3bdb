/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/received.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "block/chain.h"
#include "block/qcow2.h"
#include "image/disk.h"
#include "image/layers.h"

enum { KEY_BYTES = 8, PATH_BYTES = NAME_MAX_LEN + 32 };

static int no_memory(void)
{
	return fail(ENOMEM, "out of memory");
}

static void disk_key(char key[static KEY_BYTES], unsigned i)
{
	snprintf(key, KEY_BYTES, "disk%hhu", (uint8_t)i);
}

/* -- the config -- */

/* Whether KEY says where something is, or is the commands' own. */
static bool is_ours(const char *key)
{
	return !strcmp(key, "kernel") || !strcmp(key, "initrd") ||
	       !strcmp(key, "parent") || !strcmp(key, "restore");
}

static bool is_disk(const char *key)
{
	return starts_with(key, "disk", NULL);
}

/* What of the config that came is believed; disks as they are there. */
static int believe(const struct received *r, struct config *out)
{
	int rc = config_copy(out, r->config);

	for (size_t i = 0; rc == 0 && i < r->config->n; i++) {
		const char *key = r->config->line[i].key;

		if (key && (!vmconf_key(key) || is_ours(key)))
			rc = config_set(out, key, NULL);
	}
	return rc;
}

/* The value of disk I in a copy at PATH. */
static int move_disk(struct config *c, unsigned i, const char *path)
{
	autobuf struct buf value = BUF_INIT;
	char key[KEY_BYTES];

	disk_key(key, i);
	disk_conf_move(config_get(c, key), path, FORMAT_QCOW2, &value);
	return value.failed ? no_memory() : config_set(c, key, value.data);
}

/* All disks are diskN.qcow2 in disk/. */
static int move_disks(const struct received *r, struct config *c)
{
	char path[PATH_BYTES];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < VMCONF_DISKS; i++) {
		snprintf(path, sizeof(path), "disk/disk%u.qcow2", i);
		if (r->disk[i].size)
			rc = move_disk(c, i, path);
	}
	return rc;
}

static int check_disks(const struct received *r)
{
	char key[KEY_BYTES];

	for (unsigned i = 0; i < VMCONF_DISKS; i++) {
		disk_key(key, i);
		if (!config_get(r->config, key) != !r->disk[i].size)
			return fail(E_VERIFY, "config: %s: in one of config "
				    "and stream alone", key);
	}
	return 0;
}

/*
 * The config of a new VM: C, empty before; VC, zeroed, is what it means.
 */
static int make_config(const struct received *r, struct config *c,
		       struct vmconf *vc)
{
	int rc = check_disks(r);

	if (rc == 0)
		rc = believe(r, c);
	if (rc == 0)
		rc = move_disks(r, c);
	if (rc == 0 && r->kernel)
		rc = config_set(c, "kernel", "kernel");
	if (rc == 0 && r->initrd)
		rc = config_set(c, "initrd", "initrd");
	if (rc == 0)
		rc = vmconf_parse(vc, c, NULL);
	return rc < 0 ? fail_in(rc, "config") : 0;
}

int received_check(const struct received *r)
{
	struct config c = CONFIG_INIT;
	struct vmconf vc = { 0 };
	int rc = make_config(r, &c, &vc);

	vmconf_release(&vc);
	config_release(&c);
	if (rc == 0 && !r->meta->engine[0] == r->live)
		return fail(E_VERIFY, "meta: a live snapshot and not");
	return rc;
}

/* -- files -- */

static int move_file(const struct received *r, const char *name, int dir,
		     const char *to)
{
	if (renameat(r->arrival->dir, name, dir, to) < 0)
		return fail_sys("%s", to);
	return 0;
}

static int make_dir(int dir, const char *name)
{
	int fd;

	if (mkdirat(dir, name, 0700) < 0)
		return fail_sys("%s", name);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? fail_sys("%s", name) : fd;
}

/* Both or none: of a live snapshot. */
static int move_live(const struct received *r, int snap)
{
	int rc = r->live ? move_file(r, "dev", snap, "dev") : 0;

	return rc == 0 && r->live ? move_file(r, "mem", snap, "mem") : rc;
}

/* Nobody goes on with what is taken out of the arrival. */
static int spoil(const struct received *r)
{
	if (unlinkat(r->arrival->dir, "point", 0) < 0 && errno != ENOENT)
		return fail_sys("partial/%s", r->arrival->id);
	return 0;
}

/* What the present state says of where it comes from. */
static int set_parent(const struct received *r, struct config *c)
{
	int rc = config_set(c, "parent", r->snap);

	return rc == 0 ? config_set(c, "restore", r->live ? r->snap : NULL) :
			 rc;
}

/* -- a new VM -- */

static int write_text(int dir, const char *name, const struct buf *text)
{
	if (text->failed)
		return no_memory();
	return file_replace(dir, name, text->data, text->len, 0600);
}

/* snap/SNAP in the VM staged in DIR. */
static int put_snap(const struct received *r, const struct config *c, int dir)
{
	autoclose int snaps = make_dir(dir, "snap"), snap = -1, lock = -1;
	autobuf struct buf config = BUF_INIT, meta = BUF_INIT;
	int rc;

	if (snaps < 0)
		return snaps;
	rc = snap = make_dir(snaps, r->snap);
	if (rc < 0)
		return rc;
	lock = openat(snap, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0)
		return fail_sys("lock");
	config_format(c, &config);
	snap_meta_format(r->meta, &meta);
	rc = write_text(snap, "config", &config);
	if (rc == 0)
		rc = write_text(snap, "meta", &meta);
	return rc == 0 ? move_live(r, snap) : rc;
}

/* Disk I, and what is written to from now on. */
static int put_disk(const struct received *r, struct config *c,
		    const struct vmconf *vc, unsigned i, int disk)
{
	char below[PATH_BYTES], top[PATH_BYTES];
	struct qcow2_create q = {
		.size = r->disk[i].size, .backing = below,
		.backing_format = disk_formats[FORMAT_QCOW2],
	};
	int rc;

	snprintf(below, sizeof(below), "disk%u.qcow2", i);
	rc = move_file(r, below, disk, below);
	if (rc < 0 || vc->disk[i].readonly)
		return rc;
	snprintf(top, sizeof(top), "disk/disk%u.1.qcow2", i);
	rc = qcow2_create(disk, top + strlen("disk/"), &q);
	return rc == 0 ? move_disk(c, i, top) : rc;
}

static int put_disks(const struct received *r, struct config *c,
		     const struct vmconf *vc, int dir)
{
	autoclose int disk = make_dir(dir, "disk");
	int rc = disk < 0 ? disk : 0;

	for (unsigned i = 0; rc == 0 && i < VMCONF_DISKS; i++)
		if (r->disk[i].size)
			rc = put_disk(r, c, vc, i, disk);
	return rc;
}

static void published(struct stage *st, int rc, void *arg)
{
	(void)st, (void)rc, (void)arg;
}

/* Fills the stage ST. */
static int fill_vm(const struct received *r, struct stage *st)
{
	struct config c = CONFIG_INIT;
	struct vmconf vc = { 0 };
	int rc = make_config(r, &c, &vc);

	if (rc == 0)
		rc = spoil(r);
	if (rc == 0 && r->kernel)
		rc = move_file(r, "kernel", st->dir, "kernel");
	if (rc == 0 && r->initrd)
		rc = move_file(r, "initrd", st->dir, "initrd");
	if (rc == 0)
		rc = put_snap(r, &c, st->dir);
	if (rc == 0)
		rc = put_disks(r, &c, &vc, st->dir);
	if (rc == 0)
		rc = set_parent(r, &c);
	if (rc == 0)
		rc = vm_stage_config(st, &c);
	vmconf_release(&vc);
	config_release(&c);
	return rc;
}

int received_new(const struct received *r)
{
	struct stage st;
	int rc = vm_stage(&st, r->store, r->vm);

	if (rc < 0)
		return rc;
	rc = fill_vm(r, &st);
	if (rc == 0)
		rc = stage_publish(&st, 1, published, NULL);
	stage_close(&st);
	return rc;
}

/* -- onto a VM -- */

static int wrong_base(const struct received *r, const char *why)
{
	return fail(E_VERIFY, "%s@%s is the difference to %s@%s, %s", r->vm,
		    r->snap, r->vm, r->from, why);
}

static int open_base(struct received_base *b, const struct received *r)
{
	struct snap_meta m;
	bool same;
	int rc = vm_open(&b->vm, r->store, r->vm);

	if (rc == -E_NOENT)
		return wrong_base(r, "and there is no such VM");
	if (rc == 0)
		rc = snaps_open(&b->snaps, &b->vm, false);
	if (rc == 0)
		rc = snap_open(&b->snap, &b->snaps, r->from);
	if (rc == 0)
		rc = snap_lock(&b->snap, true);
	if (rc == -E_NOENT)
		return wrong_base(r, "which is not there");
	if (rc == 0)
		rc = snap_meta(&b->snap, &m);
	if (rc < 0)
		return rc;
	same = !strcmp(m.id, r->from_id);
	snap_meta_release(&m);
	if (!same)
		return wrong_base(r, "which here is another snapshot");
	rc = snap_config(&b->snap, &b->config);
	return rc == 0 ? vmconf_parse(&b->vc, &b->config, NULL) : rc;
}

int received_base_open(struct received_base *b, const struct received *r)
{
	int rc;

	*b = (struct received_base){
		.vm = { .dir = -1, .lock = -1 },
		.snaps = { .dir = -1, .lock = -1 },
		.snap = { .parent = -1, .dir = -1, .lock = -1 },
	};
	rc = open_base(b, r);
	if (rc < 0)
		received_base_close(b);
	return rc;
}

void received_base_close(struct received_base *b)
{
	vmconf_release(&b->vc);
	config_release(&b->config);
	snap_close(&b->snap);
	snaps_close(&b->snaps);
	vm_close(&b->vm);
}

/* What goes onto a VM, while it does. */
struct onto {
	const struct received *r;
	struct received_base base;
	struct config pushed;		/* FROM's, with new tops */
	struct layer_top tops[VMCONF_DISKS];
	unsigned n_tops;
	struct config config;		/* the snapshot's */
	int disk;			/* the VM's disk/ */
};

/* Makes the header of the layer that came name what the one in its place does. */
static int rest_on(const struct received *r, const char *name, int disk,
		   const char *file)
{
	autoclose int came = openat(r->arrival->dir, name, O_RDWR |
				    O_NOFOLLOW | O_CLOEXEC);
	autoclose int top = openat(disk, file, O_RDONLY | O_NOFOLLOW |
				   O_CLOEXEC);
	struct qcow2_info info;
	int rc;

	if (came < 0 || top < 0)
		return fail_sys("%s", name);
	rc = qcow2_info(top, &info);
	if (rc == 0)
		rc = qcow2_rebase(came, info.backing, info.backing_format);
	qcow2_info_release(&info);
	return rc;
}

/* Takes over the words of the pushed disk I that say what it rests on. */
static int take_words(struct onto *o, unsigned i)
{
	struct disk_conf d = { 0 };
	autobuf struct buf base = BUF_INIT;
	char key[KEY_BYTES];
	int rc;

	disk_key(key, i);
	rc = disk_conf_parse(&d, key, config_get(&o->pushed, key));
	if (rc == 0)
		rc = move_disk(&o->config, i, d.path);
	if (rc == 0 && d.image[0])
		rc = vmconf_set_word(&o->config, key, "image", d.image);
	if (rc == 0 && d.base) {
		buf_printf(&base, "%s:%s", disk_formats[d.base_format],
			   d.base);
		rc = vmconf_set_word(&o->config, key, "base", base.data);
	}
	free(d.path);
	return rc;
}

/* A layer that came takes the place of the empty one that was pushed for it. */
static int place_layer(struct onto *o, const struct layer_top *top)
{
	const char *file = strrchr(top->path, '/') + 1;
	char name[PATH_BYTES];
	int rc;

	snprintf(name, sizeof(name), "disk%u.qcow2", top->disk);
	rc = rest_on(o->r, name, o->disk, file);
	if (rc == 0)
		rc = move_file(o->r, name, o->disk, file);
	return rc == 0 ? take_words(o, top->disk) : rc;
}

static bool was_pushed(const struct onto *o, unsigned i)
{
	for (unsigned k = 0; k < o->n_tops; k++)
		if (o->tops[k].disk == i)
			return true;
	return false;
}

/* A number that no layer of disk I in DIR has, nor any before. */
static int free_number(int dir, unsigned i, unsigned *k)
{
	int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = again < 0 ? NULL : fdopendir(again);
	unsigned of, number;
	struct dirent *e;

	if (!list) {
		close_fd(&again);
		return fail_sys("disk");
	}
	*k = 1;
	while ((e = readdir(list)))
		if (sscanf(e->d_name, "disk%2u.%9u.", &of, &number) == 2 &&
		    of == i && number >= *k)
			*k = number + 1;
	closedir(list);
	return 0;
}

/* Disk I came whole. */
static int place_whole(struct onto *o, unsigned i)
{
	char name[PATH_BYTES], path[PATH_BYTES];
	unsigned k;
	int rc = free_number(o->disk, i, &k);

	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "disk%u.qcow2", i);
	snprintf(path, sizeof(path), "disk/disk%u.%u.qcow2", i, k);
	rc = move_file(o->r, name, o->disk, path + strlen("disk/"));
	return rc == 0 ? move_disk(&o->config, i, path) : rc;
}

/* A read-only disk that is as in FROM. */
static int place_same(struct onto *o, unsigned i)
{
	char key[KEY_BYTES];
	const char *value;

	disk_key(key, i);
	value = config_get(&o->base.config, key);
	if (!value || !o->base.vc.disk[i].readonly)
		return wrong_base(o->r, "whose disks are others");
	return config_set(&o->config, key, value);
}

static int place_disks(struct onto *o)
{
	int rc = 0;

	for (unsigned k = 0; rc == 0 && k < o->n_tops; k++)
		if (o->r->disk[o->tops[k].disk].from)
			rc = place_layer(o, &o->tops[k]);
	for (unsigned i = 0; rc == 0 && i < VMCONF_DISKS; i++) {
		const struct received_disk *d = &o->r->disk[i];

		if (d->size && !d->from)
			rc = place_whole(o, i);
		else if (d->size && !was_pushed(o, i))
			rc = place_same(o, i);
	}
	return rc;
}

/* A kernel that came, beside others; or the path that FROM has for it. */
static int place_boot(struct onto *o, const char *key, bool came)
{
	char name[PATH_BYTES];
	int rc;

	if (!config_get(o->r->config, key))
		return 0;
	if (!came)
		return config_set(&o->config, key,
				  config_get(&o->base.config, key));
	snprintf(name, sizeof(name), "%s.%s", key, o->r->snap);
	rc = move_file(o->r, key, o->base.vm.dir, name);
	return rc == 0 ? config_set(&o->config, key, name) : rc;
}

static int fill_snap(struct onto *o, struct stage *st)
{
	struct vmconf vc = { 0 };
	int rc = spoil(o->r);

	if (rc == 0)
		rc = place_disks(o);
	if (rc == 0)
		rc = place_boot(o, "kernel", o->r->kernel);
	if (rc == 0)
		rc = place_boot(o, "initrd", o->r->initrd);
	if (rc == 0)
		rc = vmconf_parse(&vc, &o->config, NULL);
	vmconf_release(&vc);
	if (rc == 0)
		rc = snap_stage_config(st, &o->config);
	if (rc == 0)
		rc = move_live(o->r, st->dir);
	if (rc == 0 && (fsync(o->disk) < 0 || fsync(o->base.vm.dir) < 0))
		rc = fail_sys("%s", o->r->vm);
	return rc;
}

/* With the lock of the VM's snapshots. */
static int add_snap(struct onto *o)
{
	struct stage st;
	int rc = snap_stage(&st, &o->base.snaps, o->r->snap);

	if (rc < 0)
		return rc;
	rc = believe(o->r, &o->config);
	if (rc == 0)
		rc = layers_push(&o->base.snaps, &o->base.config, &o->pushed,
				 o->tops, &o->n_tops);
	if (rc == 0) {
		rc = fill_snap(o, &st);
		if (rc == 0)
			rc = snap_publish(&st, o->r->meta);
		if (rc < 0)
			layers_drop(&o->base.snaps, o->tops, o->n_tops);
	}
	stage_close(&st);
	return rc;
}

/* -- the present state -- */

/* Whether A and B are the same but for disks and what commands keep there. */
static bool same_but_disks(const struct config *a, const struct config *b)
{
	for (size_t i = 0; i < a->n; i++) {
		const char *key = a->line[i].key, *value;

		if (!key || is_disk(key) || !strcmp(key, "parent") ||
		    !strcmp(key, "restore"))
			continue;
		value = config_get(b, key);
		if (!value || strcmp(value, a->line[i].value) != 0)
			return false;
	}
	return true;
}

/* Whether the top layer of DISK has nothing: 1, 0 or -errno. */
static int has_nothing(struct block *disk)
{
	struct block *top = chain_top(disk);
	uint64_t size = block_bytes(top), n;
	int rc = 0;

	for (uint64_t off = 0; rc == 0 && off < size; off += n)
		rc = qcow2_allocated(top, off, size - off, &n);
	return rc < 0 ? fail(-rc, "disk: %s", strerror(-rc)) : !rc;
}

/* Whether the disk D of the VM shows nothing but what lies below its top. */
static int is_empty(const struct received_base *b, const struct disk_conf *d)
{
	struct block *disk;
	int rc;

	if (d->readonly)
		return 1;
	if (d->format != FORMAT_QCOW2)
		return 0;
	rc = disk_open_at(&disk, b->vm.dir, b->vm.store, d, DISK_READ, NULL);
	if (rc < 0)
		return rc;
	rc = has_nothing(disk);
	block_close(disk);
	return rc;
}

/* Whether the VM, which does not run, is as FROM left it: 1 or 0. */
static int is_untouched(const struct received_base *b, const struct config *c,
			const struct vmconf *vc)
{
	int rc = !strcmp(vc->parent, b->snap.name) &&
		 same_but_disks(c, &b->config) && same_but_disks(&b->config, c);

	for (unsigned i = 0; rc > 0 && i < VMCONF_DISKS; i++) {
		if (!vc->disk[i].path != !b->vc.disk[i].path)
			rc = 0;
		else if (vc->disk[i].path)
			rc = is_empty(b, &vc->disk[i]);
	}
	return rc;
}

/* The present state goes on from the new snapshot, whose config is C. */
static int go_on_from(const struct received *r, struct received_base *b,
		      const struct config *c)
{
	struct layer_top tops[VMCONF_DISKS];
	struct config next = CONFIG_INIT;
	bool merged;
	unsigned n;
	int rc = layers_push(&b->snaps, c, &next, tops, &n);

	if (rc == 0) {
		rc = set_parent(r, &next);
		if (rc == 0)
			rc = vm_set_config(&b->vm, &next);
		if (rc < 0)
			layers_drop(&b->snaps, tops, n);
	}
	config_release(&next);
	/* what it rested on before; whoever tidies next does it otherwise */
	if (rc == 0)
		layers_tidy(&b->snaps, NULL, &merged);
	return rc;
}

/* With both locks. */
static int move_present(const struct received *r, struct received_base *b,
			const struct config *c)
{
	struct config now = CONFIG_INIT;
	struct vmconf vc = { 0 };
	int rc = vm_config(&b->vm, &now);

	if (rc == 0)
		rc = vmconf_parse(&vc, &now, NULL);
	if (rc == 0)
		rc = is_untouched(b, &now, &vc);
	if (rc > 0)
		rc = go_on_from(r, b, c);
	vmconf_release(&vc);
	config_release(&now);
	return rc;
}

/* The lock of the VM, unless it runs; then that of its snapshots. */
static int take_locks(struct received_base *b, uint64_t wait)
{
	int rc = vm_lock(&b->vm, 0);

	if (rc < 0 && rc != -E_BUSY)
		return rc;
	return snaps_lock(&b->snaps, wait);
}

static int open_disk_dir(const struct vm *vm)
{
	int fd = openat(vm->dir, "disk", O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
			O_CLOEXEC);

	return fd < 0 ? fail_sys("%s: disk", vm->name) : fd;
}

int received_onto(const struct received *r, uint64_t lock_wait)
{
	struct onto o = { .r = r, .disk = -1 };
	int rc = received_base_open(&o.base, r);

	if (rc < 0)
		return rc;
	rc = take_locks(&o.base, lock_wait);
	if (rc == 0)
		rc = o.disk = open_disk_dir(&o.base.vm);
	if (rc >= 0)
		rc = add_snap(&o);
	if (rc == 0 && o.base.vm.lock >= 0)
		rc = move_present(r, &o.base, &o.config);
	config_release(&o.pushed);
	config_release(&o.config);
	close_fd(&o.disk);
	received_base_close(&o.base);
	return rc;
}

int received_move(const struct received *r, uint64_t lock_wait)
{
	struct config c = CONFIG_INIT;
	struct received_base b;
	struct snap snap;
	int rc = received_base_open(&b, r);

	if (rc < 0)
		return rc;
	rc = take_locks(&b, lock_wait);
	if (rc == 0 && b.vm.lock >= 0) {
		rc = snap_open(&snap, &b.snaps, r->snap);
		if (rc == 0) {
			rc = snap_config(&snap, &c);
			snap_close(&snap);
		}
		if (rc == 0)
			rc = move_present(r, &b, &c);
		config_release(&c);
	}
	received_base_close(&b);
	return rc;
}
