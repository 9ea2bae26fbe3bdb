/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * types.h - what C leaves out: byte order as a type, checked arithmetic,
 * one test for ranges, and locals that clean up after themselves.
 *
 * A field that lies on a disk, on a wire or in a guest's memory is le16..le64
 * or be16..be64: a struct of one member, so that arithmetic on it does not
 * compile until it was converted.
 */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef uint64_t gpa_t;		/* guest-physical address */

typedef struct { uint16_t raw; } le16;
typedef struct { uint32_t raw; } le32;
typedef struct { uint64_t raw; } le64;
typedef struct { uint16_t raw; } be16;
typedef struct { uint32_t raw; } be32;
typedef struct { uint64_t raw; } be64;

static inline uint16_t get_le16(le16 v) { return le16toh(v.raw); }
static inline uint32_t get_le32(le32 v) { return le32toh(v.raw); }
static inline uint64_t get_le64(le64 v) { return le64toh(v.raw); }
static inline uint16_t get_be16(be16 v) { return be16toh(v.raw); }
static inline uint32_t get_be32(be32 v) { return be32toh(v.raw); }
static inline uint64_t get_be64(be64 v) { return be64toh(v.raw); }

static inline le16 to_le16(uint16_t v) { return (le16){ htole16(v) }; }
static inline le32 to_le32(uint32_t v) { return (le32){ htole32(v) }; }
static inline le64 to_le64(uint64_t v) { return (le64){ htole64(v) }; }
static inline be16 to_be16(uint16_t v) { return (be16){ htobe16(v) }; }
static inline be32 to_be32(uint32_t v) { return (be32){ htobe32(v) }; }
static inline be64 to_be64(uint64_t v) { return (be64){ htobe64(v) }; }

/* *R = A op B; true when the result does not fit (C23's names). */
#define ckd_add(r, a, b) __builtin_add_overflow(a, b, r)
#define ckd_sub(r, a, b) __builtin_sub_overflow(a, b, r)
#define ckd_mul(r, a, b) __builtin_mul_overflow(a, b, r)

/* Whether [OFF, OFF+LEN) lies within [0, SIZE). Cannot wrap. */
static inline bool in_range(uint64_t off, uint64_t len, uint64_t size)
{
	return len <= size && off <= size - len;
}

/* Whether all LEN bytes are zero. */
static inline bool is_zero(const void *data, size_t len)
{
	const uint8_t *p = data;

	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

static inline uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* V rounded up to ALIGN, a power of two. V + ALIGN must not wrap. */
static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

static inline void free_ptr(void *p) { free(*(void **)p); }
static inline void close_fd(const int *fd) { if (*fd >= 0) close(*fd); }

/* autofree char *s = NULL;  autoclose int fd = -1; */
#define autofree __attribute__((cleanup(free_ptr)))
#define autoclose __attribute__((cleanup(close_fd)))

/* Gives the value away: what it was read from no longer owns it. */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define take_ptr(p) ({ typeof(p) taken_ = (p); (p) = NULL; taken_; })

#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#endif
