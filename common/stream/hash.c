/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream/hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "base/err.h"

int hash_text(const void *data, size_t len, char text[static HASH_TEXT])
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (!EVP_Digest(data, len, sum, &n, EVP_sha256(), NULL))
		return fail(ENOMEM, "SHA-256: out of memory");
	for (unsigned i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", sum[i]);
	return 0;
}
