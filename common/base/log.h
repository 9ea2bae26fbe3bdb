/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.h - what a running VM notes about itself, for the person who looks
 * later: lines "2026-01-31T12:00:00Z TEXT" on standard error, which vm-boot
 * points at the VM's file `log` (or the terminal, in the foreground).
 *
 * A guest can make devices complain as often as it likes; each place that
 * can be made to talk by a guest therefore uses log_limited(), which lets
 * through LOG_BURST lines and then one each LOG_REFILL_S seconds.
 *
 * Thread-safe. Lines longer than 400 bytes are cut; control characters
 * become '?'.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"

enum { LOG_BURST = 10, LOG_REFILL_S = 60 };

/* One per talking object; zeroed before use. */
struct log_limit {
	uint64_t next_ns;
	unsigned said;
};

void log_line(const char *fmt, ...) PRINTF(1, 2);
void log_limited(struct log_limit *l, const char *fmt, ...) PRINTF(2, 3);

#endif
