/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/rest.h"

#include <errno.h>

#include "base/err.h"
#include "cli/live.h"

int rest_ask(void *arg, unsigned disk, const char *below,
	     enum disk_format format)
{
	const struct rest *r = arg;
	autobuf struct buf request = BUF_INIT;

	buf_printf(&request, "rest %u", disk);
	if (below)
		buf_printf(&request, " %s %s", below, disk_formats[format]);
	if (request.failed)
		return fail(ENOMEM, "out of memory");
	return live_ask(r->store, r->vm, request.data);
}
