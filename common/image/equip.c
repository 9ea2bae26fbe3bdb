/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/equip.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "image/bootfile.h"
#include "image/disk.h"
#include "image/initrd.h"

static bool has(int dir, const char *name)
{
	return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* -- an initrd of ours -- */

/*
 * Makes one with the modules on V, if the kernel needs it. 1 if it did, 0 if
 * there is no need, or -ENOENT when nobody knows.
 */
static int make_initrd(int dir, const char *version, const struct ext4_view *v)
{
	autoclose int fd = -1;
	int rc;

	if (!v->fs)
		return -ENOENT;
	rc = fd = bootfile_new(dir, "initrd");
	if (rc < 0)
		return rc;
	rc = initrd_make(v, version, fd);
	if (rc <= 0)
		unlinkat(dir, "initrd", 0);
	return rc > 0 ? 1 : rc;
}

/* The same, with the modules of FROM, or else of the disk itself. */
static int add_initrd(int dir, const struct kernel_from *from,
		      const struct rootfs *r, struct buf *note)
{
	autoclose int kernel = file_open(dir, "kernel", O_RDONLY, 0);
	char version[KERNEL_VERSION];
	int rc = -ENOENT;

	if (kernel < 0)
		return kernel;
	if (kernel_version(kernel, version) < 0)
		return 0;	/* built by someone who knows what is in it */
	if (from)
		rc = make_initrd(dir, version, &from->root.view);
	if (rc == -ENOENT)
		rc = make_initrd(dir, version, &r->view);
	if (rc != -ENOENT)
		return rc;
	if (from)
		buf_printf(note, "no modules of the kernel %s were found, so "
			   "it boots without an initrd (--initrd gives one)",
			   version);
	return 0;
}

/* -- the command line -- */

enum initrd_kind { INITRD_NONE, INITRD_OURS, INITRD_THEIRS };

static int set_root(char **append, const struct rootfs *r,
		    enum initrd_kind kind)
{
	bool by_part = r->part.uuid[0] && (kind != INITRD_THEIRS || !r->uuid[0]);
	bool by_fs = !by_part && r->uuid[0] && kind != INITRD_NONE;
	autobuf struct buf b = BUF_INIT;

	if (!r->part.number)
		buf_str(&b, "root=/dev/vda");
	else if (by_part || by_fs)
		buf_printf(&b, "root=%s=%s", by_part ? "PARTUUID" : "UUID",
			   by_part ? r->part.uuid : r->uuid);
	else
		buf_printf(&b, "root=/dev/vda%d", r->part.number);
	buf_str(&b, kind == INITRD_OURS ? " rw vm.grow" : " rw");
	*append = buf_take(&b);
	return *append ? 0 : fail(ENOMEM, "out of memory");
}

/* -- all of it -- */

/* The kernel and the initrd that comes with it. */
static int bring(int dir, const struct equip_conf *c,
		 const struct kernel_from *from, const struct rootfs *r)
{
	int rc = 0;

	if (c->kernel)
		rc = bootfile_copy(AT_FDCWD, c->kernel, dir, "kernel");
	else if (!from && r->kernel[0])
		rc = bootfile_take(r, dir);
	if (rc == 0 && c->initrd)
		rc = bootfile_copy(AT_FDCWD, c->initrd, dir, "initrd");
	return rc;
}

/* With R, the root on the disk, which may be not open. */
static int equip_with(int dir, const struct store *st,
		      const struct equip_conf *c,
		      const struct kernel_from *from, const struct rootfs *r,
		      struct image_meta *m, struct buf *note)
{
	enum initrd_kind kind = INITRD_THEIRS;
	int rc = bring(dir, c, from, r);

	if (rc == 0 && has(dir, "kernel"))
		rc = kernel_unpack(st, dir, "kernel");
	if (rc >= 0 && has(dir, "kernel") && !has(dir, "initrd")) {
		rc = add_initrd(dir, from, r, note);
		kind = rc > 0 ? INITRD_OURS : INITRD_NONE;
	}
	if (rc < 0)
		return rc;
	if (c->append) {
		m->append = strdup(c->append);
		return m->append ? 0 : fail(ENOMEM, "out of memory");
	}
	return r->view.fs && has(dir, "kernel") ? set_root(&m->append, r, kind)
						: 0;
}

/*
 * What a person should hear of an image whose root was looked for with RC,
 * which WHY explains. A disk without any file system is nobody's mistake.
 */
static void explain(int dir, int rc, const char *why,
		    const struct image_meta *m, struct buf *note)
{
	if (!has(dir, "kernel") && rc != -ENOENT)
		buf_printf(note, "%s%shas no kernel (--kernel or --kernel-from "
			   "gives one)", why, *why ? ", so it " : "");
	else if (has(dir, "kernel") && !m->append && rc == -ENOTSUP)
		buf_printf(note, "%s, so nothing says where its root is "
			   "(--append root=... does)", why);
}

int equip(int dir, const struct store *st, const struct equip_conf *c,
	  const struct kernel_from *from, struct image_meta *m,
	  struct buf *note)
{
	struct rootfs r = { .uuid = "" };
	struct block *disk = NULL;
	char why[ERR_MAX] = "";
	int rc = disk_open_image(&disk, dir, m->format), found;

	if (rc < 0)
		return rc;
	found = rootfs_open(&r, disk);
	if (found < 0) {	/* then it has none for us */
		snprintf(why, sizeof(why), "%s", err_text());
		rootfs_close(&r);
	}
	rc = equip_with(dir, st, c, from, &r, m, note);
	if (rc == 0)
		explain(dir, found, why, m, note);
	rootfs_close(&r);
	block_close(disk);
	return rc;
}
