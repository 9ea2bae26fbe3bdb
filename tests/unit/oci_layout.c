/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/oci_layout.h"

#include <errno.h>
#include <sys/stat.h>

#include "disk.h"
#include "oci.h"
#include "test.h"

enum { MIB = 1 << 20 };

static struct buf layer = BUF_INIT;

static void begin_image(void)
{
	drop_image();
	begin_disk(64 * MIB);
}

static int unpack(uint64_t max)
{
	char digest[OCI_DIGEST_BYTES];
	autoclose int at = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = oci_layout_unpack(at, max, &disk, digest);

	return rc < 0 ? rc : ext4_finish(&disk);
}

/* What comes of the layers that are there. */
static int squash(void)
{
	put_image();
	return unpack(64 * MIB);
}

/* Whether PATH is on the disk. */
static bool have(const char *path)
{
	return tree_find(&disk.tree, path);
}

/* Whether the sentence has WHAT. */
static bool told(const char *what)
{
	if (strstr(err_text(), what))
		return true;
	printf("# %s\n", err_text());
	return false;
}

/* A lower layer with something of everything. */
static void put_lower(void)
{
	add_file(&layer, "a", '0', "lower");
	add_file(&layer, "b", '1', "a");
	add_file(&layer, "d/", '5', "");
	add_file(&layer, "d/one", '0', "1");
	add_file(&layer, "d/two", '0', "2");
	add_file(&layer, "d/e/f/deep", '0', "3");
	add_file(&layer, "g/in", '0', "4");
	add_file(&layer, "l", '2', "d");
	put_layer(&layer);
}

TEST(layers_lie_one_over_the_other)
{
	begin_image();
	put_lower();
	add_file(&layer, "a", '0', "upper");
	add_file(&layer, "l/three", '0', "3");
	add_file(&layer, "d/.wh.two", '0', "");
	put_layer(&layer);
	EQ(squash(), 0);
	STR(holds("a"), "upper");
	STR(holds("b"), "lower");
	STR(holds("d/three"), "3");
	OK(have("d/one") && !have("d/two") && !have("d/.wh.two"));
	OK(!HAVE_E2FSPROGS || is_clean());
	drop_disk();
}

TEST(a_whiteout_takes_a_directory_with_all_in_it)
{
	begin_image();
	put_lower();
	add_file(&layer, ".wh.d", '0', "");
	put_layer(&layer);
	add_file(&layer, "d/new", '0', "n");
	put_layer(&layer);
	EQ(squash(), 0);
	OK(have("d/new") && !have("d/one") && !have("d/e") && have("l"));
	OK(!HAVE_E2FSPROGS || is_clean());
	drop_disk();
}

TEST(a_whiteout_takes_nothing_of_its_own_layer)
{
	static const char *const orders[] = { "first", "last" };

	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		begin_image();
		put_lower();
		for (int k = 0; k < 2; k++) {
			if (k == (int)i) {
				add_file(&layer, ".wh.a", '0', "");
				add_file(&layer, ".wh.d", '0', "");
				add_file(&layer, ".wh.g", '0', "");
				continue;
			}
			add_file(&layer, "a", '0', "own");
			add_file(&layer, "d/e/own", '0', "own");
			add_file(&layer, "g/", '5', "");
		}
		put_layer(&layer);
		EQ(squash(), 0);
		STR(holds("a"), "own");
		STR(holds("b"), "lower");
		STR(holds("d/e/own"), "own");
		OK(!have("d/one") && !have("d/e/f"));
		OK(have("g") && !have("g/in"));
		OK(!HAVE_E2FSPROGS || is_clean());
		drop_disk();
	}
}

TEST(an_opaque_directory_hides_what_is_below_and_keeps_its_own)
{
	begin_image();
	put_lower();
	add_file(&layer, "d/e/own", '0', "own");
	add_file(&layer, "d/.wh..wh..opq", '0', "");
	add_file(&layer, "d/two", '0', "own");
	add_file(&layer, "d/e/.wh..wh..opq", '0', "");
	put_layer(&layer);
	EQ(squash(), 0);
	STR(holds("d/e/own"), "own");
	STR(holds("d/two"), "own");
	OK(have("a") && !have("d/one") && !have("d/e/f"));
	OK(!have("d/.wh..wh..opq"));
	OK(!HAVE_E2FSPROGS || is_clean());
	drop_disk();
}

TEST(an_opaque_root_hides_all)
{
	begin_image();
	put_lower();
	add_file(&layer, "./.wh..wh..opq", '0', "");
	add_file(&layer, "x", '0', "own");
	put_layer(&layer);
	EQ(squash(), 0);
	OK(have("x") && !have("a") && !have("d") && !have("l"));
	drop_disk();
}

TEST(a_file_takes_the_place_of_a_directory_and_the_other_way_round)
{
	begin_image();
	put_lower();
	add_file(&layer, "d", '0', "a file");
	add_file(&layer, "l/", '5', "");
	add_file(&layer, "l/in", '0', "in");
	add_file(&layer, "a/", '5', "");
	put_layer(&layer);
	EQ(squash(), 0);
	STR(holds("d"), "a file");
	STR(holds("l/in"), "in");
	OK(S_ISDIR(tree_find(&disk.tree, "a")->attr.mode));
	OK(!HAVE_E2FSPROGS || is_clean());
	drop_disk();
}

TEST(whiteouts_of_nothing_and_of_what_is_not_there)
{
	static const struct { const char *name; int rc; } kinds[] = {
		{ "none/.wh.x", 0 }, { ".wh.none", 0 }, { "a/.wh.x", 0 },
		{ "none/.wh..wh..opq", 0 }, { "a/.wh..wh..opq", 0 },
		{ ".wh..wh.plnk", 0 }, { "d/.wh..wh.aufs", 0 },
		{ ".wh.", -E_VERIFY }, { "d/.wh..", -E_VERIFY },
		{ "d/.wh...", -E_VERIFY }, { "../.wh.a", -E_VERIFY },
		{ "d/../.wh.a", -E_VERIFY }, { "../.wh..wh..opq", -E_VERIFY },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		begin_image();
		put_lower();
		add_file(&layer, kinds[i].name, '0', "");
		put_layer(&layer);
		EQ(squash(), kinds[i].rc);
		OK(kinds[i].rc < 0 || (have("a") && have("d/one")));
		OK(!kinds[i].rc || told(kinds[i].name));
		drop_disk();
	}
}

TEST(a_whiteout_stays_inside_whatever_links_say)
{
	begin_image();
	put("outside", "x");
	add_file(&layer, "up", '2', "../../../..");
	add_file(&layer, "abs", '2', dir);
	add_file(&layer, "loop", '2', "loop");
	add_file(&layer, "outside", '0', "of the image");
	put_layer(&layer);
	add_file(&layer, "abs/.wh.outside", '0', "");
	add_file(&layer, "loop/.wh.outside", '0', "");
	add_file(&layer, "up/.wh.outside", '0', "");
	put_layer(&layer);
	EQ(squash(), 0);
	OK(!have("outside"));
	OK(is_there("outside"));
	drop_disk();
}

TEST(an_empty_layer_changes_nothing)
{
	begin_image();
	put_lower();
	put_layer(&layer);
	EQ(squash(), 0);
	OK(have("a"));
	drop_disk();
}

TEST(a_layer_of_no_whole_sectors_is_read)
{
	begin_image();
	add_file(&layer, "a", '0', "1234567");
	layer.len -= TAR_SECTOR - 7;
	image_layers[image_nlayers++] = put_blob(&layer);
	buf_release(&layer);
	EQ(squash(), 0);
	STR(holds("a"), "1234567");
	drop_disk();
}

TEST(a_layer_that_ends_in_a_header_is_damaged)
{
	begin_image();
	add_file(&layer, "a", '0', "1234567");
	add_file(&layer, "b", '0', "");
	layer.len -= TAR_SECTOR - 160;
	image_layers[image_nlayers++] = put_blob(&layer);
	buf_release(&layer);
	EQ(squash(), -E_VERIFY);
	drop_disk();
}

TEST(removed_files_give_their_place_back)
{
	enum { LARGE = 8 * MIB };
	char *text = malloc(LARGE + 1);
	struct stat st;

	OK(text);
	memset(text, 'x', LARGE);
	text[LARGE] = '\0';
	begin_image();
	add_file(&layer, "large", '0', text);
	free(text);
	put_layer(&layer);
	add_file(&layer, ".wh.large", '0', "");
	add_file(&layer, "small", '0', "small");
	put_layer(&layer);
	EQ(squash(), 0);
	STR(holds("small"), "small");
	EQ(fstat(disk_fd, &st), 0);
	OK(st.st_blocks * 512 < LARGE);
	OK(!HAVE_E2FSPROGS || is_clean());
	drop_disk();
}

TEST(all_layers_together_stay_within_the_bound)
{
	begin_image();
	for (int i = 0; i < 4; i++) {
		add_file(&layer, "a", '0', "x");
		put_layer(&layer);
	}
	put_image();
	EQ(unpack(3 * 2048), -E_CONFIG);
	OK(told("layer 4: "));
	OK(told("unpacks to more than"));
	ext4_release(&disk);
	EQ(ext4_begin(&disk, disk_fd, &(struct ext4_conf){
		.size = 64 * MIB, .inodes = 10 }), 0);
	EQ(unpack(4 * 2048), 0);
	drop_disk();
}

TEST(a_blob_that_is_not_what_its_digest_says_is_refused)
{
	char path[OCI_BLOB_PATH];

	begin_image();
	put_lower();
	put_image();
	oci_blob_path(path, &image_layers[0]);
	EQ(truncate(path, image_layers[0].size - 1), 0);
	EQ(unpack(MIB), -E_VERIFY);
	OK(told("bytes, not"));
	EQ(truncate(path, image_layers[0].size), 0);
	EQ(unpack(MIB), 0);	/* it ended with a zero */
	OK(put(path, "other"));
	EQ(truncate(path, image_layers[0].size), 0);
	EQ(unpack(MIB), -E_VERIFY);
	OK(told("damaged or changed"));
	EQ(unlink(path), 0);
	EQ(unpack(MIB), -E_VERIFY);
	OK(told("is missing"));
	EQ(symlink("/dev/zero", path), 0);
	OK(unpack(MIB) < 0);
	drop_disk();
}

TEST(a_config_and_a_manifest_are_checked_as_well)
{
	char path[OCI_BLOB_PATH];
	struct oci_blob b;

	begin_image();
	put_lower();
	put_image();
	oci_blob_of(&b, image_config.data, image_config.len);
	image_config.data[image_config.len - 1] = ' ';
	OK(put(oci_blob_path(path, &b), image_config.data));
	EQ(unpack(MIB), -E_VERIFY);
	put_image();
	oci_blob_of(&b, image_manifest.data, image_manifest.len);
	OK(put(oci_blob_path(path, &b), "{}"));
	EQ(unpack(MIB), -E_VERIFY);
	drop_disk();
}

/* An index with ENTRY as a blob; what stands for it in another. */
static void nest(struct buf *entry)
{
	autobuf struct buf index = BUF_INIT;
	struct oci_blob b;

	buf_printf(&index, "{\"schemaVersion\":2,\"mediaType\":\"" INDEX_TYPE
		   "\",\"manifests\":[%s]}", entry->data);
	b = put_blob(&index);
	buf_clear(entry);
	add_blob(entry, INDEX_TYPE, &b);
}

TEST(indexes_lie_in_indexes_only_so_deep)
{
	autobuf struct buf entry = BUF_INIT;
	struct oci_blob b;

	begin_image();
	put_lower();
	make_image();
	b = put_blob(&image_manifest);
	add_blob(&entry, MANIFEST_TYPE, &b);
	for (int i = 1; i < OCI_DEPTH_MAX; i++)
		nest(&entry);
	put_index(entry.data);
	EQ(unpack(MIB), 0);
	nest(&entry);
	put_index(entry.data);
	EQ(unpack(MIB), -E_VERIFY);
	OK(told("indexes in indexes"));
	drop_disk();
}

TEST(what_is_no_layout_is_refused)
{
	begin_image();
	EQ(unpack(MIB), -E_VERIFY);
	OK(told("manifest.json: is missing"));
	OK(put("oci-layout", "{}"));
	EQ(unpack(MIB), -E_VERIFY);
	OK(put("index.json", "["));
	EQ(unpack(MIB), -E_VERIFY);
	put_lower();
	put_image();
	OK(put("index.json", image_manifest.data));
	EQ(unpack(MIB), -E_VERIFY);
	OK(told("is no index"));
	EQ(truncate("index.json", OCI_JSON_MAX + 1), 0);
	EQ(unpack(MIB), -E_VERIFY);
	OK(told("too large"));
	put_index("");
	EQ(unpack(MIB), -E_CONFIG);
	drop_disk();
}

TEST(what_docker_saves_is_read_by_digests)
{
	autobuf struct buf m = BUF_INIT;
	struct oci_blob config;

	begin_image();
	put_lower();
	add_file(&layer, "a", '0', "upper");
	put_layer(&layer);
	make_image();
	config = put_blob(&image_config);
	buf_printf(&m, "[{\"Config\":\"%s.json\",\"Layers\":[\"../x\",\"y\"]}]",
		   config.digest + 7);
	OK(put("manifest.json", m.data));
	EQ(unpack(MIB), 0);
	STR(holds("a"), "upper");
	STR(holds("b"), "lower");
	drop_disk();
}

TESTS(T(layers_lie_one_over_the_other),
      T(a_whiteout_takes_a_directory_with_all_in_it),
      T(a_whiteout_takes_nothing_of_its_own_layer),
      T(an_opaque_directory_hides_what_is_below_and_keeps_its_own),
      T(an_opaque_root_hides_all),
      T(a_file_takes_the_place_of_a_directory_and_the_other_way_round),
      T(whiteouts_of_nothing_and_of_what_is_not_there),
      T(a_whiteout_stays_inside_whatever_links_say),
      T(an_empty_layer_changes_nothing),
      T(a_layer_of_no_whole_sectors_is_read),
      T(a_layer_that_ends_in_a_header_is_damaged),
      T(removed_files_give_their_place_back),
      T(all_layers_together_stay_within_the_bound),
      T(a_blob_that_is_not_what_its_digest_says_is_refused),
      T(a_config_and_a_manifest_are_checked_as_well),
      T(indexes_lie_in_indexes_only_so_deep),
      T(what_is_no_layout_is_refused),
      T(what_docker_saves_is_read_by_digests))
