/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/vector.h"

#include <assert.h>

#include "base/err.h"
#include "boot/layout.h"

enum { VECTOR = 0xffff0, RESET_FULL = 6 };

static_assert(VECTOR >= (int)PV_ACPI_BASE &&
	      VECTOR + 16 <= (int)PV_ACPI_BASE + (int)PV_ACPI_BYTES,
	      "the vector lies in reserved memory");

int vector_build(const struct mem *m)
{
	static const uint8_t code[] = {
		0xb0, RESET_FULL,			/* mov $6, %al */
		0xba, PV_PORT_RESET & 0xff, PV_PORT_RESET >> 8,
							/* mov $port, %dx */
		0xee,					/* out %al, (%dx) */
		0xf4,					/* hlt */
		0xeb, 0xfd,				/* jmp back to hlt */
	};

	if (mem_write(m, VECTOR, code, sizeof(code)) < 0)
		return fail(E_CONFIG, "memory: less than 1M");
	return 0;
}
