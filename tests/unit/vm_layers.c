/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/layers.h"

#include "history.h"
#include "test.h"

static int count_shots(void)
{
	int n = 0;

	for (int i = 0; i < SNAPS; i++)
		n += shots[i].name[0] != '\0';
	return n;
}

static int one_step(void)
{
	struct shot *s;
	int rc = 0;

	switch (any(6)) {
	case 0: case 1:
		write_some();
		break;
	case 2:
		s = any_shot(false);
		if (!s)
			break;
		*s = now;
		next_name(s->name);
		rc = take_snap(s->name);
		break;
	case 3:
		s = any_shot(true);
		if (!s)
			break;
		rc = drop_snap(s->name);
		s->name[0] = '\0';
		if (rc == 0 && any(2))
			rc = layers_tidy(&snaps, NULL, NULL);
		break;
	case 4:
		s = any_shot(true);
		if (!s)
			break;
		rc = push_over(s->name);
		now = *s;
		break;
	case 5:
		rc = layers_tidy(&snaps, NULL, NULL);
		/* bounded: each file is named, or two rest on it */
		if (rc == 0 && files_in_disk() > 2 * DISKS * (count_shots() + 1)) {
			printf("# %d files, %d snapshots\n", files_in_disk(),
			       count_shots());
			rc = -1;
		}
	}
	return rc;
}

TEST(every_snapshot_of_a_random_history_shows_what_it_did)
{
	for (int seed = 1; seed <= 3; seed++) {
		random_state = seed * 0x9e3779b97f4a7c15ULL;
		begin_history();
		for (int i = 0; i < 60; i++) {
			int rc = one_step();

			if (rc < 0 || !all_show())
				printf("# seed %d, step %d: %s\n", seed, i,
				       err_text());
			EQ(rc, 0);
			OK(all_show());
		}
		for (struct shot *s; (s = any_shot(true)); s->name[0] = '\0')
			EQ(drop_snap(s->name), 0);
		EQ(layers_tidy(&snaps, NULL, NULL), 0);
		OK(all_show());
		EQ(files_in_disk(), DISKS);
		end_history();
	}
}

/* -- headers -- */

static int open_disk1(unsigned flags)
{
	struct vmconf vc;
	struct block *b;
	int rc;

	load_conf(NULL, &vc);
	rc = disk_open_at(&b, vm.dir, &st, &vc.disk[1], flags, NULL);
	if (rc == 0)
		block_close(b);
	vmconf_release(&vc);
	return rc;
}

static bool rebase(const char *file, const char *backing, const char *format)
{
	int fd = open(file, O_RDWR);
	bool ok = fd >= 0 && qcow2_rebase(fd, backing, format) == 0;

	close(fd);
	return ok;
}

TEST(a_header_names_a_sibling_or_what_the_config_says)
{
	static const char *const bad[] = {
		"/etc/passwd", "../disk0.raw", "../../../images/img/disk",
		"json:{}", "nbd:unix:x", ".hidden", "a,b", "disk/disk0.raw",
		"sub/x", "../../../images/../disk",
	};

	begin_history();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		OK(rebase("disk/disk1.qcow2", bad[i], "raw"));
		EQ(open_disk1(0), -E_CONFIG);
		EQ(open_disk1(DISK_FILES), -E_CONFIG);
	}
	OK(rebase("disk/disk1.qcow2", "disk0.raw", "raw"));
	EQ(open_disk1(0), 0);
	EQ(open_disk1(DISK_FILES), 0);
	OK(rebase("disk/disk1.qcow2", "disk0.raw", "vmdk"));
	EQ(open_disk1(0), -E_CONFIG);
	OK(rebase("disk/disk1.qcow2", "missing.raw", "raw"));
	EQ(open_disk1(0), -ENOENT);
	OK(symlink("/etc/passwd", "disk/link") == 0);
	OK(rebase("disk/disk1.qcow2", "link", "raw"));
	OK(open_disk1(0) < 0);
	OK(open_disk1(DISK_FILES) < 0);
	end_history();
}

TEST(a_chain_that_rests_on_itself_ends)
{
	bool merged;

	begin_history();
	EQ(push_over(NULL), 0);
	OK(rebase("disk/disk1.qcow2", "disk1.1.qcow2", "qcow2"));
	EQ(open_disk1(0), -E_VERIFY);
	EQ(layers_tidy(&snaps, NULL, &merged), -E_VERIFY);
	OK(rebase("disk/disk1.qcow2", "disk1.qcow2", "qcow2"));
	EQ(open_disk1(0), -E_VERIFY);
	OK(rebase("disk/disk1.qcow2", NULL, NULL));
	OK(all_show());
	end_history();
}

/* -- clones -- */

static const char mine[] = "disk1.qcow2";

/* Makes `web2`, which has the snapshot s1 and goes on from there. */
static int clone(void)
{
	struct config c = CONFIG_INIT, out = CONFIG_INIT;
	struct stage stage;
	struct snap sn;
	struct vm made;
	int rc = snap_open(&sn, &snaps, "s1");

	MUST(rc == 0 && snap_config(&sn, &c) == 0);
	MUST(vm_stage(&stage, &st, "web2") == 0);
	rc = layers_link(&snaps, &c, stage.dir);
	if (rc == 0)
		rc = snap_link(&sn, NULL, stage.dir);
	if (rc == 0) {
		struct snaps none = { .vm = &made, .dir = -1, .lock = -1 };

		made = (struct vm){ .store = &st, .dir = stage.dir };
		rc = layers_push(&none, &c, &out, NULL, NULL);
	}
	if (rc == 0)
		rc = vm_stage_config(&stage, &out);
	if (rc == 0)
		rc = stage_publish(&stage, 1, ignore_stage, NULL);
	stage_close(&stage);
	snap_close(&sn);
	config_release(&c);
	config_release(&out);
	return rc;
}

TEST(what_a_clone_has_too_is_not_written)
{
	struct stat before, after;
	char path[64];
	bool merged;

	random_state = 3;
	begin_history();
	write_some();
	shots[0] = now;
	next_name(shots[0].name);
	EQ(take_snap("s1"), 0);
	EQ(clone(), 0);
	write_some();
	EQ(drop_snap("s1"), 0);
	shots[0].name[0] = '\0';
	snprintf(path, sizeof(path), "disk/%s", mine);
	OK(stat(path, &before) == 0 && before.st_nlink == 2);
	EQ(layers_tidy(&snaps, NULL, &merged), 0);
	OK(!merged && all_show());
	OK(stat(path, &after) == 0 && after.st_nlink == 2 &&
	   after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
	/* the other one: as it was then, and the first VM may go */
	close_vm();
	open_vm("web");
	EQ(vm_remove(&vm), 0);
	close_vm();
	open_vm("web2");
	OK(shows("s1", &shots[0]));
	OK(shows(NULL, &shots[0]));
	EQ(layers_tidy(&snaps, NULL, &merged), 0);
	OK(shows(NULL, &shots[0]));
	EQ(drop_snap("s1"), 0);
	EQ(layers_tidy(&snaps, NULL, &merged), 0);
	OK(merged && shows(NULL, &shots[0]));
	EQ(files_in_disk(), DISKS);
	end_history();
}

/* -- disks outside, and people's files -- */

static int set_line(const char *key, const char *value)
{
	struct config c = CONFIG_INIT;
	int rc = vm_config(&vm, &c);

	if (rc == 0)
		rc = config_set(&c, key, value);
	if (rc == 0)
		rc = vm_set_config(&vm, &c);
	config_release(&c);
	return rc;
}

TEST(a_disk_outside_stays_as_it_is_below_its_layers)
{
	static unsigned char was[DISK_BYTES], is[DISK_BYTES];
	char outside[SCRATCH_BYTES + 16], line[SCRATCH_BYTES + 32];
	struct vmconf vc;
	bool merged;
	int fd;

	begin_history();
	snprintf(outside, sizeof(outside), "%s/outside", dir);
	snprintf(line, sizeof(line), "%s,serial=o", outside);
	fd = open(outside, O_RDWR | O_CREAT, 0600);
	memset(was, 9, sizeof(was));
	OK(write_all(fd, was, sizeof(was)) == 0);
	memcpy(now.disk[0], was, sizeof(was));
	EQ(set_line("disk0", line), 0);
	EQ(take_snap("s1"), 0);
	load_conf(NULL, &vc);
	STR(vc.disk[0].base, outside);
	STR(vc.disk[0].serial, "o");
	vmconf_release(&vc);
	for (int i = 0; i < 10; i++)
		write_some();
	EQ(take_snap("s2"), 0);
	write_some();
	EQ(drop_snap("s1"), 0);
	EQ(drop_snap("s2"), 0);
	EQ(layers_tidy(&snaps, NULL, &merged), 0);
	OK(merged && all_show());
	OK(pread_all(fd, is, sizeof(is), 0) == 0);
	OK(!memcmp(is, was, sizeof(is)));
	close(fd);
	/* a header that names another than the config does */
	EQ(set_line("disk0", "disk/disk0.1.qcow2,format=qcow2,base=raw:/etc/passwd"), 0);
	OK(!all_show());
	end_history();
}

TEST(files_of_people_and_disks_taken_out_stay)
{
	bool merged;

	begin_history();
	EQ(take_snap("s1"), 0);
	EQ(drop_snap("s1"), 0);
	EQ(set_line("disk1", NULL), 0);
	OK(put("disk/notes.txt", "mine"));
	EQ(layers_tidy(&snaps, NULL, &merged), 0);
	OK(is_there("disk/disk1.1.qcow2") && is_there("disk/disk1.qcow2"));
	OK(is_there("disk/notes.txt"));
	EQ(set_line("disk1", "disk/disk1.1.qcow2,format=qcow2"), 0);
	OK(all_show());
	end_history();
}

TEST(of_a_running_vm_the_tops_stay)
{
	struct layers_live live = { 0 };
	bool merged;

	begin_history();
	write_some();
	EQ(take_snap("s1"), 0);
	write_some();
	EQ(take_snap("s2"), 0);
	EQ(drop_snap("s1"), 0);
	EQ(drop_snap("s2"), 0);
	EQ(layers_tidy(&snaps, &live, &merged), 0);
	OK(merged && all_show());
	EQ(files_in_disk(), 2 * DISKS);
	OK(is_there("disk/disk1.2.qcow2"));
	end_history();
}

TEST(a_new_top_is_taken_while_the_disk_is_open)
{
	struct config c = CONFIG_INIT, out = CONFIG_INIT;
	struct layer_top tops[VMCONF_DISKS];
	struct iovec iov;
	struct vmconf vc;
	struct block *b;
	unsigned n;

	begin_history();
	load_conf(NULL, &vc);
	EQ(disk_open(&b, &st, &vc.disk[0], false, NULL), 0);
	memset(now.disk[0], 1, 4096);
	iov = (struct iovec){ now.disk[0], 4096 };
	EQ(block_writev(b, &iov, 1, 0), 0);
	vmconf_release(&vc);
	for (int i = 0; i < 6; i++) {
		MUST(vm_config(&vm, &c) == 0);
		EQ(layers_push(&snaps, &c, &out, tops, &n), 0);
		EQ(n, DISKS);
		EQ(disk_push(&b, "disk/nothing.qcow2") < 0, 1);
		EQ(vm_set_config(&vm, &out), 0);
		EQ(disk_push(&b, tops[0].path), 0);
		memset(now.disk[0] + i * 4096, 2 + i, 4096);
		iov = (struct iovec){ now.disk[0] + i * 4096, 4096 };
		EQ(block_writev(b, &iov, 1, i * 4096), 0);
		config_release(&c);
		config_release(&out);
	}
	load_conf(NULL, &vc);
	EQ(disk_reopen(&b, &st, &vc.disk[0], NULL, FORMAT_RAW), 0);
	vmconf_release(&vc);
	EQ(block_flush(b), 0);
	block_close(b);
	OK(all_show());
	end_history();
}

/* The running VM's disk0, which is told where to rest. */
static struct block *running;

static int rest(void *arg, unsigned disk, const char *below,
		enum disk_format format)
{
	struct vmconf vc;
	int rc;

	*(int *)arg += 1;
	if (disk)
		return -E_STOPPED;
	load_conf(NULL, &vc);
	rc = disk_reopen(&running, &st, &vc.disk[0], below, format);
	vmconf_release(&vc);
	return rc;
}

TEST(a_running_vm_is_told_to_rest_on_what_was_merged)
{
	int asked = 0;
	struct layers_live live = { .rest = rest, .arg = &asked };
	struct vmconf vc;
	struct iovec iov;
	bool merged;

	begin_history();
	memset(now.disk[0], 1, DISK_BYTES);	/* much, below little */
	load_conf(NULL, &vc);
	EQ(disk_open(&running, &st, &vc.disk[0], false, NULL), 0);
	iov = (struct iovec){ now.disk[0], DISK_BYTES };
	EQ(block_writev(running, &iov, 1, 0), 0);
	block_close(running);
	vmconf_release(&vc);
	EQ(take_snap("s1"), 0);
	write_some();
	shots[0] = now;
	snprintf(shots[0].name, sizeof(shots[0].name), "s2");
	EQ(take_snap("s2"), 0);
	EQ(drop_snap("s1"), 0);
	load_conf(NULL, &vc);
	EQ(disk_open(&running, &st, &vc.disk[0], false, NULL), 0);
	vmconf_release(&vc);
	EQ(layers_tidy(&snaps, &live, &merged), 0);
	OK(merged && asked);
	OK(is_there("disk/disk0.raw") && !is_there("disk/disk0.1.qcow2"));
	memset(now.disk[0] + 512, 5, 512);
	iov = (struct iovec){ now.disk[0] + 512, 512 };
	EQ(block_writev(running, &iov, 1, 512), 0);
	EQ(block_flush(running), 0);
	block_close(running);
	OK(all_show());
	end_history();
}

TEST(what_snapshots_take_is_their_own_or_shared)
{
	uint64_t own[2], shared[2];
	struct layers *l;
	struct stat sb;

	begin_history();
	write_some();
	EQ(take_snap("s1"), 0);
	write_some();
	EQ(take_snap("s2"), 0);
	EQ(layers_load(&l, &snaps), 0);
	EQ(layers_usage(l, "s1", &own[0], &shared[0]), 0);
	EQ(layers_usage(l, "s2", &own[1], &shared[1]), 0);
	EQ(layers_usage(l, "s3", &own[1], &shared[1]), -E_NOENT);
	EQ(layers_usage(l, "s2", &own[1], &shared[1]), 0);
	layers_free(l);
	EQ(shared[0], 0);
	EQ(shared[1], own[0]);
	OK(stat("disk/disk0.1.qcow2", &sb) == 0);
	OK(own[1] >= (uint64_t)sb.st_blocks * 512);
	end_history();
}

TESTS(T(what_snapshots_take_is_their_own_or_shared),
      T(every_snapshot_of_a_random_history_shows_what_it_did),
      T(a_header_names_a_sibling_or_what_the_config_says),
      T(a_chain_that_rests_on_itself_ends),
      T(what_a_clone_has_too_is_not_written),
      T(a_disk_outside_stays_as_it_is_below_its_layers),
      T(files_of_people_and_disks_taken_out_stay),
      T(of_a_running_vm_the_tops_stay),
      T(a_new_top_is_taken_while_the_disk_is_open),
      T(a_running_vm_is_told_to_rest_on_what_was_merged))
