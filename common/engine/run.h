/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * run.h - the life of one running VM, which is the life of one process.
 *
 * Theory of operation. run_vm() opens what outlives a reset: the disks, the
 * console, the ctl socket, the event loop. Then the engine builds a machine
 * and enters it. The loop's thread waits:
 *
 *	a request over ctl	verbs[] in run.c
 *	an event of the guest	reset, power-off, crash: set by any thread of
 *				the engine in `pending`, rung by an eventfd
 *	SIGTERM, SIGINT		the power button; a second one, or a guest that
 *				does not listen to the button: the plug
 *
 * A reset destroys the machine, memory and virtual hardware, and builds a new
 * one from the same config: nothing of the old can be left over. A guest that
 * its engine cannot go on with is `crashed`: its vCPUs stand, the process stays and
 * answers, so it can be looked at, reset or stopped.
 *
 * States: running, paused, crashed, stopping (the button was pressed by
 * request; running otherwise).
 */
#ifndef ENGINE_RUN_H
#define ENGINE_RUN_H

#include "state/vm.h"

struct engine;

struct run_args {
	const struct vm *vm;		/* open, its lock held */
	const struct vmconf *conf;
	bool paused;			/* before the first instruction */
	bool foreground;		/* console on standard input and output */
	void (*ready)(void *arg);	/* once: the VM runs and ctl answers */
	void *ready_arg;
};

/*
 * Runs the VM until it ends. 0: powered off or stopped; negative with a
 * sentence: it could not start, or (foreground) it crashed. The working
 * directory is the VM's.
 */
int run_vm(const struct engine *e, const struct run_args *a);

#endif
