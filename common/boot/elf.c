/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/elf.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "boot/layout.h"

enum {
	CLASS_64 = 2,
	DATA_LITTLE = 1,
	MACHINE_X86_64 = 62,
	SEGMENT_LOAD = 1,
	SEGMENT_NOTE = 4,
	SEGMENTS_MAX = 64,
	NOTE_PVH = 18,
	NOTES_MAX = 64 << 10,
};

/* System V ABI, chapter 4 and 5 (64-bit). */
struct elf_header {
	uint8_t magic[4], class, data, version, abi[9];
	le16 type, machine;
	le32 version2;
	le64 entry, phoff, shoff;
	le32 flags;
	le16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
static_assert(sizeof(struct elf_header) == 64, "ELF-64, Ehdr");

struct elf_segment {
	le32 type, flags;
	le64 offset, vaddr, paddr, filesz, memsz, align;
};
static_assert(sizeof(struct elf_segment) == 56, "ELF-64, Phdr");

struct elf_note {
	le32 namesz, descsz, type;
};
static_assert(sizeof(struct elf_note) == 12, "ELF, Nhdr");

struct elf_file {
	const struct mem *mem;
	int fd;
	uint64_t bytes;
	const char *name;
	struct elf_segment segment[SEGMENTS_MAX];
	unsigned n;
};

bool elf_is(const void *head, size_t len)
{
	return len >= 4 && !memcmp(head, "\177ELF", 4);
}

/* LEN bytes at OFF, which must lie within the file; WHAT is for people. */
static int read_part(const struct elf_file *f, const char *what, void *buf,
		     uint64_t off, uint64_t len)
{
	int rc;

	if (!in_range(off, len, f->bytes))
		return fail(E_CONFIG, "%s: its %s lies beyond the end of the "
			    "file (truncated?)", f->name, what);
	rc = pread_all(f->fd, buf, len, off);
	return rc < 0 ? fail(-rc, "%s: %s", f->name, strerror(-rc)) : 0;
}

static int read_segments(struct elf_file *f)
{
	struct elf_header h;
	int rc = read_part(f, "ELF header", &h, 0, sizeof(h));

	if (rc < 0)
		return rc;
	if (h.class != CLASS_64 || h.data != DATA_LITTLE ||
	    get_le16(h.machine) != MACHINE_X86_64)
		return fail(E_CONFIG, "%s: an ELF file, but not for 64-bit "
			    "x86", f->name);
	f->n = get_le16(h.phnum);
	if (get_le16(h.phentsize) != sizeof(struct elf_segment) || !f->n ||
	    f->n > SEGMENTS_MAX)
		return fail(E_CONFIG, "%s: an ELF file without a usable table "
			    "of segments", f->name);
	return read_part(f, "table of segments", f->segment,
			 get_le64(h.phoff), f->n * sizeof(f->segment[0]));
}

/*
 * The next note in NOTES from *AT on; its content in *DESC. 1, 0 at the end,
 * or -1: it overruns.
 */
static int next_note(const uint8_t *notes, uint64_t len, uint64_t align,
		     uint64_t *at, struct elf_note *note, const uint8_t **name,
		     const uint8_t **desc)
{
	uint64_t name_at = *at + sizeof(*note), desc_at;

	if (!in_range(*at, sizeof(*note), len))
		return 0;
	memcpy(note, notes + *at, sizeof(*note));
	/* 32-bit sizes and an offset of at most NOTES_MAX: no sum wraps */
	desc_at = align_up(name_at + get_le32(note->namesz), align);
	if (!in_range(desc_at, get_le32(note->descsz), len))
		return -1;
	*name = notes + name_at;
	*desc = notes + desc_at;
	*at = align_up(desc_at + get_le32(note->descsz), align);
	return 1;
}

/* 1: found, into *ENTRY; 0: not in these notes; -E_CONFIG. */
static int scan_notes(const struct elf_file *f, const uint8_t *notes,
		      uint64_t len, uint64_t align, uint64_t *entry)
{
	const uint8_t *name, *desc;
	struct elf_note note;
	uint64_t at = 0;
	le64 value = { 0 };
	uint32_t size;
	int rc;

	while ((rc = next_note(notes, len, align, &at, &note, &name, &desc)) > 0) {
		if (get_le32(note.type) != NOTE_PVH ||
		    get_le32(note.namesz) != 4 || memcmp(name, "Xen", 4))
			continue;
		size = get_le32(note.descsz);
		if (size != 4 && size != 8)
			return fail(E_CONFIG, "%s: a PVH entry of %u bytes, "
				    "not 4 or 8", f->name, size);
		memcpy(&value, desc, size);
		*entry = get_le64(value);
		return 1;
	}
	if (rc < 0)
		return fail(E_CONFIG, "%s: its ELF notes overrun each other",
			    f->name);
	return 0;
}

static int find_entry(const struct elf_file *f, uint64_t *entry)
{
	for (unsigned i = 0; i < f->n; i++) {
		const struct elf_segment *s = &f->segment[i];
		uint64_t len = get_le64(s->filesz);
		autofree uint8_t *notes = NULL;
		int rc;

		if (get_le32(s->type) != SEGMENT_NOTE)
			continue;
		if (len > NOTES_MAX)
			return fail(E_CONFIG, "%s: ELF notes of more than "
				    "64K", f->name);
		notes = malloc(len + 1);
		if (!notes)
			return fail(ENOMEM, "%s: out of memory", f->name);
		rc = read_part(f, "ELF notes", notes, get_le64(s->offset), len);
		if (rc == 0)
			rc = scan_notes(f, notes, len,
					get_le64(s->align) == 8 ? 8 : 4, entry);
		if (rc)
			return rc;
	}
	return fail(E_CONFIG, "%s: an ELF file without a PVH entry (for "
		    "Linux: a vmlinux built with CONFIG_PVH, or a bzImage)",
		    f->name);
}

/* Whether S may be put where it wants to be. 0 or -E_CONFIG. */
static int check_segment(const struct elf_file *f, const struct elf_segment *s)
{
	uint64_t filesz = get_le64(s->filesz), memsz = get_le64(s->memsz);
	gpa_t start = get_le64(s->paddr);
	const struct mem_range *low = &f->mem->range[0];
	gpa_t end;
	char need[16], have[16];

	if (filesz > memsz)
		return fail(E_CONFIG, "%s: a segment is longer in the file "
			    "than in memory", f->name);
	if (!in_range(get_le64(s->offset), filesz, f->bytes))
		return fail(E_CONFIG, "%s: a segment lies beyond the end of "
			    "the file (truncated?)", f->name);
	if (ckd_add(&end, start, memsz) || end > PV_LOW_MAX)
		return fail(E_CONFIG, "%s: a segment for addresses from 3 GiB "
			    "on", f->name);
	if (start < PV_KERNEL_MIN)
		return fail(E_CONFIG, "%s: a segment for addresses below "
			    "1 MiB", f->name);
	if (end > low->size)
		return fail(E_CONFIG, "%s: needs %s of memory, the VM has %s",
			    f->name, format_size(need, align_up(end, 1 << 20)),
			    format_size(have, f->mem->size));
	return 0;
}

static int load_segment(const struct elf_file *f, const struct elf_segment *s)
{
	uint64_t filesz = get_le64(s->filesz), memsz = get_le64(s->memsz);
	gpa_t start = get_le64(s->paddr);
	int rc = mem_load(f->mem, start, f->fd, get_le64(s->offset), filesz,
			  f->name);

	if (rc == 0)
		rc = mem_zero(f->mem, start + filesz, memsz - filesz);
	return rc;
}

/* Whether ENTRY is in a segment of the file, not just anywhere. */
static bool entry_loaded(const struct elf_file *f, uint64_t entry)
{
	for (unsigned i = 0; i < f->n; i++) {
		const struct elf_segment *s = &f->segment[i];
		gpa_t start = get_le64(s->paddr);

		if (get_le32(s->type) == SEGMENT_LOAD && entry >= start &&
		    entry - start < get_le64(s->filesz))
			return true;
	}
	return false;
}

static int load_segments(const struct elf_file *f, gpa_t *kernel_end)
{
	int rc = 0;

	*kernel_end = 0;
	for (unsigned i = 0; i < f->n && rc == 0; i++)
		if (get_le32(f->segment[i].type) == SEGMENT_LOAD)
			rc = check_segment(f, &f->segment[i]);
	for (unsigned i = 0; i < f->n && rc == 0; i++) {
		const struct elf_segment *s = &f->segment[i];

		if (get_le32(s->type) != SEGMENT_LOAD)
			continue;
		rc = load_segment(f, s);
		*kernel_end = max_u64(*kernel_end, get_le64(s->paddr) +
				      get_le64(s->memsz));
	}
	return rc;
}

int elf_load(const struct mem *m, int fd, uint64_t file_bytes,
	     const char *name, struct elf_kernel *out)
{
	struct elf_file f = { .mem = m, .fd = fd, .bytes = file_bytes,
			      .name = name };
	uint64_t entry = 0;
	int rc = read_segments(&f);

	if (rc == 0)
		rc = find_entry(&f, &entry);
	if (rc < 0)
		return rc;
	if (!entry_loaded(&f, entry))
		return fail(E_CONFIG, "%s: its PVH entry 0x%llx lies in no "
			    "segment", name, (unsigned long long)entry);
	rc = load_segments(&f, &out->end);
	if (rc < 0)
		return rc;
	out->entry = entry;	/* below end, which is below 4 GiB */
	return 0;
}
