/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/layers_graph.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"

enum { HOST_BLOCK = 512, MANY = 64 };

int layers_dir(const struct vm *vm, bool create, int *dir)
{
	static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
				 O_CLOEXEC;

	*dir = openat(vm->dir, "disk", flags);
	if (*dir < 0 && errno == ENOENT && create) {
		if ((mkdirat(vm->dir, "disk", 0700) < 0 && errno != EEXIST) ||
		    fsync(vm->dir) < 0)
			return fail_sys("%s: disk", vm->name);
		*dir = openat(vm->dir, "disk", flags);
	}
	if (*dir >= 0 || (errno == ENOENT && !create))
		return 0;
	if (errno == ENOTDIR)
		return fail(E_CONFIG, "%s: disk: not a directory", vm->name);
	return fail_sys("%s: disk", vm->name);
}

bool layers_number(const char *name, unsigned *n, uint64_t *k)
{
	char again[LINK_NAME];
	unsigned long long kk;
	unsigned nn;

	if (sscanf(name, "disk%u.%llu.qcow2", &nn, &kk) != 2)
		return false;
	snprintf(again, sizeof(again), "disk%u.%llu.qcow2", nn, kk);
	*n = nn;
	*k = kk;
	return nn < VMCONF_DISKS && !strcmp(name, again);
}

void layers_edit(const char *value, const char *path, enum disk_format format,
		 const char *base, struct buf *out)
{
	autobuf struct buf one = BUF_INIT, two = BUF_INIT;

	disk_conf_edit(value, "format", disk_formats[format], &one);
	if (base)
		disk_conf_edit(one.data, "base", base, &two);
	else
		buf_add(&two, one.data, one.len);
	buf_str(out, path);
	buf_str(out, two.data + strcspn(two.data, ","));
	out->failed |= one.failed | two.failed;
}

int layers_find(const struct layers *l, const char *name)
{
	for (size_t i = 0; name && i < l->nfiles; i++)
		if (!strcmp(l->file[i].name, name))
			return i;
	return -1;
}

/* -- the files -- */

static int no_memory(const struct layers *l)
{
	return fail(ENOMEM, "%s: out of memory", l->s->vm->name);
}

static int add_file(struct layers *l, const char *name)
{
	struct layer_file *f;
	struct stat sb;

	if (!layer_name_ok(name) ||
	    fstatat(l->dir, name, &sb, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISREG(sb.st_mode))
		return 0;
	if (l->nfiles % MANY == 0) {
		f = reallocarray(l->file, l->nfiles + MANY, sizeof(*f));
		if (!f)
			return no_memory(l);
		l->file = f;
	}
	f = &l->file[l->nfiles++];
	*f = (struct layer_file){
		.below = -1, .child = -1, .top_of = -1, .links = sb.st_nlink,
		.bytes = (uint64_t)sb.st_blocks * HOST_BLOCK,
	};
	snprintf(f->name, sizeof(f->name), "%s", name);
	return 0;
}

static int load_files(struct layers *l)
{
	int rc = layers_dir(l->s->vm, false, &l->dir), fd;
	struct dirent *e;
	DIR *list;

	if (rc < 0 || l->dir < 0)
		return rc;
	fd = openat(l->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	list = fd < 0 ? NULL : fdopendir(fd);
	if (!list) {
		close_fd(&fd);
		return fail_sys("%s: disk", l->s->vm->name);
	}
	while (rc == 0 && (errno = 0, e = readdir(list)))
		rc = add_file(l, e->d_name);
	if (rc == 0 && errno)
		rc = fail_sys("%s: disk", l->s->vm->name);
	closedir(list);
	return rc;
}

/* -- who names them -- */

static int know(struct layers *l, int i, enum disk_format format)
{
	struct layer_file *f = &l->file[i];

	if (f->known && f->format != format)
		return fail(E_VERIFY, "%s: disk/%s: named as raw and as qcow2",
			    l->s->vm->name, f->name);
	f->known = true;
	f->format = format;
	return 0;
}

static int name_files(struct layers *l, struct layer_user *u)
{
	int rc = 0;

	for (int d = 0; d < VMCONF_DISKS && rc == 0; d++) {
		const struct disk_conf *conf = &u->conf.disk[d];
		int i = layers_find(l, layer_name(conf->path));

		u->file[d] = i;
		if (i < 0)
			continue;
		rc = know(l, i, conf->format);
		l->file[i].names++;
		l->file[i].snaps += u->snap[0] != '\0';
		if (!u->snap[0])
			l->file[i].top_of = d;
	}
	return rc;
}

static uint64_t file_bytes(int dir, const char *name)
{
	struct stat sb;

	return fstatat(dir, name, &sb, AT_SYMLINK_NOFOLLOW) < 0 ? 0 :
		(uint64_t)sb.st_blocks * HOST_BLOCK;
}

static int read_snap(struct layers *l, struct layer_user *u)
{
	struct snap sn;
	int rc = snap_open(&sn, l->s, u->snap);

	if (rc < 0)
		return rc;
	rc = snap_config(&sn, &u->config);
	u->memory = file_bytes(sn.dir, "mem") + file_bytes(sn.dir, "dev");
	snap_close(&sn);
	return rc;
}

/* The VM, or the snapshot whose name is there already. */
static int load_user(struct layers *l, struct layer_user *u)
{
	int rc = u->snap[0] ? read_snap(l, u) :
			      vm_config(l->s->vm, &u->config);

	if (rc < 0)
		return rc;
	rc = vmconf_parse(&u->conf, &u->config, NULL);
	if (rc < 0)
		return fail_in(rc == -E_USAGE ? -E_CONFIG : rc, "%s%s%s",
			       l->s->vm->name, u->snap[0] ? "@" : "", u->snap);
	return name_files(l, u);
}

static int load_users(struct layers *l)
{
	autofree char **names = NULL;
	size_t n;
	int rc = record_list(l->s->dir, "snap", &names, &n);

	if (rc < 0)
		return fail_in(rc, "%s", l->s->vm->name);
	l->user = calloc(n + 1, sizeof(*l->user));
	if (!l->user)
		return no_memory(l);
	l->nusers = n + 1;
	for (size_t i = 0; i < n; i++)
		snprintf(l->user[i + 1].snap, sizeof(l->user->snap), "%s",
			 names[i]);
	for (size_t i = 0; i <= n && rc == 0; i++)
		rc = load_user(l, &l->user[i]);
	return rc;
}

/* -- what rests on what -- */

/* What the header of file I, a qcow2 image, says. */
static int read_header(struct layers *l, int i)
{
	struct layer_file *f = &l->file[i];
	autoclose int fd = file_open(l->dir, f->name, O_RDONLY | O_NOFOLLOW, 0);
	struct link link = { .to = LINK_NOTHING };
	int rc = fd < 0 ? fd : link_read(&link, fd, NULL);

	if (rc < 0)
		return fail_in(rc, "%s: disk/%s", l->s->vm->name, f->name);
	if (link.to != LINK_LAYER)
		return 0;
	f->below = layers_find(l, link.name);
	if (f->below < 0)
		return fail(E_VERIFY, "%s: disk/%s: rests on %s, which is not "
			    "there", l->s->vm->name, f->name, link.name);
	return know(l, f->below, link.format);
}

/* File I is in use, and so is all that it rests on. */
int layers_use(struct layers *l, int i)
{
	while (i >= 0 && !l->file[i].used) {
		struct layer_file *f = &l->file[i];
		int rc = 0;

		f->used = true;
		if (f->format == FORMAT_QCOW2)
			rc = read_header(l, i);
		if (rc < 0)
			return rc;
		if (f->below >= 0) {
			l->file[f->below].child = i;
			l->file[f->below].children++;
		}
		i = f->below;
	}
	return 0;
}

/*
 * A file that nothing names and that is no layer of a disk the VM still has
 * was put there, or taken out of the config, by a person. If it rests on
 * others, they stay as they are.
 */
static bool is_persons(const struct layers *l, const struct layer_file *f)
{
	const struct vmconf *conf = &l->user[0].conf;
	const char *name;
	char own[16];
	uint64_t k;
	unsigned n;

	if (!layers_number(f->name, &n, &k))
		return true;
	name = layer_name(conf->disk[n].path);
	snprintf(own, sizeof(own), "disk%u.", n);
	return !name || !starts_with(name, own, NULL);
}

static void pin(struct layers *l, int i)
{
	struct layer_file *f = &l->file[i];
	autoclose int fd = file_open(l->dir, f->name, O_RDONLY | O_NOFOLLOW, 0);
	struct link link;

	f->pinned = f->used = true;
	if (fd < 0 || link_read(&link, fd, NULL) < 0 || link.to != LINK_LAYER)
		return;
	for (i = layers_find(l, link.name); i >= 0 && !l->file[i].pinned;) {
		l->file[i].pinned = l->file[i].used = true;
		if (l->file[i].below < 0)
			break;
		i = l->file[i].below;
	}
}

/* Whether what a file rests on comes to an end. */
static int check_loops(const struct layers *l)
{
	for (size_t i = 0; i < l->nfiles; i++) {
		size_t steps = 0;

		for (int at = i; at >= 0; at = l->file[at].below)
			if (steps++ > l->nfiles)
				return fail(E_VERIFY, "%s: disk/%s: rests on "
					    "itself", l->s->vm->name,
					    l->file[i].name);
	}
	return 0;
}

static int link_files(struct layers *l)
{
	int rc = 0;

	for (size_t i = 0; i < l->nfiles && rc == 0; i++)
		if (l->file[i].names)
			rc = layers_use(l, i);
	if (rc == 0)
		rc = check_loops(l);
	for (size_t i = 0; i < l->nfiles && rc == 0; i++)
		if (!l->file[i].used && is_persons(l, &l->file[i]))
			pin(l, i);
	return rc;
}

int layers_load(struct layers **out, const struct snaps *s)
{
	struct layers *l = calloc(1, sizeof(*l));
	int rc;

	*out = NULL;
	if (!l)
		return fail(ENOMEM, "%s: out of memory", s->vm->name);
	l->s = s;
	l->dir = -1;
	rc = load_files(l);
	if (rc == 0)
		rc = load_users(l);
	if (rc == 0)
		rc = link_files(l);
	if (rc < 0) {
		layers_free(l);
		return rc;
	}
	*out = l;
	return 0;
}

void layers_free(struct layers *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->nusers; i++) {
		config_release(&l->user[i].config);
		vmconf_release(&l->user[i].conf);
	}
	close_fd(&l->dir);
	free(l->user);
	free(l->file);
	free(l);
}

/* -- what they take -- */

static const struct layer_user *find_user(const struct layers *l,
					  const char *snap)
{
	for (size_t i = 1; i < l->nusers; i++)
		if (!strcmp(l->user[i].snap, snap))
			return &l->user[i];
	return NULL;
}

int layers_usage(const struct layers *l, const char *snap, uint64_t *own,
		 uint64_t *shared)
{
	const struct layer_user *u = find_user(l, snap);

	*shared = 0;
	*own = u ? u->memory : 0;
	if (!u)
		return fail(E_NOENT, "%s@%s: no such snapshot", l->s->vm->name,
			    snap);
	for (int d = 0; d < VMCONF_DISKS; d++) {
		bool is_own = true;

		for (int i = u->file[d]; i >= 0; i = l->file[i].below) {
			const struct layer_file *f = &l->file[i];

			is_own = is_own && f->snaps == (i == u->file[d]);
			*(is_own ? own : shared) += f->bytes;
		}
	}
	return 0;
}
