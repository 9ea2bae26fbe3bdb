/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/keys.h"

enum keys_order keys_filter(struct keys *k, const char *in, size_t len,
			    char *out, size_t *n)
{
	*n = 0;
	for (size_t i = 0; i < len; i++) {
		char c = in[i];
		bool tilde = k->tilde;

		k->tilde = !tilde && !k->inside && c == '~';
		if (k->tilde)
			continue;
		if (tilde && (c == '.' || c == '?'))
			return c == '.' ? KEYS_LEAVE : KEYS_HELP;
		if (tilde && c != '~')
			out[(*n)++] = '~';
		out[(*n)++] = c;
		k->inside = c != '\r' && c != '\n';
	}
	return KEYS_NONE;
}
