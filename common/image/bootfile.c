/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/bootfile.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"

static const uint64_t file_max = 1ULL << 30;

int bootfile_new(int dir, const char *name)
{
	int fd;

	unlinkat(dir, name, 0);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? fail_sys("%s", name) : fd;
}

int bootfile_copy(int fromdir, const char *path, int dir, const char *name)
{
	autoclose int from = -1, to = -1;
	struct stat st;

	from = openat(fromdir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (from < 0 || fstat(from, &st) < 0)
		return fail_sys("%s %s", name, path);
	if (!S_ISREG(st.st_mode))
		return fail(E_CONFIG, "%s %s: not a regular file", name, path);
	to = bootfile_new(dir, name);
	if (to < 0)
		return to;
	for (off_t left = st.st_size; left > 0; ) {
		ssize_t n = copy_file_range(from, NULL, to, NULL, left, 0);

		if (n <= 0)
			return fail_sys("%s %s", name, path);
		left -= n;
	}
	return 0;
}

static int take(const struct rootfs *r, const char *path, int dir,
		const char *name)
{
	autoclose int fd = -1;
	int64_t n;

	if (!*path)
		return 0;
	fd = bootfile_new(dir, name);
	if (fd < 0)
		return fd;
	n = ext4_copy(rootfs_boot(r), path, fd, file_max);
	return n < 0 ? fail_in(n, "%s %s", name, path) : 0;
}

int bootfile_take(const struct rootfs *r, int dir)
{
	int rc = take(r, r->kernel, dir, "kernel");

	return rc < 0 ? rc : take(r, r->initrd, dir, "initrd");
}
