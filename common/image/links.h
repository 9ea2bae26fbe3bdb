/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * links.h - what the header of a layer may name as what lies below it.
 *
 *	disk0.2.qcow2			another file in the same disk/
 *	../../../images/NAME/disk	an image
 *	/dev/vg0/web			a disk outside of the VM's directory
 *
 * The last two only if the VM's config says the same (image=, base=): a header
 * alone makes nobody open anything but a plain file in disk/.
 */
#ifndef IMAGE_LINKS_H
#define IMAGE_LINKS_H

#include "state/vmconf.h"

enum link_to { LINK_NOTHING, LINK_LAYER, LINK_IMAGE, LINK_OUTSIDE };

enum {
	LINK_NAME = 256,	/* of a file in disk/ */
	LINK_DEPTH = 1024,	/* layers of a chain, at most */
};

struct link {
	enum link_to to;
	char name[LINK_NAME];		/* of LAYER, else "" */
	enum disk_format format;	/* of LAYER */
	uint64_t size;			/* of the one that was read, bytes */
};

/*
 * Reads the header of the qcow2 image FD, which is in disk/. D, a disk whose
 * chain it belongs to, says what else may be named (NULL: anything that
 * can be). 0; -E_CONFIG, -E_VERIFY or -errno with a sentence.
 */
int link_read(struct link *l, int fd, const struct disk_conf *d);

/* Whether NAME can be that of a file in disk/. */
bool layer_name_ok(const char *name);
/* NAME of "disk/NAME" within PATH; NULL: it is elsewhere. */
const char *layer_name(const char *path);

#endif
