/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/qemu_snap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/file.h"
#include "ctl/ctl.h"

#define MS 1000000ULL
#define CALL_NS (4000 * MS)
#define FLUSH_NS (30000 * MS)	/* what a disk's last writes may take */
#define STATE_NS (50000 * MS)	/* what memory may take; vm-snap waits 60 s */
#define LOOK_NS (2 * MS)	/* between two looks at it */

enum {
	FIRST_NODE = 1 << 16,	/* above those of any start */
	ARGS = 512,
	DEV_MAX = 4096,
};

void qemu_nodes_init(struct qemu_nodes *n)
{
	for (int i = 0; i < VMCONF_DISKS; i++)
		n->top[i] = qemu_args_node(i);
	n->next = FIRST_NODE;
}

/* -- disks -- */

/* A new layer on its way. */
struct push {
	unsigned disk;
	int node;
	struct block *top;	/* its file; NULL: it is not open */
};

/* Set N of QEMU's gets FD. */
static int give(struct qmp *q, int fd, int n)
{
	char args[48];

	snprintf(args, sizeof(args), "{\"fdset-id\":%d}", n);
	return qmp_give(q, fd, "add-fd", args, CALL_NS);
}

static int add_nodes(struct qmp *q, int n, bool unsafe)
{
	char args[ARGS];
	int rc;

	snprintf(args, sizeof(args), "{\"driver\":\"file\",\"node-name\":"
		 "\"file%d\",\"filename\":\"/dev/fdset/%d\",\"read-only\":false,"
		 "\"auto-read-only\":false,\"locking\":\"off\",\"discard\":"
		 "\"unmap\",\"cache\":{\"no-flush\":%s}}", n, n,
		 unsafe ? "true" : "false");
	rc = qmp_call(q, "blockdev-add", args, NULL, CALL_NS);
	if (rc < 0)
		return rc;
	/* what lies below comes by the transaction, not by its header */
	snprintf(args, sizeof(args), "{\"driver\":\"qcow2\",\"node-name\":"
		 "\"node%d\",\"file\":\"file%d\",\"read-only\":false,"
		 "\"discard\":\"unmap\",\"backing\":null}", n, n);
	return qmp_call(q, "blockdev-add", args, NULL, CALL_NS);
}

static void remove_nodes(struct qmp *q, int n)
{
	static const char *const names[] = { "node", "file" };
	char args[64];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(args, sizeof(args), "{\"node-name\":\"%s%d\"}",
			 names[i], n);
		qmp_call(q, "blockdev-del", args, NULL, CALL_NS);
	}
	snprintf(args, sizeof(args), "{\"fdset-id\":%d}", n);
	qmp_call(q, "remove-fd", args, NULL, CALL_NS);
}

/* The file of B once more, to be read. */
static int open_to_read(const struct block *b)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", block_fd(b));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? fail_sys("open a disk to read it") : fd;
}

/* QEMU has the new layer, which is on nothing yet. */
static int prepare(struct qmp *q, const struct qemu_nodes *n,
		   const struct pv_parts *parts, struct push *new,
		   const char *path)
{
	const struct disk_conf *d = &parts->conf->disk[new->disk];
	autoclose int old = open_to_read(parts->disk[new->disk]);
	int rc = old < 0 ? old : raw_open(&new->top, path, false);

	if (rc == 0)
		rc = give(q, block_fd(new->top), new->node);
	if (rc == 0)
		rc = add_nodes(q, new->node, d->cache == CACHE_UNSAFE);
	if (rc == 0)
		rc = give(q, old, n->top[new->disk]);
	return rc < 0 ? fail_in(rc, "disk%u", new->disk) : 0;
}

/* All of them at once, or none. */
static int put_over(struct qmp *q, const struct qemu_nodes *n,
		    const struct push *new, unsigned count)
{
	autobuf struct buf args = BUF_INIT;

	buf_str(&args, "{\"actions\":[");
	for (unsigned i = 0; i < count; i++)
		buf_printf(&args, "%s{\"type\":\"blockdev-snapshot\",\"data\":"
			   "{\"node\":\"node%d\",\"overlay\":\"node%d\"}}",
			   i ? "," : "", n->top[new[i].disk], new[i].node);
	buf_str(&args, "]}");
	if (args.failed)
		return fail(ENOMEM, "out of memory");
	return qmp_call(q, "transaction", args.data, NULL, FLUSH_NS);
}

/*
 * What the next QEMU is to have: the old file to be read only, below the new
 * one. Nobody but us can be in its way; should it fail, the file stays open
 * to be written, which nobody does.
 */
static void keep_below(struct pv_parts *parts, struct push *new)
{
	struct block *old = parts->disk[new->disk], *below = old;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", block_fd(old));
	if (block_freeze(old) == 0 && raw_open(&below, path, true) == 0) {
		below->backing = take_ptr(old->backing);
		block_close(old);
	}
	if (!below->backing)
		parts->below[new->disk] = parts->conf->disk[new->disk].format;
	new->top->block_size = below->block_size;
	new->top->backing = below;
	parts->disk[new->disk] = take_ptr(new->top);
}

static void undo(struct qmp *q, struct push *new, unsigned count)
{
	char why[ERR_MAX];

	snprintf(why, sizeof(why), "%s", err_text());
	for (unsigned i = 0; i < count; i++) {
		if (!new[i].top)
			continue;
		remove_nodes(q, new[i].node);
		block_close(new[i].top);
	}
	err_adopt(-1, why);
}

int qemu_push(struct qmp *q, struct qemu_nodes *n, struct pv_parts *parts,
	      const struct snap_point *p)
{
	struct push new[VMCONF_DISKS] = { 0 };
	int rc = 0;

	for (unsigned i = 0; i < p->n && rc == 0; i++) {
		new[i].disk = p->top[i].disk;
		new[i].node = n->next++;
		rc = prepare(q, n, parts, &new[i], p->top[i].path);
	}
	if (rc == 0 && p->n)
		rc = put_over(q, n, new, p->n);
	if (rc < 0) {
		undo(q, new, p->n);
		return rc;
	}
	for (unsigned i = 0; i < p->n; i++) {
		n->top[new[i].disk] = new[i].node;
		keep_below(parts, &new[i]);
	}
	return 0;
}

/* -- memory and devices -- */

/* Waits until the stream has gone through. */
static int await_stream(struct qmp *q, const char *what)
{
	uint64_t deadline = now_ns() + STATE_NS;

	for (;;) {
		autobuf struct buf status = BUF_INIT;
		int rc = qmp_call(q, "query-migrate", NULL, &status, CALL_NS);

		if (rc < 0)
			return rc;
		if (!strcmp(status.data, "completed"))
			return 0;
		if (!strcmp(status.data, "failed") ||
		    !strcmp(status.data, "cancelled"))
			return fail(EIO, "QEMU could not %s", what);
		if (now_ns() > deadline) {
			qmp_call(q, "migrate_cancel", NULL, NULL, CALL_NS);
			return fail(E_TIMEOUT, "QEMU takes too long to %s",
				    what);
		}
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
	}
}

static int write_dev(int dir, const struct qemu_start *s)
{
	autoclose int fd = file_open(dir, "dev", O_WRONLY | O_CREAT | O_TRUNC |
				     O_NOFOLLOW, 0600);
	char text[64];
	int rc, n = snprintf(text, sizeof(text), "qemu=%d.%d\naccel=%s\n",
			     s->major, s->minor, s->kvm ? "kvm" : "tcg");

	if (fd < 0)
		return fd;
	rc = write_all(fd, text, n);
	return rc < 0 ? fail(-rc, "dev: %s", strerror(-rc)) : 0;
}

/* A file is as fast as it is; a network would not be. */
static const char no_limit[] = "{\"max-bandwidth\":1099511627776}";
static const char fd_name[] = "{\"fdname\":\"snap\"}";
static const char fd_uri[] = "{\"uri\":\"fd:snap\"}";

int qemu_save(struct qmp *q, int dir, const struct qemu_start *s)
{
	autoclose int fd = file_open(dir, "mem", O_WRONLY | O_CREAT | O_TRUNC |
				     O_NOFOLLOW, 0600);
	int rc = fd < 0 ? fd : write_dev(dir, s);

	if (rc == 0)
		rc = qmp_call(q, "migrate-set-parameters", no_limit, NULL,
			      CALL_NS);
	if (rc == 0)
		rc = qmp_give(q, fd, "getfd", fd_name, CALL_NS);
	if (rc == 0)
		rc = qmp_call(q, "migrate", fd_uri, NULL, CALL_NS);
	if (rc == 0)
		rc = await_stream(q, "write the memory");
	if (rc == 0 && fdatasync(fd) < 0)
		rc = fail_sys("mem");
	return rc;
}

int qemu_load_start(int dir, struct qemu_start *s)
{
	autobuf struct buf text = BUF_INIT;
	char version[24], accel[8];
	int rc = file_read(dir, "dev", &text, DEV_MAX);

	if (rc < 0)
		return rc;
	if (!ctl_value(text.data, "qemu", version, sizeof(version)) ||
	    sscanf(version, "%4d.%4d", &s->major, &s->minor) != 2 ||
	    !ctl_value(text.data, "accel", accel, sizeof(accel)))
		return fail(E_CONFIG, "dev: not what QEMU's state is from");
	if (!strcmp(accel, "kvm") && !s->kvm)
		return fail(E_HOST, "its memory was taken with KVM, which is "
			    "not to be had here");
	s->kvm = !strcmp(accel, "kvm");
	s->incoming = true;
	return 0;
}

int qemu_load(struct qmp *q, int dir)
{
	autoclose int fd = file_open(dir, "mem", O_RDONLY | O_NOFOLLOW, 0);
	int rc = fd < 0 ? fd : qmp_give(q, fd, "getfd", fd_name, CALL_NS);

	if (rc == 0)
		rc = qmp_call(q, "migrate-incoming", fd_uri, NULL, CALL_NS);
	return rc < 0 ? rc : await_stream(q, "read the memory");
}
