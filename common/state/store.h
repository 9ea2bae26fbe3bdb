/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.h - the state directory: where it is, its format, its run directory
 * (vm-state.7).
 *
 *	PATH/format		"1\n": the layout's version
 *	PATH/vms/NAME/		one VM (vm.h)
 *	PATH/cache/		what can be made again (unpacked kernels)
 *
 * PATH is --state, else $VM_STATE, else /var/lib/vmutils for root and
 * $XDG_DATA_HOME/vmutils or ~/.local/share/vmutils for others. PATH may be a
 * link; below it links are not followed.
 *
 * kill -9 or power loss at any instant leaves a state that every command
 * accepts: what is written is made durable under another name and renamed,
 * and the directory is made durable before anything is acknowledged. Readers
 * lock nothing.
 *
 * The run directory holds the sockets of running VMs: RUN/NAME/ctl. RUN is
 * /run/vmutils for root, $XDG_RUNTIME_DIR/vmutils for others (without one
 * /tmp/vmutils-UID); it must be ours and 0700. For a state directory that is
 * not the default one it is the subdirectory @DEV-INO of it, from the state
 * directory's device and inode, so that two of them never meet. Nothing in it
 * is trusted alone: a VM runs when its lock is held and its socket answers.
 */
#ifndef STATE_STORE_H
#define STATE_STORE_H

#include "base/types.h"

enum { STORE_FORMAT = 1 };

struct store {
	int fd;		/* the state directory; -1: does not exist */
	int vms;	/* its vms/; -1 likewise */
	char *path;	/* as the person named it, for messages */
};

/*
 * Opens the state directory (PATH NULL: as above). CREATE makes it when it is
 * missing; without, a missing one is an empty one and no error. 0; -E_CONFIG
 * a newer format ("... is of format 7; this vmutils reads up to 1"), or not a
 * state directory; -errno (EACCES, EROFS ...) with a sentence.
 */
int store_open(struct store *st, const char *path, bool create);
/*
 * Looks again for a directory that was not there: in a pipe, the first VM of
 * all may be made while its reader already waits for the name. 0 also when it
 * still is not; else as store_open().
 */
int store_again(struct store *st);
void store_close(struct store *st);

/*
 * Opens NAME, one of its directories, for reading; CREATE makes a missing one
 * durably (0700). -ENOENT, -E_CONFIG (a file or a link), -errno.
 */
int store_dir(const struct store *st, const char *name, bool create);

/*
 * An O_PATH descriptor of the run directory of this state; CREATE makes it
 * (0700). -errno with a sentence; -ENOENT when it is not there.
 */
int store_run(const struct store *st, bool create);

#endif
