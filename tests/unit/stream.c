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

/* Calls CHANGE for each header of B, with the checksum made right. */
static unsigned each_header(struct buf *b,
			    void (*change)(struct tar_member *m))
{
	struct tar_member m, other;
	unsigned found = 0, n = 0;

	for (size_t at = 0; at + TAR_BLOCK <= b->len; n++) {
		uint8_t *block = (uint8_t *)b->data + at, was[TAR_BLOCK];
		struct snapshot t = { 0 };

		if (!tar_parse(&m, block))
			return n - found;
		memcpy(was, block, sizeof(was));
		other = m;
		change(&other);
		tar_header(&other, block);
		found += read_stream(b, &t) == -E_VERIFY ||
			 !memcmp(was, block, sizeof(was));
		memcpy(block, was, sizeof(was));
		at += TAR_BLOCK + align_up(m.size, TAR_BLOCK);
	}
	return n - found;
}

static void other_vm(struct tar_member *m) { m->prefix[0] = 'x'; }
static void other_time(struct tar_member *m) { m->mtime++; }

static void other_sums(struct tar_member *m)
{
	if (starts_with(m->name, "sums/", NULL))
		m->name[12]++;
}

TEST(a_header_of_another_snapshot_is_found_though_its_checksum_is_right)
{
	autobuf struct buf b = BUF_INIT;
	struct snapshot s;

	sample(&s, true);
	OK(write_stream(&b, &s, NULL) == 0);
	EQ(each_header(&b, other_vm), 0);
	EQ(each_header(&b, other_time), 0);
	EQ(each_header(&b, other_sums), 0);
}

TEST(blocks_of_zeros_are_only_at_the_end)
{
	autobuf struct buf b = BUF_INIT, whole = BUF_INIT;
	struct snapshot s, t = { 0 };

	buf_add(&b, (char[1024]){ 0 }, 1024);
	OK(read_stream(&b, &t) == -E_VERIFY);
	sample(&s, true);
	OK(write_stream(&whole, &s, NULL) == 0);
	buf_add(&whole, (char[1024]){ 0 }, 1024);
	OK(read_stream(&whole, &t) == -E_VERIFY);
	buf_clear(&b);
	buf_add(&b, whole.data, 4 * TAR_BLOCK);	/* head and its sums */
	buf_add(&b, (char[1024]){ 0 }, 1024);
	OK(read_stream(&b, &t) == -E_VERIFY);
	OK(strstr(err_text(), "a block of zeros"));
}

/* -- streams whose sums are right -- */

/* What of the two texts is there, and in which order. */
enum { TEXTS, SWAPPED, META_ALONE, NO_TEXT };

struct wrong {
	const char *what;
	unsigned texts;
	bool from;
	struct { unsigned object; uint64_t off, data, zero; } step[3];
};

static int write_wrong_text(struct stream_writer *w, unsigned texts)
{
	int rc = 0;

	if (texts == SWAPPED)
		rc = stream_text(w, PART_CONFIG, "a=b", 3);
	if (rc == 0 && texts != NO_TEXT)
		rc = stream_text(w, PART_META, "a=b", 3);
	return rc == 0 && texts == TEXTS ?
	       stream_text(w, PART_CONFIG, "a=b", 3) : rc;
}

static int write_wrong(struct buf *out, const struct wrong *wrong)
{
	static const uint8_t data[4096];
	struct snapshot s;
	struct stream_writer *w = &s.w;
	int rc;

	sample(&s, wrong->from);
	s.out = out;
	stream_init(w, to_buf);
	rc = stream_begin(w, &s.head);
	if (rc == 0)
		rc = write_wrong_text(w, wrong->texts);
	for (unsigned i = 0; rc == 0 && i < 3; i++) {
		uint64_t off = wrong->step[i].off;

		if (!i || wrong->step[i].object)
			rc = stream_object(w, wrong->step[i].object);
		if (rc == 0 && wrong->step[i].data)
			rc = stream_data(w, off, data, wrong->step[i].data);
		if (rc == 0 && wrong->step[i].zero)
			rc = stream_zero(w, off, wrong->step[i].zero);
	}
	if (rc == 0)
		rc = stream_end(w);
	if (rc == 0)
		rc = stream_close(w);
	stream_release(w);
	return rc;
}

TEST(what_is_out_of_place_is_refused_though_its_sums_are_right)
{
	static const struct wrong all[] = {
		{ "nothing", .from = true, .step = {
			{ STREAM_KERNEL, 0, 512, 0 },
			{ STREAM_DISK, 0, 512, 512 } } },
		{ "data behind the end", .step = {
			{ STREAM_DISK, 4096, 512, 0 } } },
		{ "data beyond the end", .step = {
			{ STREAM_DISK, 3584, 1024, 0 } } },
		{ "data at an odd place", .step = {
			{ STREAM_DISK, 100, 512, 0 } } },
		{ "data of an odd length", .step = {
			{ STREAM_DISK, 0, 100, 0 } } },
		{ "an object that is not", .step = {
			{ STREAM_DISK + 1, 0, 512, 0 } } },
		{ "objects in another order", .step = {
			{ STREAM_DISK, 0, 512, 0 },
			{ STREAM_INITRD, 0, 512, 0 } } },
		{ "data that goes back", .step = {
			{ STREAM_DISK, 1024, 512, 0 },
			{ STREAM_DISK, 0, 512, 0 } } },
		{ "zeros in a whole one", .step = {
			{ STREAM_DISK, 0, 0, 512 } } },
		{ "zeros behind the end", .from = true, .step = {
			{ STREAM_DISK, 4096, 0, 512 } } },
		{ "zeros at an odd place", .from = true, .step = {
			{ STREAM_DISK, 1, 0, 512 } } },
		{ "zeros that wrap", .from = true, .step = {
			{ STREAM_DISK, 512, 0, UINT64_MAX - 511 } } },
		{ "zeros that go back", .from = true, .step = {
			{ STREAM_DISK, 1024, 0, 512 },
			{ STREAM_DISK, 0, 0, 512 } } },
		{ "a config before the meta", SWAPPED },
		{ "no config", META_ALONE },
		{ "neither", NO_TEXT },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		autobuf struct buf b = BUF_INIT;
		struct snapshot t = { 0 };
		int want = i ? -E_VERIFY : 0, rc;

		OK(write_wrong(&b, &all[i]) == 0);
		rc = read_stream(&b, &t);
		if (rc != want)
			printf("# %s: %d %s\n", all[i].what, rc, err_text());
		OK(rc == want && (i || t.ended == 1) && t.ended <= 1);
	}
}

TEST(a_window_without_sums_has_an_end)
{
	struct snapshot s, t = { 0 };
	autobuf struct buf b = BUF_INIT;
	struct stream_writer *w = &s.w;
	int rc;

	sample(&s, false);
	s.out = &b;
	s.head.object[STREAM_DISK].size = 16 << 20;
	stream_init(w, to_buf);
	rc = stream_begin(w, &s.head);
	OK(rc == 0 && write_wrong_text(w, TEXTS) == 0);
	OK(stream_object(w, STREAM_DISK) == 0);
	for (unsigned i = 0; i < 2 * STREAM_WINDOW_PARTS; i++) {
		OK(stream_data(w, i * 1024ULL, s.disk, 512) == 0);
		w->n_parts = 1;		/* so that no sums follow */
		w->window = 0;
	}
	OK(stream_end(w) == 0);
	OK(stream_close(w) == 0);
	stream_release(w);
	OK(read_stream(&b, &t) == -E_VERIFY);
	OK(strstr(err_text(), "no sums") && !t.data_parts);
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
      T(a_window_ends_when_it_is_full),
      T(a_header_of_another_snapshot_is_found_though_its_checksum_is_right),
      T(blocks_of_zeros_are_only_at_the_end),
      T(what_is_out_of_place_is_refused_though_its_sums_are_right),
      T(a_window_without_sums_has_an_end))
