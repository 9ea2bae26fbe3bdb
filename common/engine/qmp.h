/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qmp.h - QEMU's monitor, as much of it as an engine needs.
 *
 * Theory: QMP ("QEMU Machine Protocol", docs/interop/qmp-spec of QEMU) is one
 * JSON object a line over a stream socket: a greeting, then commands with an
 * id, answers with that id, and events at any time between them. A call sends
 * its command and reads until its answer came; events on the way are handed
 * out at once. So there is one outstanding command, and an answer whose call
 * gave up is dropped by its id.
 *
 * The peer is hostile (a guest may have broken into it): a line has at most
 * QMP_LINE bytes, and what is not understood is skipped.
 *
 * Threads: one.
 */
#ifndef ENGINE_QMP_H
#define ENGINE_QMP_H

#include "base/buf.h"

enum { QMP_LINE = 256 << 10 };

struct qmp {
	int fd;			/* -1: closed */
	struct buf in;		/* received, not yet a whole line */
	uint64_t id;		/* of the last command */
	/* An event; REASON and ACTION are its data's members, or "". */
	void (*event)(void *arg, const char *name, const char *reason,
		      const char *action);
	void *arg;
};

/*
 * Begins on the socket FD (taken, also on failure): waits for the greeting
 * and enters command mode. *MAJOR and *MINOR are QEMU's version. 0, or
 * negative with a sentence: -E_TIMEOUT, -E_STOPPED (it closed the socket),
 * -EPROTO (not QMP).
 */
int qmp_open(struct qmp *q, int fd, uint64_t timeout_ns, int *major,
	     int *minor);
void qmp_close(struct qmp *q);		/* idempotent */

/*
 * Executes COMMAND with ARGS, the text of a JSON object that is ours (NULL:
 * none), and waits for the answer. TEXT (may be NULL)
 * gets what it returned, if that is a string, or its member "status". 0, or
 * negative with a sentence; -EIO with QEMU's own when it refused.
 */
int qmp_call(struct qmp *q, const char *command, const char *args,
	     struct buf *text, uint64_t timeout_ns);

/* The same, without a text; the descriptor FD goes with it (`add-fd`, `getfd`). */
int qmp_give(struct qmp *q, int fd, const char *command, const char *args,
	     uint64_t timeout_ns);

/* Hands out the events that came, without waiting. 0; -E_STOPPED; -EPROTO. */
int qmp_read(struct qmp *q);

#endif
