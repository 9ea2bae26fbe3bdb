/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"

static const uint64_t page_bytes = 4096, huge_bytes = 2 << 20;
static const gpa_t high_base = 1ULL << 32;

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

int mem_init(struct mem *m, uint64_t size, uint64_t low_max)
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
	if (rc < 0)
		mem_release(m);
	return rc;
}

void mem_release(struct mem *m)
{
	for (int i = 0; i < m->n; i++)
		munmap(m->range[i].host, m->range[i].size);
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
