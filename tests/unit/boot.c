/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * boot.c - kernels that are good, broken and hostile; what stands in memory
 * when one is entered; the ACPI tables.
 */
#include "test.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/err.h"
#include "boot/acpi.h"
#include "boot/kernel.h"
#include "boot/layout.h"
#include "boot/memmap.h"

#define MIB (1ULL << 20)

enum {
	ELF_CODE = 0x1000, ELF_NOTES = 0x200, ELF_SIZE = 0x1100,
	PH_LOAD = 64, PH_NOTE = 64 + 56,
	PH_OFFSET = 8, PH_PADDR = 24, PH_FILESZ = 32, PH_MEMSZ = 40,
	KERNEL = 0x1000000,
};

static void put(uint8_t *at, uint64_t v, unsigned size)
{
	v = htole64(v);
	memcpy(at, &v, size);
}

static uint64_t get(const struct mem *m, gpa_t gpa, unsigned size)
{
	uint64_t v = 0;

	return mem_read(m, gpa, &v, size) == 0 ? le64toh(v) : 0xdead;
}

/* A file that holds DATA, to be read by its descriptor. */
static int file_of(const void *data, size_t len)
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	if (len && pwrite(fd, data, len, 0) != (ssize_t)len)
		return -1;
	return fd;
}

/* A correct kernel of one segment, 0x100 bytes of 'K' and as many of bss. */
static void make_elf(uint8_t f[ELF_SIZE])
{
	memset(f, 0, ELF_SIZE);
	memcpy(f, "\177ELF\2\1\1", 7);
	put(f + 18, 62, 2);		/* machine */
	put(f + 32, 64, 8);		/* phoff */
	put(f + 54, 56, 2);		/* phentsize */
	put(f + 56, 2, 2);		/* phnum */
	put(f + PH_LOAD, 1, 4);
	put(f + PH_LOAD + PH_OFFSET, ELF_CODE, 8);
	put(f + PH_LOAD + PH_PADDR, KERNEL, 8);
	put(f + PH_LOAD + PH_FILESZ, 0x100, 8);
	put(f + PH_LOAD + PH_MEMSZ, 0x200, 8);
	put(f + PH_NOTE, 4, 4);
	put(f + PH_NOTE + PH_OFFSET, ELF_NOTES, 8);
	put(f + PH_NOTE + PH_FILESZ, 20 + 20, 8);
	/* a note of someone else first */
	put(f + ELF_NOTES, 4, 4);
	put(f + ELF_NOTES + 4, 4, 4);
	put(f + ELF_NOTES + 8, 3, 4);
	memcpy(f + ELF_NOTES + 12, "GNU", 4);
	put(f + ELF_NOTES + 20, 4, 4);
	put(f + ELF_NOTES + 24, 4, 4);
	put(f + ELF_NOTES + 28, 18, 4);
	memcpy(f + ELF_NOTES + 32, "Xen", 4);
	put(f + ELF_NOTES + 36, KERNEL + 0x10, 4);
	memset(f + ELF_CODE, 'K', 0x100);
}

/* Loads LEN bytes of F in a VM of SIZE; the memory stays in *M. */
static int boot_sized(struct mem *m, uint64_t size, const uint8_t *f,
		      size_t len, struct cpu_entry *entry)
{
	struct boot_params p = {
		.kernel = file_of(f, len), .initrd = -1, .kernel_name = "k",
		.cmdline = "console=ttyS0", .rsdp = PV_ACPI_BASE,
	};
	int rc = mem_init(m, size, PV_LOW_MAX);

	if (rc == 0)
		rc = boot_load(m, &p, entry);
	close(p.kernel);
	return rc;
}

/* The same for its result alone. */
static int boot(const uint8_t *f, size_t len)
{
	struct cpu_entry entry;
	struct mem m;
	int rc = boot_sized(&m, 32 * MIB, f, len, &entry);

	mem_release(&m);
	return rc;
}

/* Whether the sentence has PART in it; if not, shows both. */
static bool says(const char *part)
{
	if (strstr(err_text(), part))
		return true;
	printf("# \"%s\" lacks \"%s\"\n", err_text(), part);
	return false;
}

TEST(elf_is_loaded_and_entered_by_its_note)
{
	uint8_t f[ELF_SIZE];
	struct cpu_entry e;
	struct mem m;

	make_elf(f);
	EQ(boot_sized(&m, 32 * MIB, f, sizeof(f), &e), 0);
	EQ(e.mode, ENTRY_PVH);
	EQ(e.rip, KERNEL + 0x10);
	EQ(e.rbx, PV_START_INFO);
	EQ(get(&m, KERNEL, 1), 'K');
	EQ(get(&m, KERNEL + 0xff, 1), 'K');
	EQ(get(&m, KERNEL + 0x100, 8), 0);
	mem_release(&m);
}

TEST(pvh_start_info_tells_all)
{
	uint8_t f[ELF_SIZE];
	struct cpu_entry e;
	struct mem m;
	uint64_t map;

	make_elf(f);
	EQ(boot_sized(&m, 32 * MIB, f, sizeof(f), &e), 0);
	EQ(get(&m, e.rbx, 4), 0x336ec578);
	EQ(get(&m, e.rbx + 4, 4), 1);
	EQ(get(&m, e.rbx + 12, 4), 0);
	EQ(get(&m, get(&m, e.rbx + 24, 8), 4), 0x736e6f63);	/* "cons" */
	EQ(get(&m, e.rbx + 32, 8), PV_ACPI_BASE);
	map = get(&m, e.rbx + 40, 8);
	EQ(get(&m, e.rbx + 48, 4), 5);
	EQ(get(&m, map, 8), 0);
	EQ(get(&m, map + 8, 8), 0xa0000);
	EQ(get(&m, map + 16, 4), MEMMAP_RAM);
	EQ(get(&m, map + 24, 8), PV_ACPI_BASE);
	EQ(get(&m, map + 24 + 16, 4), MEMMAP_RESERVED);
	EQ(get(&m, map + 48, 8), 1 * MIB);
	EQ(get(&m, map + 48 + 8, 8), 31 * MIB);
	mem_release(&m);
}

TEST(memory_map_ascends_without_overlap)
{
	struct memmap_entry map[MEMMAP_MAX];
	struct mem m;
	uint64_t ram = 0;
	int n;

	EQ(mem_init(&m, 5ULL << 30, PV_LOW_MAX), 0);
	n = memmap_fill(&m, map);
	EQ(n, 6);
	for (int i = 0; i < n; i++) {
		if (i)
			OK(map[i - 1].base + map[i - 1].size <= map[i].base);
		if (map[i].type == MEMMAP_RAM)
			OK(mem_valid(&m, map[i].base, map[i].size));
		ram += map[i].type == MEMMAP_RAM ? map[i].size : 0;
	}
	/* all but the hole from 640K to 1M */
	EQ(ram, (5ULL << 30) - 0x60000);
	mem_release(&m);
}

TEST(note_of_8_bytes_is_understood)
{
	uint8_t f[ELF_SIZE];

	make_elf(f);
	put(f + ELF_NOTES + 24, 8, 4);
	put(f + PH_NOTE + PH_FILESZ, 44, 8);
	EQ(boot(f, sizeof(f)), 0);
	put(f + ELF_NOTES + 40, 1, 4);		/* above 4 GiB */
	EQ(boot(f, sizeof(f)), -E_CONFIG);
}

/* One field of a good ELF file spoilt, and what is then said. */
static const struct {
	unsigned at;
	uint64_t v;
	unsigned size;
	const char *says;
} bad_elf[] = {
	{ 4, 1, 1, "not for 64-bit x86" },
	{ 5, 2, 1, "not for 64-bit x86" },
	{ 18, 183, 2, "not for 64-bit x86" },
	{ 32, ELF_SIZE - 60, 8, "table of segments lies beyond" },
	{ 32, UINT64_MAX - 16, 8, "table of segments lies beyond" },
	{ 54, 32, 2, "usable table" },
	{ 56, 0, 2, "usable table" },
	{ 56, 0xffff, 2, "usable table" },
	{ PH_LOAD + PH_OFFSET, ELF_SIZE, 8, "beyond the end" },
	{ PH_LOAD + PH_OFFSET, UINT64_MAX - 0x7f, 8, "beyond the end" },
	{ PH_LOAD + PH_FILESZ, 0x101, 8, "beyond the end" },
	{ PH_LOAD + PH_FILESZ, 0x201, 8, "longer in the file" },
	{ PH_LOAD + PH_FILESZ, UINT64_MAX, 8, "longer in the file" },
	{ PH_LOAD + PH_FILESZ, 0x10, 8, "lies in no segment" },
	{ PH_LOAD + PH_MEMSZ, UINT64_MAX, 8, "from 3 GiB on" },
	{ PH_LOAD + PH_MEMSZ, 20 * MIB, 8, "needs 36M of memory, the VM has 32M" },
	{ PH_LOAD + PH_PADDR, 0x9000, 8, "lies in no segment" },
	{ PH_LOAD + PH_PADDR, UINT64_MAX - 0x100, 8, "lies in no segment" },
	{ PH_NOTE, 5, 4, "without a PVH entry" },
	{ PH_NOTE + PH_OFFSET, ELF_SIZE - 8, 8, "ELF notes lies beyond" },
	{ PH_NOTE + PH_OFFSET, UINT64_MAX, 8, "ELF notes lies beyond" },
	{ PH_NOTE + PH_FILESZ, UINT64_MAX, 8, "more than 64K" },
	{ PH_NOTE + PH_FILESZ, 36, 8, "overrun" },
	{ PH_NOTE + PH_FILESZ, 20, 8, "without a PVH entry" },
	{ PH_NOTE + PH_FILESZ, 0, 8, "without a PVH entry" },
	{ ELF_NOTES, UINT32_MAX, 4, "overrun" },
	{ ELF_NOTES + 4, UINT32_MAX, 4, "overrun" },
	{ ELF_NOTES + 20, 0xfffffffd, 4, "overrun" },
	{ ELF_NOTES + 24, 3, 4, "PVH entry of 3 bytes" },
	{ ELF_NOTES + 24, 8, 4, "overrun" },
	{ ELF_NOTES + 28, 17, 4, "without a PVH entry" },
	{ ELF_NOTES + 32, 'Y', 1, "without a PVH entry" },
	{ ELF_NOTES + 36, 0x10, 4, "lies in no segment" },
};

TEST(elf_that_lies_is_refused_in_words)
{
	uint8_t f[ELF_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(bad_elf); i++) {
		make_elf(f);
		put(f + bad_elf[i].at, bad_elf[i].v, bad_elf[i].size);
		EQ(boot(f, sizeof(f)), -E_CONFIG);
		OK(says(bad_elf[i].says));
		OK(!strncmp(err_text(), "k: ", 3));
	}
}

/* Moves the segment and its entry to PADDR. */
static int boot_at(uint64_t paddr)
{
	uint8_t f[ELF_SIZE];

	make_elf(f);
	put(f + PH_LOAD + PH_PADDR, paddr, 8);
	put(f + ELF_NOTES + 36, paddr, 4);
	return boot(f, sizeof(f));
}

TEST(elf_goes_only_where_ram_is)
{
	EQ(boot_at(1 * MIB), 0);
	EQ(boot_at(32 * MIB - 0x200), 0);
	EQ(boot_at(32 * MIB - 0x1ff), -E_CONFIG);
	EQ(boot_at(1 * MIB - 1), -E_CONFIG);
	EQ(boot_at(PV_START_INFO), -E_CONFIG);
	EQ(boot_at(PV_LAPIC_BASE), -E_CONFIG);
	EQ(boot_at(0xfffffff0), -E_CONFIG);
}

TEST(elf_cut_anywhere_is_refused)
{
	uint8_t f[ELF_SIZE];

	make_elf(f);
	for (size_t len = 0; len < sizeof(f); len += len < 0x300 ? 1 : 37)
		EQ(boot(f, len), -E_CONFIG);
	EQ(boot(f, sizeof(f)), 0);
}

TEST(elf_with_any_byte_changed_does_no_harm)
{
	static const uint8_t xor[] = { 0xff, 0x80, 0x01 };
	uint8_t f[ELF_SIZE];

	make_elf(f);
	for (size_t i = 0; i < 0x240; i++)
		for (size_t x = 0; x < ARRAY_SIZE(xor); x++) {
			f[i] ^= xor[x];
			OK(boot(f, sizeof(f)) <= 0);
			f[i] ^= xor[x];
		}
}

enum { BZ_CODE = 3 * 512, BZ_SIZE = BZ_CODE + 0x400 };

static void make_bzimage(uint8_t f[BZ_SIZE])
{
	memset(f, 0, BZ_SIZE);
	f[0x1f1] = 2;				/* setup_sects */
	put(f + 0x1f4, 0x400 / 16, 4);		/* syssize */
	put(f + 0x1fe, 0xaa55, 2);
	put(f + 0x200, 0x6aeb, 2);
	memcpy(f + 0x202, "HdrS", 4);
	put(f + 0x206, 0x20f, 2);
	put(f + 0x22c, 0x7fffffff, 4);		/* initrd_addr_max */
	put(f + 0x230, 0x200000, 4);		/* kernel_alignment */
	put(f + 0x236, 1, 2);			/* xloadflags */
	put(f + 0x238, 255, 4);			/* cmdline_size */
	put(f + 0x258, KERNEL, 8);		/* pref_address */
	put(f + 0x260, 0x100000, 4);		/* init_size */
	memset(f + BZ_CODE, 'C', 0x400);
}

TEST(bzimage_is_entered_by_its_64_bit_entry)
{
	uint8_t f[BZ_SIZE];
	struct cpu_entry e;
	struct mem m;
	gpa_t pdpt, pd;

	make_bzimage(f);
	EQ(boot_sized(&m, 32 * MIB, f, sizeof(f), &e), 0);
	EQ(e.mode, ENTRY_LONG64);
	EQ(e.rip, KERNEL + 0x200);
	EQ(e.rsi, PV_ZERO_PAGE);
	EQ(get(&m, KERNEL, 1), 'C');
	EQ(get(&m, KERNEL + 0x3ff, 1), 'C');
	EQ(get(&m, e.rsi + 0x202, 4), 0x53726448);
	EQ(get(&m, e.rsi + 0x210, 1), 0xff);
	EQ(get(&m, e.rsi + 0x228, 4), PV_CMDLINE);
	EQ(get(&m, e.rsi + 0x218, 4), 0);
	EQ(get(&m, e.rsi + 0x70, 8), PV_ACPI_BASE);
	EQ(get(&m, e.rsi + 0x1e8, 1), 5);
	EQ(get(&m, e.rsi + 0x2d0 + 8, 8), 0xa0000);
	EQ(get(&m, e.gdt + 0x10, 8), 0x00af9b000000ffff);
	pdpt = get(&m, e.cr3, 8) & ~0xfffULL;
	pd = get(&m, pdpt + 3 * 8, 8) & ~0xfffULL;
	EQ(get(&m, pd + 511 * 8, 8), 0xffe00083);
	mem_release(&m);
}

static const struct {
	unsigned at;
	uint64_t v;
	unsigned size;
	const char *says;
} bad_bzimage[] = {
	{ 0x1fe, 0, 2, "neither an ELF kernel with a PVH entry nor a bzImage" },
	{ 0x202, 'X', 1, "neither" },
	{ 0x206, 0x205, 2, "boot protocol 2.05" },
	{ 0x206, 0x20b, 2, "without a 64-bit entry" },
	{ 0x236, 0, 2, "without a 64-bit entry" },
	{ 0x200, 0x02eb, 2, "without a 64-bit entry" },	/* a short header */
	{ 0x1f1, 255, 1, "ends before its code" },
	{ 0x1f1, 0, 1, "ends before its code" },	/* means 4 */
	{ 0x1f4, 0x41, 4, "shorter than its header" },
	{ 0x1f4, UINT32_MAX, 4, "shorter than its header" },
	{ 0x230, 0, 4, "cannot be" },
	{ 0x230, 3, 4, "cannot be" },
	{ 0x258, 0, 8, "cannot be" },
	{ 0x258, KERNEL + 0x1000, 8, "cannot be" },
	{ 0x258, 1ULL << 32, 8, "cannot be" },
	{ 0x258, 0xffffffffffe00000, 8, "cannot be" },
	{ 0x258, 32 * MIB, 8, "needs 33M of memory, the VM has 32M" },
	{ 0x260, UINT32_MAX, 4, "of memory, the VM has 32M" },
	{ 0x238, 3, 4, "13 bytes, the kernel takes 3" },
};

TEST(bzimage_that_lies_is_refused_in_words)
{
	uint8_t f[BZ_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(bad_bzimage); i++) {
		make_bzimage(f);
		put(f + bad_bzimage[i].at, bad_bzimage[i].v,
		    bad_bzimage[i].size);
		EQ(boot(f, sizeof(f)), -E_CONFIG);
		OK(says(bad_bzimage[i].says));
	}
}

TEST(bzimage_cut_anywhere_is_refused)
{
	uint8_t f[BZ_SIZE];

	make_bzimage(f);
	/* syssize counts 16 bytes each, so a cut of less does not show */
	for (size_t len = 0; len <= sizeof(f) - 16; len++)
		EQ(boot(f, len), -E_CONFIG);
}

TEST(bzimage_with_any_byte_changed_does_no_harm)
{
	static const uint8_t xor[] = { 0xff, 0x80, 0x01 };
	uint8_t f[BZ_SIZE];

	make_bzimage(f);
	for (size_t i = 0x1f1; i < 0x270; i++)
		for (size_t x = 0; x < ARRAY_SIZE(xor); x++) {
			f[i] ^= xor[x];
			OK(boot(f, sizeof(f)) <= 0);
			f[i] ^= xor[x];
		}
}

TEST(what_is_no_kernel_is_said_so)
{
	static const char text[] = "#!/bin/sh\necho no kernel\n";
	struct boot_params p = { .initrd = -1, .kernel_name = "kernel ./x",
				 .cmdline = "" };
	struct cpu_entry e;
	struct mem m;

	EQ(mem_init(&m, 32 * MIB, PV_LOW_MAX), 0);
	p.kernel = file_of(text, sizeof(text));
	EQ(boot_load(&m, &p, &e), -E_CONFIG);
	STR(err_text(), "kernel ./x: neither an ELF kernel with a PVH entry "
	    "nor a bzImage");
	close(p.kernel);
	p.kernel = file_of("", 0);
	EQ(boot_load(&m, &p, &e), -E_CONFIG);
	close(p.kernel);
	mem_release(&m);
}

/* Boots a good ELF file with an initrd of BYTES in a VM of SIZE. */
static int boot_initrd(struct mem *m, uint64_t size, uint64_t bytes)
{
	uint8_t f[ELF_SIZE];
	struct boot_params p = {
		.kernel_name = "k", .initrd_name = "initrd", .cmdline = "",
	};
	struct cpu_entry e;
	int rc = mem_init(m, size, PV_LOW_MAX);

	make_elf(f);
	p.kernel = file_of(f, sizeof(f));
	p.initrd = file_of("initrd", 6);
	if (rc == 0 && ftruncate(p.initrd, bytes) == 0)
		rc = boot_load(m, &p, &e);
	close(p.kernel);
	close(p.initrd);
	return rc;
}

TEST(initrd_lies_at_the_top_of_low_ram)
{
	gpa_t list = PV_START_INFO + 56;
	struct mem m;

	EQ(boot_initrd(&m, 32 * MIB, 5000), 0);
	EQ(get(&m, PV_START_INFO + 12, 4), 1);
	EQ(get(&m, PV_START_INFO + 16, 8), list);
	EQ(get(&m, list, 8), 32 * MIB - 8192);
	EQ(get(&m, list + 8, 8), 5000);
	EQ(get(&m, 32 * MIB - 8192, 1), 'i');
	mem_release(&m);
	EQ(boot_initrd(&m, 5ULL << 30, 4096), 0);
	EQ(get(&m, list, 8), PV_LOW_MAX - 4096);
	mem_release(&m);
	EQ(boot_initrd(&m, 32 * MIB, 0), 0);
	EQ(get(&m, PV_START_INFO + 12, 4), 0);
	mem_release(&m);
}

TEST(initrd_that_does_not_fit_says_what_it_needs)
{
	struct mem m;

	/* the kernel ends in the page at 16M */
	EQ(boot_initrd(&m, 32 * MIB, 16 * MIB - 4096), 0);
	mem_release(&m);
	EQ(boot_initrd(&m, 32 * MIB, 16 * MIB - 4095), -E_CONFIG);
	STR(err_text(), "initrd: with its 16M the kernel needs 33M of memory, "
	    "the VM has 32M");
	mem_release(&m);
	EQ(boot_initrd(&m, 32 * MIB, 4ULL << 30), -E_CONFIG);
	STR(err_text(), "initrd: 4G is too much; kernel and initrd must lie "
	    "below 3G");
	mem_release(&m);
}

TEST(command_line_has_its_limit)
{
	uint8_t f[ELF_SIZE];
	char line[2049];
	struct boot_params p = { .initrd = -1, .kernel_name = "k",
				 .cmdline = line };
	struct cpu_entry e;
	struct mem m;

	make_elf(f);
	p.kernel = file_of(f, sizeof(f));
	EQ(mem_init(&m, 32 * MIB, PV_LOW_MAX), 0);
	memset(line, 'x', sizeof(line));
	line[2047] = '\0';
	EQ(boot_load(&m, &p, &e), 0);
	EQ(get(&m, PV_CMDLINE + 2046, 2), 'x');
	line[2047] = 'x';
	line[2048] = '\0';
	EQ(boot_load(&m, &p, &e), -E_CONFIG);
	STR(err_text(), "kernel command line: 2048 bytes, the kernel takes "
	    "2047");
	mem_release(&m);
	close(p.kernel);
}

/* Whether LEN bytes at GPA sum to zero. */
static bool sums(const struct mem *m, gpa_t gpa, uint64_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum += get(m, gpa++, 1);
	return sum == 0;
}

/* Whether a sound table with this signature is at GPA. */
static bool is_table(const struct mem *m, gpa_t gpa, const char *signature)
{
	uint64_t len = get(m, gpa + 4, 4);
	char have[4];

	mem_read(m, gpa, have, 4);
	return !memcmp(have, signature, 4) && len >= 36 &&
	       gpa >= PV_ACPI_BASE &&
	       gpa + len <= PV_ACPI_BASE + PV_ACPI_BYTES &&
	       sums(m, gpa, len);
}

TEST(acpi_tables_lead_to_each_other_and_sum_to_zero)
{
	struct mem m;
	gpa_t rsdp, xsdt, fadt, madt, mcfg;

	EQ(mem_init(&m, 2 * MIB, PV_LOW_MAX), 0);
	EQ(acpi_build(&m, 3, &rsdp), 0);
	EQ(rsdp, PV_ACPI_BASE);
	OK(sums(&m, rsdp, 20) && sums(&m, rsdp, 36));
	EQ(get(&m, rsdp, 8), 0x2052545020445352);
	xsdt = get(&m, rsdp + 24, 8);
	OK(is_table(&m, xsdt, "XSDT"));
	EQ(get(&m, xsdt + 4, 4), 36 + 3 * 8);
	fadt = get(&m, xsdt + 36, 8);
	madt = get(&m, xsdt + 44, 8);
	mcfg = get(&m, xsdt + 52, 8);
	OK(is_table(&m, fadt, "FACP"));
	OK(is_table(&m, madt, "APIC"));
	OK(is_table(&m, mcfg, "MCFG"));
	OK(is_table(&m, get(&m, fadt + 140, 8), "DSDT"));
	EQ(get(&m, fadt + 40, 4), get(&m, fadt + 140, 8));
	EQ(get(&m, mcfg + 44, 8), PV_ECAM_BASE);
	mem_release(&m);
}

TEST(each_generation_is_another_and_no_table_is_in_its_page)
{
	struct mem m;
	gpa_t rsdp;
	uint64_t first, before;

	EQ(mem_init(&m, 2 * MIB, PV_LOW_MAX), 0);
	EQ(acpi_build(&m, VCPUS_MAX, &rsdp), 0);
	before = get(&m, PV_GENERATION - 8, 8);
	for (gpa_t at = PV_GENERATION; at < PV_GENERATION + 4096; at += 8)
		EQ(get(&m, at, 8), 0);
	EQ(acpi_new_generation(&m), 0);
	first = get(&m, PV_GENERATION, 8);
	OK(get(&m, PV_GENERATION + 8, 8) != first);
	EQ(acpi_new_generation(&m), 0);
	OK(get(&m, PV_GENERATION, 8) != first);
	EQ(get(&m, PV_GENERATION - 8, 8), before);
	EQ(get(&m, PV_GENERATION + 16, 8), 0);
	mem_release(&m);
}

TEST(fadt_says_reduced_hardware_and_where_the_registers_are)
{
	struct mem m;
	gpa_t rsdp, fadt;

	EQ(mem_init(&m, 2 * MIB, PV_LOW_MAX), 0);
	EQ(acpi_build(&m, 1, &rsdp), 0);
	fadt = get(&m, get(&m, rsdp + 24, 8) + 36, 8);
	EQ(get(&m, fadt + 4, 4), 276);
	EQ(get(&m, fadt + 112, 4) & 1 << 20, 1 << 20);
	EQ(get(&m, fadt + 109, 2), 0x34);
	EQ(get(&m, fadt + 116, 4), 0x01000801);
	EQ(get(&m, fadt + 120, 8), PV_PORT_RESET);
	EQ(get(&m, fadt + 128, 1), 6);
	EQ(get(&m, fadt + 248, 8), PV_PORT_ACPI + PV_ACPI_SLEEP_CONTROL);
	EQ(get(&m, fadt + 260, 8), PV_PORT_ACPI + PV_ACPI_SLEEP_STATUS);
	mem_release(&m);
}

TEST(madt_has_an_entry_for_each_vcpu)
{
	static const unsigned counts[] = { 1, 2, 254 };
	struct mem m;

	EQ(mem_init(&m, 2 * MIB, PV_LOW_MAX), 0);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		gpa_t rsdp, madt, at, end;
		unsigned lapics = 0, ioapics = 0;

		EQ(acpi_build(&m, counts[i], &rsdp), 0);
		madt = get(&m, get(&m, rsdp + 24, 8) + 44, 8);
		OK(is_table(&m, madt, "APIC"));
		end = madt + get(&m, madt + 4, 4);
		for (at = madt + 44; at < end; at += get(&m, at + 1, 1)) {
			OK(get(&m, at + 1, 1) >= 6);
			if (get(&m, at, 1) == 0)
				EQ(get(&m, at + 3, 1), lapics++);
			ioapics += get(&m, at, 1) == 1;
		}
		EQ(at, end);
		EQ(lapics, counts[i]);
		EQ(ioapics, 1);
	}
	mem_release(&m);
}

TEST(acpi_needs_its_memory_and_a_vcpu)
{
	struct mem m;
	gpa_t rsdp;

	EQ(mem_init(&m, 64 << 10, PV_LOW_MAX), 0);
	EQ(acpi_build(&m, 1, &rsdp), -E_CONFIG);
	mem_release(&m);
	EQ(mem_init(&m, 2 * MIB, PV_LOW_MAX), 0);
	EQ(acpi_build(&m, 0, &rsdp), -E_CONFIG);
	EQ(acpi_build(&m, 255, &rsdp), -E_CONFIG);
	mem_release(&m);
}

TESTS(T(elf_is_loaded_and_entered_by_its_note),
      T(pvh_start_info_tells_all),
      T(memory_map_ascends_without_overlap),
      T(note_of_8_bytes_is_understood),
      T(elf_that_lies_is_refused_in_words),
      T(elf_goes_only_where_ram_is),
      T(elf_cut_anywhere_is_refused),
      T(elf_with_any_byte_changed_does_no_harm),
      T(bzimage_is_entered_by_its_64_bit_entry),
      T(bzimage_that_lies_is_refused_in_words),
      T(bzimage_cut_anywhere_is_refused),
      T(bzimage_with_any_byte_changed_does_no_harm),
      T(what_is_no_kernel_is_said_so),
      T(initrd_lies_at_the_top_of_low_ram),
      T(initrd_that_does_not_fit_says_what_it_needs),
      T(command_line_has_its_limit),
      T(acpi_tables_lead_to_each_other_and_sum_to_zero),
      T(each_generation_is_another_and_no_table_is_in_its_page),
      T(fadt_says_reduced_hardware_and_where_the_registers_are),
      T(madt_has_an_entry_for_each_vcpu),
      T(acpi_needs_its_memory_and_a_vcpu))
