/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/file.h"

#include <errno.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/log.h"

#include "scratch.h"
#include "test.h"

enum { WRITERS = 4, ROUNDS = 50, BIG = 20000 };

TEST(only_regular_files_are_opened_and_none_is_waited_for)
{
	char dir[SCRATCH_BYTES];
	struct buf b = BUF_INIT;

	scratch_make(dir);
	OK(mkfifo("fifo", 0600) == 0 && symlink("fifo", "link") == 0 &&
	   mkdir("dir", 0700) == 0 && put("file", "x"));
	EQ(file_read(AT_FDCWD, "fifo", &b, 10), -E_CONFIG);
	STR(err_text(), "fifo: not a regular file");
	EQ(file_open(AT_FDCWD, "fifo", O_WRONLY, 0), -E_CONFIG);
	STR(err_text(), "fifo: not a regular file");
	EQ(file_open(AT_FDCWD, "dir", O_RDWR, 0), -E_CONFIG);
	EQ(file_read(AT_FDCWD, "dir", &b, 10), -E_CONFIG);
	STR(err_text(), "dir: not a regular file");
	EQ(file_read(AT_FDCWD, "link", &b, 10), -E_CONFIG);
	STR(err_text(), "link: a symbolic link");
	EQ(file_read(AT_FDCWD, "/dev/zero", &b, 10), -E_CONFIG);
	EQ(file_read(AT_FDCWD, "nothing", &b, 10), -ENOENT);
	EQ(b.len, 0);
	EQ(file_read(AT_FDCWD, "file", &b, 1), 0);
	STR(b.data, "x");
	EQ(file_read(AT_FDCWD, "file", &b, 0), -EFBIG);
	buf_release(&b);
	scratch_remove(dir);
}

static off_t size_of(const char *name)
{
	struct stat st;

	return stat(name, &st) < 0 ? -1 : st.st_size;
}

/* In a child, whose standard error it becomes. */
static int log_twice(void)
{
	int rc = log_open(AT_FDCWD);

	log_line("one");
	if (rc < 0 || truncate("log", LOG_MAX + 1) < 0)
		return 1;
	rc = log_open(AT_FDCWD);
	log_line("two");
	return rc < 0 || log_open(AT_FDCWD) < 0;
}

TEST(a_log_that_has_grown_is_put_aside_when_it_is_opened_again)
{
	char dir[SCRATCH_BYTES];
	int status = -1;
	pid_t pid;

	scratch_make(dir);
	pid = fork();
	if (pid == 0)
		_exit(log_twice());
	waitpid(pid, &status, 0);
	EQ(status, 0);
	EQ(size_of("log.old"), LOG_MAX + 1);
	EQ(size_of("log"), strlen("2026-01-31T12:00:00Z two\n"));
	OK(unlink("log") == 0 && symlink("log.old", "log") == 0);
	EQ(log_open(AT_FDCWD), -ELOOP);
	scratch_remove(dir);
}

static int write_many(int dirfd, char letter)
{
	char data[BIG];

	memset(data, letter, sizeof(data));
	for (int i = 0; i < ROUNDS; i++)
		if (file_replace(dirfd, "f", data, sizeof(data), 0600) < 0)
			return 1;
	return 0;
}

static bool is_whole(const struct buf *b)
{
	for (size_t i = 1; i < b->len; i++)
		if (b->data[i] != b->data[0])
			return false;
	return b->len == BIG;
}

TEST(files_replaced_by_many_at_once_are_always_whole)
{
	char dir[SCRATCH_BYTES];
	struct buf b = BUF_INIT;
	int left = WRITERS, status, fd;

	scratch_make(dir);
	/* file_replace() syncs its directory, so it needs a real one */
	fd = open(".", O_RDONLY | O_DIRECTORY);
	OK(fd >= 0);
	for (int i = 0; i < WRITERS; i++)
		if (fork() == 0)
			_exit(write_many(fd, 'a' + i));
	while (left) {
		if (waitpid(-1, &status, WNOHANG) > 0) {
			OK(status == 0);
			left--;
		}
		buf_clear(&b);
		if (file_read(fd, "f", &b, BIG) == 0)
			OK(is_whole(&b));
	}
	buf_release(&b);
	close(fd);
	scratch_remove(dir);
}

TEST(a_replacement_that_fails_leaves_the_old_file)
{
	char dir[SCRATCH_BYTES];
	struct buf b = BUF_INIT;
	int fd;

	scratch_make(dir);
	OK(put("f", "old") && mkdir("d", 0700) == 0);
	fd = open(".", O_RDONLY | O_DIRECTORY);
	EQ(file_replace(fd, "d", "new", 3, 0600), -EISDIR);
	STR(err_text(), "d: Is a directory");
	OK(!is_there(".d.new0"));
	OK(mkfifo(".f.new0", 0600) == 0);
	EQ(file_replace(fd, "f", "new", 3, 0600), -E_CONFIG);
	EQ(file_read(fd, "f", &b, 10), 0);
	STR(b.data, "old");
	buf_release(&b);
	close(fd);
	scratch_remove(dir);
}

TEST(what_a_killed_replacement_left_is_used_again)
{
	char dir[SCRATCH_BYTES];
	struct buf b = BUF_INIT;
	int fd;

	scratch_make(dir);
	OK(put(".f.new0", "a long half written rest"));
	fd = open(".", O_RDONLY | O_DIRECTORY);
	EQ(file_replace(fd, "f", "new", 3, 0600), 0);
	EQ(file_read(fd, "f", &b, 10), 0);
	STR(b.data, "new");
	OK(!is_there(".f.new0"));
	buf_release(&b);
	close(fd);
	scratch_remove(dir);
}

TEST(directories_are_made_with_their_parents)
{
	char dir[SCRATCH_BYTES];

	scratch_make(dir);
	EQ(make_dirs("a/b//c/"), 0);
	EQ(make_dirs("a/b/c"), 0);
	OK(is_there("a/b/c"));
	OK(put("file", ""));
	EQ(make_dirs("file/x"), -ENOTDIR);
	EQ(make_dirs(""), -ENOENT);
	EQ(make_dirs("/"), 0);
	scratch_remove(dir);
}

TESTS(T(only_regular_files_are_opened_and_none_is_waited_for),
      T(files_replaced_by_many_at_once_are_always_whole),
      T(a_replacement_that_fails_leaves_the_old_file),
      T(what_a_killed_replacement_left_is_used_again),
      T(a_log_that_has_grown_is_put_aside_when_it_is_opened_again),
      T(directories_are_made_with_their_parents))
