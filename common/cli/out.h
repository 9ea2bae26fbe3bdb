/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * out.h - the two things a command says: data on standard output, messages
 * on standard error. Both go out at once, a line by one write, so that lines
 * of several processes do not mix and fork() duplicates no buffer.
 */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include "base/buf.h"

/*
 * All LEN bytes. 0, or -errno with "standard output: why"; a command that
 * acts goes on with its work and returns that at its end. -EPIPE, a reader
 * that left, then ends it the way SIGPIPE would (main.c).
 */
int out_write(const void *data, size_t len);
/* The name of what was acted on, and a newline. */
int out_name(const char *name);

/* "vm-boot: FMT...": a message. Control characters become '?'. */
void say(const char *fmt, ...) PRINTF(1, 2);

/*
 * The sentence of what failed for NAME: "vm-boot: web1: why", also when the
 * sentence begins with the name already.
 */
void say_failed(const char *name);

#endif
