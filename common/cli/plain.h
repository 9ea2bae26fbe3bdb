/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * plain.h - what a guest said as plain text: without escape sequences
 * (ECMA-48: ESC, CSI, and the strings OSC, DCS, SOS, PM, APC) and without
 * control characters but tab and newline. So it can be matched, and shown on
 * a terminal that the guest must not control.
 */
#ifndef CLI_PLAIN_H
#define CLI_PLAIN_H

#include "base/types.h"

struct plain {
	enum {
		PLAIN_TEXT, PLAIN_ESC, PLAIN_CSI, PLAIN_STRING,
		PLAIN_STRING_ESC,
	} state;
};

/* Rewrites LEN bytes of TEXT in place; how many are left. */
size_t plain_filter(struct plain *p, char *text, size_t len);

#endif
