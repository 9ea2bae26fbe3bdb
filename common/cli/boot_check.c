/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/boot_check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/live.h"
#include "cli/sibling.h"

enum { ROOM = 16 };	/* for what is behind the VM's name */

/* The status of a step that should be 0, as a failure of LABEL's. */
static int judge(const char *label, int status, const char *what)
{
	switch (status) {
	case EXIT_USAGE:
	case EXIT_PERM:
	case EXIT_HOST:
		return fail(E_BASE + status, "%s: not tried", label);
	case EXIT_TIMEOUT:
		return fail(E_TIMEOUT, "%s: %s in time", label, what);
	}
	return fail(E_VERIFY, "%s: %s", label, what);
}

static int step(const char *label, const char *const *argv, const char *what)
{
	int rc = sibling_run(argv);

	return rc > 0 ? judge(label, rc, what) : rc;
}

static int check(const char *label, const char *cond, const char *seconds)
{
	char name[NAME_MAX_LEN + 1], why[ERR_MAX];
	const char *const clone[] = { "vm-clone", "--disk-only", label, name,
				      NULL };
	const char *const boot[] = { "vm-boot", name, NULL };
	const char *const wait[] = { "vm-wait", name, "--for", cond, "-t",
				     seconds, NULL };
	const char *const rm[] = { "vm-rm", "--force", name, NULL };
	int rc;

	snprintf(name, sizeof(name), "%.*s.check%d",
		 (int)min_u64(strcspn(label, "@"), NAME_MAX_LEN - ROOM), label,
		 getpid());
	rc = step(label, clone, "cannot be cloned");
	if (rc < 0)
		return rc;
	rc = step(label, boot, "does not start");
	if (rc == 0)
		rc = step(label, wait, "does not come to what it should");
	snprintf(why, sizeof(why), "%s", err_text());
	sibling_run(rm);
	return rc < 0 ? err_adopt(rc, why) : 0;
}

int boot_check(const char *label, const char *cond, const char *seconds)
{
	int rc;

	live_interruptible(true);
	rc = check(label, cond, seconds);
	live_interruptible(false);
	return rc;
}
