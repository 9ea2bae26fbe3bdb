/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * power.c - power is lost while an image is written to.
 *
 *	power SEED	in the current directory; crash.qcow2 is what the last
 *			loss left
 *	power SEED merge	the same with two layers that are merged; what they
 *			show must be the same after each loss, and when it is
 *			begun again
 *
 * The system calls that change the image are recorded. Then the disk is made
 * anew as a loss at any instant could have left it: all that was synced, and
 * of what was not, any sectors in any order. The image must then have no
 * error but leaks (and, with the dirty bit, none when a writer opened it),
 * and each sector shows what the last acknowledged flush promised, or
 * something written since.
 */
#include "model.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "base/file.h"
#include "block/merge.h"

#define FAR (24ULL << 30)

/* Sectors that are used lie in groups; far from each other in some disks. */
enum {
	SECTORS = 1024, GROUPS = 32, GROUP = SECTORS / GROUPS,
	STEPS = 120, LOSSES = 60,
	EVENTS_MAX = 8192, WRITES_MAX = 1 << 16,
};

/* -- what reaches the file -- */

enum kind { WRITE, TRUNCATE, SYNC };

static struct event {
	enum kind kind;
	uint64_t off, len;
	unsigned char *data;	/* NULL: zeros */
} events[EVENTS_MAX];
static size_t nevents;
static bool recording;
static struct stat recorded;

static struct event *record(int fd, enum kind kind, uint64_t off, uint64_t len)
{
	struct event *e = &events[nevents];
	struct stat st;

	if (!recording || fstat(fd, &st) < 0 || st.st_ino != recorded.st_ino)
		return NULL;
	MUST(nevents < EVENTS_MAX);
	nevents++;
	*e = (struct event){ .kind = kind, .off = off, .len = len };
	return e;
}

static void record_data(int fd, const struct iovec *iov, int n, uint64_t off)
{
	struct event *e;
	uint64_t len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	e = record(fd, WRITE, off, len);
	if (!e)
		return;
	e->data = malloc(len + 1);
	MUST(e->data);
	for (int i = 0; i < n; i++) {
		memcpy(e->data + e->len - len, iov[i].iov_base,
		       iov[i].iov_len);
		len -= iov[i].iov_len;
	}
}

/* These stand before the C library's. */

ssize_t pwrite(int fd, const void *data, size_t len, off_t off)
{
	struct iovec iov = { (void *)data, len };

	record_data(fd, &iov, 1, off);
	return syscall(SYS_pwrite64, fd, data, len, off);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	record_data(fd, iov, n, off);
	return syscall(SYS_pwritev, fd, iov, n, off, 0);
}

int ftruncate(int fd, off_t size)
{
	record(fd, TRUNCATE, size, 0);
	return syscall(SYS_ftruncate, fd, size);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	record(fd, WRITE, off, len);
	return syscall(SYS_fallocate, fd, mode, off, len);
}

int fdatasync(int fd)
{
	record(fd, SYNC, 0, 0);
	return 0;
}

/* -- what the disk should hold: a number for each sector -- */

static struct write {
	uint64_t sector, number;
	size_t event;		/* not before that one */
} writes[WRITES_MAX];
static size_t nwrites;

static struct promise {
	size_t event, write;	/* all before it count */
	uint64_t number[SECTORS];
} promises[STEPS + 20];
static size_t npromises;

static uint64_t now[SECTORS], next_number = 1;
static uint64_t buf[SECTORS * SECTOR / 8];

static void put_number(uint64_t *sector, uint64_t number)
{
	for (int i = 0; i < SECTOR / 8; i++)
		sector[i] = number;
}

/* UINT64_MAX: no sector of ours. */
static uint64_t get_number(const uint64_t *sector)
{
	for (int i = 1; i < SECTOR / 8; i++)
		if (sector[i] != sector[0])
			return UINT64_MAX;
	return sector[0];
}

static void note(uint64_t sector, uint64_t number, size_t event)
{
	MUST(nwrites < WRITES_MAX);
	now[sector] = number;
	writes[nwrites++] = (struct write){ sector, number, event };
}

static void promise(void)
{
	struct promise *p = &promises[npromises++];

	p->event = nevents;
	p->write = nwrites;
	memcpy(p->number, now, sizeof(now));
}

/* -- the history -- */

static struct block *disk;
static uint64_t cluster, stride;	/* bytes, from group to group */

static uint64_t place(uint64_t sector)
{
	return sector / GROUP * stride + sector % GROUP * SECTOR;
}

static void range(uint64_t *first, uint64_t *n)
{
	bool dense = stride == GROUP * SECTOR;
	uint64_t per = cluster / SECTOR;

	*first = any(SECTORS);
	*n = 1 + any(any(2) ? 4 : max_u64(3 * per, 64));
	if (any(2)) {
		*first -= *first % (dense ? per : GROUP);
		*n = align_up(*n, per);
	}
	*n = min_u64(*n, dense ? SECTORS - *first : GROUP - *first % GROUP);
}

/* By way of the file, as a queue does it, where that can be. */
static void write_mapped(const void *data, uint64_t off, uint64_t len)
{
	for (uint64_t at = 0, n; at < len; at += n) {
		struct block_extent e = { .len = len - at };
		char *part = (char *)data + at;

		if (block_map(disk, off + at, len - at, true, &e) < 0) {
			n = len - at;
			MUST(move(disk, true, part, off + at, n) == 0);
			continue;
		}
		n = e.len;
		MUST(pwrite_all(e.fd, part, n, e.off) == 0);
		if (!any(10))
			MUST(block_flush(disk) == 0);
		MUST(block_unmap(disk, &e) == 0);
	}
}

static void step_write(uint64_t first, uint64_t n)
{
	size_t event = nevents;

	for (uint64_t i = 0; i < n; i++)
		put_number(buf + i * SECTOR / 8, next_number + i);
	if (any(2))
		write_mapped(buf, place(first), n * SECTOR);
	else
		MUST(move(disk, true, buf, place(first), n * SECTOR) == 0);
	for (uint64_t i = 0; i < n; i++)
		note(first + i, next_number++, event);
}

static void step_wipe(uint64_t first, uint64_t n)
{
	size_t event = nevents;
	unsigned how = any(3);

	if (how < 2)
		MUST(block_zero(disk, place(first), n * SECTOR, how) == 0);
	else
		MUST(block_discard(disk, place(first), n * SECTOR) == 0);
	MUST(move(disk, false, buf, place(first), n * SECTOR) == 0);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t is = get_number(buf + i * SECTOR / 8);

		MUST(!is || (how == 2 && is == now[first + i]));
		if (is != now[first + i])
			note(first + i, is, event);
	}
}

/* Small clusters: so far that the refcount table must grow for L1's sake. */
static void step_resize(void)
{
	uint64_t more = 64 * cluster;

	if (cluster == SECTOR && disk->size < FAR && !any(6))
		more = FAR;
	MUST(block_resize(disk, disk->size + more) == 0);
}

static void live(unsigned steps)
{
	/* Where the cache is too small, it has to flush by itself. */
	unsigned rarely = stride == GROUP * SECTOR ? 10 : 60;

	for (unsigned i = 0; i < steps; i++) {
		uint64_t first, n;

		range(&first, &n);
		if (!any(rarely)) {
			MUST(block_flush(disk) == 0);
			promise();
		} else if (!any(30)) {
			step_resize();
		} else if (!any(4)) {
			step_wipe(first, n);
		} else {
			step_write(first, n);
		}
	}
}

/* -- losses -- */

static struct loss {
	size_t event, synced;	/* lost before this one, not before that one */
	unsigned percent;	/* of the sectors were written in time */
	uint64_t salt;
} loss;

/*
 * How many events sector S has seen. A sector goes to disk as a whole, as it
 * was at some time since the last sync.
 */
static size_t seen(uint64_t s)
{
	uint64_t h = (s + 1) * 0x9e3779b97f4a7c15ULL ^ loss.salt;

	h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9ULL >> 20;
	if (h % 100 < loss.percent)
		return loss.event;
	return loss.synced + (h / 100) % (loss.event - loss.synced + 1);
}

static void apply(int fd, size_t i)
{
	static const unsigned char zeros[SECTOR];
	const struct event *e = &events[i];

	if (e->kind == TRUNCATE && i < seen(UINT64_MAX)) {
		struct stat st;

		MUST(fstat(fd, &st) == 0);
		if ((uint64_t)st.st_size < e->off)
			MUST(ftruncate(fd, e->off) == 0);
	}
	if (e->kind != WRITE)
		return;
	for (uint64_t at = 0, n; at < e->len; at += n) {
		uint64_t off = e->off + at;

		n = min_u64(SECTOR - off % SECTOR, e->len - at);
		if (i < loss.synced || i < seen(off / SECTOR))
			MUST(pwrite_all(fd, e->data ? e->data + at : zeros, n,
					off) == 0);
	}
}

static void copy_file(const char *from, const char *to)
{
	autobuf struct buf b = BUF_INIT;
	autoclose int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
				0600);

	MUST(file_read(AT_FDCWD, from, &b, 64 << 20) == 0);
	MUST(fd >= 0 && write_all(fd, b.data, b.len) == 0);
}

/* Whether sector S may show NUMBER when the first EVENT events were made. */
static bool allowed(uint64_t s, uint64_t number, const struct promise *p,
		    size_t event)
{
	if (p->number[s] == number)
		return true;
	for (size_t i = p->write; i < nwrites; i++)
		if (writes[i].sector == s && writes[i].number == number)
			return writes[i].event <= event;
	return false;
}

static void check_data(size_t event)
{
	const struct promise *p = promises;

	while (p + 1 < promises + npromises && p[1].event <= event)
		p++;
	for (uint64_t s = 0; s < SECTORS; s += GROUP)
		MUST(move(disk, false, buf + s * SECTOR / 8, place(s),
			  GROUP * SECTOR) == 0);
	for (uint64_t s = 0; s < SECTORS; s++) {
		uint64_t number = get_number(buf + s * SECTOR / 8);

		if (allowed(s, number, p, event))
			continue;
		printf("sector %" PRIu64 " shows %" PRIu64 ", promised was %"
		       PRIu64 " (event %zu of %zu)\n", s, number,
		       p->number[s], event, nevents);
		exit(1);
	}
}

static void check_image(bool leaks_too)
{
	autoclose int fd = open("crash.qcow2", O_RDONLY | O_CLOEXEC);
	struct qcow2_check result;

	MUST(qcow2_check(fd, false, &result) == 0);
	MUST(result.errors == 0);
	MUST(!leaks_too || result.leaks == 0);
}

/* crash.qcow2, which was a copy of WAS before; how many events it has seen. */
static size_t crash(const char *was)
{
	static const unsigned percents[] = { 0, 10, 50, 90, 100 };
	size_t event = any(nevents + 1);
	int fd;

	loss = (struct loss){
		.event = event, .synced = event,
		.percent = percents[any(ARRAY_SIZE(percents))],
		.salt = any(UINT64_MAX),
	};
	while (loss.synced && events[loss.synced - 1].kind != SYNC)
		loss.synced--;
	copy_file(was, "crash.qcow2");
	fd = open("crash.qcow2", O_RDWR | O_CLOEXEC);
	for (size_t i = 0; i < event; i++)
		apply(fd, i);
	close(fd);
	return event;
}

static void lose_power(bool lazy)
{
	size_t event = crash("before.qcow2");
	int fd = open("crash.qcow2", O_RDONLY | O_CLOEXEC);
	struct qcow2_info info;

	MUST(qcow2_info(fd, &info) == 0);
	MUST(!info.dirty || lazy);
	close(fd);
	if (!info.dirty)
		check_image(false);
	disk = open_chain("crash.qcow2", any(2) && !info.dirty);
	check_data(event);
	block_close(disk);
	check_image(info.dirty);
	qcow2_info_release(&info);
}

/* -- merges -- */

static bool up;

/* IMAGE rests on BELOW, or on nothing. */
static void rebase(const char *image, const char *below)
{
	int fd = open(image, O_RDWR | O_CLOEXEC);
	const char *format = !below ? NULL :
			     strstr(below, ".raw") ? "raw" : "qcow2";

	MUST(qcow2_rebase(fd, below, format) == 0);
	close(fd);
}

/* Whether IMAGE shows what the disk showed. */
static void check_same(const char *image)
{
	disk = open_chain(image, true);
	for (uint64_t s = 0; s < SECTORS; s += GROUP)
		MUST(move(disk, false, buf + s * SECTOR / 8, place(s),
			  GROUP * SECTOR) == 0);
	block_close(disk);
	for (uint64_t s = 0; s < SECTORS; s++)
		MUST(get_number(buf + s * SECTOR / 8) == now[s]);
}

/* UPPER and LOWER, which rests on BACKING. */
static void merge(const char *upper, const char *lower, const char *backing)
{
	struct block *u, *l, *b = NULL;

	if (backing)
		MUST(raw_open(&b, backing, true) == 0);
	MUST(qcow2_open_at(&l, AT_FDCWD, lower, up ? LOCK_READER :
			   LOCK_MERGER, b) == 0);
	MUST(qcow2_open_at(&u, AT_FDCWD, upper, up ? LOCK_MERGER :
			   LOCK_READER, l) == 0);
	MUST((up ? merge_up(u) : merge_down(u)) == 0);
	block_close(u);
}

static void lose_merge(const char *backing)
{
	crash(up ? "over.qcow2" : "before.qcow2");
	check_image(false);
	if (!up)
		rebase("over.qcow2", "crash.qcow2");
	check_same(up ? "crash.qcow2" : "over.qcow2");
	if (up)
		merge("crash.qcow2", "before.qcow2", backing);
	else
		merge("over.qcow2", "crash.qcow2", backing);
	check_image(false);
	if (up)
		rebase("crash.qcow2", backing);
	check_same("crash.qcow2");
}

static void live_over(void)
{
	struct qcow2_create c = {
		.cluster_bits = 9 + any(8), .size = disk->size,
		.lazy_refcounts = any(2),
		.backing = "before.qcow2", .backing_format = "qcow2",
	};

	block_close(disk);
	if (stride > GROUP * SECTOR)	/* L1 has to be long enough */
		c.cluster_bits = 16 + any(2);
	MUST(qcow2_create(AT_FDCWD, "over.qcow2", &c) == 0);
	disk = open_chain("over.qcow2", false);
	live(STEPS / 4);
	block_close(disk);
	copy_file(up ? "over.qcow2" : "before.qcow2", "run.qcow2");
}

static void merges(const char *backing)
{
	up = any(2);
	unlink("over.qcow2");
	live_over();
	MUST(stat("run.qcow2", &recorded) == 0);
	if (!up)
		rebase("over.qcow2", "run.qcow2");
	recording = true;
	if (up)
		merge("run.qcow2", "before.qcow2", backing);
	else
		merge("over.qcow2", "run.qcow2", backing);
	recording = false;
	for (int i = 0; i < LOSSES / 3; i++)
		lose_merge(backing);
}

/* -- the start -- */

static void make_backing(void)
{
	int fd = open("base.raw", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		      0600);
	uint64_t n = 1 + any(SECTORS);

	MUST(fd >= 0);
	for (uint64_t s = 0; s < n; s++) {
		now[s] = next_number++;
		put_number(buf, now[s]);
		MUST(pwrite_all(fd, buf, SECTOR, place(s)) == 0);
	}
	close(fd);
}

/* Clusters that are shared with a snapshot, if there is who can make one. */
static void make_snapshot(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execlp("qemu-img", "qemu-img", "snapshot", "-c", "s",
		       "before.qcow2", (char *)NULL);
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

int main(int argc, char **argv)
{
	struct qcow2_create c = { 0 };

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: power SEED [merge]\n");
		return 2;
	}
	random_seed(strtoull(argv[1], NULL, 10));
	c.cluster_bits = 9 + any(2) * any(8);
	c.lazy_refcounts = any(3) == 0;
	stride = GROUP * SECTOR;
	if (any(3) == 0) {	/* more tables than the cache holds */
		c.cluster_bits = 16 + any(2);
		stride = 1ULL << (2 * c.cluster_bits - 3);
	}
	c.size = GROUPS * stride;
	cluster = 1ULL << c.cluster_bits;
	if (any(2)) {
		make_backing();
		c.backing = "base.raw";
		c.backing_format = "raw";
	}
	unlink("before.qcow2");
	MUST(qcow2_create(AT_FDCWD, "before.qcow2", &c) == 0);
	disk = open_chain("before.qcow2", false);
	live(any(argc == 3 ? STEPS / 2 : 20));
	if (argc == 3) {
		merges(c.backing);
		return 0;
	}
	block_close(disk);
	if (any(2))
		make_snapshot();

	copy_file("before.qcow2", "run.qcow2");
	nwrites = npromises = 0;
	promise();
	MUST(stat("run.qcow2", &recorded) == 0);
	recording = true;
	disk = open_chain("run.qcow2", false);
	live(STEPS);
	block_close(disk);
	recording = false;
	for (int i = 0; i < LOSSES; i++)
		lose_power(c.lazy_refcounts);
	for (size_t i = 0; i < nevents; i++)
		free(events[i].data);
	return 0;
}
