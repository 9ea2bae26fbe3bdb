/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm - runs vm-COMMAND, from its own directory or else from $PATH; alone it
 * lists the commands.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/near.h"
#include "cli/opt.h"
#include "cli/out.h"

enum { PATH_BYTES = 4096, MORE_WORDS = 8 };

/* The summaries are those of the commands themselves; a test compares. */
static const struct {
	const char *name, *summary;
} commands[] = {
	{ "create", "define virtual machines" },
	{ "boot", "start virtual machines" },
	{ "stop", "stop virtual machines" },
	{ "reset", "restart running virtual machines" },
	{ "pause", "stop the vCPUs of running virtual machines" },
	{ "resume", "let paused virtual machines go on" },
	{ "image", "disks that virtual machines begin with" },
	{ "rm", "destroy virtual machines, or snapshots of them" },
	{ "snap", "take snapshots of virtual machines" },
	{ "rollback", "go back to snapshots" },
	{ "clone", "copy virtual machines, at once" },
	{ "prune", "drop snapshots by age" },
	{ "set", "change the configuration of virtual machines" },
	{ "ls", "list virtual machines, or snapshots of them" },
	{ "console", "attach to the console of a virtual machine" },
	{ "send", "write snapshots as a stream" },
	{ "recv", "read a stream of snapshots" },
	{ "wait", "wait until virtual machines meet a condition" },
};

static int list(void)
{
	autobuf struct buf out = BUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		buf_printf(&out, "%-10s %s\n", commands[i].name,
			   commands[i].summary);
	if (out.failed)
		return fail(ENOMEM, "out of memory");
	return out_write(out.data, out.len);
}

static int unknown(const char *name)
{
	struct near near = NEAR(name);

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		near_try(&near, commands[i].name);
	return fail(E_USAGE, "%s: no such command%s%s%s", name,
		    NEAR_HINT(&near));
}

/* "DIRECTORY/FILE" with the directory this program lies in; NULL: unknown. */
static char *beside(const char *file)
{
	char self[PATH_BYTES];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self));
	struct buf path = BUF_INIT;
	const char *slash;

	if (len <= 0 || len == sizeof(self))
		return NULL;
	slash = memrchr(self, '/', len);
	if (!slash)
		return NULL;
	buf_add(&path, self, slash + 1 - self);
	buf_str(&path, file);
	return buf_take(&path);
}

/* The common options that were given go in front of the command's words. */
static int add_common(char **words, char *wait, size_t wait_size)
{
	int n = 0;

	if (common.state) {
		words[n++] = (char *)"--state";
		words[n++] = (char *)common.state;
	}
	if (common.verbose)
		words[n++] = (char *)"--verbose";
	if (common.lock_wait) {
		snprintf(wait, wait_size, "--lock-wait=%llu.%09llu",
			 (unsigned long long)common.lock_wait / 1000000000,
			 (unsigned long long)common.lock_wait % 1000000000);
		words[n++] = wait;
	}
	return n;
}

static int run(int argc, char **argv)
{
	autobuf struct buf file = BUF_INIT;
	autofree char **words = NULL;
	autofree char *path = NULL;
	char wait[48];
	int n;

	if (argc == 0)
		return list();
	if (!name_ok(argv[0]))
		return unknown(argv[0]);
	buf_printf(&file, "vm-%s", argv[0]);
	words = calloc(argc + MORE_WORDS, sizeof(*words));
	path = beside(file.data);
	if (!words || file.failed)
		return fail(ENOMEM, "out of memory");
	words[0] = file.data;
	n = 1 + add_common(words + 1, wait, sizeof(wait));
	memcpy(words + n, argv + 1, (argc - 1) * sizeof(*words));
	if (path)
		execv(path, words);
	execvp(file.data, words);
	if (errno == ENOENT)
		return unknown(argv[0]);
	return fail_sys("%s", file.data);
}

const struct command command = {
	.name = "vm",
	.operands = "[COMMAND [WORD]...]",
	.summary = "run a vmutils command, or list them",
	.verbatim = true,
	.run = run,
};
