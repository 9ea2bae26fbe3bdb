/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/module.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"

/* -- lists -- */

static char fold(char c)
{
	return c == '-' ? '_' : c;
}

/* Whether the file PATH (LEN bytes) is the module NAME: NAME.ko, NAME.ko.xz */
static bool is_file_of(const char *path, size_t len, const char *name)
{
	const char *slash = memrchr(path, '/', len);
	size_t n = strlen(name);

	if (slash) {
		len -= slash + 1 - path;
		path = slash + 1;
	}
	if (len < n + 3 || memcmp(path + n, ".ko", 3) ||
	    (len > n + 3 && path[n + 3] != '.'))
		return false;
	for (size_t i = 0; i < n; i++)
		if (fold(path[i]) != fold(name[i]))
			return false;
	return true;
}

bool module_find(const char *list, const char *name,
		 char path[static MODULE_PATH])
{
	for (const char *line = list; *line;) {
		size_t len = strcspn(line, ":\n"), whole = strcspn(line, "\n");

		if (len < MODULE_PATH && line[0] != '/' &&
		    is_file_of(line, len, name)) {
			memcpy(path, line, len);
			path[len] = '\0';
			return true;
		}
		line += whole + (line[whole] == '\n');
	}
	return false;
}

/* -- ELF (System V ABI, chapter 4) -- */

struct elf_header {
	uint8_t magic[4], class, data, version, abi[9];
	le16 type, machine;
	le32 version2;
	le64 entry, phoff, shoff;
	le32 flags;
	le16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
static_assert(sizeof(struct elf_header) == 64, "ELF-64, Ehdr");

struct elf_section {
	le32 name, type;
	le64 flags, addr, offset, size;
	le32 link, info;
	le64 align, entsize;
};
static_assert(sizeof(struct elf_section) == 64, "ELF-64, Shdr");

enum { CLASS_64 = 2, DATA_LITTLE = 1 };

struct elf {
	const char *data;
	size_t len;
	struct elf_header head;
};

static bool get_section(const struct elf *e, unsigned i, struct elf_section *s)
{
	uint64_t off = get_le64(e->head.shoff);

	if (i >= get_le16(e->head.shnum) ||
	    ckd_add(&off, off, (uint64_t)i * sizeof(*s)) ||
	    !in_range(off, sizeof(*s), e->len))
		return false;
	memcpy(s, e->data + off, sizeof(*s));
	return in_range(get_le64(s->offset), get_le64(s->size), e->len);
}

/* Whether what stands at OFF of the section STRINGS is NAME. */
static bool is_called(const struct elf *e, const struct elf_section *strings,
		      uint32_t off, const char *name)
{
	size_t n = strlen(name) + 1;

	return in_range(off, n, get_le64(strings->size)) &&
	       !memcmp(e->data + get_le64(strings->offset) + off, name, n);
}

static bool find_section(const struct elf *e, const char *name,
			 struct elf_section *s)
{
	struct elf_section strings;

	if (!get_section(e, get_le16(e->head.shstrndx), &strings))
		return false;
	for (unsigned i = 0; i < get_le16(e->head.shnum); i++)
		if (get_section(e, i, s) &&
		    is_called(e, &strings, get_le32(s->name), name))
			return true;
	return false;
}

int module_info(const void *elf, size_t len, const char *key, struct buf *out)
{
	struct elf e = { .data = elf, .len = len };
	size_t n = strlen(key), left;
	struct elf_section s;
	const char *p;

	if (len < sizeof(e.head))
		return fail(E_VERIFY, "damaged: not a module");
	memcpy(&e.head, elf, sizeof(e.head));
	if (memcmp(e.head.magic, "\177ELF", 4) || e.head.class != CLASS_64 ||
	    e.head.data != DATA_LITTLE || !find_section(&e, ".modinfo", &s))
		return fail(E_VERIFY, "damaged: not a module");
	p = e.data + get_le64(s.offset);
	left = get_le64(s.size);
	while (left) {
		size_t used = strnlen(p, left);

		if (used > n && !memcmp(p, key, n) && p[n] == '=') {
			buf_add(out, p + n + 1, used - n - 1);
			break;
		}
		used += used < left;
		p += used;
		left -= used;
	}
	return out->failed ? fail(ENOMEM, "out of memory") : 0;
}
