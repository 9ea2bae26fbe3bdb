/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/ring.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>

#include "block/iov.h"

/*
 * The owner enters the kernel (to wait, or to read the eventfd) before it
 * looks for completions, and need not be interrupted for that. Linux 5.19.
 */
static int set_up(struct io_uring *u, unsigned depth)
{
	int rc = io_uring_queue_init(depth, u, IORING_SETUP_COOP_TASKRUN);

	return rc == -EINVAL ? io_uring_queue_init(depth, u, 0) : rc;
}

int ring_init(struct ring *r, unsigned depth, int fd, int event_fd)
{
	int rc = set_up(&r->uring, depth);

	if (rc < 0)
		return rc;
	rc = io_uring_register_eventfd(&r->uring, event_fd);
	if (rc < 0) {
		io_uring_queue_exit(&r->uring);
		return rc;
	}
	/* A child that writes the guest's memory keeps no file of ours open. */
	io_uring_ring_dontfork(&r->uring);
	r->fd = io_uring_register_files(&r->uring, &fd, 1) < 0 ? -1 : fd;
	return 0;
}

void ring_release(struct ring *r)
{
	/* The kernel frees a ring later; the file's lock must go now. */
	if (r->fd >= 0)
		io_uring_unregister_files(&r->uring);
	io_uring_queue_exit(&r->uring);
}

/*
 * How many entries of IO->rest lie in its extent, or are as many as the kernel
 * takes. The last of them is cut where the extent ends.
 */
static int entries(struct queue_io *io)
{
	uint64_t left = io->until - io->moved;
	int most = io->nrest < IOV_MAX ? io->nrest : IOV_MAX, n = 0;

	if (io->until == io->len)
		return most;
	while (n < most && left > io->rest[n].iov_len)
		left -= io->rest[n++].iov_len;
	if (n == most)
		return n;
	io->cut = &io->rest[n];
	io->cut_len = io->cut->iov_len - left;
	io->cut->iov_len = left;
	return n + 1;
}

/* FLAGS beside that of the registered file. */
static void put(struct ring *r, struct queue_io *io, unsigned flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
	bool registered = io->extent.fd == r->fd;
	uint64_t done = io->extent.len - (io->until - io->moved);

	assert(sqe);	/* each request has one at most */
	io_uring_prep_rw(io->op == QUEUE_READ ? IORING_OP_READV :
			 IORING_OP_WRITEV, sqe, registered ? 0 : io->extent.fd,
			 io->rest, entries(io), io->extent.off + done);
	io_uring_sqe_set_flags(sqe, flags |
			       (registered ? IOSQE_FIXED_FILE : 0));
	io_uring_sqe_set_data(sqe, io);
}

void ring_move(struct ring *r, struct queue_io *io)
{
	io->until = io->moved + io->extent.len;
	io->cut = NULL;
	put(r, io, 0);
}

bool ring_submit(struct ring *r)
{
	while (io_uring_sq_ready(&r->uring)) {
		int rc = io_uring_submit(&r->uring);

		if (rc <= 0 && rc != -EINTR)
			return false;
	}
	return true;
}

unsigned ring_ready(const struct ring *r)
{
	return io_uring_cq_ready(&r->uring);
}

/* Whether RES ends the move; if not, what is left is on its way again. */
static bool ended(struct ring *r, struct queue_io *io, int res)
{
	if (io->cut)
		io->cut->iov_len += io->cut_len;
	io->cut = NULL;
	if (res == -EINTR || res == -EAGAIN) {
		/* In a thread of the kernel's, which can wait. */
		put(r, io, IOSQE_ASYNC);
		return false;
	}
	/* 0: someone cut the file short. */
	io->rc = res ? res : -EIO;
	if (res <= 0)
		return true;
	io->rc = 0;
	io->moved += res;
	if (io->moved == io->len)
		return true;
	iov_advance(&io->rest, &io->nrest, res);
	if (io->moved == io->until)
		return true;
	put(r, io, 0);
	return false;
}

struct queue_io *ring_take(struct ring *r)
{
	struct io_uring_cqe *cqe;
	struct queue_io *io;
	int res;

	if (io_uring_peek_cqe(&r->uring, &cqe) < 0)
		return NULL;
	io = io_uring_cqe_get_data(cqe);
	res = cqe->res;
	io_uring_cqe_seen(&r->uring, cqe);
	return ended(r, io, res) ? io : NULL;
}
