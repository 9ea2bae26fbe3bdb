/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/tally.h"

#include <stdio.h>

#include "cli/out.h"

void tally_done(struct tally *t, const char *name)
{
	int rc;

	t->done_one = true;
	if (t->quiet || t->out_rc < 0)
		return;
	rc = out_name(name);
	if (rc < 0) {
		t->out_rc = rc;
		snprintf(t->out_why, sizeof(t->out_why), "%s", err_text());
	}
}

void tally_failed(struct tally *t, int status)
{
	if (t->status && t->status != status)
		status = EXIT_PARTIAL;
	t->status = status;
}

int tally_result(const struct tally *t)
{
	if (t->out_rc < 0)
		return err_adopt(t->out_rc, t->out_why);
	return t->status && t->done_one ? EXIT_PARTIAL : t->status;
}
