/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * layers.c - new tops, and layers for other VMs.
 */
#include "image/layers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "block/qcow2.h"
#include "image/layers_graph.h"

enum {
	SECTOR = 512,
	BASE_MAX = 350,		/* bytes of a path that a header can change to */
};

/* -- push -- */

/* The next number that a layer of disk N can have; 0: cannot be said. */
static uint64_t next_number(int dir, unsigned n)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	uint64_t most = 0, k;
	struct dirent *e;
	unsigned of;

	if (!list) {
		close_fd(&fd);
		return 0;
	}
	while ((e = readdir(list)))
		if (layers_number(e->d_name, &of, &k) && of == n && k > most)
			most = k;
	closedir(list);
	return most + 1;
}

/* Bytes of the raw disk FD that are whole blocks. */
static int raw_size(int fd, const struct stat *sb, uint64_t *size)
{
	int block = SECTOR;

	*size = sb->st_size;
	if (S_ISBLK(sb->st_mode) && (ioctl(fd, BLKGETSIZE64, size) < 0 ||
				     ioctl(fd, BLKSSZGET, &block) < 0))
		return fail_sys("size");
	*size -= *size % block;
	return *size ? 0 : fail(E_CONFIG, "holds less than one block");
}

/* How large D is now: whoever has it open does not mind. */
static int disk_size(const struct vm *vm, const struct disk_conf *d,
		     uint64_t *size)
{
	autoclose int fd = openat(vm->dir, d->path, O_RDONLY | O_CLOEXEC |
				  O_NONBLOCK | O_NOCTTY |
				  (layer_name(d->path) ? O_NOFOLLOW : 0));
	struct qcow2_info info;
	struct stat sb;
	int rc;

	if (fd < 0 || fstat(fd, &sb) < 0)
		return fail_sys("%s", d->path);
	if (d->format == FORMAT_RAW) {
		rc = raw_size(fd, &sb, size);
	} else {
		rc = qcow2_info(fd, &info);
		*size = info.size;
		qcow2_info_release(&info);
	}
	return rc < 0 ? fail_in(rc, "%s", d->path) : 0;
}

/* Whether what D is can be put below a layer. */
static int can_push(const struct disk_conf *d)
{
	if (layer_name(d->path))
		return 0;
	if (d->path[0] != '/')
		return fail(E_CONFIG, "%s: neither in disk/ nor an absolute "
			    "path", d->path);
	if (strlen(d->path) > BASE_MAX)
		return fail(E_CONFIG, "%s: longer than %d bytes", d->path,
			    BASE_MAX);
	return 0;
}

/* Makes the file of TOP over D. */
static int make_top(const struct vm *vm, int dir, const struct disk_conf *d,
		    const char *name)
{
	const char *own = layer_name(d->path);
	struct qcow2_create c = {
		.backing = own ? own : d->path,
		.backing_format = disk_formats[d->format],
	};
	autoclose int fd = -1;
	int rc = disk_size(vm, d, &c.size);

	if (rc == 0)
		rc = qcow2_create(dir, name, &c);
	if (rc < 0)
		return rc;
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && fsync(fd) == 0)
		return 0;
	rc = fail_sys("%s", name);
	unlinkat(dir, name, 0);
	return rc;
}

/* The line of disk KEY in OUT names TOP from now on. */
static int set_line(struct config *out, const char *key,
		    const struct disk_conf *d, const char *path)
{
	autobuf struct buf line = BUF_INIT, base = BUF_INIT;
	bool outside = !layer_name(d->path);

	if (outside)
		buf_printf(&base, "%s:%s", disk_formats[d->format], d->path);
	layers_edit(config_get(out, key), path, FORMAT_QCOW2,
		    outside ? base.data : NULL, &line);
	if (line.failed || base.failed)
		return fail(ENOMEM, "out of memory");
	return config_set(out, key, line.data);
}

static int push_disk(const struct vm *vm, int dir, unsigned n,
		     const struct disk_conf *d, struct config *out,
		     struct layer_top *top)
{
	uint64_t k = next_number(dir, n);
	char key[16];
	int rc = can_push(d);

	if (rc == 0 && !k)
		rc = fail_sys("disk");
	if (rc < 0)
		return rc;
	top->disk = n;
	snprintf(key, sizeof(key), "disk%u", n);
	snprintf(top->path, sizeof(top->path), "disk/disk%u.%" PRIu64
		 ".qcow2", n, k);
	rc = make_top(vm, dir, d, top->path + strlen("disk/"));
	if (rc < 0)
		return rc;
	rc = set_line(out, key, d, top->path);
	if (rc < 0)
		unlinkat(dir, top->path + strlen("disk/"), 0);
	return rc;
}

static int push_disks(const struct vm *vm, const struct vmconf *conf,
		      struct config *out, struct layer_top *tops, unsigned *n)
{
	autoclose int dir = -1;
	int rc = 0;

	for (unsigned i = 0; i < VMCONF_DISKS && rc == 0; i++) {
		const struct disk_conf *d = &conf->disk[i];

		if (!d->path || d->readonly)
			continue;
		if (dir < 0)
			rc = layers_dir(vm, true, &dir);
		if (rc == 0)
			rc = push_disk(vm, dir, i, d, out, &tops[*n]);
		if (rc < 0)
			return fail_in(rc, "%s: disk%u", vm->name, i);
		++*n;
	}
	return dir >= 0 && fsync(dir) < 0 ? fail_sys("%s: disk", vm->name) : 0;
}

int layers_push(const struct snaps *s, const struct config *c,
		struct config *out, struct layer_top *tops, unsigned *n)
{
	struct layer_top made[VMCONF_DISKS];
	struct vmconf conf = { 0 };
	unsigned count = 0;
	int rc = vmconf_parse(&conf, c, NULL);

	if (rc < 0)
		return fail_in(rc, "%s", s->vm->name);
	rc = config_copy(out, c);
	if (rc < 0)
		fail_in(rc, "%s", s->vm->name);
	else
		rc = push_disks(s->vm, &conf, out, made, &count);
	vmconf_release(&conf);
	if (rc < 0) {
		layers_drop(s, made, count);
		config_release(out);
		return rc;
	}
	if (tops) {
		memcpy(tops, made, count * sizeof(*tops));
		*n = count;
	}
	return 0;
}

void layers_drop(const struct snaps *s, const struct layer_top *tops,
		 unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		unlinkat(s->vm->dir, tops[i].path, 0);
}

/* -- for other VMs -- */

/* FROM's content as TO's: shared where the file system can, holes kept. */
static int copy_data(int from, int to)
{
	off_t data = 0, end = lseek(from, 0, SEEK_END);

	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	if (end < 0 || ftruncate(to, end) < 0)
		return -errno;
	while ((data = lseek(from, data, SEEK_DATA)) >= 0) {
		off_t hole = lseek(from, data, SEEK_HOLE), at = data;

		if (hole < 0)
			return -errno;
		while (data < hole) {
			ssize_t n = copy_file_range(from, &data, to, &at,
						    hole - data, 0);

			if (n <= 0)
				return n < 0 ? -errno : -EIO;
		}
	}
	return errno == ENXIO ? 0 : -errno;
}

static int copy_layer(int from_dir, int to_dir, const char *name)
{
	autoclose int from = file_open(from_dir, name, O_RDONLY | O_NOFOLLOW,
				       0);
	autoclose int to = -1;
	int rc;

	if (from < 0)
		return from;
	to = file_open(to_dir, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (to < 0)
		return to;
	rc = copy_data(from, to);
	return rc < 0 ? fail(-rc, "%s: %s", name, strerror(-rc)) : 0;
}

/* Whether a file cannot have another name there, but can be copied. */
static bool no_link(int err)
{
	return err == EXDEV || err == EMLINK || err == EPERM ||
	       err == EOPNOTSUPP;
}

static int link_layer(int from, int to, const char *name)
{
	if (linkat(from, name, to, name, 0) == 0 || errno == EEXIST)
		return 0;
	return no_link(errno) ? copy_layer(from, to, name) : fail_sys("%s", name);
}

static int link_disk(struct layers *l, const struct disk_conf *d, int to)
{
	const char *name = layer_name(d->path);
	int i = layers_find(l, name), rc = 0;

	if (d->path[0] == '/')
		return 0;	/* the same one for both */
	if (!name)
		return fail(E_CONFIG, "%s: neither in disk/ nor an absolute "
			    "path", d->path);
	if (i < 0)
		return fail(E_CONFIG, "%s: no such file", d->path);
	if (!l->file[i].known) {	/* of a config that nobody has */
		l->file[i].known = true;
		l->file[i].format = d->format;
	}
	rc = layers_use(l, i);
	for (; i >= 0 && rc == 0; i = l->file[i].below)
		rc = link_layer(l->dir, to, l->file[i].name);
	return rc;
}

static int link_disks(struct layers *l, const struct vmconf *conf,
		      int stage_dir)
{
	struct vm vm = { .dir = stage_dir };
	autoclose int to = -1;
	int rc = 0;

	snprintf(vm.name, sizeof(vm.name), "%s", l->s->vm->name);
	for (int i = 0; i < VMCONF_DISKS && rc == 0; i++) {
		if (!conf->disk[i].path)
			continue;
		if (to < 0)
			rc = layers_dir(&vm, true, &to);
		if (rc == 0)
			rc = link_disk(l, &conf->disk[i], to);
		if (rc < 0)
			fail_in(rc, "%s: disk%d", vm.name, i);
	}
	return rc;
}

int layers_link(const struct snaps *s, const struct config *c, int stage_dir)
{
	struct vmconf conf = { 0 };
	struct layers *l;
	int rc = vmconf_parse(&conf, c, NULL);

	if (rc < 0)
		return fail_in(rc, "%s", s->vm->name);
	rc = layers_load(&l, s);
	if (rc == 0)
		rc = link_disks(l, &conf, stage_dir);
	layers_free(l);
	vmconf_release(&conf);
	return rc;
}
