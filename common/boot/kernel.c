/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/kernel.h"

#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "boot/bzimage.h"
#include "boot/elf.h"
#include "boot/layout.h"
#include "boot/pvh.h"

enum {
	PAGE = 4096,
	/* Linux's COMMAND_LINE_SIZE on x86; it cuts silently. */
	CMDLINE_LINUX = 2047,
};

struct initrd {
	gpa_t base;
	uint64_t bytes;		/* 0: none */
};

static int file_size(int fd, const char *name, uint64_t *bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail_sys("%s", name);
	if (!S_ISREG(st.st_mode))
		return fail(E_CONFIG, "%s: not a regular file", name);
	*bytes = st.st_size;
	return 0;
}

/* Both kinds of kernel find it at PV_CMDLINE. */
static int load_cmdline(const struct mem *m, const char *cmdline, size_t max)
{
	size_t len = strlen(cmdline);

	max = min_u64(max, PV_CMDLINE_MAX - 1);
	if (len > max)
		return fail(E_CONFIG, "kernel command line: %zu bytes, the "
			    "kernel takes %zu", len, max);
	return mem_write(m, PV_CMDLINE, cmdline, len + 1);
}

/*
 * As high as it can be, so that it is out of the kernel's way: below the end
 * of RAM and of what the kernel can reach (LIMIT), above the kernel's END.
 */
static int place_initrd(const struct mem *m, const char *name, gpa_t end,
			gpa_t limit, struct initrd *i)
{
	uint64_t bytes = align_up(i->bytes, PAGE);
	char size[16], text[16], have[16];

	end = align_up(end, PAGE);
	limit = min_u64(limit, PV_LOW_MAX) & ~(uint64_t)(PAGE - 1);
	if (limit < end || bytes > limit - end)
		return fail(E_CONFIG, "%s: %s is too much; kernel and initrd "
			    "must lie below %s", name,
			    format_size(size, i->bytes),
			    format_size(text, limit));
	if (end + bytes > m->range[0].size)
		return fail(E_CONFIG, "%s: with its %s the kernel needs %s of "
			    "memory, the VM has %s", name,
			    format_size(size, i->bytes),
			    format_size(text, align_up(end + bytes, 1 << 20)),
			    format_size(have, m->size));
	i->base = (min_u64(limit, m->range[0].size) - bytes) &
		  ~(uint64_t)(PAGE - 1);
	return 0;
}

static int load_initrd(const struct mem *m, const struct boot_params *p,
		       gpa_t end, gpa_t limit, struct initrd *i)
{
	int rc;

	*i = (struct initrd){ 0 };
	if (p->initrd < 0)
		return 0;
	rc = file_size(p->initrd, p->initrd_name, &i->bytes);
	if (rc == 0)
		rc = place_initrd(m, p->initrd_name, end, limit, i);
	if (rc == 0)
		rc = mem_load(m, i->base, p->initrd, 0, i->bytes,
			      p->initrd_name);
	return rc;
}

static int boot_elf(const struct mem *m, const struct boot_params *p,
		    uint64_t bytes, struct cpu_entry *entry)
{
	struct elf_kernel elf;
	struct initrd initrd;
	int rc = elf_load(m, p->kernel, bytes, p->kernel_name, &elf);

	if (rc == 0)
		rc = load_cmdline(m, p->cmdline, CMDLINE_LINUX);
	if (rc == 0)
		rc = load_initrd(m, p, elf.end, PV_LOW_MAX, &initrd);
	if (rc < 0)
		return rc;
	return pvh_prepare(m, &(struct pvh_params){
		.entry = elf.entry, .cmdline = PV_CMDLINE,
		.initrd = initrd.base, .initrd_bytes = initrd.bytes,
		.rsdp = p->rsdp,
	}, entry);
}

static int boot_bzimage(const struct mem *m, const struct boot_params *p,
			uint64_t bytes, struct cpu_entry *entry)
{
	struct bzimage b;
	struct initrd initrd;
	int rc = bzimage_load(m, p->kernel, bytes, p->kernel_name, &b);

	if (rc == 0)
		rc = load_cmdline(m, p->cmdline, b.cmdline_max);
	if (rc == 0)
		rc = load_initrd(m, p, b.end, b.initrd_max + 1, &initrd);
	if (rc < 0)
		return rc;
	return bzimage_prepare(m, &b, &(struct bzimage_params){
		.cmdline = PV_CMDLINE, .initrd = initrd.base,
		.initrd_bytes = initrd.bytes, .rsdp = p->rsdp,
	}, entry);
}

int boot_load(const struct mem *m, const struct boot_params *p,
	      struct cpu_entry *entry)
{
	uint8_t head[4];
	uint64_t bytes;
	int rc = file_size(p->kernel, p->kernel_name, &bytes);

	if (rc < 0)
		return rc;
	if (m->range[0].size <= PV_KERNEL_MIN)
		return fail(E_CONFIG, "memory: no kernel runs in 1M");
	rc = bytes < sizeof(head) ? -1 :
		pread_all(p->kernel, head, sizeof(head), 0);
	if (rc == 0 && elf_is(head, sizeof(head)))
		rc = boot_elf(m, p, bytes, entry);
	else if (rc == 0 && bzimage_is(p->kernel, bytes))
		rc = boot_bzimage(m, p, bytes, entry);
	else
		return fail(E_CONFIG, "%s: neither an ELF kernel with a PVH "
			    "entry nor a bzImage", p->kernel_name);
	return rc;
}
