/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/engine.h"

#include <stdio.h>

#include "base/err.h"

static const struct engine *const engines[] = {
	[ENGINE_KVM] = &engine_kvm,
	[ENGINE_QEMU] = &engine_qemu,
	[ENGINE_KVM_ANY] = &engine_kvm_any,
};

int engine_choose(enum engine_kind kind, const struct engine **e, char *why,
		  size_t size)
{
	char no_kvm[ERR_MAX / 2];
	int rc;

	why[0] = '\0';
	*e = kind == ENGINE_AUTO ? &engine_kvm : engines[kind];
	rc = (*e)->probe();
	if (rc == 0 || kind != ENGINE_AUTO)
		return rc;
	snprintf(no_kvm, sizeof(no_kvm), "%s", err_text());
	*e = &engine_qemu;
	rc = engine_qemu.probe();
	if (rc < 0)
		return fail_in(rc, "%s, and", no_kvm);
	snprintf(why, size, "%s: QEMU emulates the CPU, some ten times slower",
		 no_kvm);
	return 0;
}
