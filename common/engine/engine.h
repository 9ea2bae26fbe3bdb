/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * engine.h - who runs a VM.
 *
 * An engine runs a VM's config in this process and serves ctl while it does;
 * everything above talks ctl and works the same whichever engine it is.
 *
 * engine_start() makes the process: it forks, and the child, which holds the
 * VM's lock from then on, becomes the VM: a session of its own, at home in
 * the VM's directory (paths of its config may be relative to it), with
 * standard error on the VM's file `log`, and no descriptor of the caller's
 * left open. The parent waits for one message on a pipe: the VM runs, or why
 * not.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "machine/run.h"
#include "state/vm.h"

struct engine {
	const char *name;
	/* 0, or -E_HOST / -E_PERM with a sentence: why it cannot run here. */
	int (*probe)(void);
	/* Until the VM ends: run.h. */
	int (*run)(const struct run_args *a);
};

extern const struct engine engine_kvm;

struct start_args {
	const struct vmconf *conf;
	bool paused;		/* before the first instruction */
	bool foreground;	/* in this process, console on the terminal */
	bool remove;		/* remove the VM when it ends */
};

/*
 * Starts VM, which is open and locked; its descriptors stay the caller's to
 * close (the VM's process has its own). Returns when the VM runs; with
 * `foreground`, when it ended. 0 or negative with a sentence.
 */
int engine_start(const struct engine *e, struct vm *vm,
		 const struct start_args *a);

#endif
