/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk.h - an ext4 disk `d` of a test's own, and what e2fsprogs say of it.
 */
#ifndef TESTS_UNIT_DISK_H
#define TESTS_UNIT_DISK_H

#include <sys/wait.h>

#include "base/err.h"
#include "block/block.h"
#include "image/ext4.h"
#include "image/ext4_read.h"

#include "scratch.h"

static char dir[SCRATCH_BYTES];
static struct ext4 disk;
static int disk_fd = -1;

static inline int begin_disk(uint64_t size)
{
	struct ext4_conf conf = { .size = size, .inodes = 100000,
				  .label = "test" };

	scratch_make(dir);
	disk_fd = open("d", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return ext4_begin(&disk, disk_fd, &conf);
}

/* The disk as it is read. */
static inline struct block *open_block(int fd)
{
	struct block *b = NULL;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (raw_open(&b, path, true) < 0)
		printf("# %s\n", err_text());
	return b;
}

/* What PATH holds by our own reader; valid until the next call. */
static inline const char *holds(const char *path)
{
	static struct buf text = BUF_INIT;
	struct block *b = open_block(disk_fd);
	struct ext4_view v;
	int rc = ext4_open(&v, b, 0, b->size);

	buf_clear(&text);
	if (rc == 0)
		rc = ext4_read(&v, path, &text, 64 << 20);
	ext4_close(&v);
	block_close(b);
	return rc < 0 ? err_text() : text.data;
}

static inline void drop_disk(void)
{
	ext4_release(&disk);
	close(disk_fd);
	disk_fd = -1;
	scratch_remove(dir);
}

/*
 * Runs a program of e2fsprogs, its output into the file `said`; its exit
 * status, -1 when there is no such program.
 */
static inline int run_tool(const char *tool, const char *arg, const char *arg2)
{
	char path[64];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "/sbin/%s", tool);
	pid = fork();
	if (pid == 0) {
		int fd = open("said", O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(fd, 1);
		dup2(fd, 2);
		if (arg2)
			execl(path, tool, arg, arg2, "d", (char *)NULL);
		else
			execl(path, tool, arg, "d", (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    WEXITSTATUS(status) == 127)
		return -1;
	return WEXITSTATUS(status);
}

/* What the file `said` holds; valid until the next call. */
static inline const char *said(void)
{
	static struct buf b = BUF_INIT;

	buf_clear(&b);
	file_read(AT_FDCWD, "said", &b, 1 << 20);
	return b.data;
}

static inline bool is_clean(void)
{
	int rc = run_tool("e2fsck", "-fn", NULL);

	if (rc != 0)
		printf("# e2fsck: %d\n%s\n", rc, said());
	return rc == 0;
}

/* What debugfs answers to COMMAND. */
static inline const char *ask(const char *command)
{
	return run_tool("debugfs", "-R", command) == 0 ? said() : "";
}

#define HAVE_E2FSPROGS (access("/sbin/e2fsck", X_OK) == 0 && \
			access("/sbin/debugfs", X_OK) == 0)

#endif
