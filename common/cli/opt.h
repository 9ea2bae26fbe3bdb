/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * opt.h - options as a table, and a command as a row of facts.
 *
 * The table in a command's own file gives the parser, --help, the
 * completions and the check of its manual:
 *
 *	static struct args { uint64_t memory; bool quiet; } args;
 *
 *	static const struct opt opts[] = {
 *		OPT('m', "memory", OPT_SIZE, "SIZE", struct args, memory,
 *		    "guest memory (default 512M)"),
 *		OPT('q', "quiet", OPT_FLAG, NULL, struct args, quiet,
 *		    "print nothing on success"),
 *		{ 0 }
 *	};
 *
 *	const struct command command = {
 *		.name = "vm-create", .operands = "NAME...",
 *		.summary = "define virtual machines",
 *		.opts = opts, .args = &args, .run = run,
 *	};
 *
 * Short options bundle (-Hp), take their value joined or as the next word;
 * long ones as --memory=1G or --memory 1G, and by an unambiguous prefix;
 * "--" ends options; options and operands mix. Every command also has the
 * common ones (-h --help --version --state -v --lock-wait), from one table
 * in opt.c. One main(), in main.c, does everything around run(): standard
 * descriptors, parsing, the error sentence "vm-boot: SENTENCE", standard
 * output's end (a full disk is an error) and the exit status. The locale is
 * never set: data is the same everywhere.
 */
#ifndef CLI_OPT_H
#define CLI_OPT_H

#include "base/buf.h"

enum opt_type {
	OPT_END,
	OPT_FLAG,	/* bool: set to true */
	OPT_NUM,	/* uint64_t */
	OPT_SIZE,	/* uint64_t, bytes */
	OPT_TIME,	/* uint64_t, nanoseconds */
	OPT_STR,	/* const char * into argv */
	OPT_LIST,	/* struct opt_list: may be given again */
};

/* What completes an option's value or an operand. */
enum opt_complete {
	COMPLETE_NONE, COMPLETE_FILE, COMPLETE_VM, COMPLETE_DIR,
	COMPLETE_WORDS,		/* meta is the list: "serial|virtio" */
	COMPLETE_KEY,		/* KEY=VALUE of the config */
	COMPLETE_COLUMN,	/* of the command's table */
};

struct opt_list {
	const char **item;
	size_t n;
};

struct opt {
	char brief;		/* 0: none */
	const char *name;
	enum opt_type type;
	const char *meta;	/* of the value, NULL for flags */
	size_t offset;		/* of the field in the command's struct */
	const char *help;	/* one line, no capital, no dot */
	enum opt_complete complete;
};

#define OPT(brief, name, type, meta, args, field, help, ...) \
	{ brief, name, type, meta, offsetof(args, field), help, ##__VA_ARGS__ }

/* What every command has. */
struct common_args {
	const char *state;	/* --state DIR, NULL: $VM_STATE, default */
	bool verbose;
	uint64_t lock_wait;	/* ns */
	bool help, version;
	bool dump;		/* --dump-options, hidden: dump.h */
};
extern struct common_args common;

struct column;

struct command {
	const char *name;
	const char *operands;	/* "VM...", for --help */
	const char *summary;	/* half a line */
	const char *details;	/* further lines of --help, or NULL */
	const struct opt *opts;
	void *args;
	enum opt_complete complete;	/* of operands */
	bool acts;		/* prints names of what it acted on: a reader
				   that leaves does not stop it (main.c) */
	const struct column *columns;	/* of its table (table.h), or NULL */
	const struct column *other_columns;	/* of another it can print */
	bool verbatim;		/* options end at the first operand */
	/* 0, or negative with a sentence; a positive value is the exit status. */
	int (*run)(int argc, char **argv);
};

/* Defined by each command's file, once. */
extern const struct command command;

/* Ends with OPT_END. A row without help is hidden. */
extern const struct opt common_opts[];

/*
 * Parses ARGV (ARGV[0] is the program) by C's table into C->args; operands
 * are moved to the front of ARGV, followed by NULL, their number returned.
 * Lists are allocated and live as long as the process. -E_USAGE with a
 * sentence.
 */
int opt_parse(const struct command *c, int argc, char **argv);

/* The --help text. */
void opt_help(const struct command *c, struct buf *out);

#endif
