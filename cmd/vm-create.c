/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm-create - defines VMs.
 *
 * The options become one config, which is checked as a whole, with the files
 * it names, before anything is made. Then the VMs are made in batches: many
 * directories become durable at the price of few syncs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "cli/names.h"
#include "cli/near.h"
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/tally.h"
#include "image/check.h"
#include "image/kernel.h"
#include "image/layer.h"
#include "image/seed.h"
#include "state/image.h"
#include "state/vm.h"

enum { PATH_BYTES = 4096, SECTOR = 512 };

static struct args {
	const char *cpus, *memory, *image, *kernel, *initrd, *append, *console;
	const char *user_data, *ssh_key, *hostname;
	struct opt_list disk, set;
	bool if_missing, dry_run;
} args;

static const struct opt opts[] = {
	OPT('c', "cpus", OPT_STR, "N", struct args, cpus,
	    "number of vCPUs (default 1)"),
	OPT('m', "memory", OPT_STR, "SIZE", struct args, memory,
	    "guest memory (default 512M)"),
	OPT(0, "image", OPT_STR, "IMAGE", struct args, image,
	    "begin with this image (vm-image ls lists them)"),
	OPT(0, "kernel", OPT_STR, "FILE", struct args, kernel,
	    "the kernel to start", COMPLETE_FILE),
	OPT(0, "initrd", OPT_STR, "FILE", struct args, initrd,
	    "its initial file system", COMPLETE_FILE),
	OPT(0, "append", OPT_STR, "TEXT", struct args, append,
	    "its command line"),
	OPT(0, "disk", OPT_LIST, "SIZE|FILE[,WORD...]", struct args,
	    disk, "a new empty disk, or a file or block device as disk; with "
	    "--image the first SIZE is that of its disk",
	    COMPLETE_FILE),
	OPT(0, "user-data", OPT_STR, "FILE|-", struct args, user_data,
	    "for cloud-init: what it is to do at the first boot",
	    COMPLETE_FILE),
	OPT(0, "ssh-key", OPT_STR, "FILE", struct args, ssh_key,
	    "for cloud-init: public keys of those who may log in",
	    COMPLETE_FILE),
	OPT(0, "hostname", OPT_STR, "NAME", struct args, hostname,
	    "for cloud-init: the guest's name (default: the VM's)"),
	OPT(0, "console", OPT_STR, "serial|virtio", struct args, console,
	    "the console's device (default serial)", COMPLETE_WORDS),
	OPT(0, "set", OPT_LIST, "KEY=VALUE", struct args, set,
	    "any key of the config", COMPLETE_KEY),
	OPT(0, "if-missing", OPT_FLAG, NULL, struct args, if_missing,
	    "a VM that exists already is none to make and no error"),
	OPT(0, "dry-run", OPT_FLAG, NULL, struct args, dry_run,
	    "check everything, make nothing"),
	{ 0 }
};

/* What every VM of this call becomes. */
struct plan {
	struct config conf;
	struct buf text;		/* of conf */
	uint64_t disk[VMCONF_DISKS];	/* size of a disk to make, 0: none */
	int ndisks;
	struct store store;
	struct image image;		/* locked, so that it stays; dir -1: none */
	struct image_meta meta;
	struct layer layer;		/* over its disk */
	bool seeded;			/* each has a CD for cloud-init */
	struct buf user_data, ssh_keys;
};

/* -- the config -- */

/* Sets KEY to VALUE, or to its default. */
static int put(struct plan *p, const char *key, const char *value)
{
	const struct vmconf_key *k = vmconf_key(key);
	int rc;

	if (!value && k)
		value = k->dflt;
	rc = value ? config_set(&p->conf, key, value) : 0;
	return rc < 0 ? fail_in(rc, "%s", key) : 0;
}

/* PATH as it is found from anywhere; links in it stay what they are. */
static int absolute(const char *path, struct buf *out)
{
	char cwd[PATH_BYTES];

	if (path[0] != '/') {
		if (!getcwd(cwd, sizeof(cwd)))
			return fail_sys("current directory");
		buf_printf(out, "%s/", strcmp(cwd, "/") ? cwd : "");
		while (starts_with(path, "./", &path))
			;
	}
	buf_str(out, path);
	return out->failed ? fail(ENOMEM, "out of memory") : 0;
}

static int put_path(struct plan *p, const char *key, const char *path)
{
	autobuf struct buf full = BUF_INIT;
	int rc;

	if (!path)
		return 0;
	if (!*path)
		return fail(E_USAGE, "%s: no file named", key);
	rc = absolute(path, &full);
	return rc < 0 ? fail_in(rc, "%s", key) : put(p, key, full.data);
}

/* -- the image -- */

static bool has_image(const struct plan *p)
{
	return p->image.dir >= 0;
}

/* KEY is the image's FILE, if it has that and nothing else was given. */
static int put_image_file(struct plan *p, const char *key, const char *given)
{
	char ref[IMAGE_PATH];

	if (given || !image_has(&p->image, key))
		return 0;
	snprintf(ref, sizeof(ref), "image:%s", p->image.name);
	return put(p, key, ref);
}

/* disk0 is a layer over the image's disk, of the VM's own. */
static int put_image_disk(struct plan *p)
{
	char value[IMAGE_PATH + 64];

	p->disk[p->ndisks++] = p->meta.size;
	p->layer = (struct layer){ .image = &p->image, .meta = &p->meta,
				   .size = p->meta.size, .grown = -1 };
	snprintf(value, sizeof(value), "disk/disk0.qcow2,format=qcow2,image=%s",
		 p->image.name);
	return put(p, "disk0", value);
}

static int put_image(struct plan *p)
{
	int rc;

	if (!args.image)
		return 0;
	rc = image_open(&p->image, &p->store, args.image);
	if (rc == 0)
		rc = image_lock(&p->image, true);
	if (rc == 0)
		rc = image_meta(&p->image, &p->meta);
	if (rc == 0)
		rc = put_image_file(p, "kernel", args.kernel);
	if (rc == 0 && !args.kernel)
		rc = put_image_file(p, "initrd", args.initrd);
	if (rc == 0 && p->meta.append && !args.append)
		rc = put(p, "append", p->meta.append);
	if (rc == 0)
		rc = put_image_disk(p);
	/* it was unpacked when the image came; the cache may be new since */
	if (rc == 0 && !args.kernel && !args.dry_run &&
	    image_has(&p->image, "kernel"))
		rc = kernel_unpack(&p->store, p->image.dir, "kernel");
	return rc < 0 ? rc : 0;
}

/* The first --disk SIZE: how large the image's disk is to be. */
static int grow_image(struct plan *p, uint64_t size)
{
	char is[24];

	if (size < p->meta.size)
		return fail(E_CONFIG, "smaller than the image's disk, %s",
			    format_size_exact(is, p->meta.size));
	p->disk[0] = p->layer.size = size;
	return 0;
}

/* -- disks -- */

/* --disk 10G: a file in the VM's directory. */
static int new_disk(struct plan *p, uint64_t size, struct buf *value)
{
	if (!size || size % SECTOR)
		return fail(E_CONFIG, "size: not a multiple of %d", SECTOR);
	if (size > INT64_MAX)
		return fail(E_CONFIG, "size: larger than any file");
	p->disk[p->ndisks] = size;
	buf_printf(value, "disk/disk%d.raw", p->ndisks);
	return 0;
}

/* WHAT of "WHAT,OPTS": a size, or a path. */
static int disk_source(struct plan *p, const char *what, struct buf *value)
{
	uint64_t size;

	if (!*what)
		return fail(E_USAGE, "neither a size nor a file");
	if (parse_size("disk", what, &size) == 0)
		return new_disk(p, size, value);
	if (!strchr(what, '/') && access(what, F_OK) < 0)
		return fail(errno == ENOENT ? E_CONFIG : errno,
			    "neither a size nor a file");
	return absolute(what, value);
}

static bool has_option(const char *options, const char *key)
{
	size_t len = strlen(key);

	for (const char *o = options; o; o = strchr(o, ',')) {
		o += *o == ',';
		if (!strncmp(o, key, len) && o[len] == '=')
			return true;
	}
	return false;
}

static int put_disk(struct plan *p, const char *arg)
{
	autofree char *what = strdup(arg);
	autobuf struct buf value = BUF_INIT;
	char key[16];
	char *rest = what;
	uint64_t size;
	int rc;

	if (p->ndisks == VMCONF_DISKS)
		return fail(E_CONFIG, "more than %d disks", VMCONF_DISKS);
	if (!what)
		return fail(ENOMEM, "out of memory");
	cut(&rest, ',');
	if (has_image(p) && !rest && arg == args.disk.item[0] &&
	    parse_size("disk", what, &size) == 0) {
		rc = size % SECTOR ? fail(E_CONFIG, "size: not a multiple of "
					  "%d", SECTOR) : grow_image(p, size);
		return rc < 0 ? fail_in(rc, "disk %s", arg) : 0;
	}
	rc = disk_source(p, what, &value);
	if (rc < 0)
		return fail_in(rc, "disk %s", arg);
	if (rest)
		buf_printf(&value, ",%s", rest);
	if (!has_option(rest, "format"))
		buf_str(&value, ",format=raw");
	if (value.failed)
		return fail(ENOMEM, "out of memory");
	snprintf(key, sizeof(key), "disk%d", p->ndisks++);
	return put(p, key, value.data);
}

/* -- the seed for cloud-init -- */

static int read_text(const char *what, const char *path, struct buf *b)
{
	bool input = path && !strcmp(path, "-");
	autoclose int fd = -1;
	int rc;

	if (!path)
		return 0;
	fd = input ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	rc = fd < 0 ? fail_sys("%s", path) :
		      fd_read(fd, input ? "standard input" : path, b, SEED_MAX);
	return rc < 0 ? fail_in(rc, "%s", what) : 0;
}

/* Those of the VM NAME are its own: a first boot is one for each. */
static int write_seed(const struct plan *p, const char *name, int fd)
{
	char id[SEED_ID];
	struct seed s = {
		.id = id, .hostname = args.hostname ? args.hostname : name,
		.ssh_keys = args.ssh_key ? p->ssh_keys.data : NULL,
		.user_data = args.user_data ? p->user_data.data : NULL,
		.user_data_len = p->user_data.len,
	};
	int rc = seed_new_id(id, name);

	return rc < 0 ? rc : seed_write(&s, fd);
}

/* The last disk: a CD, which is tried here. */
static int put_seed(struct plan *p)
{
	autoclose int fd = -1;
	char key[16];
	int rc;

	p->seeded = args.user_data || args.ssh_key || args.hostname;
	if (!p->seeded)
		return 0;
	if (p->ndisks == VMCONF_DISKS)
		return fail(E_CONFIG, "more than %d disks", VMCONF_DISKS);
	rc = read_text("user-data", args.user_data, &p->user_data);
	if (rc == 0)
		rc = read_text("ssh-key", args.ssh_key, &p->ssh_keys);
	if (rc < 0)
		return rc;
	fd = memfd_create("seed", MFD_CLOEXEC);
	if (fd < 0)
		return fail_sys("seed");
	rc = write_seed(p, "try", fd);
	snprintf(key, sizeof(key), "disk%d", p->ndisks++);
	return rc < 0 ? rc : put(p, key, "disk/seed.iso,format=raw,ro");
}

static int unknown_key(const char *key)
{
	struct near near = NEAR(key);

	for (const struct vmconf_key *k = vmconf_keys; k->key; k++)
		near_try(&near, k->key);
	return fail(E_USAGE, "unknown key '%s'%s%s%s", key, NEAR_HINT(&near));
}

/* --set KEY=VALUE; an empty VALUE takes the key out. */
static int put_setting(struct plan *p, const char *arg)
{
	autofree char *key = strdup(arg);
	char *value = key, disk[VMCONF_KEY];
	const char *word;
	int rc;

	if (!key)
		return fail(ENOMEM, "out of memory");
	cut(&value, '=');
	if (!value || !*key)
		return fail(E_USAGE, "'%s': not KEY=VALUE", arg);
	word = vmconf_disk_word(key, disk);
	if (word)
		return vmconf_set_word(&p->conf, disk, word,
				       *value ? value : NULL);
	if (!vmconf_key(key))
		return unknown_key(key);
	rc = config_set(&p->conf, key, *value ? value : NULL);
	return rc < 0 ? fail_in(rc, "%s", key) : 0;
}

static int plan_config(struct plan *p)
{
	int rc = put(p, "cpus", args.cpus);

	if (rc == 0)
		rc = put(p, "memory", args.memory);
	if (rc == 0)
		rc = put(p, "machine", NULL);
	if (rc == 0)
		rc = put_image(p);
	if (rc == 0)
		rc = put_path(p, "kernel", args.kernel);
	if (rc == 0)
		rc = put_path(p, "initrd", args.initrd);
	if (rc == 0 && args.append)
		rc = put(p, "append", args.append);
	if (rc == 0 && args.console)
		rc = put(p, "console", args.console);
	for (size_t i = 0; i < args.disk.n && rc == 0; i++)
		rc = put_disk(p, args.disk.item[i]);
	if (rc == 0)
		rc = put_seed(p);
	for (size_t i = 0; i < args.set.n && rc == 0; i++)
		rc = put_setting(p, args.set.item[i]);
	return rc;
}

/* The config as a whole, and the files it names. */
static int plan_check(const struct plan *p, const struct store *st)
{
	struct vmconf vc = { 0 };
	int rc = vmconf_parse(&vc, &p->conf, NULL);

	if (rc < 0)
		return rc;
	rc = check_files(args.dry_run ? NULL : st, -1, &vc);
	vmconf_release(&vc);
	return rc;
}

static void plan_release(struct plan *p)
{
	buf_release(&p->user_data);
	buf_release(&p->ssh_keys);
	layer_release(&p->layer);
	image_meta_release(&p->meta);
	image_close(&p->image);
	store_close(&p->store);
	config_release(&p->conf);
	buf_release(&p->text);
}

/* -- making -- */

struct maker {
	struct plan *plan;
	struct tally tally;
	struct stage stage[STAGE_BATCH];
	size_t n;
};

/* The config of the plan, with the VM's name above it. */
static int stage_config(const struct plan *p, struct stage *s)
{
	struct config conf = CONFIG_INIT;
	autobuf struct buf text = BUF_INIT;
	int rc;

	buf_printf(&text, "# %s\n", s->name);
	buf_add(&text, p->text.data, p->text.len);
	rc = text.failed ? fail(ENOMEM, "out of memory") :
			   config_parse(&conf, text.data, text.len);
	if (rc == 0)
		rc = vm_stage_config(s, &conf);
	config_release(&conf);
	return rc;
}

static int make_disk_dir(const struct stage *s)
{
	if (mkdirat(s->dir, "disk", 0700) < 0 && errno != EEXIST)
		return fail_sys("%s: disk", s->name);
	return 0;
}

static int make_disk(const struct stage *s, int i, uint64_t size)
{
	autoclose int fd = -1;
	char path[32];
	int rc = make_disk_dir(s);

	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "disk/disk%d.raw", i);
	fd = openat(s->dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
		    0600);
	if (fd < 0 || ftruncate(fd, size) < 0)
		return fail_sys("%s: %s", s->name, path);
	return 0;
}

static int make_layer(struct plan *p, const struct stage *s)
{
	int rc = make_disk_dir(s);
	autoclose int dir = rc < 0 ? -1 : openat(s->dir, "disk", O_RDONLY |
						 O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return rc < 0 ? rc : fail_sys("%s: disk", s->name);
	return layer_make(&p->layer, dir, "disk0.qcow2");
}

static int make_seed(const struct plan *p, const struct stage *s)
{
	autoclose int fd = -1;
	int rc = make_disk_dir(s);

	if (rc < 0)
		return rc;
	fd = openat(s->dir, "disk/seed.iso", O_RDWR | O_CREAT | O_EXCL |
		    O_CLOEXEC, 0600);
	if (fd < 0)
		return fail_sys("%s: disk/seed.iso", s->name);
	return write_seed(p, s->name, fd);
}

static int fill(struct plan *p, struct stage *s)
{
	int rc = stage_config(p, s);

	if (rc == 0 && has_image(p))
		rc = make_layer(p, s);
	if (rc == 0 && p->seeded)
		rc = make_seed(p, s);
	for (int i = 0; i < VMCONF_DISKS && rc == 0; i++)
		if (p->disk[i] && !(has_image(p) && i == 0))
			rc = make_disk(s, i, p->disk[i]);
	return rc;
}

static void settle(struct maker *m, const char *name, int rc)
{
	if (rc == -E_EXISTS && args.if_missing)
		rc = 0;
	if (rc == 0) {
		tally_done(&m->tally, name);
		return;
	}
	say_failed(name);
	tally_failed(&m->tally, err_exit(rc));
}

static void settle_stage(struct stage *s, int rc, void *arg)
{
	settle(arg, s->name, rc);
}

/* Makes what was staged durable and visible; settle() hears of each. */
static void publish(struct maker *m)
{
	stage_publish(m->stage, m->n, settle_stage, m);
	for (size_t i = 0; i < m->n; i++)
		stage_close(&m->stage[i]);
	m->n = 0;
}

static void make(struct maker *m, const char *name)
{
	struct stage *s = &m->stage[m->n];
	int rc = vm_stage(s, &m->plan->store, name);

	if (rc < 0) {
		settle(m, name, rc);
		return;
	}
	rc = fill(m->plan, s);
	if (rc < 0) {
		settle(m, name, rc);
		stage_close(s);
		return;
	}
	if (++m->n == STAGE_BATCH)
		publish(m);
}

/* What make() would say. */
static void make_believe(struct maker *m, const char *name)
{
	struct vm vm;
	int rc = m->plan->store.vms < 0 ? name_check("VM", name) :
				    vm_open(&vm, &m->plan->store, name);

	if (rc == 0 && m->plan->store.vms >= 0) {
		vm_close(&vm);
		rc = fail(E_EXISTS, "%s: already exists", name);
	}
	settle(m, name, rc == -E_NOENT ? 0 : rc);
}

/*
 * Names as they come: whenever none is at hand those before are finished, so
 * nobody waits for a pipe that is slow.
 */
static int make_all(struct maker *m, struct names *names)
{
	char *name;
	int rc;

	while ((rc = names_next(names, &name))) {
		if (rc > 0 && args.dry_run) {
			make_believe(m, name);
		} else if (rc > 0) {
			make(m, name);
		} else {
			publish(m);
			rc = names_fill(names);
			if (rc < 0)
				return rc;
		}
	}
	publish(m);
	return tally_result(&m->tally);
}

/* Those on the command line, all before the first is made. */
static int check_operands(int argc, char **argv)
{
	int rc = 0;

	for (int i = 0; i < argc && rc == 0; i++)
		if (strcmp(argv[i], "-"))
			rc = name_check("VM", argv[i]);
	return rc;
}

static int create(struct maker *m, struct names *names)
{
	int rc = plan_check(m->plan, &m->plan->store);

	if (rc < 0)
		return rc;
	if (!args.dry_run)
		record_sweep(m->plan->store.vms);
	return make_all(m, names);
}

static int run(int argc, char **argv)
{
	struct plan plan = {
		.text = BUF_INIT, .user_data = BUF_INIT, .ssh_keys = BUF_INIT,
		.store = { .fd = -1, .vms = -1 },
		.image = { .parent = -1, .dir = -1, .lock = -1 },
		.layer = { .grown = -1 },
	};
	struct maker *m = calloc(1, sizeof(*m));
	struct names names;
	int rc = m ? check_operands(argc, argv) : fail(ENOMEM, "out of memory");

	if (rc == 0 && !argc && args.user_data && !strcmp(args.user_data, "-"))
		rc = fail(E_USAGE, "standard input is the user data: name the "
			  "VMs");
	if (rc == 0)
		rc = names_init(&names, false, argc, argv);
	if (rc == 0)
		rc = store_open(&plan.store, common.state, false);
	if (rc == 0)
		rc = plan_config(&plan);
	if (rc == 0 && !args.dry_run && plan.store.vms < 0) {
		store_close(&plan.store);
		rc = store_open(&plan.store, common.state, true);
	}
	if (rc == 0) {
		config_format(&plan.conf, &plan.text);
		m->plan = &plan;
		rc = create(m, &names);
		names_release(&names);
	}
	plan_release(&plan);
	free(m);
	return rc;
}

const struct command command = {
	.name = "vm-create",
	.operands = "NAME...",
	.summary = "define virtual machines",
	.opts = opts,
	.args = &args,
	.acts = true,
	.run = run,
};
