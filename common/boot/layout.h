/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * layout.h - where things are in the pv machine: physical memory, ports,
 * interrupts. The ACPI tables (acpi.c, pv.asl) tell the guest the same.
 *
 *	        0 .. 9ffff	RAM; the first pages hold what a kernel is
 *				handed when it starts (below)
 *	    e0000 .. fffff	RAM, reserved: the ACPI tables; at ff000 the
 *				generation, at ffff0 a reset vector
 *	   100000 .. bfffffff	RAM: kernel at its own place, initrd at the top
 *	 c0000000 .. dfffffff	PCI memory window: the BARs
 *	 e0000000 .. e00fffff	PCI configuration space (ECAM) of bus 0
 *	 fec00000		I/O APIC
 *	 fee00000		local APICs
 *	 fffbc000 .. fffbffff	KVM's own pages (vmm/kvm.h)
 *	100000000 ..		RAM beyond the first 3 GiB
 */
#ifndef BOOT_LAYOUT_H
#define BOOT_LAYOUT_H

/* Physical memory. */
enum {
	PV_LOW_MAX = 0xc0000000ULL,	/* low RAM ends here at the latest */
	PV_HIGH_BASE = 0x100000000ULL,	/* and goes on here */

	PV_BASE_END = 0xa0000,		/* RAM that PC software expects */
	PV_ACPI_BASE = 0xe0000,		/* RSDP first, then the tables */
	PV_ACPI_BYTES = 0x20000,
	PV_GENERATION = 0xff000,	/* 16 bytes, in a page without tables */
	PV_KERNEL_MIN = 0x100000,	/* no kernel is loaded below */

	PV_PCI_BASE = 0xc0000000ULL,
	PV_PCI_BYTES = 0x20000000,
	PV_ECAM_BASE = 0xe0000000ULL,
	PV_ECAM_BYTES = 0x100000,	/* one bus of 32 slots */
	PV_IOAPIC_BASE = 0xfec00000ULL,
	PV_LAPIC_BASE = 0xfee00000ULL,
};

/*
 * What stands in low RAM at the first instruction; a kernel takes it out
 * before it uses this memory for anything else.
 */
enum {
	PV_GDT = 0x500,
	PV_START_INFO = 0x6000,		/* PVH: start_info, modules, map */
	PV_ZERO_PAGE = 0x7000,		/* bzImage: struct boot_params */
	PV_PAGE_TABLES = 0x9000,	/* 6 pages: the first 4 GiB, 1:1 */
	PV_CMDLINE = 0x20000,
	PV_CMDLINE_MAX = 0x10000,
};

/* Ports. */
enum {
	PV_PORT_FIRMWARE_RESET = 0x92,	/* bit 0: reset */
	PV_PORT_KBD_COMMAND = 0x64,	/* 0xfe: reset (there is no 8042) */
	PV_PORT_COM1 = 0x3f8,
	PV_PORT_ACPI = 0x600,		/* PV_ACPI_* below, PV_PORT_ACPI_LEN */
	PV_PORT_ACPI_LEN = 4,
	PV_PORT_PCI_ADDRESS = 0xcf8,
	PV_PORT_RESET = 0xcf9,		/* ACPI's reset register: value 6 */
	PV_PORT_PCI_DATA = 0xcfc,
	PV_PCI_IO_BASE = 0x1000,	/* PCI I/O window */
	PV_PCI_IO_BYTES = 0xf000,
};

/*
 * The ACPI registers at PV_PORT_ACPI, one byte each, and their values.
 * PV_ACPI_SLEEP_CONTROL is ACPI 6.5, 4.8.3.7: written with SLP_EN it enters
 * the state SLP_TYP, of which there is one, S5 (off).
 * PV_ACPI_EVENTS holds what happened since it was last read; reading clears
 * it. At each, PV_GSI_EVENTS gives an edge.
 */
enum {
	PV_ACPI_SLEEP_CONTROL = 0,
	PV_ACPI_SLEEP_STATUS = 1,	/* reads 0 */
	PV_ACPI_EVENTS = 2,

	PV_SLEEP_ENABLE = 1 << 5,
	PV_SLEEP_TYPE_S5 = 5,
	PV_SLEEP_OFF = PV_SLEEP_TYPE_S5 << 2 | PV_SLEEP_ENABLE,
	PV_EVENT_POWER_BUTTON = 1 << 0,
	PV_EVENT_GENERATION = 1 << 1,
};

/* Interrupts: GSI = pin of the I/O APIC. */
enum {
	PV_GSI_COM1 = 4,	/* edge */
	PV_GSI_EVENTS = 9,	/* edge */
	PV_GSI_PCI = 16,	/* level; INTx of slot S is 16 + (S + pin) % 4 */
	PV_PCI_INTX = 4,	/* pin: 0 is INTA */
};

#endif
