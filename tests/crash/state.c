/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that changes the state is killed: before each of its system calls
 * in turn, and at random instants (SEED=N repeats a run). What it leaves must
 * be a state that every command accepts, with all that was acknowledged in
 * it. Power loss is judged by order: at each rename and at each
 * acknowledgement, what has its name by then must have been synced since it
 * was last changed.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "base/err.h"
#include "state/vm.h"

#include "../unit/scratch.h"
#include "../unit/test.h"

enum {
	ACK = 100,		/* the descriptor acknowledgements go to */
	NAMES = 8,
	RANDOM_KILLS = 150,
	BATCH = 6,		/* VMs made durable in one go */
	CALLS_MAX = 2000,	/* more system calls than the job makes */
	DIRTY_MAX = 1000,
};

static char dir[SCRATCH_BYTES];
static struct store st;

/* What is tested is the order of calls, on any file system: memory is fast. */
static void make_scratch(void)
{
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0);
	scratch_make(dir);
}

/* -- the job: steps, each acknowledged by its value -- */

static void published(struct stage *s, int rc, void *arg)
{
	(void)s;
	*(int *)arg |= rc;
}

/* Creates the VMs whose names are the letters of NAMES, with note=1. */
static int create(const char *names)
{
	struct config c = CONFIG_INIT;
	struct stage s[BATCH];
	size_t n = strlen(names);
	int rc = config_set(&c, "note", "1");

	for (size_t i = 0; rc == 0 && i < n; i++) {
		rc = vm_stage(&s[i], &st, (char[]){ names[i], '\0' });
		if (rc == 0)
			rc = vm_stage_config(&s[i], &c);
	}
	if (rc == 0)
		stage_publish(s, n, published, &rc);
	for (size_t i = 0; rc == 0 && i < n; i++)
		stage_close(&s[i]);
	config_release(&c);
	return rc;
}

static int set_note(const char *name, const char *note)
{
	struct config c = CONFIG_INIT;
	struct vm vm;
	int rc = vm_open(&vm, &st, name);

	if (rc == 0)
		rc = vm_lock(&vm, 0);
	if (rc == 0)
		rc = vm_config(&vm, &c);
	if (rc == 0)
		rc = config_set(&c, "note", note);
	if (rc == 0)
		rc = vm_set_config(&vm, &c);
	vm_close(&vm);
	config_release(&c);
	return rc;
}

static int drop(const char *name)
{
	struct vm vm;
	int rc = vm_open(&vm, &st, name);

	if (rc == 0)
		rc = vm_lock(&vm, 0);
	if (rc == 0)
		rc = vm_remove(&vm);
	vm_close(&vm);
	return rc;
}

static int make_state(void) { return store_open(&st, "s", true); }
static int create_two(void) { return create("ab"); }
static int create_many(void) { return create("cdefgh"); }
static int set_a(void) { return set_note("a", "2"); }
static int remove_b(void) { return drop("b"); }
static int create_b(void) { return create("b"); }

/* Each step with the VMs there are after it, and the note of a. */
static const struct {
	int (*fn)(void);
	const char *names, *note;
} steps[] = {
	{ NULL, "", "" },
	{ make_state, "", "" },
	{ create_two, "ab", "1" },
	{ set_a, "ab", "2" },
	{ create_many, "abcdefgh", "2" },
	{ remove_b, "acdefgh", "2" },
	{ create_b, "abcdefgh", "2" },
};

static void acknowledge(unsigned char what)
{
	if (write(ACK, &what, 1) != 1)
		_exit(1);
}

static void job(void)
{
	for (size_t i = 1; i < ARRAY_SIZE(steps); i++) {
		if (steps[i].fn() < 0) {
			printf("# step %zu: %s\n", i, err_text());
			_exit(1);
		}
		acknowledge(i);
	}
	_exit(0);
}

/* -- what is left -- */

/* The note of VM NAME; '\0': no such VM, '?': it cannot be used. */
static char note_of(const char *name)
{
	struct config c = CONFIG_INIT;
	char note = '?';
	struct vm vm;
	int rc = vm_open(&vm, &st, name);

	if (rc == -E_NOENT)
		return '\0';
	if (rc == 0 && vm_config(&vm, &c) == 0 && config_get(&c, "note") &&
	    vm_lock(&vm, 0) == 0)
		note = config_get(&c, "note")[0];
	if (note == '?')
		printf("# %s: %s\n", name, err_text());
	vm_close(&vm);
	config_release(&c);
	return note;
}

/* Whether nothing is in vms but VMs. */
static bool is_swept(void)
{
	DIR *list = opendir("s/vms");
	struct dirent *e;
	bool swept = true;

	while (list && (e = readdir(list)))
		if (e->d_name[0] == '.' && e->d_name[1] &&
		    strcmp(e->d_name, "..")) {
			printf("# left: %s\n", e->d_name);
			swept = false;
		}
	if (list)
		closedir(list);
	return swept;
}

/* Opens what is left as a reader, then as a command that creates. */
static bool accepts(void)
{
	char **names = NULL;
	size_t n;
	bool ok;

	if (store_open(&st, "s", false) < 0)
		return false;
	ok = vm_list(&st, &names, &n) == 0;
	for (size_t i = 0; ok && i < n; i++)
		ok = note_of(names[i]) != '?';
	free(names);
	store_close(&st);
	if (!ok || store_open(&st, "s", true) < 0)
		return false;
	record_sweep(st.vms);
	return is_swept();
}

/* Whether VM NAME is as after step DONE or, half done, the next one. */
static bool is_as_after(size_t done, char name)
{
	size_t next = done + 1 < ARRAY_SIZE(steps) ? done + 1 : done;
	bool before = strchr(steps[done].names, name);
	bool after = strchr(steps[next].names, name);
	char note = note_of((char[]){ name, '\0' });

	if (before == after && before != (note != '\0'))
		return false;
	return name != 'a' || !note || note == steps[done].note[0] ||
	       note == steps[next].note[0];
}

static bool is_left_well(size_t done)
{
	bool ok = accepts();

	if (!ok)
		printf("# not accepted: %s\n", err_text());
	for (char name = 'a'; ok && name <= 'h'; name++) {
		ok = is_as_after(done, name);
		if (!ok)
			printf("# VM %c after step %zu\n", name, done);
	}
	store_close(&st);
	return ok;
}

/* -- system calls, one by one -- */

struct tracee {
	pid_t pid;
	int acks;	/* what it acknowledges */
	bool ended;
	struct __ptrace_syscall_info call;
};

static bool trace(struct tracee *t, void (*fn)(void))
{
	int p[2], status;

	if (pipe2(p, O_CLOEXEC) < 0)
		return false;
	*t = (struct tracee){ .pid = fork(), .acks = p[0] };
	if (t->pid == 0) {
		dup2(p[1], ACK);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		fn();
		_exit(0);
	}
	close(p[1]);
	return t->pid > 0 && waitpid(t->pid, &status, 0) == t->pid &&
	       WIFSTOPPED(status) &&
	       ptrace(PTRACE_SETOPTIONS, t->pid, NULL,
		      PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0;
}

/* Lets it run to the next entry into, or exit from, a system call. */
static bool next_stop(struct tracee *t)
{
	int status;

	if (ptrace(PTRACE_SYSCALL, t->pid, NULL, NULL) < 0 ||
	    waitpid(t->pid, &status, 0) != t->pid || !WIFSTOPPED(status)) {
		t->ended = true;
		return false;
	}
	return ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, sizeof(t->call),
		      &t->call) > 0;
}

static void kill_tracee(struct tracee *t)
{
	if (!t->ended) {
		kill(t->pid, SIGKILL);
		waitpid(t->pid, NULL, 0);
	}
}

/* The last step that was acknowledged. */
static int last_ack(int fd)
{
	unsigned char ack = 0, c;

	while (read(fd, &c, 1) == 1)
		ack = c;
	close(fd);
	return ack;
}

/*
 * Runs the job and kills it before its system call number N. 1: it did, the
 * job ended before; 0: not; -1: what it left is bad.
 */
static int kill_before(int n)
{
	struct tracee t;
	int acks;

	if (!trace(&t, job))
		return -1;
	for (int calls = 0; calls < n && next_stop(&t);)
		calls += t.call.op == PTRACE_SYSCALL_INFO_ENTRY;
	kill_tracee(&t);
	acks = last_ack(t.acks);
	if (!is_left_well(acks)) {
		printf("# killed before system call %d\n", n);
		return -1;
	}
	return t.ended;
}

static bool can_trace(void)
{
	struct tracee t;
	bool ok = trace(&t, job) && next_stop(&t);

	kill_tracee(&t);
	close(t.acks);
	return ok;
}

TEST(killed_before_any_system_call_it_leaves_a_good_state)
{
	int ended = 0, n = 0;

	make_scratch();
	if (!can_trace())
		SKIP("nothing can be traced here");
	while (!ended) {
		OK(++n < CALLS_MAX);
		remove_tree(AT_FDCWD, "s");
		ended = kill_before(n);
		OK(ended >= 0);
	}
	printf("# %d system calls\n", n - 1);
	OK(n > 100);
	scratch_remove(dir);
}

/* -- power loss: what is dirty while it must not be -- */

struct inode {
	dev_t dev;
	ino_t ino;
};

static struct inode dirty[DIRTY_MAX];
static size_t ndirty;

static bool is_dirty(const struct stat *sb, size_t *at)
{
	for (size_t i = 0; i < ndirty; i++)
		if (dirty[i].dev == sb->st_dev && dirty[i].ino == sb->st_ino)
			return *at = i, true;
	return false;
}

static void set_dirty(const char *path, bool on)
{
	struct stat sb;
	size_t at;

	if (lstat(path, &sb) < 0 || is_dirty(&sb, &at) == on)
		return;
	if (!on)
		dirty[at] = dirty[--ndirty];
	else if (ndirty < DIRTY_MAX)
		dirty[ndirty++] = (struct inode){ sb.st_dev, sb.st_ino };
}

/* Whether PATH and all below it, but temporary files and locks, is synced. */
static bool is_durable(const char *path)
{
	char below[PATH_MAX];
	DIR *list = opendir(path);
	struct dirent *e;
	struct stat sb;
	size_t at;
	bool ok = lstat(path, &sb) < 0 || !is_dirty(&sb, &at);

	if (!ok)
		printf("# %s is not synced\n", path);
	while (list && (e = readdir(list)))
		if (e->d_name[0] != '.' && strcmp(e->d_name, "lock")) {
			snprintf(below, sizeof(below), "%s/%s", path,
				 e->d_name);
			ok = is_durable(below) && ok;
		}
	if (list)
		closedir(list);
	return ok;
}

/* The string at ADDR of the tracee. */
static void read_name(pid_t pid, uint64_t addr, char *name, size_t size)
{
	struct iovec to = { name, size - 1 };
	struct iovec from = { (void *)(uintptr_t)addr, size - 1 };
	ssize_t n = process_vm_readv(pid, &to, 1, &from, 1, 0);

	name[n < 0 ? 0 : n] = '\0';
}

/* The file open as FD there, or the directory FD when NAME is relative. */
static void fd_path(pid_t pid, uint64_t fd, char *path, size_t size)
{
	char link[64];
	ssize_t n;

	if ((int)fd == AT_FDCWD)
		snprintf(link, sizeof(link), "/proc/%d/cwd", pid);
	else
		snprintf(link, sizeof(link), "/proc/%d/fd/%d", pid, (int)fd);
	n = readlink(link, path, size - 1);
	path[n < 0 ? 0 : n] = '\0';
}

/* A name, as a system call gives it: directory descriptor and string. */
struct place {
	char dir[PATH_MAX], path[2 * PATH_MAX];
	bool temporary;
};

static void read_place(pid_t pid, uint64_t fd, uint64_t addr, struct place *p)
{
	char name[256];

	fd_path(pid, fd, p->dir, sizeof(p->dir));
	read_name(pid, addr, name, sizeof(name));
	snprintf(p->path, sizeof(p->path), "%s/%s", p->dir, name);
	p->temporary = name[0] == '.' || !strcmp(name, "lock");
}

/* Judges a call about to be made: renames and acknowledgements. */
static bool judge_entry(pid_t pid, uint64_t nr, const uint64_t *a)
{
	struct place p;

	if (nr == SYS_write && (int)a[0] == ACK)
		return is_durable("s");
	if (nr != SYS_renameat && nr != SYS_renameat2)
		return true;
	read_place(pid, a[0], a[1], &p);
	return is_durable(p.path);
}

/* Notes what a call that succeeded made dirty or clean. */
static void note_exit(pid_t pid, uint64_t nr, const uint64_t *a)
{
	char path[PATH_MAX];
	struct place p;

	switch (nr) {
	case SYS_write:
	case SYS_pwrite64:
	case SYS_ftruncate:
	case SYS_fsync:
	case SYS_fdatasync:
		fd_path(pid, a[0], path, sizeof(path));
		set_dirty(path, nr != SYS_fsync && nr != SYS_fdatasync);
		break;
	case SYS_syncfs:
		ndirty = 0;
		break;
	case SYS_openat:
		if (!(a[2] & O_CREAT))
			break;
		read_place(pid, a[0], a[1], &p);
		set_dirty(p.path, true);
		if (!p.temporary)
			set_dirty(p.dir, true);
		break;
	case SYS_mkdirat:
	case SYS_unlinkat:
		read_place(pid, a[0], a[1], &p);
		if (!p.temporary)
			set_dirty(p.dir, true);
		break;
	case SYS_renameat:
	case SYS_renameat2:
		read_place(pid, a[2], a[3], &p);
		set_dirty(p.dir, true);
		break;
	}
}

static bool is_always_durable(struct tracee *t)
{
	uint64_t nr = 0, args[6] = { 0 };
	bool ok = true;

	while (ok && next_stop(t))
		if (t->call.op == PTRACE_SYSCALL_INFO_ENTRY) {
			nr = t->call.entry.nr;
			for (int i = 0; i < 6; i++)
				args[i] = t->call.entry.args[i];
			ok = judge_entry(t->pid, nr, args);
		} else if (t->call.op == PTRACE_SYSCALL_INFO_EXIT &&
			   t->call.exit.rval >= 0) {
			note_exit(t->pid, nr, args);
		}
	return ok;
}

TEST(what_gets_its_name_or_is_acknowledged_was_synced)
{
	struct tracee t;
	bool ok;

	make_scratch();
	if (!can_trace())
		SKIP("nothing can be traced here");
	remove_tree(AT_FDCWD, "s");
	ndirty = 0;
	OK(trace(&t, job));
	ok = is_always_durable(&t);
	kill_tracee(&t);
	OK(ok);
	EQ(last_ack(t.acks), ARRAY_SIZE(steps) - 1);
	scratch_remove(dir);
}

/* -- random instants -- */

/* What is done to one VM: before it is begun, and again when it is done. */
struct record {
	char name, done;
	char note;	/* '\0': removed */
};

static void say(char name, char done, char note)
{
	struct record r = { name, done, note };

	if (write(ACK, &r, sizeof(r)) != sizeof(r))
		_exit(1);
}

static void change_for_ever(unsigned seed)
{
	for (;;) {
		char name[] = { 'a' + rand_r(&seed) % NAMES, '\0' };
		char note[] = { '2' + rand_r(&seed) % 8, '\0' };
		bool there = note_of(name), remove = rand_r(&seed) % 2;
		int rc;

		if (!there)
			note[0] = '1';
		else if (remove)
			note[0] = '\0';
		say(name[0], 0, note[0]);
		rc = !there ? create(name) : remove ? drop(name)
						    : set_note(name, note);
		if (rc < 0)
			_exit(1);
		say(name[0], 1, note[0]);
	}
}

/* Kills it after US microseconds; its records change MODEL, LAST the last. */
static bool run_and_kill(unsigned seed, unsigned us, char *model,
			 struct record *last)
{
	struct timespec pause = { .tv_nsec = us * 1000 };
	struct record r;
	int p[2], status;
	pid_t pid;

	if (store_open(&st, "s", true) < 0 || pipe2(p, O_CLOEXEC) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		dup2(p[1], ACK);
		change_for_ever(seed);
	}
	store_close(&st);
	close(p[1]);
	nanosleep(&pause, NULL);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	*last = (struct record){ .done = 1 };
	while (read(p[0], &r, sizeof(r)) == sizeof(r)) {
		*last = r;
		if (r.done)
			model[r.name - 'a'] = r.note;
	}
	close(p[0]);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* Compares with MODEL, which takes over what the last change came to. */
static bool is_as_said(char *model, const struct record *last)
{
	bool ok = accepts();

	for (int i = 0; ok && i < NAMES; i++) {
		char note = note_of((char[]){ 'a' + i, '\0' });

		ok = note == model[i] || (!last->done &&
					  last->name == 'a' + i &&
					  note == last->note);
		if (!ok)
			printf("# VM %c: note '%c', not '%c'\n", 'a' + i, note,
			       model[i]);
		model[i] = note;
	}
	store_close(&st);
	return ok;
}

TEST(killed_at_random_instants_it_loses_nothing_acknowledged)
{
	const char *given = getenv("SEED");
	unsigned seed = given ? strtoul(given, NULL, 10)
			      : (unsigned)time(NULL);
	char model[NAMES] = { 0 };
	struct record last;

	printf("# SEED=%u\n", seed);
	make_scratch();
	for (int i = 0; i < RANDOM_KILLS; i++) {
		OK(run_and_kill(rand_r(&seed), 200 + rand_r(&seed) % 10000,
				model, &last));
		OK(is_as_said(model, &last));
	}
	scratch_remove(dir);
}

TESTS(T(killed_before_any_system_call_it_leaves_a_good_state),
      T(what_gets_its_name_or_is_acknowledged_was_synced),
      T(killed_at_random_instants_it_loses_nothing_acknowledged))
