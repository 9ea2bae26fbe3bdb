/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oci.h - images of containers, made by hand, layer by layer.
 *
 *	add_file(&layer, "etc/x", '0', "text");	a tar, member by member
 *	put_layer(&layer);			blobs/sha256/HEX, and of the image
 *	put_image();				config, manifest, index.json
 *
 * All lies in the current directory.
 */
#ifndef TESTS_UNIT_OCI_H
#define TESTS_UNIT_OCI_H

#include "base/err.h"
#include "image/oci.h"
#include "image/oci_layout.h"

#include "scratch.h"

#define CONFIG_TYPE "application/vnd.oci.image.config.v1+json"
#define LAYER_TYPE "application/vnd.oci.image.layer.v1.tar"
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define INDEX_TYPE "application/vnd.oci.image.index.v1+json"

enum { TAR_SECTOR = 512, IMAGE_LAYERS = 8 };

static struct oci_blob image_layers[IMAGE_LAYERS];
static size_t image_nlayers;
static struct buf image_config = BUF_INIT, image_manifest = BUF_INIT;

/* Appends a member to a tar; TYPE is '0' file, '1' link, '2' symlink, '5' dir. */
static inline void add_file(struct buf *b, const char *name, char type,
			    const char *text)
{
	char h[TAR_SECTOR] = { 0 };
	size_t len = type == '0' ? strlen(text) : 0;
	unsigned sum = 0;

	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 8, "%07o", type == '5' ? 0755 : 0644);
	snprintf(h + 108, 8, "%07o", 0);
	snprintf(h + 116, 8, "%07o", 0);
	snprintf(h + 124, 12, "%011o", (unsigned)len);
	snprintf(h + 136, 12, "%011o", 1000000000);
	h[156] = type;
	if (type == '1' || type == '2')
		snprintf(h + 157, 100, "%s", text);
	memcpy(h + 257, "ustar\00000", 8);
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < sizeof(h); i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 8, "%06o", sum);
	buf_add(b, h, sizeof(h));
	buf_add(b, text, len);
	memset(h, 0, sizeof(h));
	buf_add(b, h, -len % TAR_SECTOR);
}

/* What TEXT is as a blob, in its place. */
static inline struct oci_blob put_blob(const struct buf *text)
{
	char path[OCI_BLOB_PATH];
	struct oci_blob b;
	int fd;

	mkdir("blobs", 0700);
	mkdir("blobs/sha256", 0700);
	oci_blob_of(&b, text->data, text->len);
	fd = open(oci_blob_path(path, &b), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write_all(fd, text->data, text->len) < 0)
		printf("# %s cannot be written\n", path);
	close(fd);
	return b;
}

/* TAR, with its end, becomes the next layer of the image, and empty. */
static inline void put_layer(struct buf *tar)
{
	static const char end[2 * TAR_SECTOR];

	buf_add(tar, end, sizeof(end));
	image_layers[image_nlayers++] = put_blob(tar);
	buf_release(tar);
}

static inline void add_blob(struct buf *to, const char *type,
			    const struct oci_blob *b)
{
	buf_printf(to, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}",
		   type, b->digest, (size_t)b->size);
}

/* The texts of a config and a manifest for the layers there are. */
static inline void make_image(void)
{
	struct buf *c = &image_config, *m = &image_manifest;
	struct oci_blob config;

	buf_clear(c);
	buf_str(c, "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":"
		"{\"type\":\"layers\",\"diff_ids\":[");
	for (size_t i = 0; i < image_nlayers; i++)
		buf_printf(c, "%s\"%s\"", i ? "," : "", image_layers[i].digest);
	buf_str(c, "]}}");
	config = put_blob(c);
	buf_clear(m);
	buf_str(m, "{\"schemaVersion\":2,\"config\":");
	add_blob(m, CONFIG_TYPE, &config);
	buf_str(m, ",\"layers\":[");
	for (size_t i = 0; i < image_nlayers; i++) {
		buf_str(m, i ? "," : "");
		add_blob(m, LAYER_TYPE, &image_layers[i]);
	}
	buf_str(m, "]}");
}

static inline void put_index(const char *entries)
{
	autobuf struct buf b = BUF_INIT;

	buf_printf(&b, "{\"schemaVersion\":2,\"manifests\":[%s]}", entries);
	put("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
	put("index.json", b.data);
}

/* The layout of the image whose layers are there. */
static inline void put_image(void)
{
	autobuf struct buf b = BUF_INIT;
	struct oci_blob manifest;

	make_image();
	manifest = put_blob(&image_manifest);
	add_blob(&b, MANIFEST_TYPE, &manifest);
	put_index(b.data);
}

static inline void drop_image(void)
{
	image_nlayers = 0;
	buf_release(&image_config);
	buf_release(&image_manifest);
}

#endif
