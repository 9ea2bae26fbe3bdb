/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/oci_registry.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "image/oci_auth.h"
#include "image/oci_layout.h"

static const char accept[] = "Accept: "
	"application/vnd.oci.image.index.v1+json, "
	"application/vnd.oci.image.manifest.v1+json, "
	"application/vnd.docker.distribution.manifest.list.v2+json, "
	"application/vnd.docker.distribution.manifest.v2+json";

enum { TOKEN_JSON_MAX = 64 << 10 };

/* A registry that is talked to. */
struct registry {
	const struct oci_pull *p;
	int blobs;		/* the layout's directory of them */
	char *authorization;	/* a header's line, or NULL: none needed yet */
	uint64_t done, total;	/* bytes of blobs: before this one, in all */
};

/* -- requests -- */

/* Gets the token that CHALLENGE asks for. */
static int log_in(struct registry *r, const char *challenge)
{
	autobuf struct buf url = BUF_INIT, answer = BUF_INIT, line = BUF_INIT;
	const struct oci_ref *ref = r->p->ref;
	struct oci_challenge c;
	int rc = oci_challenge_parse(&c, challenge);

	if (rc == 0)
		rc = oci_token_url(&c, ref->repo, ref->plain, &url);
	if (rc == 0)
		rc = fetch_text(url.data, &answer, TOKEN_JSON_MAX,
				r->p->limits);
	buf_str(&line, "Authorization: Bearer ");
	if (rc == 0) {
		rc = oci_token(answer.data, answer.len, &line);
		if (rc < 0)
			fail_in(rc, "%.200s", url.data);
	}
	if (rc < 0)
		return rc;
	free(r->authorization);
	r->authorization = buf_take(&line);
	return r->authorization ? 0 : fail(ENOMEM, "out of memory");
}

/*
 * One file, of F; INTO gets it unless it is NULL. A token is got when one is
 * asked for, which may be again when an old one is no longer good.
 */
static int get(struct registry *r, struct fetch *f, struct buf *into)
{
	autobuf struct buf challenge = BUF_INIT;
	const char *headers[] = { accept, r->authorization, NULL };
	int rc;

	f->limits = r->p->limits;
	f->headers = headers;
	f->challenge = &challenge;
	rc = into ? fetch_buf(f, into) : fetch_file(f);
	if (rc != -E_PERM || !challenge.len)
		return rc;
	rc = log_in(r, challenge.data);
	if (rc < 0)
		return rc;
	headers[1] = r->authorization;
	rc = into ? fetch_buf(f, into) : fetch_file(f);
	return rc == -E_PERM ? fail(E_PERM, "%s/%s: not there, or not for "
				    "everyone", r->p->ref->host,
				    r->p->ref->repo) : rc;
}

static int make_url(const struct registry *r, const char *kind,
		    const char *what, char url[static FETCH_URL_MAX])
{
	const struct oci_ref *ref = r->p->ref;
	int n = snprintf(url, FETCH_URL_MAX, "%s://%s/v2/%s/%s/%s",
			 ref->plain ? "http" : "https", ref->host, ref->repo,
			 kind, what);

	return n > 0 && n < FETCH_URL_MAX ? 0 : fail(E_USAGE, "too long");
}

static int get_manifest(struct registry *r, const char *what, struct buf *out)
{
	char url[FETCH_URL_MAX];
	struct fetch f = { .url = url, .max = OCI_JSON_MAX };
	int rc = make_url(r, "manifests", what, url);

	return rc < 0 ? rc : get(r, &f, out);
}

/* -- the layout -- */

/* The name of B's file. */
static const char *hex(const struct oci_blob *b)
{
	return b->digest + strlen("sha256:");
}

static int put(struct registry *r, const struct oci_blob *b, const char *text)
{
	return file_replace(r->blobs, hex(b), text, b->size, 0600);
}

/* A manifest that an index names, which is kept when it is the right one. */
static int get_and_keep(void *arg, const struct oci_blob *what, struct buf *out)
{
	struct registry *r = arg;
	int rc = get_manifest(r, what->digest, out);

	if (rc == 0)
		rc = oci_blob_check(what, out->data, out->len);
	return rc < 0 ? rc : put(r, what, out->data);
}

static void show_part(void *arg, uint64_t done, uint64_t total)
{
	const struct registry *r = arg;

	(void)total;
	r->p->progress(r->p->arg, r->done + done, r->total);
}

static bool is_whole(const struct registry *r, const struct oci_blob *b)
{
	struct stat st;

	return fstatat(r->blobs, hex(b), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode) && (uint64_t)st.st_size == b->size;
}

/* A file, by a name of its own until it is whole. */
static int get_blob(struct registry *r, const struct oci_blob *b)
{
	char url[FETCH_URL_MAX], part[80], note[80];
	int rc = make_url(r, "blobs", b->digest, url);
	autoclose int fd = -1;
	struct fetch f = {
		.url = url, .dir = r->blobs, .note = note, .max = b->size,
		.progress = r->p->progress ? show_part : NULL, .arg = r,
	};

	if (rc < 0 || is_whole(r, b))
		return rc;
	snprintf(part, sizeof(part), "%s.part", hex(b));
	snprintf(note, sizeof(note), "%s.note", hex(b));
	f.fd = fd = openat(r->blobs, part, O_RDWR | O_CREAT | O_NOFOLLOW |
			   O_CLOEXEC, 0600);
	if (fd < 0)
		return fail_sys("%s", part);
	rc = get(r, &f, NULL);
	if (rc == -EFBIG)
		rc = fail(E_VERIFY, "%s: has more than %" PRIu64 " bytes",
			  b->digest, b->size);
	if (rc == 0 && renameat(r->blobs, part, r->blobs, hex(b)) < 0)
		rc = fail_sys("%s", part);
	if (rc == 0)
		unlinkat(r->blobs, note, 0);
	return rc;
}

static int get_blobs(struct registry *r, const struct oci_manifest *m)
{
	int rc;

	r->total = m->config.size;
	for (size_t i = 0; i < m->nlayers; i++)
		if (ckd_add(&r->total, r->total, m->layers[i].size) ||
		    r->total > r->p->max)
			return fail(E_CONFIG, "has more than can be taken");
	rc = get_blob(r, &m->config);
	r->done = m->config.size;
	for (size_t i = 0; i < m->nlayers && rc == 0; i++) {
		rc = get_blob(r, &m->layers[i]);
		r->done += m->layers[i].size;
	}
	return rc;
}

/* The image that the reference means: TEXT, and B for it. */
static int get_top(struct registry *r, struct buf *text, struct oci_blob *b)
{
	const struct oci_ref *ref = r->p->ref;
	const char *what = ref->digest[0] ? ref->digest : ref->tag;
	struct oci_blob wanted = { .has_size = false };
	int rc = get_manifest(r, what, text);

	if (rc == 0 && ref->digest[0]) {
		memcpy(wanted.digest, ref->digest, sizeof(wanted.digest));
		rc = oci_blob_check(&wanted, text->data, text->len);
	}
	return rc < 0 ? rc : oci_blob_of(b, text->data, text->len);
}

/* A layout for what TEXT, which is TOP, names. */
static int begin(struct registry *r, const struct buf *text,
		 const struct oci_blob *top)
{
	struct oci_manifest m;
	struct oci_blob next;
	int rc = oci_parse(text->data, text->len, &m, &next);

	oci_manifest_release(&m);
	if (rc >= 0)
		rc = oci_layout_make(r->p->dir, top, rc == 1);
	if (rc < 0)
		return rc;
	r->blobs = openat(r->p->dir, "blobs/sha256", O_RDONLY | O_DIRECTORY |
			  O_NOFOLLOW | O_CLOEXEC);
	return r->blobs < 0 ? fail_sys("blobs") : put(r, top, text->data);
}

static int pull(struct registry *r)
{
	autobuf struct buf text = BUF_INIT;
	struct oci_manifest m = { .nlayers = 0 };
	struct oci_blob top;
	int rc = get_top(r, &text, &top);

	if (rc == 0)
		rc = begin(r, &text, &top);
	if (rc == 0)
		rc = oci_resolve(text.data, text.len, get_and_keep, r, &m);
	if (rc == 0)
		rc = get_blobs(r, &m);
	oci_manifest_release(&m);
	return rc;
}

int oci_pull(const struct oci_pull *p)
{
	struct registry r = { .p = p, .blobs = -1 };
	int rc = pull(&r);

	close_fd(&r.blobs);
	free(r.authorization);
	return rc;
}
