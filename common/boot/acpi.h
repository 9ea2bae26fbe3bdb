/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * acpi.h - the ACPI tables of the pv machine, in hardware-reduced form (ACPI
 * 6.5, 4.1): no fixed hardware, no legacy devices, no SCI. What does not
 * depend on the VM - the PCI host bridge, the serial port, the power button -
 * is AML compiled from pv.asl; the rest is written here.
 *
 *	RSDP -> XSDT -> FADT -> DSDT (pv.asl)
 *	             -> MADT	one local APIC per vCPU, the I/O APIC
 *	             -> MCFG	PCI configuration space
 *
 * One page of them is the generation's, which the DSDT points to.
 */
#ifndef BOOT_ACPI_H
#define BOOT_ACPI_H

#include "vmm/mem.h"

/*
 * Writes the tables for NCPUS vCPUs (1..254) into M at PV_ACPI_BASE; *RSDP is
 * where a kernel finds them. 0 or -errno with a sentence.
 */
int acpi_build(const struct mem *m, unsigned ncpus, gpa_t *rsdp);

/*
 * Gives the machine an identity that no other has (Microsoft, "Virtual Machine
 * Generation ID"): 16 random bytes at PV_GENERATION, which the DSDT names. At
 * its start, and when it goes on from a saved state: its guest, told of the
 * event, takes new randomness. 0 or -errno with a sentence.
 */
int acpi_new_generation(const struct mem *m);

#endif
