/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/cache.h"

#include <dirent.h>
#include <time.h>

#include "base/err.h"

#include "scratch.h"
#include "test.h"

static char dir[SCRATCH_BYTES];
static struct store st;

static void make_state(void)
{
	scratch_make(dir);
	if (store_open(&st, "s", true) < 0 || !put("source", "kernel"))
		printf("# %s\n", err_text());
}

static void drop_state(void)
{
	store_close(&st);
	scratch_remove(dir);
}

/* Adds TEXT as the entry of the file SOURCE. */
static int add(const char *source, const char *text)
{
	autoclose int fd = open(source, O_RDONLY);
	struct cache_entry e;
	int rc = cache_begin(&e, &st, fd);

	if (rc < 0)
		return rc;
	rc = write_all(e.fd, text, strlen(text));
	if (rc == 0)
		rc = cache_commit(&e);
	cache_end(&e);
	return rc;
}

/* Whether SOURCE's entry is TEXT, NULL: there is none. */
static bool found(const char *source, const char *text)
{
	autoclose int fd = open(source, O_RDONLY), entry = -1;
	char got[32] = "";

	entry = cache_find(&st, fd);
	if (!text)
		return entry == -ENOENT;
	return entry >= 0 && read(entry, got, sizeof(got) - 1) >= 0 &&
	       !strcmp(got, text);
}

/* The number of files in the cache; the last one's path in PATH. */
static int entries(char *path)
{
	DIR *list = opendir("s/cache");
	struct dirent *e;
	int n = 0;

	while ((e = readdir(list)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
			snprintf(path, PATH_MAX, "s/cache/%s", e->d_name);
			n++;
		}
	closedir(list);
	return n;
}

static bool set_age(const char *path, int days)
{
	time_t then = time(NULL) - days * 24 * 60 * 60;
	struct timespec ts[2] = { { .tv_sec = then }, { .tv_sec = then } };

	return utimensat(AT_FDCWD, path, ts, 0) == 0;
}

TEST(what_was_added_is_found)
{
	char path[PATH_MAX];

	make_state();
	OK(found("source", NULL));
	EQ(add("source", "elf"), 0);
	OK(found("source", "elf"));
	EQ(add("source", "elf2"), 0);
	OK(found("source", "elf2"));
	EQ(entries(path), 1);
	drop_state();
}

TEST(a_source_that_was_replaced_or_changed_is_not_served)
{
	struct stat sb;

	make_state();
	EQ(add("source", "elf"), 0);
	OK(put("new", "kernel") && set_age("new", 0) && found("new", NULL));
	OK(rename("new", "source") == 0 && found("source", NULL));
	EQ(add("source", "elf"), 0);
	/* the same size, and the old time put back */
	OK(stat("source", &sb) == 0);
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	OK(put("source", "KERNEL"));
	struct timespec ts[2] = { sb.st_atim, sb.st_mtim };
	EQ(utimensat(AT_FDCWD, "source", ts, 0), 0);
	OK(found("source", NULL));
	drop_state();
}

TEST(a_source_that_changes_meanwhile_is_not_added)
{
	autoclose int fd = -1;
	struct cache_entry e;
	char path[PATH_MAX];

	make_state();
	fd = open("source", O_RDONLY);
	EQ(cache_begin(&e, &st, fd), 0);
	OK(put("source", "longer than it was"));
	EQ(cache_commit(&e), -E_AGAIN);
	cache_end(&e);
	EQ(entries(path), 0);
	drop_state();
}

TEST(what_is_not_committed_leaves_nothing)
{
	autoclose int fd = -1;
	struct cache_entry e;
	char path[PATH_MAX];

	make_state();
	fd = open("source", O_RDONLY);
	EQ(cache_begin(&e, &st, fd), 0);
	EQ(entries(path), 1);
	cache_end(&e);
	cache_end(&e);
	EQ(entries(path), 0);
	drop_state();
}

TEST(entries_may_be_deleted_at_any_time)
{
	char path[PATH_MAX];

	make_state();
	EQ(add("source", "elf"), 0);
	EQ(entries(path), 1);
	OK(unlink(path) == 0 && found("source", NULL));
	EQ(add("source", "elf"), 0);
	OK(found("source", "elf"));
	drop_state();
}

TEST(what_nobody_used_goes_and_use_is_noted)
{
	char path[PATH_MAX];
	struct stat sb;

	make_state();
	OK(put("other", "x") && put("third", "y"));
	EQ(add("source", "elf"), 0);
	EQ(entries(path), 1);
	OK(set_age(path, CACHE_DAYS + 1));
	OK(put("s/cache/.new.1-0", "") && put("s/cache/.new.1-1", "") &&
	   set_age("s/cache/.new.1-0", 2));
	OK(found("source", "elf"));	/* touches it */
	OK(stat(path, &sb) == 0 && sb.st_mtime > time(NULL) - 100);
	EQ(add("other", "elf"), 0);
	OK(found("source", "elf") && found("other", "elf"));
	OK(!is_there("s/cache/.new.1-0") && is_there("s/cache/.new.1-1"));
	OK(set_age(path, CACHE_DAYS + 1));
	EQ(add("third", "elf"), 0);
	OK(found("source", NULL) && found("other", "elf"));
	drop_state();
}

TEST(odd_entries_are_not_opened)
{
	char path[PATH_MAX];

	make_state();
	EQ(add("source", "elf"), 0);
	EQ(entries(path), 1);
	OK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
	OK(!found("source", "elf"));
	OK(unlink(path) == 0 && symlink("/etc/passwd", path) == 0);
	OK(!found("source", "elf"));
	EQ(add("source", "elf"), 0);
	OK(found("source", "elf"));
	drop_state();
}

TESTS(T(what_was_added_is_found),
      T(a_source_that_was_replaced_or_changed_is_not_served),
      T(a_source_that_changes_meanwhile_is_not_added),
      T(what_is_not_committed_leaves_nothing),
      T(entries_may_be_deleted_at_any_time),
      T(what_nobody_used_goes_and_use_is_noted), T(odd_entries_are_not_opened))
