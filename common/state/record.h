/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * record.h - a named directory of the state that is there whole or not at
 * all: a VM, an image.
 *
 * Theory. PARENT/NAME/lock is an OFD lock, held exclusively by whoever changes
 * the record, shared by those who need it to stay. It goes with its last
 * descriptor, so kill -9 frees it. Readers take none: each file in a record is
 * replaced whole.
 *
 * A new one is made in PARENT/.NAME.new.PID-N, made durable, and renamed;
 * names beginning with a dot are no records, and stale ones (whose maker is
 * gone: its lock on the `lock` file in there is free) are swept by the next
 * who makes one. Removal renames to PARENT/.NAME.old.PID-N first.
 *
 * WHAT is the word for it in sentences: "VM", "image". PARENT is a descriptor;
 * -1: it is not there, and no record is.
 */
#ifndef STATE_RECORD_H
#define STATE_RECORD_H

#include "base/text.h"
#include "base/types.h"

/*
 * The directory of record NAME. -E_USAGE a bad name; -E_NOENT "web1: no such
 * VM"; -E_CONFIG "web1: not a directory" (a link, a file); -errno.
 */
int record_open(int parent, const char *what, const char *name);

/*
 * One attempt at the lock of record NAME, open as DIR: 1 with the descriptor
 * that holds it in *LOCK; 0: someone else has it; -E_NOENT: the record was
 * removed meanwhile; else negative with a sentence.
 */
int record_lock(int parent, const char *what, const char *name, int dir,
		bool shared, int *lock);

/* Whether someone holds it now: 1, 0 or -errno. Needs no write right. */
int record_locked(const char *name, int dir);

/* Destroys it; the lock is the caller's. 0 or -errno with a sentence. */
int record_remove(int parent, const char *name, int dir);

/*
 * New records, many at once at the price of few syncs:
 *
 *	record_sweep(parent);			once
 *	stage_open(&s[i], parent, what, name);	directory with lock held
 *	stage_write(&s[i], ...);		and what else belongs in s.dir
 *	stage_publish(s, n, done, arg);
 *	stage_close(&s[i]);
 *
 * Each stage has two descriptors open: STAGE_BATCH at a time leaves room.
 */
enum {
	STAGE_BATCH = 256,
	STAGE_TMP_BYTES = NAME_MAX_LEN + 32,
};

struct stage {
	int parent;		/* borrowed */
	char name[NAME_MAX_LEN + 1];
	char tmp[STAGE_TMP_BYTES];
	int dir, lock;
	int rc;			/* what stage_publish() made of it */
	bool published;
};

/*
 * 0; -E_EXISTS "web1: already exists"; -E_USAGE; -errno. On failure S needs no
 * stage_close(), which does no harm.
 */
int stage_open(struct stage *s, int parent, const char *what,
	       const char *name);

/* Writes a file of it, which stage_publish() makes durable, as all in s.dir. */
int stage_write(struct stage *s, const char *file, const void *data,
		size_t len);

/*
 * Makes all durable, gives them their names and unlocks them; then calls
 * DONE for each in order with 0, or with -E_EXISTS / -errno and the sentence
 * set. The first failure, or 0.
 */
int stage_publish(struct stage *s, size_t n,
		  void (*done)(struct stage *s, int rc, void *arg), void *arg);

/* Frees S; removes what was not published. */
void stage_close(struct stage *s);

/* Removes what makers and removers that died left. Best effort. */
void record_sweep(int parent);

/*
 * Names of all records, sorted as `ls -v` would (web2 before web10); an array
 * of *N strings in one allocation to free(). PATH is PARENT's, for sentences.
 * 0 or -errno with a sentence.
 */
int record_list(int parent, const char *path, char ***names, size_t *n);

#endif
