/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/rootfs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"

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

/* A kernel and its initrd, as paths of a file system. */
struct pair {
	char kernel[ROOTFS_PATH_BYTES], initrd[ROOTFS_PATH_BYTES];
};

static bool has(const struct ext4_view *v, const char *path)
{
	return ext4_size(v, path) > 0;
}

/* A search for the newest kernel in a directory. */
struct search {
	const struct ext4_view *v;
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
	if (!has(s->v, path))
		return 0;
	snprintf(s->version, sizeof(s->version), "%s", version);
	snprintf(s->path, sizeof(s->path), "%s", path);
	return 0;
}

/* The first of NAMES in DIR, with VERSION in its place, becomes the initrd. */
static void find_initrd(const struct ext4_view *v, const char *dir,
			const char *version, struct pair *p)
{
	static const struct { const char *before, *after; } names[] = {
		{ "initrd.img-", "" },		/* Debian, Ubuntu */
		{ "initramfs-", ".img" },	/* Fedora, Arch */
		{ "initrd-", "" },		/* SUSE */
		{ "initramfs-", "" },		/* Alpine */
	};
	char path[ROOTFS_PATH_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(names) && !p->initrd[0]; i++) {
		snprintf(path, sizeof(path), "%s/%s%s%s", dir, names[i].before,
			 version, names[i].after);
		if (has(v, path))
			snprintf(p->initrd, sizeof(p->initrd), "%s", path);
	}
}

static void find_versioned(const struct ext4_view *v, const char *dir,
			   struct pair *p)
{
	struct search s = { .v = v, .dir = dir };

	if (ext4_list(v, dir, consider, &s) < 0 || !s.path[0])
		return;
	snprintf(p->kernel, sizeof(p->kernel), "%s", s.path);
	find_initrd(v, dir, s.version, p);
}

static void find_plain(const struct ext4_view *v, struct pair *p)
{
	static const struct pair names[] = {
		{ "/vmlinuz", "/initrd.img" },
		{ "/boot/vmlinuz", "/boot/initrd.img" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names) && !p->kernel[0]; i++) {
		if (!has(v, names[i].kernel))
			continue;
		*p = names[i];
		if (!has(v, p->initrd))
			p->initrd[0] = '\0';
	}
}

static bool is_root(const struct ext4_view *v)
{
	return has(v, "/sbin/init") || has(v, "/etc/os-release") ||
	       has(v, "/usr/lib/os-release") || has(v, "/bin/sh");
}

/* What a file system is to the disk; the larger, the rather it is the root. */
enum part_kind { PART_DATA, PART_BOOT, PART_ROOT, PART_ROOT_BOOTS };

static enum part_kind look(const struct ext4_view *v, struct pair *p)
{
	enum part_kind kind = is_root(v) ? PART_ROOT : PART_DATA;

	*p = (struct pair){ .kernel = "" };
	find_versioned(v, "/boot", p);
	if (p->kernel[0])
		return PART_ROOT_BOOTS;
	find_versioned(v, "", p);
	if (!p->kernel[0])
		find_plain(v, p);
	if (!p->kernel[0])
		return kind;
	return kind == PART_ROOT ? PART_ROOT_BOOTS : PART_BOOT;
}

/* -- open -- */

/* What we do not read, by what stands at OFF of it. */
static const struct {
	const char *name, *magic;
	unsigned off;
} strangers[] = {
	{ "xfs", "XFSB", 0 },
	{ "btrfs", "_BHRfS_M", 0x10040 },
	{ "LVM", "LVM2 001", 0x218 },
	{ "LUKS", "LUKS\xba\xbe", 0 },
};

/* The name of what is in one of N parts; NULL: nothing known. */
static const char *find_stranger(struct block *disk, const struct partition *p,
				 int n)
{
	char head[8];

	for (int i = 0; i < n; i++)
		for (size_t k = 0; k < ARRAY_SIZE(strangers); k++) {
			size_t len = strlen(strangers[k].magic);

			if (in_range(strangers[k].off, len, p[i].len) &&
			    block_read(disk, head, len, p[i].off +
				       strangers[k].off) == 0 &&
			    !memcmp(head, strangers[k].magic, len))
				return strangers[k].name;
		}
	return NULL;
}

static int no_root(const char *stranger)
{
	return stranger ? fail(ENOTSUP, "holds %s, which is not read "
			       "here", stranger) : fail(ENOENT, "holds no ext4");
}

static void set_pair(struct rootfs *r, const struct pair *pair)
{
	snprintf(r->kernel, sizeof(r->kernel), "%s", pair->kernel);
	snprintf(r->initrd, sizeof(r->initrd), "%s", pair->initrd);
}

static int open_part(struct rootfs *r, struct block *disk,
		     const struct partition *p)
{
	struct pair pair;
	int rc;

	*r = (struct rootfs){ .part = *p };
	rc = ext4_open(&r->view, disk, p->off, p->len);
	if (rc < 0)
		return rc;
	uuid_format(r->uuid, ext4_uuid(&r->view));
	look(&r->view, &pair);
	set_pair(r, &pair);
	return 0;
}

/* The best *ROOT of N partitions, and what it is; *BOOT is a /boot, or NULL. */
static int choose(struct block *disk, const struct partition *p, int n,
		  const struct partition **root, const struct partition **boot)
{
	int best = -1;

	*root = *boot = NULL;
	for (int i = 0; i < n; i++) {
		struct ext4_view v;
		struct pair pair;
		int kind;

		if (ext4_open(&v, disk, p[i].off, p[i].len) < 0)
			continue;
		kind = look(&v, &pair);
		ext4_close(&v);
		if (kind == PART_BOOT && !*boot)
			*boot = &p[i];
		if (kind == PART_BOOT)
			kind = PART_DATA;
		if (kind > best) {
			best = kind;
			*root = &p[i];
		}
	}
	return best;
}

static int open_partition(struct rootfs *r, struct block *disk)
{
	struct partition p[PARTITION_MAX];
	const struct partition *root, *boot;
	int n = partition_list(disk, p), kind, rc;
	const char *stranger;
	struct pair pair;

	if (n < 0)
		return n;
	if (n == 0) {	/* perhaps one that we do not read, on all of it */
		p[0] = (struct partition){ .len = disk->size };
		return no_root(find_stranger(disk, p, 1));
	}
	stranger = find_stranger(disk, p, n);
	kind = choose(disk, p, n, &root, &boot);
	/* then the root is rather what we cannot read */
	if (!root || (kind == PART_DATA && (boot || stranger)))
		return no_root(stranger);
	rc = open_part(r, disk, root);
	if (rc < 0 || kind == PART_ROOT_BOOTS || !boot || boot == root)
		return rc;
	rc = ext4_open(&r->boot, disk, boot->off, boot->len);
	if (rc == 0) {
		look(&r->boot, &pair);
		set_pair(r, &pair);
	}
	return rc;
}

int rootfs_open(struct rootfs *r, struct block *disk)
{
	struct partition all = { .len = disk->size };
	int rc = open_part(r, disk, &all);

	return rc == -ENOENT ? open_partition(r, disk) : rc;
}

const struct ext4_view *rootfs_boot(const struct rootfs *r)
{
	return r->boot.fs ? &r->boot : &r->view;
}

void rootfs_close(struct rootfs *r)
{
	ext4_close(&r->view);
	ext4_close(&r->boot);
}
