/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "state/snap.h"
#include "state/vm.h"

enum { META_MAX = 64 << 10 };

static const char images[] = "images", word[] = "image";

/* images/ of ST as *FD, which is -1 where there is none. */
static int open_images(const struct store *st, int *fd)
{
	int rc = st->fd < 0 ? -ENOENT : store_dir(st, images, false);

	*fd = rc < 0 ? -1 : rc;
	return rc < 0 && rc != -ENOENT ? rc : 0;
}

int image_open(struct image *img, const struct store *st, const char *name)
{
	int rc;

	*img = (struct image){ .parent = -1, .dir = -1, .lock = -1 };
	rc = open_images(st, &img->parent);
	if (rc < 0)
		return rc;
	rc = record_open(img->parent, word, name);
	if (rc < 0) {
		image_close(img);
		return rc;
	}
	img->dir = rc;
	snprintf(img->name, sizeof(img->name), "%s", name);
	return 0;
}

void image_close(struct image *img)
{
	close_fd(&img->lock);
	close_fd(&img->dir);
	close_fd(&img->parent);
	*img = (struct image){ .parent = -1, .dir = -1, .lock = -1 };
}

int image_lock(struct image *img, bool shared)
{
	int rc = record_lock(img->parent, word, img->name, img->dir, shared,
			     &img->lock);

	if (rc == 0)
		return fail(E_BUSY, "%s: in use by another command",
			    img->name);
	return rc < 0 ? rc : 0;
}

bool image_has(const struct image *img, const char *file)
{
	return faccessat(img->dir, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* -- meta -- */

static int set_text(char **field, const char *value)
{
	*field = value ? strdup(value) : NULL;
	return value && !*field ? fail(ENOMEM, "out of memory") : 0;
}

static int read_format(enum disk_format *format, const char *value)
{
	int i = find_word(disk_formats, value ? value : "");

	*format = i < 0 ? FORMAT_RAW : (enum disk_format)i;
	return i >= 0 ? 0 : fail(E_CONFIG, "format '%s': not raw or qcow2",
				 value ? value : "");
}

/* Of a file system that a later version makes we know nothing. */
static bool is_ext4(const char *value)
{
	return value && !strcmp(value, "ext4");
}

static int read_meta(struct image_meta *m, const struct config *c)
{
	const char *size = config_get(c, "size");
	const char *created = config_get(c, "created");
	int rc = read_format(&m->format, config_get(c, "format"));

	m->ext4 = is_ext4(config_get(c, "filesystem"));
	if (rc == 0)
		rc = parse_u64("size", size ? size : "", &m->size);
	if (rc == 0 && created)
		rc = parse_u64("created", created, &m->created);
	if (rc == 0)
		rc = set_text(&m->append, config_get(c, "append"));
	if (rc == 0)
		rc = set_text(&m->source, config_get(c, "source"));
	return rc == 0 ? set_text(&m->digest, config_get(c, "digest")) : rc;
}

int image_meta(const struct image *img, struct image_meta *m)
{
	autobuf struct buf b = BUF_INIT;
	struct config c = CONFIG_INIT;
	int rc = file_read(img->dir, "meta", &b, META_MAX);

	*m = (struct image_meta){ 0 };
	if (rc < 0)
		return fail_in(rc == -EFBIG ? -E_CONFIG : rc, "%s",
			       img->name);
	rc = config_parse(&c, b.data, b.len);
	if (rc == 0)
		rc = read_meta(m, &c);
	config_release(&c);
	if (rc == 0)
		return 0;
	image_meta_release(m);
	return fail_in(rc == -E_USAGE ? -E_CONFIG : rc, "%s: meta", img->name);
}

void image_meta_release(struct image_meta *m)
{
	free(m->append);
	free(m->source);
	free(m->digest);
	*m = (struct image_meta){ 0 };
}

/* A line; what a line cannot hold becomes '?'. */
static void put(struct buf *text, const char *key, const char *value)
{
	if (!value)
		return;
	buf_printf(text, "%s=", key);
	for (; *value; value++)
		buf_char(text, (unsigned char)*value < ' ' ? '?' : *value);
	buf_char(text, '\n');
}

void image_meta_format(const struct image_meta *m, struct buf *text)
{
	put(text, "format", disk_formats[m->format]);
	buf_printf(text, "size=%" PRIu64 "\n", m->size);
	put(text, "filesystem", m->ext4 ? "ext4" : NULL);
	put(text, "append", m->append);
	put(text, "source", m->source);
	put(text, "digest", m->digest);
	buf_printf(text, "created=%" PRIu64 "\n", m->created);
}

/* -- making and removing -- */

int image_stage(struct stage *s, const struct store *st, const char *name)
{
	int fd = store_dir(st, images, true), rc;

	*s = (struct stage){ .parent = -1, .dir = -1, .lock = -1 };
	if (fd < 0)
		return fd;
	record_sweep(fd);
	rc = stage_open(s, fd, word, name);
	if (rc < 0) {
		close(fd);
		s->parent = -1;
	}
	return rc;
}

static void published(struct stage *s, int rc, void *arg)
{
	(void)s, (void)rc, (void)arg;	/* one alone: its result is the call's */
}

int image_publish(struct stage *s, const struct image_meta *m)
{
	autobuf struct buf text = BUF_INIT;
	int rc;

	image_meta_format(m, &text);
	if (text.failed)
		return fail(ENOMEM, "%s: out of memory", s->name);
	rc = stage_write(s, "meta", text.data, text.len);
	return rc < 0 ? rc : stage_publish(s, 1, published, NULL);
}

void image_unstage(struct stage *s)
{
	stage_close(s);
	close_fd(&s->parent);
	s->parent = -1;
}

static bool names_image(const char *ref, const char *name)
{
	const char *rest;

	return ref && starts_with(ref, "image:", &rest) && !strcmp(rest, name);
}

static bool conf_uses(const struct vmconf *vc, const char *name)
{
	if (names_image(vc->kernel, name) || names_image(vc->initrd, name))
		return true;
	for (int i = 0; i < VMCONF_DISKS; i++)
		if (vc->disk[i].path && !strcmp(vc->disk[i].image, name))
			return true;
	return false;
}

/* 1: the config C uses the image NAME, 0: not; negative: it cannot be read. */
static int config_uses(const struct config *c, const char *name)
{
	struct vmconf vc = { 0 };
	int rc = vmconf_parse(&vc, c, NULL);

	if (rc == 0)
		rc = conf_uses(&vc, name);
	vmconf_release(&vc);
	return rc;
}

static int snap_uses(const struct snaps *s, const char *snap, const char *name)
{
	struct config c = CONFIG_INIT;
	struct snap sn;
	int rc = snap_open(&sn, s, snap);

	if (rc < 0)
		return rc == -E_NOENT ? 0 : rc;	/* removed meanwhile */
	rc = snap_config(&sn, &c);
	if (rc == 0)
		rc = config_uses(&c, name);
	config_release(&c);
	snap_close(&sn);
	return rc;
}

/* The same of VM's snapshots; *SNAP is the one. */
static int snaps_use(const struct vm *vm, const char *name,
		     char snap[NAME_MAX_LEN + 1])
{
	autofree char **names = NULL;
	struct snaps s;
	size_t n = 0;
	int rc = snaps_open(&s, vm, false);

	if (rc == 0)
		rc = record_list(s.dir, "snap", &names, &n);
	for (size_t i = 0; i < n && rc == 0; i++) {
		snprintf(snap, NAME_MAX_LEN + 1, "%s", names[i]);
		rc = snap_uses(&s, snap, name);
	}
	snaps_close(&s);
	return rc;
}

/* -E_BUSY when VM, or a snapshot of it, is linked to the image NAME. */
static int refuse_user(struct store *st, const char *vm_name, const char *name)
{
	char snap[NAME_MAX_LEN + 1] = "";
	struct config c = CONFIG_INIT;
	struct vm vm;
	int rc = vm_open(&vm, st, vm_name);

	if (rc < 0)
		return rc == -E_NOENT ? 0 : rc;	/* removed meanwhile */
	rc = vm_config(&vm, &c);
	if (rc == 0)
		rc = config_uses(&c, name);
	if (rc == 0)
		rc = snaps_use(&vm, name, snap);
	config_release(&c);
	vm_close(&vm);
	if (rc < 0)	/* who knows */
		return fail_in(-E_BUSY, "%s: perhaps used by %s", name,
			       vm_name);
	return rc ? fail(E_BUSY, "%s: used by %s%s%s", name, vm_name,
			 snap[0] ? "@" : "", snap) : 0;
}

int image_remove(struct image *img, struct store *st)
{
	char **names;
	size_t n;
	int rc = vm_list(st, &names, &n);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = refuse_user(st, names[i], img->name);
	free(names);
	return rc < 0 ? rc : record_remove(img->parent, img->name, img->dir);
}

int image_list(const struct store *st, char ***names, size_t *n)
{
	autoclose int parent = -1;
	char path[PATH_MAX];
	int rc = open_images(st, &parent);

	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "%s/images", st->path ? st->path : "");
	return record_list(parent, path, names, n);
}

const char *image_path(char *out, size_t size, const char *ref,
		       const char *file)
{
	const char *name;

	if (!starts_with(ref, "image:", &name))
		return ref;
	snprintf(out, size, "../../images/%s/%s", name, file);
	return out;
}
