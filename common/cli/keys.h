/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keys.h - what is typed at a console, and the few keys that are not for the
 * guest: behind a "~" at the start of a line, as ssh(1) has it.
 *
 *	~.	leave
 *	~?	help
 *	~~	one "~"
 *
 * Everything else goes through, a "~" before another key included.
 */
#ifndef CLI_KEYS_H
#define CLI_KEYS_H

#include "base/types.h"

enum keys_order { KEYS_NONE, KEYS_LEAVE, KEYS_HELP };

struct keys {
	bool inside;	/* of a line; zeroed: at the start of the first */
	bool tilde;	/* held back */
};

/*
 * Takes the LEN keys at IN, writes what goes to the guest to OUT (2 * LEN
 * bytes), *N of them. The first order among them ends it: the rest is lost.
 */
enum keys_order keys_filter(struct keys *k, const char *in, size_t len,
			    char *out, size_t *n);

#endif
