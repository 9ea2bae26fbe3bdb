/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-image - what VMs begin with: brought in, listed, removed, given out.
 *
 * The first operand is what to do; each of these is a row of `tasks` that
 * says which options it takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/loop.h"
#include "block/qcow2.h"
#include "cli/each.h"
#include "cli/out.h"
#include "cli/table.h"
#include "cli/tally.h"
#include "image/catalog.h"
#include "image/disk.h"
#include "image/export.h"
#include "image/fetch.h"
#include "image/import.h"
#include "image/oci_registry.h"
#include "image/published.h"
#include "state/image.h"

enum {
	NAME, FORMAT, SIZE, USED, KERNEL, APPEND, CREATED, SOURCE, DIGEST,
	NCOLS
};

static const uint64_t pull_max = 1ULL << 40;

static const struct column cols[] = {
	[NAME] = { "name", COL_TEXT, true, "its name" },
	[FORMAT] = { "format", COL_TEXT, true, "raw or qcow2" },
	[SIZE] = { "size", COL_SIZE, true, "of the disk" },
	[USED] = { "used", COL_SIZE, true, "what it takes here" },
	[KERNEL] = { "kernel", COL_TEXT, true, "whether it has one: yes, no" },
	[APPEND] = { "append", COL_TEXT, false, "the kernel's command line" },
	[CREATED] = { "created", COL_TIME, true, "when it came" },
	[SOURCE] = { "source", COL_TEXT, false, "where from" },
	[DIGEST] = { "digest", COL_TEXT, false, "what it was checked by" },
	[NCOLS] = { 0 }
};

static struct args {
	const char *name, *format, *kernel, *initrd, *append, *output;
	const char *checksum, *kernel_from;
	uint64_t size;
	struct table_args table;
} args;

static const struct opt opts[] = {
	OPT(0, "name", OPT_STR, "NAME", struct args, name,
	    "pull, import: the image's name (default: the file's)"),
	OPT(0, "checksum", OPT_STR, "SUM", struct args, checksum,
	    "pull: sha256:HEX or sha512:HEX, rather than the published one"),
	OPT(0, "format", OPT_STR, "FORMAT", struct args, format,
	    "import: what it is, raw, qcow2, tree or oci; export: raw, qcow2 or "
	    "tar"),
	OPT(0, "size", OPT_SIZE, "SIZE", struct args, size,
	    "pull, import: of the disk that a tree becomes"),
	OPT(0, "kernel", OPT_STR, "FILE", struct args, kernel,
	    "pull, import: boot this kernel", COMPLETE_FILE),
	OPT(0, "kernel-from", OPT_STR, "IMAGE|FILE", struct args, kernel_from,
	    "pull, import: boot an image's kernel, or a package's (.deb)",
	    COMPLETE_FILE),
	OPT(0, "initrd", OPT_STR, "FILE", struct args, initrd,
	    "pull, import: with this initrd", COMPLETE_FILE),
	OPT(0, "append", OPT_STR, "TEXT", struct args, append,
	    "pull, import: and this command line"),
	OPT(0, "output", OPT_STR, "FILE", struct args, output,
	    "export: into this file (default: standard output)",
	    COMPLETE_FILE),
	TABLE_OPTS(struct args, table),
	{ 0 }
};

/* -- import -- */

/* The name that FILE suggests: its own, without what tells its format. */
static int name_of(const char *file, char name[NAME_MAX_LEN + 1])
{
	const char *base = file + strlen(file);
	size_t n = 0;

	while (base > file && base[-1] == '/')	/* of a directory */
		base--;
	while (base > file && base[-1] != '/')
		base--;
	for (; base[n] && !strchr("./", base[n]) && n < NAME_MAX_LEN; n++)
		name[n] = base[n] >= 'A' && base[n] <= 'Z' ? base[n] + 32 :
							     base[n];
	name[n] = '\0';
	if (name_ok(name))
		return 0;
	return fail(E_USAGE, "%s: what is it to be called (--name)?", file);
}

static int set_text(char **field, const char *value)
{
	if (!value)
		return 0;
	free(*field);
	*field = strdup(value);
	return *field ? 0 : fail(ENOMEM, "out of memory");
}

/* Makes the image NAME of what C gives, and of what the options say. */
static int make_image(const struct store *st, const char *name,
		      struct import_conf *c, const char *source,
		      const char *digest)
{
	autobuf struct buf note = BUF_INIT;
	struct image_meta m = { .created = time(NULL) };
	struct stage s;
	int rc = image_stage(&s, st, name);

	if (rc < 0)
		return rc;
	c->st = st;
	c->kernel_from = args.kernel_from;
	c->equip = (struct equip_conf){ .kernel = args.kernel,
					.initrd = args.initrd,
					.append = args.append };
	rc = import_disk(s.dir, c, &m, &note);
	if (rc < 0)
		fail_in(rc, "%s", source);
	else
		rc = set_text(&m.source, source);
	if (rc == 0 && digest && *digest)
		rc = set_text(&m.digest, digest);
	if (rc == 0)
		rc = image_publish(&s, &m);
	if (rc == 0 && note.len)
		say("%s: %s", name, note.data);
	image_unstage(&s);
	image_meta_release(&m);
	return rc < 0 ? rc : out_name(name);
}

static int read_kind(enum import_kind *kind)
{
	int i = args.format ? find_word(import_kinds, args.format) : IMPORT_ANY;

	*kind = i < 0 ? IMPORT_ANY : (enum import_kind)i;
	return i >= 0 ? 0 : fail(E_USAGE, "--format '%s': not raw, qcow2, tree or oci",
		    args.format);
}

static int run_import(int argc, char **argv)
{
	struct import_conf c = { .size = args.size };
	bool pipe = !strcmp(argv[0], "-");
	char name[NAME_MAX_LEN + 1];
	autoclose int fd = -1;
	struct store st;
	int rc = read_kind(&c.kind);

	(void)argc;
	if (rc == 0 && args.name)
		rc = snprintf(name, sizeof(name), "%s", args.name) <
		     (int)sizeof(name) ? 0 : name_check("image", args.name);
	else if (rc == 0)
		rc = pipe ? fail(E_USAGE, "what is it to be called (--name)?")
			  : name_of(argv[0], name);
	if (rc < 0)
		return rc;
	fd = pipe ? dup(STDIN_FILENO) :
		    open(argv[0], O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return fail_sys("%s", argv[0]);
	c.from = fd;
	rc = store_open(&st, common.state, true);
	if (rc < 0)
		return rc;
	rc = make_image(&st, name, &c, pipe ? "standard input" : argv[0],
			NULL);
	store_close(&st);
	return rc;
}

/* -- pull -- */

/* What is to come, and how it is known to be right. */
struct pull {
	const char *url;
	char name[NAME_MAX_LEN + 1];
	struct catalog catalog;
	const struct catalog_entry *entry;	/* NULL: a URL was given */
	struct sum sum;
	struct oci_ref ref;			/* of a registry, or zeros */
};

static int read_ref(struct pull *p, const char *what, const char *ref)
{
	int rc = oci_ref_parse(&p->ref, ref);

	p->url = what;
	if (rc == 0 && args.checksum)
		rc = fail(E_USAGE, "--checksum: of an OCI image it is "
			  "REPO@sha256:HEX");
	if (rc == 0 && !args.name)
		return name_of(p->ref.repo, p->name);
	if (rc == 0)
		rc = name_check("image", args.name);
	if (rc == 0)
		snprintf(p->name, sizeof(p->name), "%s", args.name);
	return rc;
}

static int read_pull(struct pull *p, const struct store *st, const char *what)
{
	const char *ref;
	int rc = 0;

	if (starts_with(what, "oci:", &ref))
		return read_ref(p, what, ref);
	p->url = what;
	if (!strstr(what, "://")) {
		rc = catalog_open(&p->catalog, st);
		if (rc < 0)
			return rc;
		p->entry = catalog_find(&p->catalog, what);
		if (!p->entry)
			return -E_NOENT;
		p->url = p->entry->url;
	}
	rc = fetch_check(p->url);
	if (rc == 0 && !args.name && !p->entry)
		return name_of(p->url, p->name);
	if (rc == 0)
		rc = name_check("image", args.name ? args.name : what);
	if (rc == 0)
		snprintf(p->name, sizeof(p->name), "%s",
			 args.name ? args.name : what);
	return rc;
}

/* What it must be, by the person or by who publishes it. */
static int find_sum(struct pull *p)
{
	int rc;

	if (args.checksum)
		return sum_parse(args.checksum, &p->sum);
	rc = published_sum(p->url, p->entry, NULL, &p->sum);
	if (rc == 0 && p->sum.kind == SUM_NONE)
		say("%s: no checksum is published for it (--checksum gives "
		    "one)", p->url);
	return rc;
}

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
	uint64_t *said = arg, now = now_ns();
	char a[16], b[16];

	if (now - *said < 200000000 && done != total)
		return;
	*said = now;
	if (total)
		fprintf(stderr, "\r%s of %s, %d %% ", format_size(a, done),
			format_size(b, total), (int)(100.0 * done / total));
	else
		fprintf(stderr, "\r%s ", format_size(a, done));
	if (done == total)
		fputc('\n', stderr);
}

/*
 * The partial file NAME in DIR, nobody else's meanwhile: by its first byte, as
 * those that say who uses a disk (block/lock.h) are for who makes an image.
 */
static int open_partial(int dir, const char *name)
{
	struct flock fl = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1,
	};
	autoclose int fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW |
				  O_CLOEXEC, 0600);

	if (fd < 0)
		return fail_sys("%s", name);
	if (fcntl(fd, F_OFD_SETLK, &fl) < 0)
		return fail(E_BUSY, "is being pulled by another command");
	return take_fd(&fd);
}

static int fetch_into(struct pull *p, int dir, int fd, const char *note)
{
	uint64_t said = 0;
	struct fetch f = {
		.url = p->url, .fd = fd, .dir = dir, .note = note,
		.max = pull_max, .arg = &said,
		.progress = isatty(STDERR_FILENO) ? show_progress : NULL,
	};
	int rc = fetch_file(&f);

	if (rc == 0 && p->sum.kind != SUM_NONE)
		rc = sum_check(fd, &p->sum);
	return rc;
}

/* Whether what failed so may succeed later. */
static bool may_come(int rc)
{
	return rc == -E_AGAIN || rc == -ENOSPC || rc == -EDQUOT;
}

/* What came in part is gone on with, if more may come; else it is of no use. */
static void settle_partial(int dir, int fd, const char *part,
			   const char *note, int rc)
{
	if (may_come(rc) && lseek(fd, 0, SEEK_END) > 0)
		return;
	unlinkat(dir, note, 0);
	unlinkat(dir, part, 0);
}

/* The directory NAME that an image's parts come into, nobody else's now. */
static int open_layout(int dir, const char *name, int *lock)
{
	autoclose int fd = -1;

	if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return fail_sys("%s", name);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail_sys("%s", name);
	*lock = open_partial(fd, "lock");
	return *lock < 0 ? *lock : take_fd(&fd);
}

static int pull_oci(const struct store *st, struct pull *p)
{
	char parts[NAME_MAX_LEN + 8];
	autoclose int dir = store_dir(st, "images", true), fd = -1, lock = -1;
	uint64_t said = 0;
	struct oci_pull o = {
		.ref = &p->ref, .max = pull_max, .arg = &said,
		.progress = isatty(STDERR_FILENO) ? show_progress : NULL,
	};
	struct import_conf c = { .kind = IMPORT_OCI, .size = args.size };
	int rc = dir;

	snprintf(parts, sizeof(parts), ".%s.oci", p->name);
	if (dir >= 0)
		rc = fd = open_layout(dir, parts, &lock);
	if (rc < 0)
		return rc;
	c.from = o.dir = fd;
	rc = oci_pull(&o);
	if (rc == 0)
		rc = make_image(st, p->name, &c, p->url, NULL);
	if (!may_come(rc))
		remove_tree(dir, parts);
	return rc;
}

static int pull(const struct store *st, struct pull *p)
{
	char part[NAME_MAX_LEN + 8], note[NAME_MAX_LEN + 8], sum[SUM_TEXT];
	autoclose int dir = store_dir(st, "images", true), fd = -1;
	struct import_conf c = { .kind = IMPORT_ANY, .size = args.size };
	int rc = dir < 0 ? dir : find_sum(p);

	if (rc < 0)
		return rc;
	snprintf(part, sizeof(part), ".%s.part", p->name);
	snprintf(note, sizeof(note), ".%s.note", p->name);
	rc = fd = open_partial(dir, part);
	if (rc >= 0)
		rc = fetch_into(p, dir, fd, note);
	if (rc == 0) {
		c.from = fd;
		lseek(fd, 0, SEEK_SET);
		rc = make_image(st, p->name, &c, p->url,
				sum_format(sum, &p->sum));
	}
	if (fd >= 0)
		settle_partial(dir, fd, part, note, rc);
	return rc;
}

static int run_pull(int argc, char **argv)
{
	struct pull p = { .catalog = CATALOG_INIT };
	struct image img;
	struct store st;
	int rc = store_open(&st, common.state, true);

	(void)argc;
	if (rc < 0)
		return rc;
	rc = read_pull(&p, &st, argv[0]);
	if (rc == 0 && image_open(&img, &st, p.name) == 0) {
		image_close(&img);
		rc = fail(E_EXISTS, "%s: already exists", p.name);
	}
	if (rc == 0) {
		rc = p.ref.repo[0] ? pull_oci(&st, &p) : pull(&st, &p);
		if (rc < 0)
			fail_in(rc, "%s", p.name);
	}
	catalog_release(&p.catalog);
	store_close(&st);
	return rc;
}

/* -- ls -- */

static void add_meta(const struct image *img, struct cell *row)
{
	struct image_meta m;
	struct stat st;

	if (image_meta(img, &m) < 0) {
		say("%s", err_text());
		return;
	}
	cell_text(&row[FORMAT], disk_formats[m.format]);
	cell_num(&row[SIZE], m.size);
	cell_num(&row[CREATED], m.created);
	if (m.append)
		cell_text(&row[APPEND], m.append);
	if (m.source)
		cell_text(&row[SOURCE], m.source);
	if (m.digest)
		cell_text(&row[DIGEST], m.digest);
	cell_text(&row[KERNEL], image_has(img, "kernel") ? "yes" : "no");
	if (fstatat(img->dir, "disk", &st, AT_SYMLINK_NOFOLLOW) == 0)
		cell_num(&row[USED], 512 * (uint64_t)st.st_blocks);
	image_meta_release(&m);
}

static int add_image(struct table *t, const struct store *st, const char *name)
{
	struct cell *row;
	struct image img;
	int rc = image_open(&img, st, name);

	if (rc < 0)
		return rc;
	row = table_row(t);
	if (row) {
		cell_text(&row[NAME], name);
		add_meta(&img, row);
	}
	image_close(&img);
	return row ? 0 : fail(ENOMEM, "out of memory");
}

/* All images, or those named. */
static int add_images(struct table *t, const struct store *st, int argc,
		      char **argv)
{
	char **names = argv;
	size_t n = argc;
	int rc = argc ? 0 : image_list(st, &names, &n);

	for (size_t i = 0; i < n && rc == 0; i++) {
		rc = add_image(t, st, names[i]);
		if (rc == -E_NOENT && !argc)
			rc = 0;		/* removed since it was listed */
	}
	if (!argc)
		free(names);
	return rc;
}

static int run_ls(int argc, char **argv)
{
	struct store st;
	struct table t;
	int rc = table_init(&t, cols, &args.table);

	if (rc < 0)
		return rc;
	rc = store_open(&st, common.state, false);
	if (rc == 0) {
		rc = add_images(&t, &st, argc, argv);
		store_close(&st);
	}
	if (rc == 0)
		rc = table_print(&t);
	table_release(&t);
	return rc;
}

/* -- rm -- */

static int remove_one(const char *name, void *arg)
{
	struct store *st = arg;
	struct image img;
	int rc = image_open(&img, st, name);

	if (rc < 0)
		return rc;
	rc = image_lock(&img, false);
	if (rc == 0)
		rc = image_remove(&img, st);
	image_close(&img);
	return rc;
}

static int run_rm(int argc, char **argv)
{
	const struct each e = { .explicit = true, .job = remove_one };

	return each_vm(&e, argc, argv);
}

/* -- export -- */

static int export_one(struct image *img)
{
	struct image_meta m = { 0 };
	struct block *b = NULL;
	int kind = args.format ? find_word(export_kinds, args.format) :
				 EXPORT_RAW;
	int rc;

	if (kind < 0)
		return fail(E_USAGE, "--format '%s': not raw, qcow2 or tar",
			    args.format);
	rc = image_lock(img, true);
	if (rc == 0)
		rc = image_meta(img, &m);
	if (rc == 0)
		rc = disk_open_image(&b, img->dir, m.format);
	if (rc == 0)
		rc = export_disk(b, kind, args.output, STDOUT_FILENO);
	block_close(b);
	image_meta_release(&m);
	return rc < 0 ? fail_in(rc, "%s", img->name) : 0;
}

static int run_export(int argc, char **argv)
{
	struct image img;
	struct store st;
	int rc = store_open(&st, common.state, false);

	(void)argc;
	if (rc < 0)
		return rc;
	rc = image_open(&img, &st, argv[0]);
	if (rc == 0) {
		rc = export_one(&img);
		image_close(&img);
	}
	store_close(&st);
	return rc;
}

/* -- which of them -- */

static const struct task {
	const char *name;
	int (*run)(int argc, char **argv);
	int least, most;	/* operands */
	const char *operands;
} tasks[] = {
	{ "pull", run_pull, 1, 1, "URL|NAME|oci:REF" },
	{ "import", run_import, 1, 1, "FILE|DIR|-" },
	{ "ls", run_ls, 0, INT_MAX, "[IMAGE...]" },
	{ "rm", run_rm, 1, INT_MAX, "IMAGE..." },
	{ "export", run_export, 1, 1, "IMAGE" },
};

/* An option that is another task's is a mistake, not nothing. */
static int check_options(const struct task *t)
{
	bool brings = t->run == run_import || t->run == run_pull;
	const struct {
		bool given, takes;
		const char *name;
	} of[] = {
		{ args.name, brings, "name" },
		{ args.size, brings, "size" },
		{ args.kernel, brings, "kernel" },
		{ args.kernel_from, brings, "kernel-from" },
		{ args.initrd, brings, "initrd" },
		{ args.append, brings, "append" },
		{ args.checksum, t->run == run_pull, "checksum" },
		{ args.output, t->run == run_export, "output" },
		{ args.format, t->run == run_import || t->run == run_export,
		  "format" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(of); i++)
		if (of[i].given && !of[i].takes)
			return fail(E_USAGE, "%s takes no --%s", t->name,
				    of[i].name);
	if (args.kernel && args.kernel_from)
		return fail(E_USAGE, "--kernel or --kernel-from, not both");
	return 0;
}

static int run(int argc, char **argv)
{
	int rc;

	for (size_t i = 0; argc && i < ARRAY_SIZE(tasks); i++) {
		const struct task *t = &tasks[i];

		if (strcmp(argv[0], t->name))
			continue;
		if (argc - 1 < t->least || argc - 1 > t->most)
			return fail(E_USAGE, "usage: vm-image %s %s", t->name,
				    t->operands);
		rc = check_options(t);
		return rc < 0 ? rc : t->run(argc - 1, argv + 1);
	}
	return fail(E_USAGE, "%s%s%sone of pull, import, ls, rm, export", argc ? "'" :
		    "", argc ? argv[0] : "", argc ? "': not " : "");
}

const struct command command = {
	.name = "vm-image",
	.operands = "pull URL|NAME|oci:REF | import FILE|DIR|- | ls [IMAGE...] | rm IMAGE... | export IMAGE",
	.summary = "disks that virtual machines begin with",
	.opts = opts,
	.args = &args,
	.acts = true,
	.columns = cols,
	.run = run,
};
