/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * each.h - one job for every name: operands or lines of standard input, N at
 * a time, names of what was done on standard output.
 *
 * The grammar (vm.7): operands are names; "-" reads names from standard
 * input, one a line; so does no operand at all when standard input is a pipe.
 * A terminal, or /dev/null, with no operand is a usage error. A line may have leading
 * and trailing blanks; empty lines are skipped. With `explicit`, standard
 * input is read only for "-" (commands that destroy).
 *
 * Jobs: each is a process of its own, at most `parallel` at once (default:
 * the number of CPUs); names come as they are read, so the first is under way while
 * the pipe's writer still works. A single operand runs in this process. When
 * a job returns 0 its name is printed at once, as one line, by one write.
 * A job that fails prints "vm-boot: web1: why" itself on standard error (not twice "web1: ":
 * a sentence that begins with the name keeps it), and the rest go on.
 *
 * Exit: 0; the failure's own code when all that failed gave the same and
 * none succeeded; else EXIT_PARTIAL.
 */
#ifndef CLI_EACH_H
#define CLI_EACH_H

#include "base/types.h"
#include "cli/opt.h"

/* The row of -P for a command's table of options; FIELD is uint64_t. */
#define EACH_OPT(args, field) \
	OPT('P', "parallel", OPT_NUM, "N", args, field, \
	    "VMs at the same time (default: the number of CPUs)")

struct each {
	bool explicit;		/* names or "-" only */
	bool quiet;		/* print no names */
	/*
	 * The job prints what it acted on, by out_name(), being another name;
	 * when that fails it returns so. What it returns beyond 0 is its exit
	 * status, all having been said.
	 */
	bool prints;
	uint64_t parallel;	/* 0: number of CPUs */
	/* 0, or negative with a sentence. Runs in its own process. */
	int (*job)(const char *name, void *arg);
	void *arg;
};

/* The exit status (>= 0), or negative with a sentence (usage). */
int each_run(const struct each *e, int argc, char **argv);

/*
 * The same for jobs on VMs: opens the state directory for them, which is what
 * their ARG is then (struct store *).
 */
int each_vm(const struct each *e, int argc, char **argv);

/*
 * All names at once, for commands that need the list (vm-ls, vm-wait --any): allocated
 * array and strings, freed by each_free(). Same grammar. 0 or negative.
 */
int each_names(bool explicit, int argc, char **argv, char ***names, size_t *n);
void each_free(char **names, size_t n);

#endif
