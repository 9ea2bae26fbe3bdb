/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/engine.h"

const struct engine engine_kvm = {
	.name = "kvm",
	.probe = run_probe,
	.run = run_vm,
};
