/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conlog.h - what a guest said, kept on disk in two files of bounded size.
 *
 * Theory: bytes have offsets, counted from the start of the process. Each
 * file holds one run of them:
 *
 *	console.log	[start, end)	grows; at KEEP / 2 bytes it becomes
 *	console.log.1	[start, end)	the older one, whose predecessor goes
 *
 * so at most KEEP bytes are on disk and at least the last KEEP / 2 can be
 * read again, by offset. What an earlier process left is kept beside them as
 * console.log.old and console.log.old.1.
 *
 * A write that fails (ENOSPC, EIO) loses the bytes for the log and nothing
 * else: it is noted, tried again after CONLOG_RETRY_NS, and the log then goes
 * on in a new file that begins with a line about the gap.
 *
 * Threads: the caller's lock.
 */
#ifndef MACHINE_CONLOG_H
#define MACHINE_CONLOG_H

#include <sys/uio.h>

#include "base/log.h"

#define CONLOG_RETRY_NS 1000000000ULL

/* One file: bytes [start, end) lie behind its first `head` bytes. */
struct conlog_file {
	int fd;			/* -1: none */
	uint64_t start, end;
	unsigned head;
};

struct conlog {
	int dir;		/* the VM's directory, borrowed */
	uint64_t half;		/* most bytes in one file; 0: no log */
	struct conlog_file cur, old;
	int gone;		/* a file without a name, or -1 */
	uint64_t end;		/* offset behind the last byte offered */
	uint64_t good;		/* the same, of the last byte written */
	bool failed;		/* since the last write that worked */
	uint64_t retry_ns;	/* when to try again */
	struct log_limit complaints;
};

/* The line that stands for BYTES which are gone, in NOTE; its length. */
enum { CONLOG_NOTE = 64 };
unsigned conlog_note(char note[CONLOG_NOTE], uint64_t bytes);

/*
 * Puts the logs of an earlier process aside and begins a new one in DIR,
 * keeping KEEP bytes (0: none). Never fails: what cannot be written is noted.
 */
void conlog_open(struct conlog *g, int dir, uint64_t keep);

/*
 * Frees the space of the log that conlog_open() had no more room for. That
 * can take as long as the rest of a VM's start, so it waits until now.
 */
void conlog_settle(struct conlog *g);
void conlog_close(struct conlog *g);

/* Appends the bytes of IOV (N entries), which follow those before. */
void conlog_append(struct conlog *g, const struct iovec *iov, int n);

/*
 * Copies up to LEN bytes from offset *OFF on; when the log does not have
 * that byte, *OFF becomes the next offset it has. Bytes copied; 0: nothing
 * at or behind *OFF.
 */
size_t conlog_read(const struct conlog *g, uint64_t *off, void *buf,
		   size_t len);

#endif
