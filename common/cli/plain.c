/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/plain.h"

#include <string.h>

enum { ESC = 0x1b, BEL = 0x07, CAN = 0x18, SUB = 0x1a, DEL = 0x7f };

/* The state behind the byte that follows ESC. */
static int after_escape(unsigned char c)
{
	if (c == '[')
		return PLAIN_CSI;
	if (c && strchr("]PX^_", c))
		return PLAIN_STRING;
	/* intermediate bytes go on to a final one */
	return c >= ' ' && c <= '/' ? PLAIN_ESC : PLAIN_TEXT;
}

/* Whether C is part of the text. */
static bool keep(struct plain *p, unsigned char c)
{
	if (c == ESC) {
		p->state = p->state == PLAIN_STRING ? PLAIN_STRING_ESC :
						      PLAIN_ESC;
		return false;
	}
	/* A line's end, CAN and SUB end a sequence that was never finished. */
	if (c == '\n' || c == CAN || c == SUB)
		p->state = PLAIN_TEXT;
	switch (p->state) {
	case PLAIN_TEXT:
		return (c >= ' ' && c != DEL) || c == '\n' || c == '\t';
	case PLAIN_ESC:
	case PLAIN_STRING_ESC:
		p->state = after_escape(c);
		break;
	case PLAIN_CSI:
		if (c >= '@' && c <= '~')
			p->state = PLAIN_TEXT;
		break;
	case PLAIN_STRING:
		if (c == BEL)
			p->state = PLAIN_TEXT;
		break;
	}
	return false;
}

size_t plain_filter(struct plain *p, char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		if (keep(p, text[i]))
			text[n++] = text[i];
	return n;
}
