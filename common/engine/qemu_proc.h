/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu_proc.h - one process of QEMU: started, with nothing it does not need,
 * and ended.
 *
 * It has a session of its own (a terminal's ^C is not for it), the user's
 * rights without any capability, and dies with the thread that started it,
 * whatever that dies of (prctl(2), PR_SET_PDEATHSIG). What it prints comes
 * through a pipe.
 */
#ifndef ENGINE_QEMU_PROC_H
#define ENGINE_QEMU_PROC_H

#include <sys/types.h>

#include "base/types.h"

struct qemu_proc {
	pid_t pid;	/* 0: none, or it was reaped */
	int pidfd;	/* readable when it has ended; -1 */
	int says;	/* its standard output and error, not blocking; -1 */
};

/* 0; -E_HOST with a sentence that names the package. */
int qemu_proc_probe(void);

/*
 * Runs qemu-system-x86_64 with ARGV. Of our descriptors it has KEEP (N of
 * them; -1 is passed over) under the same numbers. 0 or negative with a
 * sentence; that it could not be executed is said by its pipe.
 */
int qemu_proc_start(struct qemu_proc *p, char *const *argv, const int *keep,
		    size_t n);

/*
 * Kills it if it has not ended, waits until it is gone. Its wait status; -1
 * when there was none. The pipe stays open, to be read to its end.
 */
int qemu_proc_end(struct qemu_proc *p);
void qemu_proc_close(struct qemu_proc *p);	/* ends it, too; idempotent */

#endif
