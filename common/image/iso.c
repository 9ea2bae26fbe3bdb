/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/iso.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"

enum {
	SECTOR = 2048,
	PRIMARY = 16, JOLIET, TERMINATOR,
	PRIMARY_PATHS, JOLIET_PATHS = PRIMARY_PATHS + 2,
	PRIMARY_ROOT = JOLIET_PATHS + 2, JOLIET_ROOT,
	FIRST_FILE,
	HEAD = FIRST_FILE * SECTOR,

	PATHS_BYTES = 10,	/* a path table of the root alone */
	DIRECTORY = 0x02,	/* file flags, 9.1.6 */
};

/* A number in both byte orders (7.2.3, 7.3.3). */
struct both16 {
	le16 le;
	be16 be;
} __attribute__((packed));

struct both32 {
	le32 le;
	be32 be;
} __attribute__((packed));

/* A directory record before its name (9.1). */
struct record {
	uint8_t len;
	uint8_t xattr;
	struct both32 sector;
	struct both32 size;
	uint8_t date[7];
	uint8_t flags;
	uint8_t interleave[2];
	struct both16 volume;
	uint8_t name_len;
} __attribute__((packed));
static_assert(sizeof(struct record) == 33, "9.1");

/* The primary and the supplementary volume descriptor (8.4, 8.5). */
struct volume {
	uint8_t type;
	char id[5];
	uint8_t version;
	uint8_t flags;
	char system[32];
	char label[32];
	uint8_t zero0[8];
	struct both32 sectors;
	char escapes[32];
	struct both16 set_size, number, block_size;
	struct both32 paths_size;
	le32 paths_le, paths_le_again;
	be32 paths_be, paths_be_again;
	struct record root;
	uint8_t root_name;
	char names[623];	/* of the set, the publisher, ... */
	struct {
		char digits[16];
		uint8_t zone;
	} created, modified, expires, effective;
	uint8_t structure;
	uint8_t zero1[1166];
} __attribute__((packed));
static_assert(sizeof(struct volume) == SECTOR, "8.4");
static_assert(offsetof(struct volume, created) == 813, "8.4.26");

/* A path table's one entry (9.4), without its padding, in both byte orders. */
struct path_le {
	uint8_t name_len;
	uint8_t xattr;
	le32 sector;
	le16 parent;
	uint8_t name;
} __attribute__((packed));

struct path_be {
	uint8_t name_len;
	uint8_t xattr;
	be32 sector;
	be16 parent;
	uint8_t name;
} __attribute__((packed));
static_assert(sizeof(struct path_le) + 1 == PATHS_BYTES, "9.4");
static_assert(sizeof(struct path_be) + 1 == PATHS_BYTES, "9.4");

/* What is said of a file in a System Use area: RRIP 1.09, 4.1.1. */
struct posix {
	char tag[2];		/* "PX" */
	uint8_t len, version;
	struct both32 mode, links, uid, gid;
} __attribute__((packed));
static_assert(sizeof(struct posix) == 36, "4.1.1");

/* The same files stand in two directories, in each with names of its kind. */
struct tree {
	unsigned root;
	bool joliet;
};
static const struct tree trees[] = {
	{ PRIMARY_ROOT, false }, { JOLIET_ROOT, true },
};

static struct both16 to_both16(uint16_t v)
{
	return (struct both16){ to_le16(v), to_be16(v) };
}

static struct both32 to_both32(uint32_t v)
{
	return (struct both32){ to_le32(v), to_be32(v) };
}

static unsigned sectors_of(size_t len)
{
	return (len + SECTOR - 1) / SECTOR;
}

/* What all records have; 1970-01-01, as no date of ours would be the same. */
static struct record make_record(unsigned sector, size_t size, uint8_t flags)
{
	return (struct record){
		.sector = to_both32(sector),
		.size = to_both32(size),
		.date = { 70, 1, 1, 0, 0, 0, 0 },
		.flags = flags,
		.volume = to_both16(1),
	};
}

/* Appends bytes to a sector, which never fills: see the assertions. */
struct fill {
	uint8_t *sector;
	size_t len;
};

static void put(struct fill *f, const void *data, size_t len)
{
	assert(f->len + len <= SECTOR);
	memcpy(f->sector + f->len, data, len);
	f->len += len;
}

static void put_posix(struct fill *f, bool dir)
{
	const struct posix px = {
		.tag = "PX", .len = sizeof(px), .version = 1,
		.mode = to_both32(dir ? 0040555 : 0100444),
		.links = to_both32(dir ? 2 : 1),
	};

	put(f, &px, sizeof(px));
}

/* Rock Ridge is on a disc whose root's first record says so (SUSP 5.3). */
static void put_root_use(struct fill *f)
{
	static const char sp[] = "SP\7\1\xbe\xef\0";
	static const char er[] = "ER\22\1\12\0\0\1RRIP_1991A";

	put(f, sp, sizeof(sp) - 1);
	put_posix(f, true);
	put(f, er, sizeof(er) - 1);
}

/* Completes R, which begins at START and has an even length. */
static void end_record(struct fill *f, struct record *r, size_t start)
{
	if ((f->len - start) % 2)
		put(f, "", 1);
	r->len = f->len - start;
	memcpy(f->sector + start, r, sizeof(*r));
}

/* The records of a directory for itself (NAME 0) and its parent (1). */
static void put_self(struct fill *f, const struct tree *t, uint8_t name)
{
	struct record r = make_record(t->root, SECTOR, DIRECTORY);
	size_t start = f->len;

	r.name_len = 1;
	put(f, &r, sizeof(r));
	put(f, &name, 1);
	if (!t->joliet) {
		if (name == 0)
			put_root_use(f);
		else
			put_posix(f, true);
	}
	end_record(f, &r, start);
}

/* "user-data" as ISO 9660 spells it: "USER_DATA.;1" (7.5.1). */
static void put_upper(struct fill *f, const char *name)
{
	for (; *name; name++) {
		char c = *name == '-' ? '_' : *name - 'a' + 'A';

		put(f, &c, 1);
	}
	put(f, ".;1", 3);
}

static void put_ucs2(struct fill *f, const char *name)
{
	for (; *name; name++) {
		put(f, "", 1);
		put(f, name, 1);
	}
}

/* The real name, in Rock Ridge (RRIP 4.1.4). */
static void put_alternate(struct fill *f, const char *name)
{
	const char nm[] = { 'N', 'M', 5 + strlen(name), 1, 0 };

	put(f, nm, sizeof(nm));
	put(f, name, strlen(name));
}

static void put_file(struct fill *f, const struct tree *t,
		     const struct iso_file *file, unsigned sector)
{
	struct record r = make_record(sector, file->len, 0);
	size_t start = f->len, name = start + sizeof(r);

	put(f, &r, sizeof(r));
	(t->joliet ? put_ucs2 : put_upper)(f, file->name);
	r.name_len = f->len - name;
	if (r.name_len % 2 == 0)	/* the area behind begins evenly */
		put(f, "", 1);
	if (!t->joliet) {
		put_posix(f, false);
		put_alternate(f, file->name);
	}
	end_record(f, &r, start);
}

static void make_root(uint8_t *head, const struct tree *t,
		      const struct iso_file *file, size_t n)
{
	struct fill f = { .sector = head + t->root * SECTOR };
	unsigned sector = FIRST_FILE;

	put_self(&f, t, 0);
	put_self(&f, t, 1);
	for (size_t i = 0; i < n; i++) {
		put_file(&f, t, &file[i], sector);
		sector += sectors_of(file[i].len);
	}
}

static void make_paths(uint8_t *head, unsigned at, unsigned root)
{
	const struct path_le le = {
		.name_len = 1, .sector = to_le32(root), .parent = to_le16(1),
	};
	const struct path_be be = {
		.name_len = 1, .sector = to_be32(root), .parent = to_be16(1),
	};

	memcpy(head + at * SECTOR, &le, sizeof(le));
	memcpy(head + (at + 1) * SECTOR, &be, sizeof(be));
}

/* Fills LEN bytes with blanks, then TEXT; both in UCS-2 if JOLIET. */
static void set_text(char *to, size_t len, const char *text, bool joliet)
{
	memset(to, joliet ? 0 : ' ', len);
	for (size_t i = 1; joliet && i < len; i += 2)
		to[i] = ' ';
	for (size_t i = joliet; *text; text++, i += 1 + joliet)
		to[i] = *text;
}

static void make_volume(uint8_t *head, const struct tree *t,
			const char *label, unsigned sectors)
{
	const unsigned paths = t->joliet ? JOLIET_PATHS : PRIMARY_PATHS;
	struct volume v = {
		.type = t->joliet ? 2 : 1,
		.id = { 'C', 'D', '0', '0', '1' },
		.version = 1,
		.sectors = to_both32(sectors),
		.set_size = to_both16(1), .number = to_both16(1),
		.block_size = to_both16(SECTOR),
		.paths_size = to_both32(PATHS_BYTES),
		.paths_le = to_le32(paths), .paths_be = to_be32(paths + 1),
		.root = make_record(t->root, SECTOR, DIRECTORY),
		.structure = 1,
	};

	v.root.len = sizeof(v.root) + sizeof(v.root_name);
	v.root.name_len = sizeof(v.root_name);
	set_text(v.system, sizeof(v.system), "", t->joliet);
	set_text(v.label, sizeof(v.label), label, t->joliet);
	set_text(v.names, sizeof(v.names), "", t->joliet);
	if (t->joliet)
		memcpy(v.escapes, "%/E", 3);	/* UCS-2, level 3 */
	/* dates that are not specified (8.4.26.1) */
	memset(v.created.digits, '0', sizeof(v.created.digits));
	v.modified = v.expires = v.effective = v.created;
	memcpy(head + (t->joliet ? JOLIET : PRIMARY) * SECTOR, &v, sizeof(v));
}

static void make_head(uint8_t *head, const char *label,
		      const struct iso_file *file, size_t n, unsigned sectors)
{
	static const char terminator[] = "\xff" "CD001\1";

	for (size_t i = 0; i < ARRAY_SIZE(trees); i++) {
		make_volume(head, &trees[i], label, sectors);
		make_root(head, &trees[i], file, n);
	}
	memcpy(head + TERMINATOR * SECTOR, terminator, sizeof(terminator) - 1);
	make_paths(head, PRIMARY_PATHS, PRIMARY_ROOT);
	make_paths(head, JOLIET_PATHS, JOLIET_ROOT);
}

/* The sectors of the CD, counted while the caller's promises are checked. */
static unsigned count_sectors(const struct iso_file *file, size_t n)
{
	unsigned sectors = FIRST_FILE;

	assert(n <= ISO_FILES);
	for (size_t i = 0; i < n; i++) {
		assert(strlen(file[i].name) <= ISO_NAME_MAX);
		assert(i == 0 || strcmp(file[i - 1].name, file[i].name) < 0);
		assert(file[i].len <= ISO_FILE_MAX);
		sectors += sectors_of(file[i].len);
	}
	return sectors;
}

int iso_write(int fd, const char *label, const struct iso_file *file,
	      size_t n)
{
	const unsigned sectors = count_sectors(file, n);
	autofree uint8_t *head = calloc(1, HEAD);
	uint64_t off = HEAD;
	int rc;

	if (!head)
		return fail(ENOMEM, "out of memory");
	make_head(head, label, file, n, sectors);
	/* the size first: what lies behind a file in its sector is zero */
	if (ftruncate(fd, 0) < 0 ||
	    ftruncate(fd, (off_t)sectors * SECTOR) < 0)
		return fail_sys("write");
	rc = pwrite_all(fd, head, HEAD, 0);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		rc = pwrite_all(fd, file[i].data, file[i].len, off);
		off += (uint64_t)sectors_of(file[i].len) * SECTOR;
	}
	return rc < 0 ? fail(-rc, "write: %s", strerror(-rc)) : 0;
}

/* -- reading one -- */

/* Whether the record R of LEN bytes at NAME is that of the file WANTED. */
static bool is_named(const uint8_t *name, size_t len, const char *wanted)
{
	if (len != 2 * strlen(wanted))
		return false;
	for (size_t i = 0; i < len; i += 2)
		if (name[i] || name[i + 1] != (uint8_t)wanted[i / 2])
			return false;
	return true;
}

/* The record of NAME in Joliet's root; 1, or 0. */
static int find_file(const uint8_t *root, const char *name, struct record *r)
{
	for (size_t at = 0; at + sizeof(*r) < SECTOR;) {
		memcpy(r, root + at, sizeof(*r));
		if (r->len < sizeof(*r) || !in_range(at, r->len, SECTOR))
			return 0;
		if (r->name_len <= r->len - sizeof(*r) &&
		    is_named(root + at + sizeof(*r), r->name_len, name))
			return 1;
		at += r->len;
	}
	return 0;
}

int iso_read(int fd, const char *name, struct buf *b)
{
	uint8_t volume[SECTOR], root[SECTOR];
	struct record r;
	size_t len;
	char *data;
	int rc = pread_all(fd, volume, SECTOR, JOLIET * SECTOR);

	if (rc == 0)
		rc = pread_all(fd, root, SECTOR, JOLIET_ROOT * SECTOR);
	if (rc < 0 || memcmp(volume, "\2CD001\1", 7))
		return fail(E_CONFIG, "not a CD of ours");
	if (!find_file(root, name, &r))
		return fail(ENOENT, "%s: not on the CD", name);
	len = get_le32(r.size.le);
	if (len > ISO_FILE_MAX)
		return fail(E_CONFIG, "%s: larger than %d bytes", name,
			    ISO_FILE_MAX);
	data = malloc(len + 1);
	if (!data)
		return fail(ENOMEM, "out of memory");
	rc = pread_all(fd, data, len, (off_t)get_le32(r.sector.le) * SECTOR);
	if (rc == 0)
		buf_add(b, data, len);
	free(data);
	if (rc < 0 || b->failed)
		return fail(rc < 0 ? -rc : ENOMEM, "%s: %s", name,
			    strerror(rc < 0 ? -rc : ENOMEM));
	return 0;
}
