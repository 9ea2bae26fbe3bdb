/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * engine.h - who runs a VM.
 *
 * Theory. The life of a VM's process is the same for every engine (run.h): it
 * serves ctl, keeps the console, and waits for what the guest does. An engine
 * is a table of what differs: how a machine is built, entered, paused and
 * destroyed. Everything above talks ctl and does not know which one it is;
 * what an engine cannot do it says with a sentence and a code.
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

#include "base/buf.h"
#include "engine/run.h"
#include "machine/console.h"
#include "state/vm.h"

enum guest_event {
	GUEST_RESET,
	GUEST_POWEROFF,
	GUEST_CRASH,	/* it cannot go on, and stands to be looked at */
	GUEST_LOST,	/* it is gone, by no wish of its own */
	GUEST_STALL,	/* a disk keeps what it cannot write: pause it */
};

/* One VM as its engine sees it. All but `self` is run.c's. */
struct guest {
	const struct engine *engine;
	const struct vm *vm;
	const struct vmconf *conf;
	struct loop *loop;
	struct console *console;	/* the machine's console writes to it */
	/* From any thread; it only wakes the loop. */
	void (*event)(struct guest *g, enum guest_event e);
	void *self;			/* the engine's own */
};

/*
 * One instant of a VM that runs: its disks go on in new, empty layers over
 * what they are then, and, of a snapshot with memory, `dev` and `mem` are
 * written into a directory.
 */
struct snap_top {
	unsigned disk;
	const char *path;	/* of the new layer, seen from the VM's directory */
};

/* On what a layer rests: a file beside it. */
struct snap_rest {
	const char *file;	/* NULL: what its header says */
	enum disk_format format;
};

struct snap_point {
	int dir;	/* -1: the disks alone */
	/*
	 * The writing end of a pipe, of a snapshot with memory: whoever writes
	 * that says there how it ended, "ok\n" or "fail CODE SENTENCE\n".
	 * The caller's to close.
	 */
	int report;
	unsigned n;
	struct snap_top top[VMCONF_DISKS];
};

/*
 * All calls come from the loop's thread. Those that can fail return 0, or
 * negative with a sentence.
 */
struct engine {
	const char *name;
	/* Whether this host has what it takes: -E_HOST, -E_PERM if not. */
	int (*probe)(void);

	/*
	 * What outlives resets: kernel, disks and their locks. close() is
	 * called after it, whatever it returned.
	 */
	int (*open)(struct guest *g);
	void (*close)(struct guest *g);

	/*
	 * A machine, new in every part, from its first instruction on; `leave`
	 * destroys it (harmless without one, and after an `enter` that failed).
	 */
	int (*enter)(struct guest *g, bool paused);
	void (*leave)(struct guest *g);

	/* All vCPUs; idempotent. Who resumes tries again what is kept. */
	int (*pause)(struct guest *g);
	int (*resume)(struct guest *g);

	/*
	 * The instant P; the vCPUs stand, and all that is under way is ended
	 * first. Returns when they may go on. What of P was done before a
	 * failure stays, and does no harm.
	 */
	int (*snap)(struct guest *g, const struct snap_point *p);
	/*
	 * The layers below disk I's have changed, and it rests on R from now
	 * on. 0, or negative, and it goes on as before.
	 */
	int (*rest)(struct guest *g, unsigned i, const struct snap_rest *r);
	/*
	 * As `enter`, into the instant whose files are in DIR; the guest is
	 * told that it is another one than before. It stands when this returns.
	 */
	int (*restore)(struct guest *g, int dir);

	/* Disk I grows to SIZE bytes; has the limits of CONF from now on. */
	int (*resize_disk)(struct guest *g, unsigned i, uint64_t size);
	int (*limit_disk)(struct guest *g, unsigned i,
			  const struct disk_conf *conf);

	/* The power button; whether the guest has a driver for it. */
	int (*press)(struct guest *g);
	bool (*listens)(struct guest *g);

	/* Appends what only this engine knows, KEY=VALUE lines. */
	void (*status)(struct guest *g, struct buf *lines);
	/*
	 * Of a guest that crashed, was lost or stalled: the sentence. "": it
	 * goes on by now.
	 */
	const char *(*why)(struct guest *g);
};

extern const struct engine engine_kvm;		/* ours, on VT-x or SVM */
extern const struct engine engine_kvm_any;	/* ours, on any /dev/kvm */
extern const struct engine engine_qemu;		/* QEMU; see qemu.c */

/*
 * The engine for a config that says KIND, probed. With ENGINE_AUTO the first
 * that can run here; when that is not the best, WHY (SIZE bytes) says why, and
 * what it costs; "" otherwise. Negative with a sentence when none can.
 */
int engine_choose(enum engine_kind kind, const struct engine **e, char *why,
		  size_t size);

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
