/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * diskconf.h - what a VM's config says of one disk:
 *
 *	diskN=PATH[,OPTION...]		an OPTION is WORD=VALUE, or `ro`
 *
 * No comma in PATH. The format is what is said here: a guest can write a
 * header of any format into a raw disk, so none is ever guessed. The options
 * are one table (disk_options), from which the manual and sentences have them.
 */
#ifndef STATE_DISKCONF_H
#define STATE_DISKCONF_H

#include "base/text.h"
#include "base/types.h"

enum { DISK_QUEUES = 8 };	/* at most */

enum disk_format { FORMAT_RAW, FORMAT_QCOW2 };
extern const char *const disk_formats[];	/* their words; NULL at the end */

/* When a write is durable: when the guest says so, at once, at leisure. */
enum disk_cache { CACHE_WRITEBACK, CACHE_WRITETHROUGH, CACHE_UNSAFE };
extern const char *const disk_caches[];

/* Which failed writes stop the VM until they work: a full host's, all, none. */
enum disk_werror { WERROR_ENOSPC, WERROR_STOP, WERROR_REPORT };
extern const char *const disk_werrors[];

/* RATE[/BURST]; limit.h says what they mean. */
struct disk_rate {
	uint64_t per_second;	/* 0: no limit */
	uint64_t burst;		/* 0: a tenth of a second's */
};

struct disk_conf {
	char *path;	/* NULL: no such disk */
	enum disk_format format;
	char image[NAME_MAX_LEN + 1];	/* shows through (image.h); "": none */
	/*
	 * The disk outside of the VM's directory, never written, on which its
	 * layers rest (image/layers.h): its format, and its path within `path`'s
	 * memory; NULL: none.
	 */
	enum disk_format base_format;
	const char *base;
	bool readonly;
	char serial[21];	/* at most 20 printable characters */
	enum disk_cache cache;
	enum disk_werror werror;
	unsigned queues;	/* 0: one for each vCPU, DISK_QUEUES at most */
	unsigned block_size;	/* 0: the disk's own */
	struct disk_rate iops, bps;
};

struct disk_option {
	const char *word;	/* "serial" */
	const char *meta;	/* "TEXT"; NULL: it is the word alone */
	bool live;		/* vm-set can change it while the VM runs */
	int (*set)(struct disk_conf *d, const char *key, const char *value);
};

extern const struct disk_option disk_options[];	/* ends with word NULL */

/* The row for WORD, NULL if there is none. */
const struct disk_option *disk_option(const char *word);

/*
 * Reads VALUE, that of KEY, into D (zeroed, or read before). 0; -E_USAGE,
 * -E_CONFIG or -ENOMEM with a sentence. D->path is to be freed.
 */
int disk_conf_parse(struct disk_conf *d, const char *key, const char *value);

/* Whether A and B differ in nothing that waits for the next boot. */
bool disk_conf_same(const struct disk_conf *a, const struct disk_conf *b);
/* Whether they have the same limits. */
bool disk_conf_same_rates(const struct disk_conf *a,
			  const struct disk_conf *b);

/*
 * Appends what VALUE is for a copy of the disk, PATH, which is of FORMAT and
 * rests on no image and nothing outside.
 */
void disk_conf_move(const char *value, const char *path,
		    enum disk_format format, struct buf *out);

/*
 * Appends VALUE to OUT with OPTION set to TO (as if it were given: "ro" has
 * "yes"), or without it (TO NULL or "").
 */
void disk_conf_edit(const char *value, const char *option, const char *to,
		    struct buf *out);

#endif
