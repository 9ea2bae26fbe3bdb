/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/links.h"

#include <stdio.h>

#include "base/err.h"
#include "block/qcow2.h"

bool layer_name_ok(const char *name)
{
	if (!*name || *name == '.' || strlen(name) >= LINK_NAME)
		return false;
	for (; *name; name++)
		if (*name <= ' ' || *name > '~' || strchr("/,:", *name))
			return false;
	return true;
}

const char *layer_name(const char *path)
{
	const char *name;

	return path && starts_with(path, "disk/", &name) &&
	       layer_name_ok(name) ? name : NULL;
}

/* The image that the header's TEXT names, by the way from disk/. */
static bool names_image(const char *text, char name[NAME_MAX_LEN + 1])
{
	const char *rest, *end;
	size_t len;

	if (!starts_with(text, "../../../images/", &rest))
		return false;
	end = strchr(rest, '/');
	len = end ? (size_t)(end - rest) : 0;
	if (!len || len > NAME_MAX_LEN || strcmp(end, "/disk") != 0)
		return false;
	memcpy(name, rest, len);
	name[len] = '\0';
	return name_ok(name);
}

static bool is_base(const struct qcow2_info *info, const struct disk_conf *d)
{
	const char *format = info->backing_format;

	return info->backing[0] == '/' &&
	       (!d || (d->base && !strcmp(d->base, info->backing) && format &&
		       !strcmp(format, disk_formats[d->base_format])));
}

static int read_link(struct link *l, const struct qcow2_info *info,
		     const struct disk_conf *d)
{
	char image[NAME_MAX_LEN + 1];
	int format;

	if (!info->backing)
		return 0;
	if (layer_name_ok(info->backing)) {
		format = find_word(disk_formats, info->backing_format ?
				   info->backing_format : "");
		if (format < 0)
			return fail(E_CONFIG, "names '%s', and no format of it",
				    info->backing);
		l->to = LINK_LAYER;
		l->format = format;
		snprintf(l->name, sizeof(l->name), "%s", info->backing);
		return 0;
	}
	if (is_base(info, d))
		l->to = LINK_OUTSIDE;
	else if (names_image(info->backing, image) &&
		 (!d || (!d->base && !strcmp(d->image, image))))
		l->to = LINK_IMAGE;
	else if (d && !d->image[0] && !d->base)
		return qcow2_alone(info);
	else
		return fail(E_CONFIG, "rests on '%s', and its configuration "
			    "names another", info->backing);
	return 0;
}

int link_read(struct link *l, int fd, const struct disk_conf *d)
{
	struct qcow2_info info;
	int rc = qcow2_info(fd, &info);

	*l = (struct link){ .size = info.size };
	if (rc == 0)
		rc = read_link(l, &info, d);
	qcow2_info_release(&info);
	return rc;
}
