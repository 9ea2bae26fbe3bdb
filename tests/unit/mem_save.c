/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/err.h"
#include "vmm/mem_save.h"

#include "scratch.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
static const gpa_t high = 4 * GIB;

enum { PAGE = 4096 };

static char dir[SCRATCH_BYTES];

static int new_file(const char *name)
{
	return open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

/* 6 MiB below and 6 above, of which a few pages hold something. */
static bool make(struct mem *m)
{
	static const gpa_t at[] = { 0, 5 * PAGE + 4000, 3 * MIB, 6 * MIB - 4,
				    high, high + 3 * MIB + 17 };
	bool ok = mem_init(m, 12 * MIB, 6 * MIB) == 0;

	for (size_t i = 0; i < ARRAY_SIZE(at) && ok; i++)
		ok = mem_write(m, at[i], "some", 4) == 0;
	/* Touched, and zero. */
	return ok && mem_zero(m, MIB, PAGE) == 0;
}

static bool same_range(const struct mem_range *a, const struct mem_range *b)
{
	return a->base == b->base && a->size == b->size &&
	       !memcmp(a->host, b->host, a->size);
}

static bool same(const struct mem *a, const struct mem *b)
{
	bool ok = a->n == b->n;

	for (int i = 0; i < a->n && ok; i++)
		ok = same_range(&a->range[i], &b->range[i]);
	return ok;
}

/* Bytes the file FD takes. */
static uint64_t taken(int fd)
{
	struct stat sb;

	return fstat(fd, &sb) < 0 ? UINT64_MAX : (uint64_t)sb.st_blocks * 512;
}

/* Saves M into FD by a child; its report into SAID, then the child's end. */
static int save(const struct mem *m, int fd, char *said, size_t size)
{
	int p[2], pidfd;
	ssize_t n;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pidfd = mem_save(m, fd, p[1]);
	close(p[1]);
	n = pidfd < 0 ? 0 : read_up_to(p[0], said, size - 1);
	said[n < 0 ? 0 : n] = '\0';
	close(p[0]);
	return pidfd < 0 ? pidfd : mem_save_end(pidfd, false);
}

TEST(what_is_saved_is_mapped_again)
{
	int fd = new_file("mem");
	struct mem m, again;
	char said[200];

	OK(make(&m));
	EQ(save(&m, fd, said, sizeof(said)), 0);
	STR(said, "ok\n");
	EQ(mem_map(&again, fd, m.size, 6 * MIB, "mem"), 0);
	OK(same(&m, &again));
	mem_release(&again);
	mem_release(&m);
	close(fd);
}

TEST(pages_untouched_or_zero_are_holes)
{
	int fd = new_file("mem");
	char said[200], c;
	struct mem m;

	OK(make(&m));
	EQ(mem_read(&m, 2 * MIB, &c, 1), 0);
	EQ(save(&m, fd, said, sizeof(said)), 0);
	OK(taken(fd) <= 8 * PAGE);
	EQ(lseek(fd, MIB, SEEK_DATA), 3 * MIB);
	EQ(lseek(fd, 0, SEEK_END), 12 * MIB);
	mem_release(&m);
	close(fd);
}

TEST(file_that_held_something_is_made_anew)
{
	int fd = new_file("mem");
	struct mem m, again;
	char said[200];

	EQ(pwrite(fd, "old", 3, MIB + 5), 3);
	EQ(ftruncate(fd, 13 * MIB), 0);
	OK(make(&m));
	EQ(save(&m, fd, said, sizeof(said)), 0);
	EQ(mem_map(&again, fd, m.size, 6 * MIB, "mem"), 0);
	OK(same(&m, &again));
	mem_release(&again);
	mem_release(&m);
	close(fd);
}

TEST(what_is_written_after_the_fork_is_not_saved)
{
	int fd = new_file("mem"), p[2], pidfd;
	struct mem m, again;
	char buf[8];

	OK(make(&m));
	EQ(pipe2(p, O_CLOEXEC), 0);
	pidfd = mem_save(&m, fd, p[1]);
	OK(pidfd >= 0);
	EQ(mem_write(&m, 0, "late", 4), 0);
	EQ(mem_write(&m, 2 * MIB, "late", 4), 0);
	EQ(read(p[0], buf, sizeof(buf)), 3);
	EQ(mem_save_end(pidfd, false), 0);
	EQ(mem_map(&again, fd, m.size, 6 * MIB, "mem"), 0);
	EQ(mem_read(&again, 0, buf, 4), 0);
	OK(!memcmp(buf, "some", 4));
	EQ(mem_read(&again, 2 * MIB, buf, 4), 0);
	OK(is_zero(buf, 4));
	mem_release(&again);
	mem_release(&m);
	close(fd);
	close(p[0]);
	close(p[1]);
}

TEST(mapped_file_stays_as_it_is)
{
	int fd = new_file("mem");
	char said[200], buf[4];
	struct mem m, again;

	OK(make(&m));
	EQ(save(&m, fd, said, sizeof(said)), 0);
	EQ(mem_map(&again, fd, m.size, 6 * MIB, "mem"), 0);
	EQ(mem_write(&again, 0, "mine", 4), 0);
	EQ(mem_write(&again, 2 * MIB, "mine", 4), 0);
	EQ(mem_read(&again, 0, buf, 4), 0);
	OK(!memcmp(buf, "mine", 4));
	EQ(pread(fd, buf, 4, 0), 4);
	OK(!memcmp(buf, "some", 4));
	EQ(pread(fd, buf, 4, 2 * MIB), 4);
	OK(is_zero(buf, 4));
	mem_release(&again);
	mem_release(&m);
	close(fd);
}

/* Changes a mapped memory, and saves it to FD; whether FD is what it is. */
static bool saves_the_changed(struct mem *m, int fd)
{
	struct mem again;
	char said[200], c;
	bool ok;

	/* read; made zero; new where the file has a hole, and beside data */
	mem_read(m, 5 * PAGE + 4000, &c, 1);
	mem_zero(m, 3 * MIB, PAGE);
	mem_write(m, MIB + 1, "more", 4);
	mem_write(m, high + 3 * MIB + PAGE, "more", 4);
	ok = save(m, fd, said, sizeof(said)) == 0 && !strcmp(said, "ok\n") &&
	     taken(fd) <= 9 * PAGE &&
	     mem_map(&again, fd, m->size, 6 * MIB, "mem") == 0;
	if (!ok)
		return false;
	ok = same(m, &again);
	mem_release(&again);
	return ok;
}

TEST(mapped_memory_is_saved_with_what_changed)
{
	int first = new_file("mem1"), second = new_file("mem2");
	struct mem m, again;
	char said[200];

	OK(make(&m));
	EQ(save(&m, first, said, sizeof(said)), 0);
	mem_release(&m);
	EQ(mem_map(&again, first, 12 * MIB, 6 * MIB, "mem"), 0);
	close(first);
	EQ(unlink("mem1"), 0);
	OK(saves_the_changed(&again, second));
	mem_release(&again);
	close(second);
}

TEST(and_so_it_is_to_another_file_system)
{
	int first = new_file("mem"), second = memfd_create("mem", MFD_CLOEXEC);
	struct mem m, again;
	char said[200];

	OK(make(&m));
	EQ(save(&m, first, said, sizeof(said)), 0);
	mem_release(&m);
	EQ(mem_map(&again, first, 12 * MIB, 6 * MIB, "mem"), 0);
	OK(saves_the_changed(&again, second));
	mem_release(&again);
	close(first);
	close(second);
}

/* The limit keeps mem_save_write() from opening anything. */
static int write_blindly(const struct mem *m, int fd)
{
	struct rlimit old, none;
	int rc;

	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	rc = mem_save_write(m, fd, -1);
	setrlimit(RLIMIT_NOFILE, &old);
	return rc;
}

TEST(kernel_that_does_not_tell_what_was_touched_will_do)
{
	int first = new_file("mem1"), second = new_file("mem2");
	struct mem m, again, third;

	OK(make(&m));
	EQ(write_blindly(&m, first), 0);
	OK(taken(first) <= 8 * PAGE);
	EQ(mem_map(&again, first, m.size, 6 * MIB, "mem"), 0);
	OK(same(&m, &again));
	EQ(mem_write(&again, MIB, "more", 4), 0);
	EQ(write_blindly(&again, second), 0);
	EQ(mem_map(&third, second, m.size, 6 * MIB, "mem"), 0);
	OK(same(&again, &third));
	mem_release(&third);
	mem_release(&again);
	mem_release(&m);
	close(first);
	close(second);
}

TEST(file_of_another_size_is_refused)
{
	int fd = new_file("mem"), p[2];
	struct mem m;

	EQ(ftruncate(fd, 12 * MIB - 1), 0);
	EQ(mem_map(&m, fd, 12 * MIB, 6 * MIB, "mem"), -E_VERIFY);
	STR(err_text(), "mem: has 12M, the guest's memory 12M");
	EQ(ftruncate(fd, 12 * MIB + 1), 0);
	EQ(mem_map(&m, fd, 12 * MIB, 6 * MIB, "mem"), -E_VERIFY);
	EQ(ftruncate(fd, 0), 0);
	EQ(mem_map(&m, fd, 12 * MIB, 6 * MIB, "mem"), -E_VERIFY);
	EQ(mem_map(&m, fd, 0, 6 * MIB, "mem"), -E_CONFIG);
	EQ(pipe2(p, O_CLOEXEC), 0);
	EQ(mem_map(&m, p[0], 12 * MIB, 6 * MIB, "mem"), -E_CONFIG);
	EQ(mem_map(&m, -1, 12 * MIB, 6 * MIB, "mem"), -EBADF);
	EQ(m.n, 0);
	mem_release(&m);
	close(fd);
	close(p[0]);
	close(p[1]);
}

TEST(file_cut_short_since_is_no_zeros)
{
	int fd = new_file("mem1"), second = new_file("mem2");
	struct mem m;

	EQ(ftruncate(fd, 12 * MIB), 0);
	EQ(mem_map(&m, fd, 12 * MIB, 6 * MIB, "mem"), 0);
	EQ(ftruncate(fd, 6 * MIB), 0);
	EQ(mem_save_write(&m, second, -1), -EIO);
	mem_release(&m);
	close(fd);
	close(second);
}

/* Many pieces of data, far apart: more than are mapped each for itself. */
TEST(any_pattern_of_data_and_holes_is_mapped)
{
	int fd = new_file("mem");
	uint64_t size = 1100 * 4 * MIB;
	struct mem m;
	uint32_t v;

	EQ(ftruncate(fd, size), 0);
	for (uint32_t i = 0; i < 1100; i++)
		EQ(pwrite(fd, &i, 4, i * 4 * MIB + i % 7 * MIB / 2), 4);
	EQ(mem_map(&m, fd, size, 3 * GIB, "mem"), 0);
	for (uint32_t i = 0; i < 1100; i++) {
		uint64_t off = i * 4 * MIB + i % 7 * MIB / 2;

		EQ(mem_read(&m, off < 3 * GIB ? off : off + GIB, &v, 4), 0);
		EQ(v, i);
	}
	mem_release(&m);
	close(fd);
}

/* One in which file systems may be mounted, seen by nobody else. */
static bool enter_namespace(void)
{
	char users[32], groups[32];

	snprintf(users, sizeof(users), "0 %u 1", geteuid());
	snprintf(groups, sizeof(groups), "0 %u 1", getegid());
	if (unshare(CLONE_NEWNS) < 0 &&
	    (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ||
	     !put("/proc/self/uid_map", users) ||
	     !put("/proc/self/setgroups", "deny") ||
	     !put("/proc/self/gid_map", groups)))
		return false;
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* In a process of its own: a file system of 1 MiB. 0: it is said to be full. */
static int fill_small_fs(void)
{
	char said[200];
	struct mem m;
	int fd;

	if (!enter_namespace() ||
	    mount("none", "small", "tmpfs", 0, "size=1M") < 0)
		return 2;
	fd = new_file("small/mem");
	if (fd < 0 || mem_init(&m, 4 * MIB, GIB) < 0)
		return 1;
	for (gpa_t at = 0; at < 4 * MIB; at += PAGE)
		mem_write(&m, at, "x", 1);
	return save(&m, fd, said, sizeof(said)) == -E_AGAIN &&
	       !strcmp(said, "fail 1 memory of the guest: No space left on "
		       "device\n") ? 0 : 1;
}

TEST(full_file_system_is_said)
{
	int status;
	pid_t pid;

	EQ(mkdir("small", 0700), 0);
	pid = fork();
	if (pid == 0)
		_exit(fill_small_fs());
	EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		SKIP("no namespaces");
	EQ(status, 0);
}

TEST(limit_of_a_files_size_is_said)
{
	struct rlimit old, small;
	int fd = new_file("mem"), rc;
	char said[200];
	struct mem m;

	OK(make(&m));
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = MIB;
	setrlimit(RLIMIT_FSIZE, &small);
	rc = save(&m, fd, said, sizeof(said));
	setrlimit(RLIMIT_FSIZE, &old);
	EQ(rc, -E_AGAIN);
	STR(said, "fail 1 memory of the guest: File too large\n");
	mem_release(&m);
	close(fd);
}

TEST(writer_whose_reader_is_gone_gives_up)
{
	int fd = new_file("mem"), p[2], pidfd;
	struct mem m;

	OK(make(&m));
	EQ(pipe2(p, O_CLOEXEC), 0);
	close(p[0]);
	EQ(mem_save_write(&m, fd, p[1]), -ECANCELED);
	pidfd = mem_save(&m, fd, p[1]);
	OK(pidfd >= 0);
	EQ(mem_save_end(pidfd, false), -E_AGAIN);
	EQ(taken(fd), 0);
	mem_release(&m);
	close(fd);
	close(p[1]);
}

/* A writer that does not end: nobody takes what fills the pipe of its report. */
static int start_stuck(const struct mem *m, int fd, int *p)
{
	char page[PAGE] = { 0 };

	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	while (write(p[1], page, sizeof(page)) > 0)
		;
	return mem_save(m, fd, p[1]);
}

static bool ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

TEST(writer_keeps_no_descriptor_of_ours)
{
	int fd = new_file("mem"), p[2], ours[2], pidfd;
	struct mem m;
	char c;

	OK(make(&m));
	EQ(pipe(ours), 0);
	pidfd = start_stuck(&m, fd, p);
	OK(pidfd >= 0);
	close(ours[1]);
	EQ(read(ours[0], &c, 1), 0);
	OK(!ended(pidfd));
	EQ(mem_save_end(pidfd, true), -E_AGAIN);
	close(ours[0]);
	close(p[0]);
	close(p[1]);
	close(fd);
	mem_release(&m);
}

TEST(report_waits_for_room)
{
	int fd = new_file("mem"), p[2], pidfd;
	char page[PAGE], last[4] = "";
	struct mem m;

	OK(make(&m));
	pidfd = start_stuck(&m, fd, p);
	OK(pidfd >= 0);
	close(p[1]);
	fcntl(p[0], F_SETFL, 0);
	for (ssize_t n; (n = read(p[0], page, sizeof(page))) > 0;)
		if (n >= 3)
			memcpy(last, page + n - 3, 3);
	STR(last, "ok\n");
	EQ(mem_save_end(pidfd, false), 0);
	close(p[0]);
	close(fd);
	mem_release(&m);
}

static const struct test tests[] = {
	T(what_is_saved_is_mapped_again),
	T(pages_untouched_or_zero_are_holes),
	T(file_that_held_something_is_made_anew),
	T(what_is_written_after_the_fork_is_not_saved),
	T(mapped_file_stays_as_it_is),
	T(mapped_memory_is_saved_with_what_changed),
	T(and_so_it_is_to_another_file_system),
	T(kernel_that_does_not_tell_what_was_touched_will_do),
	T(file_of_another_size_is_refused),
	T(file_cut_short_since_is_no_zeros),
	T(any_pattern_of_data_and_holes_is_mapped),
	T(full_file_system_is_said),
	T(limit_of_a_files_size_is_said),
	T(writer_whose_reader_is_gone_gives_up),
	T(writer_keeps_no_descriptor_of_ours),
	T(report_waits_for_room),
};

int main(void)
{
	int rc;

	scratch_make(dir);
	rc = test_run(tests, ARRAY_SIZE(tests));
	scratch_remove(dir);
	return rc;
}
