/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"

static const uint64_t page_bytes = 4096, huge_bytes = 2 << 20;
static const gpa_t high_base = 1ULL << 32;

/* Mappings of a file in a range; the host limits those of a process. */
enum { PIECES = 1024 };

/*
 * Maps SIZE bytes at an address that huge pages can back: the host then keeps
 * far fewer page table entries, for us and for the guest. NULL: no room.
 */
static uint8_t *map_ram(uint64_t size)
{
	uint64_t room;
	uint8_t *p, *start;

	if (ckd_add(&room, size, huge_bytes))
		return NULL;
	p = mmap(NULL, room, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	start = (uint8_t *)align_up((uintptr_t)p, huge_bytes);
	if (start > p)
		munmap(p, start - p);
	munmap(start + size, p + room - (start + size));
	/*
	 * Wishes: the guest runs without. Of the first 2 MiB little is used,
	 * and some of it by us: zeroing a huge page would delay every start.
	 */
	if (size > huge_bytes)
		madvise(start + huge_bytes, size - huge_bytes, MADV_HUGEPAGE);
	madvise(start, size, MADV_DONTDUMP);
	return start;
}

static int add_range(struct mem *m, gpa_t base, uint64_t size)
{
	uint8_t *host = map_ram(size);
	char text[16];

	if (!host)
		return fail(E_CONFIG, "memory: no room for %s in the address "
			    "space", format_size(text, size));
	m->range[m->n++] = (struct mem_range){ base, size, host };
	m->size += size;
	return 0;
}

static int add_ranges(struct mem *m, uint64_t size, uint64_t low_max)
{
	uint64_t low = min_u64(size, low_max);
	gpa_t end;
	int rc;

	*m = (struct mem){ 0 };
	if (!size || size % page_bytes)
		return fail(E_CONFIG, "memory: %llu bytes are no multiple of "
			    "4K", (unsigned long long)size);
	if (ckd_add(&end, high_base, size))
		return fail(E_CONFIG, "memory: larger than addresses are");
	rc = add_range(m, 0, low);
	if (rc == 0 && size > low)
		rc = add_range(m, high_base, size - low);
	return rc;
}

int mem_init(struct mem *m, uint64_t size, uint64_t low_max)
{
	int rc = add_ranges(m, size, low_max);

	if (rc < 0)
		mem_release(m);
	return rc;
}

/*
 * The data from *OFF, at most up to END, as whole huge pages: *OFF becomes
 * its begin, the result is where it ends; END when there is none.
 */
static uint64_t next_data(int fd, uint64_t start, uint64_t *off, uint64_t end)
{
	off_t data = lseek(fd, *off, SEEK_DATA), hole;
	uint64_t to;

	if (data < 0 && errno != ENXIO)
		return end;	/* a file system that knows no holes */
	if (data < 0 || (uint64_t)data >= end) {
		*off = end;
		return end;
	}
	hole = lseek(fd, data, SEEK_HOLE);
	*off = max_u64(*off, data - (data - start) % huge_bytes);
	if (hole <= data)
		return end;
	to = start + align_up(hole - start, huge_bytes);
	return min_u64(to, end);
}

/*
 * Puts the file's data, from START of it, over R's memory. Where the file has
 * nothing R stays as it is: memory there costs no cache of the file, and huge
 * pages can back it.
 */
static int map_file(const struct mem_range *r, int fd, uint64_t start)
{
	uint64_t off = start, end = start + r->size;

	for (int i = 0; off < end; i++) {
		uint64_t to = i < PIECES ? next_data(fd, start, &off, end) : end;
		uint8_t *at = r->host + (off - start);

		if (off < to && mmap(at, to - off, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
				     fd, off) == MAP_FAILED)
			return -errno;
		off = to;
	}
	madvise(r->host, r->size, MADV_DONTDUMP);
	return 0;
}

static int check_file(int fd, uint64_t size, const char *name)
{
	char is[16], was[16];
	struct stat sb;

	if (fstat(fd, &sb) < 0)
		return fail_sys("%s", name);
	if (!S_ISREG(sb.st_mode))
		return fail(E_CONFIG, "%s: not a regular file", name);
	if ((uint64_t)sb.st_size != size)
		return fail(E_VERIFY, "%s: has %s, the guest's memory %s",
			    name, format_size(is, sb.st_size),
			    format_size(was, size));
	return 0;
}

static int map_ranges(struct mem *m, int fd, const char *name)
{
	uint64_t start = 0;
	int rc = 0;

	m->file = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (m->file < 0)
		return fail_sys("%s", name);
	m->mapped = true;
	for (int i = 0; i < m->n && rc == 0; i++) {
		rc = map_file(&m->range[i], m->file, start);
		start += m->range[i].size;
	}
	return rc < 0 ? fail(-rc, "%s: %s", name, strerror(-rc)) : 0;
}

int mem_map(struct mem *m, int fd, uint64_t size, uint64_t low_max,
	    const char *name)
{
	int rc = add_ranges(m, size, low_max);

	if (rc == 0)
		rc = check_file(fd, size, name);
	if (rc == 0)
		rc = map_ranges(m, fd, name);
	if (rc < 0)
		mem_release(m);
	return rc;
}

void mem_release(struct mem *m)
{
	for (int i = 0; i < m->n; i++)
		munmap(m->range[i].host, m->range[i].size);
	if (m->mapped)
		close(m->file);
	*m = (struct mem){ 0 };
}

/* Where [GPA, GPA+LEN) is in our address space; NULL: not RAM of one range. */
static uint8_t *find(const struct mem *m, gpa_t gpa, uint64_t len)
{
	for (int i = 0; i < m->n; i++) {
		const struct mem_range *r = &m->range[i];

		if (gpa >= r->base && in_range(gpa - r->base, len, r->size))
			return r->host + (gpa - r->base);
	}
	return NULL;
}

int mem_read(const struct mem *m, gpa_t gpa, void *buf, size_t len)
{
	const uint8_t *p = find(m, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(buf, p, len);
	return 0;
}

int mem_write(const struct mem *m, gpa_t gpa, const void *buf, size_t len)
{
	uint8_t *p = find(m, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(p, buf, len);
	return 0;
}

int mem_zero(const struct mem *m, gpa_t gpa, uint64_t len)
{
	uint8_t *p = find(m, gpa, len);

	if (!p)
		return -EFAULT;
	memset(p, 0, len);
	return 0;
}

int mem_load16(const struct mem *m, gpa_t gpa, uint16_t *val)
{
	const uint16_t *p = (const uint16_t *)find(m, gpa, sizeof(*p));

	if (!p || gpa % sizeof(*p))
		return -EFAULT;
	*val = le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
	return 0;
}

int mem_store16(const struct mem *m, gpa_t gpa, uint16_t val)
{
	uint16_t *p = (uint16_t *)find(m, gpa, sizeof(*p));

	if (!p || gpa % sizeof(*p))
		return -EFAULT;
	__atomic_store_n(p, htole16(val), __ATOMIC_RELEASE);
	return 0;
}

bool mem_valid(const struct mem *m, gpa_t gpa, uint64_t len)
{
	return find(m, gpa, len);
}

int mem_iov(const struct mem *m, gpa_t gpa, uint64_t len, struct iovec *iov)
{
	uint8_t *p = find(m, gpa, len);

	if (!p)
		return -EFAULT;
	*iov = (struct iovec){ .iov_base = p, .iov_len = len };
	return 0;
}

int mem_load(const struct mem *m, gpa_t gpa, int fd, uint64_t off,
	     uint64_t len, const char *name)
{
	uint8_t *p = find(m, gpa, len);
	char text[16];
	int rc;

	if (!p)
		return fail(E_CONFIG, "%s: %s at 0x%llx do not fit the guest's "
			    "memory of %s", name, format_size(text, len),
			    (unsigned long long)gpa,
			    format_size((char[16]){ 0 }, m->size));
	if (!in_range(off, len, INT64_MAX))
		return fail(E_CONFIG, "%s: ends early", name);
	rc = pread_all(fd, p, len, off);
	if (rc == -ENODATA)
		return fail(E_CONFIG, "%s: ends early", name);
	if (rc < 0)
		return fail(-rc, "%s: %s", name, strerror(-rc));
	return 0;
}
