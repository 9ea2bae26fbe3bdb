/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/file.h"

#include "test.h"

enum { MIB = 1 << 20 };

static char dir[64];
static char path[96];

/* A new file of SIZE bytes as `path`. */
static bool make_file(off_t size)
{
	autoclose int fd = -1;

	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd >= 0 && ftruncate(fd, size) == 0;
}

static struct block *open_new(off_t size, bool readonly)
{
	struct block *b = NULL;

	if (!make_file(size) || raw_open(&b, path, readonly) < 0)
		return NULL;
	return b;
}

/* The exit status of FN in a child, -1 if it did not end by itself. */
static int in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(fn());
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* 0: opened; 1: busy, with the right sentence; 2: anything else. */
static int try_open(bool readonly)
{
	struct block *b;
	char said[160];
	int rc = raw_open(&b, path, readonly);

	snprintf(said, sizeof(said), "%s: in use by another process",
		 path);
	if (rc == 0) {
		block_close(b);
		return 0;
	}
	return rc == -E_BUSY && !strcmp(err_text(), said) ? 1 : 2;
}

static int try_write(void) { return try_open(false); }
static int try_read(void) { return try_open(true); }

/* Fills LEN bytes with what belongs at OFF of the pattern SEED. */
static void pattern(unsigned char *p, size_t len, uint64_t off, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = ((off + i) * 2654435761u + seed) >> 13;
}

TEST(what_was_written_is_read_back)
{
	struct block *b = open_new(MIB, false);
	static unsigned char out[64 << 10], in[64 << 10];

	OK(b);
	EQ(b->size, MIB);
	EQ(b->block_size, 512);
	for (unsigned seed = 0; seed < 32; seed++) {
		uint64_t off = seed * 31 * 512, len = (1 + seed * 3) * 512;
		struct iovec w[] = { { out, 1 }, { out + 1, 0 },
				     { out + 1, len - 1 } };
		struct iovec r[] = { { in, 0 }, { in, len - 7 },
				     { in + len - 7, 7 } };

		pattern(out, len, off, seed);
		EQ(block_writev(b, w, 3, off), 0);
		EQ(block_readv(b, r, 3, off), 0);
		OK(!memcmp(in, out, len));
	}
	EQ(block_flush(b), 0);
	block_close(b);
}

TEST(more_segments_than_the_kernel_takes_at_once)
{
	enum { N = 3000 };
	struct block *b = open_new(2 * N * 512, false);
	static unsigned char out[N * 512], in[N * 512];
	struct iovec v[N];

	OK(b);
	pattern(out, sizeof(out), 0, 1);
	for (int i = 0; i < N; i++)
		v[i] = (struct iovec){ out + i * 512, 512 };
	EQ(block_writev(b, v, N, 512), 0);
	for (int i = 0; i < N; i++)
		v[i] = (struct iovec){ in + i * 512, 512 };
	EQ(block_readv(b, v, N, 512), 0);
	OK(!memcmp(in, out, sizeof(in)));
	block_close(b);
}

TEST(a_transfer_stays_within_the_disk_and_on_its_blocks)
{
	struct block *b = open_new(MIB, false);
	static char buf[1024];
	static const struct { uint64_t off, len; int rc; } cases[] = {
		{ MIB - 512, 512, 0 },
		{ MIB, 0, 0 },
		{ MIB, 512, -EIO },
		{ MIB - 512, 1024, -EIO },
		{ MIB + 512, 0, -EIO },
		{ 0, 511, -EIO },
		{ 1, 512, -EIO },
		{ UINT64_MAX - 511, 512, -EIO },
		{ 1ULL << 63, 512, -EIO },
		{ UINT64_MAX, 0, -EIO },
	};

	OK(b);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct iovec v = { buf, cases[i].len };

		EQ(block_readv(b, &v, 1, cases[i].off), cases[i].rc);
		v = (struct iovec){ buf, cases[i].len };
		EQ(block_writev(b, &v, 1, cases[i].off), cases[i].rc);
	}
	struct iovec huge[] = { { buf, SIZE_MAX }, { buf, 513 } };

	EQ(block_readv(b, huge, 2, 0), -EIO);
	block_close(b);
}

/* Every part of a disk of a few blocks, also with blocks of 4 KiB. */
TEST(a_parser_reads_at_any_place_and_length)
{
	uint8_t data[5 * 4096], got[sizeof(data)];
	struct block *b = open_new(sizeof(data), false);
	struct iovec iov = { data, sizeof(data) };

	OK(b);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i / 7 ^ i;
	EQ(block_writev(b, &iov, 1, 0), 0);
	for (b->block_size = 512; b->block_size <= 4096; b->block_size *= 8)
		for (size_t off = 0; off < sizeof(data); off += 509)
			for (size_t n = 0; n <= sizeof(data) - off; n += 1021) {
				memset(got, 0, sizeof(got));
				EQ(block_read(b, got, n, off), 0);
				OK(!memcmp(got, data + off, n));
				OK(is_zero(got + n, sizeof(got) - n));
			}
	b->block_size = 512;
	EQ(block_read(b, got, 1, sizeof(data) - 1), 0);
	EQ(block_read(b, got, 2, sizeof(data) - 1), -EIO);
	EQ(block_read(b, got, 2, UINT64_MAX), -EIO);
	EQ(block_read(b, got, 0, sizeof(data)), 0);
	block_close(b);
}

TEST(a_file_cut_short_is_an_error_not_a_loop)
{
	struct block *b = open_new(MIB, false);
	static char buf[1024];
	struct iovec v = { buf, 1024 };

	OK(b);
	EQ(truncate(path, 512), 0);
	EQ(block_readv(b, &v, 1, 0), -EIO);
	block_close(b);
}

TEST(readonly_disks_refuse_writes)
{
	struct block *b = open_new(MIB, true);
	static char buf[512];
	struct iovec v = { buf, 512 };

	OK(b);
	OK(b->readonly);
	EQ(block_writev(b, &v, 1, 0), -EROFS);
	EQ(block_readv(b, &v, 1, 0), 0);
	EQ(block_flush(b), 0);
	block_close(b);
}

TEST(odd_sizes_lose_their_tail_and_small_ones_are_refused)
{
	struct block *b = open_new(3 * 512 + 100, false);

	OK(b);
	EQ(b->size, 3 * 512);
	block_close(b);
	OK(make_file(511));
	EQ(raw_open(&b, path, false), -E_CONFIG);
	OK(make_file(0));
	EQ(raw_open(&b, path, false), -E_CONFIG);
	OK(strstr(err_text(), "less than one block"));
}

TEST(a_writer_excludes_all_others)
{
	struct block *b = open_new(MIB, false);

	OK(b);
	EQ(in_child(try_write), 1);
	EQ(in_child(try_read), 1);
	EQ(try_open(false), 1);
	block_close(b);
	EQ(in_child(try_write), 0);
}

TEST(readers_share_and_exclude_writers)
{
	struct block *b = open_new(MIB, true);

	OK(b);
	EQ(in_child(try_read), 0);
	EQ(in_child(try_write), 1);
	block_close(b);
	EQ(in_child(try_write), 0);
}

TEST(the_lock_goes_with_a_killed_process)
{
	int pipe_fd[2];
	char c;
	pid_t pid;

	OK(make_file(MIB));
	EQ(pipe2(pipe_fd, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		struct block *b;

		if (raw_open(&b, path, false) == 0)
			(void)!write(pipe_fd[1], "y", 1);
		pause();
		_exit(0);
	}
	EQ(read(pipe_fd[0], &c, 1), 1);
	EQ(try_open(false), 1);
	kill(pid, SIGKILL);
	EQ(waitpid(pid, NULL, 0), pid);
	EQ(try_open(false), 0);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}

TEST(only_files_and_block_devices_are_disks)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	autoclose int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct block *b;

	for (int ro = 0; ro < 2; ro++) {
		EQ(raw_open(&b, dir, ro), -E_CONFIG);
		EQ(raw_open(&b, "/dev/zero", ro), -E_CONFIG);
		unlink(path);
		EQ(raw_open(&b, path, ro), -ENOENT);
		OK(strstr(err_text(), ": No such file or directory"));
		EQ(mkfifo(path, 0600), 0);
		EQ(raw_open(&b, path, ro), -E_CONFIG);
		OK(strstr(err_text(), "neither a regular file nor"));
		unlink(path);
	}
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	EQ(bind(sock, (struct sockaddr *)&sa, sizeof(sa)), 0);
	EQ(raw_open(&b, path, false), -E_CONFIG);
	unlink(path);
}

/* The exit status of the shell command "CMD PATH 2>/dev/null", 127: none. */
static int shell(const char *cmd)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		char line[512];

		snprintf(line, sizeof(line), "exec %s %s >/dev/null 2>%s/err",
			 cmd, path, dir);
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static bool complained_of_lock(void)
{
	autobuf struct buf b = BUF_INIT;
	char name[96];

	snprintf(name, sizeof(name), "%s/err", dir);
	return file_read(AT_FDCWD, name, &b, 4096) == 0 &&
	       strstr(b.data, "Failed to get \"write\" lock");
}

TEST(qemu_tools_and_ours_keep_out_of_each_others_way)
{
	static const char writer[] = "qemu-io -f raw -c 'write 0 512'";
	struct block *b = open_new(MIB, false);
	int out[2], in[2];
	char c;
	pid_t pid;

	OK(b);
	if (shell("qemu-io --version") == 127) {
		printf("# no qemu-io here: not tried\n");
		block_close(b);
		return;
	}
	OK(shell(writer) != 0 && complained_of_lock());
	EQ(shell("qemu-img info -U -f raw"), 0);
	block_close(b);
	EQ(raw_open(&b, path, true), 0);
	OK(shell(writer) != 0 && complained_of_lock());
	EQ(shell("qemu-io -r -f raw -c 'read 0 512'"), 0);
	block_close(b);
	EQ(shell(writer), 0);

	/* And the other way round: qemu-io has it open, idle at its prompt. */
	EQ(pipe(out) + pipe(in), 0);
	pid = fork();
	if (pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		execlp("qemu-io", "qemu-io", "-f", "raw", path, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	EQ(read(out[0], &c, 1), 1);
	EQ(try_open(false), 1);
	EQ(try_open(true), 1);
	close(in[1]);
	EQ(waitpid(pid, NULL, 0), pid);
	EQ(try_open(false), 0);
	close(in[0]);
	close(out[0]);
}

/* -------------------------------------------- what not every disk can do */

static int fill(struct block *b, uint64_t off, size_t len, int byte)
{
	static char buf[MIB];
	struct iovec v = { buf, len };

	memset(buf, byte, len);
	return block_writev(b, &v, 1, off);
}

/* Whether all of it is BYTE. */
static bool holds(struct block *b, uint64_t off, size_t len, int byte)
{
	static unsigned char buf[MIB];
	struct iovec v = { buf, len };

	return block_readv(b, &v, 1, off) == 0 && buf[0] == byte &&
		!memcmp(buf, buf + 1, len - 1);
}

static uint64_t allocated(void)
{
	struct stat sb;

	return stat(path, &sb) < 0 ? 0 : sb.st_blocks * 512ull;
}

TEST(zeroed_and_discarded_ranges_read_as_zeros_and_nothing_else_changes)
{
	struct block *b = open_new(MIB, false);
	int rc;

	OK(b);
	for (int unmap = 0; unmap < 2; unmap++) {
		EQ(fill(b, 0, MIB, 0xff), 0);
		rc = block_zero(b, 4096 + 512, 256 << 10, unmap);
		if (rc == -EOPNOTSUPP)
			SKIP("no such file system");
		EQ(rc, 0);
		OK(holds(b, 0, 4096 + 512, 0xff));
		OK(holds(b, 4096 + 512, 256 << 10, 0));
		OK(holds(b, 4096 + 512 + (256 << 10), 4096, 0xff));
		EQ(block_zero(b, MIB - 512, 512, unmap), 0);
		OK(holds(b, MIB - 512, 512, 0));
	}
	EQ(fill(b, 0, MIB, 0xff), 0);
	EQ(block_discard(b, 4096, 4096), 0);
	OK(holds(b, 0, 4096, 0xff));
	OK(holds(b, 4096, 4096, 0) || holds(b, 4096, 4096, 0xff));
	OK(holds(b, 8192, 4096, 0xff));
	EQ(b->size, MIB);
	block_close(b);
}

TEST(space_goes_back_to_the_host_only_where_it_may)
{
	struct block *b = open_new(MIB, false);
	uint64_t full;

	OK(b);
	EQ(fill(b, 0, MIB, 1), 0);
	EQ(block_flush(b), 0);
	full = allocated();
	if (block_zero(b, 0, MIB / 2, false) == -EOPNOTSUPP)
		SKIP("no such file system");
	OK(allocated() >= full);
	EQ(block_zero(b, 0, MIB / 2, true), 0);
	OK(allocated() <= full - MIB / 4);
	EQ(block_discard(b, 0, MIB), 0);
	OK(allocated() <= MIB / 4);
	EQ(truncate(path, MIB), 0);	/* nobody cut it */
	OK(holds(b, 0, MIB, 0));
	block_close(b);
}

TEST(what_does_not_fit_is_not_zeroed)
{
	struct block *b = open_new(MIB, false);

	OK(b);
	EQ(block_zero(b, MIB - 512, 1024, true), -EIO);
	EQ(block_zero(b, 1, 512, true), -EIO);
	EQ(block_discard(b, UINT64_MAX - 511, 512), -EIO);
	EQ(block_discard(b, 0, 511), -EIO);
	EQ(block_zero(b, MIB, 0, true), 0);
	block_close(b);
	EQ(raw_open(&b, path, true), 0);
	EQ(block_zero(b, 0, 512, true), -EROFS);
	EQ(block_discard(b, 0, 512), -EROFS);
	EQ(block_resize(b, 512), -EROFS);
	block_close(b);
}

TEST(status_tells_holes_from_data)
{
	struct block *b = open_new(MIB, false);
	uint64_t n;

	OK(b);
	EQ(fill(b, 256 << 10, 4096, 1), 0);
	EQ(block_flush(b), 0);
	if (block_status(b, 0, MIB, &n) == BLOCK_DATA)
		SKIP("no holes on this file system");
	EQ(n, 256 << 10);
	EQ(block_status(b, 4096, 512, &n), BLOCK_ZERO);
	EQ(n, 512);
	EQ(block_status(b, 256 << 10, 256 << 10, &n), BLOCK_DATA);
	EQ(n, 4096);
	EQ(block_status(b, (256 << 10) + 512, 512, &n), BLOCK_DATA);
	EQ(n, 512);
	EQ(block_status(b, 512 << 10, 512 << 10, &n), BLOCK_ZERO);
	EQ(n, 512 << 10);
	EQ(block_status(b, MIB, 0, &n), 0);
	EQ(n, 0);
	EQ(block_status(b, MIB, 512, &n), -EIO);
	block_close(b);
}

TEST(what_a_file_cut_short_lacks_is_not_called_zeros)
{
	struct block *b = open_new(MIB, false);
	uint64_t n;

	OK(b);
	EQ(truncate(path, (512 << 10) + 100), 0);
	if (block_status(b, 0, MIB, &n) == BLOCK_DATA)
		SKIP("no holes on this file system");
	EQ(n, 512 << 10);
	EQ(block_status(b, 512 << 10, 512 << 10, &n), BLOCK_DATA);
	OK(n == 512);
	EQ(block_status(b, 768 << 10, 4096, &n), BLOCK_DATA);
	EQ(n, 4096);
	block_close(b);
}

TEST(a_file_grows_by_zeros_and_shrinks)
{
	struct block *b = open_new(MIB + 100, false);
	autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);

	OK(b);
	EQ(fill(b, 0, MIB, 1), 0);
	EQ(pwrite_all(fd, "secret", 6, MIB + 1), 0);	/* behind the disk */
	EQ(block_resize(b, MIB + 4096), 0);
	EQ(b->size, MIB + 4096);
	OK(holds(b, 0, MIB, 1));
	OK(holds(b, MIB, 4096, 0));
	EQ(fill(b, MIB, 4096, 2), 0);
	EQ(block_resize(b, 512), 0);
	EQ(b->size, 512);
	EQ(fill(b, 512, 512, 2), -EIO);
	EQ(block_resize(b, 1024), 0);
	OK(holds(b, 512, 512, 0));
	EQ(block_resize(b, 0), -E_CONFIG);
	EQ(block_resize(b, 1000), -E_CONFIG);
	EQ(block_resize(b, UINT64_MAX - 511), -EFBIG);
	EQ(b->size, 1024);
	block_close(b);
}

TEST(a_raw_disk_knows_where_its_data_lies)
{
	struct block *b = open_new(MIB, false);
	struct block_extent e;
	char c[2] = "";

	OK(b);
	EQ(fill(b, 4096, 512, 'x'), 0);
	EQ(block_map(b, 4096, 512, false, &e), 0);
	EQ(pread_all(e.fd, c, 1, e.off), 0);
	STR(c, "x");
	block_unmap(b, &e);
	EQ(block_map(b, MIB - 512, 1024, true, &e), -EIO);
	EQ(block_map(b, 1, 512, true, &e), -EIO);
	block_close(b);
	EQ(raw_open(&b, path, true), 0);
	EQ(block_map(b, 0, 512, true, &e), -EROFS);
	EQ(block_map(b, 0, 512, false, &e), 0);
	block_unmap(b, &e);
	block_close(b);
}

static void clean_up(void)
{
	remove_tree(AT_FDCWD, dir);
}

int main(void)
{
	static const struct test tests[] = {
		T(what_was_written_is_read_back),
		T(more_segments_than_the_kernel_takes_at_once),
		T(a_transfer_stays_within_the_disk_and_on_its_blocks),
		T(a_parser_reads_at_any_place_and_length),
		T(a_file_cut_short_is_an_error_not_a_loop),
		T(readonly_disks_refuse_writes),
		T(odd_sizes_lose_their_tail_and_small_ones_are_refused),
		T(a_writer_excludes_all_others),
		T(readers_share_and_exclude_writers),
		T(the_lock_goes_with_a_killed_process),
		T(only_files_and_block_devices_are_disks),
		T(qemu_tools_and_ours_keep_out_of_each_others_way),
		T(zeroed_and_discarded_ranges_read_as_zeros_and_nothing_else_changes),
		T(space_goes_back_to_the_host_only_where_it_may),
		T(what_does_not_fit_is_not_zeroed),
		T(status_tells_holes_from_data),
		T(what_a_file_cut_short_lacks_is_not_called_zeros),
		T(a_file_grows_by_zeros_and_shrinks),
		T(a_raw_disk_knows_where_its_data_lies),
	};
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/block-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return perror(dir), 1;
	snprintf(path, sizeof(path), "%s/disk", dir);
	atexit(clean_up);
	return test_run(tests, ARRAY_SIZE(tests));
}
