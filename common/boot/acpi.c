/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/acpi.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "boot/layout.h"
#include "boot/pv_aml.h"
#include "vmm/irq.h"
#include "vmm/vcpu.h"

/* Section and table numbers are of ACPI 6.5. */

enum {
	TABLE_ALIGN = 16,

	SPACE_IO = 1,		/* address space of a register, 5.2.3.2 */
	ACCESS_BYTE = 1,

	/* FADT flags, table 5.10. */
	FADT_WBINVD = 1 << 0,
	FADT_NO_FIXED_POWER_BUTTON = 1 << 4,
	FADT_NO_FIXED_SLEEP_BUTTON = 1 << 5,
	FADT_RESET_REGISTER = 1 << 10,
	FADT_HW_REDUCED = 1 << 20,

	/* IA-PC boot architecture flags, table 5.11: no 8042, no ISA. */
	BOOT_NO_VGA = 1 << 2,
	BOOT_NO_ASPM = 1 << 4,
	BOOT_NO_RTC = 1 << 5,

	RESET_VALUE = 6,	/* PC's port 0xcf9: full reset, now */

	/* MADT entries, 5.2.12. */
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_LAPIC_NMI = 4,
	LAPIC_ENABLED = 1,
	ALL_PROCESSORS = 0xff,
	LINT1 = 1,
};

struct acpi_header {
	char signature[4];
	le32 length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	le32 oem_revision;
	char creator[4];
	le32 creator_revision;
} __attribute__((packed));
static_assert(sizeof(struct acpi_header) == 36, "5.2.6");

/* 5.2.5.3 */
struct acpi_rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	le32 rsdt, length;
	le64 xsdt;
	uint8_t checksum_all, reserved[3];
} __attribute__((packed));
static_assert(sizeof(struct acpi_rsdp) == 36, "5.2.5.3");

/* 5.2.3.2 */
struct acpi_register {
	uint8_t space, bits, bit_offset, access;
	le64 addr;
} __attribute__((packed));

/* 5.2.9; blocks of fixed hardware, which there is none of, are padding. */
struct acpi_fadt {
	struct acpi_header h;
	le32 facs, dsdt;
	uint8_t reserved, profile;
	le16 sci;
	uint8_t fixed1[109 - 48];
	le16 boot_flags;
	uint8_t reserved2;
	le32 flags;
	struct acpi_register reset;
	uint8_t reset_value;
	le16 arm_flags;
	uint8_t minor;
	le64 x_facs, x_dsdt;
	uint8_t fixed2[244 - 148];
	struct acpi_register sleep_control, sleep_status;
	char hypervisor[8];
} __attribute__((packed));
static_assert(sizeof(struct acpi_fadt) == 276 &&
	      offsetof(struct acpi_fadt, boot_flags) == 109 &&
	      offsetof(struct acpi_fadt, reset) == 116 &&
	      offsetof(struct acpi_fadt, sleep_control) == 244, "5.2.9");

struct madt_lapic {
	uint8_t type, length, uid, id;
	le32 flags;
};
static_assert(sizeof(struct madt_lapic) == 8, "5.2.12.2");

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	le32 addr, gsi_base;
};
static_assert(sizeof(struct madt_ioapic) == 12, "5.2.12.3");

struct madt_nmi {
	uint8_t type, length, uid;
	le16 flags;
	uint8_t lint;
} __attribute__((packed));
static_assert(sizeof(struct madt_nmi) == 6, "5.2.12.7");

struct acpi_madt {
	struct acpi_header h;
	le32 lapic_addr, flags;
	struct madt_ioapic ioapic;
	struct madt_nmi nmi;
	struct madt_lapic lapic[VCPUS_MAX];	/* as many as there are */
} __attribute__((packed));

/* PCI Firmware 3.3, table 4-2. */
struct acpi_mcfg {
	struct acpi_header h;
	uint8_t reserved[8];
	le64 base;
	le16 segment;
	uint8_t first_bus, last_bus;
	uint8_t reserved2[4];
} __attribute__((packed));
static_assert(sizeof(struct acpi_mcfg) == 60, "PCI Firmware 3.3, 4.1.2");

enum { XSDT_TABLES = 3 };
struct acpi_xsdt {
	struct acpi_header h;
	le64 table[XSDT_TABLES];
} __attribute__((packed));

struct acpi_dsdt {
	struct acpi_header h;
	uint8_t aml[sizeof(pv_aml)];
} __attribute__((packed));

/* Where the next table goes. */
struct acpi_writer {
	const struct mem *mem;
	gpa_t at;
};

/* What makes the sum of LEN bytes zero. */
static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return -sum;
}

/* Completes the header H of a table of LEN bytes and writes it to *AT. */
static int put_table(struct acpi_writer *w, struct acpi_header *h,
		     const char *signature, uint8_t revision, size_t len,
		     gpa_t *at)
{
	*at = w->at;
	memcpy(h->signature, signature, 4);
	h->length = to_le32(len);
	h->revision = revision;
	memcpy(h->oem, "VMUTIL", 6);
	memcpy(h->oem_table, "VMUTILPV", 8);
	h->oem_revision = to_le32(1);
	memcpy(h->creator, "VMUT", 4);
	h->creator_revision = to_le32(1);
	h->checksum = 0;
	h->checksum = checksum(h, len);
	if (!in_range(*at, len, PV_GENERATION) ||
	    mem_write(w->mem, *at, h, len) < 0)
		return fail(E_CONFIG, "memory: no room for the ACPI tables "
			    "(at least 2M)");
	w->at = align_up(*at + len, TABLE_ALIGN);
	return 0;
}

static int put_dsdt(struct acpi_writer *w, gpa_t *at)
{
	struct acpi_dsdt t = { 0 };

	memcpy(t.aml, pv_aml, sizeof(pv_aml));
	return put_table(w, &t.h, "DSDT", 2, sizeof(t), at);
}

static struct acpi_register port(uint16_t addr)
{
	return (struct acpi_register){ SPACE_IO, 8, 0, ACCESS_BYTE,
				       to_le64(addr) };
}

static int put_fadt(struct acpi_writer *w, gpa_t dsdt, gpa_t *at)
{
	struct acpi_fadt t = {
		.dsdt = to_le32(dsdt),
		.x_dsdt = to_le64(dsdt),
		.boot_flags = to_le16(BOOT_NO_VGA | BOOT_NO_ASPM | BOOT_NO_RTC),
		.flags = to_le32(FADT_WBINVD | FADT_NO_FIXED_POWER_BUTTON |
				 FADT_NO_FIXED_SLEEP_BUTTON |
				 FADT_RESET_REGISTER | FADT_HW_REDUCED),
		.reset = port(PV_PORT_RESET),
		.reset_value = RESET_VALUE,
		.minor = 5,
		.sleep_control = port(PV_PORT_ACPI + PV_ACPI_SLEEP_CONTROL),
		.sleep_status = port(PV_PORT_ACPI + PV_ACPI_SLEEP_STATUS),
		.hypervisor = { 'V', 'M', 'U', 'T', 'I', 'L', 'S' },
	};

	return put_table(w, &t.h, "FACP", 6, sizeof(t), at);
}

static int put_madt(struct acpi_writer *w, unsigned ncpus, gpa_t *at)
{
	struct acpi_madt t = {
		.lapic_addr = to_le32(PV_LAPIC_BASE),
		.ioapic = { MADT_IOAPIC, sizeof(t.ioapic), 0, 0,
			    to_le32(PV_IOAPIC_BASE), to_le32(0) },
		.nmi = { MADT_LAPIC_NMI, sizeof(t.nmi), ALL_PROCESSORS,
			 to_le16(0), LINT1 },
	};

	for (unsigned i = 0; i < ncpus; i++)
		t.lapic[i] = (struct madt_lapic){
			MADT_LAPIC, sizeof(t.lapic[i]), i, i,
			to_le32(LAPIC_ENABLED),
		};
	return put_table(w, &t.h, "APIC", 5,
			 offsetof(struct acpi_madt, lapic[ncpus]), at);
}

static int put_mcfg(struct acpi_writer *w, gpa_t *at)
{
	struct acpi_mcfg t = { .base = to_le64(PV_ECAM_BASE) };

	return put_table(w, &t.h, "MCFG", 1, sizeof(t), at);
}

static int put_rsdp(struct acpi_writer *w, gpa_t xsdt)
{
	struct acpi_rsdp r = {
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem = { 'V', 'M', 'U', 'T', 'I', 'L' },
		.revision = 2,
		.length = to_le32(sizeof(r)),
		.xsdt = to_le64(xsdt),
	};

	r.checksum = checksum(&r, offsetof(struct acpi_rsdp, length));
	r.checksum_all = checksum(&r, sizeof(r));
	return mem_write(w->mem, PV_ACPI_BASE, &r, sizeof(r));
}

int acpi_new_generation(const struct mem *m)
{
	uint8_t id[16];

	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return fail_sys("getrandom");
	if (mem_write(m, PV_GENERATION, id, sizeof(id)) < 0)
		return fail(E_CONFIG, "memory: less than 1M");
	return 0;
}

int acpi_build(const struct mem *m, unsigned ncpus, gpa_t *rsdp)
{
	struct acpi_writer w = {
		.mem = m,
		.at = align_up(PV_ACPI_BASE + sizeof(struct acpi_rsdp),
			       TABLE_ALIGN),
	};
	struct acpi_xsdt xsdt = { 0 };
	gpa_t table[XSDT_TABLES], at;
	int rc;

	if (ncpus < 1 || ncpus > VCPUS_MAX)
		return fail(E_CONFIG, "%u vCPUs: at least 1, at most %d",
			    ncpus, VCPUS_MAX);
	rc = put_dsdt(&w, &at);
	if (rc == 0)
		rc = put_fadt(&w, at, &table[0]);
	if (rc == 0)
		rc = put_madt(&w, ncpus, &table[1]);
	if (rc == 0)
		rc = put_mcfg(&w, &table[2]);
	if (rc < 0)
		return rc;
	for (int i = 0; i < XSDT_TABLES; i++)
		xsdt.table[i] = to_le64(table[i]);
	rc = put_table(&w, &xsdt.h, "XSDT", 1, sizeof(xsdt), &at);
	if (rc < 0)
		return rc;
	*rsdp = PV_ACPI_BASE;
	return put_rsdp(&w, at);
}
