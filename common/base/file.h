/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * file.h - whole reads and writes, and the one way a file is replaced.
 *
 * Names are relative to a directory descriptor and never followed through a
 * symbolic link in their last component.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <sys/types.h>

#include "base/buf.h"

/*
 * All LEN bytes, going on after short counts and EINTR. 0 or -errno; a file
 * that ends early is -ENODATA for read_all() and pread_all(). No sentence is
 * set: the caller knows the name.
 */
int read_all(int fd, void *buf, size_t len);
/* LEN bytes, or as many as there are before the end: how many, or -errno. */
ssize_t read_up_to(int fd, void *buf, size_t len);
int write_all(int fd, const void *buf, size_t len);
int pread_all(int fd, void *buf, size_t len, off_t off);
int pwrite_all(int fd, const void *buf, size_t len, off_t off);

/*
 * Opens NAME under DIRFD, which must be a regular file, and never waits: a
 * FIFO, device, socket or directory is -E_CONFIG "NAME: not a regular file",
 * with O_NOFOLLOW a link is -E_CONFIG "NAME: a symbolic link". The descriptor
 * (close-on-exec), or negative with a sentence.
 */
int file_open(int dirfd, const char *name, int flags, mode_t mode);

/* Whether NAME under DIRFD is (itself, no link to) what FD has open. */
bool file_same(int dirfd, const char *name, int fd);

/*
 * The content of NAME (a regular file, no link) under DIRFD, appended to B;
 * -EFBIG beyond MAX bytes. Otherwise as file_open().
 */
int file_read(int dirfd, const char *name, struct buf *b, size_t max);

/* What can be read from FD, to its end; NAME is for sentences. As above. */
int fd_read(int fd, const char *name, struct buf *b, size_t max);

/*
 * Replaces (or creates) NAME by LEN bytes of DATA so that a reader, or a
 * crash at any instant, sees the old or the new file whole: write ".NAME.new0",
 * fsync, rename, fsync the directory. 0 or -errno with a sentence. On failure
 * the old file is untouched and the temporary one is gone. Several may replace
 * one file at once: the last wins, whole. What a killed one left is used again.
 */
int file_replace(int dirfd, const char *name, const void *data, size_t len,
		 mode_t mode);

/*
 * mkdir -p PATH (mode 0700 for what is made), durably. 0 or -errno with a
 * sentence.
 */
int make_dirs(const char *path);

/*
 * Removes NAME under DIRFD with all below it; never leaves the tree through a
 * link. A name that is not there is success. 0 or -errno with a sentence.
 */
int remove_tree(int dirfd, const char *name);

#endif
