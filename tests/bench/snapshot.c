/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snapshot.c - how long a guest stands still for its memory to be saved: the
 * time mem_save() takes, which forks, and that of touching all of it again
 * beside the child.
 *
 * usage: snapshot MEGABYTES huge|small	prints both in microseconds
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "base/err.h"
#include "vmm/mem_save.h"

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

static void touch(const struct mem *m, char c)
{
	for (int i = 0; i < m->n; i++)
		for (uint64_t at = 0; at < m->range[i].size; at += 4096)
			mem_write(m, m->range[i].base + at, &c, 1);
}

static int measure(const struct mem *m)
{
	int fd = memfd_create("mem", MFD_CLOEXEC), p[2], pidfd;
	uint64_t start, forked, done;

	if (fd < 0 || pipe2(p, O_CLOEXEC) < 0)
		return -1;
	/* It gives up before it writes, so that is not measured. */
	close(p[0]);
	start = now_us();
	pidfd = mem_save(m, fd, p[1]);
	forked = now_us();
	if (pidfd < 0)
		return -1;
	touch(m, 'b');
	done = now_us();
	mem_save_end(pidfd, true);
	printf("%llu %llu\n", (unsigned long long)(forked - start),
	       (unsigned long long)(done - forked));
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t bytes = argc == 3 ? strtoull(argv[1], NULL, 10) << 20 : 0;
	struct mem m;

	if (!bytes)
		return 2;
	if (!strcmp(argv[2], "small"))
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (mem_init(&m, bytes, 3ULL << 30) < 0) {
		fprintf(stderr, "snapshot: %s\n", err_text());
		return 1;
	}
	touch(&m, 'a');
	return measure(&m) < 0;
}
