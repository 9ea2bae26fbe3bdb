/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seed.h - what a cloud image asks for at its first boot, on a CD: the
 * NoCloud data source of cloud-init, which looks for a file system named
 * CIDATA with these files:
 *
 *	meta-data	the instance's id, its host name, the user's ssh keys
 *	user-data	what the person wrote, byte for byte, whatever its kind
 *	network-config	if there is one
 *
 * The keys are in the meta-data, where cloud-init gives them to the image's
 * own user and adds them to those of the user-data: so neither has to be
 * taken apart for the other. A guest does its first boot again when the
 * instance's id is another one.
 */
#ifndef IMAGE_SEED_H
#define IMAGE_SEED_H

#include "base/buf.h"

enum { SEED_MAX = 4 << 20 };	/* of each file */

struct seed {
	const char *id;		/* of the instance: a name (text.h) */
	const char *hostname;	/* letters, digits, '-' and '.' */
	const char *ssh_keys;	/* lines as of authorized_keys, or NULL */
	const char *user_data;	/* may hold any bytes; NULL: none */
	size_t user_data_len;
	const char *network_config;	/* text, or NULL */
};

/*
 * An id for an instance of the VM NAME that no other one has had. 0 or -errno
 * with a sentence.
 */
enum { SEED_ID = 64 };
int seed_new_id(char id[SEED_ID], const char *name);

/*
 * Appends the meta-data. 0; -E_USAGE when the id, the host name or a key is
 * none ("ssh key: line 2: a private key; give the .pub"); -ENOMEM.
 */
int seed_meta_data(const struct seed *s, struct buf *out);

/*
 * Writes the CD to FD from its start; FD is cut to that. The same seed gives
 * the same bytes. 0; as seed_meta_data(); -EFBIG; -errno; with a sentence.
 */
int seed_write(const struct seed *s, int fd);

/*
 * The CD open as FROM, one of ours, for another instance: the same in all but
 * ID and HOSTNAME, which are those of S; written to TO. As seed_write(), and
 * -E_CONFIG: it is another kind of CD.
 */
int seed_reissue(int from, const struct seed *s, int to);

#endif
