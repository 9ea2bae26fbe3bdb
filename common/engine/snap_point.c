/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/snap_point.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "ctl/ctl.h"

enum { PATH_BYTES = 512, META_MAX = 64 << 10 };

static const char layers[] = "disk/", snapshots[] = "snap/";

int snap_point_open(const char *name)
{
	char path[PATH_BYTES];
	int fd;

	if (strchr(name, '/') || !strcmp(name, "..") || strlen(name) > 255)
		return fail(E_USAGE, "'%.80s': not a snapshot", name);
	snprintf(path, sizeof(path), "%s%s", snapshots, name);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return fail(E_NOENT, "%s: no such snapshot", name);
	return fd < 0 ? fail_sys("%s", path) : fd;
}

/* WORD, "N=FILE", into TOP. */
static int read_top(struct snap_top *top, char *word)
{
	const char *number = cut(&word, '='), *file;
	uint64_t n;
	int rc = parse_u64("disk", number, &n);

	if (rc < 0)
		return rc;
	if (n >= VMCONF_DISKS)
		return fail(E_USAGE, "disk %s: 0 to %d", number,
			    VMCONF_DISKS - 1);
	if (!word || !starts_with(word, layers, &file) || !name_ok(file))
		return fail(E_USAGE, "disk %s: no layer of the VM's", number);
	*top = (struct snap_top){ .disk = n, .path = word };
	return 0;
}

/* STAGE and the pipe whose reading end the asker gets. */
static int open_target(struct snap_point *p, const char *stage, int *fd)
{
	int fds[2];

	p->dir = snap_point_open(stage);
	if (p->dir < 0)
		return p->dir;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return fail_sys("pipe");
	*fd = fds[0];
	p->report = fds[1];
	return 0;
}

int snap_point_read(struct snap_point *p, int argc, char **argv, int *fd)
{
	int rc = 0;

	*p = (struct snap_point){ .dir = -1, .report = -1 };
	if (argc < 1)
		return fail(E_USAGE, "snap: STAGE DISK=FILE...");
	for (int i = 1; i < argc && rc == 0; i++)
		rc = read_top(&p->top[p->n++], argv[i]);
	if (rc == 0 && strcmp(argv[0], "-"))
		rc = open_target(p, argv[0], fd);
	if (rc < 0)
		snap_point_release(p);
	return rc;
}

int snap_rest_read(struct snap_rest *r, int argc, char **argv)
{
	int format = argc == 3 ? find_word(disk_formats, argv[2]) : 0;

	if ((argc != 1 && argc != 3) || format < 0)
		return fail(E_USAGE, "rest: DISK [FILE raw|qcow2]");
	if (argc == 3 && !name_ok(argv[1]))
		return fail(E_USAGE, "'%.80s': no layer of the VM's", argv[1]);
	*r = (struct snap_rest){ .file = argc == 3 ? argv[1] : NULL,
				 .format = format };
	return 0;
}

void snap_point_release(struct snap_point *p)
{
	close_fd(&p->dir);
	close_fd(&p->report);
	p->dir = p->report = -1;
}

int snap_point_fits(const struct snap_point *p, const struct pv_parts *parts)
{
	unsigned given = 0, has = 0;

	for (unsigned i = 0; i < p->n; i++)
		given |= 1U << p->top[i].disk;
	for (unsigned i = 0; i < VMCONF_DISKS; i++)
		if (parts->disk[i] && !parts->disk[i]->readonly)
			has |= 1U << i;
	if (given == has)
		return 0;
	return fail(E_CONFIG, "the disks of its config are not those it runs "
		    "with (they are from the next boot on)");
}

int snap_point_is_of(int dir, const char *engine)
{
	autobuf struct buf meta = BUF_INIT;
	char of[16] = "";
	int rc = file_read(dir, "meta", &meta, META_MAX);

	if (rc < 0)
		return rc;
	if (starts_with(engine, "kvm", NULL))
		engine = "kvm";		/* kvm-any is ours, too */
	if (!ctl_value(meta.data, "engine", of, sizeof(of)) ||
	    !strcmp(of, engine))
		return 0;
	return fail(E_HOST, "its memory was taken by the engine %s, and this "
		    "is %s (vm-boot --engine %s)", of, engine, of);
}
