/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/diskconf.h"

#include "base/err.h"

#include "test.h"

static struct disk_conf d;

static int parse(const char *value)
{
	return disk_conf_parse(&d, "disk0", value);
}

TEST(every_option_is_read)
{
	EQ(parse("a.img"), 0);
	EQ(d.cache, CACHE_WRITEBACK);
	EQ(d.werror, WERROR_ENOSPC);
	EQ(d.queues + d.block_size + d.iops.per_second + d.bps.per_second, 0);
	EQ(parse("b,bus=virtio,format=qcow2,image=deb,ro,serial=A b,"
		 "cache=unsafe,werror=stop,queues=8,block_size=4K,"
		 "iops=500/1000,bps=10M"), 0);
	STR(d.path, "b");
	EQ(d.format, FORMAT_QCOW2);
	STR(d.image, "deb");
	OK(d.readonly);
	STR(d.serial, "A b");
	EQ(d.cache, CACHE_UNSAFE);
	EQ(d.werror, WERROR_STOP);
	EQ(d.queues, 8);
	EQ(d.block_size, 4096);
	EQ(d.iops.per_second, 500);
	EQ(d.iops.burst, 1000);
	EQ(d.bps.per_second, 10 << 20);
	EQ(d.bps.burst, 0);
	/* Nothing of one value is left in the next. */
	EQ(parse("c"), 0);
	OK(!d.readonly && !d.image[0] && !d.serial[0] && !d.queues &&
	   !d.iops.per_second && d.cache == CACHE_WRITEBACK);
}

TEST(what_cannot_be_is_refused_with_its_reason)
{
	static const struct { int rc; const char *value, *why; } bad[] = {
		{ E_CONFIG, "", "disk0: an empty path" },
		{ E_CONFIG, "a,cache=none",
		  "disk0: cache 'none': not writeback or writethrough or "
		  "unsafe" },
		{ E_CONFIG, "a,werror=",
		  "disk0: werror '': not enospc or stop or report" },
		{ E_CONFIG, "a,queues=0", "disk0: queues 0: 1 to 8" },
		{ E_CONFIG, "a,queues=9", "disk0: queues 9: 1 to 8" },
		{ E_USAGE, "a,queues=x", "disk0: queues 'x': not a number" },
		{ E_CONFIG, "a,block_size=1024",
		  "disk0: block_size 1024: not 512 or 4096" },
		{ E_CONFIG, "a,iops=0", "disk0: iops 0: at least 1" },
		{ E_CONFIG, "a,iops=5/0", "disk0: iops 5/0: at least 1" },
		{ E_USAGE, "a,iops=5/", "disk0: iops '': not a number" },
		{ E_USAGE, "a,bps=x",
		  "disk0: bps 'x': not a size (try 512M or 2G)" },
		{ E_CONFIG, "a,image=deb", "disk0: image=deb wants "
		  "format=qcow2" },
		{ E_USAGE, "a,ro=yes", "disk0: 'ro=yes': not a disk option ("
		  "base= block_size= bps= bus= cache= format= image= iops= queues= "
		  "ro serial= werror=); a path may hold no comma" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EQ(parse(bad[i].value), -bad[i].rc);
		STR(err_text(), bad[i].why);
	}
	OK(parse("a,ro") == 0 && parse("a,cache") == -E_USAGE);
}

TEST(only_limits_are_no_difference_until_the_next_boot)
{
	static const char *const others[] = {
		"b,serial=1", "a,serial=2", "a", "a,serial=1,ro",
		"a,serial=1,cache=unsafe", "a,serial=1,werror=stop",
		"a,serial=1,queues=2", "a,serial=1,block_size=4096",
		"a,serial=1,format=qcow2", "a,serial=1,format=qcow2,image=x",
	};
	struct disk_conf a = { 0 }, b = { 0 };

	OK(disk_conf_same(&a, &b));
	EQ(disk_conf_parse(&a, "disk0", "a,serial=1"), 0);
	OK(!disk_conf_same(&a, &b) && !disk_conf_same(&b, &a));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		EQ(disk_conf_parse(&b, "disk0", others[i]), 0);
		OK(!disk_conf_same(&a, &b));
		OK(disk_conf_same_rates(&a, &b));
	}
	EQ(disk_conf_parse(&b, "disk0", "a,iops=5,serial=1"), 0);
	OK(disk_conf_same(&a, &b) && !disk_conf_same_rates(&a, &b));
	EQ(disk_conf_parse(&a, "disk0", "a,iops=5/6,serial=1"), 0);
	OK(!disk_conf_same_rates(&a, &b));
	free(a.path);
	free(b.path);
}

TEST(an_option_is_set_or_taken_out_in_its_place)
{
	static const struct { const char *value, *option, *to, *is; } t[] = {
		{ "a", "iops", "5", "a,iops=5" },
		{ "a,iops=5,ro", "iops", "7/9", "a,ro,iops=7/9" },
		{ "a,iops=5,ro", "iops", NULL, "a,ro" },
		{ "a,iops=5,ro", "iops", "", "a,ro" },
		{ "a,iops=5,ro", "ro", "", "a,iops=5" },
		{ "a", "ro", "yes", "a,ro" },
		{ "a,rot,ro", "ro", "yes", "a,rot,ro" },
		{ "iops=1,iops=2", "iops", "3", "iops=1,iops=3" },
		{ "a,serial=iops=5", "iops", NULL, "a,serial=iops=5" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		autobuf struct buf b = BUF_INIT;

		disk_conf_edit(t[i].value, t[i].option, t[i].to, &b);
		STR(b.data, t[i].is);
	}
	free(take_ptr(d.path));
}

TESTS(T(every_option_is_read), T(what_cannot_be_is_refused_with_its_reason),
      T(only_limits_are_no_difference_until_the_next_boot),
      T(an_option_is_set_or_taken_out_in_its_place))
