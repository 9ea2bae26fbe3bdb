/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fakevm - what a VM looks like to the commands, without KVM.
 *
 * usage: fakevm NAME MODE
 *
 *	busy	holds the lock, as another command does
 *	run	and answers: it runs, since an hour ago; "stop" ends it
 *	paused	and answers so
 *	garbage	and answers what no VM says
 *	stuck	and answers, but "stop" does nothing
 *	hang	and listens, but never answers
 *
 * Prints "ready" when it is; ends after half a minute at the latest.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "ctl/ctl.h"
#include "state/vm.h"

enum { LIFE_S = 30, HOUR_S = 3600 };

struct fake {
	struct loop loop;
	struct ctl_server server;
	const char *mode;
};

static int status(void *ctx, int argc, char **argv, struct buf *answer, int *fd)
{
	struct fake *f = ctx;

	(void)argc, (void)argv, (void)fd;
	if (!strcmp(f->mode, "garbage"))
		buf_str(answer, "state=\033[31mrun\npid=-1\nsince=soon\n");
	else
		buf_printf(answer, "state=%s\npid=%d\nsince=%lld\n",
			   strcmp(f->mode, "paused") ? "running" : "paused",
			   getpid(), (long long)time(NULL) - HOUR_S);
	return 0;
}

static int stop(void *ctx, int argc, char **argv, struct buf *answer, int *fd)
{
	struct fake *f = ctx;

	(void)argc, (void)argv, (void)answer, (void)fd;
	if (!strcmp(f->mode, "run"))
		loop_stop(&f->loop);
	return 0;
}

static const struct ctl_verb verbs[] = {
	{ "status", 0, status },
	{ "stop", 1, stop },
	{ 0 }
};

static int serve(struct fake *f, const struct vm *vm)
{
	autoclose int run = vm_run_dir(vm, true);
	int rc = run < 0 ? run : loop_init(&f->loop);

	if (rc == 0)
		rc = ctl_listen(&f->server, &f->loop, run, verbs, f);
	if (rc < 0)
		return rc;
	puts("ready");
	fflush(stdout);
	if (!strcmp(f->mode, "hang"))
		pause();
	return loop_run(&f->loop);
}

int main(int argc, char **argv)
{
	struct fake f = { 0 };
	struct store st;
	struct vm vm;
	int rc;

	if (argc != 3)
		return EXIT_USAGE;
	f.mode = argv[2];
	alarm(LIFE_S);
	rc = store_open(&st, NULL, false);
	if (rc == 0)
		rc = vm_open(&vm, &st, argv[1]);
	if (rc == 0)
		rc = vm_lock(&vm, 0);
	if (rc == 0 && !strcmp(f.mode, "busy")) {
		puts("ready");
		fflush(stdout);
		pause();
	}
	if (rc == 0)
		rc = serve(&f, &vm);
	if (rc < 0)
		fprintf(stderr, "fakevm: %s\n", err_text());
	return err_exit(rc);
}
