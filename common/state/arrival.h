/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * arrival.h - a snapshot that is being received, and no VM sees yet.
 *
 *	partial/ID/		ID is the snapshot's
 *	partial/ID/lock		OFD lock of who receives it
 *	partial/ID/head		what it is, as the stream said
 *	partial/ID/name		the VM it is to be of
 *	partial/ID/point	how much of it is here, and on disk
 *	partial/ID/...		that, in the receiver's own form
 *
 * What was cut off waits here to be gone on with. What nobody went on with for
 * ARRIVAL_DAYS, or has no point, is swept by the next who receives anything.
 */
#ifndef STATE_ARRIVAL_H
#define STATE_ARRIVAL_H

#include "base/buf.h"
#include "state/store.h"

enum { ARRIVAL_DAYS = 7 };

struct arrival {
	int parent;	/* partial/, this struct's own */
	int dir;	/* partial/ID; -1: none is open */
	int lock;
	char id[64];
};
#define ARRIVAL_INIT { .parent = -1, .dir = -1, .lock = -1 }

/*
 * Makes a new one, locked, in the place of what there is. A is ARRIVAL_INIT. 0;
 * -E_BUSY someone is receiving it; -errno; with a sentence.
 */
int arrival_begin(struct arrival *a, const struct store *st, const char *id);
/* Opens what there is, locked. The same; -E_NOENT there is none. */
int arrival_open(struct arrival *a, const struct store *st, const char *id);
void arrival_close(struct arrival *a);		/* also of ARRIVAL_INIT */
/* Removes it. Best effort: what is left is swept. */
void arrival_remove(struct arrival *a);

/* A file of it, replaced whole and durably, or read. */
int arrival_put(const struct arrival *a, const char *file,
		const struct buf *text);
int arrival_get(const struct arrival *a, const char *file, struct buf *text);

void arrival_sweep(const struct store *st);

/*
 * Calls FN with the directory of each that has a point, and its id. Negative
 * with a sentence when they cannot be listed.
 */
int arrival_each(const struct store *st,
		 void (*fn)(int dir, const char *id, void *arg), void *arg);

#endif
