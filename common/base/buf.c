/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

char buf_empty[1];	/* never written: a size of 0 sends writers to grow */

void buf_init(struct buf *b)
{
	*b = (struct buf)BUF_INIT;
}

void buf_release(struct buf *b)
{
	if (b->size)
		free(b->data);
	buf_init(b);
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->size)
		b->data[0] = '\0';
}

bool buf_grow(struct buf *b, size_t extra)
{
	size_t need, size;
	char *data;

	if (ckd_add(&need, b->len, extra) || ckd_add(&need, need, 1))
		return b->failed = true, false;
	if (need <= b->size)
		return true;
	size = max_u64(need, b->size + b->size / 2 + 64);
	data = realloc(b->size ? b->data : NULL, size);
	if (!data)
		return b->failed = true, false;
	data[b->len] = '\0';
	b->data = data;
	b->size = size;
	return true;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
	if (!len || !buf_grow(b, len))
		return;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0 || !buf_grow(b, n))
		return;
	vsnprintf(b->data + b->len, n + 1, fmt, ap);
	b->len += n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(b, fmt, ap);
	va_end(ap);
}

void buf_drop(struct buf *b, size_t n)
{
	assert(n <= b->len);
	if (!n)
		return;
	memmove(b->data, b->data + n, b->len - n + 1);
	b->len -= n;
}

char *buf_take(struct buf *b)
{
	char *data = NULL;

	if (!b->failed && buf_grow(b, 0)) {
		data = b->data;
		b->size = 0;
	}
	buf_release(b);
	return data;
}
