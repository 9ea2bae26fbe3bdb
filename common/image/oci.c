/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/oci.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/text.h"
#include "image/sums.h"

enum { HEX = 64 };

static const char digits[] = "0123456789abcdef";

/* -- references -- */

static int bad_ref(const char *text)
{
	return fail(E_USAGE, "'%.200s': not a reference "
		    "([HOST[:PORT]/]REPO[:TAG][@sha256:HEX])", text);
}

bool oci_digest_ok(const char *s)
{
	const char *hex;

	return starts_with(s, "sha256:", &hex) && strlen(hex) == HEX &&
	       strspn(hex, digits) == HEX;
}

/* A name or address, and perhaps a port. */
static bool host_ok(const char *s)
{
	static const char name[] = "0123456789abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ.-";
	size_t n = strspn(s, name);
	uint64_t port;

	if (*s == '[') {
		n = 1 + strspn(s + 1, "0123456789abcdefABCDEF:.");
		if (s[n++] != ']')
			return false;
	}
	if (!n || *s == '.' || *s == '-')
		return false;
	if (!s[n])
		return true;
	return s[n] == ':' && s[n + 1] >= '0' && s[n + 1] <= '9' &&
	       parse_u64("port", s + n + 1, &port) == 0 && port &&
	       port < 65536;
}

/* OCI distribution-spec 1.1, "Pulling manifests". */
static bool repo_ok(const char *s)
{
	static const char alnum[] = "0123456789abcdefghijklmnopqrstuvwxyz";

	for (;;) {
		size_t n = strspn(s, alnum), sep;

		if (!n)
			return false;
		s += n;
		if (!*s)
			return true;
		sep = strspn(s, "-");
		if (!sep && !strncmp(s, "__", 2))
			sep = 2;
		if (!sep && (*s == '.' || *s == '_' || *s == '/'))
			sep = 1;
		if (!sep)
			return false;
		s += sep;
	}
}

static bool tag_ok(const char *s)
{
	static const char word[] = "0123456789abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ_.-";

	return *s && *s != '.' && *s != '-' && !s[strspn(s, word)];
}

static bool is_host(const char *s)
{
	return strpbrk(s, ".:[") || !strcmp(s, "localhost");
}

static bool is_local(const char *host)
{
	static const char *const names[] = { "localhost", "127.0.0.1", "[::1]" };
	const char *rest;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (starts_with(host, names[i], &rest) &&
		    (!*rest || *rest == ':'))
			return true;
	return false;
}

static bool fits(char *to, size_t size, const char *before, const char *s)
{
	int n = snprintf(to, size, "%s%s", before, s);

	return n >= 0 && (size_t)n < size;
}

/* Docker Hub has its registry under another name than its own. */
static bool set_place(struct oci_ref *r, const char *host, const char *repo)
{
	bool hub = !*host || !strcmp(host, "docker.io") ||
		   !strcmp(host, "index.docker.io");

	r->plain = is_local(host);
	return (hub || host_ok(host)) && repo_ok(repo) &&
	       fits(r->host, sizeof(r->host), "",
		    hub ? "registry-1.docker.io" : host) &&
	       fits(r->repo, sizeof(r->repo),
		    hub && !strchr(repo, '/') ? "library/" : "", repo);
}

int oci_ref_parse(struct oci_ref *r, const char *text)
{
	autofree char *copy = strdup(text);
	char *repo = copy, *slash, *at, *colon;
	const char *host = "", *tag = "latest";

	*r = (struct oci_ref){ .plain = false };
	if (!copy)
		return fail(ENOMEM, "out of memory");
	at = strchr(repo, '@');
	if (at) {
		*at++ = '\0';
		if (!oci_digest_ok(at))
			return bad_ref(text);
		memcpy(r->digest, at, sizeof(r->digest));
	}
	slash = strchr(repo, '/');
	if (slash) {
		*slash = '\0';
		if (is_host(repo)) {
			host = repo;
			repo = slash + 1;
		} else {
			*slash = '/';
		}
	}
	colon = strchr(repo, ':');
	if (colon) {
		*colon = '\0';
		tag = colon + 1;
	}
	if (!tag_ok(tag) || !fits(r->tag, sizeof(r->tag), "", tag) ||
	    !set_place(r, host, repo))
		return bad_ref(text);
	return 0;
}

/* -- blobs -- */

int oci_blob_of(struct oci_blob *b, const char *text, size_t len)
{
	char digest[SUM_TEXT];
	struct sum sum;
	int rc = sum_data(text, len, SUM_SHA256, &sum);

	*b = (struct oci_blob){ .has_size = true, .size = len };
	if (rc == 0)
		memcpy(b->digest, sum_format(digest, &sum),
		       sizeof(b->digest));
	return rc;
}

static int check_size(const struct oci_blob *b, uint64_t size)
{
	if (!b->has_size || b->size == size)
		return 0;
	return fail(E_VERIFY, "%s: has %" PRIu64 " bytes, not %" PRIu64,
		    b->digest, size, b->size);
}

int oci_blob_check(const struct oci_blob *b, const char *text, size_t len)
{
	struct oci_blob is;
	int rc = check_size(b, len);

	if (rc == 0)
		rc = oci_blob_of(&is, text, len);
	if (rc < 0 || !strcmp(is.digest, b->digest))
		return rc;
	return fail(E_VERIFY, "%s: damaged or changed: its sum is %s",
		    b->digest, is.digest);
}

int oci_blob_check_file(const struct oci_blob *b, int fd)
{
	struct stat st;
	struct sum sum;
	int rc;

	if (fstat(fd, &st) < 0)
		return fail_sys("%s", b->digest);
	rc = check_size(b, st.st_size);
	if (rc == 0)
		rc = sum_parse(b->digest, &sum);
	if (rc == 0) {
		rc = sum_check(fd, &sum);
		if (rc < 0)
			fail_in(rc, "%s", b->digest);
	}
	return rc;
}

/* -- JSON -- */

static int damaged(const char *what)
{
	return fail(E_VERIFY, "damaged: %s", what);
}

static json_t *load(const char *text, size_t len)
{
	json_t *j = len <= OCI_JSON_MAX ?
		json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;

	if (!j)
		damaged(len <= OCI_JSON_MAX ? "no JSON" : "too large a JSON");
	return j;
}

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static bool is_one_of(const char *s, const char *const *words)
{
	return find_word(words, s) >= 0;
}

static bool is_index(const char *type)
{
	static const char *const types[] = {
		"application/vnd.oci.image.index.v1+json",
		"application/vnd.docker.distribution.manifest.list.v2+json",
		NULL
	};

	return is_one_of(type, types);
}

static bool is_manifest(const char *type)
{
	static const char *const types[] = {
		"application/vnd.oci.image.manifest.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json", NULL
	};

	return is_one_of(type, types);
}

/* In whatever compression: its first bytes tell that. */
static bool is_layer(const char *type)
{
	static const char *const types[] = {
		"application/vnd.oci.image.layer.v1.tar",
		"application/vnd.oci.image.layer.v1.tar+gzip",
		"application/vnd.oci.image.layer.v1.tar+zstd",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		NULL
	};

	return is_one_of(type, types);
}

static bool is_config(const char *type)
{
	static const char *const types[] = {
		"application/vnd.oci.image.config.v1+json",
		"application/vnd.docker.container.image.v1+json", NULL
	};

	return is_one_of(type, types);
}

static int read_blob(const json_t *j, struct oci_blob *b)
{
	const char *digest = text_of(j, "digest");
	json_t *size = json_object_get(j, "size");

	*b = (struct oci_blob){ .has_size = true };
	if (!oci_digest_ok(digest))
		return fail(E_VERIFY, "'%.100s': not a digest by sha256",
			    digest);
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return fail(E_VERIFY, "%s: without a size", digest);
	memcpy(b->digest, digest, sizeof(b->digest));
	b->size = json_integer_value(size);
	return 0;
}

/* -- indexes -- */

/* How well an entry of an index serves. */
enum fit { NOT, ALONE, VARIANT, EXACT };

static enum fit fit(const json_t *entry)
{
	json_t *platform = json_object_get(entry, "platform");
	const char *type = text_of(entry, "mediaType");

	if (!is_index(type) && !is_manifest(type))
		return NOT;
	if (!platform)
		return ALONE;
	if (strcmp(text_of(platform, "os"), "linux") ||
	    strcmp(text_of(platform, "architecture"), "amd64"))
		return NOT;
	return *text_of(platform, "variant") ? VARIANT : EXACT;
}

/* What a person calls an entry of a layout. */
static const char *name_of(const json_t *entry)
{
	return text_of(json_object_get(entry, "annotations"),
		       "org.opencontainers.image.ref.name");
}

/* Whether nothing tells which of two entries that serve is meant. */
static bool compete(const json_t *a, const json_t *b)
{
	if (!strcmp(text_of(a, "digest"), text_of(b, "digest")))
		return false;
	return (fit(a) == ALONE && fit(b) == ALONE) ||
	       strcmp(name_of(a), name_of(b));
}

static int choose(const json_t *list, struct oci_blob *next)
{
	const json_t *entry, *best = NULL;
	enum fit how = NOT, this;
	size_t i;

	json_array_foreach(list, i, entry) {
		this = fit(entry);
		if (best && this != NOT && compete(best, entry))
			return fail(E_CONFIG, "holds several images ('%.60s', "
				    "'%.60s'), and which is meant cannot be "
				    "said", name_of(best), name_of(entry));
		if (this > how) {
			best = entry;
			how = this;
		}
	}
	if (!best)
		return fail(E_CONFIG, "has nothing for linux/amd64");
	return read_blob(best, next);
}

/* -- manifests -- */

void oci_manifest_release(struct oci_manifest *m)
{
	free(m->layers);
	*m = (struct oci_manifest){ .nlayers = 0 };
}

static int new_layers(struct oci_manifest *m, const json_t *list)
{
	size_t n = json_array_size(list);

	if (!n)
		return fail(E_CONFIG, "has no layers");
	if (n > OCI_LAYERS_MAX)
		return fail(E_CONFIG, "more than %d layers", OCI_LAYERS_MAX);
	m->nlayers = n;
	return 0;
}

static int read_layers(struct oci_manifest *m, const json_t *list)
{
	const json_t *j;
	size_t i;
	int rc = new_layers(m, list);

	if (rc < 0)
		return rc;
	m->layers = calloc(m->nlayers, sizeof(*m->layers));
	if (!m->layers)
		return fail(ENOMEM, "out of memory");
	json_array_foreach(list, i, j) {
		if (!is_layer(text_of(j, "mediaType")))
			return fail(E_CONFIG, "has a layer of a kind that is "
				    "not known: '%.100s'",
				    text_of(j, "mediaType"));
		rc = read_blob(j, &m->layers[i]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_manifest(struct oci_manifest *m, const json_t *j)
{
	json_t *config = json_object_get(j, "config");
	int rc;

	if (!is_config(text_of(config, "mediaType")))
		return fail(E_CONFIG, "is no image but '%.100s'",
			    text_of(config, "mediaType"));
	rc = read_blob(config, &m->config);
	if (rc == 0 && m->config.size > OCI_JSON_MAX)
		rc = damaged("too large a config");
	return rc < 0 ? rc : read_layers(m, json_object_get(j, "layers"));
}

/*
 * What it is follows from what it has; its own word for it may be missing but
 * must not differ, lest two readers take one digest for two things.
 */
static int read_document(const json_t *j, struct oci_manifest *m,
			 struct oci_blob *next)
{
	json_t *manifests = json_object_get(j, "manifests");
	json_t *layers = json_object_get(j, "layers");
	const char *type = text_of(j, "mediaType");
	int rc;

	if (json_integer_value(json_object_get(j, "schemaVersion")) != 2)
		return fail(E_CONFIG, "a manifest of a schema other than 2");
	if (!json_is_array(manifests) == !json_is_array(layers) ||
	    (*type && !(manifests ? is_index(type) : is_manifest(type))))
		return damaged("neither a manifest nor an index");
	if (!manifests)
		return read_manifest(m, j);
	rc = choose(manifests, next);
	return rc < 0 ? rc : 1;
}

int oci_parse(const char *text, size_t len, struct oci_manifest *m,
	      struct oci_blob *next)
{
	json_t *j = load(text, len);
	int rc;

	*m = (struct oci_manifest){ .nlayers = 0 };
	*next = (struct oci_blob){ .has_size = false };
	if (!j)
		return -E_VERIFY;
	rc = read_document(j, m, next);
	json_decref(j);
	if (rc < 0)
		oci_manifest_release(m);
	return rc;
}

int oci_resolve(const char *text, size_t len,
		int (*get)(void *arg, const struct oci_blob *what,
			   struct buf *out),
		void *arg, struct oci_manifest *m)
{
	autobuf struct buf b = BUF_INIT;
	struct oci_blob next;
	int rc = oci_parse(text, len, m, &next);

	for (int depth = 0; rc == 1; depth++) {
		if (depth == OCI_DEPTH_MAX)
			return damaged("indexes in indexes");
		if (next.size > OCI_JSON_MAX)
			return damaged("too large a manifest");
		buf_clear(&b);
		rc = get(arg, &next, &b);
		if (rc == 0 && b.failed)
			rc = fail(ENOMEM, "out of memory");
		if (rc == 0)
			rc = oci_blob_check(&next, b.data, b.len);
		if (rc == 0)
			rc = oci_parse(b.data, b.len, m, &next);
	}
	return rc;
}

/* -- configs -- */

static int fill_layers(struct oci_manifest *m, const json_t *ids)
{
	const json_t *id;
	size_t i;

	m->layers = calloc(m->nlayers, sizeof(*m->layers));
	if (!m->layers)
		return fail(ENOMEM, "out of memory");
	json_array_foreach(ids, i, id)
		memcpy(m->layers[i].digest, json_string_value(id),
		       OCI_DIGEST_BYTES);
	return 0;
}

static int read_config(const json_t *j, struct oci_manifest *m, bool fill)
{
	json_t *rootfs = json_object_get(j, "rootfs"), *id;
	json_t *ids = json_object_get(rootfs, "diff_ids");
	const char *os = text_of(j, "os"), *arch = text_of(j, "architecture");
	size_t i;

	if (strcmp(os, "linux") || strcmp(arch, "amd64"))
		return fail(E_CONFIG, "is for %.20s/%.20s, not linux/amd64",
			    *os ? os : "?", *arch ? arch : "?");
	if (strcmp(text_of(rootfs, "type"), "layers") ||
	    json_array_size(ids) != m->nlayers)
		return damaged("a config of other layers than the manifest's");
	json_array_foreach(ids, i, id)
		if (!json_is_string(id) ||
		    !oci_digest_ok(json_string_value(id)))
			return damaged("a config with layers without a digest");
	return fill ? fill_layers(m, ids) : 0;
}

int oci_config(const char *text, size_t len, struct oci_manifest *m, bool fill)
{
	json_t *j = load(text, len);
	int rc;

	if (!j)
		return -E_VERIFY;
	rc = read_config(j, m, fill);
	json_decref(j);
	return rc;
}

/* -- Docker archives -- */

/* The config is a file of such a name: "HEX.json", or "blobs/sha256/HEX". */
static int config_of(const char *name, struct oci_blob *b)
{
	const char *hex = name;

	starts_with(name, "blobs/sha256/", &hex);
	if (strspn(hex, digits) != HEX ||
	    (hex[HEX] && strcmp(hex + HEX, ".json")))
		return damaged("a config without a digest");
	*b = (struct oci_blob){ .has_size = false };
	snprintf(b->digest, sizeof(b->digest), "sha256:%.*s", HEX, hex);
	return 0;
}

int oci_docker(const char *text, size_t len, struct oci_manifest *m)
{
	json_t *j = load(text, len), *image = json_array_get(j, 0);
	int rc;

	*m = (struct oci_manifest){ .nlayers = 0 };
	if (!j)
		return -E_VERIFY;
	if (json_array_size(j) > 1)
		rc = fail(E_CONFIG, "holds several images, and which is meant "
			  "cannot be said");
	else
		rc = config_of(text_of(image, "Config"), &m->config);
	if (rc == 0)
		rc = new_layers(m, json_object_get(image, "Layers"));
	json_decref(j);
	return rc;
}
