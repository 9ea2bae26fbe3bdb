/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a reference, a manifest, a config, Docker's list, a challenge
 * and a token: what is made of them is safe as a path and in an address.
 */
#include "image/oci.h"

#include <stdio.h>

#include "image/fetch.h"
#include "image/oci_auth.h"
#include "input.h"


static const char word[] = "0123456789abcdefghijklmnopqrstuvwxyz"
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-";

static void check_ref(const char *text)
{
	char url[FETCH_URL_MAX];
	struct oci_ref r;

	if (oci_ref_parse(&r, text) < 0)
		return;
	MUST(r.host[0] && !strpbrk(r.host, "/@?#\\% "));
	MUST(r.repo[0] && !strstr(r.repo, "..") && !strstr(r.repo, "//"));
	MUST(!strpbrk(r.repo, ":@?#\\% ") && r.repo[0] != '/');
	MUST(r.tag[0] && !r.tag[strspn(r.tag, word)]);
	MUST(!r.digest[0] || oci_digest_ok(r.digest));
	snprintf(url, sizeof(url), "https://%s/v2/%s/manifests/%s", r.host,
		 r.repo, r.digest[0] ? r.digest : r.tag);
	MUST(fetch_check(url) == 0);
}

static void check_blob(const struct oci_blob *b)
{
	MUST(oci_digest_ok(b->digest));
}

static void check_layers(const struct oci_manifest *m)
{
	MUST(m->nlayers && m->nlayers <= OCI_LAYERS_MAX);
	for (size_t i = 0; i < m->nlayers; i++)
		check_blob(&m->layers[i]);
}

static void check_json(const char *text, size_t len)
{
	struct oci_manifest m;
	struct oci_blob next;
	int rc = oci_parse(text, len, &m, &next);

	if (rc == 1)
		check_blob(&next);
	if (rc == 0) {
		check_blob(&m.config);
		check_layers(&m);
	}
	oci_manifest_release(&m);
	if (oci_docker(text, len, &m) == 0)
		check_blob(&m.config);
	for (size_t n = 1; n < 4; n++) {
		m = (struct oci_manifest){ .nlayers = n };
		if (oci_config(text, len, &m, true) == 0)
			check_layers(&m);
		oci_manifest_release(&m);
	}
}

static void check_auth(const char *text, size_t len)
{
	autobuf struct buf url = BUF_INIT, token = BUF_INIT;
	struct oci_challenge c;

	if (oci_challenge_parse(&c, text) == 0) {
		MUST(c.realm[0]);
		if (oci_token_url(&c, "a/b", len % 2, &url) == 0)
			MUST(fetch_check(url.data) == 0);
	}
	if (oci_token(text, len, &token) == 0)
		MUST(token.len && !strpbrk(token.data, " \r\n\t"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1);

	MUST(text);
	memcpy(text, data, len);
	text[len] = '\0';
	check_ref(text);
	check_json(text, len);
	check_auth(text, len);
	free(text);
	return 0;
}
