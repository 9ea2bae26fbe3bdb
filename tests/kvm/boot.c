/* SPDX-License-Identifier: GPL-2.0-or-later */
/* boot.c - kernels of a few instructions find what a kernel is handed. */
#include "box.h"

#include <sys/mman.h>

#include "boot/acpi.h"
#include "boot/kernel.h"

/* An ELF file of one segment, with a PVH note. */
static int elf_file(const uint8_t *code, size_t len)
{
	enum { CODE_AT = 0x1000, NOTE_AT = 0x200 };
	uint8_t f[CODE_AT + 256] = "\177ELF\2\1\1";
	uint64_t load[] = { 5ULL << 32 | 1, CODE_AT, 0, GUEST, len, 4096, 0 };
	uint64_t notes[] = { 4, NOTE_AT, 0, 0, 20, 20, 4 };
	uint32_t note[] = { 4, 4, 18, 0x006e6558, GUEST };
	int fd = memfd_create("elf", MFD_CLOEXEC);

	f[18] = 62;
	f[32] = 64;	/* phoff */
	f[54] = 56;
	f[56] = 2;
	memcpy(f + 64, load, sizeof(load));
	memcpy(f + 64 + 56, notes, sizeof(notes));
	memcpy(f + NOTE_AT, note, sizeof(note));
	memcpy(f + CODE_AT, code, len);
	return write(fd, f, sizeof(f)) == sizeof(f) ? fd : -1;
}

/* start_info's magic, the first byte of the command line, of the initrd */
GUEST_CODE(g_pvh, 32,
	"movl (%ebx), %eax\n"
	"outl %eax, $0x10\n"
	"movl 24(%ebx), %esi\n"
	"movb (%esi), %al\n"
	"outb %al, $0x10\n"
	"movl 16(%ebx), %esi\n"
	"movl (%esi), %esi\n"
	"movb (%esi), %al\n"
	"outb %al, $0x10\n"
	"movl 32(%ebx), %esi\n"
	"movl (%esi), %eax\n"
	"outl %eax, $0xf4\n"
	"hlt\n");

TEST(elf_kernel_is_entered_by_pvh_with_all_it_needs)
{
	struct boot_params p = { .initrd = memfd_create("initrd", 0),
				 .kernel_name = "kernel", .cmdline = "quiet",
				 .initrd_name = "initrd" };
	struct cpu_entry entry;
	struct box b;

	EQ(box_init(&b, 1), 0);
	EQ(write(p.initrd, "I", 1), 1);
	p.kernel = elf_file(g_pvh, g_pvh_end - g_pvh);
	EQ(acpi_build(&b.mem, 1, &p.rsdp), 0);
	EQ(boot_load(&b.mem, &p, &entry), 0);
	EQ(vcpus_start(&b.vcpus, &entry, false), 0);
	OK(happened(&b));
	EQ(b.log[0].val, 0x336ec578);
	EQ(b.log[1].val, 'q');
	EQ(b.log[2].val, 'I');
	EQ(b.done_val, 0x20445352);	/* "RSD " */
	close(p.kernel);
	close(p.initrd);
	box_release(&b);
}

/* Magic of the zero page's header; then memory by 8 bytes */
GUEST_CODE(g_long, 64,
	"movl 0x202(%rsi), %eax\n"
	"outl %eax, $0x10\n"
	"movl $0xd0000000, %edi\n"
	"movabsq $0x8877665544332211, %rax\n"
	"movq %rax, 8(%rdi)\n"
	"movq (%rdi), %rbx\n"
	"subq %rax, %rbx\n"
	"movl 0x228(%rsi), %ecx\n"
	"movb (%rcx), %bl\n"
	"movl %ebx, %eax\n"
	"outl %eax, $0xf4\n"
	"hlt\n");

static int bzimage_file(const uint8_t *code, size_t len)
{
	enum { CODE_AT = 512 * 3 };
	uint8_t f[CODE_AT + 0x200 + 256] = { 0 };
	uint32_t align = 0x100000, init = 0x100000, initrd_max = 0x7fffffff;
	uint32_t cmdline = 2047;
	uint64_t load = 0x1000000;
	int fd = memfd_create("bzimage", MFD_CLOEXEC);

	f[0x1f1] = 2;
	memcpy(f + 0x1fe, "\x55\xaa\xeb\x6a" "HdrS\x0f\x02", 10);
	memcpy(f + 0x22c, &initrd_max, 4);
	memcpy(f + 0x230, &align, 4);
	f[0x236] = 1;
	memcpy(f + 0x238, &cmdline, 4);
	memcpy(f + 0x258, &load, 8);
	memcpy(f + 0x260, &init, 4);
	memcpy(f + CODE_AT + 0x200, code, len);
	return write(fd, f, sizeof(f)) == sizeof(f) ? fd : -1;
}

TEST(bzimage_is_entered_in_64_bit_mode)
{
	struct boot_params p = { .initrd = -1, .kernel_name = "kernel",
				 .cmdline = "quiet" };
	struct cpu_entry entry;
	struct box b;

	EQ(box_init(&b, 1), 0);
	p.kernel = bzimage_file(g_long, g_long_end - g_long);
	EQ(boot_load(&b.mem, &p, &entry), 0);
	EQ(entry.mode, ENTRY_LONG64);
	EQ(vcpus_start(&b.vcpus, &entry, false), 0);
	OK(happened(&b));
	OK(b.done);
	EQ(b.log[0].val, 0x53726448);	/* "HdrS" */
	EQ(b.logged, 3);
	EQ(b.log[1].size, 8);
	EQ(b.log[1].val, 0x8877665544332211);
	EQ(b.log[2].size, 8);
	EQ(b.done_val, 'q');
	close(p.kernel);
	box_release(&b);
}

static const struct test tests[] = {
	T(elf_kernel_is_entered_by_pvh_with_all_it_needs),
	T(bzimage_is_entered_in_64_bit_mode),
};

int main(void)
{
	return box_tests(tests, ARRAY_SIZE(tests));
}
