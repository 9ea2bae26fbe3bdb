/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scratch.h - a directory of a test's own, and small ways to fill it.
 *
 *	char dir[SCRATCH_BYTES];
 *
 *	scratch_make(dir);	chdir()s into it
 *	put("vms/web1/config", "cpus=2\n");
 *	scratch_remove(dir);
 */
#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { SCRATCH_BYTES = PATH_MAX };

static inline void scratch_make(char *dir)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, SCRATCH_BYTES, "%s/vmutils-test-XXXXXX",
		 tmp ? tmp : "/tmp");
	if (!mkdtemp(dir) || chdir(dir) < 0) {
		printf("Bail out! %s: %s\n", dir, strerror(errno));
		exit(1);
	}
}

static inline void scratch_remove(const char *dir)
{
	if (chdir("/") == 0)
		remove_tree(AT_FDCWD, dir);
}

/* Writes TEXT to PATH; whether it could. */
static inline bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && write_all(fd, text, strlen(text)) == 0;

	close_fd(&fd);
	return ok;
}

static inline bool is_there(const char *path)
{
	struct stat sb;

	return lstat(path, &sb) == 0;
}

/*
 * Removes the directory open as FD, closes it. It may be an old one: a state
 * directory's inode number is used again, and what a killed VM left is there.
 */
static inline bool remove_fd(int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	close(fd);
	return remove_tree(AT_FDCWD, path) == 0;
}

#endif
