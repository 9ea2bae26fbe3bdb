/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/qemu_args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"

#define LIMIT_MAX 1000000000000000ULL	/* of a rate, QEMU's */

static void add_taken(struct qemu_args *a, char *arg)
{
	char **v = reallocarray(a->v, a->n + 2, sizeof(*v));

	if (v)
		a->v = v;
	if (!v || !arg) {
		free(arg);
		a->failed = true;
		return;
	}
	v[a->n++] = arg;
	v[a->n] = NULL;
}

static void PRINTF(2, 3) add(struct qemu_args *a, const char *fmt, ...)
{
	char *arg = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&arg, fmt, ap) < 0)
		arg = NULL;
	va_end(ap);
	add_taken(a, arg);
}

/* An option and its value. */
#define add_opt(a, name, ...) (add(a, "%s", "-" name), add(a, __VA_ARGS__))

static void add_machine(struct qemu_args *a, const struct vmconf *vc,
			const struct qemu_start *s)
{
	/* elevateprivileges=deny comes with no_new_privs */
	static const char sandbox[] = "on,obsolete=deny,elevateprivileges=deny,"
				      "spawn=deny,resourcecontrol=deny";
	static const char *const fixed[] = {
		"qemu-system-x86_64", "-nodefaults", "-no-user-config",
		"-display", "none", "-S",
		/* It stands at its end until we have seen why. */
		"-action", "reboot=shutdown,shutdown=pause",
		"-sandbox", sandbox,
	};
	static const char parts[] = "vmport=off,smbus=off,sata=off,usb=off,"
				    "dump-guest-core=off";

	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
		add(a, "%s", fixed[i]);
	if (s->major)
		add_opt(a, "machine", "pc-q35-%d.%d,%s", s->major, s->minor,
			parts);
	else
		add_opt(a, "machine", "q35,%s", parts);
	if (s->incoming)
		add_opt(a, "incoming", "defer");
	/* Five levels of page tables cost an emulated CPU time for nothing. */
	add_opt(a, "accel", "%s", s->kvm ? "kvm" : "tcg,thread=multi");
	add_opt(a, "cpu", "%s", s->kvm ? "host" : "max,la57=off");
	add_opt(a, "smp", "%u", vc->cpus);
	add_opt(a, "m", "%" PRIu64 "M", vc->memory >> 20);
}

static void add_kernel(struct qemu_args *a, const struct pv_parts *p)
{
	add_opt(a, "kernel", "/proc/self/fd/%d", p->kernel);
	if (p->initrd >= 0)
		add_opt(a, "initrd", "/proc/self/fd/%d", p->initrd);
	add_opt(a, "append", "%s", p->cmdline);
}

/* A text as part of an option: commas are doubled. */
static char *escaped(const char *text)
{
	struct buf b = BUF_INIT;

	for (; *text; text++) {
		buf_char(&b, *text);
		if (*text == ',')
			buf_char(&b, ',');
	}
	return buf_take(&b);
}

/*
 * The file of B and the disk in it, as nodes fileN and nodeN.
 * BELOW is the node that shows through it, -1: none. UNSAFE: not flushed.
 */
static void add_layer(struct qemu_args *a, const struct block *b,
		      enum disk_format format, bool unsafe, int n, int below)
{
	const char *ro = b->readonly ? "on" : "off";
	struct stat st = { 0 };
	int fd = block_fd(b);

	fstat(fd, &st);
	add_opt(a, "add-fd", "fd=%d,set=%d", fd, n);
	add_opt(a, "blockdev", "driver=%s,node-name=file%d,"
		"filename=/dev/fdset/%d,read-only=%s,auto-read-only=off,"
		"locking=off,discard=unmap%s", S_ISBLK(st.st_mode) ?
		"host_device" : "file", n, n, ro,
		unsafe ? ",cache.no-flush=on" : "");
	/* A size that is fixed cannot change, and need not be said. */
	if (format == FORMAT_RAW && (uint64_t)st.st_size == block_bytes(b))
		add_opt(a, "blockdev", "driver=raw,node-name=node%d,"
			"file=file%d,read-only=%s,discard=unmap", n, n, ro);
	else if (format == FORMAT_RAW)
		add_opt(a, "blockdev", "driver=raw,node-name=node%d,"
			"file=file%d,read-only=%s,discard=unmap,offset=0,"
			"size=%" PRIu64, n, n, ro, block_bytes(b));
	else if (below >= 0)
		add_opt(a, "blockdev", "driver=qcow2,node-name=node%d,"
			"file=file%d,read-only=%s,discard=unmap,backing=node%d",
			n, n, ro, below);
	else	/* what its header names is not to be opened */
		add_opt(a, "blockdev", "{\"driver\":\"qcow2\",\"node-name\":"
			"\"node%d\",\"file\":\"file%d\",\"read-only\":%s,"
			"\"discard\":\"unmap\",\"backing\":null}", n, n,
			b->readonly ? "true" : "false");
}

int qemu_args_node(int disk)
{
	return disk;
}

/* The N-th below the top of DISK. */
static int node_below(int disk, int n)
{
	return disk + n * VMCONF_DISKS;
}

/* The files of DISK, the lowest first; all but that are qcow2. */
static void add_layers(struct qemu_args *a, const struct pv_parts *p, int disk,
		       bool unsafe)
{
	enum disk_format format = p->below[disk];
	const struct block *b = p->disk[disk];
	int n = 0;

	for (; b->backing; b = b->backing)
		n++;
	if (!n)
		format = p->conf->disk[disk].format;
	for (int below = -1; n >= 0; n--, format = FORMAT_QCOW2) {
		int node = node_below(disk, n);

		b = p->disk[disk];
		for (int i = 0; i < n; i++)
			b = b->backing;
		add_layer(a, b, format, unsafe, node, below);
		below = node;
	}
}

static void add_disk(struct qemu_args *a, const struct pv_parts *p, int i)
{
	static const char *const werrors[] = {
		[WERROR_ENOSPC] = "enospc", [WERROR_STOP] = "stop",
		[WERROR_REPORT] = "report",
	};
	const struct block *b = p->disk[i];
	const struct disk_conf *d = &p->conf->disk[i];
	autofree char *serial = escaped(d->serial);

	add_layers(a, p, i, d->cache == CACHE_UNSAFE);
	add_opt(a, "device", "virtio-blk-pci,id=disk%d,addr=%#x,drive=node%d,"
		"disable-legacy=on,num-queues=%u,write-cache=%s,"
		"config-wce=%s,werror=%s,rerror=report,"
		"logical_block_size=%u,physical_block_size=4096%s%s", i,
		PV_SLOT_DISKS + i, qemu_args_node(i), vmconf_queues(p->conf, d),
		d->cache == CACHE_WRITETHROUGH ? "off" : "on",
		d->cache == CACHE_WRITETHROUGH ? "off" : "on",
		werrors[d->werror], b->block_size, serial && *serial ? ",serial=" : "", serial ? serial : "");
}

static void add_console(struct qemu_args *a, const struct qemu_fds *fds)
{
	static const char *const names[] = {
		[QEMU_COM] = "com1", [QEMU_HVC] = "hvc0",
	};

	for (int i = 0; i < QEMU_LINKS; i++)
		if (fds->link[i] >= 0)
			add_opt(a, "chardev", "socket,id=%s,fd=%d", names[i],
				fds->link[i]);
	add_opt(a, "device", "isa-serial,chardev=com1");
	if (fds->link[QEMU_HVC] < 0)
		return;
	add_opt(a, "device", "virtio-serial-pci,addr=%#x,max_ports=1,"
		"disable-legacy=on", PV_SLOT_CONSOLE);
	add_opt(a, "device", "virtconsole,chardev=hvc0");
}

int qemu_args_make(struct qemu_args *a, const struct pv_parts *p,
		   const struct qemu_fds *fds, const struct qemu_start *s)
{
	*a = (struct qemu_args){ 0 };
	add_machine(a, p->conf, s);
	add_kernel(a, p);
	add_opt(a, "chardev", "socket,id=qmp,fd=%d", fds->qmp);
	add_opt(a, "mon", "chardev=qmp,mode=control");
	add_console(a, fds);
	add_opt(a, "object", "rng-builtin,id=rng");
	add_opt(a, "device", "virtio-rng-pci,addr=%#x,rng=rng,"
		"disable-legacy=on", PV_SLOT_RNG);
	/* a guest that goes on from a snapshot hears of it by a new one */
	add_opt(a, "device", "vmgenid,guid=auto");
	for (int i = 0; i < VMCONF_DISKS; i++)
		if (p->disk[i])
			add_disk(a, p, i);
	if (!a->failed)
		return 0;
	qemu_args_release(a);
	return fail(ENOMEM, "out of memory");
}

/* A PCI device's disk is its virtio part's. */
void qemu_args_limits(char args[QEMU_LIMITS], unsigned disk,
		      const struct disk_conf *d)
{
	uint64_t bps = min_u64(d->bps.per_second, LIMIT_MAX),
		 iops = min_u64(d->iops.per_second, LIMIT_MAX);
	/* A burst below the rate is one that QEMU does not know. */
	uint64_t bps_max = d->bps.burst < bps ? 0 :
			   min_u64(d->bps.burst, LIMIT_MAX);
	uint64_t iops_max = d->iops.burst < iops ? 0 :
			    min_u64(d->iops.burst, LIMIT_MAX);

	snprintf(args, QEMU_LIMITS, "{\"id\":"
		 "\"/machine/peripheral/disk%u/virtio-backend\",\"bps\":%" PRIu64
		 ",\"bps_rd\":0,\"bps_wr\":0,\"iops\":%" PRIu64
		 ",\"iops_rd\":0,\"iops_wr\":0,\"bps_max\":%" PRIu64
		 ",\"iops_max\":%" PRIu64 "}", disk, bps, iops, bps_max,
		 iops_max);
}

void qemu_args_release(struct qemu_args *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->v[i]);
	free(a->v);
	*a = (struct qemu_args){ 0 };
}
