/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iov.h - a vector of segments, gone through piece by piece.
 */
#ifndef BLOCK_IOV_H
#define BLOCK_IOV_H

#include <sys/uio.h>

#include "base/types.h"

/* The bytes of IOV together; UINT64_MAX if that many are not countable. */
static inline uint64_t iov_len(const struct iovec *iov, int n)
{
	uint64_t len = 0;

	for (int i = 0; i < n; i++)
		if (ckd_add(&len, len, iov[i].iov_len))
			return UINT64_MAX;
	return len;
}

/* Takes the first DONE bytes, and empty entries behind them, off the vector. */
static inline void iov_advance(struct iovec **iov, int *n, size_t done)
{
	for (; *n && (*iov)->iov_len <= done; (*iov)++, (*n)--)
		done -= (*iov)->iov_len;
	if (!done)
		return;
	(*iov)->iov_base = (char *)(*iov)->iov_base + done;
	(*iov)->iov_len -= done;
}

#endif
