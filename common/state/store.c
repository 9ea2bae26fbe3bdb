/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"

enum { FORMAT_BYTES = 32 };

/* An absolute path in the environment, else NULL (as XDG wants it). */
static const char *env_path(const char *name)
{
	const char *path = getenv(name);

	return path && path[0] == '/' ? path : NULL;
}

static int default_path(struct buf *b)
{
	const char *data = env_path("XDG_DATA_HOME"), *home = env_path("HOME");

	if (geteuid() == 0)
		buf_str(b, "/var/lib/vmutils");
	else if (data)
		buf_printf(b, "%s/vmutils", data);
	else if (home)
		buf_printf(b, "%s/.local/share/vmutils", home);
	else
		return fail(E_CONFIG, "no state directory: set VM_STATE or "
			    "HOME, or use --state");
	return 0;
}

static int choose_path(const char *path, char **out)
{
	autobuf struct buf b = BUF_INIT;
	int rc = 0;

	if (path && !*path)
		return fail(E_USAGE, "state directory: an empty path");
	if (!path)
		path = getenv("VM_STATE");
	if (path && *path)
		buf_str(&b, path);
	else
		rc = default_path(&b);
	if (rc < 0)
		return rc;
	*out = buf_take(&b);
	return *out ? 0 : fail(ENOMEM, "state directory: out of memory");
}

/*
 * Whether nothing lies in the directory that is anyone's: names with a dot
 * are what a killed command left, lost+found what a new file system has.
 */
static bool is_empty(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	bool empty = true;

	if (!dir) {
		close_fd(&fd);
		return false;
	}
	while (empty && (e = readdir(dir)))
		empty = e->d_name[0] == '.' || !strcmp(e->d_name, "lost+found");
	closedir(dir);
	return empty;
}

/* 1: a format we read; 0: an empty directory, yet to become a state. */
static int check_format(const struct store *st)
{
	autobuf struct buf b = BUF_INIT;
	uint64_t format;
	int rc = file_read(st->fd, "format", &b, FORMAT_BYTES);

	if (rc == -ENOENT && is_empty(st->fd))
		return 0;
	if (rc == -ENOENT)	/* someone may have made both since */
		rc = file_read(st->fd, "format", &b, FORMAT_BYTES);
	if (rc == -ENOENT)
		return fail(E_CONFIG, "%s: not a state directory (it has no "
			    "file 'format')", st->path);
	if (rc < 0)
		return fail_in(rc == -EFBIG ? -E_CONFIG : rc, "%s", st->path);
	if (b.len && b.data[b.len - 1] == '\n')
		b.data[b.len - 1] = '\0';
	if (parse_u64("format", b.data, &format) < 0 || format == 0)
		return fail(E_CONFIG, "%s: format '%s': not a format's number",
			    st->path, b.data);
	if (format > STORE_FORMAT)
		return fail(E_CONFIG, "%s: is of format %llu; this vmutils "
			    "reads up to %d", st->path,
			    (unsigned long long)format, STORE_FORMAT);
	return 1;
}

/*
 * The first file of a state directory is its format, so a directory that a
 * killed command left half made is an empty one or a state without VMs.
 */
static int make_format(const struct store *st)
{
	char text[FORMAT_BYTES];
	int n = snprintf(text, sizeof(text), "%d\n", STORE_FORMAT);
	int rc = file_replace(st->fd, "format", text, n, 0600);

	return rc < 0 ? fail_in(rc, "%s", st->path) : 0;
}

int store_dir(const struct store *st, const char *name, bool create)
{
	static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
				 O_CLOEXEC;
	int fd;

	if (st->fd < 0)
		return fail(ENOENT, "%s/%s: no such directory", st->path, name);
	fd = openat(st->fd, name, flags);
	if (fd < 0 && errno == ENOENT && create) {
		if ((mkdirat(st->fd, name, 0700) < 0 && errno != EEXIST) ||
		    fsync(st->fd) < 0)
			return fail_sys("%s/%s", st->path, name);
		fd = openat(st->fd, name, flags);
	}
	if (fd < 0 && errno == ENOTDIR)
		return fail(E_CONFIG, "%s/%s: not a directory", st->path, name);
	return fd < 0 ? fail_sys("%s/%s", st->path, name) : fd;
}

static int open_path(const char *path, bool create)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT && create) {
		int rc = make_dirs(path);

		if (rc < 0)
			return rc;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0 && errno == ENOTDIR)
		return fail(E_CONFIG, "%s: not a directory", path);
	return fd < 0 ? fail_sys("%s", path) : fd;
}

static int open_dirs(struct store *st, bool create)
{
	int rc;

	st->fd = open_path(st->path, create);
	if (st->fd < 0)
		return st->fd == -ENOENT && !create ? 0 : st->fd;
	rc = check_format(st);
	if (rc == 0 && create)
		rc = make_format(st);
	else if (rc == 0)
		return 0;
	if (rc < 0)
		return rc;
	st->vms = store_dir(st, "vms", create);
	return st->vms == -ENOENT && !create ? 0 : st->vms;
}

/* What is not there is -1, whatever said so. */
static int settle(struct store *st, int rc)
{
	st->fd = st->fd < 0 ? -1 : st->fd;
	st->vms = st->vms < 0 ? -1 : st->vms;
	return rc < 0 ? rc : 0;
}

int store_open(struct store *st, const char *path, bool create)
{
	int rc;

	*st = (struct store){ .fd = -1, .vms = -1 };
	rc = choose_path(path, &st->path);
	if (rc == 0)
		rc = open_dirs(st, create);
	if (rc < 0)
		store_close(st);
	return settle(st, rc);
}

int store_again(struct store *st)
{
	int rc;

	if (st->vms >= 0)
		return 0;
	close_fd(&st->fd);
	rc = open_dirs(st, false);
	return settle(st, rc);
}

void store_close(struct store *st)
{
	close_fd(&st->fd);
	close_fd(&st->vms);
	free(st->path);
	*st = (struct store){ .fd = -1, .vms = -1 };
}

/* -- the run directory -- */

static void run_path(struct buf *b)
{
	const char *runtime = env_path("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		buf_str(b, "/run/vmutils");
	else if (runtime)
		buf_printf(b, "%s/vmutils", runtime);
	else
		buf_printf(b, "/tmp/vmutils-%u", geteuid());
}

static bool is_default(const struct stat *state)
{
	autobuf struct buf b = BUF_INIT;
	struct stat sb;

	return default_path(&b) == 0 && stat(b.data, &sb) == 0 &&
	       sb.st_dev == state->st_dev && sb.st_ino == state->st_ino;
}

/*
 * Sockets are as safe as the directory they lie in: it must be ours, and
 * nobody else's to enter. /tmp is where someone else may have made it first.
 */
static int open_own(int dirfd, const char *name)
{
	autoclose int fd = openat(dirfd, name, O_PATH | O_DIRECTORY |
				  O_NOFOLLOW | O_CLOEXEC);
	struct stat sb;

	if (fd < 0 || fstat(fd, &sb) < 0)
		return fail_sys("%s", name);
	if (sb.st_uid != geteuid())
		return fail(EACCES, "%s: belongs to another user", name);
	if (sb.st_mode & 077)
		return fail(EACCES, "%s: open to other users (chmod 700 it)",
			    name);
	return take_fd(&fd);
}

int store_run(const struct store *st, bool create)
{
	autobuf struct buf path = BUF_INIT;
	autoclose int fd = -1;
	struct stat sb;
	char sub[64];
	int rc;

	if (st->fd < 0)
		return fail(ENOENT, "%s: No such directory", st->path);
	if (fstat(st->fd, &sb) < 0)
		return fail_sys("%s", st->path);
	run_path(&path);
	rc = create ? make_dirs(path.data) : 0;
	if (rc == 0)
		rc = fd = open_own(AT_FDCWD, path.data);
	if (rc < 0 || is_default(&sb))
		return rc < 0 ? rc : take_fd(&fd);
	snprintf(sub, sizeof(sub), "@%llx-%llx",
		 (unsigned long long)sb.st_dev, (unsigned long long)sb.st_ino);
	if (create && mkdirat(fd, sub, 0700) < 0 && errno != EEXIST)
		return fail_sys("%s/%s", path.data, sub);
	rc = open_own(fd, sub);
	return rc < 0 ? fail_in(rc, "%s", path.data) : rc;
}
