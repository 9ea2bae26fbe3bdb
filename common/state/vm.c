/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/err.h"
#include "base/file.h"
#include "base/loop.h"

enum {
	WAIT_FIRST_NS = 1000000,
	WAIT_MOST_NS = 50000000,
	DYING_NS = 2000000000,		/* how long a killed VM may take */
};

/* -- a VM that is there -- */

int vm_open(struct vm *vm, struct store *st, const char *name)
{
	int rc = name_check("VM", name);

	*vm = (struct vm){ .store = st, .dir = -1, .lock = -1 };
	if (rc == 0)
		rc = store_again(st);
	if (rc < 0)
		return rc;
	snprintf(vm->name, sizeof(vm->name), "%s", name);
	rc = vm->dir = record_open(st->vms, "VM", name);
	return rc < 0 ? rc : 0;
}

void vm_unlock(struct vm *vm)
{
	close_fd(&vm->lock);
	vm->lock = -1;
}

void vm_close(struct vm *vm)
{
	vm_unlock(vm);
	close_fd(&vm->dir);
	vm->dir = -1;
}

int vm_config(const struct vm *vm, struct config *c)
{
	autobuf struct buf b = BUF_INIT;
	int rc = file_read(vm->dir, "config", &b, CONFIG_MAX);

	if (rc < 0)
		return fail_in(rc == -EFBIG ? -E_CONFIG : rc, "%s", vm->name);
	rc = config_parse(c, b.data, b.len);
	return rc < 0 ? fail_in(rc, "%s: config", vm->name) : 0;
}

/* The text of C for the VM NAME, if it may be one. */
static int config_text(const struct config *c, const char *name,
		       struct buf *text)
{
	config_format(c, text);
	if (text->failed)
		return fail(ENOMEM, "%s: config: out of memory", name);
	if (text->len > CONFIG_MAX)
		return fail(E_CONFIG, "%s: config: larger than %d bytes", name,
			    CONFIG_MAX);
	return 0;
}

int vm_set_config(const struct vm *vm, const struct config *c)
{
	autobuf struct buf text = BUF_INIT;
	int rc = config_text(c, vm->name, &text);

	if (rc < 0)
		return rc;
	rc = file_replace(vm->dir, "config", text.data, text.len, 0600);
	return rc < 0 ? fail_in(rc, "%s", vm->name) : 0;
}

int vm_stage_config(struct stage *s, const struct config *c)
{
	autobuf struct buf text = BUF_INIT;
	int rc = config_text(c, s->name, &text);

	return rc < 0 ? rc : stage_write(s, "config", text.data, text.len);
}

int vm_stage(struct stage *s, const struct store *st, const char *name)
{
	*s = (struct stage){ .dir = -1, .lock = -1 };
	if (st->vms < 0)
		return fail(ENOENT, "%s: no state directory", name);
	return stage_open(s, st->vms, "VM", name);
}

int vm_remove(struct vm *vm)
{
	return record_remove(vm->store->vms, vm->name, vm->dir);
}

int vm_list(const struct store *st, char ***names, size_t *n)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/vms", st->path ? st->path : "");
	return record_list(st->vms, path, names, n);
}

/* -- the lock -- */

/* Whether a VM's process listens on the socket `ctl` in RUN. */
static bool answers(int run)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC |
				  SOCK_NONBLOCK, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "/proc/self/fd/%d/ctl",
		 run);
	return fd >= 0 &&
	       (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 ||
		errno == EAGAIN);	/* many callers wait there already */
}

static int busy(const struct vm *vm)
{
	autoclose int run = vm_run_dir(vm, false);

	if (run >= 0 && answers(run))
		return fail(E_BUSY, "%s: is running", vm->name);
	return fail(E_BUSY, "%s: in use by another command", vm->name);
}

/*
 * Whether its process was killed and is not quite gone: its socket has a name
 * and no listener. Memory takes a moment to be freed, and a child to follow.
 */
static bool dying(const struct vm *vm)
{
	autoclose int run = vm_run_dir(vm, false);

	return run >= 0 && faccessat(run, "ctl", F_OK, AT_SYMLINK_NOFOLLOW) ==
	       0 && !answers(run);
}

int vm_lock(struct vm *vm, uint64_t wait_ns)
{
	uint64_t start = now_ns(), pause = WAIT_FIRST_NS;

	for (;;) {
		int rc = record_lock(vm->store->vms, "VM", vm->name, vm->dir,
				     false, &vm->lock);
		uint64_t waited = now_ns() - start;

		if (rc)
			return rc < 0 ? rc : 0;
		if (waited >= wait_ns && !(waited < DYING_NS && dying(vm)))
			return busy(vm);
		if (waited < wait_ns)
			pause = min_u64(pause, wait_ns - waited);
		nanosleep(&(struct timespec){ .tv_nsec = pause }, NULL);
		pause = min_u64(2 * pause, WAIT_MOST_NS);
	}
}

int vm_locked(const struct vm *vm)
{
	return record_locked(vm->name, vm->dir);
}

/* -- the run directory -- */

int vm_run_dir(const struct vm *vm, bool create)
{
	autoclose int run = store_run(vm->store, create);
	int rc, fd;

	if (run < 0)
		return run;
	if (create) {
		rc = remove_tree(run, vm->name);
		if (rc == 0 && mkdirat(run, vm->name, 0700) < 0)
			rc = fail_sys("%s", vm->name);
		if (rc < 0)
			return fail_in(rc, "run directory");
	}
	fd = openat(run, vm->name, O_PATH | O_DIRECTORY | O_NOFOLLOW |
		    O_CLOEXEC);
	return fd < 0 ? fail_sys("run directory: %s", vm->name) : fd;
}

void vm_remove_run_dir(const struct vm *vm)
{
	autoclose int run = store_run(vm->store, false);

	if (run >= 0)
		remove_tree(run, vm->name);
}
