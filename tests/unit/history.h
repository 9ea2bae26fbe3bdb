/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * history.h - a VM with snapshots, and what each of them must show.
 *
 * The VM has three disks: disk0 raw, disk1 qcow2, disk2 a layer over an image.
 */
#ifndef TESTS_UNIT_HISTORY_H
#define TESTS_UNIT_HISTORY_H

#include <dirent.h>
#include <sys/stat.h>

#include "base/err.h"
#include "block/qcow2.h"
#include "image/disk.h"
#include "image/layer.h"
#include "image/layers.h"
#include "state/image.h"

#include "scratch.h"

enum {
	DISKS = 3,
	DISK_BYTES = 512 << 10,
	SNAPS = 12,		/* at most at one time */
	CLUSTER = 64 << 10,
};

struct shot {
	char name[16];		/* "": free */
	unsigned char disk[DISKS][DISK_BYTES];
};

static char dir[SCRATCH_BYTES];
static struct store st;
static struct vm vm;
static struct snaps snaps;
static struct shot shots[SNAPS], now;
static unsigned named;		/* snapshots so far */

static uint64_t random_state = 1;

static inline uint64_t any(uint64_t n)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (random_state * 0x2545f4914f6cdd1dULL >> 16) % n;
}

#define MUST(cond) do { \
	if (!(cond)) { \
		printf("# %s:%d: %s (%s)\n", __FILE__, __LINE__, #cond, \
		       err_text()); \
		exit(1); \
	} \
} while (0)

static inline void ignore_stage(struct stage *s, int rc, void *arg)
{
	(void)s, (void)arg;
	MUST(rc == 0);
}

static inline void make_image(void)
{
	struct image_meta m = { .format = FORMAT_RAW, .size = DISK_BYTES,
				.created = 1 };
	struct stage s;
	int fd;

	for (int i = 0; i < DISK_BYTES; i += 4)
		now.disk[2][i] = any(256);
	MUST(image_stage(&s, &st, "img") == 0);
	fd = openat(s.dir, "disk", O_WRONLY | O_CREAT, 0600);
	MUST(write_all(fd, now.disk[2], DISK_BYTES) == 0);
	close(fd);
	MUST(image_publish(&s, &m) == 0);
	image_unstage(&s);
}

static inline void make_vm(void)
{
	static const char text[] = "disk0=disk/disk0.raw,serial=x\n"
		"disk1=disk/disk1.qcow2,format=qcow2\n"
		"disk2=disk/disk2.qcow2,format=qcow2,image=img\n";
	struct qcow2_create q = { .size = DISK_BYTES };
	struct config c = CONFIG_INIT;
	struct stage s;
	int fd, disk;

	MUST(vm_stage(&s, &st, "web") == 0);
	MUST(mkdirat(s.dir, "disk", 0700) == 0);
	disk = openat(s.dir, "disk", O_RDONLY | O_DIRECTORY);
	fd = openat(disk, "disk0.raw", O_WRONLY | O_CREAT, 0600);
	MUST(ftruncate(fd, DISK_BYTES) == 0);
	close(fd);
	MUST(qcow2_create(disk, "disk1.qcow2", &q) == 0);
	q.backing = "../../../images/img/disk";
	q.backing_format = "raw";
	MUST(qcow2_create(disk, "disk2.qcow2", &q) == 0);
	close(disk);
	MUST(config_parse(&c, text, strlen(text)) == 0);
	MUST(vm_stage_config(&s, &c) == 0);
	MUST(stage_publish(&s, 1, ignore_stage, NULL) == 0);
	stage_close(&s);
	config_release(&c);
}

static inline void open_vm(const char *name)
{
	MUST(vm_open(&vm, &st, name) == 0);
	MUST(vm_lock(&vm, 0) == 0);
	MUST(snaps_open(&snaps, &vm, true) == 0);
	MUST(snaps_lock(&snaps, 0) == 0);
	MUST(fchdir(vm.dir) == 0);
}

static inline void close_vm(void)
{
	snaps_close(&snaps);
	vm_close(&vm);
}

static inline void begin_history(void)
{
	memset(shots, 0, sizeof(shots));
	memset(&now, 0, sizeof(now));
	named = 0;
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0);
	scratch_make(dir);
	MUST(store_open(&st, "s", true) == 0);
	make_image();
	make_vm();
	open_vm("web");
}

static inline void end_history(void)
{
	close_vm();
	store_close(&st);
	scratch_remove(dir);
}

/* The disks of a config, which is that of SNAP (NULL: the VM's own). */
static inline void load_conf(const char *snap, struct vmconf *vc)
{
	struct config c = CONFIG_INIT;
	struct snap sn;

	*vc = (struct vmconf){ 0 };
	if (snap) {
		MUST(snap_open(&sn, &snaps, snap) == 0);
		MUST(snap_config(&sn, &c) == 0);
		snap_close(&sn);
	} else {
		MUST(vm_config(&vm, &c) == 0);
	}
	MUST(vmconf_parse(vc, &c, NULL) == 0);
	config_release(&c);
}

/* The guest writes, or discards, a few places. */
static inline void write_some(void)
{
	struct vmconf vc;
	int d = any(DISKS);
	struct block *b;

	load_conf(NULL, &vc);
	MUST(disk_open_at(&b, vm.dir, &st, &vc.disk[d], 0, NULL) == 0);
	for (int i = any(4); i >= 0; i--) {
		uint64_t off = any(DISK_BYTES / 512) * 512;
		uint64_t len = min_u64((1 + any(200)) * 512, DISK_BYTES - off);
		unsigned char *p = now.disk[d] + off;
		struct iovec iov = { p, len };

		if (any(4)) {
			for (uint64_t k = 0; k < len; k += 8)
				p[k] = any(256);
			MUST(block_writev(b, &iov, 1, off) == 0);
		} else {
			memset(p, 0, len);
			MUST(block_zero(b, off, len, any(2)) == 0 ||
			     block_writev(b, &iov, 1, off) == 0);
		}
	}
	MUST(block_flush(b) == 0);
	block_close(b);
	vmconf_release(&vc);
}

/* What those disks show is what they must. */
static inline bool shows(const char *snap, const struct shot *want)
{
	static unsigned char is[DISK_BYTES];
	struct vmconf vc;
	bool ok = true;

	load_conf(snap, &vc);
	for (int d = 0; d < DISKS && ok; d++) {
		struct block *b;

		ok = disk_open_at(&b, vm.dir, &st, &vc.disk[d], DISK_READ,
				  NULL) == 0;
		if (!ok)
			printf("# %s: %s\n", snap ? snap : "now", err_text());
		if (!ok)
			break;
		ok = b->size == DISK_BYTES &&
		     block_read(b, is, DISK_BYTES, 0) == 0 &&
		     !memcmp(is, want->disk[d], DISK_BYTES);
		if (!ok)
			printf("# %s: disk%d is another\n",
			       snap ? snap : "now", d);
		block_close(b);
	}
	vmconf_release(&vc);
	return ok;
}

static inline bool all_show(void)
{
	bool ok = shows(NULL, &now);

	for (int i = 0; i < SNAPS && ok; i++)
		if (shots[i].name[0])
			ok = shows(shots[i].name, &shots[i]);
	return ok;
}

/* New tops over the config of SNAP (NULL: the VM's own). 0 or negative. */
static inline int push_over(const char *snap)
{
	struct config c = CONFIG_INIT, out = CONFIG_INIT;
	struct snap sn;
	int rc;

	if (snap) {
		MUST(snap_open(&sn, &snaps, snap) == 0);
		MUST(snap_config(&sn, &c) == 0);
		snap_close(&sn);
	} else {
		MUST(vm_config(&vm, &c) == 0);
	}
	rc = layers_push(&snaps, &c, &out, NULL, NULL);
	if (rc == 0)
		rc = vm_set_config(&vm, &out);
	config_release(&c);
	config_release(&out);
	return rc;
}

/* As vm-snap does it. */
static inline int take_snap(const char *name)
{
	struct snap_meta m = { .created = named };
	struct config old = CONFIG_INIT;
	struct stage stage;
	int rc = vm_config(&vm, &old);

	if (rc == 0)
		rc = push_over(NULL);
	if (rc == 0)
		rc = snap_stage(&stage, &snaps, name);
	if (rc == 0) {
		rc = snap_stage_config(&stage, &old);
		if (rc == 0)
			rc = snap_publish(&stage, &m);
		stage_close(&stage);
	}
	config_release(&old);
	return rc;
}

static inline void next_name(char name[16])
{
	snprintf(name, 16, "s%u", ++named);
}

static inline int drop_snap(const char *name)
{
	struct snap sn;
	int rc = snap_open(&sn, &snaps, name);

	if (rc == 0)
		rc = snap_lock(&sn, false);
	if (rc == 0)
		rc = snap_remove(&sn, &snaps);
	snap_close(&sn);
	return rc;
}

static inline struct shot *any_shot(bool taken)
{
	for (int i = any(SNAPS), n = 0; n < SNAPS; n++, i = (i + 1) % SNAPS)
		if (!shots[i].name[0] != taken)
			return &shots[i];
	return NULL;
}

static inline int files_in_disk(void)
{
	DIR *list = opendir("disk");
	struct dirent *e;
	int n = 0;

	while (list && (e = readdir(list)))
		n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
	if (list)
		closedir(list);
	return n;
}

#endif
