/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "block/qcow2.h"
#include "image/kernel.h"
#include "image/links.h"
#include "state/image.h"

/*
 * A path that leads to no file is a mistake in the config; the caller names
 * it.
 */
static int not_opened(void)
{
	switch (errno) {
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case ENAMETOOLONG:
	case ENXIO:
		return fail(E_CONFIG, "%s", strerror(errno));
	}
	return fail(errno, "%s", strerror(errno));
}

/* Opens PATH, a regular file or, if BLOCK, a block device. */
static int open_file(int dir, const char *path, bool write, bool block)
{
	autoclose int fd = openat(dir, path, (write ? O_RDWR : O_RDONLY) |
				  O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return not_opened();
	if (fstat(fd, &st) < 0)
		return fail(errno, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode) && !(block && S_ISBLK(st.st_mode)))
		return fail(E_CONFIG, "not a regular file%s",
			    block ? " or block device" : "");
	return take_fd(&fd);
}

static int check_initrd(int dir, const char *path)
{
	autoclose int fd = open_file(dir, path, false, false);

	return fd < 0 ? fail_in(fd, "initrd %s", path) : 0;
}

/* A disk that shows another one, which the config does not name, is refused. */
static int check_qcow2(int fd, const struct disk_conf *d)
{
	struct qcow2_info info;
	struct link link;
	int rc;

	if (layer_name(d->path))
		return link_read(&link, fd, d);
	rc = qcow2_info(fd, &info);

	if (rc < 0)
		return rc;
	if (!d->image[0])
		rc = qcow2_alone(&info);
	qcow2_info_release(&info);
	return rc;
}

static int check_disk(int dir, int i, const struct disk_conf *d)
{
	autoclose int fd = open_file(dir, d->path, !d->readonly, true);
	off_t size;

	if (fd < 0)
		return fail_in(fd, "disk%d: %s", i, d->path);
	size = lseek(fd, 0, SEEK_END);
	if (size < 0)
		return fail_sys("disk%d: %s", i, d->path);
	if (size == 0)
		return fail(E_CONFIG, "disk%d: %s: is empty", i, d->path);
	if (d->format == FORMAT_QCOW2)
		size = check_qcow2(fd, d);
	return size < 0 ? fail_in(size, "disk%d: %s", i, d->path) : 0;
}

static int check_kernel(const struct store *st, int dir, const char *path)
{
	autoclose int fd = open_file(dir, path, false, false);
	struct kernel_payload payload;
	uint8_t head[KERNEL_HEAD];
	ssize_t n;
	int rc;

	if (fd < 0)
		return fail_in(fd, "kernel %s", path);
	if (st)
		return kernel_unpack(st, dir, path);
	n = pread(fd, head, sizeof(head), 0);
	if (n < 0)
		return fail_sys("kernel %s", path);
	rc = kernel_parse(head, n, lseek(fd, 0, SEEK_END), &payload);
	if (rc == KERNEL_NONE)
		rc = fail(E_CONFIG, "not a kernel (neither ELF nor bzImage)");
	return rc < 0 ? fail_in(rc, "kernel %s", path) : 0;
}

/* Whether PATH can be looked at: the VM's own need its directory. */
static bool is_there(int dir, const char *path)
{
	return path && (path[0] == '/' || dir >= 0);
}

int check_files(const struct store *st, int dir, const struct vmconf *vc)
{
	char room[IMAGE_PATH];
	int rc = 0;

	if (is_there(dir, vc->kernel))
		rc = check_kernel(st, dir, image_path(room, sizeof(room),
						      vc->kernel, "kernel"));
	if (rc >= 0 && is_there(dir, vc->initrd))
		rc = check_initrd(dir, image_path(room, sizeof(room),
						  vc->initrd, "initrd"));
	for (int i = 0; i < VMCONF_DISKS && rc >= 0; i++)
		if (is_there(dir, vc->disk[i].path))
			rc = check_disk(dir, i, &vc->disk[i]);
	return rc < 0 ? rc : 0;
}
