/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream/read.h"
#include "stream/write.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/file.h"

#include "stream.h"
#include "test.h"

TEST(what_was_written_is_read)
{
	struct snapshot s, t = { 0 };
	autobuf struct buf b = BUF_INIT;

	sample(&s, false);
	OK(write_stream(&b, &s, NULL) == 0);
	OK(read_stream(&b, &t) == 0);
	OK(t.ended == 1 && same_snapshot(&s, &t));
}

TEST(an_increment_says_what_became_zeros_and_of_which_snapshot_it_is_one)
{
	struct snapshot s, t = { 0 };
	autobuf struct buf b = BUF_INIT;

	sample(&s, true);
	OK(write_stream(&b, &s, NULL) == 0);
	memset(t.disk, 0xee, sizeof(t.disk));
	OK(read_stream(&b, &t) == 0);
	STR(t.head.from, "before");
	STR(t.head.from_id, s.head.from_id);
	OK(is_zero(t.disk + 1024, 1024) && t.disk[2048] == 0xee);
}

TEST(several_snapshots_and_several_streams_follow_one_another)
{
	struct snapshot s, t = { 0 };
	autobuf struct buf b = BUF_INIT;

	sample(&s, false);
	OK(write_stream(&b, &s, NULL) == 0);
	b.len -= 2 * TAR_BLOCK;		/* no end of the tar: the next follows */
	OK(write_stream(&b, &s, NULL) == 0);
	OK(write_stream(&b, &s, NULL) == 0);
	OK(read_stream(&b, &t) == 0);
	EQ(t.ended, 3);
}

TEST(a_flipped_bit_in_any_byte_is_found)
{
	autobuf struct buf b = BUF_INIT;
	struct snapshot s;

	sample(&s, true);
	OK(write_stream(&b, &s, NULL) == 0);
	for (size_t i = 0; i < b.len; i++) {
		struct snapshot t = { 0 };
		int rc;

		b.data[i] ^= 1 << i % 8;
		rc = read_stream(&b, &t);
		if (rc != -E_VERIFY)
			printf("# byte %zu: %d %s\n", i, rc, err_text());
		OK(rc == -E_VERIFY);
		b.data[i] ^= 1 << i % 8;
	}
}

TEST(a_stream_cut_anywhere_is_found_and_gone_on_with)
{
	autobuf struct buf b = BUF_INIT;
	struct snapshot s;
	unsigned points = 0;

	sample(&s, true);
	OK(write_stream(&b, &s, NULL) == 0);
	for (size_t len = 0; len < b.len; len += len % TAR_BLOCK ? 511 : 1) {
		autobuf struct buf first = BUF_INIT, rest = BUF_INIT;
		struct snapshot t = { 0 };

		memset(t.disk, 0xee, sizeof(t.disk));
		buf_add(&first, b.data, len);
		OK(read_stream(&first, &t) == -E_VERIFY);
		if (!t.point.id[0])
			continue;
		points++;
		if (t.ended)
			continue;
		OK(write_stream(&rest, &s, &t.point) == 0);
		OK(rest.len < b.len);
		OK(read_stream(&rest, &t) == 0);
		OK(t.ended == 1 && t.head.created == s.head.created);
		OK(!memcmp(t.disk, s.disk, 1024));
		OK(is_zero(t.disk + 1024, 1024) && t.disk[2048] == 0xee);
	}
	OK(points > 10);
}

TEST(a_stream_is_not_gone_on_with_from_another_point_or_by_other_data)
{
	autobuf struct buf b = BUF_INIT, rest = BUF_INIT;
	struct snapshot s, t = { 0 };
	struct stream_point p;

	sample(&s, false);
	OK(write_stream(&b, &s, NULL) == 0);
	OK(read_stream(&b, &t) == 0);
	p = t.point;
	p.sums--;
	OK(write_stream(&rest, &s, &p) == -E_VERIFY);
	p = t.point;
	s.disk[0] ^= 1;
	OK(write_stream(&rest, &s, &p) == -E_VERIFY);
	s.disk[0] ^= 1;
	p.sums += 10;
	OK(write_stream(&rest, &s, &p) == -E_VERIFY);
	buf_clear(&rest);
	OK(write_stream(&rest, &s, &t.point) == 0);
	t.point.last[0] ^= 1;
	OK(read_stream(&rest, &t) == -E_VERIFY);
}

TEST(a_later_format_is_refused_as_such)
{
	autobuf struct buf text = BUF_INIT;
	struct stream_head h;
	struct snapshot s;

	sample(&s, false);
	stream_head_format(&s.head, &text);
	OK(stream_head_parse(&h, text.data, text.len) == 0);
	text.data[strlen("vm-stream ")] = '7';
	OK(stream_head_parse(&h, text.data, text.len) == -E_CONFIG);
	text.data[strlen("vm-stream ")] = '0';
	OK(stream_head_parse(&h, text.data, text.len) == -E_VERIFY);
}

TEST(a_head_that_makes_no_sense_is_refused)
{
	static const char *const wrong[] = {
		"vm=../x\nsnapshot=s\nid=%s\ncreated=1\n",
		"vm=x\nsnapshot=S\nid=%s\ncreated=1\n",
		"vm=x\nsnapshot=s\nid=%s0\ncreated=1\n",
		"vm=x\nsnapshot=s\nid=%s\ncreated=01\n",
		"vm=x\nsnapshot=s\nid=%s\ncreated=99999999999\n",
		"vm=x\nsnapshot=s\nid=%s\ncreated=1\nfrom=y\n",
		"vm=x\nsnapshot=s\nid=%s\ncreated=1\ndisk0=512,from\n",
		"vm=x\nsnapshot=s\nid=%s\ncreated=1\ndisk0=513\n",
		"vm=x\nsnapshot=s\nid=%s\ncreated=1\ndisk16=512\n",
		"vm=x\nsnapshot=s\nid=%s\ncreated=1\ndisk1=512\ndisk0=512\n",
		"vm=x\nsnapshot=s\nid=%s\ncreated=1\nmem=512\n",
		"vm=x\nsnapshot=s\nid=%s\ncreated=1\nkernel=1073741825\n",
		"vm=x\nsnapshot=s\nid=%s\ncreated=1\nother=1\n",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		autobuf struct buf text = BUF_INIT;
		struct stream_head h;

		buf_str(&text, "vm-stream 1\n");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		buf_printf(&text, wrong[i], ID);
#pragma GCC diagnostic pop
		if (stream_head_parse(&h, text.data, text.len) != -E_VERIFY)
			printf("# %s\n", text.data);
		OK(stream_head_parse(&h, text.data, text.len) == -E_VERIFY);
	}
}

TEST(names_of_members_have_one_form)
{
	static const char *const wrong[] = {
		"", "x", "disk0", "disk0/", "disk0/10", "disk00/0000000000000000",
		"disk0/000000000000000A", "disk16/0000000000000000", "sums/1",
		"sums/00000001.zero", "disk0/0000000000000000.zeros",
		"/vm-stream", "disk0/../000000000000000", "mem2/0000000000000000",
	};
	static const struct part parts[] = {
		{ PART_HEAD }, { PART_END }, { PART_SUMS, .number = 123456 },
		{ PART_DATA, STREAM_DISK + 15, 0xabc000 },
		{ PART_ZERO, STREAM_MEM, 1ULL << 63 },
	};
	char name[TAR_NAME];
	struct part p;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		OK(!part_parse(&p, wrong[i]));
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		part_name(&parts[i], name);
		OK(part_parse(&p, name));
		OK(p.kind == parts[i].kind && p.object == parts[i].object &&
		   p.number == parts[i].number);
	}
}

TEST(a_token_has_one_form)
{
	struct stream_head h, again;
	struct stream_point p = { .sums = 17 }, q;
	char token[STREAM_TOKEN];
	struct snapshot s;

	sample(&s, true);
	h = s.head;
	memcpy(p.id, h.id, sizeof(p.id));
	memset(p.last, 'a', HASH_TEXT - 1);
	stream_token_format(&h, &p, token);
	OK(stream_token_parse(&again, &q, token) == 0);
	STR(again.vm, h.vm);
	STR(again.snap, h.snap);
	STR(again.from, h.from);
	OK(q.sums == 17 && !strcmp(q.last, p.last) && !strcmp(q.id, p.id));
	for (size_t i = 0; token[i]; i++) {
		char c = token[i];

		token[i] = '\0';
		OK(stream_token_parse(&again, &q, token) == -E_USAGE);
		token[i] = c;
	}
}

TEST(a_window_ends_when_it_is_full)
{
	autobuf struct buf b = BUF_INIT;
	struct snapshot s, t = { 0 };

	sample(&s, false);
	s.crumbs = true;	/* more members than a window has */
	OK(write_stream(&b, &s, NULL) == 0);
	OK(read_stream(&b, &t) == 0);
	OK(t.ended == 1 && t.data_parts > STREAM_WINDOW_PARTS);
}

TESTS(T(what_was_written_is_read),
      T(an_increment_says_what_became_zeros_and_of_which_snapshot_it_is_one),
      T(several_snapshots_and_several_streams_follow_one_another),
      T(a_flipped_bit_in_any_byte_is_found),
      T(a_stream_cut_anywhere_is_found_and_gone_on_with),
      T(a_stream_is_not_gone_on_with_from_another_point_or_by_other_data),
      T(a_later_format_is_refused_as_such),
      T(a_head_that_makes_no_sense_is_refused),
      T(names_of_members_have_one_form), T(a_token_has_one_form),
      T(a_window_ends_when_it_is_full))
