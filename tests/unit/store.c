/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/store.h"

#include <sys/wait.h>

#include "base/err.h"

#include "scratch.h"
#include "test.h"

static char dir[SCRATCH_BYTES];

static bool opens(const char *path, bool create)
{
	struct store st;
	int rc = store_open(&st, path, create);

	if (rc < 0)
		printf("# %s\n", err_text());
	store_close(&st);
	return rc == 0;
}

TEST(a_missing_state_is_an_empty_one)
{
	struct store st;

	scratch_make(dir);
	EQ(store_open(&st, "none/here", false), 0);
	EQ(st.fd, -1);
	EQ(st.vms, -1);
	STR(st.path, "none/here");
	EQ(store_run(&st, false), -ENOENT);
	EQ(store_dir(&st, "vms", false), -ENOENT);
	store_close(&st);
	OK(!is_there("none"));
	scratch_remove(dir);
}

TEST(a_state_made_meanwhile_is_seen_when_looked_for_again)
{
	struct store st;

	scratch_make(dir);
	EQ(store_open(&st, "s", false), 0);
	EQ(store_again(&st), 0);
	EQ(st.vms, -1);
	OK(opens("s", true));
	EQ(store_again(&st), 0);
	OK(st.fd >= 0 && st.vms >= 0);
	EQ(store_again(&st), 0);
	store_close(&st);
	EQ(store_open(&st, "t", false), 0);
	OK(opens("t", true) && put("t/format", "7\n"));
	EQ(store_again(&st), -E_CONFIG);
	store_close(&st);
	scratch_remove(dir);
}

TEST(a_state_is_made_with_its_format)
{
	struct buf b = BUF_INIT;
	struct store st;

	scratch_make(dir);
	EQ(store_open(&st, "a/b", true), 0);
	OK(st.fd >= 0 && st.vms >= 0);
	EQ(file_read(st.fd, "format", &b, 9), 0);
	STR(b.data, "1\n");
	store_close(&st);
	EQ(st.fd, -1);
	EQ(store_open(&st, "a/b", false), 0);
	OK(st.vms >= 0);
	store_close(&st);
	buf_release(&b);
	scratch_remove(dir);
}

TEST(what_a_killed_maker_left_is_finished)
{
	scratch_make(dir);
	OK(mkdir("s", 0700) == 0 && opens("s", false) && opens("s", true));
	OK(mkdir("t", 0700) == 0 && put("t/.format.new0", "") &&
	   mkdir("t/lost+found", 0700) == 0);
	OK(opens("t", false) && opens("t", true) && is_there("t/vms"));
	OK(mkdir("u", 0700) == 0 && put("u/format", "1\n"));
	OK(opens("u", false) && opens("u", true) && is_there("u/vms"));
	scratch_remove(dir);
}

TEST(other_directories_are_left_alone)
{
	struct store st;

	scratch_make(dir);
	OK(mkdir("home", 0700) == 0 && put("home/letter", "x") &&
	   put("file", "x"));
	EQ(store_open(&st, "home", true), -E_CONFIG);
	STR(err_text(), "home: not a state directory (it has no file "
	    "'format')");
	OK(!is_there("home/format"));
	EQ(store_open(&st, "file", true), -E_CONFIG);
	STR(err_text(), "file: not a directory");
	EQ(store_open(&st, "", true), -E_USAGE);
	scratch_remove(dir);
}

TEST(a_newer_format_is_refused_by_readers_and_writers)
{
	static const struct { const char *text, *why; } bad[] = {
		{ "7\n", "s: is of format 7; this vmutils reads up to 1" },
		{ "x\n", "s: format 'x': not a format's number" },
		{ "", "s: format '': not a format's number" },
		{ "0\n", "s: format '0': not a format's number" },
		{ "1\n1\n", "s: format '1?1': not a format's number" },
		{ "1111111111111111111111111111111111111111111111111",
		  "s: format: larger than 32 bytes" },
	};
	struct store st;

	scratch_make(dir);
	OK(opens("s", true));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		OK(put("s/format", bad[i].text));
		for (int create = 0; create < 2; create++) {
			EQ(store_open(&st, "s", create), -E_CONFIG);
			STR(err_text(), bad[i].why);
		}
	}
	scratch_remove(dir);
}

TEST(odd_files_in_the_state_are_named_and_never_waited_for)
{
	struct store st;

	scratch_make(dir);
	OK(mkdir("a", 0700) == 0 && mkfifo("a/format", 0600) == 0);
	EQ(store_open(&st, "a", true), -E_CONFIG);
	STR(err_text(), "a: format: not a regular file");
	OK(mkdir("b", 0700) == 0 && put("b/format", "1\n") &&
	   symlink("/tmp", "b/vms") == 0);
	EQ(store_open(&st, "b", true), -E_CONFIG);
	STR(err_text(), "b/vms: not a directory");
	OK(mkfifo("c", 0600) == 0);
	EQ(store_open(&st, "c", true), -E_CONFIG);
	OK(symlink("nowhere", "d") == 0);
	EQ(store_open(&st, "d", true), -ENOENT);
	scratch_remove(dir);
}

TEST(many_makers_at_once_make_one_state)
{
	int status, failed = 0;

	scratch_make(dir);
	for (int i = 0; i < 8; i++)
		if (fork() == 0)
			_exit(!opens("x/y", true));
	while (wait(&status) > 0)
		failed += status != 0;
	EQ(failed, 0);
	OK(opens("x/y", false));
	scratch_remove(dir);
}

TEST(the_path_comes_from_the_option_or_the_environment)
{
	struct store st;

	scratch_make(dir);
	setenv("VM_STATE", "from-env", 1);
	EQ(store_open(&st, NULL, false), 0);
	STR(st.path, "from-env");
	store_close(&st);
	EQ(store_open(&st, "given", false), 0);
	STR(st.path, "given");
	store_close(&st);
	setenv("VM_STATE", "", 1);
	if (geteuid() == 0) {
		EQ(store_open(&st, NULL, false), 0);
		STR(st.path, "/var/lib/vmutils");
		store_close(&st);
	}
	unsetenv("VM_STATE");
	scratch_remove(dir);
}

TEST(each_state_has_a_run_directory_of_its_own)
{
	struct store a, b;
	int ra, rb;

	scratch_make(dir);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	EQ(store_open(&a, "a", true), 0);
	EQ(store_open(&b, "b", true), 0);
	ra = store_run(&a, true);
	rb = store_run(&b, true);
	OK(ra >= 0 && rb >= 0);
	OK(mkdirat(ra, "web1", 0700) == 0);
	OK(faccessat(rb, "web1", F_OK, 0) < 0);
	OK(unlinkat(ra, "web1", AT_REMOVEDIR) == 0);
	OK(fchmodat(ra, ".", 0755, 0) == 0);
	EQ(store_run(&a, false), -EACCES);
	OK(remove_fd(ra) && remove_fd(rb));
	EQ(store_run(&a, false), -ENOENT);
	store_close(&a);
	store_close(&b);
	unsetenv("XDG_RUNTIME_DIR");
	scratch_remove(dir);
}

TESTS(T(a_missing_state_is_an_empty_one),
      T(a_state_made_meanwhile_is_seen_when_looked_for_again),
      T(a_state_is_made_with_its_format),
      T(what_a_killed_maker_left_is_finished),
      T(other_directories_are_left_alone),
      T(a_newer_format_is_refused_by_readers_and_writers),
      T(odd_files_in_the_state_are_named_and_never_waited_for),
      T(many_makers_at_once_make_one_state),
      T(the_path_comes_from_the_option_or_the_environment),
      T(each_state_has_a_run_directory_of_its_own))
