/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/kernel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "image/unpack.h"
#include "state/cache.h"

/* boot.rst, "The Real-Mode Kernel Header". */
enum {
	HEADER_START = 0x1f1,
	BOOT_FLAG = 0xaa55,
	VERSION_PAYLOAD = 0x0208,	/* the first that tells the payload */
	SECTOR = 512,
	SECTS_OLD = 4,			/* what 0 in setup_sects means */
};

struct setup_header {
	uint8_t setup_sects;
	uint8_t to_flag[12];
	le16 boot_flag;
	uint8_t jump[2];
	char magic[4];			/* "HdrS" */
	le16 version;
	uint8_t to_payload[64];
	le32 payload_offset;		/* from the protected-mode code */
	le32 payload_length;
} __attribute__((packed));
static_assert(offsetof(struct setup_header, boot_flag) + HEADER_START == 0x1fe,
	      "boot_flag");
static_assert(offsetof(struct setup_header, payload_offset) + HEADER_START ==
	      0x248, "payload_offset");
static_assert(sizeof(struct setup_header) + HEADER_START == KERNEL_HEAD,
	      "KERNEL_HEAD");

enum { TAIL = 4 };	/* the unpacked size, little-endian, ends a payload */
static const uint64_t unpacked_max = 1 << 30;

static bool is_elf(const void *head, size_t n)
{
	return n >= 4 && !memcmp(head, "\177ELF", 4);
}

int kernel_parse(const void *head, size_t n, uint64_t size,
		 struct kernel_payload *p)
{
	struct setup_header h;
	uint64_t setup;

	*p = (struct kernel_payload){ 0 };
	if (is_elf(head, n))
		return KERNEL_ELF;
	if (n < KERNEL_HEAD)
		return KERNEL_NONE;
	memcpy(&h, (const char *)head + HEADER_START, sizeof(h));
	if (get_le16(h.boot_flag) != BOOT_FLAG || memcmp(h.magic, "HdrS", 4))
		return KERNEL_NONE;
	if (get_le16(h.version) < VERSION_PAYLOAD ||
	    get_le32(h.payload_length) <= TAIL)
		return KERNEL_BZIMAGE;
	setup = (uint64_t)SECTOR * ((h.setup_sects ? h.setup_sects
						   : SECTS_OLD) + 1);
	p->off = setup + get_le32(h.payload_offset);
	p->len = get_le32(h.payload_length);
	if (!in_range(p->off, p->len, size))
		return fail(E_CONFIG, "damaged: its payload ends behind the "
			    "file");
	return KERNEL_BZIMAGE;
}

/* Reads what begins FD, a file of SIZE bytes, and parses it. */
static int parse_file(int fd, uint64_t size, struct kernel_payload *p)
{
	uint8_t head[KERNEL_HEAD];
	size_t n = min_u64(size, sizeof(head));
	int rc = pread_all(fd, head, n, 0);

	if (rc < 0)
		return fail(-rc, "%s", strerror(-rc));
	rc = kernel_parse(head, n, size, p);
	return rc != KERNEL_NONE ? rc :
		fail(E_CONFIG, "not a kernel (neither ELF nor bzImage)");
}

/*
 * Unpacks P of FD into OUT. gzip ends with the unpacked size by itself; for
 * the others the kernel's build puts it behind their data.
 */
static int unpack_payload(int fd, const struct kernel_payload *p, int out)
{
	static const uint8_t gzip[] = { 0x1f, 0x8b };
	uint8_t magic[4];
	uint64_t len = p->len;
	le32 size;
	int64_t n;
	int rc = pread_all(fd, magic, sizeof(magic), p->off);

	if (rc == 0)
		rc = pread_all(fd, &size, sizeof(size), p->off + len - TAIL);
	if (rc < 0)
		return fail(-rc, "%s", strerror(-rc));
	if (memcmp(magic, gzip, sizeof(gzip)))
		len -= TAIL;
	if (get_le32(size) > unpacked_max)
		return fail(E_CONFIG, "damaged: it would unpack to %u bytes",
			    get_le32(size));
	n = unpack_range(fd, p->off, len, out, get_le32(size));
	if (n < 0)
		return n;
	if (n != get_le32(size))
		return fail(E_CONFIG, "damaged: smaller than it says");
	rc = pread_all(out, magic, sizeof(magic), 0);
	if (rc < 0 || !is_elf(magic, sizeof(magic)))
		return fail(E_CONFIG, "what it holds is not ELF");
	return 0;
}

/* Adds the ELF in FD's payload to the cache. */
static int add_unpacked(const struct store *st, int fd,
			const struct kernel_payload *p)
{
	struct cache_entry e;
	int rc = cache_begin(&e, st, fd);

	if (rc < 0)
		return rc;
	rc = unpack_payload(fd, p, e.fd);
	if (rc == 0)
		rc = cache_commit(&e);
	cache_end(&e);
	if (rc == -ENOTSUP)
		return KERNEL_BZIMAGE;
	return rc < 0 ? rc : KERNEL_UNPACKED;
}

static int unpack_file(const struct store *st, int fd)
{
	autoclose int found = -1;
	struct kernel_payload p;
	struct stat sb;
	int rc;

	if (fstat(fd, &sb) < 0)
		return fail_sys("stat");
	rc = parse_file(fd, sb.st_size, &p);
	if (rc != KERNEL_BZIMAGE || !p.len)
		return rc;
	found = cache_find(st, fd);
	return found >= 0 ? KERNEL_UNPACKED : add_unpacked(st, fd, &p);
}

int kernel_version(int fd, char version[static KERNEL_VERSION])
{
	enum { FIELD = 0x20e, BASE = 0x200 };	/* boot.rst, kernel_version */
	uint8_t head[KERNEL_HEAD];
	struct kernel_payload p;
	le16 off;
	size_t n;

	*version = '\0';
	if (pread_all(fd, head, sizeof(head), 0) < 0 ||
	    kernel_parse(head, sizeof(head), UINT64_MAX, &p) != KERNEL_BZIMAGE)
		return fail(ENOENT, "a kernel that does not say its version");
	memcpy(&off, head + FIELD, sizeof(off));
	if (get_le16(off) && pread(fd, version, KERNEL_VERSION - 1,
				   BASE + get_le16(off)) < 0)
		return fail_sys("read");
	version[KERNEL_VERSION - 1] = '\0';
	n = strspn(version, "abcdefghijklmnopqrstuvwxyz"
		   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+~-");
	if (version[n] != ' ' || n == 0 || version[0] == '.') {
		*version = '\0';
		return fail(ENOENT, "a kernel that does not say its version");
	}
	version[n] = '\0';
	return 0;
}

int kernel_unpack(const struct store *st, int dirfd, const char *path)
{
	autoclose int fd = file_open(dirfd, path, O_RDONLY, 0);
	int rc = fd < 0 ? fd : unpack_file(st, fd);

	if (fd < 0)	/* which says the path */
		return fail_in(rc, "kernel");
	return rc < 0 ? fail_in(rc, "kernel %s", path) : rc;
}
