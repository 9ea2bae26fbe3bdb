/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/sums.h"

#include <errno.h>

#include "base/err.h"

#include "scratch.h"
#include "test.h"

#define A256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define A512 \
	"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a" \
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
#define B256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static char dir[SCRATCH_BYTES];

/* What LIST says of NAME, as text; "" and the sentence if nothing. */
static const char *found(const char *list, const char *name, bool own)
{
	static char text[SUM_TEXT];
	struct sum sum = { 0 };

	if (sums_find(list, strlen(list), name, own, &sum) < 0)
		return "";
	return sum_format(text, &sum);
}

/* How often FN can be called with I counting up. */
static size_t count_beside(const char *url)
{
	autobuf struct buf b = BUF_INIT;
	bool own;
	size_t n = 0;

	while (n < 100 && sums_beside(url, n, &b, &own) == 0)
		n++;
	return n;
}

static int open_with(const char *content)
{
	return put("file", content) ? open("file", O_RDONLY | O_CLOEXEC) : -1;
}

TEST(sums_are_those_of_fips_180)
{
	autoclose int fd = open_with("abc");
	char text[SUM_TEXT];
	struct sum sum;

	OK(fd >= 0);
	EQ(sum_file(fd, SUM_SHA256, &sum), 0);
	STR(sum_format(text, &sum), "sha256:" A256);
	EQ(sum_file(fd, SUM_SHA512, &sum), 0);
	STR(sum_format(text, &sum), "sha512:" A512);
}

TEST(the_sum_of_an_empty_file_is_that_of_nothing)
{
	autoclose int fd = open_with("");
	char text[SUM_TEXT];
	struct sum sum;

	EQ(sum_file(fd, SUM_SHA256, &sum), 0);
	STR(sum_format(text, &sum), "sha256:" B256);
}

TEST(a_sum_is_made_of_the_whole_file_wherever_its_offset_is)
{
	autoclose int fd = open_with("abc");
	struct sum sum, again;

	EQ(sum_file(fd, SUM_SHA256, &sum), 0);
	EQ(lseek(fd, 2, SEEK_SET), 2);
	EQ(sum_file(fd, SUM_SHA256, &again), 0);
	OK(sum_same(&sum, &again));
	EQ(lseek(fd, 0, SEEK_CUR), 2);
}

TEST(another_sum_is_damage)
{
	autoclose int fd = open_with("abc");
	struct sum sum;

	EQ(sum_parse(A256, &sum), 0);
	EQ(sum_check(fd, &sum), 0);
	EQ(sum_parse("sha512:" A512, &sum), 0);
	EQ(sum_check(fd, &sum), 0);
	sum.byte[63] ^= 1;
	EQ(sum_check(fd, &sum), -E_VERIFY);
	EQ(sum_parse(B256, &sum), 0);
	EQ(sum_check(fd, &sum), -E_VERIFY);
	STR(err_text(), "damaged or changed: its sum is "
	    "sha256:ba7816bf8f01cfea..., not sha256:e3b0c44298fc1c14...");
}

TEST(what_cannot_be_read_has_no_sum)
{
	autoclose int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct sum sum;

	EQ(sum_file(fd, SUM_SHA256, &sum), -EISDIR);
}

TEST(a_sum_is_read_with_and_without_its_kind)
{
	static const char *const bad[] = {
		"", "sha256:", "sha512:" A256, "sha256:" A512, A256 "0",
		"md5:" A256, A256 " ", " " A256, "x", "sha256:" A256 "\n",
		"sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
	};
	struct sum sum, upper;

	EQ(sum_parse("sha256:" A256, &sum), 0);
	EQ(sum_parse("BA7816BF8F01CFEA414140DE5DAE2223"
		     "B00361A396177A9CB410FF61F20015AD", &upper), 0);
	OK(sum_same(&sum, &upper));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EQ(sum_parse(bad[i], &sum), -E_USAGE);
}

TEST(sums_of_two_kinds_are_never_the_same)
{
	struct sum a = { .kind = SUM_SHA256 }, b = { .kind = SUM_SHA512 };

	OK(!sum_same(&a, &b));
}

TEST(every_form_of_list_is_read)
{
	STR(found(A256 "  x.img\n", "x.img", false), "sha256:" A256);
	STR(found(A256 " *x.img\n", "x.img", false), "sha256:" A256);
	STR(found(A256 " x.img", "x.img", false), "sha256:" A256);
	STR(found(A256 "  ./x.img\r\n", "x.img", false), "sha256:" A256);
	STR(found("SHA256 (x.img) = " A256 "\n", "x.img", false),
	    "sha256:" A256);
	STR(found("SHA512 (x.img) = " A512, "x.img", false), "sha512:" A512);
	STR(found("sha512 (x.img) = " A512 " \n", "x.img", false),
	    "sha512:" A512);
}

TEST(what_stands_around_the_sums_is_passed_over)
{
	static const char list[] =
		"-----BEGIN PGP SIGNED MESSAGE-----\n"
		"Hash: SHA256\n"
		"\n"
		"# x.img: 512 bytes\n"
		"MD5 (x.img) = 900150983cd24fb0d6963f7d28e17f72\n"
		"a9993e364706816aba3e25717850c26c9cd0d89d  x.img\n"
		"SHA256 (y.img) = " B256 "\n"
		"SHA256 (x.img) = " A256 "\n"
		"-----BEGIN PGP SIGNATURE-----\n"
		"iQIzBAEBCAAdFiEE\n";

	STR(found(list, "x.img", false), "sha256:" A256);
	STR(found(list, "y.img", false), "sha256:" B256);
	STR(found(list, "z.img", false), "");
}

TEST(a_name_must_be_the_whole_name)
{
	static const char list[] = A256 "  x.img.xz\n" A256 "  ax.img\n"
				   A256 "  a/x.img\n" A256 "  X.IMG\n"
				   "SHA256 (x.img.xz) = " A256 "\n";

	STR(found(list, "x.img", false), "");
	STR(err_text(), "no sum for x.img");
	STR(found(A256 "\n", "", false), "");
	STR(found(A256 "  \n", "", false), "");
	STR(found("SHA256 () = " A256 "\n", "", false), "");
}

TEST(the_stronger_sum_counts)
{
	STR(found(A256 "  x\n" A512 "  x\n", "x", false), "sha512:" A512);
	STR(found(A512 "  x\n" A256 "  x\n", "x", false), "sha512:" A512);
}

TEST(two_different_sums_for_one_name_are_refused)
{
	static const char list[] = A256 "  x\n" B256 "  x\n";
	struct sum sum;

	EQ(sums_find(list, strlen(list), "x", false, &sum), -E_VERIFY);
	STR(found(A256 "  x\n" A256 " *x\n", "x", false), "sha256:" A256);
}

TEST(a_list_of_its_own_may_name_the_file_otherwise_or_not_at_all)
{
	STR(found(A256 "\n", "x", true), "sha256:" A256);
	STR(found(A256 "  x-build5\n", "x", true), "sha256:" A256);
	STR(found("# c\n" A256 "  x-build5\n\n", "x", true), "sha256:" A256);
	STR(found(A256 "  x-build5\n", "x", false), "");
	STR(found(A256 "  a\n" B256 "  b\n", "x", true), "");
	STR(found(A256 "  a\n" B256 "  x\n", "x", true), "sha256:" B256);
}

TEST(hashes_of_a_wrong_length_are_none)
{
	STR(found(A256 "0  x\n", "x", true), "");
	STR(found("ba7816bf  x\n", "x", true), "");
	STR(found("SHA256 (x) = " A512 "\n", "x", true), "");
	STR(found("SHA512 (x) = " A256 "\n", "x", true), "");
	STR(found("SHA256 (x)= " A256 "\n", "x", true), "");
	STR(found(A256 "x\n", "x", true), "");
}

TEST(hostile_lists_are_passed_over)
{
	static const char nul[] = A256 "  x\0y\n";
	struct sum sum;

	EQ(sums_find("", 0, "x", true, &sum), -ENOENT);
	EQ(sums_find("\n\n\n", 3, "x", true, &sum), -ENOENT);
	EQ(sums_find("SHA256 (", 8, "x", true, &sum), -ENOENT);
	EQ(sums_find("SHA256 (\n", 9, "x", true, &sum), -ENOENT);
	EQ(sums_find(nul, sizeof(nul) - 1, "x", false, &sum), -ENOENT);
	/* cut off anywhere, it is still read within its length */
	for (size_t n = 0; n < strlen(A256); n++)
		EQ(sums_find(A256, n, "x", true, &sum), -ENOENT);
}

TEST(lists_beside_a_url_are_looked_for_there)
{
	autobuf struct buf b = BUF_INIT;
	bool own;

	EQ(sums_beside("https://h/d/x.img?a=/b#c", 0, &b, &own), 0);
	STR(b.data, "https://h/d/SHA512SUMS");
	OK(!own);
	EQ(sums_beside("https://h/d/x.img?a=/b#c", 3, &b, &own), 0);
	STR(b.data, "https://h/d/x.img.sha512");
	OK(own);
	EQ(count_beside("https://h/x"), 7);
	EQ(count_beside("https://h/"), 0);
	EQ(count_beside("https://h"), 0);
}

TEST(the_name_of_a_file_is_the_last_of_its_path)
{
	static const char *const url[][2] = {
		{ "https://h/d/x.img", "x.img" },
		{ "https://h/x.img?y=/z", "x.img" },
		{ "https://h/d/#x", "" },
		{ "https://h", "" },
		{ "https://", "" },
		{ "x", "" },
		{ "", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(url); i++) {
		autobuf struct buf b = BUF_INIT;

		sums_name(url[i][0], &b);
		STR(b.data, url[i][1]);
	}
}

int main(void)
{
	static const struct test tests[] = {
		T(sums_are_those_of_fips_180),
		T(the_sum_of_an_empty_file_is_that_of_nothing),
		T(a_sum_is_made_of_the_whole_file_wherever_its_offset_is),
		T(another_sum_is_damage),
		T(what_cannot_be_read_has_no_sum),
		T(a_sum_is_read_with_and_without_its_kind),
		T(sums_of_two_kinds_are_never_the_same),
		T(every_form_of_list_is_read),
		T(what_stands_around_the_sums_is_passed_over),
		T(a_name_must_be_the_whole_name),
		T(the_stronger_sum_counts),
		T(two_different_sums_for_one_name_are_refused),
		T(a_list_of_its_own_may_name_the_file_otherwise_or_not_at_all),
		T(hashes_of_a_wrong_length_are_none),
		T(hostile_lists_are_passed_over),
		T(lists_beside_a_url_are_looked_for_there),
		T(the_name_of_a_file_is_the_last_of_its_path),
	};
	int rc;

	scratch_make(dir);
	rc = test_run(tests, ARRAY_SIZE(tests));
	scratch_remove(dir);
	return rc;
}
