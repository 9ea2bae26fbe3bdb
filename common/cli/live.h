/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * live.h - a command's hold on a VM that runs: its record, and the connection
 * to its process (ctl.h). Every sentence begins with the VM's name.
 */
#ifndef CLI_LIVE_H
#define CLI_LIVE_H

#include "ctl/ctl.h"
#include "state/vm.h"

#define LIVE_ANSWER_NS 5000000000ULL	/* what a VM's answer may take */
#define LIVE_BUILD_NS 60000000000ULL	/* what building its machine may take */
#define LIVE_END_NS 10000000000ULL	/* what its end may take, once begun */

enum live_state {
	LIVE_OTHER,		/* one this version does not know */
	LIVE_RUNNING,
	LIVE_PAUSED,
	LIVE_CRASHED,
	LIVE_STOPPING,
};

struct live_status {
	enum live_state state;
	bool listens;		/* to the power button */
	uint64_t boots;		/* how often it was entered, resets included */
};

struct live {
	struct vm vm;
	int conn;		/* -1: does not run */
	int peer;		/* pidfd of its process, -1: unknown */
	/*
	 * now_ns() until which it may take to answer, if that is longer than
	 * LIVE_ANSWER_NS: it is silent while it builds its machine anew.
	 */
	uint64_t until;
};

/*
 * Opens VM NAME and connects to its process. 0; -E_STOPPED "web1: not
 * running", L then holds the record alone; on other failures nothing.
 */
int live_open(struct live *l, struct store *st, const char *name);
/* Idempotent. */
void live_close(struct live *l);
/* Connects (again). 0 or -E_STOPPED. */
int live_connect(struct live *l);

/* ctl_call() within LIVE_ANSWER_NS, or until `until`. */
int live_call(struct live *l, const char *request, struct buf *answer, int *fd);
/* Opens VM NAME, asks it REQUEST, closes it: the whole of a simple job. */
int live_ask(struct store *st, const char *name, const char *request);
/* Asks for the status. */
int live_status(struct live *l, struct live_status *s);
/*
 * Asks for a snapshot by REQUEST (vm-ctl.7, "snap"), and returns when what is
 * to be written was. *PAUSE is for how long the guest stood, in nanoseconds.
 */
int live_snap(struct live *l, const char *request, uint64_t *pause);
/*
 * Whether a signal that is to end the process only ends what it waits for
 * (-EINTR), so that it can clear up; live_snap() says so itself.
 */
void live_interruptible(bool on);
/* Takes over into S what LINES, an answer or an event, say. */
void live_parse(struct live_status *s, const char *lines);

/*
 * Presses the power button by REQUEST ("button", "reset soft") as soon as the
 * guest listens to it, and again every ten seconds: a system that is still
 * starting has the driver before it has the service. Until the VM ends (0),
 * or, for a reset, has entered its next boot (1). -E_TIMEOUT at DEADLINE
 * (now_ns()); -EBUSY: is paused; -EIO: has crashed.
 */
int live_press(struct live *l, const char *request, uint64_t deadline);

/* Pulls the plug, and waits for the end. A VM that does not answer is killed. */
int live_pull(struct live *l);

/*
 * Waits, at most LIVE_END_NS, until the process that was connected to has
 * ended and its lock is free. 0 or -E_TIMEOUT.
 */
int live_wait_end(struct live *l);

#endif
