/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state/vmconf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"

static const uint64_t mib = 1 << 20;

static int no_memory(const char *key)
{
	return fail(ENOMEM, "%s: out of memory", key);
}

static int set_text(char **field, const char *key, const char *value)
{
	free(*field);
	*field = strdup(value);
	return *field ? 0 : no_memory(key);
}

static int set_path(char **field, const char *key, const char *value)
{
	if (!*value)
		return fail(E_CONFIG, "%s: an empty path", key);
	return set_text(field, key, value);
}

/* A path, or the file of an image. */
static int set_file(char **field, const char *key, const char *value)
{
	const char *name;
	int rc = starts_with(value, "image:", &name) ?
		 name_check("image", name) : 0;

	return rc < 0 ? fail_in(rc, "%s", key) : set_path(field, key, value);
}

/* Which of the N words VALUE is. */
static int set_word(unsigned *field, const char *key, const char *value,
		    const char *const *words, unsigned n)
{
	autobuf struct buf all = BUF_INIT;

	for (*field = 0; *field < n; ++*field) {
		if (!strcmp(value, words[*field]))
			return 0;
		buf_printf(&all, "%s%s", *field ? " or " : "", words[*field]);
	}
	*field = 0;
	return fail(E_USAGE, "%s '%s': not %s", key, value, all.data);
}

/* Reads a size between MIN and MAX. */
static int set_size(uint64_t *field, const char *key, const char *value,
		    uint64_t min, uint64_t max)
{
	char limit[24];
	int rc = parse_size(key, value, field);

	if (rc < 0)
		return rc;
	if (*field < min)
		return fail(E_CONFIG, "%s %s: at least %s", key, value,
			    format_size_exact(limit, min));
	if (*field > max)
		return fail(E_CONFIG, "%s %s: at most %s", key, value,
			    format_size_exact(limit, max));
	return 0;
}

static int parse_cpus(struct vmconf *vc, const char *key, const char *value)
{
	uint64_t n;
	int rc = parse_u64(key, value, &n);

	if (rc < 0)
		return rc;
	if (n < 1 || n > VMCONF_CPUS)
		return fail(E_CONFIG, "%s %s: at %s %d", key, value,
			    n ? "most" : "least", n ? VMCONF_CPUS : 1);
	vc->cpus = n;
	return 0;
}

static int parse_memory(struct vmconf *vc, const char *key, const char *value)
{
	int rc = set_size(&vc->memory, key, value, VMCONF_MEMORY_MIN,
			  VMCONF_MEMORY_MAX);

	if (rc == 0 && vc->memory % mib)
		return fail(E_CONFIG, "%s %s: not a multiple of 1M", key,
			    value);
	return rc;
}

static int parse_machine(struct vmconf *vc, const char *key, const char *value)
{
	static const char *const words[] = { [MACHINE_PV] = "pv" };
	unsigned word;
	int rc = set_word(&word, key, value, words, ARRAY_SIZE(words));

	vc->machine = word;
	return rc;
}

const char *const engine_kinds[] = {
	[ENGINE_AUTO] = "auto", [ENGINE_KVM] = "kvm", [ENGINE_QEMU] = "qemu",
	[ENGINE_KVM_ANY] = "kvm-any", NULL
};

static int parse_engine(struct vmconf *vc, const char *key, const char *value)
{
	unsigned word;
	int rc = set_word(&word, key, value, engine_kinds,
			  ARRAY_SIZE(engine_kinds) - 1);

	vc->engine = word;
	return rc;
}

static int parse_kernel(struct vmconf *vc, const char *key, const char *value)
{
	return set_file(&vc->kernel, key, value);
}

static int parse_initrd(struct vmconf *vc, const char *key, const char *value)
{
	return set_file(&vc->initrd, key, value);
}

static int parse_append(struct vmconf *vc, const char *key, const char *value)
{
	return set_text(&vc->append, key, value);
}

static int parse_console(struct vmconf *vc, const char *key, const char *value)
{
	static const char *const words[] = {
		[CONSOLE_SERIAL] = "serial", [CONSOLE_VIRTIO] = "virtio",
	};
	unsigned word;
	int rc = set_word(&word, key, value, words, ARRAY_SIZE(words));

	vc->console = word;
	return rc;
}

static int parse_console_log(struct vmconf *vc, const char *key,
			     const char *value)
{
	return set_size(&vc->console_log, key, value, VMCONF_LOG_MIN,
			VMCONF_LOG_MAX);
}

/* The index N of "PREFIXn" as it is written by us: no sign, no zeros. */
static int parse_index(const char *key, const char *digits, unsigned count,
		       unsigned *out)
{
	uint64_t n;

	if (parse_u64(key, digits, &n) < 0 || n >= count ||
	    (digits[0] == '0' && digits[1]))
		return fail(E_CONFIG, "%s: there are %.*s0 to %.*s%u", key,
			    (int)(digits - key), key, (int)(digits - key), key,
			    count - 1);
	*out = n;
	return 0;
}

static int parse_disk(struct vmconf *vc, const char *key, const char *value)
{
	unsigned i = 0;
	int rc = parse_index(key, key + strlen("disk"), VMCONF_DISKS, &i);

	return rc < 0 ? rc : disk_conf_parse(&vc->disk[i], key, value);
}

/* For people and scripts; nothing in the VM. */
static int parse_note(struct vmconf *vc, const char *key, const char *value)
{
	(void)vc, (void)key, (void)value;
	return 0;
}

/* The name of a snapshot, which commands keep here. */
static int parse_snap(struct vmconf *vc, const char *key, const char *value)
{
	char *field = !strcmp(key, "parent") ? vc->parent : vc->restore;
	int rc = name_check("snapshot", value);

	if (rc < 0)
		return fail_in(rc, "%s", key);
	memcpy(field, value, strlen(value) + 1);
	return 0;
}

const struct vmconf_key vmconf_keys[] = {
	{ "cpus", "N", "1", "virtual CPUs, 1 to 254", false, parse_cpus },
	{ "memory", "SIZE", "512M", "guest memory, 2M to 1T", false,
	  parse_memory },
	{ "machine", "pv", "pv", "the kind of machine", false, parse_machine },
	{ "engine", "auto|kvm|qemu|kvm-any", "auto", "what runs it", false,
	  parse_engine },
	{ "kernel", "FILE", NULL, "Linux kernel, bzImage or ELF with a PVH "
	  "entry", false, parse_kernel },
	{ "initrd", "FILE", NULL, "initial RAM disk", false, parse_initrd },
	{ "append", "TEXT", NULL, "kernel command line", false, parse_append },
	{ "console", "serial|virtio", "serial", "the console's device: ttyS0 "
	  "or hvc0", false, parse_console },
	{ "console_log", "SIZE", "1M", "console output kept on disk, 64K to "
	  "64M", false, parse_console_log },
	{ "disk*", "FILE[,OPTION...]", NULL, "disk0 to disk15: file or block "
	  "device", false, parse_disk },
	{ "note", "TEXT", NULL, "anything, for people and scripts", true,
	  parse_note },
	{ "parent", "SNAP", NULL, "the snapshot the present state goes back "
	  "to", true, parse_snap },
	{ "restore", "SNAP", NULL, "the live snapshot the next boot goes on "
	  "from", true, parse_snap },
	{ 0 }
};

/* Whether KEY is NAME, or, NAME ending with '*', it with a number there. */
static bool key_matches(const char *name, const char *key)
{
	size_t len = strlen(name);

	if (name[len - 1] != '*')
		return !strcmp(name, key);
	len--;
	return !strncmp(name, key, len) && key[len] &&
	       key[len + strspn(key + len, "0123456789")] == '\0';
}

const struct vmconf_key *vmconf_key(const char *key)
{
	for (const struct vmconf_key *k = vmconf_keys; k->key; k++)
		if (key_matches(k->key, key))
			return k;
	return NULL;
}

static int set_defaults(struct vmconf *vc)
{
	for (const struct vmconf_key *k = vmconf_keys; k->key; k++) {
		int rc = k->dflt ? k->parse(vc, k->key, k->dflt) : 0;

		if (rc < 0)
			return rc;
	}
	return 0;
}

int vmconf_parse(struct vmconf *vc, const struct config *c,
		 void (*warn)(const char *key))
{
	int rc = set_defaults(vc);

	for (size_t i = 0; rc == 0 && i < c->n; i++) {
		const struct config_line *l = &c->line[i];
		const struct vmconf_key *k = l->key ? vmconf_key(l->key) : NULL;

		if (k)
			rc = k->parse(vc, l->key, l->value);
		else if (l->key && warn)
			warn(l->key);
	}
	if (rc < 0)
		vmconf_release(vc);
	return rc;
}

void vmconf_release(struct vmconf *vc)
{
	free(vc->kernel);
	free(vc->initrd);
	free(vc->append);
	for (int i = 0; i < VMCONF_DISKS; i++)
		free(vc->disk[i].path);
	*vc = (struct vmconf){ 0 };
}

const char *vmconf_disk_word(const char *key, char disk[VMCONF_KEY])
{
	const char *dot = strchr(key, '.');

	if (!dot || dot - key >= VMCONF_KEY)
		return NULL;
	memcpy(disk, key, dot - key);
	disk[dot - key] = '\0';
	return starts_with(disk, "disk", NULL) && vmconf_key(disk) ? dot + 1 :
								     NULL;
}

int vmconf_set_word(struct config *c, const char *disk, const char *word,
		    const char *value)
{
	const struct disk_option *o = disk_option(word);
	const char *is = config_get(c, disk);
	autobuf struct buf text = BUF_INIT;
	bool on = true;
	int rc;

	if (!o)
		return fail(E_USAGE, "unknown key '%s.%s'", disk, word);
	if (!is)
		return fail(E_CONFIG, "%s: there is no such disk", disk);
	rc = value && !o->meta ? parse_bool(word, value, &on) : 0;
	if (rc < 0)
		return fail_in(rc, "%s", disk);
	disk_conf_edit(is, word, on ? value : NULL, &text);
	return text.failed ? no_memory(disk) : config_set(c, disk, text.data);
}

unsigned vmconf_queues(const struct vmconf *vc, const struct disk_conf *d)
{
	return d->queues ? d->queues : min_u64(vc->cpus, DISK_QUEUES);
}
