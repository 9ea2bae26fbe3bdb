/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "boot/kernel.h"
#include "boot/layout.h"
#include "image/disk.h"
#include "state/cache.h"
#include "state/image.h"

enum { OPEN_TRIES = 5 };

/* A regular file, for reading; WHAT is for the sentence, and in an image. */
static int open_file(const char *what, const char *ref)
{
	char room[IMAGE_PATH];
	const char *path = image_path(room, sizeof(room), ref, what);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return fail(E_CONFIG, "%s %s: no such file", what, ref);
	if (fd < 0)
		return fail_sys("%s %s", what, ref);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return fail(E_CONFIG, "%s %s: not a file", what, ref);
}

/* The kernel as it boots best: unpacked, where that was done before. */
static int open_kernel(struct pv_parts *p, const struct vm *vm)
{
	const char *path = p->conf->kernel;
	int unpacked;

	if (!path)
		return fail(E_CONFIG, "no kernel (vm-set %s kernel=FILE)",
			    vm->name);
	p->kernel = open_file("kernel", path);
	if (p->kernel < 0)
		return p->kernel;
	unpacked = cache_find(vm->store, p->kernel);
	if (unpacked >= 0) {
		close(p->kernel);
		p->kernel = unpacked;
	}
	return 0;
}

static int open_initrd(struct pv_parts *p)
{
	if (!p->conf->initrd)
		return 0;
	p->initrd = open_file("initrd", p->conf->initrd);
	return p->initrd < 0 ? p->initrd : 0;
}

/* What the person said, and the VM's console unless that says one. */
static int make_cmdline(struct pv_parts *p)
{
	const char *append = p->conf->append ? p->conf->append : "";
	struct buf b = BUF_INIT;

	if (!strstr(append, "console="))
		buf_printf(&b, "console=%s ", p->conf->console ==
			   CONSOLE_VIRTIO ? "hvc0" : "ttyS0");
	buf_str(&b, append);
	p->cmdline = buf_take(&b);
	return p->cmdline ? 0 : fail(ENOMEM, "out of memory");
}

/*
 * Another command may merge the disk's layers meanwhile: who read a name just
 * before it went reads the one that took its place.
 */
static int open_disk(struct pv_parts *p, const struct vm *vm, int i, bool files)
{
	static const struct timespec soon = { .tv_nsec = 20000000 };
	int rc = -ENOENT;

	for (int n = 0; rc == -ENOENT && n < OPEN_TRIES; n++) {
		if (n)
			nanosleep(&soon, NULL);
		rc = disk_open(&p->disk[i], vm->store, &p->conf->disk[i], files,
			       &p->below[i]);
	}
	return rc == -ENOENT ? -E_CONFIG : rc;
}

static int open_disks(struct pv_parts *p, const struct vm *vm, bool files)
{
	for (int i = 0; i < VMCONF_DISKS; i++) {
		int rc;

		if (!p->conf->disk[i].path)
			continue;
		rc = open_disk(p, vm, i, files);
		if (rc < 0)
			return fail_in(rc, "disk%d", i);
	}
	return 0;
}

int parts_open(struct pv_parts *p, const struct vm *vm,
	       const struct vmconf *conf, bool files)
{
	int rc;

	p->conf = conf;
	p->kvm = p->kernel = p->initrd = -1;
	p->cmdline = NULL;
	rc = open_kernel(p, vm);
	if (rc == 0)
		rc = open_initrd(p);
	if (rc == 0)
		rc = make_cmdline(p);
	return rc == 0 ? open_disks(p, vm, files) : rc;
}

int parts_push_disk(struct pv_parts *p, unsigned i, const char *path)
{
	int rc = disk_push(&p->disk[i], path);

	return rc < 0 ? fail_in(rc, "disk%u", i) : 0;
}

int parts_rest_disk(struct pv_parts *p, const struct vm *vm, unsigned i,
		    const char *below, enum disk_format format)
{
	int rc = disk_reopen(&p->disk[i], vm->store, &p->conf->disk[i], below,
			     format);

	return rc < 0 ? fail_in(rc, "disk%u", i) : 0;
}

int parts_probe_kvm(bool hardware)
{
	return kvm_probe(hardware);
}

int parts_open_kvm(struct pv_parts *p, bool hardware)
{
	int fd = kvm_open(hardware);

	p->kvm = fd;
	return fd < 0 ? fd : 0;
}

struct boot_params parts_boot(const struct pv_parts *p)
{
	return (struct boot_params){
		.kernel = p->kernel, .initrd = p->initrd,
		.kernel_name = p->conf->kernel,
		.initrd_name = p->conf->initrd,
		.cmdline = p->cmdline,
	};
}

int parts_try(const struct pv_parts *p)
{
	struct boot_params bp = parts_boot(p);
	struct cpu_entry entry;
	struct mem mem;
	int rc = mem_init(&mem, p->conf->memory, PV_LOW_MAX);

	if (rc < 0)
		return rc;
	rc = boot_load(&mem, &bp, &entry);
	mem_release(&mem);
	return rc;
}

void parts_close(struct pv_parts *p)
{
	for (int i = 0; i < VMCONF_DISKS; i++)
		block_close(take_ptr(p->disk[i]));
	free(take_ptr(p->cmdline));
	close_fd(&p->initrd);
	close_fd(&p->kernel);
	close_fd(&p->kvm);
	p->kvm = p->kernel = p->initrd = -1;
}
