/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/unpack_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

enum { PIECE_BYTES = 256 << 10, XATTR_MAX = 64 << 10 };

/* A file that has more than one name, and the first that was met. */
struct linked {
	dev_t dev;
	ino_t ino;
	char path[];
};

struct walk {
	struct ext4 *out;
	uint64_t max, bytes;
	struct stat disk;	/* the one that is made */
	dev_t dev;
	void *linked;		/* by <search.h> */
	struct buf path;	/* where we are; "" is the root */
	unsigned depth;
	bool told;		/* the sentence names the file */
	char piece[PIECE_BYTES], names[XATTR_MAX], value[XATTR_MAX];
};

/* -- attributes -- */

static void get_attr(const struct stat *st, struct attr *a)
{
	*a = (struct attr){
		.mode = st->st_mode & (S_IFMT | 07777),
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime = st->st_mtim.tv_sec,
		.mtime_ns = st->st_mtim.tv_nsec,
		.major = major(st->st_rdev),
		.minor = minor(st->st_rdev),
	};
}

/* Those of PATH, which is never followed; a file system may have none. */
static int add_xattrs(struct walk *w, const char *path)
{
	ssize_t len = llistxattr(path, w->names, sizeof(w->names)), n;
	int rc = 0;

	if (len < 0)
		return errno == ENOTSUP ? 0 : fail_sys("its attributes");
	for (char *s = w->names; s < w->names + len && rc == 0;
	     s += strlen(s) + 1) {
		n = lgetxattr(path, s, w->value, sizeof(w->value));
		if (n >= 0)
			rc = ext4_xattr(w->out, s, w->value, n);
		else if (errno != ENODATA && errno != ENOTSUP)
			rc = fail_sys("its attribute %s", s);
	}
	return rc;
}

/* The attributes of NAME in DIR; "": of DIR itself. */
static int add_xattrs_at(struct walk *w, int dir, const char *name)
{
	char path[64 + NAME_MAX];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir,
		 *name ? name : ".");
	return add_xattrs(w, path);
}

/* -- links -- */

static int compare(const void *one, const void *other)
{
	const struct linked *a = one, *b = other;

	if (a->dev != b->dev)
		return a->dev < b->dev ? -1 : 1;
	return a->ino < b->ino ? -1 : a->ino > b->ino;
}

/* The first name of what ST is, or NULL: this is the first. */
static int find_link(struct walk *w, const struct stat *st, const char **first)
{
	const char *path = w->path.data;
	struct linked *l, **found;

	*first = NULL;
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return 0;
	l = malloc(sizeof(*l) + strlen(path) + 1);
	if (!l)
		return fail(ENOMEM, "out of memory");
	l->dev = st->st_dev;
	l->ino = st->st_ino;
	memcpy(l->path, path, strlen(path) + 1);
	found = tsearch(l, &w->linked, compare);
	if (found && *found == l)
		return 0;
	free(l);
	if (!found)
		return fail(ENOMEM, "out of memory");
	*first = (*found)->path;
	return 0;
}

/* -- data -- */

static int add_range(struct walk *w, int fd, off_t off, off_t end)
{
	int rc = 0;

	while (off < end && rc == 0) {
		ssize_t n = pread(fd, w->piece,
				  min_u64(end - off, sizeof(w->piece)), off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_sys("read");
		if (n == 0)
			return fail(E_BUSY, "became shorter meanwhile");
		w->bytes += n;
		if (w->bytes > w->max)
			return fail(E_CONFIG, "more data than can be taken");
		rc = ext4_data(w->out, off, w->piece, n);
		off += n;
	}
	return rc;
}

static int add_data(struct walk *w, int fd, off_t size)
{
	off_t off = 0, end;
	int rc = 0;

	while (off < size && rc == 0) {
		off = lseek(fd, off, SEEK_DATA);
		if (off < 0 && errno == ENXIO)
			break;
		end = off < 0 ? -1 : lseek(fd, off, SEEK_HOLE);
		if (end < 0)
			return fail_sys("seek");
		rc = add_range(w, fd, off, min_u64(end, size));
		off = end;
	}
	return rc < 0 ? rc : ext4_truncate(w->out, size);
}

/* -- entries -- */

static int add_dir(struct walk *w, int fd, const struct stat *st);

static int open_at(int dir, const char *name, int flags, struct stat *st)
{
	autoclose int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW |
				  O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);
	mode_t kind = st->st_mode & S_IFMT;

	if (fd < 0 || fstat(fd, st) < 0)
		return fail_sys("open");
	if ((st->st_mode & S_IFMT) != kind)
		return fail(E_BUSY, "was replaced meanwhile");
	return take_fd(&fd);
}

static int add_file(struct walk *w, int dir, const char *name, struct stat *st)
{
	autoclose int fd = open_at(dir, name, 0, st);
	struct attr a;
	int rc;

	if (fd < 0)
		return fd;
	get_attr(st, &a);
	rc = ext4_add(w->out, w->path.data, &a);
	if (rc == 0)
		rc = add_xattrs_at(w, dir, name);
	return rc < 0 ? rc : add_data(w, fd, st->st_size);
}

/* What has no data. */
static int add_other(struct walk *w, int dir, const char *name,
		     const struct stat *st)
{
	char target[TREE_PATH_MAX];
	struct attr a;
	ssize_t n;
	int rc;

	get_attr(st, &a);
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dir, name, target, sizeof(target));
		if (n < 0)
			return fail_sys("readlink");
		if (!n || n >= (ssize_t)sizeof(target))
			return fail(E_CONFIG, "a link too long");
		target[n] = '\0';
		a.target = target;
	}
	rc = ext4_add(w->out, w->path.data, &a);
	return rc < 0 ? rc : add_xattrs_at(w, dir, name);
}

static int add_subdir(struct walk *w, int dir, const char *name,
		      struct stat *st)
{
	int fd = open_at(dir, name, O_DIRECTORY, st);

	return fd < 0 ? fd : add_dir(w, fd, st);
}

static int add_entry(struct walk *w, int dir, const char *name)
{
	const char *first;
	struct stat st;
	int rc;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_sys("stat");
	if (st.st_dev == w->disk.st_dev && st.st_ino == w->disk.st_ino)
		return 0;
	rc = find_link(w, &st, &first);
	if (rc < 0)
		return rc;
	if (first)
		return ext4_link(w->out, w->path.data, first);
	if (S_ISDIR(st.st_mode))
		return add_subdir(w, dir, name, &st);
	return S_ISREG(st.st_mode) ? add_file(w, dir, name, &st) :
				     add_other(w, dir, name, &st);
}

/* Adds NAME in DIR. */
static int add_name(struct walk *w, int dir, const char *name)
{
	size_t len = w->path.len;
	int rc;

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return 0;
	if (len)
		buf_char(&w->path, '/');
	buf_str(&w->path, name);
	if (w->path.failed)
		return fail(ENOMEM, "out of memory");
	rc = add_entry(w, dir, name);
	if (rc < 0 && !w->told)
		fail_in(rc, "%.300s", w->path.data);
	w->told = rc < 0;
	w->path.len = len;
	w->path.data[len] = '\0';
	return rc;
}

static int add_names(struct walk *w, DIR *d)
{
	struct dirent *e;
	int rc = 0;

	while (rc == 0 && (errno = 0, e = readdir(d)))
		rc = add_name(w, dirfd(d), e->d_name);
	return rc < 0 || !errno ? rc : fail_sys("%.300s", w->path.data);
}

/* Takes FD, a directory, which is ST. */
static int add_dir(struct walk *w, int fd, const struct stat *st)
{
	DIR *d = fdopendir(fd);
	struct attr a;
	int rc;

	if (!d) {
		close(fd);
		return fail_sys("opendir");
	}
	get_attr(st, &a);
	rc = ext4_add(w->out, w->path.data, &a);
	if (rc == 0)
		rc = add_xattrs_at(w, fd, "");
	if (rc == 0 && w->depth == UNPACK_DIR_DEPTH)
		rc = fail(E_CONFIG, "deeper than %d directories",
			  UNPACK_DIR_DEPTH);
	if (rc == 0 && st->st_dev == w->dev) {
		w->depth++;
		rc = add_names(w, d);
		w->depth--;
	}
	closedir(d);
	return rc;
}

/* -- all of it -- */

static int walk(struct walk *w, int fd)
{
	autoclose int again = openat(fd, ".", O_RDONLY | O_DIRECTORY |
				     O_CLOEXEC);
	struct stat st;
	int rc;

	if (again < 0 || fstat(again, &st) < 0 ||
	    fstat(w->out->fd, &w->disk) < 0)
		return fail_sys("open");
	w->dev = st.st_dev;
	rc = add_dir(w, take_fd(&again), &st);
	if (rc == 0 && !w->out->tree.root->first)
		rc = fail(E_CONFIG, "holds no files");
	return rc;
}

int unpack_dir(int fd, uint64_t max, struct ext4 *out)
{
	struct walk *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return fail(ENOMEM, "out of memory");
	w->out = out;
	w->max = max;
	buf_init(&w->path);
	rc = walk(w, fd);
	buf_release(&w->path);
	tdestroy(w->linked, free);
	free(w);
	return rc;
}
