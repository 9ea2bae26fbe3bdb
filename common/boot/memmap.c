/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/memmap.h"

#include "boot/layout.h"
#include "vmm/kvm.h"

int memmap_fill(const struct mem *m, struct memmap_entry map[MEMMAP_MAX])
{
	uint64_t low = m->range[0].size;
	int n = 0;

	map[n++] = (struct memmap_entry){ 0, min_u64(low, PV_BASE_END),
					  MEMMAP_RAM };
	map[n++] = (struct memmap_entry){ PV_ACPI_BASE, PV_ACPI_BYTES,
					  MEMMAP_RESERVED };
	if (low > PV_KERNEL_MIN)
		map[n++] = (struct memmap_entry){
			PV_KERNEL_MIN, low - PV_KERNEL_MIN, MEMMAP_RAM };
	map[n++] = (struct memmap_entry){ PV_ECAM_BASE, PV_ECAM_BYTES,
					  MEMMAP_RESERVED };
	map[n++] = (struct memmap_entry){ KVM_IDENTITY_GPA, KVM_OWN_BYTES,
					  MEMMAP_RESERVED };
	if (m->n > 1)
		map[n++] = (struct memmap_entry){
			m->range[1].base, m->range[1].size, MEMMAP_RAM };
	return n;
}
