/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/image.h"

#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "state/snap.h"

#include "scratch.h"
#include "test.h"

static char dir[SCRATCH_BYTES];
static struct store st;

static void make_state(void)
{
	scratch_make(dir);
	if (store_open(&st, "s", true) < 0)
		printf("# %s\n", err_text());
}

static void drop_state(void)
{
	store_close(&st);
	scratch_remove(dir);
}

static bool make_image(const char *name)
{
	struct image_meta m = {
		.format = FORMAT_QCOW2, .size = 1 << 30, .created = 7,
		.ext4 = true,
		.append = (char[]){ "root=/dev/vda rw" },
		.source = (char[]){ "https://x/\ny" },
	};
	struct stage s;
	bool ok = image_stage(&s, &st, name) == 0 &&
		  stage_write(&s, "disk", "d", 1) == 0 &&
		  stage_write(&s, "kernel", "k", 1) == 0 &&
		  image_publish(&s, &m) == 0;

	image_unstage(&s);
	return ok;
}

static void ignore(struct stage *s, int rc, void *arg)
{
	(void)s, (void)rc, (void)arg;
}

/* A VM NAME whose config has the line KEY=VALUE. */
static bool make_vm(const char *name, const char *key, const char *value)
{
	struct config c = CONFIG_INIT;
	struct stage s;
	bool ok = vm_stage(&s, &st, name) == 0 &&
		  config_set(&c, key, value) == 0 &&
		  vm_stage_config(&s, &c) == 0 &&
		  stage_publish(&s, 1, ignore, NULL) == 0;

	stage_close(&s);
	config_release(&c);
	return ok;
}

TEST(an_image_is_there_whole_and_says_what_it_is)
{
	struct image_meta m;
	struct image img;
	struct stage s;
	char **names;
	size_t n;

	make_state();
	EQ(image_open(&img, &st, "deb12"), -E_NOENT);
	STR(err_text(), "deb12: no such image");
	EQ(image_list(&st, &names, &n), 0);
	EQ(n, 0);
	free(names);
	OK(make_image("deb12"));
	EQ(image_open(&img, &st, "deb12"), 0);
	EQ(image_meta(&img, &m), 0);
	EQ(m.format, FORMAT_QCOW2);
	EQ(m.size, 1 << 30);
	EQ(m.created, 7);
	OK(m.ext4);
	STR(m.append, "root=/dev/vda rw");
	STR(m.source, "https://x/?y");
	OK(!m.digest);
	OK(image_has(&img, "kernel") && !image_has(&img, "initrd"));
	image_meta_release(&m);
	image_close(&img);
	EQ(image_stage(&s, &st, "deb12"), -E_EXISTS);
	EQ(image_stage(&s, &st, "Deb"), -E_USAGE);
	EQ(image_list(&st, &names, &n), 0);
	EQ(n, 1);
	STR(names[0], "deb12");
	free(names);
	drop_state();
}

TEST(what_was_not_published_is_gone)
{
	struct image img;
	struct stage s;

	make_state();
	EQ(image_stage(&s, &st, "deb12"), 0);
	EQ(stage_write(&s, "disk", "d", 1), 0);
	image_unstage(&s);
	image_unstage(&s);
	EQ(image_open(&img, &st, "deb12"), -E_NOENT);
	OK(rmdir("s/images") == 0);	/* nothing is left in there */
	drop_state();
}

TEST(an_image_that_only_a_snapshot_uses_is_not_removed)
{
	static const char text[] =
		"disk0=disk/disk0.qcow2,format=qcow2,image=deb12\n";
	struct snap_meta m = { .created = 1 };
	struct config c = CONFIG_INIT;
	struct snaps snaps;
	struct stage stage;
	struct image img;
	struct snap sn;
	struct vm vm;

	make_state();
	OK(make_image("deb12") && make_vm("web1", "cpus", "2"));
	EQ(vm_open(&vm, &st, "web1"), 0);
	EQ(snaps_open(&snaps, &vm, true), 0);
	EQ(config_parse(&c, text, strlen(text)), 0);
	EQ(snap_stage(&stage, &snaps, "old"), 0);
	EQ(snap_stage_config(&stage, &c), 0);
	EQ(snap_publish(&stage, &m), 0);
	stage_close(&stage);
	config_release(&c);
	EQ(image_open(&img, &st, "deb12"), 0);
	EQ(image_lock(&img, false), 0);
	EQ(image_remove(&img, &st), -E_BUSY);
	STR(err_text(), "deb12: used by web1@old");
	EQ(snap_open(&sn, &snaps, "old"), 0);
	EQ(snap_lock(&sn, false), 0);
	EQ(snap_remove(&sn, &snaps), 0);
	snap_close(&sn);
	EQ(image_remove(&img, &st), 0);
	image_close(&img);
	snaps_close(&snaps);
	vm_close(&vm);
	drop_state();
}

TEST(an_image_in_use_is_not_removed)
{
	static const char *const users[][2] = {
		{ "kernel", "image:deb12" }, { "initrd", "image:deb12" },
		{ "disk3", "d,format=qcow2,image=deb12" },
	};
	struct image img;
	struct vm vm;

	make_state();
	OK(make_image("deb12") && make_vm("other", "kernel", "/deb12"));
	OK(image_open(&img, &st, "deb12") == 0 && image_lock(&img, false) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
		OK(make_vm("web1", users[i][0], users[i][1]));
		EQ(image_remove(&img, &st), -E_BUSY);
		STR(err_text(), "deb12: used by web1");
		OK(vm_open(&vm, &st, "web1") == 0 && vm_lock(&vm, 0) == 0 &&
		   vm_remove(&vm) == 0);
		vm_close(&vm);
	}
	/* one whose config cannot be read may use it */
	OK(make_vm("bad", "cpus", "no"));
	EQ(image_remove(&img, &st), -E_BUSY);
	OK(vm_open(&vm, &st, "bad") == 0 && vm_lock(&vm, 0) == 0 &&
	   vm_remove(&vm) == 0);
	vm_close(&vm);
	EQ(image_remove(&img, &st), 0);
	image_close(&img);
	EQ(image_open(&img, &st, "deb12"), -E_NOENT);
	drop_state();
}

TEST(users_share_the_lock_and_a_remover_has_it_alone)
{
	struct image a, b, c;

	make_state();
	OK(make_image("deb12"));
	OK(image_open(&a, &st, "deb12") == 0 && image_open(&b, &st, "deb12") == 0);
	EQ(image_lock(&a, true), 0);
	EQ(image_lock(&b, true), 0);
	EQ(image_open(&c, &st, "deb12"), 0);
	EQ(image_lock(&c, false), -E_BUSY);
	image_close(&a);
	image_close(&b);
	EQ(image_lock(&c, false), 0);
	EQ(image_open(&a, &st, "deb12"), 0);
	EQ(image_lock(&a, true), -E_BUSY);
	EQ(image_remove(&c, &st), 0);
	EQ(image_lock(&a, true), -E_NOENT);
	image_close(&a);
	image_close(&c);
	drop_state();
}

TEST(a_damaged_meta_is_explained)
{
	static const char *const bad[][2] = {
		{ "", "deb12: meta: format '': not raw or qcow2" },
		{ "format=vmdk\nsize=1\n",
		  "deb12: meta: format 'vmdk': not raw or qcow2" },
		{ "format=raw\n", NULL }, { "format=raw\nsize=-1\n", NULL },
		{ "format=raw\nformat=raw\n", NULL },
	};
	struct image_meta m;
	struct image img;

	make_state();
	OK(make_image("deb12") && image_open(&img, &st, "deb12") == 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EQ(file_replace(img.dir, "meta", bad[i][0], strlen(bad[i][0]),
				0600), 0);
		EQ(image_meta(&img, &m), -E_CONFIG);
		if (bad[i][1])
			STR(err_text(), bad[i][1]);
	}
	image_close(&img);
	drop_state();
}

TEST(references_become_paths_from_a_vms_directory)
{
	char out[IMAGE_PATH];

	STR(image_path(out, sizeof(out), "image:deb12", "kernel"),
	    "../../images/deb12/kernel");
	STR(image_path(out, sizeof(out), "/boot/vmlinuz", "kernel"),
	    "/boot/vmlinuz");
}

TESTS(T(an_image_is_there_whole_and_says_what_it_is),
      T(what_was_not_published_is_gone),
      T(an_image_that_only_a_snapshot_uses_is_not_removed),
      T(an_image_in_use_is_not_removed),
      T(users_share_the_lock_and_a_remover_has_it_alone),
      T(a_damaged_meta_is_explained),
      T(references_become_paths_from_a_vms_directory))
