/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.h - what a running VM notes about itself, for the person who looks
 * later: lines "2026-01-31T12:00:00Z TEXT" on standard error, which
 * log_open() points at the VM's file `log` (in the foreground it stays what
 * it is).
 *
 * A guest can make devices complain as often as it likes; each place that
 * can be made to talk by a guest therefore uses log_limited(), which lets
 * through LOG_BURST lines and then one each LOG_REFILL_S seconds. A guest
 * that resets its machine gets new devices, which may talk again: so the file
 * is opened anew at each reset, and put aside when it has grown.
 *
 * Thread-safe. Lines longer than 400 bytes are cut; control characters
 * become '?'.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"

enum { LOG_BURST = 10, LOG_REFILL_S = 60, LOG_MAX = 256 << 10 };

/* One per talking object; zeroed before use. */
struct log_limit {
	uint64_t next_ns;
	unsigned said;
};

/*
 * Points standard error at the file `log` of DIR, to be appended to; one of
 * more than LOG_MAX bytes becomes `log.old` before, in the place of another.
 * 0, or -errno with a sentence: it stays what it was.
 */
int log_open(int dir);

void log_line(const char *fmt, ...) PRINTF(1, 2);
void log_limited(struct log_limit *l, const char *fmt, ...) PRINTF(2, 3);

#endif
