/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buf.h - a byte string that grows.
 *
 *	struct buf b = BUF_INIT;
 *
 *	buf_printf(&b, "%s=%d\n", key, n);
 *	if (b.failed)
 *		rc = fail(ENOMEM, ...);
 *	buf_release(&b);
 *
 * data is never NULL and always followed by a NUL that len does not count, so
 * it can be used as a C string at any time. When memory runs out the buffer
 * keeps what it holds and `failed` stays set: check once, at the end.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>

#include "base/types.h"

struct buf {
	char *data;
	size_t len;
	size_t size;	/* allocated bytes; 0: data is the shared empty string */
	bool failed;
};

extern char buf_empty[1];

#define BUF_INIT { .data = buf_empty }

void buf_init(struct buf *b);
/* Frees the memory; the buffer is as after buf_init(). */
void buf_release(struct buf *b);
/* Forgets the content, keeps the memory. */
void buf_clear(struct buf *b);

/* Makes room for EXTRA more bytes and the NUL; false: no memory. */
bool buf_grow(struct buf *b, size_t extra);

void buf_add(struct buf *b, const void *data, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap);

/* Removes the first N bytes (N <= len). */
void buf_drop(struct buf *b, size_t n);

/* Gives the string away (free() it); NULL when the buffer had failed. */
char *buf_take(struct buf *b);

/* autobuf struct buf b = BUF_INIT; */
#define autobuf __attribute__((cleanup(buf_release)))

#endif
