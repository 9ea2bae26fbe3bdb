/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is written is read by libarchive, which knows the format from
 * elsewhere.
 */
#include "image/seed.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/text.h"
#include "image/iso.h"

#include "scratch.h"
#include "test.h"

#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabc"

static const struct seed plain = { .id = "web1", .hostname = "web1.lan" };

/* The meta-data of a seed with KEYS; "" and the sentence if refused. */
static const char *meta(const char *keys)
{
	static char text[4096];
	autobuf struct buf b = BUF_INIT;
	struct seed s = plain;

	s.ssh_keys = keys;
	if (seed_meta_data(&s, &b) < 0)
		return "";
	snprintf(text, sizeof(text), "%s", b.data);
	return text;
}

static int memory(void)
{
	return memfd_create("cd", MFD_CLOEXEC);
}

/* The files of the CD FD, as "NAME=CONTENT|..."; OPTIONS of the reader. */
static void list(int fd, const char *options, struct buf *out)
{
	struct archive *a = archive_read_new();
	struct archive_entry *e;
	char data[4096];
	ssize_t n;

	lseek(fd, 0, SEEK_SET);
	archive_read_support_format_iso9660(a);
	archive_read_set_options(a, options);
	if (archive_read_open_fd(a, fd, 2048) == ARCHIVE_OK)
		while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
			if (archive_entry_filetype(e) != AE_IFREG)
				continue;
			buf_printf(out, "%s=", archive_entry_pathname(e));
			while ((n = archive_read_data(a, data, sizeof(data)))
			       > 0)
				buf_add(out, data, n);
			buf_char(out, '|');
		}
	if (archive_errno(a))
		buf_printf(out, "error: %s", archive_error_string(a));
	archive_read_free(a);
}

TEST(meta_data_says_who_it_is)
{
	STR(meta(NULL), "instance-id: \"web1\"\nlocal-hostname: "
	    "\"web1.lan\"\n");
}

TEST(keys_are_a_list_whatever_stands_between_them)
{
	STR(meta("# mine\n\n  " KEY " me@home\r\n\t\n" KEY "X"),
	    "instance-id: \"web1\"\nlocal-hostname: \"web1.lan\"\n"
	    "public-keys:\n"
	    "  - \"" KEY " me@home\"\n"
	    "  - \"" KEY "X\"\n");
}

TEST(a_key_cannot_leave_its_quotes)
{
	STR(meta("command=\"a\\b\" " KEY " \xe9"),
	    "instance-id: \"web1\"\nlocal-hostname: \"web1.lan\"\n"
	    "public-keys:\n"
	    "  - \"command=\\\"a\\\\b\\\" " KEY " ?\"\n");
}

TEST(what_is_no_public_key_is_refused)
{
	STR(meta(""), "");
	STR(err_text(), "ssh key: nothing in it");
	STR(meta("# none\n"), "");
	STR(meta("\n-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"), "");
	STR(err_text(), "ssh key: line 2: a private key; give the .pub");
	STR(meta("hello"), "");
	STR(meta(KEY " a\33[2J"), "");
	STR(err_text(), "ssh key: line 1: control character 0x1b");
}

TEST(names_that_are_none_are_refused)
{
	static const char *const bad[] = {
		"", "-a", ".a", "a b", "a\nb", "a\"b", "a_b", "\xe9",
	};
	autobuf struct buf b = BUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct seed s = { .id = "a", .hostname = bad[i] };

		EQ(seed_meta_data(&s, &b), -E_USAGE);
	}
	EQ(seed_meta_data(&(struct seed){ "A", "a" }, &b), -E_USAGE);
	EQ(seed_meta_data(&(struct seed){ "a", "A.example.com" }, &b), 0);
}

TEST(the_cd_has_the_files_by_their_real_names)
{
	static const char *const readers[] = {
		"", "!joliet", "!rockridge",
	};
	autoclose int fd = memory();
	struct seed s = plain;

	s.user_data = "#!/bin/sh\n";
	s.user_data_len = 10;
	s.network_config = "version: 2\n";
	EQ(seed_write(&s, fd), 0);
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		autobuf struct buf b = BUF_INIT;

		list(fd, readers[i], &b);
		STR(b.data, "meta-data=instance-id: \"web1\"\n"
		    "local-hostname: \"web1.lan\"\n|"
		    "network-config=version: 2\n|user-data=#!/bin/sh\n|");
	}
}

TEST(without_extensions_the_names_are_those_of_iso_9660)
{
	autoclose int fd = memory();
	autobuf struct buf b = BUF_INIT;

	EQ(seed_write(&plain, fd), 0);
	list(fd, "!joliet,!rockridge", &b);
	OK(strstr(b.data, "META_DATA"));
	OK(strstr(b.data, "USER_DATA.;1=") || strstr(b.data, "USER_DATA="));
}

TEST(the_cd_is_called_cidata_and_is_as_long_as_it_says)
{
	autoclose int fd = memory();
	char label[32];
	le32 sectors;

	EQ(seed_write(&plain, fd), 0);
	EQ(pread_all(fd, label, 32, 16 * 2048 + 40), 0);
	OK(!memcmp(label, "CIDATA                          ", 32));
	EQ(pread_all(fd, label, 32, 17 * 2048 + 40), 0);
	OK(!memcmp(label, "\0C\0I\0D\0A\0T\0A\0 \0 ", 16));
	EQ(pread_all(fd, &sectors, 4, 16 * 2048 + 80), 0);
	EQ(lseek(fd, 0, SEEK_END), get_le32(sectors) * 2048LL);
	EQ(get_le32(sectors), 27);
}

TEST(the_same_seed_gives_the_same_bytes)
{
	static char one[32 * 2048], two[32 * 2048];
	autoclose int a = memory(), b = memory();
	off_t len;

	EQ(seed_write(&plain, a), 0);
	EQ(pwrite_all(b, one, sizeof(one), 0), 0);
	memset(two, 0xee, sizeof(two));
	EQ(pwrite_all(b, two, sizeof(two), 0), 0);
	EQ(seed_write(&plain, b), 0);	/* over what was there */
	len = lseek(a, 0, SEEK_END);
	EQ(lseek(b, 0, SEEK_END), len);
	OK(len <= (off_t)sizeof(one));
	EQ(pread_all(a, one, len, 0), 0);
	EQ(pread_all(b, two, len, 0), 0);
	OK(!memcmp(one, two, len));
}

TEST(user_data_of_any_bytes_comes_through_unchanged)
{
	static char data[3 * 2048 + 1], back[3 * 2048 + 1];
	autoclose int fd = memory();
	struct seed s = plain;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i * 7 + i / 256;
	s.user_data = data;
	for (size_t n = 0; n <= sizeof(data); n += 2048) {
		s.user_data_len = n;
		EQ(seed_write(&s, fd), 0);
		EQ(pread_all(fd, back, n, 26 * 2048), 0);
		OK(!memcmp(data, back, n));
		EQ(lseek(fd, 0, SEEK_END), (26 + n / 2048) * 2048);
	}
	s.user_data_len = sizeof(data);
	EQ(seed_write(&s, fd), 0);
	EQ(lseek(fd, 0, SEEK_END), (26 + 4) * 2048);
}

TEST(too_much_user_data_is_refused)
{
	autoclose int fd = memory();
	struct seed s = plain;

	s.user_data = "";
	s.user_data_len = SEED_MAX + 1;
	EQ(seed_write(&s, fd), -EFBIG);
	STR(err_text(), "user-data: larger than 4194304 bytes");
}

TEST(a_full_disk_is_an_error)
{
	autoclose int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	OK(seed_write(&plain, fd) < 0);
	OK(starts_with(err_text(), "seed: write: ", NULL));
}

TEST(a_cd_may_be_empty_and_may_be_full)
{
	autoclose int fd = memory();
	autobuf struct buf b = BUF_INIT, want = BUF_INIT;
	char name[ISO_FILES][ISO_NAME_MAX + 1];
	struct iso_file file[ISO_FILES];

	EQ(iso_write(fd, "EMPTY", NULL, 0), 0);
	list(fd, "", &b);
	STR(b.data, "");
	for (int i = 0; i < ISO_FILES; i++) {
		memset(name[i], 'x', ISO_NAME_MAX);
		name[i][0] = 'a' + i;
		name[i][ISO_NAME_MAX] = '\0';
		file[i] = (struct iso_file){ name[i], name[i], i + 1 };
		buf_printf(&want, "%s=%.*s|", name[i], i + 1, name[i]);
	}
	EQ(iso_write(fd, "ABCDEFGHIJKLMNOP", file, ISO_FILES), 0);
	list(fd, "", &b);
	STR(b.data, want.data);
}

TEST(a_seed_for_another_instance_is_the_same_but_for_its_name)
{
	autoclose int from = memory(), to = memory(), want = memory();
	autobuf struct buf a = BUF_INIT, b = BUF_INIT;
	struct seed s = {
		.id = "web1-1", .hostname = "web1", .ssh_keys = "ssh-x AAAAx me",
		.user_data = "#!/bin/sh\n", .user_data_len = 10,
		.network_config = "version: 2\n",
	};
	const struct seed other = { .id = "web2-2", .hostname = "web2" };

	EQ(seed_write(&s, from), 0);
	EQ(seed_reissue(from, &other, to), 0);
	s.id = other.id;
	s.hostname = other.hostname;
	EQ(seed_write(&s, want), 0);
	lseek(to, 0, SEEK_SET);
	lseek(want, 0, SEEK_SET);
	EQ(fd_read(to, "to", &a, 1 << 20), 0);
	EQ(fd_read(want, "want", &b, 1 << 20), 0);
	OK(a.len == b.len && !memcmp(a.data, b.data, a.len));
}

TEST(a_cd_that_is_not_ours_is_not_read)
{
	static const struct seed other = { .id = "web2-2", .hostname = "web2" };
	autoclose int from = memory(), to = memory();
	autobuf struct buf b = BUF_INIT;

	EQ(seed_reissue(from, &other, to), -E_CONFIG);
	EQ(iso_write(from, "EMPTY", NULL, 0), 0);
	EQ(iso_read(from, "meta-data", &b), -ENOENT);
}

TESTS(
	T(meta_data_says_who_it_is),
	T(keys_are_a_list_whatever_stands_between_them),
	T(a_key_cannot_leave_its_quotes),
	T(what_is_no_public_key_is_refused),
	T(names_that_are_none_are_refused),
	T(the_cd_has_the_files_by_their_real_names),
	T(without_extensions_the_names_are_those_of_iso_9660),
	T(the_cd_is_called_cidata_and_is_as_long_as_it_says),
	T(the_same_seed_gives_the_same_bytes),
	T(user_data_of_any_bytes_comes_through_unchanged),
	T(too_much_user_data_is_refused),
	T(a_full_disk_is_an_error),
	T(a_cd_may_be_empty_and_may_be_full),
	T(a_seed_for_another_instance_is_the_same_but_for_its_name),
	T(a_cd_that_is_not_ours_is_not_read)
)
