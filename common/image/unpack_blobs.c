/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/unpack_blobs.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "image/sums.h"
#include "image/unpack.h"

enum { PIECE_BYTES = 64 << 10, HEX = 64, FILES_MAX = 20000 };

/* -- what it is -- */

/* Those that keep their names. */
static bool has_meaning(const char *name)
{
	static const char *const names[] = {
		"oci-layout", "index.json", "manifest.json", NULL
	};

	return find_word(names, name) >= 0;
}

static bool is_name_of_theirs(const char *name)
{
	static const char *const tails[] = {
		".tar", ".json", "/VERSION", "/json", "/layer.tar", NULL
	};
	bool blob = starts_with(name, "blobs/sha256/", &name);
	size_t n = strspn(name, "0123456789abcdef");

	if (n == HEX)
		return blob ? !name[n] : find_word(tails, name + n) >= 0;
	return has_meaning(name) || !strcmp(name, "repositories");
}

/* A name without what it may begin with. */
static const char *bare(const char *name)
{
	starts_with(name, "./", &name);
	return name;
}

static struct archive *new_archive(void)
{
	struct archive *a = archive_read_new();

	if (!a) {
		fail(ENOMEM, "out of memory");
		return NULL;
	}
	if (unpack_filters(a) < 0) {
		archive_read_free(a);
		return NULL;
	}
	archive_read_support_format_tar(a);
	return a;
}

bool unpack_is_blobs(const void *head, size_t len)
{
	struct archive *a = new_archive();
	struct archive_entry *e;
	bool is = false;

	if (!a)
		return false;
	if (archive_read_open_memory(a, head, len) == ARCHIVE_OK)
		while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
			const char *name = archive_entry_pathname(e);

			if (archive_entry_filetype(e) == AE_IFDIR)
				continue;
			is = name && is_name_of_theirs(bare(name));
			break;
		}
	archive_read_free(a);
	return is;
}

/* -- reading -- */

struct source {
	struct archive *a;
	int fd, dir, blobs;
	const void *head;
	size_t head_len;
	uint64_t max, bytes;
	unsigned files;
	int rc;			/* what ended reading, its sentence set */
	char piece[PIECE_BYTES];
};

static int too_much(const struct source *s)
{
	char size[16];

	if (max_u64(s->bytes, archive_filter_bytes(s->a, 0)) <= s->max)
		return 0;
	return fail(E_CONFIG, "unpacks to more than %s",
		    format_size(size, s->max));
}

static la_ssize_t read_source(struct archive *a, void *arg, const void **data)
{
	struct source *s = arg;
	ssize_t n = s->head_len;

	s->rc = too_much(s);
	*data = n ? s->head : s->piece;
	s->head_len = 0;
	if (s->rc == 0 && !n) {
		n = read_up_to(s->fd, s->piece, sizeof(s->piece));
		if (n < 0)
			s->rc = fail(-n, "read: %s", strerror(-n));
	}
	if (s->rc == 0)
		return n;
	archive_set_error(a, EIO, "cannot be read");
	return -1;
}

static int stopped(const struct source *s)
{
	const char *why = archive_error_string(s->a);

	if (s->rc < 0)
		return s->rc;
	if (archive_errno(s->a) == ENOMEM)
		return fail(ENOMEM, "out of memory");
	return fail(E_VERIFY, "damaged: %s", why ? why : "cannot be read");
}

static int copy_data(struct source *s, int fd)
{
	const void *data;
	size_t len;
	int64_t off;
	int said, rc = 0;

	while (rc == 0 && (said = archive_read_data_block(s->a, &data, &len,
							   &off)) !=
	       ARCHIVE_EOF) {
		if (said != ARCHIVE_OK)
			return stopped(s);
		s->bytes += len;
		rc = too_much(s);
		if (rc == 0 && !in_range(off, len, s->max))
			rc = fail(E_VERIFY, "damaged: data out of place");
		if (rc == 0) {
			rc = pwrite_all(fd, data, len, off);
			if (rc < 0)
				fail(-rc, "%s", strerror(-rc));
		}
	}
	return rc;
}

/* Gives the file `new` the name of what it holds. */
static int name_blob(struct source *s, int fd)
{
	char text[SUM_TEXT];
	struct sum sum;
	int rc = sum_file(fd, SUM_SHA256, &sum);

	if (rc < 0)
		return rc;
	sum_format(text, &sum);
	return renameat(s->dir, "new", s->blobs, text + strlen("sha256:")) < 0 ?
		fail_sys("rename") : 0;
}

static int add_file(struct source *s, const char *name)
{
	autoclose int fd = openat(s->dir, "new", O_RDWR | O_CREAT | O_TRUNC |
				  O_NOFOLLOW | O_CLOEXEC, 0600);
	int rc;

	if (fd < 0)
		return fail_sys("new");
	if (++s->files > FILES_MAX)
		return fail(E_CONFIG, "more than %d files", FILES_MAX);
	rc = copy_data(s, fd);
	if (rc < 0)
		return rc;
	if (!has_meaning(name))
		return name_blob(s, fd);
	return renameat(s->dir, "new", s->dir, name) < 0 ? fail_sys("rename") :
							   0;
}

static int add_entry(struct source *s, struct archive_entry *e)
{
	const char *name = archive_entry_pathname(e);
	int rc;

	if (!name || archive_entry_hardlink(e) ||
	    archive_entry_filetype(e) != AE_IFREG)
		return 0;
	rc = add_file(s, bare(name));
	return rc < 0 ? fail_in(rc, "%s", name) : 0;
}

static int unpack(struct source *s)
{
	struct archive_entry *e;
	int said, rc = 0;

	if (archive_read_open(s->a, s, NULL, read_source, NULL) != ARCHIVE_OK)
		return stopped(s);
	while (rc == 0 && (said = archive_read_next_header(s->a, &e)) !=
	       ARCHIVE_EOF) {
		if (said != ARCHIVE_OK)
			return stopped(s);
		rc = too_much(s);
		if (rc == 0)
			rc = add_entry(s, e);
	}
	return rc;
}

static int open_blobs(int dir)
{
	int fd;

	if (mkdirat(dir, "blobs", 0700) < 0 ||
	    mkdirat(dir, "blobs/sha256", 0700) < 0)
		return fail_sys("blobs");
	fd = openat(dir, "blobs/sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? fail_sys("blobs") : fd;
}

/* What comes behind the archive: who writes into a pipe is not to be killed. */
static int drain(struct source *s)
{
	ssize_t n;

	if (lseek(s->fd, 0, SEEK_CUR) >= 0)
		return 0;
	while ((n = read_up_to(s->fd, s->piece, sizeof(s->piece))) > 0) {
		s->bytes += n;
		if (s->bytes > s->max)
			return fail(E_VERIFY, "more behind the archive's end");
	}
	return n < 0 ? fail(-n, "read: %s", strerror(-n)) : 0;
}

int unpack_blobs(int fd, const void *head, size_t len, uint64_t max, int dir)
{
	autoclose int blobs = open_blobs(dir);
	struct source *s = malloc(sizeof(*s));
	int rc = blobs < 0 ? blobs : 0;

	if (!s)
		return fail(ENOMEM, "out of memory");
	*s = (struct source){ .fd = fd, .dir = dir, .blobs = blobs,
			      .head = head, .head_len = len, .max = max };
	if (rc == 0) {
		s->a = new_archive();
		rc = s->a ? unpack(s) : -E_HOST;
	}
	if (rc == 0)
		rc = drain(s);
	archive_read_free(s->a);
	free(s);
	return rc;
}
