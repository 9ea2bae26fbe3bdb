/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rest.h - tells a VM that runs on what the layers it writes to rest, when
 * those below them were merged (image/layers.h).
 */
#ifndef CLI_REST_H
#define CLI_REST_H

#include "state/diskconf.h"
#include "state/store.h"

struct rest {
	struct store *store;
	const char *vm;
};

/*
 * DISK of the VM of ARG, a struct rest, rests on the layer BELOW, of FORMAT,
 * from now on; NULL: on what its header says. 0, or negative with a sentence
 * that begins with the VM's name: -E_STOPPED it does not run, -E_HOST its
 * engine does so at the next boot only.
 */
int rest_ask(void *arg, unsigned disk, const char *below,
	     enum disk_format format);

#endif
