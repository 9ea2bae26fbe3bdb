/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm.c - our own hypervisor as an engine: the machine of machine/pv.c, in
 * this process.
 */
#include "engine/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/err.h"
#include "machine/parts.h"
#include "machine/pv.h"

struct ours {
	struct guest *guest;
	struct pv_parts parts;
	struct pv *machine;	/* NULL: none is built */
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

static void ours_close(struct guest *g)
{
	if (ours(g))
		parts_close(&ours(g)->parts);
	free(take_ptr(g->self));
}

static int ours_enter(struct guest *g, bool paused)
{
	struct ours *o = ours(g);
	int rc;

	o->machine = calloc(1, sizeof(*o->machine));
	if (!o->machine)
		return fail(ENOMEM, "out of memory");
	rc = pv_init(o->machine, &o->parts);
	return rc < 0 ? rc : pv_start(o->machine, paused);
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
