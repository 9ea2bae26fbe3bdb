/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/initrd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "image/cpio.h"
#include "image/initrd_init.h"
#include "image/module.h"
#include "image/unpack.h"

enum {
	MODULES_MAX = 64,
	DEPTH_MAX = 16,
	LIST_MAX = 4 << 20,
	MODULE_MAX = 64 << 20,
	ALL_MAX = 256 << 20,
};

/* A module to be loaded, and its file below the directory of them all. */
struct module {
	char name[MODULE_NAME], path[MODULE_PATH];
};

struct maker {
	const struct ext4_view *view;
	char dir[64 + MODULE_PATH];
	struct buf order, dep, builtin;		/* the lists there */
	struct module module[MODULES_MAX];	/* in the order to load them */
	unsigned n;
	char on_way[DEPTH_MAX][MODULE_NAME];	/* whose needs are looked at */
};

/* -- files -- */

/* What FD holds, unpacked if it is compressed, appended to B. */
static int read_unpacked(int fd, uint64_t size, struct buf *b)
{
	autoclose int plain = memfd_create("module", MFD_CLOEXEC);
	int64_t n;
	int rc;

	if (plain < 0)
		return fail_sys("memfd");
	n = unpack_range(fd, 0, size, plain, MODULE_MAX);
	if (n < 0)
		return n;
	if (!buf_grow(b, n))
		return fail(ENOMEM, "out of memory");
	rc = pread_all(plain, b->data, n, 0);
	b->len = n;
	return rc < 0 ? fail(-rc, "%s", strerror(-rc)) : 0;
}

static bool is_packed(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && strcmp(dot, ".ko") != 0;
}

/* The module in PATH into B, which is empty. */
static int read_module(struct maker *m, const char *path, struct buf *b)
{
	autoclose int fd = -1;
	char whole[sizeof(m->dir) + MODULE_PATH];
	int64_t n;

	snprintf(whole, sizeof(whole), "%s/%s", m->dir, path);
	if (!is_packed(path))
		return ext4_read(m->view, whole, b, MODULE_MAX);
	fd = memfd_create("module", MFD_CLOEXEC);
	if (fd < 0)
		return fail_sys("memfd");
	n = ext4_copy(m->view, whole, fd, MODULE_MAX);
	if (n >= 0)
		n = read_unpacked(fd, n, b);
	return n < 0 ? fail_in(n, "%s", path) : 0;
}

static void read_list(struct maker *m, const char *name, struct buf *b)
{
	char path[sizeof(m->dir) + 32];

	snprintf(path, sizeof(path), "%s/%s", m->dir, name);
	if (ext4_read(m->view, path, b, LIST_MAX) < 0)
		buf_clear(b);	/* then the other one says it */
}

/* -- which modules -- */

/* PATH as it is there, perhaps compressed; whether it is. */
static bool find_file(struct maker *m, char path[static MODULE_PATH])
{
	static const char *const suffixes[] = { "", ".xz", ".zst", ".gz" };
	char whole[sizeof(m->dir) + MODULE_PATH + 8];
	size_t len = strlen(path);

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		snprintf(whole, sizeof(whole), "%s/%s%s", m->dir, path,
			 suffixes[i]);
		if (ext4_size(m->view, whole) <= 0)
			continue;
		return snprintf(path + len, MODULE_PATH - len, "%s",
				suffixes[i]) < (int)(MODULE_PATH - len);
	}
	return false;
}

static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if (*a != *b && !(strchr("-_", *a) && strchr("-_", *b)))
			return false;
	return *a == *b;
}

/* Whether NAME needs nothing more done; DEPTH are on the way to it. */
static bool is_known(const struct maker *m, const char *name, unsigned depth)
{
	char path[MODULE_PATH];

	for (unsigned i = 0; i < m->n; i++)
		if (same_name(m->module[i].name, name))
			return true;
	for (unsigned i = 0; i < depth; i++)
		if (same_name(m->on_way[i], name))
			return true;	/* a circle, which nobody can load */
	return module_find(m->builtin.data, name, path);
}

static int add_module(struct maker *m, const char *name, unsigned depth);

/* Adds what the module in PATH needs, then itself. */
static int add_with_needs(struct maker *m, const char *name, const char *path,
			  unsigned depth)
{
	autobuf struct buf file = BUF_INIT, needs = BUF_INIT;
	char *left, *need;
	int rc = read_module(m, path, &file);

	if (rc == 0)
		rc = module_info(file.data, file.len, "depends", &needs);
	if (rc < 0)
		return fail_in(rc, "%s", name);
	buf_release(&file);
	left = needs.data;
	while (left && *left && rc == 0) {
		need = cut(&left, ',');
		if (!*need)
			continue;
		rc = add_module(m, need, depth + 1);
		if (rc == -ENOENT)
			rc = fail(E_VERIFY, "%s needs %s, which is not there",
				  name, need);
	}
	if (rc < 0)
		return rc;
	if (m->n == MODULES_MAX)
		return fail(E_CONFIG, "more than %d modules", MODULES_MAX);
	snprintf(m->module[m->n].name, MODULE_NAME, "%s", name);
	snprintf(m->module[m->n++].path, MODULE_PATH, "%s", path);
	return 0;
}

/* 0, also when there is nothing to do; -ENOENT there is no such module. */
static int add_module(struct maker *m, const char *name, unsigned depth)
{
	char path[MODULE_PATH];

	if (strlen(name) >= MODULE_NAME || strchr(name, '/'))
		return fail(E_VERIFY, "damaged: the name of a module");
	if (is_known(m, name, depth))
		return 0;
	if (!module_find(m->order.data, name, path) &&
	    !module_find(m->dep.data, name, path))
		return fail(ENOENT, "%s: no such module", name);
	if (!find_file(m, path))
		return fail(ENOENT, "%s: no such module", name);
	if (depth == DEPTH_MAX)
		return fail(E_CONFIG, "%s: needed by too many", name);
	snprintf(m->on_way[depth], MODULE_NAME, "%s", name);
	return add_with_needs(m, name, path, depth);
}

/*
 * All that are of use and there; *NEED: some are such that there is no root
 * without them.
 */
static int choose(struct maker *m, bool *need)
{
	static const struct { const char *name; bool need; } wanted[] = {
		{ "virtio_pci", true }, { "virtio_blk", true },
		{ "virtio_console", false }, { "virtio_rng", false },
		/* which ext4 asks for by what it does, not by its name */
		{ "crc32c_generic", false }, { "crc32c_intel", false },
		{ "ext4", true },
	};

	*need = false;
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		unsigned before = m->n;
		int rc = add_module(m, wanted[i].name, 0);

		if (rc < 0 && rc != -ENOENT)
			return rc;
		*need |= wanted[i].need && m->n > before;
	}
	return 0;
}

/* -- the archive -- */

static int add_dirs(struct cpio *c)
{
	static const char *const names[] = { "dev", "proc", "sys", "root",
					     "modules" };
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names) && rc == 0; i++)
		rc = cpio_add(c, &(struct cpio_entry){
			.name = names[i], .mode = S_IFDIR | 0755 });
	return rc < 0 ? rc : cpio_add(c, &(struct cpio_entry){
		.name = "dev/console", .mode = S_IFCHR | 0600,
		.major = 5, .minor = 1 });
}

static int add_file(struct cpio *c, const char *name, uint32_t mode,
		    const void *data, size_t len)
{
	if (c->bytes + len > ALL_MAX)
		return fail(E_CONFIG, "modules of more than %d bytes", ALL_MAX);
	return cpio_add(c, &(struct cpio_entry){
		.name = name, .mode = S_IFREG | mode, .data = data,
		.len = len });
}

static int add_modules(struct maker *m, struct cpio *c)
{
	autobuf struct buf list = BUF_INIT;
	int rc = 0;

	for (unsigned i = 0; i < m->n && rc == 0; i++) {
		autobuf struct buf file = BUF_INIT;
		char name[MODULE_NAME + 16];

		rc = read_module(m, m->module[i].path, &file);
		snprintf(name, sizeof(name), "modules/%s", m->module[i].name);
		if (rc == 0)
			rc = add_file(c, name, 0644, file.data, file.len);
		buf_printf(&list, "%s\n", m->module[i].name);
	}
	if (list.failed)
		return fail(ENOMEM, "out of memory");
	return rc < 0 ? rc : add_file(c, "modules/list", 0644, list.data,
				      list.len);
}

static int write_archive(struct maker *m, int out)
{
	struct cpio c = { .fd = out };
	int rc = add_dirs(&c);

	if (rc == 0)
		rc = add_file(&c, "init", 0755, initrd_init,
			      initrd_init_end - initrd_init);
	if (rc == 0)
		rc = add_modules(m, &c);
	return rc < 0 ? rc : cpio_end(&c);
}

static int make(struct maker *m, int out)
{
	bool need;
	int rc;

	read_list(m, "modules.order", &m->order);
	read_list(m, "modules.dep", &m->dep);
	read_list(m, "modules.builtin", &m->builtin);
	if (!m->order.len && !m->dep.len && !m->builtin.len)
		return fail(ENOENT, "%s: no modules", m->dir);
	rc = choose(m, &need);
	if (rc == 0 && need)
		rc = write_archive(m, out);
	if (rc < 0)
		return fail_in(rc, "%s", m->dir);
	return need ? m->n : 0;
}

int initrd_make(const struct ext4_view *v, const char *version, int out)
{
	struct maker *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return fail(ENOMEM, "out of memory");
	m->view = v;
	snprintf(m->dir, sizeof(m->dir), "/lib/modules/%s", version);
	buf_init(&m->order);
	buf_init(&m->dep);
	buf_init(&m->builtin);
	rc = make(m, out);
	buf_release(&m->order);
	buf_release(&m->dep);
	buf_release(&m->builtin);
	free(m);
	return rc;
}
