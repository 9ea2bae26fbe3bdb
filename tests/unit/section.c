/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/section.h"

#include <errno.h>

#include "base/err.h"

#include "test.h"

/* A file of two sections, the second optional. */
static void make(struct buf *b)
{
	struct section_out s;

	sections_begin(b);
	section_begin(&s, b, "serial", 2);
	put_u8(&s, 0x12);
	put_u16(&s, 0x3456);
	put_u32(&s, 0x789abcde);
	put_u64(&s, 0x1122334455667788);
	put_blob(&s, "blob", 4);
	section_end(&s);
	section_begin(&s, b, "fifteen letters", 1);
	section_optional(&s);
	section_end(&s);
}

TEST(what_was_put_is_got)
{
	autobuf struct buf b = BUF_INIT;
	struct sections all;
	struct section s;
	char blob[8];

	make(&b);
	OK(sections_parse(&all, b.data, b.len) == 0);
	OK(section_take(&all, "serial", 2, &s) == 0 && s.version == 2);
	OK(get_u8(&s) == 0x12 && get_u16(&s) == 0x3456);
	OK(get_u32(&s) == 0x789abcde);
	OK(get_u64(&s) == 0x1122334455667788);
	OK(get_blob(&s, blob, sizeof(blob)) == 4);
	OK(!memcmp(blob, "blob", 4));
	OK(section_done(&s, false) == 0);
	OK(section_done(&s, true) == -E_VERIFY);
	OK(sections_done(&all) == 0);
}

TEST(too_little_yields_zeros_and_is_said)
{
	autobuf struct buf b = BUF_INIT;
	struct sections all;
	struct section s;
	char blob[3];

	make(&b);
	sections_parse(&all, b.data, b.len);
	section_take(&all, "serial", 2, &s);
	get_bytes(&s, (char[15]){ 0 }, 15);
	OK(get_blob(&s, blob, sizeof(blob)) == 0 && s.failed);
	OK(get_u64(&s) == 0);
	OK(section_done(&s, false) == -E_VERIFY);
}

TEST(what_is_later_missing_or_left_over_is_refused)
{
	autobuf struct buf b = BUF_INIT;
	struct sections all;
	struct section s;

	make(&b);
	sections_parse(&all, b.data, b.len);
	OK(section_take(&all, "serial", 1, &s) == -E_CONFIG);
	OK(sections_done(&all) == -E_CONFIG);
	OK(section_take(&all, "disk0", 1, &s) == -ENOENT);
	OK(section_take(&all, "serial", 3, &s) == 0);
	OK(section_take(&all, "serial", 3, &s) == -ENOENT);
	OK(sections_done(&all) == 0);
}

TEST(every_flipped_bit_is_found)
{
	autobuf struct buf b = BUF_INIT;
	struct sections all;

	make(&b);
	for (size_t i = 0; i < 8 * b.len; i++) {
		b.data[i / 8] ^= 1 << i % 8;
		OK(sections_parse(&all, b.data, b.len) < 0);
		b.data[i / 8] ^= 1 << i % 8;
	}
}

TEST(a_file_cut_within_a_section_is_found)
{
	autobuf struct buf b = BUF_INIT;
	struct sections all;
	unsigned whole = 0;

	make(&b);
	for (size_t len = 0; len < b.len; len++)
		whole += sections_parse(&all, b.data, len) == 0;
	OK(whole == 2);	/* cut between them: none, and one */
}

TESTS(T(what_was_put_is_got), T(too_little_yields_zeros_and_is_said),
      T(what_is_later_missing_or_left_over_is_refused),
      T(every_flipped_bit_is_found), T(a_file_cut_within_a_section_is_found))
