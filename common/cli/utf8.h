/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * utf8.h - text from elsewhere, made fit to be shown.
 */
#ifndef CLI_UTF8_H
#define CLI_UTF8_H

#include "base/buf.h"

/*
 * The length of the character S (NUL-terminated) begins with, 0 if the bytes
 * there are no UTF-8 (RFC 3629: overlong forms and surrogates are none).
 */
int utf8_len(const char *s);

/*
 * Appends S for a terminal: control characters, C1 ones too, and bytes that
 * are no UTF-8 become '?'. The number of characters.
 */
size_t utf8_plain(struct buf *out, const char *s);

/* Appends S as UTF-8, U+FFFD for what is none. */
void utf8_repair(struct buf *out, const char *s);

#endif
