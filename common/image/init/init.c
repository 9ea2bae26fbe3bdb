/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * init - the first program of a guest whose initrd we made (image/initrd.h).
 *
 * Loads the modules in /modules/list, finds and mounts the root that the
 * kernel's command line names, and becomes the init there. Understood are
 *
 *	root=/dev/NAME, PARTUUID=, UUID=, LABEL= (the last two of ext4)
 *	rootfstype= (ext4), rootflags=, ro (the default) and rw, init=
 *	vm.grow		an ext4 that is smaller than its disk is made as large
 *
 * What goes wrong is said on the console; then the machine is switched off,
 * for there is nobody whom a shell would help, and a reboot ends the same way.
 *
 * A static program of its own: of common/ only what reads partition tables is
 * in it.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "image/partition.h"

enum {
	WAIT_MS = 20000,		/* for the disk */
	STEP_MS = 10,
	CMDLINE_MAX = 4096,
	LIST_MAX = 64 << 10,
	DEV_NAME = 64,
};

/* linux/ext4.h, which is not for programs: grow to so many blocks */
#define RESIZE_FS _IOW('f', 16, uint64_t)

static const char root_dir[] = "/root";

/* What the command line says; the strings are parts of it. */
struct options {
	const char *root, *fstype, *flags, *init;
	bool rw, grow;
};

/* -- the console -- */

static void say(const char *fmt, ...) PRINTF(1, 2);

static void say(const char *fmt, ...)
{
	/* a console that is a module's was not there at the start */
	int fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	char text[ERR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	dprintf(fd < 0 ? STDERR_FILENO : fd, "initrd: %s\n", text);
	close_fd(&fd);
}

static void pause_ms(int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&t, NULL);
}

/* The end, when there is no way on. */
static _Noreturn void give_up(void)
{
	say("there is no way on from here: switching off");
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/* -- the command line -- */

static void read_word(struct options *o, const char *word)
{
	static const struct { const char *key; size_t at; } texts[] = {
		{ "root=", offsetof(struct options, root) },
		{ "rootfstype=", offsetof(struct options, fstype) },
		{ "rootflags=", offsetof(struct options, flags) },
		{ "init=", offsetof(struct options, init) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		starts_with(word, texts[i].key,
			    (const char **)((char *)o + texts[i].at));
	if (!strcmp(word, "rw") || !strcmp(word, "ro"))
		o->rw = word[1] == 'w';
	if (!strcmp(word, "vm.grow"))
		o->grow = true;
}

static void read_options(struct options *o, char line[static CMDLINE_MAX])
{
	autoclose int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read_up_to(fd, line, CMDLINE_MAX - 1);
	char *left = line;

	line[n > 0 ? n : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	*o = (struct options){ .fstype = "ext4" };
	while (left) {
		const char *word = cut(&left, ' ');

		if (!strcmp(word, "--"))	/* the rest is init's */
			break;
		read_word(o, word);
	}
}

/* -- modules -- */

static void load(const char *name)
{
	char path[DEV_NAME + 32];
	int fd;

	snprintf(path, sizeof(path), "/modules/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 &&
		       errno != EEXIST && errno != ENODEV))
		say("module %s: %s", name, strerror(errno));
	close_fd(&fd);
	unlink(path);	/* its memory is the guest's */
}

static void load_modules(void)
{
	autobuf struct buf list = BUF_INIT;
	char *left;

	if (file_read(AT_FDCWD, "/modules/list", &list, LIST_MAX) < 0) {
		say("%s", err_text());
		return;
	}
	left = list.data;
	while (left && *left)
		load(cut(&left, '\n'));
	unlink("/modules/list");
	rmdir("/modules");
}

/* -- the root's device -- */

/* Of ext4's super block (Documentation/filesystems/ext4/super.rst). */
struct super {
	uint8_t before[0x38];
	le16 magic;
	uint8_t between[0x2e];
	uint8_t uuid[16];
	char label[16];
} __attribute__((packed));
static_assert(sizeof(struct super) == 0x88, "ext4, super block");

enum { SUPER_AT = 1024, SUPER_MAGIC = 0xef53 };

/* Whether the ext4 at OFF of DISK has what KEY=VALUE says of it. */
static bool is_fs(struct block *disk, uint64_t off, const char *key,
		  const char *value)
{
	char uuid[UUID_TEXT], label[sizeof(((struct super *)0)->label) + 1];
	struct super s;

	if (block_read(disk, &s, sizeof(s), off + SUPER_AT) < 0 ||
	    get_le16(s.magic) != SUPER_MAGIC)
		return false;
	uuid_format(uuid, s.uuid);
	snprintf(label, sizeof(label), "%.*s", (int)sizeof(s.label), s.label);
	return !strcmp(key, "UUID") ? !strcasecmp(uuid, value) :
				      !strcmp(label, value);
}

/* Whether the disk NAME, or a partition of it, is KEY=VALUE; then its DEV. */
static bool look_at(const char *name, const char *key, const char *value,
		    char dev[static DEV_NAME])
{
	bool by_part = !strcmp(key, "PARTUUID"), found = false;
	struct partition p[PARTITION_MAX];
	const char *between;
	struct block *disk;
	int n;

	snprintf(dev, DEV_NAME, "/dev/%s", name);
	if (raw_open(&disk, dev, true) < 0)
		return false;
	if (!by_part && is_fs(disk, 0, key, value)) {
		block_close(disk);
		return true;
	}
	between = strchr("0123456789", name[strlen(name) - 1]) ? "p" : "";
	n = partition_list(disk, p);
	for (int i = 0; i < n && !found; i++) {
		found = by_part ? !strcasecmp(p[i].uuid, value) :
			is_fs(disk, p[i].off, key, value);
		snprintf(dev, DEV_NAME, "/dev/%s%s%d", name, between,
			 p[i].number);
	}
	block_close(disk);
	return found;
}

/* The device that KEY=VALUE is. */
static bool search(const char *key, const char *value, char dev[static DEV_NAME])
{
	DIR *d = opendir("/sys/block");
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d)))
		if (e->d_name[0] != '.' && strlen(e->d_name) < DEV_NAME / 2)
			found = look_at(e->d_name, key, value, dev);
	if (d)
		closedir(d);
	return found;
}

/* Whether ROOT is there now; then DEV. */
static bool find_root(const char *root, char dev[static DEV_NAME])
{
	static const char *const keys[] = { "PARTUUID", "UUID", "LABEL" };
	const char *rest;
	struct stat st;

	if (root[0] == '/') {
		snprintf(dev, DEV_NAME, "%s", root);
		return stat(dev, &st) == 0 && S_ISBLK(st.st_mode);
	}
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (starts_with(root, keys[i], &rest) && *rest == '=' &&
		    search(keys[i], rest + 1, dev))
			return stat(dev, &st) == 0;
	return false;
}

/* What disks there are, for whoever wonders why it is not among them. */
static void list_disks(void)
{
	autobuf struct buf b = BUF_INIT;
	DIR *d = opendir("/sys/class/block");
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			buf_printf(&b, " %s", e->d_name);
	if (d)
		closedir(d);
	say("disks here:%s", b.len ? b.data : " none");
}

static void wait_for_root(const struct options *o, char dev[static DEV_NAME])
{
	if (!o->root || !*o->root) {
		say("the command line says no root=");
		give_up();
	}
	for (int ms = 0; ms < WAIT_MS; ms += STEP_MS) {
		if (find_root(o->root, dev))
			return;
		pause_ms(STEP_MS);
	}
	say("root=%s: no such disk after %d s", o->root, WAIT_MS / 1000);
	list_disks();
	give_up();
}

/* -- the root -- */

/* Makes the file system on DEV, mounted on DIR, as large as that is. */
static void grow(const char *dev, const char *dir)
{
	autoclose int disk = open(dev, O_RDONLY | O_CLOEXEC);
	autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs st;
	uint64_t bytes, blocks;

	if (disk < 0 || fd < 0 || ioctl(disk, BLKGETSIZE64, &bytes) < 0 ||
	    fstatfs(fd, &st) < 0 || st.f_bsize <= 0) {
		say("%s: does not say its size: %s", dev, strerror(errno));
		return;
	}
	blocks = bytes / st.f_bsize;
	if (ioctl(fd, RESIZE_FS, &blocks) < 0)
		say("%s: its file system did not grow: %s", dev,
		    strerror(errno));
}

static void mount_root(const struct options *o, const char *dev)
{
	if (mount(dev, root_dir, o->fstype, o->rw ? 0 : MS_RDONLY,
		  o->flags ? o->flags : "") < 0) {
		say("%s: cannot be mounted as %s: %s", dev, o->fstype,
		    strerror(errno));
		give_up();
	}
	if (o->grow && o->rw)
		grow(dev, root_dir);
}

/* What is mounted here goes on in the root, if that has a place for it. */
static void move_mounts(void)
{
	static const char *const names[] = { "dev", "proc", "sys" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char from[16], to[32];

		snprintf(from, sizeof(from), "/%s", names[i]);
		snprintf(to, sizeof(to), "%s/%s", root_dir, names[i]);
		mkdir(to, 0755);
		if (mount(from, to, NULL, MS_MOVE, NULL) < 0)
			umount2(from, MNT_DETACH);
	}
}

static void enter_root(void)
{
	move_mounts();
	unlink("/init");
	if (chdir(root_dir) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 ||
	    chroot(".") < 0 || chdir("/") < 0) {
		say("the root cannot be entered: %s", strerror(errno));
		give_up();
	}
}

/* The console is what init has for its standard files. */
static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	for (int i = 0; i < 3 && fd >= 0; i++)
		if (fd != i)
			dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static _Noreturn void start_init(const struct options *o, char **argv)
{
	const char *const usual[] = { "/sbin/init", "/etc/init", "/bin/init",
				      "/bin/sh", NULL };
	const char *const given[] = { o->init, NULL };

	for (const char *const *p = o->init ? given : usual; *p; p++) {
		argv[0] = (char *)*p;
		execv(*p, argv);
		if (errno != ENOENT || o->init)
			say("%s: %s", *p, strerror(errno));
	}
	say("the root has no init that can be started");
	give_up();
}

int main(int argc, char **argv)
{
	char line[CMDLINE_MAX], dev[DEV_NAME];
	char *none[] = { NULL, NULL };
	struct options o;

	umask(0022);
	if (mount("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=755") < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "") < 0 ||
	    mount("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "") < 0) {
		say("/dev, /proc and /sys: %s", strerror(errno));
		give_up();
	}
	read_options(&o, line);
	load_modules();
	wait_for_root(&o, dev);
	mount_root(&o, dev);
	enter_root();
	open_console();
	start_init(&o, argc ? argv : none);
}
