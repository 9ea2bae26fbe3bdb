/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/kernel_from.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "image/bootfile.h"
#include "image/disk.h"
#include "image/unpack_tree.h"

enum { INODES_MAX = 1 << 20, FILE_MAX = 256 << 20, DEPTH_MAX = 32 };
static const uint64_t package_max = 8ULL << 30;

/* -- an image -- */

static int open_image(struct kernel_from *k, int dir)
{
	struct image_meta m;
	int rc = image_lock(&k->image, true);

	if (rc == 0 && !image_has(&k->image, "kernel"))
		rc = fail(E_CONFIG, "has no kernel");
	if (rc == 0)
		rc = bootfile_copy(k->image.dir, "kernel", dir, "kernel");
	if (rc == 0 && image_has(&k->image, "initrd"))
		rc = bootfile_copy(k->image.dir, "initrd", dir, "initrd");
	if (rc < 0)
		return rc;
	rc = image_meta(&k->image, &m);
	if (rc < 0)
		return rc;
	/* a disk that cannot be read has no modules for us, that is all */
	if (disk_open_image(&k->disk, k->image.dir, m.format) < 0 ||
	    rootfs_open(&k->root, k->disk) < 0)
		rootfs_close(&k->root);
	image_meta_release(&m);
	return 0;
}

/* -- a package -- */

/* A new file in DIR without a name. */
static int scratch_file(int dir)
{
	static const char name[] = "package";
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return fail_sys("%s", name);
	unlinkat(dir, name, 0);
	return fd;
}

/* Unpacks the archive FROM into an ext4 disk in the file TO. */
static int unpack_package(int from, int to)
{
	struct ext4_conf conf = { .inodes = INODES_MAX };
	struct ext4 x = { 0 };
	int rc = ext4_begin(&x, to, &conf);

	if (rc == 0)
		rc = unpack_tree(from, NULL, 0, package_max, &x);
	if (rc == 0)
		rc = ext4_finish(&x);
	ext4_release(&x);
	return rc;
}

static int open_package(struct kernel_from *k, int from, int dir)
{
	autoclose int to = scratch_file(dir);
	int rc = to < 0 ? to : unpack_package(from, to);

	if (rc == 0)
		rc = disk_open_fd(&k->disk, to);
	if (rc == 0)
		rc = rootfs_open(&k->root, k->disk);
	if (rc == 0 && !k->root.kernel[0])
		rc = fail(E_CONFIG, "holds no kernel (boot/vmlinuz-VERSION)");
	return rc < 0 ? rc : bootfile_take(&k->root, dir);
}

/* -- both -- */

static int open_what(struct kernel_from *k, const struct store *st,
		     const char *what, int dir)
{
	autoclose int fd = -1;
	int rc;

	if (name_ok(what)) {
		rc = image_open(&k->image, st, what);
		if (rc == 0)
			return open_image(k, dir);
		if (rc != -E_NOENT)
			return rc;
	}
	fd = open(what, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 && errno == ENOENT)
		return fail(E_NOENT, "neither an image nor a file");
	if (fd < 0)
		return fail_sys("open");
	return open_package(k, fd, dir);
}

int kernel_from_open(struct kernel_from *k, const struct store *st,
		     const char *what, int dir)
{
	autoclose int kernel = -1;
	int rc;

	*k = (struct kernel_from){
		.image = { .parent = -1, .dir = -1, .lock = -1 } };
	rc = open_what(k, st, what, dir);
	if (rc == 0)
		rc = kernel = file_open(dir, "kernel", O_RDONLY, 0);
	if (rc < 0)
		return fail_in(rc, "%s", what);
	kernel_version(kernel, k->version);	/* or it stays "" */
	return 0;
}

void kernel_from_close(struct kernel_from *k)
{
	rootfs_close(&k->root);
	block_close(k->disk);
	image_close(&k->image);
	k->disk = NULL;
}

/* -- modules -- */

struct copier {
	const struct ext4_view *from;
	struct ext4 *to;
	char path[TREE_PATH_MAX];	/* the same in both */
	int depth;
};

static int copy_entry(struct copier *c);

static int copy_named(void *arg, const char *name)
{
	struct copier *c = arg;
	size_t len = strlen(c->path);
	int n, rc;

	n = snprintf(c->path + len, sizeof(c->path) - len, "/%s", name);
	if (n >= (int)(sizeof(c->path) - len))
		rc = fail(E_VERIFY, "a name too long");
	else
		rc = copy_entry(c);
	c->path[len] = '\0';
	return rc;
}

static int copy_data(struct copier *c)
{
	autobuf struct buf b = BUF_INIT;
	int rc = ext4_read(c->from, c->path, &b, FILE_MAX);

	return rc < 0 ? rc : ext4_data(c->to, 0, b.data, b.len);
}

/* Directories, files and links; there is nothing else of use. */
static int copy_entry(struct copier *c)
{
	autobuf struct buf target = BUF_INIT;
	struct attr a;
	int rc = ext4_attr(c->from, c->path, &a, &target);

	if (rc < 0 || !(S_ISDIR(a.mode) || S_ISREG(a.mode) || S_ISLNK(a.mode)))
		return rc;
	if (c->depth == DEPTH_MAX)
		return fail(E_VERIFY, "%s: too deep", c->path);
	rc = ext4_add(c->to, c->path, &a);
	if (rc < 0)
		return fail_in(rc, "%s", c->path);
	c->depth++;
	if (S_ISREG(a.mode))
		rc = copy_data(c);
	else if (S_ISDIR(a.mode))
		rc = ext4_list(c->from, c->path, copy_named, c);
	c->depth--;
	return rc;
}

int kernel_from_modules(const struct kernel_from *k, struct ext4 *x)
{
	autobuf struct buf target = BUF_INIT;
	struct copier c = { .from = &k->root.view, .to = x };
	struct attr a;

	if (!k->version[0] || !k->root.view.fs)
		return 0;
	snprintf(c.path, sizeof(c.path), "/lib/modules/%s", k->version);
	if (ext4_attr(c.from, c.path, &a, &target) < 0 || !S_ISDIR(a.mode) ||
	    tree_find(&x->tree, c.path))
		return 0;
	return copy_entry(&c);
}
