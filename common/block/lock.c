/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/lock.h"

#include <errno.h>
#include <fcntl.h>

#include "base/err.h"

/* Of the bytes; the same in every QEMU since 2.10. */
enum {
	HAVE_BASE = 100,
	DENY_BASE = 200,
};

/* Permissions, as bits. */
enum {
	READ = 1 << 0,
	WRITE = 1 << 1,
	WRITE_UNCHANGED = 1 << 2,
	RESIZE = 1 << 3,
	PERMISSIONS = 4,
};

/* What each does, and denies to others. */
static const struct usage {
	unsigned have, deny;
} usages[] = {
	[LOCK_READER] = { .have = READ, .deny = WRITE | RESIZE },
	[LOCK_WRITER] = { .have = READ | WRITE | WRITE_UNCHANGED,
			 .deny = WRITE | RESIZE },
	[LOCK_MERGER] = { .have = READ | WRITE_UNCHANGED,
			 .deny = WRITE | WRITE_UNCHANGED | RESIZE },
};

/* Takes shared locks on the bytes from BASE on that BITS name. */
static int hold(int fd, int base, unsigned bits)
{
	for (int i = 0; i < PERMISSIONS; i++) {
		struct flock l = {
			.l_type = F_RDLCK, .l_whence = SEEK_SET,
			.l_start = base + i, .l_len = 1,
		};

		if (!(bits & 1U << i) || fcntl(fd, F_OFD_SETLK, &l) == 0)
			continue;
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	}
	return 0;
}

/* Gives up those that BITS do not name, which cannot fail. */
static void let_go(int fd, int base, unsigned bits)
{
	for (int i = 0; i < PERMISSIONS; i++) {
		struct flock l = {
			.l_type = F_UNLCK, .l_whence = SEEK_SET,
			.l_start = base + i, .l_len = 1,
		};

		if (!(bits & 1U << i))
			fcntl(fd, F_OFD_SETLK, &l);
	}
}

/* 0 if nobody else holds any of those bytes, -EBUSY if one does. */
static int look(int fd, int base, unsigned bits)
{
	for (int i = 0; i < PERMISSIONS; i++) {
		struct flock l = {
			.l_type = F_WRLCK, .l_whence = SEEK_SET,
			.l_start = base + i, .l_len = 1,
		};

		if (!(bits & 1U << i))
			continue;
		if (fcntl(fd, F_OFD_GETLK, &l) < 0)
			return -errno;
		if (l.l_type != F_UNLCK)
			return -EBUSY;
	}
	return 0;
}

bool lock_alone(int fd)
{
	return look(fd, HAVE_BASE, (1U << PERMISSIONS) - 1) == 0;
}

int lock_disk(int fd, enum lock_use use)
{
	const struct usage *u = &usages[use];
	int rc = hold(fd, HAVE_BASE, u->have);

	if (rc == 0)
		rc = hold(fd, DENY_BASE, u->deny);
	/* Having said it before looking is what excludes a race. */
	if (rc == 0)
		rc = look(fd, DENY_BASE, u->have);
	if (rc == 0)
		rc = look(fd, HAVE_BASE, u->deny);
	if (rc == -EBUSY)
		return fail(E_BUSY, "in use by another process");
	errno = -rc;
	if (rc < 0)
		return fail_sys("lock");
	let_go(fd, HAVE_BASE, u->have);
	let_go(fd, DENY_BASE, u->deny);
	return 0;
}
