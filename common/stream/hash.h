/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hash.h - the SHA-256 of a piece of data.
 */
#ifndef STREAM_HASH_H
#define STREAM_HASH_H

#include "base/types.h"

enum { HASH_TEXT = 65 };	/* 64 hexadecimal digits and a NUL */

/* Of LEN bytes of DATA, as text. 0 or -ENOMEM with a sentence. */
int hash_text(const void *data, size_t len, char text[static HASH_TEXT]);

#endif
