/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm.c - our own hypervisor as an engine: the machine of machine/pv.c, in
 * this process.
 */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/err.h"
#include "base/file.h"
#include "engine/snap_point.h"
#include "machine/parts.h"
#include "machine/pv.h"

struct ours {
	struct guest *guest;
	struct pv_parts parts;
	struct pv *machine;	/* NULL: none is built */
	int writer;		/* pidfd: writes a snapshot's memory; or -1 */
	struct watch writer_watch;
	char why[ERR_MAX];
};

static struct ours *ours(struct guest *g)
{
	return g->self;
}

static void on_machine(void *owner, enum pv_event e)
{
	static const enum guest_event events[] = {
		[PV_RESET] = GUEST_RESET, [PV_POWEROFF] = GUEST_POWEROFF,
		[PV_CRASH] = GUEST_CRASH, [PV_STALL] = GUEST_STALL,
	};
	struct ours *o = owner;

	o->guest->event(o->guest, events[e]);
}

static int open_on(struct guest *g, bool hardware)
{
	struct ours *o = g->self = calloc(1, sizeof(*o));
	int rc;

	if (!o)
		return fail(ENOMEM, "out of memory");
	o->guest = g;
	o->writer = -1;
	o->parts.loop = g->loop;
	o->parts.console = &g->console->chr;
	o->parts.event = on_machine;
	o->parts.owner = o;
	rc = parts_open(&o->parts, g->vm, g->conf, false);
	return rc < 0 ? rc : parts_open_kvm(&o->parts, hardware);
}

static int ours_open(struct guest *g)
{
	return open_on(g, true);
}

static int ours_open_any(struct guest *g)
{
	return open_on(g, false);
}

/* The writer goes on alone when the VM ends: what it writes is whole. */
static void forget_writer(struct ours *o)
{
	watch_remove(&o->writer_watch);
	close_fd(&o->writer);
	o->writer = -1;
}

static void ours_close(struct guest *g)
{
	if (ours(g)) {
		forget_writer(ours(g));
		parts_close(&ours(g)->parts);
	}
	free(take_ptr(g->self));
}

static int build(struct ours *o, bool paused)
{
	int rc;

	o->machine = calloc(1, sizeof(*o->machine));
	if (!o->machine)
		return fail(ENOMEM, "out of memory");
	rc = pv_init(o->machine, &o->parts);
	return rc < 0 ? rc : pv_start(o->machine, paused);
}

static int ours_enter(struct guest *g, bool paused)
{
	return build(ours(g), paused);
}

static void ours_leave(struct guest *g)
{
	struct ours *o = ours(g);

	g->console->chr.front = NULL;
	if (o && o->machine)
		pv_release(o->machine);
	if (o)
		free(take_ptr(o->machine));
}

static int ours_pause(struct guest *g)
{
	vcpus_pause(&ours(g)->machine->vcpus);
	return 0;
}

static int ours_resume(struct guest *g)
{
	pv_retry(ours(g)->machine);
	vcpus_resume(&ours(g)->machine->vcpus);
	return 0;
}

/* -- snapshots -- */

enum { STATE_MAX = 64 << 20 };

static void on_written(struct watch *w, uint32_t events)
{
	struct ours *o = container_of(w, struct ours, writer_watch);

	(void)events;
	watch_remove(w);
	pv_save_memory_end(take_fd(&o->writer));
}

static int push_disks(struct ours *o, const struct snap_point *p)
{
	int rc = 0;

	for (unsigned i = 0; i < p->n && rc == 0; i++) {
		unsigned disk = p->top[i].disk;

		rc = parts_push_disk(&o->parts, disk, p->top[i].path);
		if (rc == 0)
			rc = pv_set_disk(o->machine, disk,
					 o->parts.disk[disk]);
	}
	return rc;
}

static int write_state(int dir, const struct buf *state)
{
	autoclose int fd = file_open(dir, "dev", O_WRONLY | O_CREAT | O_TRUNC |
				     O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return fd;
	rc = write_all(fd, state->data, state->len);
	return rc < 0 ? fail(-rc, "dev: %s", strerror(-rc)) : 0;
}

static int write_memory(struct ours *o, const struct snap_point *p)
{
	autoclose int fd = file_open(p->dir, "mem", O_RDWR | O_CREAT |
				     O_NOFOLLOW, 0600);

	if (fd < 0)
		return fd;
	o->writer = pv_save_memory(o->machine, fd, p->report);
	if (o->writer < 0)
		return o->writer;
	return watch_add(o->guest->loop, &o->writer_watch, o->writer, EPOLLIN,
			 on_written);
}

/* All of P, while nothing moves. */
static int take_point(struct ours *o, const struct snap_point *p)
{
	autobuf struct buf state = BUF_INIT;
	int rc = p->dir < 0 ? 0 : pv_save(o->machine, &state);

	if (rc == 0)
		rc = push_disks(o, p);
	if (rc == 0 && p->dir >= 0)
		rc = write_memory(o, p);
	if (rc == 0 && p->dir >= 0)
		rc = write_state(p->dir, &state);
	return rc;
}

static int ours_snap(struct guest *g, const struct snap_point *p)
{
	struct ours *o = ours(g);
	int rc = snap_point_fits(p, &o->parts);

	if (rc == 0 && p->dir >= 0 && o->writer >= 0)
		rc = fail(E_BUSY, "the memory of another snapshot is still "
			  "being written");
	if (rc == 0)
		rc = pv_quiesce(o->machine);
	if (rc < 0)
		return rc;
	rc = take_point(o, p);
	pv_unquiesce(o->machine);
	return rc;
}

static int ours_rest(struct guest *g, unsigned i, const struct snap_rest *r)
{
	struct ours *o = ours(g);
	int rc = !o->parts.disk[i] || o->parts.disk[i]->readonly ?
		fail(E_CONFIG, "disk%u: the running VM does not write one", i) :
		pv_quiesce(o->machine);

	if (rc < 0)
		return rc;
	rc = parts_rest_disk(&o->parts, o->guest->vm, i, r->file, r->format);
	if (rc == 0)
		rc = pv_set_disk(o->machine, i, o->parts.disk[i]);
	pv_unquiesce(o->machine);
	return rc;
}

/* With the state and the memory of DIR, which stay open until it is built. */
static int restore_from(struct ours *o, struct buf *state, int mem)
{
	autofree struct sections *all = malloc(sizeof(*all));
	int rc = all ? sections_parse(all, state->data, state->len) :
		       fail(ENOMEM, "out of memory");

	if (rc < 0)
		return rc;
	o->parts.restore = all;
	o->parts.restore_mem = mem;
	rc = build(o, true);
	o->parts.restore = NULL;
	return rc;
}

static int ours_restore(struct guest *g, int dir)
{
	autobuf struct buf state = BUF_INIT;
	autoclose int mem = file_open(dir, "mem", O_RDONLY | O_NOFOLLOW, 0);
	int rc = mem < 0 ? mem : file_read(dir, "dev", &state, STATE_MAX);

	return rc < 0 ? rc : restore_from(ours(g), &state, mem);
}

static int ours_resize_disk(struct guest *g, unsigned i, uint64_t size)
{
	return pv_resize_disk(ours(g)->machine, i, size);
}

static int ours_limit_disk(struct guest *g, unsigned i,
			   const struct disk_conf *conf)
{
	return pv_limit_disk(ours(g)->machine, i, conf);
}

static int ours_press(struct guest *g)
{
	pv_press(ours(g)->machine);
	return 0;
}

static bool ours_listens(struct guest *g)
{
	return pv_listens(ours(g)->machine);
}

static void ours_status(struct guest *g, struct buf *lines)
{
	struct vcpu_exits exits = vcpus_exits(&ours(g)->machine->vcpus);

	buf_printf(lines, "exits=%" PRIu64 "\nexits_io=%" PRIu64
		   "\nexits_mmio=%" PRIu64 "\n",
		   exits.io + exits.mmio + exits.other, exits.io, exits.mmio);
}

static const char *ours_why(struct guest *g)
{
	struct ours *o = ours(g);

	if (o->machine->vcpus.crash[0])
		return o->machine->vcpus.crash;
	if (!pv_stalled(o->machine, o->why, sizeof(o->why)))
		o->why[0] = '\0';
	return o->why;
}

static int probe(void)
{
	return parts_probe_kvm(true);
}

static int probe_any(void)
{
	return parts_probe_kvm(false);
}

#define OURS						\
	.close = ours_close,			\
	.enter = ours_enter,			\
	.leave = ours_leave,			\
	.pause = ours_pause,			\
	.resume = ours_resume,			\
	.snap = ours_snap,			\
	.rest = ours_rest,			\
	.restore = ours_restore,		\
	.resize_disk = ours_resize_disk,	\
	.limit_disk = ours_limit_disk,		\
	.press = ours_press,			\
	.listens = ours_listens,			\
	.status = ours_status,			\
	.why = ours_why

const struct engine engine_kvm = {
	.name = "kvm",
	.probe = probe,
	.open = ours_open,
	OURS
};

const struct engine engine_kvm_any = {
	.name = "kvm-any",
	.probe = probe_any,
	.open = ours_open_any,
	OURS
};
