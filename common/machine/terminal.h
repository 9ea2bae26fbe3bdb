/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * terminal.h - the console of a VM in the foreground (vm-boot -f) on standard
 * input and output.
 *
 * A terminal is put into raw mode until terminal_release(): every key goes to
 * the guest. "~." typed at the start of a line pulls the VM's plug; the guest
 * has seen the "~" by then. Without a terminal the bytes go through as they
 * are.
 */
#ifndef MACHINE_TERMINAL_H
#define MACHINE_TERMINAL_H

#include <termios.h>

#include "machine/console.h"

struct terminal {
	bool raw;			/* `saved` is to be restored */
	struct termios saved;
	enum { AT_START, AT_TILDE, AT_REST } at;	/* of a typed line */
	void (*leave)(void *arg);	/* "~." was typed */
	void *arg;
};

/* 0 or -errno with a sentence. LEAVE is called in the loop's thread. */
int terminal_attach(struct terminal *t, struct console *c,
		    void (*leave)(void *arg), void *arg);
void terminal_release(struct terminal *t);

#endif
