/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * section.h - the saved state of a machine: a row of named sections.
 *
 *	file	magic "VMSTATE1", then sections
 *	section	le32 length of the body, le32 CRC-32 of all the rest,
 *		le16 version, le16 flags, name (16 bytes, NULs behind it),
 *		body
 *
 * A section is one thing's state: "vcpu0", "disk1.pci". Its body is what that
 * thing's save function put and its load function gets, in the same order.
 * A later version of a thing may put more behind what an earlier one did, with
 * a higher version; who gets can ask for the version, and what it does not get
 * is passed over. A version above the one a loader knows is refused, and so is
 * a section that nobody took, unless it was saved as optional.
 *
 * What is loaded is hostile: the file's shape is checked whole, every CRC
 * with it, before anything is taken; a getter that finds too little sets
 * `failed`, which stays, and yields zeros. A loader checks every value as if
 * a guest had written it.
 *
 *	section_begin(&s, buf, "serial", 1);	then put_*(), then
 *	section_end(&s);
 *
 *	rc = section_take(&sections, "serial", 1, &s);
 *	x->ier = get_u8(&s);
 *	rc = section_done(&s);			whether all was there
 */
#ifndef BASE_SECTION_H
#define BASE_SECTION_H

#include "base/buf.h"

enum {
	SECTION_NAME = 16,	/* with the NUL */
	SECTIONS = 512,		/* in one file at most */
	SECTIONS_MAX = 64 << 20,	/* bytes in one file at most */
};

/* -- saving -- */

struct section_out {
	struct buf *buf;	/* what failed is buf->failed */
	size_t start;		/* of the section's header */
};

/* Begins a file. */
void sections_begin(struct buf *b);

/* NAME has at most SECTION_NAME - 1 characters; VERSION is at least 1. */
void section_begin(struct section_out *s, struct buf *b, const char *name,
		   unsigned version);
/* It may be left alone by who does not know it. Before section_end(). */
void section_optional(struct section_out *s);
void section_end(struct section_out *s);

void put_u8(struct section_out *s, uint8_t val);
void put_u16(struct section_out *s, uint16_t val);
void put_u32(struct section_out *s, uint32_t val);
void put_u64(struct section_out *s, uint64_t val);
void put_bytes(struct section_out *s, const void *data, size_t len);
/* A length of 32 bits, then DATA: for what has a size that may change. */
void put_blob(struct section_out *s, const void *data, size_t len);

/* -- loading -- */

struct section {
	char name[SECTION_NAME];
	const uint8_t *data;	/* in the text that was parsed */
	size_t len, at;
	unsigned version;
	bool optional, taken;
	bool failed;		/* less was there than was asked for */
};

struct sections {
	struct section section[SECTIONS];
	unsigned n;
};

/*
 * DATA, which must stay, as sections. 0; -E_VERIFY with a sentence: damaged;
 * -E_CONFIG: not this format.
 */
int sections_parse(struct sections *all, const void *data, size_t len);

/*
 * The section NAME, of a version up to VERSION. 0; -ENOENT: there is none;
 * -E_CONFIG: it is of a later version; with a sentence.
 */
int section_take(struct sections *all, const char *name, unsigned version,
		 struct section *s);

uint8_t get_u8(struct section *s);
uint16_t get_u16(struct section *s);
uint32_t get_u32(struct section *s);
uint64_t get_u64(struct section *s);
/* Zeros where there is too little. */
void get_bytes(struct section *s, void *data, size_t len);
/* A blob of at most MAX bytes; its length (0 after a failure). */
size_t get_blob(struct section *s, void *data, size_t max);

/*
 * 0, or -E_VERIFY "serial: damaged state" when S failed or WRONG: for what a
 * loader found it to hold that cannot be.
 */
int section_done(const struct section *s, bool wrong);

/* 0, or -E_CONFIG naming one that must be taken and was not. */
int sections_done(const struct sections *all);

#endif
