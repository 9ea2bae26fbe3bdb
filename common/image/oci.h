/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oci.h - images of containers: what they are called, and the JSON they are
 * described by (OCI image-spec 1.1, and Docker's v2 schema 2 before it).
 *
 * An image is a manifest: a config and layers, each named by its digest. An
 * index lists manifests, or indexes, for one platform each; ours is
 * linux/amd64. Whoever wrote them is not trusted: what is not as the
 * specification has it is refused, and nothing becomes a path or part of an
 * address that was not looked at letter by letter.
 */
#ifndef IMAGE_OCI_H
#define IMAGE_OCI_H

#include "base/buf.h"

enum {
	OCI_HOST_BYTES = 256 + 8,
	OCI_REPO_BYTES = 256,
	OCI_TAG_BYTES = 129,
	OCI_DIGEST_BYTES = 7 + 64 + 1,	/* "sha256:HEX" and a NUL */
	OCI_JSON_MAX = 4 << 20,		/* of a manifest, index or config */
	OCI_LAYERS_MAX = 1024,
	OCI_DEPTH_MAX = 4,		/* indexes in indexes */
};

/* What REF names. */
struct oci_ref {
	char host[OCI_HOST_BYTES];	/* with the port, if one was given */
	char repo[OCI_REPO_BYTES];
	char tag[OCI_TAG_BYTES];	/* never "" */
	char digest[OCI_DIGEST_BYTES];	/* "": by the tag */
	bool plain;			/* by http: it is on this host */
};

/*
 * Reads [HOST[:PORT]/]REPO[:TAG][@DIGEST]. What comes before the first slash
 * is a host if it has a dot or a colon, or is localhost; without one it is
 * Docker Hub, whose own images are in library/. The tag is latest if neither
 * is given. 0, or -E_USAGE with a sentence.
 */
int oci_ref_parse(struct oci_ref *r, const char *text);

/* Whether S is "sha256:" and 64 digits, 0 to 9 and a to f. */
bool oci_digest_ok(const char *s);

/* A descriptor: content by its digest. */
struct oci_blob {
	char digest[OCI_DIGEST_BYTES];
	bool has_size;			/* a Docker archive tells none */
	uint64_t size;
};

/* Whether TEXT is what B says. 0; -E_VERIFY; -ENOMEM. */
int oci_blob_check(const struct oci_blob *b, const char *text, size_t len);
/* The same of all that FD, a file, holds. Also -errno. */
int oci_blob_check_file(const struct oci_blob *b, int fd);
/* What B is to be for TEXT. 0 or -ENOMEM. */
int oci_blob_of(struct oci_blob *b, const char *text, size_t len);

struct oci_manifest {
	struct oci_blob config, *layers;	/* the lowest first */
	size_t nlayers;
};

void oci_manifest_release(struct oci_manifest *m);

/*
 * Reads TEXT, an index or a manifest. 1: an index, NEXT is what it has for
 * linux/amd64; 0: a manifest, M, to be released. -E_VERIFY is not what it
 * must be; -E_CONFIG has nothing for us, or layers of an unknown kind;
 * -ENOMEM.
 */
int oci_parse(const char *text, size_t len, struct oci_manifest *m,
	      struct oci_blob *next);

/*
 * Goes on from TEXT through indexes to the manifest. GET appends to OUT, which
 * is empty, what WHAT is, checked or not. Errors as oci_parse() and GET.
 */
int oci_resolve(const char *text, size_t len,
		int (*get)(void *arg, const struct oci_blob *what,
			   struct buf *out),
		void *arg, struct oci_manifest *m);

/*
 * Reads TEXT, the config of M: whether it is for linux/amd64, and has as many
 * layers. With FILL they become M's: by their digests unpacked, without a
 * size. 0, -E_VERIFY, -E_CONFIG, -ENOMEM.
 */
int oci_config(const char *text, size_t len, struct oci_manifest *m, bool fill);

/*
 * Reads TEXT, `manifest.json` of a Docker archive, into M: its config, and how
 * many layers there are, which the config names. Errors as oci_parse().
 */
int oci_docker(const char *text, size_t len, struct oci_manifest *m);

#endif
