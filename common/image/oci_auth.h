/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oci_auth.h - how a registry lets anyone read: it refuses, saying where there
 * is a token for everyone, and takes that (Docker registry v2 authentication,
 * token specification). Passwords are not known here.
 */
#ifndef IMAGE_OCI_AUTH_H
#define IMAGE_OCI_AUTH_H

#include "base/buf.h"

/* What a registry asks for in WWW-Authenticate (RFC 6750, 3). */
struct oci_challenge {
	char realm[512], service[256], scope[512];	/* "": not said */
};

/*
 * Finds the Bearer challenge in TEXT, the value of the header. 0, or -EPROTO
 * with a sentence.
 */
int oci_challenge_parse(struct oci_challenge *c, const char *text);

/*
 * The address of a token that reads REPO, appended to URL. It is of https, or
 * on this host if the registry is, which PLAIN says. 0; -EPROTO; -ENOMEM.
 */
int oci_token_url(const struct oci_challenge *c, const char *repo, bool plain,
		  struct buf *url);

/* Appends the token that TEXT, the answer from there, gives. 0, -EPROTO. */
int oci_token(const char *text, size_t len, struct buf *token);

#endif
