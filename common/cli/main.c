/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main.c - the one main(): what every command does around its run().
 *
 * A command that acts ignores SIGPIPE while it works: all VMs named are acted
 * on though the reader of the names left. Afterwards it ends by that very
 * signal, as quietly as any program. A command that only lists is ended by
 * the signal at once.
 */
#include "cli/opt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cli/dump.h"
#include "cli/out.h"

/*
 * No other file may become descriptor 0, 1 or 2. Those closed are opened the
 * wrong way round, so that using them is the error it would have been.
 */
static void guard_std_fds(void)
{
	static const int flags[] = { O_WRONLY, O_RDONLY, O_RDONLY };

	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", flags[fd]) != fd)
			_exit(EXIT_FAILED);
}

static int print(struct buf *text)
{
	int rc = text->failed ? fail(ENOMEM, "out of memory") :
				out_write(text->data, text->len);

	buf_release(text);
	return rc;
}

/* --help, --version, --dump-options; 1 if it was none of them. */
static int describe(void)
{
	struct buf text = BUF_INIT;

	if (common.help)
		opt_help(&command, &text);
	else if (common.version)
		buf_printf(&text, "%s (vmutils) %s\n", command.name, VERSION);
	else if (common.dump)
		dump_command(&command, &text);
	else
		return 1;
	return print(&text);
}

/* Writes out what stdio holds; 0, or -errno with a sentence. */
static int finish_stdout(void)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout) &&
	    (close(STDOUT_FILENO) == 0 || errno == EBADF))
		return 0;
	return fail_sys("standard output");
}

/* Ends as someone who was ended by the signal. */
static void end_by_sigpipe(void)
{
	signal(SIGPIPE, SIG_DFL);
	raise(SIGPIPE);
}

/* The exit status for RC, having said why. */
static int status_of(int rc)
{
	if (rc >= 0)
		return rc;
	if (rc == -EPIPE && command.acts)
		end_by_sigpipe();
	say("%s", err_text());
	return err_exit(rc);
}

int main(int argc, char **argv)
{
	int rc, n, status;

	guard_std_fds();
	signal(SIGPIPE, SIG_DFL);
	n = opt_parse(&command, argc, argv);
	if (n < 0)
		return status_of(n);
	rc = describe();
	if (rc > 0) {
		if (command.acts)
			signal(SIGPIPE, SIG_IGN);
		rc = command.run(n, argv);
	}
	status = status_of(rc);
	rc = finish_stdout();
	if (rc < 0 && status)
		return status_of(rc), status;
	return rc < 0 ? status_of(rc) : status;
}
