/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/vm.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/loop.h"

#include "scratch.h"
#include "test.h"

static char dir[SCRATCH_BYTES];
static struct store st;

enum { MANY = 100 };
static const uint64_t second = 1000000000;

static void make_state(void)
{
	scratch_make(dir);
	if (store_open(&st, "s", true) < 0)
		printf("# %s\n", err_text());
}

static void drop_state(void)
{
	store_close(&st);
	scratch_remove(dir);
}

struct seen {
	int ok, exists, other;
	char names[256];
};

static void see(struct stage *s, int rc, void *arg)
{
	struct seen *seen = arg;
	size_t len = strlen(seen->names);

	seen->ok += rc == 0;
	seen->exists += rc == -E_EXISTS;
	seen->other += rc < 0 && rc != -E_EXISTS;
	snprintf(seen->names + len, sizeof(seen->names) - len, "%s ", s->name);
}

static bool stage(struct stage *s, const char *name)
{
	struct config c = CONFIG_INIT;
	bool ok = vm_stage(s, &st, name) == 0 &&
		  config_set(&c, "note", name) == 0 &&
		  vm_stage_config(s, &c) == 0;

	config_release(&c);
	return ok;
}

static bool create(const char *name)
{
	struct seen seen = { 0 };
	struct stage s;
	bool ok = stage(&s, name) && stage_publish(&s, 1, see, &seen) == 0 &&
		  seen.ok == 1;

	stage_close(&s);
	return ok;
}

/* Whether all names, hidden ones too, are NAMES ("a b "). */
static bool holds(const char *names)
{
	struct dirent **e;
	int n = scandir("s/vms", &e, NULL, alphasort);
	struct buf b = BUF_INIT;
	bool ok;

	for (int i = 0; i < n; i++) {
		if (strcmp(e[i]->d_name, ".") && strcmp(e[i]->d_name, ".."))
			buf_printf(&b, "%s ", e[i]->d_name);
		free(e[i]);
	}
	free(e);
	ok = !strcmp(b.data, names);
	if (!ok)
		printf("# \"%s\", not \"%s\"\n", b.data, names);
	buf_release(&b);
	return ok;
}

static bool opens(struct vm *vm, const char *name)
{
	return vm_open(vm, &st, name) == 0;
}

/* Runs FN in a process of its own; its status. */
static int in_child(int (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(a_vm_is_there_whole_or_not_at_all)
{
	struct config c = CONFIG_INIT;
	struct seen seen = { 0 };
	struct stage s;
	struct vm vm;

	make_state();
	OK(stage(&s, "web1"));
	EQ(vm_open(&vm, &st, "web1"), -E_NOENT);
	STR(err_text(), "web1: no such VM");
	EQ(stage_publish(&s, 1, see, &seen), 0);
	OK(opens(&vm, "web1"));
	EQ(vm_locked(&vm), 0);	/* though S is still there */
	EQ(vm_config(&vm, &c), 0);
	STR(config_get(&c, "note"), "web1");
	stage_close(&s);
	OK(holds("web1 "));
	EQ(vm_stage(&s, &st, "web1"), -E_EXISTS);
	STR(err_text(), "web1: already exists");
	EQ(vm_stage(&s, &st, "../x"), -E_USAGE);
	stage_close(&s);
	config_release(&c);
	vm_close(&vm);
	drop_state();
}

TEST(many_are_published_in_order_and_a_name_taken_meanwhile_fails_alone)
{
	static const char *const names[] = { "c", "a", "b", "a", "d", "e" };
	struct stage s[ARRAY_SIZE(names)];
	struct seen seen = { 0 };

	make_state();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		OK(stage(&s[i], names[i]));
	OK(create("d"));
	EQ(stage_publish(s, ARRAY_SIZE(names), see, &seen), -E_EXISTS);
	STR(seen.names, "c a b a d e ");
	EQ(seen.ok, 4);
	EQ(seen.exists, 2);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		stage_close(&s[i]);
	OK(holds("a b c d e "));
	drop_state();
}

TEST(what_was_staged_and_not_published_is_removed)
{
	struct stage s;

	make_state();
	OK(stage(&s, "a"));
	OK(mkdirat(s.dir, "disk", 0700) == 0);
	OK(mkdirat(s.dir, "disk/x", 0700) == 0);
	stage_close(&s);
	stage_close(&s);
	OK(holds(""));
	drop_state();
}

TEST(a_lock_excludes_and_ends_with_its_holder)
{
	struct vm a, b;

	make_state();
	OK(create("web1") && opens(&a, "web1") && opens(&b, "web1"));
	EQ(vm_locked(&b), 0);
	EQ(vm_lock(&a, 0), 0);
	EQ(vm_locked(&b), 1);
	EQ(vm_lock(&b, 0), -E_BUSY);
	STR(err_text(), "web1: in use by another command");
	vm_unlock(&a);
	EQ(vm_locked(&b), 0);
	EQ(vm_lock(&b, 0), 0);
	vm_close(&b);
	EQ(vm_lock(&a, 0), 0);
	vm_close(&a);
	vm_close(&a);
	drop_state();
}

TEST(a_lock_passes_to_the_child_that_inherits_it)
{
	struct vm a, b;
	int up[2], down[2], status;
	char c;

	make_state();
	OK(create("web1") && opens(&a, "web1") && opens(&b, "web1"));
	OK(pipe(up) == 0 && pipe(down) == 0);
	EQ(vm_lock(&a, 0), 0);
	if (fork() == 0) {
		(void)!write(up[1], "x", 1);
		close(down[1]);
		_exit(read(down[0], &c, 1) != 0);
	}
	OK(read(up[0], &c, 1) == 1);
	vm_close(&a);
	EQ(vm_lock(&b, 0), -E_BUSY);
	close(down[1]);
	EQ(vm_lock(&b, 10 * second), 0);
	OK(wait(&status) > 0 && status == 0);
	vm_close(&b);
	close(up[0]), close(up[1]), close(down[0]);
	drop_state();
}

TEST(kill_9_frees_the_lock)
{
	struct vm vm;
	pid_t pid;
	int up[2];
	char c;

	make_state();
	OK(create("web1") && opens(&vm, "web1") && pipe(up) == 0);
	pid = fork();
	if (pid == 0) {
		if (vm_lock(&vm, 0) == 0)
			(void)!write(up[1], "x", 1);
		pause();
		_exit(0);
	}
	OK(read(up[0], &c, 1) == 1);
	EQ(vm_lock(&vm, 0), -E_BUSY);
	kill(pid, SIGKILL);
	EQ(vm_lock(&vm, 10 * second), 0);
	OK(waitpid(pid, NULL, 0) == pid);
	close(up[0]), close(up[1]);
	vm_close(&vm);
	drop_state();
}

TEST(waiting_for_a_lock_ends_when_it_should)
{
	uint64_t start;
	struct vm a, b;

	make_state();
	OK(create("web1") && opens(&a, "web1") && opens(&b, "web1"));
	EQ(vm_lock(&a, 0), 0);
	start = now_ns();
	EQ(vm_lock(&b, 30000000), -E_BUSY);
	OK(now_ns() - start >= 30000000);
	vm_close(&a);
	vm_close(&b);
	drop_state();
}

static int listen_at(int run)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/ctl",
		 run);
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(fd, 1) < 0)
		printf("# %s: %s\n", at.sun_path, strerror(errno));
	return fd;
}

TEST(what_is_left_of_a_killed_vm_is_waited_for)
{
	struct vm a, b;
	int run, up[2];
	char c;

	make_state();
	OK(create("web1") && opens(&a, "web1") && opens(&b, "web1"));
	OK(pipe(up) == 0);
	run = vm_run_dir(&a, true);
	close(listen_at(run));
	if (fork() == 0) {	/* it holds the lock for a while after */
		if (vm_lock(&a, 0) == 0)
			(void)!write(up[1], "x", 1);
		usleep(100000);
		_exit(0);
	}
	OK(read(up[0], &c, 1) == 1);
	EQ(vm_lock(&b, 0), 0);
	OK(wait(NULL) > 0);
	vm_close(&a);
	vm_close(&b);
	close(up[0]), close(up[1]), close(run);
	vm_remove_run_dir(&b);
	OK(remove_fd(store_run(&st, false)));
	drop_state();
}

TEST(a_locked_vm_runs_when_its_socket_answers)
{
	struct vm a, b;
	int run, ctl;

	make_state();
	OK(create("web1") && opens(&a, "web1") && opens(&b, "web1"));
	EQ(vm_lock(&a, 0), 0);
	EQ(vm_run_dir(&a, false), -ENOENT);
	run = vm_run_dir(&a, true);
	OK(run >= 0);
	ctl = listen_at(run);
	EQ(vm_lock(&b, 0), -E_BUSY);
	STR(err_text(), "web1: is running");
	close(ctl);
	EQ(vm_lock(&b, 0), -E_BUSY);
	STR(err_text(), "web1: in use by another command");
	close(run);
	run = vm_run_dir(&a, true);
	OK(run >= 0 && faccessat(run, "ctl", F_OK, 0) < 0);
	close(run);
	vm_remove_run_dir(&a);
	EQ(vm_run_dir(&a, false), -ENOENT);
	OK(remove_fd(store_run(&st, false)));
	vm_close(&a);
	vm_close(&b);
	drop_state();
}

TEST(a_removed_vm_is_gone_for_who_waited_for_it)
{
	struct vm a, b, c;

	make_state();
	OK(create("web1") && opens(&a, "web1") && opens(&b, "web1") &&
	   opens(&c, "web1"));
	OK(put("s/vms/web1/console.log", "x") &&
	   mkdir("s/vms/web1/disk", 0700) == 0 &&
	   symlink("/", "s/vms/web1/disk/root") == 0);
	EQ(vm_lock(&a, 0), 0);
	EQ(vm_remove(&a), 0);
	OK(holds(""));
	EQ(vm_lock(&b, 0), -E_NOENT);
	OK(create("web1"));
	EQ(vm_lock(&c, 0), -E_NOENT);
	STR(err_text(), "web1: no such VM");
	/* its remover was killed half way, so the lock is free */
	vm_close(&a);
	OK(opens(&a, "web1") && vm_locked(&a) == 0);
	OK(rename("s/vms/web1", "s/vms/.web1.old.1-0") == 0);
	EQ(vm_lock(&a, 0), -E_NOENT);
	OK(holds(".web1.old.1-0 "));
	vm_close(&a);
	vm_close(&b);
	vm_close(&c);
	drop_state();
}

static int make_and_die(void)
{
	struct stage s;

	return !(stage(&s, "dead") && mkdirat(s.dir, "disk", 0700) == 0);
}

static int remove_half_and_die(void)
{
	return rename("s/vms/gone", "s/vms/.gone.old.1-0") < 0;
}

TEST(sweeping_takes_what_is_nobodys_and_only_that)
{
	struct stage s;

	make_state();
	OK(create("web1") && create("gone") && stage(&s, "new"));
	EQ(in_child(make_and_die), 0);
	EQ(in_child(remove_half_and_die), 0);
	OK(mkdir("s/vms/.empty.new.1-0", 0700) == 0 &&
	   put("s/vms/.file.new.1-0", "") &&
	   mkdir("s/vms/.other", 0700) == 0 &&
	   symlink("web1", "s/vms/.link.old.1-0") == 0);
	record_sweep(st.vms);
	OK(is_there("s/vms/web1/config") && is_there("s/vms/.other") &&
	   is_there("s/vms/.file.new.1-0") && !is_there("s/vms/gone") &&
	   !is_there("s/vms/.gone.old.1-0") &&
	   !is_there("s/vms/.empty.new.1-0"));
	EQ(fchdir(s.dir), 0);
	OK(is_there("config"));
	EQ(chdir(dir), 0);
	stage_close(&s);
	OK(holds(".file.new.1-0 .link.old.1-0 .other web1 "));
	drop_state();
}

static int make_many(void)
{
	char name[16];

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "vm%d", i);
		if (!create(name))
			return 1;
	}
	return 0;
}

static int sweep_for_long(void)
{
	for (int i = 0; i < 20 * MANY; i++)
		record_sweep(st.vms);
	return 0;
}

TEST(sweepers_never_harm_makers)
{
	int status, failed = 0;
	struct vm vm;
	struct config c = CONFIG_INIT;

	make_state();
	for (int i = 0; i < 2; i++)
		if (fork() == 0)
			_exit(sweep_for_long());
	EQ(in_child(make_many), 0);
	while (wait(&status) > 0)
		failed += status != 0;
	EQ(failed, 0);
	for (int i = 0; i < MANY; i++) {
		char name[16];

		snprintf(name, sizeof(name), "vm%d", i);
		OK(opens(&vm, name));
		EQ(vm_config(&vm, &c), 0);
		vm_close(&vm);
	}
	config_release(&c);
	drop_state();
}

TEST(lists_hold_vms_only_in_the_order_of_their_numbers)
{
	static const char *const order[] = { "db", "web1", "web2", "web10" };
	char **names;
	size_t n;

	make_state();
	EQ(vm_list(&st, &names, &n), 0);
	EQ(n, 0);
	free(names);
	OK(create("web10") && create("web2") && create("db") && create("web1"));
	OK(put("s/vms/file", "") && symlink("db", "s/vms/link") == 0 &&
	   mkdir("s/vms/Not A Name", 0700) == 0 &&
	   mkdir("s/vms/.web3.new.1-1", 0700) == 0);
	EQ(vm_list(&st, &names, &n), 0);
	EQ(n, ARRAY_SIZE(order));
	for (size_t i = 0; i < n; i++)
		STR(names[i], order[i]);
	free(names);
	drop_state();
}

static int config_rc(const char *name)
{
	struct config c = CONFIG_INIT;
	struct vm vm;
	int rc = vm_open(&vm, &st, name);

	if (rc == 0)
		rc = vm_config(&vm, &c);
	config_release(&c);
	vm_close(&vm);
	return rc;
}

TEST(odd_vms_are_explained_and_never_waited_for)
{
	struct vm vm;

	make_state();
	OK(create("a") && unlink("s/vms/a/config") == 0);
	EQ(config_rc("a"), -ENOENT);
	STR(err_text(), "a: config: No such file or directory");
	OK(mkfifo("s/vms/a/config", 0600) == 0);
	EQ(config_rc("a"), -E_CONFIG);
	STR(err_text(), "a: config: not a regular file");
	OK(unlink("s/vms/a/config") == 0 &&
	   symlink("/etc/passwd", "s/vms/a/config") == 0);
	EQ(config_rc("a"), -E_CONFIG);
	STR(err_text(), "a: config: a symbolic link");
	OK(unlink("s/vms/a/config") == 0 && put("s/vms/a/config", "x\n"));
	EQ(config_rc("a"), -E_CONFIG);
	STR(err_text(), "a: config: line 1: 'x': not KEY=VALUE");
	EQ(truncate("s/vms/a/config", 1LL << 40), 0);
	EQ(config_rc("a"), -E_CONFIG);
	STR(err_text(), "a: config: larger than 262144 bytes");
	OK(put("s/vms/file", "") && symlink("a", "s/vms/link") == 0);
	EQ(config_rc("file"), -E_CONFIG);
	STR(err_text(), "file: not a directory");
	EQ(config_rc("link"), -E_CONFIG);
	EQ(config_rc("..") , -E_USAGE);
	OK(unlink("s/vms/a/lock") == 0 && mkfifo("s/vms/a/lock", 0600) == 0);
	OK(opens(&vm, "a"));
	EQ(vm_lock(&vm, second), -E_CONFIG);
	STR(err_text(), "a: lock: not a regular file");
	EQ(vm_locked(&vm), -E_CONFIG);
	OK(unlink("s/vms/a/lock") == 0);
	EQ(vm_locked(&vm), 0);
	EQ(vm_lock(&vm, 0), 0);
	EQ(vm_remove(&vm), 0);
	vm_close(&vm);
	drop_state();
}

TEST(a_config_is_replaced_whole_and_bounded)
{
	struct config c = CONFIG_INIT;
	char *huge = malloc(CONFIG_MAX + 1);
	struct vm vm;

	make_state();
	OK(huge && create("a") && opens(&vm, "a"));
	memset(huge, 'x', CONFIG_MAX);
	huge[CONFIG_MAX] = '\0';
	EQ(config_set(&c, "note", huge), 0);
	EQ(vm_set_config(&vm, &c), -E_CONFIG);
	STR(err_text(), "a: config: larger than 262144 bytes");
	EQ(config_set(&c, "note", "new"), 0);
	EQ(vm_set_config(&vm, &c), 0);
	EQ(vm_config(&vm, &c), 0);
	STR(config_get(&c, "note"), "new");
	free(huge);
	config_release(&c);
	vm_close(&vm);
	drop_state();
}

/* Whether the state can be mounted read-only, which then it is. */
static bool mount_read_only(void)
{
	return unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("s", "s", NULL, MS_BIND, NULL) == 0 &&
	       mount("none", "s", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY,
		     NULL) == 0;
}

enum { CANNOT = 77 };

/* The line where it went wrong. */
static int use_read_only(void)
{
	struct config c = CONFIG_INIT;
	struct stage s;
	struct vm vm;
	char **names;
	size_t n;

	if (!mount_read_only())
		return CANNOT;
	store_close(&st);
	if (store_open(&st, "s", true) < 0 || vm_list(&st, &names, &n) < 0 ||
	    n != 1)
		return 1;
	if (!opens(&vm, "a") || vm_config(&vm, &c) < 0 || vm_locked(&vm))
		return 2;
	if (vm_lock(&vm, 0) != -EROFS ||
	    strcmp(err_text(), "a: lock: Read-only file system"))
		return 3;
	if (vm_set_config(&vm, &c) != -EROFS ||
	    strcmp(err_text(), "a: config: Read-only file system"))
		return 4;
	if (vm_stage(&s, &st, "b") != -EROFS ||
	    strcmp(err_text(), "b: Read-only file system"))
		return 5;
	record_sweep(st.vms);
	return 0;
}

TEST(a_read_only_state_is_read_and_not_changed)
{
	int rc;

	make_state();
	OK(create("a"));
	rc = in_child(use_read_only);
	drop_state();
	if (rc == CANNOT)
		SKIP("nothing can be mounted here");
	EQ(rc, 0);
}

TESTS(T(a_vm_is_there_whole_or_not_at_all),
      T(many_are_published_in_order_and_a_name_taken_meanwhile_fails_alone),
      T(what_was_staged_and_not_published_is_removed),
      T(a_lock_excludes_and_ends_with_its_holder),
      T(a_lock_passes_to_the_child_that_inherits_it), T(kill_9_frees_the_lock),
      T(waiting_for_a_lock_ends_when_it_should),
      T(what_is_left_of_a_killed_vm_is_waited_for),
      T(a_locked_vm_runs_when_its_socket_answers),
      T(a_removed_vm_is_gone_for_who_waited_for_it),
      T(sweeping_takes_what_is_nobodys_and_only_that),
      T(sweepers_never_harm_makers),
      T(lists_hold_vms_only_in_the_order_of_their_numbers),
      T(odd_vms_are_explained_and_never_waited_for),
      T(a_config_is_replaced_whole_and_bounded),
      T(a_read_only_state_is_read_and_not_changed))
