/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/rootfs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/text.h"
#include "image/partition.h"

/* -- versions (Debian Policy 5.6.12, without epochs) -- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The rank of a character that is no digit: ~, then the end, letters, rest. */
static int rank(char c)
{
	if (c == '~')
		return -1;
	if (!c || is_digit(c))
		return 0;
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return (unsigned char)c;
	return (unsigned char)c + 256;
}

/* Compares the numbers that begin *A and *B, which it moves behind them. */
static int compare_numbers(const char **a, const char **b)
{
	size_t na, nb;
	int d;

	*a += strspn(*a, "0");
	*b += strspn(*b, "0");
	na = strspn(*a, "0123456789");
	nb = strspn(*b, "0123456789");
	d = na != nb ? (na < nb ? -1 : 1) : memcmp(*a, *b, na);
	*a += na;
	*b += nb;
	return d;
}

int version_compare(const char *a, const char *b)
{
	int d = 0;

	while ((*a || *b) && !d) {
		while (!d && ((*a && !is_digit(*a)) || (*b && !is_digit(*b)))) {
			d = rank(*a) - rank(*b);
			a += *a && !d;
			b += *b && !d;
		}
		if (!d)
			d = compare_numbers(&a, &b);
	}
	return d;
}

/* -- what boots -- */

static bool has(const struct rootfs *r, const char *path)
{
	return ext4_size(&r->view, path) > 0;
}

/* A search for the newest kernel in a directory. */
struct search {
	const struct rootfs *r;
	const char *dir;
	char version[256];	/* the best yet */
	char path[ROOTFS_PATH_BYTES];
};

static int consider(void *arg, const char *name)
{
	struct search *s = arg;
	char path[ROOTFS_PATH_BYTES];
	const char *version;

	if (!starts_with(name, "vmlinuz-", &version) || !*version ||
	    (s->path[0] && version_compare(version, s->version) <= 0))
		return 0;
	snprintf(path, sizeof(path), "%s/%s", s->dir, name);
	if (!has(s->r, path))
		return 0;
	snprintf(s->version, sizeof(s->version), "%s", version);
	snprintf(s->path, sizeof(s->path), "%s", path);
	return 0;
}

/* The first of NAMES in DIR, with VERSION in its place, becomes the initrd. */
static void find_initrd(struct rootfs *r, const char *dir, const char *version)
{
	static const struct { const char *before, *after; } names[] = {
		{ "initrd.img-", "" },		/* Debian, Ubuntu */
		{ "initramfs-", ".img" },	/* Fedora, Arch */
		{ "initrd-", "" },		/* SUSE */
		{ "initramfs-", "" },		/* Alpine */
	};
	char path[ROOTFS_PATH_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(names) && !r->initrd[0]; i++) {
		snprintf(path, sizeof(path), "%s/%s%s%s", dir, names[i].before,
			 version, names[i].after);
		if (has(r, path))
			snprintf(r->initrd, sizeof(r->initrd), "%s", path);
	}
}

static void find_versioned(struct rootfs *r, const char *dir)
{
	struct search s = { .r = r, .dir = dir };

	if (ext4_list(&r->view, dir, consider, &s) < 0 || !s.path[0])
		return;
	snprintf(r->kernel, sizeof(r->kernel), "%s", s.path);
	find_initrd(r, dir, s.version);
}

static void find_plain(struct rootfs *r)
{
	static const struct { const char *kernel, *initrd; } names[] = {
		{ "/vmlinuz", "/initrd.img" },
		{ "/boot/vmlinuz", "/boot/initrd.img" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!has(r, names[i].kernel))
			continue;
		snprintf(r->kernel, sizeof(r->kernel), "%s", names[i].kernel);
		if (has(r, names[i].initrd))
			snprintf(r->initrd, sizeof(r->initrd), "%s",
				 names[i].initrd);
		return;
	}
}

static void find_kernel(struct rootfs *r)
{
	find_versioned(r, "/boot");
	if (!r->kernel[0])
		find_versioned(r, "");
	if (!r->kernel[0])
		find_plain(r);
}

/* -- open -- */

static int open_at(struct rootfs *r, int fd, uint64_t off, uint64_t len)
{
	int rc;

	*r = (struct rootfs){ .off = off, .len = len };
	rc = ext4_open(&r->view, fd, off, len);
	if (rc == 0)
		find_kernel(r);
	return rc;
}

static int open_partition(struct rootfs *r, int fd, uint64_t size)
{
	struct partition p[PARTITION_MAX], *first = NULL;
	int n = partition_list(fd, size, p);

	for (int i = 0; i < n; i++) {
		if (open_at(r, fd, p[i].off, p[i].len) < 0)
			continue;
		if (r->kernel[0])
			return 0;
		first = first ? first : &p[i];
		rootfs_close(r);
	}
	if (first)
		return open_at(r, fd, first->off, first->len);
	return n < 0 ? n : fail(ENOENT, "holds no ext4");
}

int rootfs_open(struct rootfs *r, int fd)
{
	struct stat sb;
	int rc;

	*r = (struct rootfs){ .off = 0 };
	if (fstat(fd, &sb) < 0)
		return fail_sys("stat");
	rc = open_at(r, fd, 0, sb.st_size);
	return rc == -ENOENT ? open_partition(r, fd, sb.st_size) : rc;
}

void rootfs_close(struct rootfs *r)
{
	ext4_close(&r->view);
}
