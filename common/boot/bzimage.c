/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/bzimage.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "boot/layout.h"
#include "boot/memmap.h"

enum {
	SETUP_AT = 0x1f1,	/* of the header, in the file and zero page */
	SETUP_LENGTH_AT = 0x201,	/* its end, minus 0x202 */
	SECTOR = 512,
	SECTS_DEFAULT = 4,	/* what setup_sects == 0 means */
	BOOT_FLAG = 0xaa55,
	VERSION_ENTRY_64 = 0x20c,
	XLF_KERNEL_64 = 1 << 0,
	ENTRY_64 = 0x200,	/* from the start of the code */
	LOADER_UNKNOWN = 0xff,
	PAGE = 4096,
	E820_MAX = 128,
};

/* boot.rst, "The real-mode kernel header"; from 0x1f1. */
struct setup_header {
	uint8_t setup_sects;
	le16 root_flags;
	le32 syssize;
	le16 ram_size, vid_mode, root_dev, boot_flag;
	uint8_t jump[2];
	uint8_t magic[4];	/* "HdrS" */
	le16 version;
	le32 realmode_swtch;
	le16 start_sys_seg, kernel_version;
	uint8_t type_of_loader, loadflags;
	le16 setup_move_size;
	le32 code32_start, ramdisk_image, ramdisk_size, bootsect_kludge;
	le16 heap_end_ptr;
	uint8_t ext_loader_ver, ext_loader_type;
	le32 cmd_line_ptr, initrd_addr_max, kernel_alignment;
	uint8_t relocatable_kernel, min_alignment;
	le16 xloadflags;
	le32 cmdline_size, hardware_subarch;
	le64 hardware_subarch_data;
	le32 payload_offset, payload_length;
	le64 setup_data, pref_address;
	le32 init_size, handover_offset, kernel_info_offset;
} __attribute__((packed));
static_assert(offsetof(struct setup_header, version) == 0x206 - SETUP_AT &&
	      offsetof(struct setup_header, pref_address) == 0x258 - SETUP_AT &&
	      sizeof(struct setup_header) == 0x26c - SETUP_AT, "boot.rst");

struct e820_entry {
	le64 addr, size;
	le32 type;
} __attribute__((packed));
static_assert(sizeof(struct e820_entry) == 20, "zero-page.rst");

/* zero-page.rst: what we fill in. */
struct zero_page {
	uint8_t pad1[0x70];
	le64 acpi_rsdp_addr;
	uint8_t pad2[0x1e8 - 0x78];
	uint8_t e820_entries;
	uint8_t pad3[SETUP_AT - 0x1e9];
	union {
		struct setup_header setup;
		uint8_t room[BZIMAGE_SETUP_MAX];
	};
	uint8_t pad4[0x2d0 - 0x290];
	struct e820_entry e820[E820_MAX];
	uint8_t pad5[PAGE - 0x2d0 - E820_MAX * sizeof(struct e820_entry)];
} __attribute__((packed));
static_assert(offsetof(struct zero_page, e820) == 0x2d0 &&
	      sizeof(struct zero_page) == PAGE, "zero-page.rst");

/* The header into H, zero beyond its own end. Whether it is a bzImage's. */
static bool read_setup(int fd, uint64_t file_bytes, struct setup_header *h)
{
	uint64_t end;

	memset(h, 0, sizeof(*h));
	if (!in_range(SETUP_AT, sizeof(*h), file_bytes) ||
	    pread_all(fd, h, sizeof(*h), SETUP_AT) < 0)
		return false;
	if (get_le16(h->boot_flag) != BOOT_FLAG || memcmp(h->magic, "HdrS", 4))
		return false;
	end = SETUP_LENGTH_AT + 1 + h->jump[1] - SETUP_AT;
	if (end < sizeof(*h))
		memset((uint8_t *)h + end, 0, sizeof(*h) - end);
	return true;
}

bool bzimage_is(int fd, uint64_t file_bytes)
{
	struct setup_header h;

	return read_setup(fd, file_bytes, &h);
}

/* Where in the file the code begins that runs after real mode. */
static uint64_t code_offset(const struct setup_header *h)
{
	unsigned sects = h->setup_sects ? h->setup_sects : SECTS_DEFAULT;

	return (sects + 1) * SECTOR;
}

static int check_setup(const struct setup_header *h, uint64_t file_bytes,
		       const char *name)
{
	unsigned version = get_le16(h->version);
	uint32_t align = get_le32(h->kernel_alignment);
	gpa_t load = get_le64(h->pref_address);

	if (version < VERSION_ENTRY_64 ||
	    !(get_le16(h->xloadflags) & XLF_KERNEL_64))
		return fail(E_CONFIG, "%s: a bzImage without a 64-bit entry "
			    "(boot protocol %u.%02u; Linux 3.8 or later, "
			    "built for 64 bits, has one)", name, version >> 8,
			    version & 0xff);
	if (file_bytes < code_offset(h) + ENTRY_64 + 1)
		return fail(E_CONFIG, "%s: a bzImage that ends before its "
			    "code (truncated?)", name);
	if (get_le32(h->syssize) > (file_bytes - code_offset(h) + 15) / 16)
		return fail(E_CONFIG, "%s: a bzImage shorter than its header "
			    "says (truncated?)", name);
	if (!align || align & (align - 1) || load & (align - 1) ||
	    load < PV_KERNEL_MIN || load >= PV_LOW_MAX)
		return fail(E_CONFIG, "%s: a bzImage for address 0x%llx, "
			    "which cannot be", name, (unsigned long long)load);
	return 0;
}

int bzimage_load(const struct mem *m, int fd, uint64_t file_bytes,
		 const char *name, struct bzimage *out)
{
	struct setup_header h;
	uint64_t code, bytes;
	char need[16], have[16];
	int rc;

	if (!read_setup(fd, file_bytes, &h))
		return fail(E_CONFIG, "%s: not a bzImage", name);
	rc = check_setup(&h, file_bytes, name);
	if (rc < 0)
		return rc;
	code = code_offset(&h);
	bytes = file_bytes - code;
	*out = (struct bzimage){
		.load = get_le64(h.pref_address),
		.initrd_max = get_le32(h.initrd_addr_max),
		.cmdline_max = get_le32(h.cmdline_size),
	};
	memcpy(out->setup, &h, sizeof(h));
	if (ckd_add(&out->end, out->load,
		    max_u64(bytes, get_le32(h.init_size))) ||
	    out->end > m->range[0].size)
		return fail(E_CONFIG, "%s: needs %s of memory, the VM has %s",
			    name, format_size(need, align_up(
			    out->load + max_u64(bytes, get_le32(h.init_size)),
			    1 << 20)), format_size(have, m->size));
	return mem_load(m, out->load, fd, code, bytes, name);
}

/* The first 4 GiB at themselves, by pages of 2 MiB (Intel SDM vol. 3A, 4.5). */
static int write_page_tables(const struct mem *m)
{
	enum { ENTRIES = 512, DIRS = 4, TABLE = 3, LARGE = 0x83 };
	const gpa_t pdpt = PV_PAGE_TABLES + PAGE, pd = pdpt + PAGE;
	le64 page[ENTRIES] = { to_le64(pdpt | TABLE) };
	int rc = mem_write(m, PV_PAGE_TABLES, page, sizeof(page));

	for (unsigned i = 0; i < DIRS; i++)
		page[i] = to_le64((pd + i * PAGE) | TABLE);
	if (rc == 0)
		rc = mem_write(m, pdpt, page, sizeof(page));
	for (unsigned d = 0; d < DIRS && rc == 0; d++) {
		for (uint64_t i = 0; i < ENTRIES; i++)
			page[i] = to_le64((d * ENTRIES + i) << 21 | LARGE);
		rc = mem_write(m, pd + d * PAGE, page, sizeof(page));
	}
	return rc;
}

static int write_gdt(const struct mem *m, struct cpu_entry *entry)
{
	/* 0x10: 64-bit code, 0x18: data, 0x20: a busy TSS */
	const le64 gdt[] = {
		to_le64(0), to_le64(0), to_le64(0x00af9b000000ffff),
		to_le64(0x00cf93000000ffff), to_le64(0x00008b0000000067),
		to_le64(0),
	};

	entry->gdt = PV_GDT;
	entry->gdt_bytes = sizeof(gdt);
	return mem_write(m, PV_GDT, gdt, sizeof(gdt));
}

static int write_zero_page(const struct mem *m, const struct bzimage *b,
			   const struct bzimage_params *p)
{
	struct memmap_entry map[MEMMAP_MAX];
	struct zero_page z = { 0 };

	memcpy(z.room, b->setup, sizeof(z.room));
	z.setup.type_of_loader = LOADER_UNKNOWN;
	z.setup.code32_start = to_le32(b->load);
	z.setup.cmd_line_ptr = to_le32(p->cmdline);
	z.setup.ramdisk_image = to_le32(p->initrd);
	z.setup.ramdisk_size = to_le32(p->initrd_bytes);
	z.setup.setup_data = to_le64(0);
	z.acpi_rsdp_addr = to_le64(p->rsdp);
	z.e820_entries = memmap_fill(m, map);
	for (unsigned i = 0; i < z.e820_entries; i++)
		z.e820[i] = (struct e820_entry){
			to_le64(map[i].base), to_le64(map[i].size),
			to_le32(map[i].type),
		};
	return mem_write(m, PV_ZERO_PAGE, &z, sizeof(z));
}

int bzimage_prepare(const struct mem *m, const struct bzimage *b,
		    const struct bzimage_params *p, struct cpu_entry *entry)
{
	int rc;

	*entry = (struct cpu_entry){
		.mode = ENTRY_LONG64, .rip = b->load + ENTRY_64,
		.rsi = PV_ZERO_PAGE, .cr3 = PV_PAGE_TABLES,
	};
	rc = write_zero_page(m, b, p);
	if (rc == 0)
		rc = write_page_tables(m);
	if (rc == 0)
		rc = write_gdt(m, entry);
	return rc;
}
