/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/vmconf.h"

#include "base/err.h"

#include "test.h"

static int parse(struct vmconf *vc, const char *text)
{
	struct config c = CONFIG_INIT;
	int rc = config_parse(&c, text, strlen(text));

	*vc = (struct vmconf){ 0 };
	if (rc == 0)
		rc = vmconf_parse(vc, &c, NULL);
	config_release(&c);
	return rc;
}

TEST(an_empty_config_is_a_whole_machine)
{
	struct vmconf vc;

	EQ(parse(&vc, ""), 0);
	EQ(vc.cpus, 1);
	EQ(vc.memory, 512 << 20);
	EQ(vc.machine, MACHINE_PV);
	EQ(vc.console, CONSOLE_SERIAL);
	EQ(vc.console_log, 1 << 20);
	OK(!vc.kernel && !vc.initrd && !vc.append && !vc.disk[0].path);
	vmconf_release(&vc);
}

TEST(every_key_is_read)
{
	struct vmconf vc;

	EQ(parse(&vc, "cpus=254\nmemory=1T\nmachine=pv\nkernel=/k\ninitrd=i\n"
		 "append=quiet a,b=c\nconsole=virtio\nconsole_log=64K\n"
		 "disk0=a.img\n"
		 "disk15=/dev/x y,bus=virtio,format=raw,ro,serial=A b\n"
		 "note=\n"), 0);
	EQ(vc.cpus, 254);
	EQ(vc.memory, 1LL << 40);
	STR(vc.kernel, "/k");
	STR(vc.initrd, "i");
	STR(vc.append, "quiet a,b=c");
	EQ(vc.console, CONSOLE_VIRTIO);
	EQ(vc.console_log, 64 << 10);
	STR(vc.disk[0].path, "a.img");
	OK(!vc.disk[0].readonly);
	STR(vc.disk[0].serial, "");
	STR(vc.disk[15].path, "/dev/x y");
	OK(vc.disk[15].readonly);
	STR(vc.disk[15].serial, "A b");
	vmconf_release(&vc);
	OK(!vc.kernel && !vc.disk[15].path);
}

TEST(what_cannot_be_read_and_what_cannot_be_differ)
{
	static const struct { int rc; const char *text, *why; } bad[] = {
		{ E_USAGE, "cpus=", "cpus '': not a number" },
		{ E_USAGE, "cpus=-1", "cpus '-1': not a number" },
		{ E_USAGE, "cpus=1.5", "cpus '1.5': not a number" },
		{ E_CONFIG, "cpus=0", "cpus 0: at least 1" },
		{ E_CONFIG, "cpus=255", "cpus 255: at most 254" },
		{ E_CONFIG, "cpus=4294967297", "cpus 4294967297: at most 254" },
		{ E_USAGE, "memory=12x",
		  "memory '12x': not a size (try 512M or 2G)" },
		{ E_CONFIG, "memory=0", "memory 0: at least 2M" },
		{ E_CONFIG, "memory=1P", "memory 1P: at most 1T" },
		{ E_CONFIG, "memory=2097153",
		  "memory 2097153: not a multiple of 1M" },
		{ E_USAGE, "machine=pc", "machine 'pc': not pv" },
		{ E_USAGE, "console=vga",
		  "console 'vga': not serial or virtio" },
		{ E_CONFIG, "console_log=1K", "console_log 1K: at least 64K" },
		{ E_CONFIG, "console_log=1G", "console_log 1G: at most 64M" },
		{ E_CONFIG, "kernel=", "kernel: an empty path" },
		{ E_CONFIG, "initrd= ", "initrd: an empty path" },
		{ E_CONFIG, "disk0=", "disk0: an empty path" },
		{ E_CONFIG, "disk0=,ro", "disk0: an empty path" },
		{ E_CONFIG, "disk0=a,bus=ide",
		  "disk0: bus 'ide': only virtio" },
		{ E_CONFIG, "disk0=a,format=qcow3",
		  "disk0: format 'qcow3': not raw or qcow2" },
		{ E_CONFIG, "disk0=a,image=deb", "disk0: image=deb wants "
		  "format=qcow2" },
		{ E_USAGE, "disk0=a,image=../x", "disk0: '../x': not an image "
		  "name (a-z 0-9 . _ -, beginning with a letter or digit, at "
		  "most 63)" },
		{ E_USAGE, "kernel=image:", "kernel: '': not an image name "
		  "(a-z 0-9 . _ -, beginning with a letter or digit, at most "
		  "63)" },
		{ E_CONFIG, "disk3=a,serial=",
		  "disk3: serial '': 1 to 20 characters" },
		{ E_CONFIG, "disk3=a,serial=123456789012345678901",
		  "disk3: serial '123456789012345678901': 1 to 20 "
		  "characters" },
		{ E_CONFIG, "disk3=a,serial=\303\274",
		  "disk3: serial '\303\274': printable ASCII only" },
		{ E_USAGE, "disk0=a,b", "disk0: 'b': not a disk option ("
		  "base= block_size= bps= bus= cache= format= image= iops= queues= "
		  "ro serial= werror=); a path may hold no comma" },
		{ E_USAGE, "disk0=a,", "disk0: '': not a disk option ("
		  "base= block_size= bps= bus= cache= format= image= iops= queues= "
		  "ro serial= werror=); a path may hold no comma" },
		{ E_CONFIG, "disk16=a", "disk16: there are disk0 to disk15" },
		{ E_CONFIG, "disk00=a", "disk00: there are disk0 to disk15" },
		{ E_CONFIG, "disk18446744073709551616=a",
		  "disk18446744073709551616: there are disk0 to disk15" },
	};
	struct vmconf vc;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EQ(parse(&vc, bad[i].text), -bad[i].rc);
		STR(err_text(), bad[i].why);
		OK(!vc.kernel && !vc.disk[0].path);
	}
}

static char warned[64];

static void warn(const char *key)
{
	size_t len = strlen(warned);

	snprintf(warned + len, sizeof(warned) - len, "%s ", key);
}

TEST(unknown_keys_are_kept_and_named)
{
	static const char text[] = "net0=user\n# c\ndisk=a\ndiskx=b\ncpus=3\n";
	struct config c = CONFIG_INIT;
	struct vmconf vc = { 0 };

	EQ(config_parse(&c, text, strlen(text)), 0);
	EQ(vmconf_parse(&vc, &c, warn), 0);
	STR(warned, "net0 disk diskx ");
	EQ(vc.cpus, 3);
	vmconf_release(&vc);
	config_release(&c);
}

TEST(the_table_of_keys_is_complete_and_its_defaults_are_valid)
{
	struct vmconf vc = { 0 };

	for (const struct vmconf_key *k = vmconf_keys; k->key; k++) {
		OK(k->meta && k->help && k->parse);
		OK(strcmp(k->key, "disk*") ? vmconf_key(k->key) == k
					   : vmconf_key("disk7") == k);
		if (k->dflt)
			EQ(k->parse(&vc, k->key, k->dflt), 0);
	}
	OK(!vmconf_key("") && !vmconf_key("cpu") && !vmconf_key("cpus1"));
	vmconf_release(&vc);
}

TESTS(T(an_empty_config_is_a_whole_machine), T(every_key_is_read),
      T(what_cannot_be_read_and_what_cannot_be_differ),
      T(unknown_keys_are_kept_and_named),
      T(the_table_of_keys_is_complete_and_its_defaults_are_valid))
