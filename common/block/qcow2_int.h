/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_int.h - what the files of qcow2 share, and nobody else.
 *
 *	qcow2_header.c		the header, its extensions, the snapshot table
 *	qcow2_table.c		the cache of tables; L1, L2: where a cluster lies
 *	qcow2_refcount.c	refcounts: clusters are taken and given back
 *	qcow2_read.c, qcow2_compress.c, qcow2_write.c, qcow2_wipe.c
 *	qcow2_check.c		counting all references, building refcounts anew
 *	qcow2_create.c, qcow2_resize.c
 *	qcow2_layer.c		what chains of images need: freezing, merging
 *	qcow2.c			open, flush, close
 *
 * What is on disk and when. A table of refcounts may be written at any time:
 * counts go up before anything points at the cluster, and down only when on
 * disk nothing does any more. An L2 table that L1 on disk does not name yet
 * ("fresh") may, too. All other L2 tables and L1 itself are written by
 * qcow2_tables_write() alone, after everything written before was synced.
 * What has been synced is known by numbers: `writes` counts what the next L2
 * table must not overtake, `durable` says up to which of them all is on disk.
 *
 * Threads: `lock` guards every field but those said to be fixed after open.
 * Data is read and written without it. Two things keep that right:
 *
 *	pins	who reads or writes a cluster, or has it by block_map(), holds
 *		a pin, taken under the lock. A freed cluster waits until all
 *		pins are gone that are older than its being freed. There are
 *		two generations of pins; a new one begins when the one before
 *		the last has no pins left.
 *	flights	who fills a cluster that no table names yet has its place
 *		on the disk (not in the file) in a list. All who want to change
 *		that place's entry wait until it landed.
 */
#ifndef BLOCK_QCOW2_INT_H
#define BLOCK_QCOW2_INT_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "block/block.h"
#include "block/qcow2.h"
#include "block/vec.h"

/* -- on disk: qcow2.txt -- */

struct qcow2_disk_header {
	be32 magic, version;
	be64 backing_off;
	be32 backing_len, cluster_bits;
	be64 size;
	be32 crypt_method, l1_n;
	be64 l1_off, reftable_off;
	be32 reftable_clusters, snapshots;
	be64 snapshots_off;
	/* version 3 */
	be64 incompatible, compatible, autoclear;
	be32 refcount_order, length;
	uint8_t compression, pad[7];
};
static_assert(sizeof(struct qcow2_disk_header) == 112, "qcow2 header");

struct qcow2_extension { be32 type, len; };
static_assert(sizeof(struct qcow2_extension) == 8, "qcow2 extension");

enum {
	QCOW2_MAGIC = 0x514649fb,
	QCOW2_V2_HEADER = 72,
	QCOW2_V3_HEADER = 104,
	QCOW2_BITS_MIN = 9,
	QCOW2_BITS_MAX = 21,
	QCOW2_SECTOR = 512,
	QCOW2_BACKING_MAX = 1023,
	QCOW2_EXT_BACKING_FORMAT = (int)0xe2792aca,
	QCOW2_EXT_FEATURE_NAMES = (int)0x6803f857,
};

/* Bounds of ours, which are QEMU's: of tables that are held in memory. */
enum {
	QCOW2_L1_MAX = (32 << 20) / 8,
	QCOW2_REFTABLE_MAX = (8 << 20) / 8,
	QCOW2_SNAPSHOTS_MAX = 65536,
};

enum {
	QCOW2_DIRTY = 1 << 0,
	QCOW2_CORRUPT = 1 << 1,
	QCOW2_DATA_FILE = 1 << 2,
	QCOW2_COMPRESSION = 1 << 3,
	QCOW2_EXTENDED_L2 = 1 << 4,
	QCOW2_LAZY = 1 << 0,		/* compatible */
	QCOW2_BITMAPS = 1 << 0,		/* autoclear */
};

#define QCOW2_COPIED	(1ULL << 63)
#define QCOW2_COMPRESSED (1ULL << 62)
#define QCOW2_ZERO	1ULL
#define QCOW2_OFFSET	0x00fffffffffffe00ULL

/* What the header says, checked, in the host's byte order. */
struct qcow2_header {
	unsigned version, cluster_bits, refcount_order;
	uint64_t size;
	uint64_t l1_off, l1_n;			/* entries */
	uint64_t reftable_off, reftable_n;	/* entries */
	uint64_t snapshots_off;
	unsigned snapshots;
	uint64_t incompatible, compatible, autoclear;
	bool zstd;
	char *backing, *backing_format;
	uint64_t file_size;			/* when it was read */
};

static inline uint64_t qcow2_cluster(const struct qcow2_header *h)
{
	return 1ULL << h->cluster_bits;
}

/* How many refcounts one cluster holds, as a power of two. */
static inline unsigned qcow2_refs_bits(const struct qcow2_header *h)
{
	return h->cluster_bits + 3 - h->refcount_order;
}

/* How many L1 entries a disk of SIZE bytes needs. */
uint64_t qcow2_l1_needed(unsigned cluster_bits, uint64_t size);

/* 0; -E_CONFIG, -E_VERIFY or -errno with a sentence, and nothing to release. */
int qcow2_header_read(int fd, struct qcow2_header *h);
void qcow2_header_release(struct qcow2_header *h);

/*
 * Puts behind the fixed header in B, as it is in the file, the extensions and the
 * backing file's name (NULL: none). 0 or -ENOMEM with a sentence.
 */
struct buf;
int qcow2_header_finish(struct buf *b, const char *backing,
			const char *format);

/* Entries of 64 bits, as they stand in the file. 0 or -errno. */
int qcow2_read_table(int fd, uint64_t off, be64 *table, uint64_t n);

struct qcow2_snapshot { uint64_t l1_off, l1_n; };
/*
 * The internal snapshots' L1 tables, h->snapshots of them, checked, and how
 * long the snapshot table is. 0 (free *LIST), or negative with a sentence.
 */
int qcow2_snapshots_read(int fd, const struct qcow2_header *h,
			 struct qcow2_snapshot **list, uint64_t *bytes);

/* -- an open image -- */

/* A set of clusters, by their number; qcow2_table.c. */
struct qcow2_set {
	uint64_t *slot;		/* 0: empty; number + 1 */
	uint64_t size, used;	/* size: a power of two, or 0 */
};

bool qcow2_set_has(const struct qcow2_set *s, uint64_t cluster);
/* 0, -EEXIST or -ENOMEM. */
int qcow2_set_add(struct qcow2_set *s, uint64_t cluster);
void qcow2_set_drop(struct qcow2_set *s, uint64_t cluster);

/* One cluster of L2 entries or refcounts, in memory. */
struct qcow2_table {
	uint64_t off;		/* in the file; 0: holds nothing */
	unsigned lo, hi;	/* bytes to be written; lo == hi: none */
	bool fresh;		/* L1 on disk does not name it */
	uint64_t used;		/* when last */
	struct qcow2_table *next;	/* of the same hash */
	unsigned char data[];	/* a cluster */
};

struct qcow2;

struct qcow2_cache {
	struct qcow2_table **table, **hash;
	unsigned n, made;	/* at most, and so far */
	uint64_t clock;
	int (*clean)(struct qcow2 *q);	/* writes what is to be written */
};

/* Clusters to be given back: each loses one reference. */
struct qcow2_freed {
	uint64_t first, n;	/* clusters of the file */
	uint64_t pins;		/* the generation when it was freed */
};

/* Clusters of the disk that are being filled. */
struct qcow2_flight {
	uint64_t first, n;
	uint64_t host;		/* where in the file */
	bool virgin;		/* never written since the file grew there */
	bool own;		/* it was the entry's cluster already */
	struct qcow2_flight *next;
};

struct qcow2 {
	struct block block;
	/* fixed after open */
	int fd;
	char *path;
	struct block *backing;		/* changed when nobody is here */
	bool lazy, merger;
	/* lock's */
	pthread_mutex_t lock;
	pthread_cond_t landed;
	struct qcow2_header h;		/* kept as it is in the file */
	uint64_t end;			/* of the file, in whole clusters */
	bool corrupt, dirty;
	int lost;			/* the first error of a sync, or 0 */
	uint64_t writes, durable;
	uint64_t *l1;
	uint64_t l1_lo, l1_hi;		/* entries to be written */
	struct qcow2_cache l2;
	/* of writers */
	uint64_t *reftable;
	struct qcow2_cache refs;
	struct qcow2_set meta;		/* clusters of tables and the header */
	uint64_t hint;			/* no free cluster before it */
	struct qcow2_flight *flights;
	struct qcow2_freed *freed;	/* oldest first */
	size_t freed_n, freed_size;
	size_t freed_kept;		/* that the last flush could not release */
	uint64_t freed_before;		/* how many were counted down */
	uint64_t pin_generation;
	atomic_uint pins[2];		/* of this generation and the last */
	/* zlock's: the compressed cluster that was read last */
	pthread_mutex_t zlock;
	uint64_t zentry;
	void *zdata;
};

static inline struct qcow2 *qcow2_of(struct block *b)
{
	return container_of(b, struct qcow2, block);
}

static inline uint64_t qcow2_cs(const struct qcow2 *q)
{
	return 1ULL << q->h.cluster_bits;
}

/* Bytes of the disk that one L2 table is about, as a power of two. */
static inline unsigned qcow2_l2_bits(const struct qcow2 *q)
{
	return 2 * q->h.cluster_bits - 3;
}

/*
 * Notes that the image is damaged, in the header, too, if we may; nothing is
 * written to it from then on. Returns -EIO.
 */
int qcow2_damaged(struct qcow2 *q, const char *what, uint64_t where);

extern const struct block_ops qcow2_ops;

/* Waits until what was written before is on disk: under the lock, or not. */
int qcow2_barrier(struct qcow2 *q);
int qcow2_sync_unlocked(struct qcow2 *q);

/* LEN bytes of metadata to OFF, counted in `writes`. */
int qcow2_put(struct qcow2 *q, const void *data, size_t len, uint64_t off);

/* -- qcow2_table.c -- */

int qcow2_cache_init(struct qcow2_cache *c, const struct qcow2_header *h,
		     int (*clean)(struct qcow2 *));
void qcow2_cache_release(struct qcow2_cache *c);
/*
 * The table at OFF: read, or (new) zeroed; valid until the next call for the
 * same cache. 0 or -errno.
 */
int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *c, uint64_t off,
		    struct qcow2_table **t);
int qcow2_cache_new(struct qcow2 *q, struct qcow2_cache *c, uint64_t off,
		    struct qcow2_table **t);
/* It is no table any more; what was to be written is not. */
void qcow2_cache_forget(const struct qcow2 *q, struct qcow2_cache *c,
			struct qcow2_table *t);
/* LEN bytes at AT are to be written. */
void qcow2_table_touch(struct qcow2_table *t, size_t at, size_t len);
int qcow2_table_write(struct qcow2 *q, struct qcow2_table *t);

/* Whether OFF may be the place of a cluster or table that an entry names. */
bool qcow2_place_ok(const struct qcow2 *q, uint64_t off);

/* What lies at a place of the disk. */
enum qcow2_kind {
	QCOW2_NONE,		/* the backing file's, or zeros */
	QCOW2_ZEROS,
	QCOW2_ZEROS_AT,		/* zeros, and has a cluster */
	QCOW2_DATA,
	QCOW2_PACKED,		/* compressed */
};

struct qcow2_map {
	enum qcow2_kind kind;
	bool copied;		/* ours alone: may be written */
	uint64_t entry;
	uint64_t host;		/* in the file; of PACKED the stream's */
	uint64_t len;		/* bytes for which that holds; of PACKED in
				   the file, from qcow2_decode() */
};

/* What ENTRY of an L2 table means; -EIO if it cannot be. No table is read. */
int qcow2_decode(const struct qcow2 *q, uint64_t entry, struct qcow2_map *m);

/*
 * What lies at OFF, of LEN bytes at most (len of M), by the table cached or
 * read. 0 or -errno.
 */
int qcow2_lookup(struct qcow2 *q, uint64_t off, uint64_t len,
		 struct qcow2_map *m);
/* The same, but -EAGAIN if a table would have to be read. */
int qcow2_peek(struct qcow2 *q, uint64_t off, uint64_t len,
	       struct qcow2_map *m);

/* The table at OFF if it is in memory, or NULL. */
struct qcow2_table *qcow2_cache_find(const struct qcow2 *q,
				     struct qcow2_cache *c, uint64_t off);
/* The L2 table for OFF if it is in memory and may be changed, or NULL. */
struct qcow2_table *qcow2_l2_peek(struct qcow2 *q, uint64_t off);
/* The L2 table for OFF, NULL if there is none; or one to be changed. */
int qcow2_l2_get(struct qcow2 *q, uint64_t off, struct qcow2_table **t);
int qcow2_l2_change(struct qcow2 *q, uint64_t off, struct qcow2_table **t);
uint64_t qcow2_l2_entry(const struct qcow2 *q, const struct qcow2_table *t,
			uint64_t off);
void qcow2_l2_set(struct qcow2 *q, struct qcow2_table *t, uint64_t off,
		  uint64_t entry);

/* Writes the L2 tables that nothing on disk names yet. */
int qcow2_fresh_write(struct qcow2 *q);
/* Writes all tables, in the right order; not synced at the end. */
int qcow2_tables_write(struct qcow2 *q);

/* -- qcow2_refcount.c -- */

/* Entry I of a refcount block in memory. */
uint64_t qcow2_ref_load(const void *block, unsigned order, uint64_t i);
void qcow2_ref_store(void *block, unsigned order, uint64_t i, uint64_t val);

/* Writes the refcounts. */
int qcow2_refs_write(struct qcow2 *q);

/*
 * Takes 1 to MOST clusters that lie in one piece at *OFF. The number, or
 * -errno. *VIRGIN (may be NULL): the file reads as zeros there.
 */
int64_t qcow2_alloc(struct qcow2 *q, uint64_t most, uint64_t *off,
		    bool *virgin);
/*
 * The same without I/O but for the file's length; -EAGAIN if that cannot be,
 * or if VIRGIN and the file may not read as zeros there.
 */
int64_t qcow2_alloc_quick(struct qcow2 *q, uint64_t most, bool virgin,
			  uint64_t *off);
/* Takes N clusters in one piece, however many, for a table. 0 or -errno. */
int qcow2_alloc_table(struct qcow2 *q, uint64_t n, uint64_t *off);
/* Gives back what no table ever named. */
void qcow2_free_now(struct qcow2 *q, uint64_t off, uint64_t n);
/* Gives back what a table named until now. */
void qcow2_free_later(struct qcow2 *q, uint64_t off, uint64_t n);
/* The same with what ENTRY of an L2 table named. */
void qcow2_free_entry(struct qcow2 *q, uint64_t entry);
/*
 * Counts down what was freed before the mark was taken, as far as pins allow.
 * No table on disk may name it any more.
 */
uint64_t qcow2_freed_mark(const struct qcow2 *q);
void qcow2_release(struct qcow2 *q, uint64_t mark);
/* Whether too much waits to be given back; flushes then, without the lock. */
bool qcow2_freed_many(const struct qcow2 *q);
int qcow2_flush_if_many(struct qcow2 *q);

static inline unsigned qcow2_pin(struct qcow2 *q)
{
	unsigned token = q->pin_generation & 1;

	atomic_fetch_add(&q->pins[token], 1);
	return token;
}

/* Without the lock. */
static inline void qcow2_unpin(struct qcow2 *q, unsigned token)
{
	atomic_fetch_sub(&q->pins[token & 1], 1);
}

/* -- transfers; all without the lock -- */

/* The ops. */
int qcow2_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		uint64_t len);
int qcow2_writev(struct block *b, struct iovec *iov, int n, uint64_t off,
		 uint64_t len);
int qcow2_zero(struct block *b, uint64_t off, uint64_t len, bool unmap);
int qcow2_discard(struct block *b, uint64_t off, uint64_t len);
int qcow2_resize(struct block *b, uint64_t size);
int qcow2_status(struct block *b, uint64_t off, uint64_t len, uint64_t *n);
int qcow2_flush(struct block *b);
int qcow2_freeze(struct block *b);

/*
 * All is on disk, and what was freed is counted so, as far as it may. Nobody
 * else is here. 0 or -errno.
 */
int qcow2_settle(struct qcow2 *q);
/* Whether BACKING can show through; its blocks become Q's. With a sentence. */
int qcow2_fit_backing(struct qcow2 *q, const struct block *backing);
/*
 * Whether the file, which we read, has become longer than `end`, by a merger;
 * that is so from then on. With the lock.
 */
bool qcow2_grew(struct qcow2 *q);

/* A cluster that is compressed as M says, into PART from AT of it on. */
int qcow2_read_packed(struct qcow2 *q, const struct qcow2_map *m, uint64_t at,
		      const struct iovec *part, int n);
/* Whether [OFF, OFF+LEN) is known to read as zeros. */
bool qcow2_is_zero(struct qcow2 *q, uint64_t off, uint64_t len);
/* Whether the backing file has something at OFF. */
bool qcow2_covered(const struct qcow2 *q, uint64_t off);

/*
 * With the lock: block_map() of LEN bytes to be written at OFF, which M is
 * about, where something has to be allocated first; the token is more than 1.
 * Its unmap, without the lock.
 */
int qcow2_map_new(struct qcow2 *q, uint64_t off, uint64_t len,
		  const struct qcow2_map *m, struct block_extent *e);
int qcow2_unmap_new(struct qcow2 *q, struct block_extent *e);

/* With the lock: until nothing of [OFF, OFF+LEN) is being filled. */
void qcow2_wait_flights(struct qcow2 *q, uint64_t off, uint64_t len);

/* OFF to OFF + LEN of a disk of SIZE bytes becomes zeros. */
enum qcow2_wipe {
	QCOW2_WIPE_KEEP, QCOW2_WIPE_UNMAP, QCOW2_WIPE_DISCARD, QCOW2_WIPE_HIDE,
};
int qcow2_wipe(struct qcow2 *q, uint64_t off, uint64_t len, uint64_t size,
	       enum qcow2_wipe how);

/* -- qcow2_check.c -- */

/*
 * Counts all references and builds the refcounts anew from that. 0; -E_VERIFY
 * with a sentence: it cannot be, the tables contradict each other.
 */
int qcow2_rebuild(int fd, struct qcow2_header *h);

#endif
