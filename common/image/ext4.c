/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/ext4.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "image/ext4_disk.h"

enum {
	BUF_BYTES = 1 << 20,
	/* Zeros become a hole in pieces of this; smaller ones cost extents. */
	HOLE_BYTES = 4 * EXT4_BLOCK,
	/*
	 * One block holds them: less its header and the end of its list
	 * (struct ext2_ext_attr_header), each with an entry and padding.
	 */
	XATTR_ROOM = EXT4_BLOCK - 32 - 4,
	XATTR_ENTRY = 16,
	ACL_VERSION = 2,
};

static const uint64_t file_max = (1ull << 44) - EXT4_BLOCK;
static const uint64_t least = 1 << 30, spare = 256 << 20;

/* -- where data goes -- */

/*
 * What data leaves free at the start of GROUP, of N groups: at least what
 * libext2fs will take there. Too much costs nothing, the guest can use it.
 */
static uint64_t reserved(uint64_t group, uint64_t n)
{
	enum { TABLE = EXT4_GROUP_BLOCKS / (EXT4_BYTES_PER_INODE /
					    EXT4_INODE_BYTES) };
	uint64_t tables = 0;

	if (group % EXT4_FLEX_GROUPS == 0)
		tables = min_u64(EXT4_FLEX_GROUPS, n - group) * (TABLE + 2);
	return 1 + EXT4_DESC_BLOCKS + tables;
}

/* Moves X->next on to where data may be; how many blocks are free there. */
static uint64_t room(struct ext4 *x)
{
	uint64_t groups = (x->blocks + EXT4_GROUP_BLOCKS - 1) /
			  EXT4_GROUP_BLOCKS;
	uint64_t group = x->next / EXT4_GROUP_BLOCKS;
	uint64_t start = group * EXT4_GROUP_BLOCKS;
	uint64_t end = min_u64(start + EXT4_GROUP_BLOCKS, x->blocks);

	if (x->next >= x->blocks)
		return 0;
	x->next = max_u64(x->next, start + reserved(group, groups));
	return x->next < end ? end - x->next : 0;
}

static int full(const struct ext4 *x)
{
	char size[16];

	format_size(size, x->blocks * EXT4_BLOCK);
	return fail(E_CONFIG, "does not fit into a disk of %s", size);
}

/* Writes N blocks of DATA, which are the file's from its block LOGICAL on. */
static int write_run(struct ext4 *x, uint32_t logical, const uint8_t *data,
		     uint64_t n)
{
	while (n) {
		uint64_t part = min_u64(room(x), n);
		size_t bytes = part * EXT4_BLOCK;
		int rc;

		if (!part)
			return full(x);
		rc = pwrite_all(x->fd, data, bytes, x->next * EXT4_BLOCK);
		if (rc < 0)
			return fail(-rc, "%s", strerror(-rc));
		rc = inode_extent(x->at, logical, x->next, part);
		if (rc < 0)
			return rc;
		x->next += part;
		logical += part;
		data += bytes;
		n -= part;
	}
	return 0;
}

/* Writes what is in the buffer but holes; the buffer stays where it is. */
static int flush(struct ext4 *x)
{
	size_t len = align_up(x->buf_len, EXT4_BLOCK), run = 0;
	int rc = 0;

	memset(x->buf + x->buf_len, 0, len - x->buf_len);
	for (size_t off = 0, n; off < len && rc == 0; off += n) {
		n = min_u64(HOLE_BYTES, len - off);
		if (!is_zero(x->buf + off, n)) {
			run += n;
			if (off + n < len)
				continue;
			off += n;
			n = 0;
		}
		rc = write_run(x, (x->buf_off + off - run) / EXT4_BLOCK,
			       x->buf + off - run, run / EXT4_BLOCK);
		run = 0;
	}
	x->buf_len = 0;
	return rc;
}

/* The next data is at OFF, behind the buffer: it moves there. */
static int move_buffer(struct ext4 *x, uint64_t off)
{
	int rc = flush(x);

	x->buf_off = off - off % EXT4_BLOCK;
	return rc;
}

static bool is_file(const struct ext4 *x)
{
	return x->at && S_ISREG(x->at->attr.mode);
}

int ext4_truncate(struct ext4 *x, uint64_t size)
{
	if (!is_file(x))
		return size ? fail(E_VERIFY, "a size of what is no regular "
				   "file") : 0;
	if (size > file_max)
		return fail(E_CONFIG, "too large for ext4");
	if (size < x->at->size) {
		inode_empty(x->at);
		x->buf_len = x->buf_off = 0;
	}
	x->at->size = size;
	x->linked = false;
	return 0;
}

int ext4_data(struct ext4 *x, uint64_t off, const void *data, size_t len)
{
	const uint8_t *p = data;

	if (!is_file(x))
		return fail(E_VERIFY, "data in what is no regular file");
	if (x->linked)
		ext4_truncate(x, 0);
	if (!in_range(off, len, file_max))
		return fail(E_CONFIG, "too large for ext4");
	if (off < x->at->size)
		return fail(E_VERIFY, "its data is out of order");
	while (len) {
		uint64_t at = off - x->buf_off;
		size_t n;

		if (at >= BUF_BYTES) {
			int rc = move_buffer(x, off);

			if (rc < 0)
				return rc;
			continue;
		}
		n = min_u64(len, BUF_BYTES - at);
		memset(x->buf + x->buf_len, 0, at - x->buf_len);
		memcpy(x->buf + at, p, n);
		x->buf_len = at + n;
		x->at->size = off += n;
		p += n;
		len -= n;
	}
	return 0;
}

/* -- entries -- */

/* Ends what was added last. */
static int leave(struct ext4 *x)
{
	int rc = is_file(x) ? flush(x) : 0;

	x->at = NULL;
	x->buf_off = 0;
	x->linked = false;
	return rc;
}

int ext4_add(struct ext4 *x, const char *path, const struct attr *a)
{
	int rc = leave(x);

	return rc < 0 ? rc : tree_add(&x->tree, path, a, &x->at);
}

int ext4_link(struct ext4 *x, const char *path, const char *to)
{
	int rc = leave(x);

	if (rc == 0)
		rc = tree_link(&x->tree, path, to, &x->at);
	x->linked = rc == 0;
	return rc;
}

int ext4_layer(struct ext4 *x)
{
	int rc = leave(x);

	tree_layer(&x->tree);
	return rc;
}

int ext4_whiteout(struct ext4 *x, const char *path, bool all)
{
	int rc = leave(x);

	return rc < 0 ? rc : tree_whiteout(&x->tree, path, all);
}

/* linux/posix_acl_xattr.h: a version, then entries of a known tag each. */
static bool acl_ok(const uint8_t *acl, size_t len)
{
	le32 version;

	if (len < sizeof(version) || (len - sizeof(version)) % 8)
		return false;
	memcpy(&version, acl, sizeof(version));
	for (size_t i = sizeof(version); i < len; i += 8) {
		le16 tag, perm;

		memcpy(&tag, acl + i, sizeof(tag));
		memcpy(&perm, acl + i + 2, sizeof(perm));
		if (get_le16(perm) & ~7)
			return false;
		switch (get_le16(tag)) {
		case 0x01: case 0x02: case 0x04: case 0x08: case 0x10:
		case 0x20:
			continue;
		}
		return false;
	}
	return get_le32(version) == ACL_VERSION;
}

static bool is_acl(const char *name)
{
	return !strcmp(name, "system.posix_acl_access") ||
	       !strcmp(name, "system.posix_acl_default");
}

static bool is_known(const char *name)
{
	static const char *const prefixes[] = { "user.", "trusted.",
						"security." };
	const char *rest;

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (starts_with(name, prefixes[i], &rest))
			return *rest && strlen(rest) <= TREE_NAME_MAX;
	return is_acl(name);
}

static uint64_t xattr_bytes(const char *name, size_t len)
{
	return XATTR_ENTRY + align_up(strlen(name), 4) + align_up(len, 4);
}

int ext4_xattr(struct ext4 *x, const char *name, const void *value, size_t len)
{
	uint64_t bytes = xattr_bytes(name, min_u64(len, EXT4_BLOCK));

	if (!x->at || !is_known(name))
		return 0;
	for (struct xattr *a = x->at->xattrs; a; a = a->next)
		bytes += xattr_bytes(a->name, a->len);
	if (bytes > XATTR_ROOM)
		return fail(E_CONFIG, "its extended attributes are more than "
			    "ext4 has room for");
	if (is_acl(name) && !acl_ok(value, len))
		return fail(E_VERIFY, "its ACL is none");
	return inode_xattr(x->at, name, value, len);
}

/* -- the disk -- */

int ext4_begin(struct ext4 *x, int fd, const struct ext4_conf *conf)
{
	const char *label = conf->label ? conf->label : "";
	uint64_t size = conf->size ? conf->size : ext4_size_max;

	*x = (struct ext4){ .fd = fd, .grows = !conf->size,
			    .blocks = size / EXT4_BLOCK };
	if (size < ext4_size_min || size > ext4_size_max)
		return fail(E_USAGE, "an ext4 disk has 64M to 1T");
	if (strlen(label) > EXT4_LABEL_MAX)
		return fail(E_USAGE, "'%s': a label has at most %d bytes",
			    label, EXT4_LABEL_MAX);
	snprintf(x->label, sizeof(x->label), "%s", label);
	x->buf = malloc(BUF_BYTES);
	if (!x->buf)
		return fail(ENOMEM, "out of memory");
	if (ftruncate(fd, 0) < 0)
		return fail_sys("truncate");
	return tree_init(&x->tree, conf->inodes);
}

/* Where e2fsck puts what it finds; mke2fs makes it too. */
static int add_lost_found(struct ext4 *x)
{
	struct attr a = { .mode = S_IFDIR | 0700,
			  .mtime = x->tree.root->attr.mtime };
	struct inode *i = tree_find(&x->tree, "lost+found");

	if (!i)
		return ext4_add(x, "lost+found", &a);
	return S_ISDIR(i->attr.mode) ? 0 :
		fail(E_VERIFY, "lost+found is no directory");
}

/* Gives back what the data of files that are no more takes. */
static int punch(const struct ext4 *x)
{
	for (struct inode *i = x->tree.root; i; i = i->next) {
		if (i->nlink)
			continue;
		for (size_t k = 0; k < i->nextents; k++) {
			const struct extent *e = &i->extents[k];

			if (fallocate(x->fd, FALLOC_FL_PUNCH_HOLE |
				      FALLOC_FL_KEEP_SIZE,
				      e->physical * EXT4_BLOCK,
				      (uint64_t)e->blocks * EXT4_BLOCK) < 0)
				return errno == EOPNOTSUPP ? 0 :
					fail_sys("punch");
		}
	}
	return 0;
}

/* Of a disk that holds USED bytes. */
static uint64_t blocks_for(uint64_t used)
{
	uint64_t size = max_u64(least, used + used / 4 + spare);

	size = align_up(size, EXT4_GROUP_BLOCKS * EXT4_BLOCK);
	return min_u64(size, ext4_size_max) / EXT4_BLOCK;
}

int ext4_finish(struct ext4 *x)
{
	int rc = leave(x);

	if (rc == 0)
		rc = add_lost_found(x);
	if (rc == 0)
		rc = punch(x);
	if (rc < 0)
		return rc;
	if (x->grows)
		x->blocks = blocks_for(x->next * EXT4_BLOCK);
	if (ftruncate(x->fd, x->blocks * EXT4_BLOCK) < 0)
		return fail_sys("truncate");
	return ext4_disk(x->fd, x->blocks, x->label, &x->tree);
}

void ext4_release(struct ext4 *x)
{
	tree_release(&x->tree);
	free(x->buf);
	*x = (struct ext4){ .fd = -1 };
}
