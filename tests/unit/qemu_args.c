/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/qemu_args.h"

#include "base/err.h"

#include "scratch.h"
#include "test.h"

enum { KERNEL = 90, INITRD = 91, QMP = 92, COM = 93, HVC = 94 };

/*
 * What parts_open() makes of a config, and the command line for it. KERNEL to
 * HVC stand for descriptors: here they are only named.
 */
static struct fixture {
	char dir[SCRATCH_BYTES];
	struct vmconf conf;
	struct pv_parts parts;
	struct qemu_fds fds;
	struct qemu_args args;
} fx;

static bool put_disk(const char *name, off_t size)
{
	return put(name, "") && truncate(name, size) == 0;
}

/* There are disks `a` of 1 MiB, and `b` of nine sectors less 100 bytes. */
static bool begin(const char *config)
{
	struct config c = CONFIG_INIT;
	int rc = config_parse(&c, config, strlen(config));

	memset(&fx, 0, sizeof(fx));
	scratch_make(fx.dir);
	if (!put_disk("a", 1 << 20) || !put_disk("b", 9 * 512 - 100))
		return false;
	if (rc == 0)
		rc = vmconf_parse(&fx.conf, &c, NULL);
	config_release(&c);
	fx.parts = (struct pv_parts){
		.conf = &fx.conf, .kvm = -1, .kernel = KERNEL, .initrd = -1,
		.cmdline = strdup(fx.conf.append ? fx.conf.append : ""),
	};
	fx.fds = (struct qemu_fds){ .qmp = QMP, .link = { COM, -1 } };
	for (int i = 0; i < VMCONF_DISKS && rc == 0; i++)
		if (fx.conf.disk[i].path)
			rc = raw_open(&fx.parts.disk[i], fx.conf.disk[i].path,
				      fx.conf.disk[i].readonly);
	return rc == 0;
}

static int make(bool kvm)
{
	return qemu_args_make(&fx.args, &fx.parts, &fx.fds,
			      &(struct qemu_start){ .kvm = kvm });
}

static void end(void)
{
	qemu_args_release(&fx.args);
	for (int i = 0; i < VMCONF_DISKS; i++)
		block_close(fx.parts.disk[i]);
	free(fx.parts.cmdline);
	vmconf_release(&fx.conf);
	scratch_remove(fx.dir);
}

/* The value of the N-th option NAME (from 0), NULL if there are fewer. */
static const char *value(const char *name, int n)
{
	for (size_t i = 1; i + 1 < fx.args.n; i++)
		if (!strcmp(fx.args.v[i], name) && n-- == 0)
			return fx.args.v[i + 1];
	return NULL;
}

static bool has(const char *arg)
{
	for (size_t i = 0; i < fx.args.n; i++)
		if (!strcmp(fx.args.v[i], arg))
			return true;
	return false;
}

/* The -device that begins with NAME and a comma; "" if not exactly one does. */
static const char *device(const char *name)
{
	const char *found = "", *v;
	int n = 0;

	for (int i = 0; (v = value("-device", i)); i++)
		if (!strncmp(v, name, strlen(name)) && v[strlen(name)] == ',') {
			found = v;
			n++;
		}
	return n == 1 ? found : "";
}

static int count(const char *name)
{
	int n = 0;

	while (value(name, n))
		n++;
	return n;
}

TEST(there_is_nothing_but_what_is_named)
{
	OK(begin("cpus=3\nmemory=768M\n"));
	EQ(make(false), 0);
	STR(fx.args.v[0], "qemu-system-x86_64");
	OK(!fx.args.v[fx.args.n]);
	OK(has("-nodefaults"));
	OK(has("-no-user-config"));
	STR(value("-display", 0), "none");
	STR(value("-smp", 0), "3");
	STR(value("-m", 0), "768M");
	OK(!strncmp(value("-machine", 0), "q35,", 4));
	EQ(count("-device"), 3);	/* COM1 and randomness */
	EQ(count("-blockdev"), 0);
	EQ(count("-add-fd"), 0);
	EQ(count("-initrd"), 0);
	EQ(count("-chardev"), 2);
	OK(!has("-netdev") && !has("-nic") && !has("-drive") &&
	   !has("-monitor") && !has("-serial") && !has("-qmp") &&
	   !has("-bios") && !has("-vnc") && !has("-gdb") && !has("-daemonize"));
	end();
}

TEST(it_stands_until_told_to_go_and_at_its_end)
{
	OK(begin(""));
	EQ(make(false), 0);
	OK(has("-S"));
	STR(value("-action", 0), "reboot=shutdown,shutdown=pause");
	end();
}

TEST(it_is_in_qemus_sandbox)
{
	const char *sandbox;

	OK(begin(""));
	EQ(make(false), 0);
	sandbox = value("-sandbox", 0);
	OK(sandbox);
	OK(!strncmp(sandbox, "on,", 3));
	OK(strstr(sandbox, "obsolete=deny"));
	OK(strstr(sandbox, "elevateprivileges=deny"));
	OK(strstr(sandbox, "spawn=deny"));
	OK(strstr(sandbox, "resourcecontrol=deny"));
	end();
}

TEST(with_kvm_the_cpu_is_the_hosts_else_the_best_there_is)
{
	OK(begin(""));
	EQ(make(true), 0);
	STR(value("-accel", 0), "kvm");
	STR(value("-cpu", 0), "host");
	EQ(count("-accel"), 1);
	qemu_args_release(&fx.args);
	EQ(make(false), 0);
	STR(value("-accel", 0), "tcg,thread=multi");
	OK(!strncmp(value("-cpu", 0), "max,", 4));
	EQ(count("-accel"), 1);
	end();
}

TEST(kernel_and_initrd_are_descriptors_and_the_command_line_one_word)
{
	OK(begin("append=root=/dev/vda1 x=\"a,b\" -S console=ttyS0,115200\n"));
	fx.parts.initrd = INITRD;
	EQ(make(false), 0);
	STR(value("-kernel", 0), "/proc/self/fd/90");
	STR(value("-initrd", 0), "/proc/self/fd/91");
	STR(value("-append", 0),
	    "root=/dev/vda1 x=\"a,b\" -S console=ttyS0,115200");
	end();
}

TEST(memory_beyond_any_int_is_told_in_full)
{
	OK(begin("memory=1T\ncpus=254\n"));
	EQ(make(false), 0);
	STR(value("-m", 0), "1048576M");
	STR(value("-smp", 0), "254");
	end();
}

TEST(the_monitor_and_com1_are_sockets_handed_over)
{
	OK(begin(""));
	EQ(make(false), 0);
	STR(value("-chardev", 0), "socket,id=qmp,fd=92");
	STR(value("-mon", 0), "chardev=qmp,mode=control");
	EQ(count("-mon"), 1);
	STR(value("-chardev", 1), "socket,id=com1,fd=93");
	STR(device("isa-serial"), "isa-serial,chardev=com1");
	STR(device("virtio-serial-pci"), "");
	STR(device("virtconsole"), "");
	end();
}

TEST(hvc0_is_in_its_slot_beside_com1)
{
	OK(begin("console=virtio\n"));
	fx.fds.link[QEMU_HVC] = HVC;
	EQ(make(false), 0);
	STR(value("-chardev", 1), "socket,id=com1,fd=93");
	STR(value("-chardev", 2), "socket,id=hvc0,fd=94");
	STR(device("isa-serial"), "isa-serial,chardev=com1");
	EQ(PV_SLOT_CONSOLE, 2);
	STR(device("virtio-serial-pci"),
	    "virtio-serial-pci,addr=0x2,max_ports=1,disable-legacy=on");
	STR(device("virtconsole"), "virtconsole,chardev=hvc0");
	end();
}

TEST(randomness_is_in_its_slot)
{
	OK(begin(""));
	EQ(make(false), 0);
	STR(value("-object", 0), "rng-builtin,id=rng");
	EQ(PV_SLOT_RNG, 1);
	STR(device("virtio-rng-pci"),
	    "virtio-rng-pci,addr=0x1,rng=rng,disable-legacy=on");
	end();
}

/* The member KEY of an option's VALUE into TO; "" if it has none. */
static const char *member(const char *value_, const char *key, char to[64])
{
	size_t len = strlen(key);

	*to = '\0';
	for (const char *c = value_; c; c = strchr(c, ',')) {
		c += *c == ',';
		if (!strncmp(c, key, len) && c[len] == '=')
			snprintf(to, 64, "%.*s",
				 (int)strcspn(c + len + 1, ","), c + len + 1);
	}
	return to;
}

/* The value of an option NAME whose member KEY is IS; NULL if there is none. */
static const char *with(const char *name, const char *key, const char *is)
{
	const char *v;
	char text[64];

	for (int i = 0; (v = value(name, i)); i++)
		if (!strcmp(member(v, key, text), is))
			return v;
	return NULL;
}

/* A disk as QEMU is told of it, from the device down to the descriptor. */
struct told {
	const char *device, *disk, *file;
	int fd;
};

/* The disk in slot ADDR. */
static bool follow(const char *addr, struct told *t)
{
	char text[64];

	t->device = with("-device", "addr", addr);
	t->disk = with("-blockdev", "node-name",
		       member(t->device, "drive", text));
	t->file = with("-blockdev", "node-name",
		       member(t->disk, "file", text));
	if (!t->file || strncmp(member(t->file, "filename", text),
				"/dev/fdset/", 11))
		return false;
	t->fd = strtol(member(with("-add-fd", "set", text + 11), "fd", text),
		       NULL, 10);
	return true;
}

#define MEMBER(of, key, is) do { \
	char text_[64]; \
	STR(member(of, key, text_), is); \
} while (0)

TEST(a_disk_is_the_descriptor_we_have_locked)
{
	struct told t;

	OK(begin("disk0=a\n"));
	EQ(make(false), 0);
	EQ(PV_SLOT_DISKS, 4);
	OK(follow("0x4", &t));
	EQ(t.fd, block_fd(fx.parts.disk[0]));
	EQ(count("-add-fd"), 1);
	EQ(count("-blockdev"), 2);
	MEMBER(t.file, "driver", "file");
	MEMBER(t.file, "locking", "off");	/* ours is on it */
	MEMBER(t.disk, "driver", "raw");	/* whatever it begins with */
	OK(!strncmp(t.device, "virtio-blk-pci,", 15));
	MEMBER(t.device, "disable-legacy", "on");
	MEMBER(t.device, "logical_block_size", "512");
	MEMBER(t.device, "physical_block_size", "4096");
	MEMBER(t.device, "num-queues", "1");
	MEMBER(t.device, "write-cache", "on");
	MEMBER(t.device, "werror", "enospc");
	end();
}

TEST(each_disk_is_in_its_slot_whatever_others_there_are)
{
	struct told t;

	OK(begin("disk1=a,ro\ndisk15=b\n"));
	fx.parts.disk[15]->block_size = 4096;
	EQ(make(false), 0);
	EQ(count("-add-fd"), 2);
	OK(follow("0x5", &t));
	EQ(t.fd, block_fd(fx.parts.disk[1]));
	MEMBER(t.device, "logical_block_size", "512");
	OK(follow("0x13", &t));
	EQ(t.fd, block_fd(fx.parts.disk[15]));
	MEMBER(t.device, "logical_block_size", "4096");
	MEMBER(t.device, "physical_block_size", "4096");
	EQ(count("-device"), 5);
	end();
}

TEST(read_only_is_said_to_every_layer_and_no_layer_decides_itself)
{
	struct told t;

	OK(begin("disk0=a,ro\ndisk1=b\n"));
	EQ(make(false), 0);
	OK(follow("0x4", &t));
	MEMBER(t.file, "read-only", "on");
	MEMBER(t.disk, "read-only", "on");
	OK(follow("0x5", &t));
	MEMBER(t.file, "read-only", "off");
	MEMBER(t.file, "auto-read-only", "off");
	MEMBER(t.disk, "read-only", "off");
	end();
}

TEST(a_disk_has_the_size_it_has_with_us)
{
	struct told t;

	OK(begin("disk0=a\ndisk1=b\n"));
	EQ(make(false), 0);
	OK(follow("0x4", &t));
	MEMBER(t.disk, "size", "");	/* the file's: it may grow */
	OK(follow("0x5", &t));
	MEMBER(t.disk, "offset", "0");
	MEMBER(t.disk, "size", "4096");		/* without the half block */
	end();
}

TEST(caches_and_errors_are_as_the_config_says)
{
	struct told t;

	OK(begin("cpus=20\ndisk0=a,cache=writethrough,werror=stop\n"
		 "disk1=b,cache=unsafe,werror=report,queues=3\n"));
	EQ(make(false), 0);
	OK(follow("0x4", &t));
	MEMBER(t.device, "write-cache", "off");
	MEMBER(t.device, "config-wce", "off");
	MEMBER(t.device, "werror", "stop");
	MEMBER(t.device, "num-queues", "8");
	MEMBER(t.file, "cache.no-flush", "");
	OK(follow("0x5", &t));
	MEMBER(t.device, "write-cache", "on");
	MEMBER(t.device, "werror", "report");
	MEMBER(t.device, "num-queues", "3");
	MEMBER(t.file, "cache.no-flush", "on");
	end();
}

TEST(a_serial_number_is_no_further_options)
{
	static const struct { const char *serial, *is; } texts[] = {
		{ "A1", ",serial=A1" },
		{ "a,readonly=off", ",serial=a,,readonly=off" },
		{ ",", ",serial=,," },
		{ "x,,y", ",serial=x,,,,y" },
		{ "a=b \"c\"", ",serial=a=b \"c\"" },
		{ "", "=4096" },
	};

	OK(begin("disk0=a\n"));
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		const char *d, *is = texts[i].is;

		snprintf(fx.conf.disk[0].serial,
			 sizeof(fx.conf.disk[0].serial), "%s",
			 texts[i].serial);
		EQ(make(false), 0);
		d = device("virtio-blk-pci");
		OK(strlen(d) > strlen(is));
		STR(d + strlen(d) - strlen(is), is);
		qemu_args_release(&fx.args);
	}
	end();
}

/* Whether all "/" in ARG belong to a descriptor. */
static bool is_pathless(const char *arg)
{
	static const char *const fine[] = { "/proc/self/fd/", "/dev/fdset/" };

	for (const char *c = strchr(arg, '/'); c; c = strchr(c, '/')) {
		const char *from = c;

		for (size_t i = 0; i < ARRAY_SIZE(fine); i++)
			if (!strncmp(from, fine[i], strlen(fine[i])))
				c = from + strlen(fine[i]);
		if (c == from || *c < '0' || *c > '9')
			return false;
	}
	return true;
}

TEST(nothing_is_named_by_its_path)
{
	OK(begin("disk0=a\ndisk3=b,ro,serial=1\nconsole=virtio\nappend=x\n"
		 "kernel=/boot/vmlinuz\ninitrd=/boot/initrd\n"));
	fx.parts.initrd = INITRD;
	fx.fds.link[QEMU_HVC] = HVC;
	EQ(make(true), 0);
	for (size_t i = 0; i < fx.args.n; i++)
		OK(is_pathless(fx.args.v[i]));
	OK(is_pathless(value("-kernel", 0)));
	OK(!is_pathless("/proc/self/fd/x") && !is_pathless("a=/dev/kvm"));
	end();
}

TEST(releasing_is_idempotent)
{
	OK(begin("disk0=a\n"));
	EQ(make(false), 0);
	qemu_args_release(&fx.args);
	EQ(fx.args.n, 0);
	OK(!fx.args.v);
	end();
}

TEST(each_layer_of_a_chain_is_a_node_over_the_next)
{
	struct block *middle, *bottom;

	OK(begin("disk1=a,format=qcow2"));
	OK(put_disk("m", 1 << 20));
	EQ(raw_open(&middle, "m", true), 0);
	EQ(raw_open(&bottom, "b", true), 0);
	middle->backing = bottom;
	fx.parts.disk[1]->backing = middle;
	fx.parts.below[1] = FORMAT_RAW;
	EQ(make(false), 0);
	OK(value("-blockdev", 1) && strstr(value("-blockdev", 1),
		"driver=raw,node-name=node33,file=file33,read-only=on"));
	STR(value("-blockdev", 3), "driver=qcow2,node-name=node17,file=file17,"
	    "read-only=on,discard=unmap,backing=node33");
	STR(value("-blockdev", 5), "driver=qcow2,node-name=node1,file=file1,"
	    "read-only=off,discard=unmap,backing=node17");
	OK(!value("-blockdev", 6));
	end();
}

TESTS(T(each_layer_of_a_chain_is_a_node_over_the_next),
      T(there_is_nothing_but_what_is_named),
      T(it_stands_until_told_to_go_and_at_its_end), T(it_is_in_qemus_sandbox),
      T(with_kvm_the_cpu_is_the_hosts_else_the_best_there_is),
      T(kernel_and_initrd_are_descriptors_and_the_command_line_one_word),
      T(memory_beyond_any_int_is_told_in_full),
      T(the_monitor_and_com1_are_sockets_handed_over),
      T(hvc0_is_in_its_slot_beside_com1), T(randomness_is_in_its_slot),
      T(a_disk_is_the_descriptor_we_have_locked),
      T(each_disk_is_in_its_slot_whatever_others_there_are),
      T(read_only_is_said_to_every_layer_and_no_layer_decides_itself),
      T(a_disk_has_the_size_it_has_with_us),
      T(caches_and_errors_are_as_the_config_says),
      T(a_serial_number_is_no_further_options),
      T(nothing_is_named_by_its_path), T(releasing_is_idempotent))
