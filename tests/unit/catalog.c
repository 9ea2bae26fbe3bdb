/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/catalog.h"

#include "base/err.h"
#include "base/text.h"

#include "scratch.h"
#include "test.h"

#define A256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static char dir[SCRATCH_BYTES];
static char shipped[PATH_MAX];	/* the catalog that is installed */

static int parse(struct catalog *c, const char *text)
{
	return catalog_parse(c, text, strlen(text), false);
}

/* The code that TEXT is refused with; 0 if it is not. */
static int code(const char *text)
{
	struct catalog c = CATALOG_INIT;
	int rc = parse(&c, text);

	catalog_release(&c);
	return rc;
}

/* How the sums of a line with SUMS are had; URL is where. */
static int how(const char *sums, struct buf *url)
{
	autobuf struct buf b = BUF_INIT;
	struct catalog c = CATALOG_INIT;
	struct sum sum;
	int rc;

	buf_printf(&b, "x https://h/d/x.img?q=/r %s note\n", sums);
	buf_clear(url);
	rc = parse(&c, b.data);
	if (rc == 0)
		rc = catalog_sums(&c.entry[0], &sum, url);
	catalog_release(&c);
	return rc;
}

TEST(a_line_is_a_name_a_url_its_sums_and_a_note)
{
	struct catalog c = CATALOG_INIT;
	const struct catalog_entry *e;

	EQ(parse(&c, "# images\n\n  \t\n"
		 "a https://h/a.img SHA256SUMS The  image, user a \n"
		 "  b\thttp://h/b.img   -\n"
		 "#c https://h/c.img -\n"), 0);
	EQ(c.n, 2);
	e = catalog_find(&c, "a");
	OK(e);
	STR(e->url, "https://h/a.img");
	STR(e->sums, "SHA256SUMS");
	STR(e->note, "The  image, user a");
	e = catalog_find(&c, "b");
	OK(e);
	STR(e->url, "http://h/b.img");
	STR(e->note, "");
	OK(!catalog_find(&c, "c"));
	STR(err_text(), "no image 'c' in the catalog");
	catalog_release(&c);
}

TEST(the_first_line_of_a_name_counts)
{
	struct catalog c = CATALOG_INIT;

	EQ(parse(&c, "a https://h/1 -\na https://h/2 -\n"), 0);
	EQ(parse(&c, "a https://h/3 -\nb https://h/4 -\n"), 0);
	EQ(c.n, 2);
	STR(catalog_find(&c, "a")->url, "https://h/1");
	STR(catalog_find(&c, "b")->url, "https://h/4");
	catalog_release(&c);
}

TEST(lines_that_cannot_be_are_named)
{
	EQ(code("a https://h/1 -\nA https://h/2 -\n"), -E_CONFIG);
	STR(err_text(), "line 2: 'A': not an image name (a-z 0-9 . _ -, at "
	    "most 63)");
	EQ(code("../x https://h/1 -\n"), -E_CONFIG);
	EQ(code("a\n"), -E_CONFIG);
	EQ(code("a file:///etc/passwd -\n"), -E_CONFIG);
	EQ(code("a ftp://h/1 -\n"), -E_CONFIG);
	EQ(code("a https://h/1\n"), -E_CONFIG);
	STR(err_text(), "line 1: nothing says where its sums are (a list's "
	    "name, or -)");
	EQ(code("a https://h/1 ../SUMS\n"), -E_CONFIG);
	EQ(code("a https://h/1 sha256:12\n"), -E_CONFIG);
	EQ(code("a https://h/1 file:/x\n"), -E_CONFIG);
	EQ(code("a https://h/1\33[2J - x\n"), -E_CONFIG);
	EQ(code("a https://h/1 - x\r\n"), -E_CONFIG);
}

TEST(a_url_of_any_length_is_refused_beyond_what_can_be_fetched)
{
	char line[2 * CATALOG_URL_MAX];

	memset(line, 'x', sizeof(line));
	memcpy(line, "a https://h/", 12);
	snprintf(line + sizeof(line) - 8, 8, " - n\n");
	EQ(code(line), -E_CONFIG);
}

TEST(a_nul_is_no_text)
{
	static const char text[] = "a https://h/1 -\n\0b https://h/2 -\n";
	struct catalog c = CATALOG_INIT;

	EQ(catalog_parse(&c, text, sizeof(text) - 1, false), -E_CONFIG);
	EQ(c.n, 0);
	catalog_release(&c);
}

TEST(sums_are_found_by_how_they_are_given)
{
	autobuf struct buf url = BUF_INIT;

	EQ(how("-", &url), CATALOG_SUMS_NONE);
	EQ(how("SHA512SUMS", &url), CATALOG_SUMS_LIST);
	STR(url.data, "https://h/d/SHA512SUMS");
	EQ(how(".sha256", &url), CATALOG_SUMS_OWN);
	STR(url.data, "https://h/d/x.img.sha256");
	EQ(how("https://k/l", &url), CATALOG_SUMS_LIST);
	STR(url.data, "https://k/l");
	EQ(how("sha256:" A256, &url), CATALOG_SUMS_GIVEN);
	EQ(how("..", &url), CATALOG_SUMS_OWN);	/* of no effect: no directory */
	STR(url.data, "https://h/d/x.img..");
}

TEST(the_persons_own_catalog_goes_before_the_installed_one)
{
	struct store st;
	struct catalog c;

	OK(put("installed", "a https://h/1 -\nb https://h/2 -\n"));
	EQ(setenv("VM_CATALOG", "installed", 1), 0);
	EQ(store_open(&st, "state", true), 0);
	EQ(catalog_open(&c, &st), 0);
	EQ(c.n, 2);
	catalog_release(&c);
	OK(put("state/catalog", "b https://h/3 - mine\n"));
	EQ(catalog_open(&c, &st), 0);
	EQ(c.n, 2);
	STR(catalog_find(&c, "b")->url, "https://h/3");
	OK(catalog_find(&c, "b")->own);
	OK(!catalog_find(&c, "a")->own);
	catalog_release(&c);
	OK(put("state/catalog", "x\n"));
	EQ(catalog_open(&c, &st), -E_CONFIG);
	OK(starts_with(err_text(), "state: catalog: line 1: ", NULL));
	EQ(c.n, 0);
	store_close(&st);
}

TEST(without_a_state_directory_there_is_the_installed_one)
{
	struct store st;
	struct catalog c;

	OK(put("installed", "a https://h/1 -\n"));
	EQ(setenv("VM_CATALOG", "installed", 1), 0);
	EQ(store_open(&st, "nothing-here", false), 0);
	EQ(catalog_open(&c, &st), 0);
	EQ(c.n, 1);
	catalog_release(&c);
	EQ(setenv("VM_CATALOG", "not-there", 1), 0);
	EQ(catalog_open(&c, &st), -ENOENT);
	EQ(unsetenv("VM_CATALOG"), 0);
	EQ(catalog_open(&c, &st), 0);	/* not installed where tests are */
	EQ(c.n, 0);
	catalog_release(&c);
	store_close(&st);
}

TEST(the_catalog_that_is_installed_is_one_with_a_sum_for_each_image)
{
	autobuf struct buf b = BUF_INIT, url = BUF_INIT;
	struct catalog c = CATALOG_INIT;

	if (file_read(AT_FDCWD, shipped, &b, CATALOG_MAX) < 0)
		SKIP("not run where the sources are");
	EQ(catalog_parse(&c, b.data, b.len, false), 0);
	OK(c.n > 10);
	for (size_t i = 0; i < c.n; i++) {
		struct sum sum;
		int rc;

		buf_clear(&url);
		rc = catalog_sums(&c.entry[i], &sum, &url);
		OK(rc == CATALOG_SUMS_LIST || rc == CATALOG_SUMS_OWN);
		OK(starts_with(c.entry[i].url, "https://", NULL));
		OK(starts_with(url.data, "https://", NULL));
		OK(c.entry[i].note[0]);
	}
	catalog_release(&c);
}

int main(void)
{
	static const struct test tests[] = {
		T(a_line_is_a_name_a_url_its_sums_and_a_note),
		T(the_first_line_of_a_name_counts),
		T(lines_that_cannot_be_are_named),
		T(a_url_of_any_length_is_refused_beyond_what_can_be_fetched),
		T(a_nul_is_no_text),
		T(sums_are_found_by_how_they_are_given),
		T(the_persons_own_catalog_goes_before_the_installed_one),
		T(without_a_state_directory_there_is_the_installed_one),
		T(the_catalog_that_is_installed_is_one_with_a_sum_for_each_image),
	};
	int rc;

	if (!realpath("common/image/catalog.txt", shipped))
		shipped[0] = '\0';
	scratch_make(dir);
	rc = test_run(tests, ARRAY_SIZE(tests));
	scratch_remove(dir);
	return rc;
}
