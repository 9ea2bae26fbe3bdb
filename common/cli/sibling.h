/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sibling.h - another command of vmutils, run as a step of this one: the one
 * that lies beside this one's own binary. It has the same state directory,
 * messages and environment, no input, and what it prints is not wanted.
 */
#ifndef CLI_SIBLING_H
#define CLI_SIBLING_H

/*
 * Runs ARGV (ARGV[0] "vm-boot"), which ends with NULL, and waits for its end.
 * Its exit status; 128 + N if it was ended by signal N; negative with a
 * sentence when it could not be run, and -EINTR: a signal came that is to end
 * this one.
 */
int sibling_run(const char *const *argv);

#endif
