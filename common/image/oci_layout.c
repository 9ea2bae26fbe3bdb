/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/oci_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "image/unpack_tree.h"

char *oci_blob_path(char path[static OCI_BLOB_PATH], const struct oci_blob *b)
{
	snprintf(path, OCI_BLOB_PATH, "blobs/sha256/%s",
		 b->digest + strlen("sha256:"));
	return path;
}

static bool has(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode);
}

bool oci_layout_is(int dir)
{
	return has(dir, "oci-layout");
}

static int make_dir(int dir, const char *name)
{
	return mkdirat(dir, name, 0700) < 0 && errno != EEXIST ?
		fail_sys("%s", name) : 0;
}

int oci_layout_make(int dir, const struct oci_blob *top, bool index)
{
	static const char version[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	char text[512];
	int rc, n = snprintf(text, sizeof(text),
		"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":"
		"\"application/vnd.oci.image.%s.v1+json\",\"digest\":\"%s\","
		"\"size\":%" PRIu64 "}]}", index ? "index" : "manifest",
		top->digest, top->size);

	rc = make_dir(dir, "blobs");
	if (rc == 0)
		rc = make_dir(dir, "blobs/sha256");
	if (rc == 0)
		rc = file_replace(dir, "index.json", text, n, 0600);
	return rc < 0 ? rc : file_replace(dir, "oci-layout", version,
					  strlen(version), 0600);
}

/* -- reading -- */

static int open_blob(int dir, const struct oci_blob *b)
{
	char path[OCI_BLOB_PATH];
	int fd = file_open(dir, oci_blob_path(path, b), O_RDONLY | O_NOFOLLOW,
			   0);

	return fd == -ENOENT ? fail(E_VERIFY, "%s: is missing", b->digest) :
			       fd;
}

/* A blob in memory, checked. */
static int read_blob(void *arg, const struct oci_blob *b, struct buf *out)
{
	const int *dir = arg;
	autoclose int fd = open_blob(*dir, b);
	int rc = fd < 0 ? fd : fd_read(fd, b->digest, out, OCI_JSON_MAX);

	if (rc == -EFBIG)
		return fail(E_VERIFY, "%s: too large", b->digest);
	return rc < 0 ? rc : oci_blob_check(b, out->data, out->len);
}

static int read_json(int dir, const char *name, struct buf *out)
{
	int rc = file_read(dir, name, out, OCI_JSON_MAX);

	if (rc == -ENOENT || rc == -EFBIG)
		return fail(E_VERIFY, "%s: %s", name,
			    rc == -EFBIG ? "too large" : "is missing");
	return rc;
}

static int read_manifest(int dir, struct oci_manifest *m,
			 char digest[static OCI_DIGEST_BYTES])
{
	autobuf struct buf text = BUF_INIT;
	struct oci_blob next;
	int rc;

	if (!oci_layout_is(dir)) {
		rc = read_json(dir, "manifest.json", &text);
		if (rc == 0)
			rc = oci_docker(text.data, text.len, m);
		memcpy(digest, m->config.digest, OCI_DIGEST_BYTES);
		return rc;
	}
	rc = read_json(dir, "index.json", &text);
	if (rc == 0)
		rc = oci_parse(text.data, text.len, m, &next);
	if (rc == 0) {
		oci_manifest_release(m);
		return fail(E_VERIFY, "index.json: is no index");
	}
	if (rc < 0)
		return rc;
	memcpy(digest, next.digest, OCI_DIGEST_BYTES);
	return oci_resolve(text.data, text.len, read_blob, &dir, m);
}

static int read_config(int dir, struct oci_manifest *m)
{
	autobuf struct buf text = BUF_INIT;
	int rc = read_blob(&dir, &m->config, &text);

	return rc < 0 ? rc : oci_config(text.data, text.len, m, !m->layers);
}

static int64_t apply(int dir, const struct oci_blob *b, uint64_t max,
		     struct ext4 *x)
{
	autoclose int fd = open_blob(dir, b);
	int64_t rc = fd;

	if (fd >= 0)
		rc = oci_blob_check_file(b, fd);
	if (rc == 0)
		rc = unpack_layer(fd, max, x);
	return rc;
}

int oci_layout_unpack(int dir, uint64_t max, struct ext4 *x,
		      char digest[static OCI_DIGEST_BYTES])
{
	struct oci_manifest m = { .nlayers = 0 };
	int64_t rc = read_manifest(dir, &m, digest);

	if (rc == 0)
		rc = read_config(dir, &m);
	for (size_t i = 0; i < m.nlayers && rc >= 0; i++) {
		rc = apply(dir, &m.layers[i], max, x);
		if (rc < 0)
			fail_in(rc, "layer %zu", i + 1);
		else
			max -= min_u64(rc, max);
	}
	if (rc >= 0 && !x->tree.root->first)
		rc = fail(E_VERIFY, "holds no files");
	oci_manifest_release(&m);
	return rc < 0 ? rc : 0;
}
