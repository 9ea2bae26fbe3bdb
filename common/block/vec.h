/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vec.h - an iovec taken apart piece by piece, and moved to and from a file.
 */
#ifndef BLOCK_VEC_H
#define BLOCK_VEC_H

#include <sys/uio.h>

#include "base/types.h"

/* What is left of a request's vector. */
struct vec {
	struct iovec *iov;
	int n;
};

/*
 * Takes the first LEN bytes off V (which has as many) into PART, an array as
 * long as V's. The number of entries there. PART may be changed afterwards
 * without V noticing.
 */
int vec_take(struct vec *v, uint64_t len, struct iovec *part);

void vec_zero(const struct iovec *iov, int n);
/* Zeroes the first LEN bytes of V (which has as many), and takes them off. */
void vec_zero_front(struct vec *v, uint64_t len);
/* Copies bytes from FROM on into the vector until it is full. */
void vec_fill(const struct iovec *iov, int n, const void *from);

/*
 * Moves all bytes of V by MOVE, preadv() or pwritev(), from or to OFF of the
 * file, going on after short counts and EINTR. 0; -errno; -ENODATA when no
 * more can be moved: V is then what is left.
 */
typedef ssize_t vec_move_fn(int fd, const struct iovec *iov, int n, off_t off);
int vec_move(vec_move_fn *move, int fd, struct vec *v, uint64_t off);

/*
 * All bytes of IOV, which is changed, from or to OFF of the file. Behind the
 * end of the file there are zeros. 0 or -errno.
 */
int vec_read(int fd, struct iovec *iov, int n, uint64_t off);
int vec_write(int fd, struct iovec *iov, int n, uint64_t off);

#endif
