/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel.h - a Linux kernel file made ready to boot fast.
 *
 * Distributions ship bzImages: a real-mode loader, a decompressor, and the
 * kernel proper as a compressed ELF file. To decompress in the guest costs
 * each boot what can be done once: the ELF is unpacked when a VM is given its
 * kernel and kept in the state's cache (state/cache.h), where vm-boot finds
 * it by the kernel file. A VM whose entry is gone boots the bzImage.
 *
 * The format: Documentation/arch/x86/boot.rst in Linux. Nothing in the file
 * is trusted.
 */
#ifndef IMAGE_KERNEL_H
#define IMAGE_KERNEL_H

#include "state/store.h"

enum kernel_form {
	KERNEL_NONE,		/* no kernel */
	KERNEL_ELF,		/* boots as it is */
	KERNEL_BZIMAGE,		/* boots as it is */
	KERNEL_UNPACKED,	/* a bzImage whose ELF is in the cache */
};

/* Where the compressed ELF lies in a bzImage; len 0: nowhere we know. */
struct kernel_payload {
	uint64_t off, len;
};

/* The bytes at a file's start that tell. */
enum { KERNEL_HEAD = 0x250 };

/*
 * What a file of SIZE bytes is, that begins with HEAD (N bytes, KERNEL_HEAD
 * unless the file is shorter). P is set for KERNEL_BZIMAGE. -E_CONFIG with a
 * sentence when the payload does not lie in the file.
 */
int kernel_parse(const void *head, size_t n, uint64_t size,
		 struct kernel_payload *p);

/*
 * Sees to it that the kernel PATH (relative to DIRFD; links are followed) is
 * in ST's cache if that helps.
 *
 *	KERNEL_ELF	there was nothing to do
 *	KERNEL_BZIMAGE	of a kind that cannot be unpacked: boot it as it is
 *	KERNEL_UNPACKED	cache_find() finds its ELF
 *
 * -E_CONFIG: "kernel ./x: not a kernel (neither ELF nor bzImage)", damaged;
 * -errno. A sentence is set.
 */
int kernel_unpack(const struct store *st, int dirfd, const char *path);

/*
 * The version of the bzImage open as FD, as `uname -r` says it and its modules'
 * directory is called; such a name is safe as one path component. 0; -ENOENT
 * it says none, -errno, with a sentence.
 */
enum { KERNEL_VERSION = 65 };	/* with its NUL, as Linux has it (UTS) */
int kernel_version(int fd, char version[static KERNEL_VERSION]);

#endif
