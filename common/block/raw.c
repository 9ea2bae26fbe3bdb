/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * raw.c - a disk that is a file, or a block device, byte for byte.
 *
 * Transfers go through the host's page cache: guest memory needs no
 * alignment, and fdatasync() makes durable what was written. Where nothing was
 * written the file has holes, on file systems that know them.
 */
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/log.h"
#include "block/vec.h"

enum { SECTOR = 512 };

struct raw {
	struct block block;
	int fd;
	bool device;
	atomic_int lost;	/* the first error of a flush, or 0 */
};

static struct raw *raw_of(struct block *b)
{
	return container_of(b, struct raw, block);
}

static int transfer(struct block *b, vec_move_fn *move, struct iovec *iov,
		    int n, uint64_t off)
{
	struct vec v = { iov, n };
	int rc = vec_move(move, raw_of(b)->fd, &v, off);

	/* someone cut the file short */
	return rc == -ENODATA ? -EIO : rc;
}

static int raw_readv(struct block *b, struct iovec *iov, int n, uint64_t off,
		     uint64_t len)
{
	(void)len;
	return transfer(b, preadv, iov, n, off);
}

static int raw_writev(struct block *b, struct iovec *iov, int n, uint64_t off,
		      uint64_t len)
{
	(void)len;
	return transfer(b, pwritev, iov, n, off);
}

static int raw_flush(struct block *b)
{
	struct raw *r = raw_of(b);
	int rc;

	while ((rc = fdatasync(r->fd)) < 0 && errno == EINTR)
		;
	/*
	 * Linux reports a page that could not be written once and then drops
	 * it; the next flush would succeed over lost data.
	 */
	if (rc < 0)
		atomic_store(&r->lost, -errno);
	return atomic_load(&r->lost);
}

static int fail_errno(void)
{
	return fail(errno, "%s", strerror(errno));
}

/* fallocate(), which devices know as well; 0 or -errno. */
static int allocate(const struct raw *r, int mode, uint64_t off, uint64_t len)
{
	int rc;

	while ((rc = fallocate(r->fd, mode, off, len)) < 0 && errno == EINTR)
		;
	return rc < 0 ? -errno : 0;
}

/*
 * Of a file, its range stays allocated or becomes a hole. A device does the
 * same with its own blocks, and can be written zeros to by the kernel.
 */
static int raw_zero(struct block *b, uint64_t off, uint64_t len, bool unmap)
{
	struct raw *r = raw_of(b);
	uint64_t range[] = { off, len };
	int rc = -EOPNOTSUPP;

	if (unmap)
		rc = allocate(r, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      off, len);
	if (rc == -EOPNOTSUPP)
		rc = allocate(r, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			      off, len);
	if (rc == -EOPNOTSUPP && r->device)
		rc = ioctl(r->fd, BLKZEROOUT, range) < 0 ? -errno : 0;
	return rc;
}

static int raw_discard(struct block *b, uint64_t off, uint64_t len)
{
	struct raw *r = raw_of(b);
	uint64_t range[] = { off, len };
	int rc;

	if (r->device)
		rc = ioctl(r->fd, BLKDISCARD, range) < 0 ? -errno : 0;
	else
		rc = allocate(r, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      off, len);
	return rc == -EOPNOTSUPP ? 0 : rc;
}

static int raw_resize(struct block *b, uint64_t size)
{
	struct raw *r = raw_of(b);

	if (r->device)
		return fail(E_CONFIG, "a block device has the size it has");
	if (size > INT64_MAX)
		return fail(EFBIG, "%s", strerror(EFBIG));
	/* What lay behind a size that was cut must not come into view. */
	if (size > b->size && ftruncate(r->fd, b->size) < 0)
		return fail_errno();
	if (ftruncate(r->fd, size) < 0)
		return fail_errno();
	block_set_bytes(b, size);
	return 0;
}

static int raw_map(struct block *b, uint64_t off, uint64_t len, bool write,
		   struct block_extent *e)
{
	(void)len;
	(void)write;
	*e = (struct block_extent){ .fd = raw_of(b)->fd, .off = off };
	return 0;
}

/*
 * A hole is known to be zeros up to the file's end. What a file cut short
 * lacks is none: who reads there shall hear of it.
 */
static int hole(int fd, uint64_t off, uint64_t data, uint64_t *n)
{
	off_t end = lseek(fd, 0, SEEK_END);

	*n = min_u64(*n, data - off);
	if (end < 0 || (uint64_t)end <= off)
		return BLOCK_DATA;
	*n = min_u64(*n, end - off);
	return BLOCK_ZERO;
}

static int raw_status(struct block *b, uint64_t off, uint64_t len, uint64_t *n)
{
	uint64_t mask = b->block_size - 1;
	int fd = raw_of(b)->fd, rc = BLOCK_DATA;
	off_t data = lseek(fd, off, SEEK_DATA), end;

	*n = len;
	if (data < 0 && errno != ENXIO)	/* cannot say */
		return BLOCK_DATA;
	if (data < 0)			/* none from here on */
		data = off + len;
	if ((uint64_t)data > off) {
		rc = hole(fd, off, data, n);
	} else {
		end = lseek(fd, off, SEEK_HOLE);
		if (end > data)
			*n = min_u64(len, end - off);
	}
	/* Both ends on the disk's blocks: a block with any data is data. */
	if (rc == BLOCK_ZERO && *n > mask)
		*n &= ~mask;
	else
		rc = BLOCK_DATA;
	*n = min_u64(len, align_up(*n, b->block_size));
	return rc;
}

static int raw_freeze(struct block *b)
{
	int rc = raw_flush(b);

	return rc < 0 ? rc : lock_disk(raw_of(b)->fd, LOCK_READER);
}

static int raw_fd(const struct block *b)
{
	return container_of(b, struct raw, block)->fd;
}

static void raw_close(struct block *b)
{
	close_fd(&raw_of(b)->fd);
	free(raw_of(b));
}

static const struct block_ops raw_ops = {
	.name = "raw",
	.readv = raw_readv,
	.writev = raw_writev,
	.flush = raw_flush,
	.zero = raw_zero,
	.discard = raw_discard,
	.resize = raw_resize,
	.map = raw_map,
	.status = raw_status,
	.fd = raw_fd,
	.freeze = raw_freeze,
	.close = raw_close,
};

static int check_kind(mode_t mode)
{
	if (S_ISREG(mode) || S_ISBLK(mode))
		return 0;
	return fail(E_CONFIG, "neither a regular file nor a block device");
}

/*
 * The descriptor, having the kind of *ST. What is neither file nor block
 * device is not even opened: a tape would rewind, a watchdog start.
 */
static int open_disk(int dirfd, const char *path, int flags, struct stat *st)
{
	bool follow = !(flags & O_NOFOLLOW);
	autoclose int fd = -1;
	int rc;

	/* should it become a FIFO meanwhile */
	flags |= O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	if (fstatat(dirfd, path, st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
		return fail_errno();
	rc = check_kind(st->st_mode);
	if (rc < 0)
		return rc;
	if (S_ISBLK(st->st_mode) && flags & O_RDWR)
		flags |= O_EXCL;	/* not mounted, not part of a volume */
	fd = openat(dirfd, path, flags);
	if (fd < 0 && errno == EBUSY)
		return fail(E_BUSY, "in use by the host");
	if (fd < 0 || fstat(fd, st) < 0)
		return fail_errno();
	rc = check_kind(st->st_mode);
	if (rc == 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		rc = fail_errno();
	return rc < 0 ? rc : take_fd(&fd);
}

/* Sets the size and the block size of B. */
static int measure(struct block *b, int fd, const struct stat *st,
		   const char *path)
{
	int block_size = SECTOR;
	uint64_t size = st->st_size;

	if (S_ISBLK(st->st_mode) && (ioctl(fd, BLKGETSIZE64, &size) < 0 ||
				     ioctl(fd, BLKSSZGET, &block_size) < 0))
		return fail_errno();
	if (block_size < SECTOR || block_size > BLOCK_SIZE_MAX ||
	    block_size & (block_size - 1))
		return fail(E_CONFIG, "has blocks of %d bytes", block_size);
	b->block_size = block_size;
	b->size = size - size % block_size;
	if (!b->size)
		return fail(E_CONFIG, "holds less than one block (%d bytes)",
			    block_size);
	if (b->size != size)
		log_line("disk %s: the last %d bytes, less than a block, "
			 "are not used", path, (int)(size - b->size));
	return 0;
}

static int open_raw(struct block **out, int dirfd, const char *path,
		    int follow, enum lock_use use)
{
	int flags = (use == LOCK_READER ? O_RDONLY : O_RDWR) | follow;
	autofree struct raw *r = calloc(1, sizeof(*r));
	autoclose int fd = -1;
	struct stat st;
	int rc;

	if (!r)
		return fail(ENOMEM, "%s: out of memory", path);
	rc = fd = open_disk(dirfd, path, flags, &st);
	if (rc >= 0)
		rc = lock_disk(fd, use);
	if (rc == 0)
		rc = measure(&r->block, fd, &st, path);
	if (rc < 0)
		return fail_in(rc, "%s", path);
	r->block.ops = &raw_ops;
	r->block.readonly = use == LOCK_READER;
	r->device = S_ISBLK(st.st_mode);
	r->fd = take_fd(&fd);
	*out = &take_ptr(r)->block;
	return 0;
}

int raw_open(struct block **out, const char *path, bool readonly)
{
	return open_raw(out, AT_FDCWD, path, 0,
			readonly ? LOCK_READER : LOCK_WRITER);
}

int raw_open_at(struct block **out, int dirfd, const char *name,
		enum lock_use use)
{
	return open_raw(out, dirfd, name, O_NOFOLLOW, use);
}
