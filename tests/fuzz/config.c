/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a VM's config: what is accepted is written back byte for byte,
 * survives a change, and means the same when it is read again.
 */
#include <assert.h>
#include <string.h>

#include "state/vmconf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether C is written as TEXT. */
static void check_text(const struct config *c, const char *text, size_t len)
{
	autobuf struct buf b = BUF_INIT;

	config_format(c, &b);
	assert(b.len == len && !memcmp(b.data, text, len));
}

/* Changes C, and reads back what that gives. */
static void check_set(struct config *c)
{
	autobuf struct buf b = BUF_INIT;
	struct config again = CONFIG_INIT;
	const char *value;

	assert(config_set(c, "note", "a b") == 0);
	config_format(c, &b);
	if (b.len > CONFIG_MAX)
		return;
	assert(config_parse(&again, b.data, b.len) == 0);
	value = config_get(&again, "note");
	assert(value && !strcmp(value, "a b"));
	for (size_t i = 0; i < c->n; i++)
		if (c->line[i].key) {
			value = config_get(&again, c->line[i].key);
			assert(value && !strcmp(value, c->line[i].value));
		}
	config_release(&again);
}

/* What vmconf.h promises of what is accepted. */
static void check_meaning(const struct config *c)
{
	struct vmconf vc = { 0 };

	if (vmconf_parse(&vc, c, NULL) == 0) {
		assert(vc.cpus >= 1 && vc.cpus <= VMCONF_CPUS);
		assert(vc.memory >= VMCONF_MEMORY_MIN &&
		       vc.memory <= VMCONF_MEMORY_MAX &&
		       vc.memory % (1 << 20) == 0);
		assert(!vc.kernel || vc.kernel[0]);
		for (int i = 0; i < VMCONF_DISKS; i++)
			assert(!vc.disk[i].path || vc.disk[i].path[0]);
	}
	vmconf_release(&vc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config c = CONFIG_INIT;

	if (config_parse(&c, (const char *)data, size) == 0) {
		check_text(&c, (const char *)data, size);
		check_meaning(&c);
		/* each line is looked up: keep that short */
		if (c.n < 1000)
			check_set(&c);
	}
	config_release(&c);
	return 0;
}
