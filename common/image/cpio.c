/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/cpio.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"

enum { HEADER = 6 + 13 * 8, ALIGN = 4 };

static int put(struct cpio *c, const void *data, size_t len)
{
	int rc = len ? write_all(c->fd, data, len) : 0;

	c->bytes += len;
	return rc < 0 ? fail(-rc, "cpio: %s", strerror(-rc)) : 0;
}

static int pad(struct cpio *c)
{
	static const char zeros[ALIGN];

	return put(c, zeros, align_up(c->bytes, ALIGN) - c->bytes);
}

int cpio_add(struct cpio *c, const struct cpio_entry *e)
{
	char head[HEADER + 1];
	int rc;

	snprintf(head, sizeof(head),
		 "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		 ++c->entries, e->mode, 0, 0, S_ISDIR(e->mode) ? 2 : 1, 0,
		 e->len, 0, 0, e->major, e->minor,
		 (unsigned)strlen(e->name) + 1, 0);
	rc = put(c, head, HEADER);
	if (rc == 0)
		rc = put(c, e->name, strlen(e->name) + 1);
	if (rc == 0)
		rc = pad(c);
	if (rc == 0)
		rc = put(c, e->data, e->len);
	return rc == 0 ? pad(c) : rc;
}

int cpio_end(struct cpio *c)
{
	return cpio_add(c, &(struct cpio_entry){ .name = "TRAILER!!!" });
}
