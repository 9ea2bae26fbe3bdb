/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/seed.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/text.h"
#include "image/iso.h"

enum { HOSTNAME_MAX = 253 };

/*
 * S in YAML's double quotes, where no word has a meaning of its own. Beyond
 * ASCII, as in a key's comment, it might not be UTF-8, which YAML must be.
 */
static void put_quoted(struct buf *out, const char *s)
{
	buf_char(out, '"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_char(out, '\\');
		buf_char(out, (unsigned char)*s < 0x80 ? *s : '?');
	}
	buf_char(out, '"');
}

static void put_line(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, "%s: ", key);
	put_quoted(out, value);
	buf_char(out, '\n');
}

static bool hostname_ok(const char *s)
{
	size_t len = strlen(s);

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && s[i] != '-' &&
		    s[i] != '.')
			return false;
	return len && len <= HOSTNAME_MAX && isalnum((unsigned char)s[0]);
}

/*
 * Whether S is a key as authorized_keys has them: perhaps options, the type,
 * base64. What sshd then thinks of it is its own matter.
 */
static int check_key(const char *s)
{
	for (const char *p = s; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return fail(E_USAGE, "control character 0x%02x",
				    (unsigned char)*p);
	if (strstr(s, "-----BEGIN"))
		return fail(E_USAGE, "a private key; give the .pub");
	if (!strstr(s, " AAAA"))
		return fail(E_USAGE, "not an ssh public key");
	return 0;
}

/* Cuts white space at both ends of S. */
static char *trim(char *s)
{
	size_t len;

	while (isspace((unsigned char)*s))
		s++;
	for (len = strlen(s); len && isspace((unsigned char)s[len - 1]); len--)
		;
	s[len] = '\0';
	return s;
}

/* Appends the keys of TEXT, a line each. */
static int put_keys(struct buf *out, const char *text)
{
	autofree char *copy = strdup(text);
	bool any = false;
	size_t n = 0;

	if (!copy)
		return fail(ENOMEM, "out of memory");
	for (char *rest = copy; rest;) {
		const char *key = trim(cut(&rest, '\n'));
		int rc;

		n++;
		if (!*key || *key == '#')
			continue;
		rc = check_key(key);
		if (rc < 0)
			return fail_in(rc, "ssh key: line %zu", n);
		buf_str(out, any ? "  - " : "public-keys:\n  - ");
		put_quoted(out, key);
		buf_char(out, '\n');
		any = true;
	}
	return any ? 0 : fail(E_USAGE, "ssh key: nothing in it");
}

int seed_new_id(char id[SEED_ID], const char *name)
{
	uint32_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return fail_sys("random");
	snprintf(id, SEED_ID, "%.48s-%08x", name, random);
	return 0;
}

int seed_meta_data(const struct seed *s, struct buf *out)
{
	int rc = 0;

	if (!name_ok(s->id))
		return fail(E_USAGE, "'%.80s': not an instance's id", s->id);
	if (!hostname_ok(s->hostname))
		return fail(E_USAGE, "'%.80s': not a host name", s->hostname);
	put_line(out, "instance-id", s->id);
	put_line(out, "local-hostname", s->hostname);
	if (s->ssh_keys)
		rc = put_keys(out, s->ssh_keys);
	if (rc == 0 && out->failed)
		rc = fail(ENOMEM, "out of memory");
	return rc;
}

/* META is its meta-data. */
static int write_with(const struct seed *s, const struct buf *meta, int fd)
{
	static const char nothing[] = "#cloud-config\n";
	/* network-config stands in the middle and may be absent */
	struct iso_file file[3];
	size_t n = 0;
	int rc;

	file[n++] = (struct iso_file){ "meta-data", meta->data, meta->len };
	if (s->network_config)
		file[n++] = (struct iso_file){ "network-config",
			s->network_config, strlen(s->network_config) };
	file[n++] = s->user_data ?
		(struct iso_file){ "user-data", s->user_data,
				   s->user_data_len } :
		(struct iso_file){ "user-data", nothing, strlen(nothing) };
	for (size_t i = 0; i < n; i++)
		if (file[i].len > SEED_MAX)
			return fail(EFBIG, "%s: larger than %d bytes",
				    file[i].name, SEED_MAX);
	rc = iso_write(fd, "CIDATA", file, n);
	return rc < 0 ? fail_in(rc, "seed") : 0;
}

int seed_write(const struct seed *s, int fd)
{
	autobuf struct buf meta = BUF_INIT;
	int rc = seed_meta_data(s, &meta);

	return rc < 0 ? rc : write_with(s, &meta, fd);
}

/* What of the meta-data OLD is not the instance's own, behind META. */
static int keep_rest(const struct buf *old, struct buf *meta)
{
	char *rest = old->data;

	while (rest) {
		const char *line = cut(&rest, '\n');

		if (*line && !starts_with(line, "instance-id:", NULL) &&
		    !starts_with(line, "local-hostname:", NULL))
			buf_printf(meta, "%s\n", line);
	}
	return meta->failed ? fail(ENOMEM, "out of memory") : 0;
}

int seed_reissue(int from, const struct seed *s, int to)
{
	autobuf struct buf old = BUF_INIT, meta = BUF_INIT;
	autobuf struct buf user = BUF_INIT, net = BUF_INIT;
	struct seed same = { .id = s->id, .hostname = s->hostname };
	int rc = iso_read(from, "meta-data", &old);

	if (rc == 0)
		rc = iso_read(from, "user-data", &user);
	if (rc == 0)
		rc = iso_read(from, "network-config", &net);
	if (rc == -ENOENT)
		rc = 0;
	else if (rc == 0)
		same.network_config = net.data;
	if (rc == 0)
		rc = seed_meta_data(&same, &meta);
	if (rc == 0)
		rc = keep_rest(&old, &meta);
	same.user_data = user.data;
	same.user_data_len = user.len;
	return rc < 0 ? rc : write_with(&same, &meta, to);
}
