/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/unpack_tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <sys/stat.h>

#include "image/ext4_read.h"

#include "disk.h"
#include "test.h"

enum { MIB = 1 << 20, SECTOR = 512 };

/* -- archives, made in memory -- */

static struct archive *writer;
static struct buf made = BUF_INIT;

static ssize_t add_piece(struct archive *a, void *arg, const void *data,
			 size_t n)
{
	(void)a;
	buf_add(arg, data, n);
	return n;
}

/* Begins an archive in `made`. */
static bool begin(const char *format, const char *filter)
{
	buf_clear(&made);
	writer = archive_write_new();
	return archive_write_set_format_by_name(writer, format) == ARCHIVE_OK &&
	       (!filter || archive_write_add_filter_by_name(writer, filter) ==
				   ARCHIVE_OK) &&
	       archive_write_set_bytes_in_last_block(writer, 1) == ARCHIVE_OK &&
	       archive_write_open(writer, &made, NULL, add_piece, NULL) ==
		       ARCHIVE_OK;
}

static struct archive_entry *entry(const char *path, uint32_t mode)
{
	struct archive_entry *e = archive_entry_new();

	archive_entry_set_pathname(e, path);
	archive_entry_set_mode(e, mode);
	archive_entry_set_uid(e, 1234);
	archive_entry_set_gid(e, 70000);
	archive_entry_set_mtime(e, 1000000000, 0);
	return e;
}

static bool put_entry(struct archive_entry *e, const char *text)
{
	size_t n = text ? strlen(text) : 0;
	bool ok;

	archive_entry_set_size(e, n);
	ok = archive_write_header(writer, e) == ARCHIVE_OK &&
	     archive_write_data(writer, text ? text : "", n) == (ssize_t)n;
	archive_entry_free(e);
	return ok;
}

static bool put_text(const char *path, const char *text)
{
	return put_entry(entry(path, S_IFREG | 0644), text);
}

static bool put_dir(const char *path)
{
	return put_entry(entry(path, S_IFDIR | 0755), NULL);
}

static bool put_symlink(const char *path, const char *target)
{
	struct archive_entry *e = entry(path, S_IFLNK | 0777);

	archive_entry_set_symlink(e, target);
	return put_entry(e, NULL);
}

static bool put_link(const char *path, const char *to)
{
	struct archive_entry *e = entry(path, S_IFREG | 0644);

	archive_entry_set_hardlink(e, to);
	return put_entry(e, NULL);
}

static bool end(void)
{
	bool ok = archive_write_close(writer) == ARCHIVE_OK;

	archive_write_free(writer);
	return ok;
}

/* -- unpacking -- */

/* Unpacks the first N bytes of `made` into a new disk. */
static int unpack_part(size_t n, uint64_t max)
{
	autoclose int fd = -1;
	int rc = begin_disk(64 * MIB);

	fd = open("a", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (rc == 0)
		rc = write_all(fd, made.data, n);
	lseek(fd, 0, SEEK_SET);
	return rc < 0 ? rc : unpack_tree(fd, NULL, 0, max, &disk);
}

static int unpack(void)
{
	return unpack_part(made.len, 1ull << 30);
}

static bool finish(void)
{
	int rc = ext4_finish(&disk);

	if (rc < 0)
		printf("# %s\n", err_text());
	return rc == 0 && (!HAVE_E2FSPROGS || is_clean());
}

/* Whether `made` is refused, by these words. */
static bool refused(int code, const char *words)
{
	int rc = unpack();
	bool ok = rc == -code && !strcmp(err_text(), words);

	if (!ok)
		printf("# %d: %s\n", rc, err_text());
	drop_disk();
	return ok;
}

TEST(every_format_and_compression_is_read)
{
	static const struct { const char *format, *filter; } kinds[] = {
		{ "pax", NULL }, { "gnutar", NULL }, { "ustar", NULL },
		{ "newc", NULL }, { "odc", NULL }, { "zip", NULL },
		{ "pax", "gzip" }, { "pax", "bzip2" }, { "pax", "xz" },
		{ "gnutar", "zstd" }, { "newc", "lz4" }, { "ustar", "lzma" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		OK(begin(kinds[i].format, kinds[i].filter));
		OK(put_dir("./"));
		OK(put_text("./etc/hostname", "guest\n"));
		OK(put_symlink("name", "etc/hostname"));
		OK(end());
		EQ(unpack(), 0);
		OK(finish());
		STR(holds("name"), "guest\n");
		drop_disk();
	}
}

TEST(attributes_are_kept)
{
	struct archive_entry *e;

	if (!HAVE_E2FSPROGS)
		SKIP("no e2fsprogs");
	OK(begin("pax", NULL));
	e = entry("ping", S_IFREG | 04755);
	archive_entry_xattr_add_entry(e, "security.capability",
				      "\1\0\0\2\0 \0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	archive_entry_acl_add_entry(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 7,
				    ARCHIVE_ENTRY_ACL_USER, 1000, "");
	archive_entry_acl_add_entry(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 5,
				    ARCHIVE_ENTRY_ACL_USER, 10, "");
	archive_entry_acl_add_entry(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 7,
				    ARCHIVE_ENTRY_ACL_MASK, -1, "");
	OK(put_entry(e, "ping"));
	e = entry("null", S_IFCHR | 0666);
	archive_entry_set_rdevmajor(e, 1);
	archive_entry_set_rdevminor(e, 3);
	OK(put_entry(e, NULL));
	OK(put_link("pong", "ping"));
	OK(end());
	EQ(unpack(), 0);
	OK(finish());
	OK(strstr(ask("stat ping"), "Mode:  04755"));
	OK(strstr(ask("stat ping"), "User:  1234   Group: 70000"));
	OK(strstr(ask("stat ping"), "Links: 2"));
	OK(strstr(ask("ea_list ping"), "security.capability (20)"));
	/* as ext4 has it on the disk: a shorter form, in order */
	OK(strstr(ask("ea_list ping"), "01 00 00 00 01 00 07 00 "
		  "02 00 05 00 0a 00 00 00 02 00 07 00 e8 03 00 00 "
		  "04 00 05 00 10 00 07 00 20 00 05 00"));
	OK(strstr(ask("stat null"), "Device major/minor number: 01:03"));
	drop_disk();
}

TEST(an_acl_for_a_name_is_refused)
{
	struct archive_entry *e;

	OK(begin("pax", NULL));
	e = entry("x", S_IFREG | 0644);
	archive_entry_acl_add_entry(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 7,
				    ARCHIVE_ENTRY_ACL_USER, -1, "lisa");
	OK(put_entry(e, "x"));
	OK(end());
	OK(refused(E_CONFIG, "x: its ACL is for 'lisa', a name, which only a "
		   "number can be here (tar --xattrs-include='*')"));
}

/*
 * The last two, a decomposed ö and Latin-1, only where no charset is told:
 * pax is UTF-8, which libarchive composes.
 */
TEST(names_stay_the_bytes_they_were)
{
	static const char *const formats[] = { "pax", "gnutar", "ustar", "newc" };
	static const char *const names[] = { "l\xc3\xb6we", "\xe2\x98\x83",
		"a\nb", "\\x", "lo\xcc\x88we", "l\xf6we" };

	for (size_t f = 0; f < ARRAY_SIZE(formats); f++) {
		size_t n = ARRAY_SIZE(names) - (f == 0 ? 2 : 0);

		setlocale(LC_CTYPE, f == 0 ? "C.UTF-8" : "C");
		OK(begin(formats[f], NULL));
		for (size_t i = 0; i < n; i++)
			OK(put_text(names[i], names[i]));
		OK(end());
		setlocale(LC_CTYPE, "C");
		EQ(unpack(), 0);
		OK(finish());
		for (size_t i = 0; i < n; i++)
			STR(holds(names[i]), names[i]);
		drop_disk();
	}
}

TEST(entries_behind_links_land_inside)
{
	OK(begin("pax", NULL));
	OK(put_symlink("lib", "usr/lib"));
	OK(put_dir("usr/lib"));
	OK(put_text("lib/a", "A"));
	OK(put_symlink("tmp", "/tmp"));
	OK(put_symlink("up", "../../../../etc"));
	OK(put_text("up/b", "B"));
	OK(put_text("/abs/c", "C"));
	OK(put_symlink("passwd", "/etc/passwd"));
	OK(put_text("passwd", "D"));
	OK(end());
	EQ(unpack(), 0);
	OK(finish());
	STR(holds("usr/lib/a"), "A");
	STR(holds("etc/b"), "B");
	STR(holds("abs/c"), "C");
	STR(holds("passwd"), "D");
	drop_disk();
}

TEST(what_leads_outside_is_refused)
{
	OK(begin("pax", NULL));
	OK(put_text("a/../../x", "x"));
	OK(end());
	OK(refused(E_VERIFY, "a/../../x: a name with '..'"));
	OK(begin("pax", NULL));
	OK(put_link("x", "../../etc/passwd"));
	OK(end());
	OK(refused(E_VERIFY, "x: a link to '../../etc/passwd', which is not "
		   "there"));
	OK(begin("pax", NULL));
	OK(put_symlink("a", "b"));
	OK(put_symlink("b", "a"));
	OK(put_text("a/x", "x"));
	OK(end());
	OK(refused(E_VERIFY, "a/x: too many links on the way"));
	OK(begin("pax", NULL));
	OK(put_text("a", "x"));
	OK(put_text("a/x", "x"));
	OK(end());
	OK(refused(E_VERIFY, "a/x: 'a' on the way is no directory"));
}

TEST(what_is_no_archive_is_refused)
{
	buf_clear(&made);
	OK(refused(E_VERIFY, "damaged: Unrecognized archive format"));
	buf_str(&made, "a letter");
	OK(refused(E_VERIFY, "damaged: Unrecognized archive format"));
	OK(begin("pax", NULL));
	OK(end());
	OK(refused(E_VERIFY, "holds no files"));
}

TEST(archives_cut_anywhere_are_refused)
{
	static const char *const kinds[][2] = {
		{ "pax", NULL }, { "newc", NULL }, { "gnutar", "gzip" },
		{ "pax", "xz" }, { "pax", "zstd" },
	};
	static char text[5000];
	size_t least;
	int rc;

	memset(text, 'x', sizeof(text) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		OK(begin(kinds[i][0], kinds[i][1]));
		OK(put_text("a", "A"));
		OK(put_text("b", text));
		OK(end());
		/* tar: one of the two blocks of zeros at its end is enough */
		least = made.len - (kinds[i][1] || i == 1 ? 0 : 2 * SECTOR - 1);
		if (i == 1)	/* behind its trailer newc has padding */
			least -= SECTOR;
		for (size_t n = 0; n < least; n += 1 + least / 50) {
			rc = unpack_part(n, 1 << 30);
			if (rc != -E_VERIFY)
				printf("# %s: %zu of %zu: %d\n", kinds[i][0], n,
				       made.len, rc);
			EQ(rc, -E_VERIFY);
			drop_disk();
		}
	}
}

TEST(bombs_are_stopped)
{
	static char zeros[MIB];

	OK(begin("pax", "zstd"));
	struct archive_entry *e = entry("bomb", S_IFREG | 0644);

	archive_entry_set_size(e, 200ll * MIB);
	OK(archive_write_header(writer, e) == ARCHIVE_OK);
	archive_entry_free(e);
	for (int i = 0; i < 200; i++)
		OK(archive_write_data(writer, zeros, MIB) == MIB);
	OK(end());
	OK(made.len < MIB);
	EQ(unpack_part(made.len, 10 * MIB), -E_CONFIG);
	STR(err_text(), "bomb: unpacks to more than 10M");
	drop_disk();
	EQ(unpack_part(made.len, 201 * MIB), 0);	/* a hole: fits */
	OK(finish());
	drop_disk();
}

TEST(more_entries_than_allowed_are_refused)
{
	char name[32];

	OK(begin("ustar", "gzip"));
	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		OK(put_dir(name));
	}
	OK(end());
	OK(refused(E_CONFIG, "99999/: more than 100000 files"));
}

/* newc brings the data of a file with the last of its names. */
TEST(linked_files_of_a_cpio_have_their_data)
{
	struct archive_entry *e;

	OK(begin("newc", NULL));
	for (int i = 0; i < 3; i++) {
		e = entry(i == 0 ? "a" : i == 1 ? "b" : "c", S_IFREG | 0644);
		archive_entry_set_nlink(e, 3);
		archive_entry_set_ino(e, 7);
		archive_entry_set_dev(e, 1);
		OK(put_entry(e, i == 2 ? "data" : ""));
	}
	OK(end());
	EQ(unpack(), 0);
	OK(finish());
	STR(holds("a"), "data");
	STR(holds("b"), "data");
	STR(holds("c"), "data");
	drop_disk();
}

TEST(sparse_files_stay_sparse)
{
	static char hole[MIB];
	struct archive_entry *e;

	OK(begin("pax", NULL));
	e = entry("sparse", S_IFREG | 0644);
	archive_entry_set_size(e, 3 * MIB);
	archive_entry_sparse_add_entry(e, MIB, 5);
	OK(archive_write_header(writer, e) == ARCHIVE_OK);
	archive_entry_free(e);
	OK(archive_write_data(writer, hole, MIB) >= 0);
	OK(archive_write_data(writer, "hello", 5) >= 0);
	OK(end());
	OK(made.len < 32 << 10);
	EQ(unpack(), 0);
	OK(finish());
	EQ(strlen(holds("sparse")), 0);
	OK(!HAVE_E2FSPROGS || strstr(ask("stat sparse"), "Size: 3145728"));
	OK(!HAVE_E2FSPROGS || strstr(ask("stat sparse"), "Blockcount: 8\n"));
	drop_disk();
}

/* The data member of a .deb; the others are passed over. */
TEST(a_deb_is_its_data)
{
	struct buf data = BUF_INIT;

	OK(begin("gnutar", "xz"));
	OK(put_text("./usr/bin/x", "X"));
	OK(end());
	buf_add(&data, made.data, made.len);
	OK(begin("arbsd", NULL));
	OK(put_text("debian-binary", "2.0\n"));
	OK(put_text("control.tar", "not looked at"));
	struct archive_entry *e = entry("data.tar.xz", S_IFREG | 0644);

	archive_entry_set_size(e, data.len);
	OK(archive_write_header(writer, e) == ARCHIVE_OK);
	OK(archive_write_data(writer, data.data, data.len) ==
	   (ssize_t)data.len);
	archive_entry_free(e);
	OK(end());
	EQ(unpack(), 0);
	OK(finish());
	STR(holds("usr/bin/x"), "X");
	drop_disk();
	OK(begin("arbsd", NULL));
	OK(put_text("debian-binary", "2.0\n"));
	OK(put_text("data.tar.xz", "nothing"));
	OK(end());
	OK(refused(E_VERIFY, "damaged: Unrecognized archive format"));
	buf_release(&data);
}

TEST(a_pipe_is_read_to_its_end)
{
	int p[2], rc;
	pid_t pid;
	int status;

	OK(begin("pax", NULL));
	OK(put_text("a", "A"));
	OK(end());
	EQ(begin_disk(64 * MIB), 0);
	EQ(pipe(p), 0);
	pid = fork();
	if (pid == 0) {
		static char zeros[MIB];

		close(p[0]);
		rc = write_all(p[1], made.data, made.len);
		_exit(rc < 0 || write_all(p[1], zeros, MIB) < 0);
	}
	close(p[1]);
	rc = unpack_tree(p[0], NULL, 0, 10 * MIB, &disk);
	close(p[0]);
	EQ(waitpid(pid, &status, 0), pid);
	EQ(status, 0);
	EQ(rc, 0);
	OK(finish());
	STR(holds("a"), "A");
	drop_disk();
}

TESTS(T(every_format_and_compression_is_read), T(attributes_are_kept),
      T(an_acl_for_a_name_is_refused), T(names_stay_the_bytes_they_were),
      T(entries_behind_links_land_inside),
      T(what_leads_outside_is_refused), T(what_is_no_archive_is_refused),
      T(archives_cut_anywhere_are_refused), T(bombs_are_stopped),
      T(more_entries_than_allowed_are_refused),
      T(linked_files_of_a_cpio_have_their_data),
      T(sparse_files_stay_sparse), T(a_deb_is_its_data),
      T(a_pipe_is_read_to_its_end))
