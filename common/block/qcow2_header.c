/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2_header.c - the header, its extensions and the snapshot table, none of
 * which can be trusted.
 */
#include "block/qcow2_int.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"

uint64_t qcow2_l1_needed(unsigned cluster_bits, uint64_t size)
{
	unsigned bits = 2 * cluster_bits - 3;

	return (size >> bits) + !!(size & ((1ULL << bits) - 1));
}

static int damaged(const char *what)
{
	return fail(E_VERIFY, "damaged: %s", what);
}

/* -- features -- */

static int check_features(const struct qcow2_header *h, uint32_t crypt)
{
	static const struct { uint64_t bits; const char *what; } refused[] = {
		{ QCOW2_DATA_FILE, "an external data file" },
		{ QCOW2_EXTENDED_L2, "extended L2 entries" },
		{ ~(uint64_t)(QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_DATA_FILE |
			      QCOW2_COMPRESSION | QCOW2_EXTENDED_L2),
		  "features not known here" },
	};

	if (crypt)
		return fail(E_CONFIG, "a qcow2 image with encryption, "
			    "which is not supported");
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (h->incompatible & refused[i].bits)
			return fail(E_CONFIG, "a qcow2 image with %s, which "
				    "is not supported", refused[i].what);
	return 0;
}

/* What only version 3 says, from D, of which GOT bytes were there. */
static int read_version3(const struct qcow2_disk_header *d, size_t got,
			 struct qcow2_header *h, uint64_t *length)
{
	uint8_t compression;

	*length = get_be32(d->length);
	if (got < QCOW2_V3_HEADER || *length < QCOW2_V3_HEADER || *length % 8)
		return damaged("the header's length");
	h->incompatible = get_be64(d->incompatible);
	h->compatible = get_be64(d->compatible);
	h->autoclear = get_be64(d->autoclear);
	h->refcount_order = get_be32(d->refcount_order);
	if (h->refcount_order > 6)
		return damaged("the width of refcounts");
	compression = *length > QCOW2_V3_HEADER ? d->compression : 0;
	if (compression > 1)
		return fail(E_CONFIG, "a qcow2 image compressed by a method "
			    "not known here (%u)", compression);
	if (!compression != !(h->incompatible & QCOW2_COMPRESSION))
		return damaged("the method of compression");
	h->zstd = compression == 1;
	return check_features(h, get_be32(d->crypt_method));
}

/* -- places and sizes -- */

/* Whether N entries of 8 bytes may be a table at OFF, behind the header. */
static bool table_ok(const struct qcow2_header *h, uint64_t off, uint64_t n)
{
	return off && off % qcow2_cluster(h) == 0 &&
	       in_range(off, n * 8, h->file_size);
}

static int check_places(const struct qcow2_header *h)
{
	if (!h->size || h->size % QCOW2_SECTOR || h->size > INT64_MAX)
		return fail(E_CONFIG, "a disk of %" PRIu64 " bytes, which is "
			    "not a multiple of %u", h->size, QCOW2_SECTOR);
	if (h->l1_n > QCOW2_L1_MAX ||
	    h->l1_n < qcow2_l1_needed(h->cluster_bits, h->size))
		return damaged("the size of the L1 table");
	if (!table_ok(h, h->l1_off, h->l1_n))
		return damaged("the place of the L1 table");
	if (!h->reftable_n || h->reftable_n > QCOW2_REFTABLE_MAX)
		return damaged("the size of the refcount table");
	if (!table_ok(h, h->reftable_off, h->reftable_n))
		return damaged("the place of the refcount table");
	if (h->snapshots > QCOW2_SNAPSHOTS_MAX)
		return damaged("the number of snapshots");
	if (h->snapshots && !table_ok(h, h->snapshots_off, 0))
		return damaged("the place of the snapshot table");
	return 0;
}

/* -- strings -- */

/* LEN bytes at OFF of the first cluster, as a string. */
static int read_string(int fd, const struct qcow2_header *h, uint64_t off,
		       uint64_t len, char **out)
{
	autofree char *s = calloc(1, len + 1);
	int rc;

	if (!s)
		return fail(ENOMEM, "out of memory");
	if (!in_range(off, len, min_u64(qcow2_cluster(h), h->file_size)))
		return damaged("a string outside of the first cluster");
	rc = pread_all(fd, s, len, off);
	if (rc < 0)
		return fail(-rc, "%s", strerror(-rc));
	if (strlen(s) != len)
		return damaged("a string that holds a zero");
	free(*out);
	*out = take_ptr(s);
	return 0;
}

/*
 * From OFF on to the first cluster's end, or where the backing file's name
 * begins. Extensions that are not known may be ignored.
 */
static int read_extensions(int fd, struct qcow2_header *h, uint64_t off,
			   uint64_t end)
{
	enum { END = 0, FORMAT_MAX = 64 };
	struct qcow2_extension e;

	end = min_u64(end, min_u64(qcow2_cluster(h), h->file_size));
	for (; in_range(off, sizeof(e), end); off = align_up(off, 8)) {
		uint32_t type, len;
		int rc = pread_all(fd, &e, sizeof(e), off);

		if (rc < 0)
			return fail(-rc, "%s", strerror(-rc));
		type = get_be32(e.type);
		len = get_be32(e.len);
		off += sizeof(e);
		if (type == END)
			return 0;
		if (!in_range(off, len, end))
			return damaged("a header extension");
		if (type == (uint32_t)QCOW2_EXT_BACKING_FORMAT) {
			if (!len || len > FORMAT_MAX)
				return damaged("the backing file's format");
			rc = read_string(fd, h, off, len, &h->backing_format);
			if (rc < 0)
				return rc;
		}
		off += len;
	}
	return 0;
}

static int read_strings(int fd, struct qcow2_header *h,
			const struct qcow2_disk_header *d, uint64_t length)
{
	uint64_t off = get_be64(d->backing_off);
	uint32_t len = get_be32(d->backing_len);
	int rc;

	if (off && len) {
		if (len > QCOW2_BACKING_MAX || off < length)
			return damaged("the backing file's name");
		rc = read_string(fd, h, off, len, &h->backing);
		if (rc < 0)
			return rc;
	}
	return read_extensions(fd, h, length, h->backing ? off : UINT64_MAX);
}

/* -- the whole -- */

static int read_fixed(const struct qcow2_disk_header *d, size_t got,
		      struct qcow2_header *h, uint64_t *length)
{
	int rc = 0;

	if (got < QCOW2_V2_HEADER || get_be32(d->magic) != QCOW2_MAGIC)
		return fail(E_CONFIG, "not a qcow2 image");
	h->version = get_be32(d->version);
	if (h->version != 2 && h->version != 3)
		return fail(E_CONFIG, "a qcow2 image of version %u, which is "
			    "not supported", h->version);
	h->cluster_bits = get_be32(d->cluster_bits);
	if (h->cluster_bits < QCOW2_BITS_MIN ||
	    h->cluster_bits > QCOW2_BITS_MAX)
		return damaged("the size of clusters");
	h->refcount_order = 4;
	*length = QCOW2_V2_HEADER;
	if (h->version == 3)
		rc = read_version3(d, got, h, length);
	else
		rc = check_features(h, get_be32(d->crypt_method));
	if (rc == 0 && *length > qcow2_cluster(h))
		return damaged("the header's length");
	h->size = get_be64(d->size);
	h->l1_n = get_be32(d->l1_n);
	h->l1_off = get_be64(d->l1_off);
	h->reftable_off = get_be64(d->reftable_off);
	h->reftable_n = get_be32(d->reftable_clusters) *
			(qcow2_cluster(h) / 8);
	h->snapshots = get_be32(d->snapshots);
	h->snapshots_off = get_be64(d->snapshots_off);
	return rc;
}

int qcow2_header_read(int fd, struct qcow2_header *h)
{
	struct qcow2_disk_header d = { 0 };
	uint64_t length = 0;
	struct stat st;
	ssize_t got;
	int rc;

	*h = (struct qcow2_header){ 0 };
	if (fstat(fd, &st) < 0)
		return fail(errno, "%s", strerror(errno));
	got = pread(fd, &d, sizeof(d), 0);
	if (got < 0)
		return fail(errno, "%s", strerror(errno));
	h->file_size = st.st_size;
	rc = read_fixed(&d, got, h, &length);
	if (rc == 0)
		rc = check_places(h);
	if (rc == 0)
		rc = read_strings(fd, h, &d, length);
	if (rc < 0)
		qcow2_header_release(h);
	return rc;
}

void qcow2_header_release(struct qcow2_header *h)
{
	free(h->backing);
	free(h->backing_format);
	h->backing = h->backing_format = NULL;
}

int qcow2_info(int fd, struct qcow2_info *info)
{
	struct qcow2_header h;
	int rc = qcow2_header_read(fd, &h);

	*info = (struct qcow2_info){ 0 };
	if (rc < 0)
		return rc;
	*info = (struct qcow2_info){
		.version = h.version,
		.cluster_bits = h.cluster_bits,
		.size = h.size,
		.backing = take_ptr(h.backing),
		.backing_format = take_ptr(h.backing_format),
		.snapshots = h.snapshots,
		.dirty = h.incompatible & QCOW2_DIRTY,
		.corrupt = h.incompatible & QCOW2_CORRUPT,
		.lazy_refcounts = h.compatible & QCOW2_LAZY,
	};
	return 0;
}

void qcow2_info_release(struct qcow2_info *info)
{
	free(info->backing);
	free(info->backing_format);
	info->backing = info->backing_format = NULL;
}

int qcow2_read_table(int fd, uint64_t off, be64 *table, uint64_t n)
{
	return pread_all(fd, table, n * sizeof(*table), off);
}

/* -- snapshots -- */

struct disk_snapshot {
	be64 l1_off;
	be32 l1_n;
	be16 id_len, name_len;
	be32 sec, nsec;
	be64 clock;
	be32 state_size, extra_len;
};
static_assert(sizeof(struct disk_snapshot) == 40, "qcow2 snapshot");

/* The one at *POS, which is moved to the next. */
static int read_snapshot(int fd, const struct qcow2_header *h, uint64_t *pos,
			 struct qcow2_snapshot *s)
{
	enum { EXTRA_MAX = 1024 };
	struct disk_snapshot d;
	uint64_t len;
	int rc;

	if (!in_range(*pos, sizeof(d), h->file_size))
		return damaged("the snapshot table");
	rc = pread_all(fd, &d, sizeof(d), *pos);
	if (rc < 0)
		return fail(-rc, "%s", strerror(-rc));
	s->l1_off = get_be64(d.l1_off);
	s->l1_n = get_be32(d.l1_n);
	if (s->l1_n > QCOW2_L1_MAX || !table_ok(h, s->l1_off, s->l1_n))
		return damaged("the L1 table of a snapshot");
	if (get_be32(d.extra_len) > EXTRA_MAX)
		return damaged("the extra data of a snapshot");
	len = sizeof(d) + get_be32(d.extra_len) + get_be16(d.id_len) +
	      get_be16(d.name_len);
	if (!in_range(*pos, len, h->file_size))
		return damaged("the snapshot table");
	*pos = align_up(*pos + len, 8);
	return 0;
}

int qcow2_snapshots_read(int fd, const struct qcow2_header *h,
			 struct qcow2_snapshot **list, uint64_t *bytes)
{
	autofree struct qcow2_snapshot *s = NULL;
	uint64_t pos = h->snapshots_off;

	*list = NULL;
	*bytes = 0;
	if (!h->snapshots)
		return 0;
	s = calloc(h->snapshots, sizeof(*s));
	if (!s)
		return fail(ENOMEM, "out of memory");
	for (unsigned i = 0; i < h->snapshots; i++) {
		int rc = read_snapshot(fd, h, &pos, &s[i]);

		if (rc < 0)
			return rc;
	}
	*list = take_ptr(s);
	*bytes = pos - h->snapshots_off;
	return 0;
}

int qcow2_alone(const struct qcow2_info *info)
{
	if (!info->backing)
		return 0;
	return fail(E_CONFIG, "rests on another image, '%s' (qemu-img convert "
		    "makes one that stands alone)", info->backing);
}
