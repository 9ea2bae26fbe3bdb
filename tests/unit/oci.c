/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "oci.h"

#include "image/oci_auth.h"

#include "test.h"

#define HEX64 "0123456789abcdef0123456789abcdef" \
	"0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX64
#define AMD64 "{\"os\":\"linux\",\"architecture\":\"amd64\"}"
#define ARM64 "{\"os\":\"linux\",\"architecture\":\"arm64\"}"

static bool told(const char *what)
{
	if (strstr(err_text(), what))
		return true;
	printf("# %s\n", err_text());
	return false;
}

TEST(references_are_read_as_people_write_them)
{
	static const struct {
		const char *text, *host, *repo, *tag, *digest;
		bool plain;
	} refs[] = {
		{ "debian", "registry-1.docker.io", "library/debian",
		  "latest", "" },
		{ "debian:12", "registry-1.docker.io", "library/debian", "12",
		  "" },
		{ "docker.io/debian", "registry-1.docker.io",
		  "library/debian", "latest", "" },
		{ "me/x:V1.0_a-b", "registry-1.docker.io", "me/x", "V1.0_a-b",
		  "" },
		{ "quay.example/a/b/c__d.e--f@" DIGEST, "quay.example",
		  "a/b/c__d.e--f", "latest", DIGEST },
		{ "q.example:5000/x:t@" DIGEST, "q.example:5000", "x", "t",
		  DIGEST },
		{ "localhost/x", "localhost", "x", "latest", "", true },
		{ "localhost:80/x", "localhost:80", "x", "latest", "", true },
		{ "127.0.0.1:5000/x", "127.0.0.1:5000", "x", "latest", "",
		  true },
		{ "[::1]:5000/x", "[::1]:5000", "x", "latest", "", true },
		{ "127.0.0.1.example/x", "127.0.0.1.example", "x", "latest",
		  "" },
		{ "localhost.example/x", "localhost.example", "x", "latest",
		  "" },
		{ "[::2]/x", "[::2]", "x", "latest", "" },
	};
	struct oci_ref r;

	for (size_t i = 0; i < ARRAY_SIZE(refs); i++) {
		EQ(oci_ref_parse(&r, refs[i].text), 0);
		STR(r.host, refs[i].host);
		STR(r.repo, refs[i].repo);
		STR(r.tag, refs[i].tag);
		STR(r.digest, refs[i].digest);
		EQ(r.plain, refs[i].plain);
	}
}

TEST(what_is_no_reference_is_refused)
{
	static const char *const texts[] = {
		"", "/", "x/", "/x", "X", "x y", "x:", "x:.t", "x:-t", "x:t:u",
		"x@", "x@sha256:12", "x@sha512:" HEX64, "x@" DIGEST "0",
		("x@sha256:0123456789ABCDEF0123456789ABCDEF"
		 "0123456789ABCDEF0123456789ABCDEF"),
		"a..b", "a/../b", "../x", "./x", "h.example/../x", "x//y",
		"-x", "x-", "_x", "a___b", "a._b", "h.example:0/x",
		"h.example:65536/x", "h.example:/x", "h.example:8a/x",
		"u@h.example/x", "h.example?a/x", "[::1/x", "[]/x:", "[g]/x",
		".example/x", "x:a/b", "x\ny", "x%2e",
		"h.example/x?y", "h.example/x#y", "h\\.example/x",
	};
	struct oci_ref r;
	char large[600];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (oci_ref_parse(&r, texts[i]) != -E_USAGE)
			printf("# '%s'\n", texts[i]);
		EQ(oci_ref_parse(&r, texts[i]), -E_USAGE);
	}
	memset(large, 'a', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	EQ(oci_ref_parse(&r, large), -E_USAGE);
	large[1] = ':';
	EQ(oci_ref_parse(&r, large), -E_USAGE);
	large[1] = '.';
	large[400] = '/';
	EQ(oci_ref_parse(&r, large), -E_USAGE);
}

/* Reads TEXT as a manifest or index; NEXT's digest, if it was one. */
static int parse(const char *text, struct oci_blob *next)
{
	struct oci_manifest m;
	int rc = oci_parse(text, strlen(text), &m, next);

	oci_manifest_release(&m);
	return rc;
}

/* An entry of an index, its digest all of the digit D. */
static void add_entry(struct buf *b, const char *type, char d,
		      const char *platform, const char *name)
{
	char hex[65] = { 0 };

	memset(hex, d, 64);
	buf_printf(b, "%s{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\","
		   "\"size\":7%s%s", b->len ? "," : "", type, hex,
		   platform ? ",\"platform\":" : "", platform ? platform : "");
	if (name)
		buf_printf(b, ",\"annotations\":{\"org.opencontainers.image."
			   "ref.name\":\"%s\"}", name);
	buf_char(b, '}');
}

/* What an index of ENTRIES leads to: the digit, or the error. Empties it. */
static int choice(struct buf *entries)
{
	autobuf struct buf b = BUF_INIT;
	struct oci_blob next;
	int rc;

	buf_printf(&b, "{\"schemaVersion\":2,\"manifests\":[%s]}",
		   entries->data);
	rc = parse(b.data, &next);
	buf_clear(entries);
	return rc == 1 ? next.digest[7] : rc;
}

TEST(of_an_index_linux_amd64_is_taken)
{
	autobuf struct buf b = BUF_INIT;

	add_entry(&b, MANIFEST_TYPE, '1', ARM64, NULL);
	add_entry(&b, MANIFEST_TYPE, '2', "{\"os\":\"windows\","
		  "\"architecture\":\"amd64\"}", NULL);
	add_entry(&b, MANIFEST_TYPE, '3', "{\"os\":\"linux\",\"architecture\":"
		  "\"amd64\",\"variant\":\"v3\"}", NULL);
	add_entry(&b, MANIFEST_TYPE, '4', AMD64, NULL);
	add_entry(&b, MANIFEST_TYPE, '5', "{\"os\":\"unknown\","
		  "\"architecture\":\"unknown\"}", NULL);
	EQ(choice(&b), '4');
	add_entry(&b, INDEX_TYPE, '6', NULL, NULL);
	EQ(choice(&b), '6');
	add_entry(&b, "application/vnd.docker.distribution.manifest.v2+json",
		  '7', AMD64, NULL);
	add_entry(&b, "application/x", '8', NULL, NULL);
	EQ(choice(&b), '7');
}

TEST(an_index_without_amd64_has_nothing_for_us)
{
	autobuf struct buf b = BUF_INIT;

	EQ(choice(&b), -E_CONFIG);
	add_entry(&b, MANIFEST_TYPE, '1', ARM64, NULL);
	EQ(choice(&b), -E_CONFIG);
	OK(told("nothing for linux/amd64"));
	add_entry(&b, MANIFEST_TYPE, '1', "[1]", NULL);
	add_entry(&b, "application/x", '8', AMD64, NULL);
	EQ(choice(&b), -E_CONFIG);
}

TEST(of_several_images_none_is_guessed)
{
	autobuf struct buf b = BUF_INIT;

	add_entry(&b, MANIFEST_TYPE, '1', NULL, "a");
	add_entry(&b, MANIFEST_TYPE, '2', NULL, "b");
	EQ(choice(&b), -E_CONFIG);
	OK(told("('a', 'b')"));
	add_entry(&b, MANIFEST_TYPE, '1', NULL, NULL);
	add_entry(&b, MANIFEST_TYPE, '2', NULL, NULL);
	EQ(choice(&b), -E_CONFIG);
	add_entry(&b, MANIFEST_TYPE, '1', AMD64, "a");
	add_entry(&b, MANIFEST_TYPE, '2', AMD64, "b");
	EQ(choice(&b), -E_CONFIG);
	add_entry(&b, MANIFEST_TYPE, '1', NULL, "a");
	add_entry(&b, MANIFEST_TYPE, '1', NULL, "b");
	EQ(choice(&b), '1');
}

#define CONFIG "{\"mediaType\":\"" CONFIG_TYPE "\",\"digest\":\"" DIGEST \
	"\",\"size\":3}"
#define LAYER "{\"mediaType\":\"" LAYER_TYPE "+zstd\",\"digest\":\"" DIGEST \
	"\",\"size\":9}"
#define MANIFEST(config, layers) \
	"{\"schemaVersion\":2,\"config\":" config ",\"layers\":[" layers "]}"

TEST(a_manifest_is_read_in_order)
{
	static const char text[] = MANIFEST(CONFIG, LAYER "," LAYER);
	struct oci_manifest m;
	struct oci_blob next;

	EQ(oci_parse(text, strlen(text), &m, &next), 0);
	EQ(m.nlayers, 2);
	STR(m.config.digest, DIGEST);
	EQ(m.config.size, 3);
	EQ(m.layers[1].size, 9);
	oci_manifest_release(&m);
}

TEST(what_is_no_manifest_is_refused)
{
	static const struct { const char *text; int rc; } kinds[] = {
		{ "", -E_VERIFY }, { "[]", -E_CONFIG }, { "{", -E_VERIFY },
		{ "{\"schemaVersion\":1}", -E_CONFIG },
		{ "{\"schemaVersion\":2}", -E_VERIFY },
		{ "{\"schemaVersion\":2,\"schemaVersion\":2}", -E_VERIFY },
		{ "{\"schemaVersion\":2,\"layers\":[],\"manifests\":[]}",
		  -E_VERIFY },
		{ "{\"schemaVersion\":2,\"mediaType\":\"" INDEX_TYPE
		  "\",\"layers\":[]}", -E_VERIFY },
		{ "{\"schemaVersion\":2,\"mediaType\":\"" MANIFEST_TYPE
		  "\",\"manifests\":[]}", -E_VERIFY },
		{ MANIFEST(CONFIG, ""), -E_CONFIG },
		{ MANIFEST("{}", LAYER), -E_CONFIG },
		{ MANIFEST("7", LAYER), -E_CONFIG },
		{ MANIFEST(CONFIG, "7"), -E_CONFIG },
		{ MANIFEST(CONFIG, "{\"mediaType\":\"" LAYER_TYPE
			   "+encrypted\"}"), -E_CONFIG },
		{ MANIFEST(CONFIG, "{\"mediaType\":\"" LAYER_TYPE "\"}"),
		  -E_VERIFY },
		{ MANIFEST(CONFIG, "{\"mediaType\":\"" LAYER_TYPE
			   "\",\"digest\":\"sha256:../../x\",\"size\":1}"),
		  -E_VERIFY },
		{ MANIFEST(CONFIG, "{\"mediaType\":\"" LAYER_TYPE
			   "\",\"digest\":\"" DIGEST "\",\"size\":-1}"),
		  -E_VERIFY },
		{ MANIFEST(CONFIG, "{\"mediaType\":\"" LAYER_TYPE
			   "\",\"digest\":\"" DIGEST "\",\"size\":1e3}"),
		  -E_VERIFY },
		{ MANIFEST(CONFIG, "{\"mediaType\":\"" LAYER_TYPE
			   "\",\"digest\":\"" DIGEST "\",\"size\":"
			   "99999999999999999999}"), -E_VERIFY },
		{ MANIFEST("{\"mediaType\":\"" CONFIG_TYPE "\",\"digest\":\""
			   DIGEST "\",\"size\":4194305}", LAYER), -E_VERIFY },
	};
	struct oci_blob next;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (parse(kinds[i].text, &next) != kinds[i].rc)
			printf("# %s\n", kinds[i].text);
		EQ(parse(kinds[i].text, &next), kinds[i].rc);
	}
}

TEST(json_without_end_and_layers_without_number_are_refused)
{
	autobuf struct buf b = BUF_INIT;
	struct oci_blob next;

	buf_grow(&b, OCI_JSON_MAX + 1);
	memset(b.data, ' ', OCI_JSON_MAX + 1);
	memcpy(b.data, "{}", 2);
	b.data[b.len = OCI_JSON_MAX + 1] = '\0';
	EQ(parse(b.data, &next), -E_VERIFY);
	OK(told("too large"));
	memset(b.data, '[', OCI_JSON_MAX / 2);
	b.data[OCI_JSON_MAX / 2] = '\0';
	EQ(parse(b.data, &next), -E_VERIFY);
	buf_clear(&b);
	buf_str(&b, "{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[");
	for (int i = 0; i < OCI_LAYERS_MAX; i++)
		buf_str(&b, LAYER ",");
	buf_str(&b, LAYER "]}");
	EQ(parse(b.data, &next), -E_CONFIG);
}

#define CONFIG_OF(os, arch, ids) "{\"os\":\"" os "\",\"architecture\":\"" \
	arch "\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[" ids "]}}"

TEST(a_config_must_be_for_us_and_for_these_layers)
{
	static const struct { const char *text; int rc; } kinds[] = {
		{ CONFIG_OF("linux", "amd64", "\"" DIGEST "\""), 0 },
		{ CONFIG_OF("linux", "arm64", "\"" DIGEST "\""), -E_CONFIG },
		{ CONFIG_OF("windows", "amd64", "\"" DIGEST "\""), -E_CONFIG },
		{ CONFIG_OF("linux", "amd64", ""), -E_VERIFY },
		{ CONFIG_OF("linux", "amd64", "7"), -E_VERIFY },
		{ CONFIG_OF("linux", "amd64", "\"sha256:/\""), -E_VERIFY },
		{ "{}", -E_CONFIG }, { "7", -E_VERIFY },
	};
	struct oci_manifest m = { .nlayers = 1 };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		EQ(oci_config(kinds[i].text, strlen(kinds[i].text), &m, false),
		   kinds[i].rc);
	EQ(oci_config(kinds[0].text, strlen(kinds[0].text), &m, true), 0);
	STR(m.layers[0].digest, DIGEST);
	OK(!m.layers[0].has_size);
	oci_manifest_release(&m);
}

TEST(what_docker_lists_is_one_image_by_digest)
{
	static const struct { const char *text; int rc; } kinds[] = {
		{ "[{\"Config\":\"" HEX64 ".json\",\"Layers\":[\"x\"]}]", 0 },
		{ "[{\"Config\":\"blobs/sha256/" HEX64 "\",\"Layers\":[1]}]",
		  0 },
		{ "[{\"Config\":\"../" HEX64 "\",\"Layers\":[1]}]", -E_VERIFY },
		{ "[{\"Config\":\"" HEX64 "0\",\"Layers\":[1]}]", -E_VERIFY },
		{ "[{\"Config\":\"" HEX64 ".json\",\"Layers\":[]}]",
		  -E_CONFIG },
		{ "[{},{}]", -E_CONFIG }, { "[]", -E_VERIFY },
		{ "{}", -E_VERIFY },
	};
	struct oci_manifest m;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		EQ(oci_docker(kinds[i].text, strlen(kinds[i].text), &m),
		   kinds[i].rc);
		OK(kinds[i].rc || !strcmp(m.config.digest, DIGEST));
	}
}

TEST(a_challenge_is_found_among_others)
{
	static const struct { const char *text, *realm, *service, *scope; }
	good[] = {
		{ "Bearer realm=\"https://a/t\",service=\"s\",scope=\"r:p\"",
		  "https://a/t", "s", "r:p" },
		{ "bearer  REALM = \"https://a/t\" , x=y", "https://a/t", "",
		  "" },
		{ "Basic realm=\"b\", Bearer realm=\"https://a\\/\\\"t\"",
		  "https://a/\"t", "", "" },
		{ "Negotiate, Bearer realm=https, Basic realm=\"c\"", "https",
		  "", "" },
		{ "Bearer error=\"a, b=c\",realm=\"r\"", "r", "", "" },
	};
	static const char *const bad[] = {
		"", "Basic realm=\"x\"", "Bearer", "Bearer realm=",
		"Bearer realm=\"x", "Bearer realm=\"x\\", "Bearer service=\"s\"",
		"Bearer realm=\"\"", "=", "\"", "Bearer realm",
	};
	struct oci_challenge c;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		EQ(oci_challenge_parse(&c, good[i].text), 0);
		STR(c.realm, good[i].realm);
		STR(c.service, good[i].service);
		STR(c.scope, good[i].scope);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (oci_challenge_parse(&c, bad[i]) != -EPROTO)
			printf("# '%s'\n", bad[i]);
		EQ(oci_challenge_parse(&c, bad[i]), -EPROTO);
	}
}

TEST(tokens_are_asked_for_only_where_it_is_safe)
{
	static const struct { const char *realm; bool plain; const char *url; }
	kinds[] = {
		{ "https://a/t", false, "https://a/t?service=s%20x&scope=r%3A"
		  "p%26q" },
		{ "https://a/t?x=y", true, "https://a/t?x=y&service=s%20x&"
		  "scope=r%3Ap%26q" },
		{ "http://127.0.0.1:1/t", true, "http://127.0.0.1:1/t?"
		  "service=s%20x&scope=r%3Ap%26q" },
		{ "http://127.0.0.1:1/t", false, NULL },
		{ "http://127.0.0.1.example/t", true, NULL },
		{ "http://localhost:x@h.example/", true, NULL },
		{ "http://a/t", true, NULL }, { "file:///etc/passwd", true,
		  NULL }, { "https://a/\r\nX: y", false, NULL },
		{ "https://a/t#x", false, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		autobuf struct buf url = BUF_INIT;
		struct oci_challenge c = { .service = "s x", .scope = "r:p&q" };

		snprintf(c.realm, sizeof(c.realm), "%s", kinds[i].realm);
		EQ(oci_token_url(&c, "me/x", kinds[i].plain, &url),
		   kinds[i].url ? 0 : -EPROTO);
		OK(!kinds[i].url || !strcmp(url.data, kinds[i].url));
	}
}

TEST(a_token_has_nothing_that_ends_a_header)
{
	static const struct { const char *text; const char *token; } kinds[] = {
		{ "{\"token\":\"a.b-c\"}", "a.b-c" },
		{ "{\"access_token\":\"x\"}", "x" },
		{ "{\"token\":\"a\\r\\nX: y\"}", NULL },
		{ "{\"token\":\"a b\"}", NULL }, { "{\"token\":\"\"}", NULL },
		{ "{\"token\":7}", NULL }, { "{}", NULL }, { "", NULL },
		{ "[]", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		autobuf struct buf b = BUF_INIT;

		EQ(oci_token(kinds[i].text, strlen(kinds[i].text), &b),
		   kinds[i].token ? 0 : -EPROTO);
		STR(b.data, kinds[i].token ? kinds[i].token : "");
	}
}

TESTS(T(references_are_read_as_people_write_them),
      T(what_is_no_reference_is_refused),
      T(of_an_index_linux_amd64_is_taken),
      T(an_index_without_amd64_has_nothing_for_us),
      T(of_several_images_none_is_guessed),
      T(a_manifest_is_read_in_order),
      T(what_is_no_manifest_is_refused),
      T(json_without_end_and_layers_without_number_are_refused),
      T(a_config_must_be_for_us_and_for_these_layers),
      T(what_docker_lists_is_one_image_by_digest),
      T(a_challenge_is_found_among_others),
      T(tokens_are_asked_for_only_where_it_is_safe),
      T(a_token_has_nothing_that_ends_a_header))
