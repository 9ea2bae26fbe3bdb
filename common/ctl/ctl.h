/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl.h - requests to a live VM over its socket (vm-ctl.7).
 *
 * Theory: RUN/NAME/ctl is a Unix SEQPACKET socket: one message, one request;
 * one message, its answer. Both are text, at most CTL_MSG bytes:
 *
 *	request		"VERB[ ARGUMENT...]"		"pause", "reset hard"
 *	answer		"ok[\nKEY=VALUE...]"		"ok\nstate=paused\n"
 *	or		"fail CODE SENTENCE"		"fail 11 console has a writer"
 *
 * CODE is an exit code (err.h). An answer may carry one descriptor. After
 * "watch" was answered the connection carries, besides answers, messages
 * "event KEY=VALUE..." as the VM's state changes; a watcher that does not
 * read loses its connection, never holds up the VM. The connection's end is
 * the VM's end. Both sides treat the other as hostile: lengths are checked,
 * unknown verbs are "fail 2", a descriptor nobody asked for is closed.
 *
 * Who may connect is decided by the run directory's mode (0700).
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "base/buf.h"
#include "base/loop.h"

enum { CTL_MSG = 4096, CTL_CONNS = 64, CTL_WORDS = 24 };
#define CTL_FOREVER UINT64_MAX

/* -- the asking side (blocking) -- */

/*
 * Connects to the socket `ctl` in directory RUN (an O_PATH descriptor; any
 * path length). A descriptor; -E_STOPPED "not running" when nobody listens.
 */
int ctl_connect(int run);

/*
 * A pidfd of the process that listens, readable when it has ended and its
 * locks are free. -errno with a sentence.
 */
int ctl_peer(int conn);

/*
 * Sends REQUEST, waits up to TIMEOUT_NS (CTL_FOREVER: no limit) for the
 * answer. 0 with the KEY=VALUE lines behind "ok" in ANSWER (may be NULL) and,
 * FD not NULL, the descriptor that came (-1: none; the caller's to close).
 * Events that come before the answer are dropped. The VM's failure becomes -(E_BASE + CODE) with its sentence;
 * -E_STOPPED when the connection ended, -E_TIMEOUT.
 */
int ctl_call(int conn, const char *request, struct buf *answer, int *fd,
	     uint64_t timeout_ns);

/* The next event's KEY=VALUE lines in EVENT; as above for the rest. */
int ctl_event(int conn, struct buf *event, uint64_t timeout_ns);

/*
 * The value of KEY in lines KEY=VALUE, copied into OUT (SIZE bytes, cut).
 * Whether it was there.
 */
bool ctl_value(const char *lines, const char *key, char *out, size_t size);

/* -- the answering side (in the VM's event loop) -- */

struct ctl_server;
struct ctl_conn;

/*
 * Handles one request. ARGV are the words behind the verb, at most `nargs`
 * (more were refused), ARGV[ARGC] is NULL. Appends KEY=VALUE lines to ANSWER,
 * may set *FD to a descriptor to pass (sent, then closed). Returns 0, or a
 * negative number with a sentence, which becomes the answer.
 */
struct ctl_verb {
	const char *name;
	int nargs;		/* most arguments it takes */
	int (*fn)(void *ctx, int argc, char **argv, struct buf *answer,
		  int *fd);
};

struct ctl_conn {
	struct watch watch;
	struct ctl_server *server;
	int fd;			/* -1: free slot */
	bool events;		/* asked by "watch" */
};

struct ctl_server {
	struct loop *loop;
	struct watch watch;
	struct timer retry;	/* accepts again after descriptors ran out */
	int fd;
	const struct ctl_verb *verbs;	/* ends with name NULL */
	void *ctx;
	struct ctl_conn conn[CTL_CONNS];
};

/*
 * Listens on `ctl` in directory RUN, replacing a dead socket there: the name
 * appears when a connect succeeds, not before. The process that calls this is
 * the one ctl_peer() names. "watch" is answered by the server itself.
 * 0; -E_BUSY a live one is there; -errno with a sentence.
 */
int ctl_listen(struct ctl_server *s, struct loop *l, int run,
	       const struct ctl_verb *verbs, void *ctx);
/* Sends "event LINES" to all watchers. */
void ctl_notify(struct ctl_server *s, const char *lines);
/* Closes everything; the socket's name stays (its directory is removed). */
void ctl_close(struct ctl_server *s);

#endif
