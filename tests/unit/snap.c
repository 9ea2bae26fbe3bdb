/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/snap.h"

#include "history.h"
#include "test.h"

TEST(an_operand_names_a_vm_a_snapshot_or_the_newest)
{
	struct snap_name n;

	EQ(snap_name_parse(&n, "web1@nightly"), 0);
	STR(n.vm, "web1");
	STR(n.snap, "nightly");
	OK(n.named);
	EQ(snap_name_parse(&n, "web1@"), 0);
	STR(n.snap, "");
	OK(n.named);
	EQ(snap_name_parse(&n, "web1"), 0);
	OK(!n.named);
	EQ(snap_name_parse(&n, "@x"), -E_USAGE);
	EQ(snap_name_parse(&n, "web1@a@b"), -E_USAGE);
	EQ(snap_name_parse(&n, "web1@../x"), -E_USAGE);
	EQ(snap_name_parse(&n, "web1@.x"), -E_USAGE);
	STR(err_text(), "'.x': not a snapshot name (a-z 0-9 . _ -, beginning "
	    "with a letter or digit, at most 63)");
}

TEST(meta_is_read_as_it_was_written)
{
	struct snap_meta m = {
		.created = 1764000000, .parent = "a", .is_protected = true,
		.note = (char[]){ "before\nthe upgrade" }, .engine = "kvm",
		.memory = 1ULL << 32,
	}, is;
	autobuf struct buf text = BUF_INIT;

	snap_meta_format(&m, &text);
	EQ(snap_meta_parse(&is, text.data, text.len), 0);
	EQ(is.created, m.created);
	STR(is.parent, "a");
	OK(is.is_protected);
	STR(is.note, "before?the upgrade");
	STR(is.engine, "kvm");
	EQ(is.memory, m.memory);
	snap_meta_release(&is);
}

TEST(meta_that_cannot_be_is_refused)
{
	static const char *const bad[] = {
		"", "created=x\n", "created=1\nparent=../x\n",
		"created=1\nprotected=perhaps\n", "created=1\nmemory=-1\n",
		"created=1\nengine=a/b\n", "created=1\ncreated=2\n",
		"created=1\nengine=averyveryverylongname\n",
	};
	struct snap_meta m;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EQ(snap_meta_parse(&m, bad[i], strlen(bad[i])), -E_CONFIG);
}

static int publish(const char *name, uint64_t created, const char *parent)
{
	struct snap_meta m = { .created = created };
	struct config c = CONFIG_INIT;
	struct stage st_;
	int rc = snap_stage(&st_, &snaps, name);

	snprintf(m.parent, sizeof(m.parent), "%s", parent);
	if (rc == 0)
		rc = snap_stage_config(&st_, &c);
	if (rc == 0)
		rc = snap_publish(&st_, &m);
	if (rc == 0 || st_.dir >= 0)
		stage_close(&st_);
	return rc;
}

TEST(snapshots_are_listed_by_age_and_the_newest_is_found)
{
	struct snap_entry *e;
	struct snap sn;
	size_t n;

	begin_history();
	EQ(snap_open(&sn, &snaps, ""), -E_NOENT);
	STR(err_text(), "web: has no snapshot");
	EQ(publish("b", 20, ""), 0);
	EQ(publish("lock", 10, "b"), 0);
	EQ(publish("a10", 30, "b"), 0);
	EQ(publish("a9", 30, "b"), 0);
	EQ(publish("a9", 30, ""), -E_EXISTS);
	STR(err_text(), "web@a9: already exists");
	EQ(snaps_list(&snaps, &e, &n), 0);
	EQ(n, 4);
	STR(e[0].name, "lock");
	STR(e[2].name, "a9");
	STR(e[3].name, "a10");
	snaps_list_free(e, n);
	EQ(snap_open(&sn, &snaps, ""), 0);
	STR(sn.label, "web@a10");
	snap_close(&sn);
	EQ(snap_open(&sn, &snaps, "x"), -E_NOENT);
	STR(err_text(), "web@x: no such snapshot");
	end_history();
}

TEST(a_damaged_one_is_listed_and_can_be_removed)
{
	struct snap_entry *e;
	size_t n;

	begin_history();
	EQ(publish("a", 1, ""), 0);
	OK(put("snap/a/meta", "rubbish"));
	EQ(snaps_list(&snaps, &e, &n), 0);
	EQ(n, 1);
	OK(e[0].bad);
	snaps_list_free(e, n);
	EQ(drop_snap("a"), 0);
	OK(!is_there("snap/a"));
	end_history();
}

TEST(children_of_one_that_is_removed_get_its_parent)
{
	struct snap_meta m;
	struct snap sn;

	begin_history();
	EQ(publish("a", 1, ""), 0);
	EQ(publish("b", 2, "a"), 0);
	EQ(publish("c", 3, "b"), 0);
	EQ(drop_snap("b"), 0);
	EQ(snap_open(&sn, &snaps, "c"), 0);
	EQ(snap_meta(&sn, &m), 0);
	STR(m.parent, "a");
	snap_meta_release(&m);
	snap_close(&sn);
	end_history();
}

TEST(one_that_is_read_is_not_removed_and_locks_exclude)
{
	struct snaps other;
	struct snap sn, again;

	begin_history();
	EQ(publish("a", 1, ""), 0);
	EQ(snap_open(&sn, &snaps, "a"), 0);
	EQ(snap_lock(&sn, true), 0);
	EQ(snap_open(&again, &snaps, "a"), 0);
	EQ(snap_lock(&again, false), -E_BUSY);
	STR(err_text(), "web@a: in use by another command");
	snap_close(&again);
	snap_close(&sn);
	EQ(snaps_open(&other, &vm, false), 0);
	EQ(snaps_lock(&other, 0), -E_BUSY);
	snaps_close(&snaps);
	EQ(snaps_lock(&other, 0), 0);
	snaps_close(&other);
	end_history();
}

TEST(names_of_one_second_differ)
{
	char name[NAME_MAX_LEN + 1];

	begin_history();
	EQ(snap_new_name(&snaps, 1764037200, name), 0);
	STR(name, "20251125-022000");
	EQ(publish(name, 1, ""), 0);
	EQ(snap_new_name(&snaps, 1764037200, name), 0);
	STR(name, "20251125-022000-2");
	EQ(publish(name, 1, ""), 0);
	EQ(snap_new_name(&snaps, 1764037200, name), 0);
	STR(name, "20251125-022000-3");
	end_history();
}

TESTS(T(an_operand_names_a_vm_a_snapshot_or_the_newest),
      T(meta_is_read_as_it_was_written),
      T(meta_that_cannot_be_is_refused),
      T(snapshots_are_listed_by_age_and_the_newest_is_found),
      T(a_damaged_one_is_listed_and_can_be_removed),
      T(children_of_one_that_is_removed_get_its_parent),
      T(one_that_is_read_is_not_removed_and_locks_exclude),
      T(names_of_one_second_differ))
