/* SPDX-License-Identifier: GPL-2.0-or-later */
/* machine.c - the pv machine, saved and built again from what was saved. */
#include "../dev/saved.h"

#include <sys/mman.h>
#include <unistd.h>

#include "../unit/test.h"
#include "boot/layout.h"
#include "machine/pv.h"

enum { MEMORY = 64 << 20, DISK = 1 << 20 };

static struct {
	struct vmconf conf;
	struct pv_parts parts;
	struct pv pv;
	struct loop loop;
	struct chr chr;
	struct block disk[2];
	struct buf state;
	struct sections all;
} rig;

static void on_write(struct chr *c, const void *data, size_t len)
{
	(void)c, (void)data, (void)len;
}

static void on_ready(struct chr *c)
{
	(void)c;
}

static void on_event(void *owner, enum pv_event e)
{
	(void)owner, (void)e;
}

static int disk_move(struct block *b, struct iovec *iov, int n, uint64_t off,
		     uint64_t len)
{
	(void)b, (void)iov, (void)n, (void)off, (void)len;
	return 0;
}

static int disk_flush(struct block *b)
{
	(void)b;
	return 0;
}

/* The smallest kernel: one that only has an entry. */
static int kernel(void)
{
	uint8_t f[4096] = "\177ELF\2\1\1";
	uint64_t load[] = { 5ULL << 32 | 1, 1024, 0, 0x100000, 1, 4096, 0 };
	uint64_t notes[] = { 4, 512, 0, 0, 20, 20, 4 };
	uint32_t note[] = { 4, 4, 18, 0x006e6558, 0x100000 };
	int fd = memfd_create("elf", MFD_CLOEXEC);

	f[18] = 62;
	f[32] = 64;
	f[54] = 56;
	f[56] = 2;
	memcpy(f + 64, load, sizeof(load));
	memcpy(f + 64 + 56, notes, sizeof(notes));
	memcpy(f + 512, note, sizeof(note));
	f[1024] = 0xf4;		/* hlt */
	return write(fd, f, sizeof(f)) == sizeof(f) ? fd : -1;
}

static bool rig_init(void)
{
	static const struct chr_ops chr_ops = { on_write, on_ready };
	static const struct block_ops disk_ops = {
		.name = "none", .readv = disk_move, .writev = disk_move,
		.flush = disk_flush,
	};

	memset(&rig, 0, sizeof(rig));
	if (loop_init(&rig.loop) < 0)
		return false;
	rig.chr.ops = &chr_ops;
	rig.conf = (struct vmconf){ .cpus = 2, .memory = MEMORY,
				    .console = CONSOLE_VIRTIO };
	for (int i = 0; i < 2; i++) {
		rig.disk[i] = (struct block){ .ops = &disk_ops, .size = DISK,
					      .block_size = 512 };
		rig.parts.disk[i] = &rig.disk[i];
		rig.conf.disk[i].path = (char *)"none";
	}
	rig.parts.conf = &rig.conf;
	rig.parts.kernel = kernel();
	rig.parts.initrd = -1;
	rig.parts.cmdline = (char *)"";
	rig.parts.console = &rig.chr;
	rig.parts.loop = &rig.loop;
	rig.parts.event = on_event;
	rig.parts.kvm = kvm_open(false);
	return rig.parts.kvm >= 0;
}

static void rig_release(void)
{
	close(rig.parts.kvm);
	close(rig.parts.kernel);
	loop_release(&rig.loop);
	buf_release(&rig.state);
}

/* Saves it into rig.state, and its memory into a file; the descriptor. */
static int save(void)
{
	static uint8_t piece[1 << 20];
	int fd = memfd_create("mem", MFD_CLOEXEC);

	buf_init(&rig.state);
	if (pv_quiesce(&rig.pv) < 0 || pv_save(&rig.pv, &rig.state) < 0)
		return -1;
	for (gpa_t at = 0; at < MEMORY; at += sizeof(piece)) {
		mem_read(&rig.pv.mem, at, piece, sizeof(piece));
		if (write(fd, piece, sizeof(piece)) != sizeof(piece))
			return -1;
	}
	pv_unquiesce(&rig.pv);
	return fd;
}

/* Whether the devices' sections in the two files are the same. */
static bool same_devices(const struct buf *a, const struct buf *b)
{
	static struct sections all, other;
	unsigned n = 0;

	if (sections_parse(&all, a->data, a->len) < 0 ||
	    sections_parse(&other, b->data, b->len) < 0)
		return false;
	for (unsigned i = 0; i < all.n; i++) {
		const struct section *s = &all.section[i];
		struct section o;

		if (!strncmp(s->name, "vcpu", 4) || !strcmp(s->name, "kvm") ||
		    !strcmp(s->name, "doors"))
			continue;
		if (section_take(&other, s->name, 1, &o) < 0 ||
		    o.len != s->len || memcmp(o.data, s->data, s->len))
			return false;
		n++;
	}
	return n > 10;
}

TEST(a_machine_is_built_again_from_what_was_saved)
{
	uint64_t before = 0, after = 0, kept = 0;
	struct buf first;
	int mem;

	if (!rig_init())
		SKIP(err_text());
	EQ(pv_init(&rig.pv, &rig.parts), 0);
	mem_read(&rig.pv.mem, PV_GENERATION, &before, 8);
	mem_write(&rig.pv.mem, 0x2345670, &(uint64_t){ 0x1122334455 }, 8);
	doors_press_power(&rig.pv.doors);
	mem = save();
	OK(mem >= 0);
	pv_release(&rig.pv);
	first = rig.state;
	EQ(sections_parse(&rig.all, first.data, first.len), 0);
	rig.parts.restore = &rig.all;
	rig.parts.restore_mem = mem;
	EQ(pv_init(&rig.pv, &rig.parts), 0);
	mem_read(&rig.pv.mem, 0x2345670, &kept, 8);
	EQ(kept, 0x1122334455);
	mem_read(&rig.pv.mem, PV_GENERATION, &after, 8);
	OK(before && after && before != after);
	EQ(bus_read(&rig.pv.ports, PV_PORT_ACPI + PV_ACPI_EVENTS, 1),
	   PV_EVENT_POWER_BUTTON | PV_EVENT_GENERATION);
	close(mem);
	mem = save();
	OK(mem >= 0 && same_devices(&first, &rig.state));
	pv_release(&rig.pv);
	buf_release(&first);
	close(mem);
	rig_release();
}

/* Whether a machine like CONF, after CHANGE, is refused. */
static bool refuses(void (*change)(void), int rc)
{
	bool refused;
	int mem;

	if (!rig_init() || pv_init(&rig.pv, &rig.parts) < 0 ||
	    (mem = save()) < 0)
		return false;
	pv_release(&rig.pv);
	if (sections_parse(&rig.all, rig.state.data, rig.state.len) < 0)
		return false;
	rig.parts.restore = &rig.all;
	rig.parts.restore_mem = mem;
	change();
	refused = pv_init(&rig.pv, &rig.parts) == rc;
	if (!refused)
		printf("# %s\n", err_text());
	close(mem);
	rig_release();
	return refused;
}

static void fewer_cpus(void) { rig.conf.cpus = 1; }
static void fewer_disks(void) { rig.parts.disk[1] = NULL; }
static void more_disks(void) { rig.parts.disk[2] = &rig.disk[0]; }
static void smaller_disk(void) { rig.disk[1].size = DISK / 2; }

TEST(another_machine_is_refused_whole)
{
	if (!rig_init())
		SKIP(err_text());
	rig_release();
	OK(refuses(fewer_cpus, -E_CONFIG));
	OK(refuses(fewer_disks, -E_CONFIG));
	OK(refuses(more_disks, -E_CONFIG));
	OK(refuses(smaller_disk, -E_CONFIG));
}

TESTS(T(a_machine_is_built_again_from_what_was_saved),
      T(another_machine_is_refused_whole))
