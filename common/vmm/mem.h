/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem.h - the guest's physical memory.
 *
 * Theory: RAM is one or two ranges of guest-physical addresses (below and
 * above the hole for devices that ends at 4 GiB), each one mapping of ours.
 * The guest changes it between any two of our instructions; therefore no
 * pointer into it leaves mem.c. Callers copy in, check and use the copy, copy
 * out; ring indices are loaded and stored once, atomically; bulk data goes
 * between the guest and a descriptor by iovec, which nobody looks through.
 *
 * Only RAM resolves here: an address of a device, of a hole, or one that runs
 * over the end of RAM is -EFAULT, so a device's DMA never reaches a device.
 * An access may not cross from the low range into the high one.
 *
 * A memory that goes on from a saved one is a private mapping of that file,
 * whose pages come as they are touched: nothing that is written reaches the
 * file, which must not change, nor become shorter, while the memory exists.
 * To discard pages of such a memory (a balloon, free page reporting) map
 * anonymous ones over them: MADV_DONTNEED would bring the file's content back.
 * Nothing discards today.
 *
 * No function here sets a sentence but mem_init(), mem_map() and mem_load(): a
 * bad address is the guest's doing and the device's to answer.
 *
 * Threads: after mem_init() or mem_map() everything may be called by any thread.
 */
#ifndef VMM_MEM_H
#define VMM_MEM_H

#include <sys/uio.h>

#include "base/types.h"

enum { MEM_RANGES = 2 };

struct mem_range {
	gpa_t base;
	uint64_t size;
	uint8_t *host;	/* for mem.c, mem_save.c, and the slot given to KVM */
};

struct mem {
	struct mem_range range[MEM_RANGES];
	int n;
	uint64_t size;	/* all RAM, bytes */
	bool mapped;	/* it is a private mapping of: */
	int file;	/* our own descriptor, ranges one after the other */
};

/*
 * Maps SIZE bytes of RAM (a multiple of 4 KiB), zero and not yet touched, at
 * 0 and, what exceeds LOW_MAX, at 4 GiB. 0 or -errno with a sentence.
 */
int mem_init(struct mem *m, uint64_t size, uint64_t low_max);

/*
 * The same, but holding what FD does: a regular file, open for reading, of
 * exactly SIZE bytes (mem_save.h), the ranges one after the other. FD stays
 * the caller's; NAME is for sentences. 0 or negative with a sentence:
 * -E_VERIFY, the file is shorter or longer.
 */
int mem_map(struct mem *m, int fd, uint64_t size, uint64_t low_max,
	    const char *name);

void mem_release(struct mem *m);

/* Copies. 0, or -EFAULT having copied nothing. LEN may be 0. */
int mem_read(const struct mem *m, gpa_t gpa, void *buf, size_t len);
int mem_write(const struct mem *m, gpa_t gpa, const void *buf, size_t len);
int mem_zero(const struct mem *m, gpa_t gpa, uint64_t len);

/*
 * One 16-bit little-endian word at an even address: loaded with acquire,
 * stored with release. 0 or -EFAULT.
 */
int mem_load16(const struct mem *m, gpa_t gpa, uint16_t *val);
int mem_store16(const struct mem *m, gpa_t gpa, uint16_t val);

/* Whether all of [GPA, GPA+LEN) is RAM of one range. */
bool mem_valid(const struct mem *m, gpa_t gpa, uint64_t len);

/*
 * Describes [GPA, GPA+LEN) for a system call that moves bulk data. Returns 0
 * and fills *IOV, or -EFAULT. The iovec is valid while M is.
 */
int mem_iov(const struct mem *m, gpa_t gpa, uint64_t len, struct iovec *iov);

/*
 * Reads LEN bytes of FD from OFF straight into the guest at GPA. NAME is for
 * the sentence. 0 or -errno (-E_CONFIG: does not fit the guest's memory, or
 * the file ends early).
 */
int mem_load(const struct mem *m, gpa_t gpa, int fd, uint64_t off,
	     uint64_t len, const char *name);

#endif
