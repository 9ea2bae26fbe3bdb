/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dlfcn.h>
#include <pthread.h>

#include "block/chain.h"
#include "block/merge.h"
#include "block/qcow2.h"

#include "qcow2_image.h"
#include "test.h"

static char dir[SCRATCH_BYTES];

/* -- each look into a layer's tables takes its lock: these are counted -- */

static unsigned locks;

int pthread_mutex_lock(pthread_mutex_t *m)
{
	static int (*next)(pthread_mutex_t *);

	if (!next)
		next = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT,
							 "pthread_mutex_lock");
	locks++;
	return next(m);
}

/* Nothing here is about power loss. */
int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

static void name_of(char *name, unsigned i)
{
	snprintf(name, 24, "%u.qcow2", i);
}

static struct block *open_use(const char *name, enum lock_use use,
			      struct block *below)
{
	struct block *b;

	return qcow2_open_at(&b, AT_FDCWD, name, use, below) == 0 ? b : NULL;
}

static bool make_layer(const char *name, uint64_t size, const char *below)
{
	struct qcow2_create c = {
		.size = size, .backing = below,
		.backing_format = below ? "qcow2" : NULL,
	};

	unlink(name);
	return qcow2_create(AT_FDCWD, name, &c) == 0;
}

/*
 * N layers, whose K-th has a cluster of K + 1 at K, and (LAST) at the end;
 * the top is open to be written.
 */
static struct block *make_chain(unsigned n, uint64_t size)
{
	struct block *b = NULL;
	char name[24], below[24];

	for (unsigned i = 0; i < n; i++) {
		name_of(name, i);
		if (!make_layer(name, size, i ? below : NULL) ||
		    (b && block_freeze(b) < 0))
			return NULL;
		b = open_use(name, LOCK_WRITER, b);
		if (!b || put_byte(b, i + 1, i * CLUSTER, CLUSTER) < 0)
			return NULL;
		memcpy(below, name, sizeof(below));
	}
	return b;
}

/* Of a read of the bottom's cluster, once it is known. */
static unsigned locks_of_read(unsigned layers)
{
	struct block *b = make_chain(layers, 256 * CLUSTER);
	unsigned taken;

	if (!b || chain_open(&b, b) < 0 || !all_are(b, 1, 0, CLUSTER))
		return 0;
	locks = 0;
	if (!all_are(b, 1, 512, 4096))
		return 0;
	taken = locks;
	block_close(b);
	return taken;
}

TEST(a_read_looks_into_as_many_tables_in_200_layers_as_in_8)
{
	unsigned few = locks_of_read(8), many = locks_of_read(200);

	OK(few);
	EQ(few, 1);
	EQ(many, few);
}

TEST(a_chain_shows_its_layers_and_what_is_written_since)
{
	struct block *b = make_chain(6, 16 * CLUSTER + 512);
	struct block_extent e;
	uint64_t n;

	OK(b);
	EQ(chain_open(&b, b), 0);
	EQ(chain_depth(b), 6);
	for (int again = 0; again < 2; again++)
		for (unsigned i = 0; i < 6; i++)
			OK(all_are(b, i + 1, i * CLUSTER, CLUSTER));
	OK(all_are(b, 0, 6 * CLUSTER, 10 * CLUSTER + 512));
	EQ(put_byte(b, 9, 2 * CLUSTER + 512, 512), 0);
	OK(all_are(b, 9, 2 * CLUSTER + 512, 512));
	OK(all_are(b, 3, 2 * CLUSTER, 512));
	EQ(block_zero(b, CLUSTER, CLUSTER, true), 0);
	OK(all_are(b, 0, CLUSTER, CLUSTER));
	EQ(block_discard(b, 3 * CLUSTER, CLUSTER), 0);
	OK(all_are(b, 4, 3 * CLUSTER, CLUSTER));
	EQ(block_map(b, 4 * CLUSTER, CLUSTER, false, &e), 0);
	OK(e.fd >= 0 && e.fd != block_fd(b));
	EQ(block_unmap(b, &e), 0);
	EQ(block_status(b, 4 * CLUSTER, 4 * CLUSTER, &n), BLOCK_DATA);
	EQ(block_resize(b, 18 * CLUSTER), 0);
	OK(all_are(b, 0, 16 * CLUSTER, 2 * CLUSTER));
	EQ(put_byte(b, 7, 17 * CLUSTER, CLUSTER), 0);
	OK(all_are(b, 7, 17 * CLUSTER, CLUSTER));
	block_close(b);
}

TEST(what_two_chains_share_does_not_differ)
{
	struct block *a = make_chain(5, 8 * CLUSTER), *b, *low = NULL;
	char name[24];
	uint64_t n;

	OK(a);
	EQ(block_freeze(a), 0);
	for (unsigned i = 0; i < 3; i++) {
		name_of(name, i);
		OK(low = open_use(name, LOCK_READER, low));
	}
	b = low;
	EQ(chain_shared(a, b), 3);
	EQ(chain_owner(a, 0, CLUSTER, &n), 0);
	EQ(chain_owner(a, 4 * CLUSTER, CLUSTER, &n), 4);
	EQ(chain_owner(a, 5 * CLUSTER, 3 * CLUSTER, &n), -1);
	EQ(n, 3 * CLUSTER);
	for (unsigned i = 0; i < 8; i++)
		EQ(chain_differs(a, b, 3, i * CLUSTER, CLUSTER, &n),
		   i == 3 || i == 4);
	block_close(a);
	block_close(b);
}

TEST(what_is_frozen_is_clean_and_others_may_read_it)
{
	struct qcow2_create c = { .size = MIB, .lazy_refcounts = true };
	struct block *b, *other, *raw;

	EQ(create_with(c), 0);
	OK(b = open_image(false));
	EQ(put_byte(b, 1, 0, 4096), 0);
	OK(!open_image(true));
	EQ(block_freeze(b), 0);
	EQ(block_freeze(b), 0);
	EQ(checked(false).leaks, 0);
	EQ(checked(false).errors, 0);
	OK(other = open_image(true));
	EQ(put_byte(b, 2, 0, 512), -EROFS);
	OK(all_are(b, 1, 0, 4096));
	OK(!open_image(false));
	block_close(other);
	block_close(b);

	put("raw", "");
	EQ(truncate("raw", MIB), 0);
	EQ(raw_open(&raw, "raw", false), 0);
	EQ(raw_open(&other, "raw", true), -E_BUSY);
	EQ(block_freeze(raw), 0);
	EQ(raw_open(&other, "raw", true), 0);
	EQ(put_byte(raw, 2, 0, 512), -EROFS);
	block_close(raw);
	block_close(other);
}

static int rebase(const char *to, const char *format)
{
	autoclose int fd = open("a.qcow2", O_RDWR | O_CLOEXEC);

	return qcow2_rebase(fd, to, format);
}

TEST(a_header_names_another_backing_file_and_keeps_the_rest)
{
	struct qcow2_info info;
	char long_name[400];
	int fd;

	OK(make_layer("a.qcow2", MIB, "old"));
	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	EQ(rebase(long_name, "qcow2"), -E_CONFIG);
	long_name[350] = '\0';
	EQ(rebase(long_name, "qcow2"), 0);
	EQ(rebase("new.raw", "raw"), 0);
	fd = open("a.qcow2", O_RDONLY | O_CLOEXEC);
	EQ(qcow2_info(fd, &info), 0);
	STR(info.backing, "new.raw");
	STR(info.backing_format, "raw");
	EQ(info.size, MIB);
	qcow2_info_release(&info);
	EQ(rebase(NULL, NULL), 0);
	EQ(qcow2_info(fd, &info), 0);
	OK(!info.backing && !info.backing_format);
	qcow2_info_release(&info);
	close(fd);
	EQ(checked(false).errors, 0);
}

/* -- merges -- */

static struct block *merger_down(void)
{
	struct block *lower = open_use("0.qcow2", LOCK_MERGER, NULL);

	return lower ? open_use("1.qcow2", LOCK_READER, lower) : NULL;
}

TEST(zeros_above_hide_data_below_and_make_no_data_where_there_is_none)
{
	struct block *b = make_chain(2, 64 * CLUSTER);
	uint64_t n, before;
	struct stat st;

	OK(b);
	EQ(block_zero(b, 0, 32 * CLUSTER, false), 0);
	EQ(put_byte(b, 0, 40 * CLUSTER, 4 * CLUSTER), 0);
	EQ(block_freeze(b), 0);
	block_close(b);
	EQ(stat("0.qcow2", &st), 0);
	before = st.st_size;
	OK(b = merger_down());
	EQ(merge_down(b), 0);
	block_close(b);
	EQ(stat("0.qcow2", &st), 0);
	EQ((uint64_t)st.st_size, before);
	OK(b = open_use("0.qcow2", LOCK_READER, NULL));
	OK(all_are(b, 0, 0, 64 * CLUSTER));
	EQ(block_status(b, 0, 64 * CLUSTER, &n), BLOCK_ZERO);
	block_close(b);
}

TEST(a_merge_is_refused_where_the_lower_one_is_longer_and_costs_say_so)
{
	struct merge_cost cost;
	struct block *b;

	OK(make_layer("0.qcow2", 4 * MIB, NULL));
	OK(make_layer("1.qcow2", 2 * MIB, "0.qcow2"));
	OK(b = merger_down());
	EQ(merge_cost(b, &cost), 0);
	EQ(cost.down, UINT64_MAX);
	EQ(cost.up, 0);
	EQ(merge_down(b), -E_CONFIG);
	EQ(merge_up(b), -EROFS);
	block_close(b);
}

TEST(costs_are_what_each_way_copies)
{
	struct block *b = make_chain(2, 64 * CLUSTER);
	struct merge_cost cost;

	OK(b);
	EQ(put_byte(qcow2_below(b), 1, 0, 512), -EROFS);
	EQ(put_byte(b, 5, 8 * CLUSTER, 3 * CLUSTER), 0);
	EQ(merge_cost(b, &cost), 0);
	EQ(cost.down, 4 * CLUSTER);
	EQ(cost.up, 1 * CLUSTER);
	OK(cost.beside_qemu);
	block_close(b);
}

/* The reader's tables are old, the place it is led to is new. */
TEST(a_reader_finds_what_lies_behind_the_end_it_knew)
{
	struct qcow2_create up = {
		.size = 8 * MIB, .cluster_bits = 12, .backing = "0.qcow2",
		.backing_format = "qcow2",
	};
	struct block *reader, *b;

	OK(make_layer("0.qcow2", 8 * MIB, NULL));
	OK(b = open_use("0.qcow2", LOCK_WRITER, NULL));
	EQ(put_byte(b, 1, 7 * MIB, 512), 0);
	block_close(b);
	unlink("1.qcow2");
	EQ(qcow2_create(AT_FDCWD, "1.qcow2", &up), 0);
	OK(b = open_use("0.qcow2", LOCK_READER, NULL));
	OK(b = open_use("1.qcow2", LOCK_WRITER, b));
	for (unsigned i = 0; i < 64; i++)
		EQ(put_byte(b, 3, i * CLUSTER + 4096, 4096), 0);
	EQ(block_freeze(b), 0);
	reader = b;
	OK(b = merger_down());
	EQ(merge_down(b), 0);
	block_close(b);
	for (unsigned i = 0; i < 64; i++) {
		OK(all_are(reader, 0, i * CLUSTER, 4096));
		OK(all_are(reader, 3, i * CLUSTER + 4096, 4096));
	}
	block_close(reader);
}

int main(void)
{
	static const struct test tests[] = {
		T(a_read_looks_into_as_many_tables_in_200_layers_as_in_8),
		T(a_chain_shows_its_layers_and_what_is_written_since),
		T(what_two_chains_share_does_not_differ),
		T(what_is_frozen_is_clean_and_others_may_read_it),
		T(a_header_names_another_backing_file_and_keeps_the_rest),
		T(zeros_above_hide_data_below_and_make_no_data_where_there_is_none),
		T(a_merge_is_refused_where_the_lower_one_is_longer_and_costs_say_so),
		T(costs_are_what_each_way_copies),
		T(a_reader_finds_what_lies_behind_the_end_it_knew),
	};
	int rc;

	scratch_make(dir);
	rc = test_run(tests, ARRAY_SIZE(tests));
	scratch_remove(dir);
	return rc;
}
