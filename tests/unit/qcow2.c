/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/qcow2.h"

#include <pthread.h>
#include <sys/wait.h>

#include "qcow2_image.h"
#include "test.h"

static char dir[SCRATCH_BYTES];

/* -- a sound image -- */

TEST(a_new_image_reads_as_zeros_and_keeps_what_is_written)
{
	for (unsigned bits = 9; bits <= 21; bits++) {
		struct block *b = fresh(3 * MIB + 512, bits);

		OK(b);
		EQ(b->size, 3 * MIB + 512);
		OK(all_are(b, 0, 0, b->size));
		EQ(put_byte(b, 1, 512, 1024), 0);
		EQ(put_byte(b, 2, 3 * MIB, 512), 0);
		EQ(put_byte(b, 3, MIB - 512, MIB), 0);
		for (int again = 0; again < 2; again++) {
			OK(all_are(b, 0, 0, 512));
			OK(all_are(b, 1, 512, 1024));
			OK(all_are(b, 0, 1536, MIB - 2048));
			OK(all_are(b, 3, MIB - 512, MIB));
			OK(all_are(b, 0, 2 * MIB - 512, MIB + 512));
			OK(all_are(b, 2, 3 * MIB, 512));
			block_close(b);
			b = open_image(!again);
			OK(b);
		}
		block_close(b);
		EQ(checked(false).errors, 0);
		EQ(checked(false).leaks, 0);
	}
}

TEST(info_says_what_create_was_told)
{
	struct qcow2_create c = {
		.size = 5 * MIB, .cluster_bits = 12, .lazy_refcounts = true,
		.backing = "below.raw", .backing_format = "raw",
	};
	struct qcow2_info info;
	int fd;

	EQ(create_with(c), 0);
	EQ(create(MIB, 8), -E_CONFIG);
	EQ(create(MIB, 22), -E_CONFIG);
	EQ(create(MIB + 1, 0), -E_CONFIG);
	EQ(create(0, 0), -E_CONFIG);
	EQ(create(1ULL << 40, 9), -E_CONFIG);
	EQ(create_with(c), 0);
	EQ(qcow2_create(AT_FDCWD, "a.qcow2", &c), -EEXIST);
	fd = open("a.qcow2", O_RDONLY | O_CLOEXEC);
	EQ(qcow2_info(fd, &info), 0);
	close(fd);
	EQ(info.version, 3);
	EQ(info.cluster_bits, 12);
	EQ(info.size, 5 * MIB);
	STR(info.backing, "below.raw");
	STR(info.backing_format, "raw");
	OK(info.lazy_refcounts && !info.dirty && !info.corrupt);
	qcow2_info_release(&info);
}

TEST(a_writer_excludes_others_and_readers_share)
{
	struct block *b = fresh(MIB, 0), *c;

	OK(b);
	EQ(qcow2_open(&c, "a.qcow2", true, NULL), -E_BUSY);
	block_close(b);
	OK(b = open_image(true));
	OK(c = open_image(true));
	EQ(put_byte(b, 1, 0, 512), -EROFS);
	EQ(qcow2_open(&c, "a.qcow2", false, NULL), -E_BUSY);
	block_close(b);
	block_close(c);
}

TEST(zeros_need_no_space_and_no_reading)
{
	struct block *b = fresh(4 * MIB, 0);
	uint64_t n, grown;

	OK(b);
	EQ(put_byte(b, 7, 0, 2 * MIB), 0);
	grown = file_size();
	EQ(block_status(b, 0, 4 * MIB, &n), BLOCK_DATA);
	EQ(n, 2 * MIB);
	EQ(block_zero(b, MIB, 3 * MIB, false), 0);
	EQ(block_status(b, MIB, 3 * MIB, &n), BLOCK_ZERO);
	OK(all_are(b, 7, 0, MIB) && all_are(b, 0, MIB, 3 * MIB));
	/* a part of a cluster that kept its place */
	EQ(put_byte(b, 8, MIB + 512, 512), 0);
	OK(all_are(b, 0, MIB, 512) && all_are(b, 8, MIB + 512, 512));
	OK(all_are(b, 0, MIB + 1024, MIB));
	EQ(block_zero(b, 512, MIB, true), 0);
	OK(all_are(b, 7, 0, 512) && all_are(b, 0, 512, MIB));
	EQ(file_size(), grown);
	block_close(b);
	EQ(checked(false).errors, 0);
	EQ(checked(false).leaks, 0);
}

TEST(freed_space_is_used_again)
{
	struct block *b = fresh(64 * MIB, 0);
	uint64_t grown = 0;

	OK(b);
	for (int i = 0; i < 20; i++) {
		EQ(put_byte(b, i, i * MIB, MIB), 0);
		EQ(block_flush(b), 0);
		EQ(block_discard(b, i * MIB, MIB), 0);
		OK(all_are(b, 0, i * MIB, MIB));
		EQ(block_flush(b), 0);
		grown = grown ? grown : file_size();
	}
	EQ(file_size(), grown);
	block_close(b);
	EQ(checked(false).leaks, 0);
}

TEST(more_clusters_than_the_first_tables_count)
{
	struct block *b = fresh(64 * MIB, 9);

	OK(b);
	for (uint64_t off = 0; off < 24 * MIB; off += MIB)
		EQ(put_byte(b, off >> 20, off, MIB), 0);
	block_close(b);
	EQ(checked(false).errors, 0);
	EQ(checked(false).leaks, 0);
	OK(b = open_image(false));
	for (uint64_t off = 0; off < 24 * MIB; off += MIB)
		OK(all_are(b, off >> 20, off, MIB));
	/* A longer L1 table than one refcount block counts clusters. */
	EQ(block_resize(b, 2048ULL * MIB), 0);
	EQ(put_byte(b, 9, 2047ULL * MIB, MIB), 0);
	block_close(b);
	EQ(checked(false).errors, 0);
	EQ(checked(false).leaks, 0);
	OK(b = open_image(true));
	EQ(b->size, 2048ULL * MIB);
	OK(all_are(b, 9, 2047ULL * MIB, MIB) && all_are(b, 0, 25 * MIB, MIB));
	OK(all_are(b, 1, MIB, MIB));
	block_close(b);
}

/* -- chains -- */

/* a.qcow2 of SIZE over b.qcow2 of BELOW, which is full of 5. */
static struct block *chain(uint64_t below, uint64_t size)
{
	struct block *b = fresh(below, 0), *top;

	if (!b || put_byte(b, 5, 0, below) < 0)
		return NULL;
	block_close(b);
	if (rename("a.qcow2", "b.qcow2") < 0 ||
	    create_with((struct qcow2_create){
			.size = size, .backing = "b.qcow2",
			.backing_format = "qcow2" }) < 0 ||
	    qcow2_open(&b, "b.qcow2", true, NULL) < 0)
		return NULL;
	if (qcow2_open(&top, "a.qcow2", false, b) == 0)
		return top;
	block_close(b);
	return NULL;
}

TEST(what_lies_below_is_seen_until_written_over)
{
	struct block *b = chain(MIB + 512, 2 * MIB);
	uint64_t n;

	OK(b);
	OK(all_are(b, 5, 0, MIB + 512));
	OK(all_are(b, 0, MIB + 512, MIB - 512));
	EQ(block_status(b, 0, 2 * MIB, &n), BLOCK_DATA);
	EQ(block_status(b, MIB + 512, MIB - 512, &n), BLOCK_ZERO);
	EQ(put_byte(b, 6, 512, 512), 0);
	EQ(put_byte(b, 6, MIB + 1024, 512), 0);
	OK(all_are(b, 5, 0, 512) && all_are(b, 6, 512, 512));
	OK(all_are(b, 5, 1024, MIB - 512));
	OK(all_are(b, 0, MIB + 512, 512) && all_are(b, 6, MIB + 1024, 512));
	block_close(b);
}

TEST(what_was_wiped_never_shows_what_lies_below)
{
	struct block *b = chain(2 * MIB, 2 * MIB);

	OK(b);
	EQ(put_byte(b, 6, 0, MIB), 0);
	EQ(block_discard(b, 0, CLUSTER), 0);
	EQ(block_zero(b, CLUSTER, CLUSTER, true), 0);
	EQ(block_zero(b, 2 * CLUSTER, CLUSTER, false), 0);
	EQ(block_zero(b, MIB + 512, MIB - 512, true), 0);
	OK(all_are(b, 0, 0, 3 * CLUSTER));
	OK(all_are(b, 6, 3 * CLUSTER, MIB - 3 * CLUSTER));
	OK(all_are(b, 5, MIB, 512) && all_are(b, 0, MIB + 512, MIB - 512));
	block_close(b);
	EQ(checked(false).leaks, 0);
}

TEST(a_disk_that_grows_shows_zeros_there)
{
	struct block *b = chain(4 * MIB, MIB + 512);

	OK(b);
	EQ(block_resize(b, MIB), -E_CONFIG);
	OK(strstr(err_text(), "cannot become smaller"));
	EQ(put_byte(b, 6, MIB, 512), 0);
	EQ(block_resize(b, 3 * MIB), 0);
	OK(all_are(b, 5, 0, MIB) && all_are(b, 6, MIB, 512));
	OK(all_are(b, 0, MIB + 512, 2 * MIB - 512));
	EQ(block_resize(b, 8192ULL << 30), 0);
	OK(all_are(b, 0, 3 * MIB, 2 * MIB));
	EQ(put_byte(b, 6, (8192ULL << 30) - 512, 512), 0);
	block_close(b);
	EQ(checked(false).errors, 0);
	EQ(checked(false).leaks, 0);
}

TEST(the_backing_file_is_who_the_caller_says_and_must_be_there)
{
	struct block *b = chain(MIB, MIB), *top;

	OK(b);
	block_close(b);
	EQ(qcow2_open(&top, "a.qcow2", false, NULL), -E_CONFIG);
	OK(strstr(err_text(), "lacks its backing file 'b.qcow2'"));
	EQ(create(MIB, 0), 0);
	EQ(qcow2_open(&b, "b.qcow2", true, NULL), 0);
	EQ(qcow2_open(&top, "a.qcow2", false, b), -E_CONFIG);
	block_close(b);
}

TEST(what_is_no_image_has_no_info_to_free)
{
	autoclose int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct qcow2_info info;

	memset(&info, 0xff, sizeof(info));
	OK(qcow2_info(fd, &info) < 0);
	OK(!info.backing && !info.backing_format && !info.size);
	qcow2_info_release(&info);
}

/* -- extents -- */

TEST(only_what_needs_nothing_else_is_mapped)
{
	struct block *b = fresh(4 * MIB, 0);
	struct block_extent e;
	char data[512];

	OK(b);
	EQ(block_map(b, 0, 512, false, &e), 0);
	EQ(e.fd, -1);	/* zeros, that lie nowhere */
	block_unmap(b, &e);
	EQ(block_map(b, 0, 512, true, &e), -EAGAIN);
	EQ(put_byte(b, 1, 0, 2 * CLUSTER), 0);
	EQ(block_map(b, 512, 2 * CLUSTER - 512, true, &e), 0);
	EQ(e.len, 2 * CLUSTER - 512);
	EQ(pread_all(e.fd, data, 512, e.off), 0);
	EQ(data[0], 1);
	memset(data, 2, sizeof(data));
	EQ(pwrite_all(e.fd, data, 512, e.off), 0);
	block_unmap(b, &e);
	OK(all_are(b, 1, 0, 512) && all_are(b, 2, 512, 512));
	EQ(block_map(b, CLUSTER, 2 * CLUSTER, false, &e), 0);
	EQ(e.len, CLUSTER);
	block_unmap(b, &e);
	EQ(block_zero(b, 0, CLUSTER, false), 0);
	EQ(block_map(b, 0, 512, false, &e), 0);
	EQ(e.fd, -1);
	block_unmap(b, &e);
	EQ(block_map(b, 0, 512, true, &e), -EAGAIN);
	EQ(block_map(b, CLUSTER, 512, false, &e), 0);
	OK(e.fd >= 0 && e.owner == b);
	block_unmap(b, &e);
	block_close(b);
}

TEST(what_a_backing_file_has_is_mapped_there)
{
	struct block *top = chain(2 * CLUSTER, 4 * CLUSTER);
	struct block_extent e;
	char data[512];

	OK(top);
	OK(all_are(top, 5, 0, 512));	/* the table below is in memory now */
	EQ(block_map(top, CLUSTER, 512, false, &e), 0);
	OK(e.fd >= 0 && e.owner != top);
	EQ(pread_all(e.fd, data, 512, e.off), 0);
	EQ(data[0], 5);
	block_unmap(top, &e);
	EQ(block_map(top, CLUSTER, 512, true, &e), -EAGAIN);
	/* across, and behind, the end of a shorter one */
	EQ(block_map(top, 2 * CLUSTER - 512, 1024, false, &e), 0);
	OK(e.fd >= 0 && e.len == 512);
	block_unmap(top, &e);
	EQ(block_map(top, 3 * CLUSTER, 512, false, &e), 0);
	EQ(e.fd, -1);
	block_unmap(top, &e);
	/* of its own from here on */
	EQ(put_byte(top, 9, CLUSTER, CLUSTER), 0);
	EQ(block_map(top, CLUSTER, 512, false, &e), 0);
	OK(e.owner == top);
	block_unmap(top, &e);
	block_close(top);
}

/* VAL to E, as far as that goes. */
static bool put_there(const struct block_extent *e, uint8_t val)
{
	autofree char *data = malloc(e->len);

	memset(data, val, e->len);
	return pwrite_all(e->fd, data, e->len, e->off) == 0;
}

TEST(a_new_cluster_is_mapped_where_zeros_are_around)
{
	struct block *b = fresh(4 * MIB, 0);
	struct block_extent e;

	OK(b);
	EQ(put_byte(b, 1, 0, 512), 0);
	EQ(block_map(b, MIB + 512, 1024, true, &e), 0);
	EQ(e.len, 1024);
	OK(all_are(b, 0, MIB, CLUSTER));
	OK(put_there(&e, 7));
	EQ(block_unmap(b, &e), 0);
	/* also across clusters, up to one that is there */
	EQ(put_byte(b, 2, 3 * MIB, 512), 0);
	EQ(block_map(b, 3 * MIB - CLUSTER - 512, 3 * CLUSTER, true, &e), 0);
	EQ(e.len, CLUSTER + 512);
	OK(put_there(&e, 8));
	EQ(block_unmap(b, &e), 0);
	block_close(b);
	OK(b = open_image(true));
	OK(all_are(b, 0, MIB, 512) && all_are(b, 7, MIB + 512, 1024));
	OK(all_are(b, 0, MIB + 1536, CLUSTER - 1536));
	OK(all_are(b, 0, 3 * MIB - 2 * CLUSTER, CLUSTER - 512));
	OK(all_are(b, 8, 3 * MIB - CLUSTER - 512, CLUSTER + 512));
	OK(all_are(b, 2, 3 * MIB, 512));
	block_close(b);
	EQ(checked(false).errors + checked(false).leaks, 0);
}

TEST(space_used_before_is_not_mapped_for_a_part_of_a_cluster)
{
	struct block *b = fresh(4 * MIB, 0);
	struct block_extent e;

	OK(b);
	EQ(put_byte(b, 1, 0, 2 * CLUSTER), 0);
	EQ(block_discard(b, 0, CLUSTER), 0);
	EQ(block_flush(b), 0);
	EQ(block_map(b, MIB, 512, true, &e), -EAGAIN);
	EQ(block_map(b, MIB, CLUSTER, true, &e), 0);
	OK(put_there(&e, 9));
	EQ(block_unmap(b, &e), 0);
	OK(all_are(b, 9, MIB, CLUSTER));
	block_close(b);
	EQ(checked(false).errors + checked(false).leaks, 0);
}

TEST(whole_clusters_are_mapped_over_what_lies_below)
{
	struct block *top = chain(4 * CLUSTER, 5 * CLUSTER);
	struct block_extent e, other;

	OK(top);
	EQ(put_byte(top, 6, 4 * CLUSTER, 512), 0);
	EQ(block_map(top, CLUSTER, CLUSTER - 512, true, &e), -EAGAIN);
	EQ(block_map(top, CLUSTER + 512, CLUSTER, true, &e), -EAGAIN);
	/* the old data is seen until that is given back as written */
	EQ(block_map(top, CLUSTER, 2 * CLUSTER + 512, true, &e), 0);
	EQ(e.len, 2 * CLUSTER);
	OK(put_there(&e, 7));
	OK(all_are(top, 5, 0, 4 * CLUSTER));
	EQ(block_map(top, 2 * CLUSTER, CLUSTER, true, &other), -EAGAIN);
	EQ(block_flush(top), 0);
	e.rc = -EIO;
	EQ(block_unmap(top, &e), 0);
	OK(all_are(top, 5, 0, 4 * CLUSTER));
	EQ(block_map(top, CLUSTER, 2 * CLUSTER, true, &e), 0);
	OK(put_there(&e, 8));
	EQ(block_unmap(top, &e), 0);
	OK(all_are(top, 5, 0, CLUSTER) && all_are(top, 8, CLUSTER, 2 * CLUSTER));
	OK(all_are(top, 5, 3 * CLUSTER, CLUSTER));
	block_close(top);
	EQ(checked(false).errors + checked(false).leaks, 0);
}

TEST(a_cluster_that_is_mapped_is_not_used_again)
{
	struct block *b = fresh(64 * MIB, 0);
	struct block_extent e;

	OK(b);
	EQ(put_byte(b, 1, 0, CLUSTER), 0);
	EQ(block_map(b, 0, 512, true, &e), 0);
	EQ(block_discard(b, 0, CLUSTER), 0);
	for (int i = 1; i < 10; i++) {
		uint64_t off = (uint64_t)i * CLUSTER;

		EQ(block_flush(b), 0);
		EQ(put_byte(b, 2, off, CLUSTER), 0);
		OK(place_of(b, off) != e.off);
	}
	block_unmap(b, &e);
	EQ(block_flush(b), 0);
	EQ(put_byte(b, 3, 32 * MIB, CLUSTER), 0);
	EQ(place_of(b, 32 * MIB), e.off);
	block_close(b);
}

TEST(a_freed_cluster_waits_for_a_flush)
{
	struct block *b = fresh(64 * MIB, 0);
	uint64_t was;

	OK(b);
	EQ(put_byte(b, 1, 0, CLUSTER), 0);
	was = place_of(b, 0);
	EQ(block_flush(b), 0);
	EQ(block_discard(b, 0, CLUSTER), 0);
	EQ(put_byte(b, 2, CLUSTER, CLUSTER), 0);
	OK(was && place_of(b, CLUSTER) != was);
	EQ(block_flush(b), 0);
	EQ(put_byte(b, 2, 2 * CLUSTER, CLUSTER), 0);
	EQ(place_of(b, 2 * CLUSTER), was);
	block_close(b);
}

/* -- not closed -- */

/* Writes, flushes and is gone without closing. */
static bool die_writing(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct block *b = open_image(false);

		_exit(!b || put_byte(b, 4, MIB, MIB) < 0 ||
		      block_flush(b) < 0 || put_byte(b, 4, 0, MIB) < 0);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

TEST(lazy_refcounts_are_counted_anew_after_a_crash)
{
	struct block *b;

	EQ(create_with((struct qcow2_create){ .size = 4 * MIB,
					      .lazy_refcounts = true }), 0);
	OK(die_writing());
	EQ(peek(72), 1);
	OK(checked(false).errors > 0);
	OK(b = open_image(true));
	OK(all_are(b, 4, MIB, MIB));
	block_close(b);
	EQ(peek(72), 1);
	OK(b = open_image(false));
	EQ(peek(72), 0);
	EQ(checked(false).errors, 0);
	OK(all_are(b, 4, MIB, MIB));
	EQ(put_byte(b, 5, 0, MIB), 0);
	EQ(peek(72), 1);
	block_close(b);
	EQ(peek(72), 0);
	EQ(checked(false).errors, 0);
	EQ(checked(false).leaks, 0);
}

TEST(a_crash_leaks_at_most_and_leaks_are_mended)
{
	struct qcow2_check result;
	struct block *b;

	EQ(create(4 * MIB, 0), 0);
	OK(die_writing());
	EQ(peek(72), 0);
	EQ(checked(false).errors, 0);
	/* a cluster counted that nothing names */
	OK(poke(REFBLOCK + 2 * 1000, 2, 1));
	OK(truncate("a.qcow2", 1001 * CLUSTER) == 0);
	result = checked(true);
	EQ(result.errors, 0);
	OK(result.leaks > 0);
	EQ(checked(false).leaks, 0);
	EQ(checked(false).errors, 0);
	OK(b = open_image(false));
	OK(all_are(b, 4, MIB, MIB));
	EQ(put_byte(b, 5, 0, 4 * MIB), 0);
	block_close(b);
	EQ(checked(false).leaks, 0);
}

/* -- threads -- */

enum { THREADS = 4, ROUNDS = 400, SECTOR = 512 };

struct worker {
	pthread_t thread;
	struct block *b;
	unsigned id;
	int rc;
	uint8_t is[256];	/* its sectors: each fourth of the disk */
};

/* Its sectors lie in the same clusters as all others'. */
static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned seed = w->id + 1;

	for (int i = 0; w->rc == 0 && i < ROUNDS; i++) {
		unsigned s = rand_r(&seed) % ARRAY_SIZE(w->is);
		uint64_t off = (s * THREADS + w->id) * SECTOR;
		uint8_t val = rand_r(&seed);
		struct block_extent e;
		char data[SECTOR];

		switch (rand_r(&seed) % 8) {
		case 0:
			w->rc = block_flush(w->b);
			break;
		case 1:
			w->rc = block_zero(w->b, off, SECTOR, true);
			w->is[s] = 0;
			break;
		case 2:
			if (block_map(w->b, off, SECTOR, true, &e) < 0)
				break;
			memset(data, val, SECTOR);
			w->rc = pwrite_all(e.fd, data, SECTOR, e.off);
			w->is[s] = val;
			block_unmap(w->b, &e);
			break;
		case 3:
			if (!all_are(w->b, w->is[s], off, SECTOR))
				w->rc = -EILSEQ;
			break;
		default:
			w->rc = put_byte(w->b, val, off, SECTOR);
			w->is[s] = val;
		}
	}
	return NULL;
}

/* Behind the others' sectors, clusters come and go. */
static void *churn(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; w->rc == 0 && i < ROUNDS / 4; i++) {
		uint64_t off = MIB + i % 16 * 4096;

		w->rc = put_byte(w->b, i, off, 8192);
		if (w->rc == 0)
			w->rc = block_discard(w->b, off, 8192);
	}
	return NULL;
}

TEST(threads_in_the_same_clusters_do_not_lose_each_others_writes)
{
	for (unsigned bits = 9; bits <= 15; bits += 3) {
		struct worker w[THREADS] = { 0 };
		struct block *b = fresh(2 * MIB, bits);
		struct worker c = { .b = b };

		OK(b);
		pthread_create(&c.thread, NULL, churn, &c);
		for (unsigned i = 0; i < THREADS; i++) {
			w[i].b = b;
			w[i].id = i;
			pthread_create(&w[i].thread, NULL, work, &w[i]);
		}
		pthread_join(c.thread, NULL);
		EQ(c.rc, 0);
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(w[i].thread, NULL);
			EQ(w[i].rc, 0);
		}
		for (unsigned i = 0; i < THREADS * 256; i++)
			OK(all_are(b, w[i % THREADS].is[i / THREADS],
				   i * SECTOR, SECTOR));
		block_close(b);
		EQ(checked(false).errors, 0);
		EQ(checked(false).leaks, 0);
	}
}

static void clean_up(void)
{
	scratch_remove(dir);
}

int main(void)
{
	static const struct test tests[] = {
		T(a_new_image_reads_as_zeros_and_keeps_what_is_written),
		T(info_says_what_create_was_told),
		T(a_writer_excludes_others_and_readers_share),
		T(zeros_need_no_space_and_no_reading),
		T(freed_space_is_used_again),
		T(more_clusters_than_the_first_tables_count),
		T(what_lies_below_is_seen_until_written_over),
		T(what_was_wiped_never_shows_what_lies_below),
		T(a_disk_that_grows_shows_zeros_there),
		T(the_backing_file_is_who_the_caller_says_and_must_be_there),
		T(what_is_no_image_has_no_info_to_free),
		T(only_what_needs_nothing_else_is_mapped),
		T(what_a_backing_file_has_is_mapped_there),
		T(a_new_cluster_is_mapped_where_zeros_are_around),
		T(space_used_before_is_not_mapped_for_a_part_of_a_cluster),
		T(whole_clusters_are_mapped_over_what_lies_below),
		T(a_cluster_that_is_mapped_is_not_used_again),
		T(a_freed_cluster_waits_for_a_flush),
		T(lazy_refcounts_are_counted_anew_after_a_crash),
		T(a_crash_leaks_at_most_and_leaks_are_mended),
		T(threads_in_the_same_clusters_do_not_lose_each_others_writes),
	};

	scratch_make(dir);
	atexit(clean_up);
	return test_run(tests, ARRAY_SIZE(tests));
}
