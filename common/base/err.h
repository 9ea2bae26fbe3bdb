/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * err.h - errors: a number that goes up the calls, and one sentence for the
 * person, written once where the failure is known.
 *
 * A function that can fail returns 0 or a useful value >= 0, or a negative
 * number having set the thread's sentence. The number is -errno, or minus one
 * of the E_* below where a script wants to tell the case apart; err_exit()
 * makes the exit status of it. Callers that know more put it in front:
 *
 *	if (fd < 0)
 *		return fail_sys("%s", path);	"./db.img: File exists"
 *	...
 *	if (rc < 0)
 *		return fail_in(rc, "disk %s", name);
 *					"disk db: ./db.img: File exists"
 *
 * The sentence says what, then why; it has no final dot, no "error:", no
 * "failed to". Only common/cli/main.c prints it. Control characters in it
 * are replaced by '?', so it may quote hostile names.
 *
 * Every function here is thread-safe: the sentence is thread-local.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/types.h"

/* Exit codes, one table for every command (vm.7, EXIT STATUS). */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_PARTIAL = 3,
	EXIT_PERM = 4,
	EXIT_HOST = 5,
	EXIT_CONFIG = 6,
	EXIT_STOPPED = 7,
	EXIT_NOENT = 10,
	EXIT_BUSY = 11,
	EXIT_EXISTS = 12,
	EXIT_VERIFY = 13,
	EXIT_AGAIN = 75,
	EXIT_TIMEOUT = 124,
};

/* Error numbers beyond errno: E_BASE + the exit code each becomes. */
enum {
	E_BASE = 4096,
	E_USAGE = E_BASE + EXIT_USAGE,		/* cannot be read */
	E_PARTIAL = E_BASE + EXIT_PARTIAL,	/* some of many failed */
	E_PERM = E_BASE + EXIT_PERM,
	E_HOST = E_BASE + EXIT_HOST,		/* the host lacks something */
	E_CONFIG = E_BASE + EXIT_CONFIG,	/* reads well and cannot be */
	E_STOPPED = E_BASE + EXIT_STOPPED,	/* exists, is not running */
	E_NOENT = E_BASE + EXIT_NOENT,		/* no such VM, snapshot, ... */
	E_BUSY = E_BASE + EXIT_BUSY,		/* locked, in use */
	E_EXISTS = E_BASE + EXIT_EXISTS,
	E_VERIFY = E_BASE + EXIT_VERIFY,	/* damaged */
	E_AGAIN = E_BASE + EXIT_AGAIN,
	E_TIMEOUT = E_BASE + EXIT_TIMEOUT,
};

/* Sets the sentence, returns -CODE (CODE > 0: an errno or an E_*). */
int fail(int code, const char *fmt, ...) PRINTF(2, 3);

/* Sets "FMT...: strerror(errno)", returns -errno (-EIO if errno is 0). */
int fail_sys(const char *fmt, ...) PRINTF(1, 2);

/* Puts "FMT...: " in front of the sentence, returns RC unchanged. */
int fail_in(int rc, const char *fmt, ...) PRINTF(2, 3);

/*
 * The thread's sentence; "" if none was ever set. Valid until the next
 * fail*() in this thread. At most ERR_MAX - 1 bytes, longer ones are cut.
 */
enum { ERR_MAX = 512 };
const char *err_text(void);

/* Sets the sentence from TEXT as it came from another process. */
int err_adopt(int rc, const char *text);

/*
 * The exit status for RC: 0 for RC >= 0, the code of an E_*, EXIT_PERM for
 * EACCES, EPERM and EROFS, else EXIT_FAILED.
 */
int err_exit(int rc);

#endif
