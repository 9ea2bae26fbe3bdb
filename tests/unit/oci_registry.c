/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/oci_registry.h"

#include "oci.h"
#include "test.h"
#include "web.h"

static char dir[SCRATCH_BYTES];
static struct web_step steps[WEB_STEPS];
static char heads[WEB_STEPS][512];
static size_t nsteps, used;		/* of web_content */
static struct buf layer = BUF_INIT;

static const struct fetch_limits quick = {
	.tries = 2, .wait_ms = 1, .connect_s = 2,
	.slow_rate = 1000, .slow_s = 1,
};

static void step(const char *head, const char *body, size_t len)
{
	snprintf(heads[nsteps], sizeof(heads[0]), "%s", head);
	memcpy(web_content + used, body, len);
	steps[nsteps] = (struct web_step){ heads[nsteps], used, used + len };
	used += len;
	nsteps++;
}

static void step_buf(const char *head, const struct buf *b)
{
	step(head, b->data, b->len);
}

/* The file of a layer as the server's answer. */
static void step_blob(const char *head, const struct oci_blob *b)
{
	autobuf struct buf text = BUF_INIT;
	char path[OCI_BLOB_PATH];

	file_read(AT_FDCWD, oci_blob_path(path, b), &text, 1 << 20);
	step_buf(head, &text);
}

/* An image of one layer that the server has; nothing of it is here. */
static void begin(void)
{
	scratch_make(dir);
	drop_image();
	nsteps = used = 0;
	add_file(&layer, "a", '0', "hello");
	put_layer(&layer);
	make_image();
}

static void end(void)
{
	drop_image();
	scratch_remove(dir);
}

/* Plays the steps while an image is pulled into `to`; WHAT: ":tag", "@...". */
static int pull(const char *what)
{
	autoclose int to = -1;
	struct oci_pull p = { .max = 1 << 20, .limits = &quick };
	struct oci_ref ref;
	char text[256];
	const char *port;
	int rc;

	mkdir("to", 0700);
	to = open("to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!web_start(steps, nsteps))
		return -EIO;
	port = strrchr(web.url, ':') + 1;
	for (size_t i = 0; i < nsteps; i++) {	/* where the server is */
		char *at = strstr(heads[i], "PORT!");

		if (at)
			memcpy(at, port, 5);
	}
	snprintf(text, sizeof(text), "127.0.0.1:%.5s/me/x%s", port, what);
	rc = oci_ref_parse(&ref, text);
	p.ref = &ref;
	p.dir = to;
	if (rc == 0)
		rc = oci_pull(&p);
	web_stop();
	return rc;
}

static bool told(const char *what)
{
	if (strstr(err_text(), what))
		return true;
	printf("# %s\n", err_text());
	return false;
}

static bool asked(size_t n, const char *what)
{
	if (n < web.served && strstr(web.request[n], what))
		return true;
	printf("# %zu of %zu: %s\n", n, web.served, web.request[n]);
	return false;
}

/* What is in `to` as an image: 0, or the error. */
static int judge(void)
{
	autoclose int to = open("to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autoclose int fd = open("d", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct ext4_conf conf = { .size = ext4_size_min, .inodes = 100 };
	char digest[OCI_DIGEST_BYTES];
	struct ext4 x;
	int rc = ext4_begin(&x, fd, &conf);

	if (rc == 0)
		rc = oci_layout_unpack(to, 1 << 20, &x, digest);
	if (rc == 0 && !tree_find(&x.tree, "a"))
		rc = -ENOENT;
	ext4_release(&x);
	return rc;
}

TEST(an_image_comes_as_a_layout)
{
	begin();
	step_buf("200 OK", &image_manifest);
	step_buf("200 OK", &image_config);
	step_blob("200 OK", &image_layers[0]);
	EQ(pull(""), 0);
	EQ(judge(), 0);
	OK(asked(0, "GET /v2/me/x/manifests/latest HTTP/1.1\r\n"));
	OK(asked(0, "\r\nAccept: application/vnd.oci.image.index.v1+json, "));
	OK(asked(1, "GET /v2/me/x/blobs/sha256:"));
	OK(asked(2, image_layers[0].digest));
	end();
}

TEST(a_token_is_got_where_one_is_wanted_and_told_to_no_other_server)
{
	static const char token[] = "{\"token\":\"secret\"}";
	char hub[] = "\r\nAuthorization: Bearer secret\r\n";

	begin();
	step("401 x\r\nWWW-Authenticate: Bearer realm=\"http://127.0.0.1:PORT!"
	     "/token\",service=\"us\"", "", 0);
	step("200 OK", token, strlen(token));
	step_buf("200 OK", &image_manifest);
	step_buf("200 OK", &image_config);
	step("307 x\r\nLocation: http://localhost:PORT!/elsewhere", "", 0);
	step_blob("200 OK", &image_layers[0]);
	EQ(pull(":t"), 0);
	EQ(judge(), 0);
	OK(!strstr(web.request[0], "Authorization"));
	OK(asked(1, "GET /token?service=us&scope=repository%3Ame%2Fx%3Apull "));
	OK(!strstr(web.request[1], "Authorization"));
	OK(asked(2, hub));
	OK(asked(4, hub));
	OK(asked(5, "GET /elsewhere HTTP/1.1\r\nHost: localhost:"));
	OK(!strstr(web.request[5], "Authorization"));
	end();
}

TEST(a_token_that_is_of_no_use_is_not_asked_for_again_and_again)
{
	static const char token[] = "{\"token\":\"secret\"}";

	begin();
	step("401 x\r\nWWW-Authenticate: Bearer realm=\"http://127.0.0.1:PORT!"
	     "/token\"", "", 0);
	step("200 OK", token, strlen(token));
	step("401 x\r\nWWW-Authenticate: Bearer realm=\"http://127.0.0.1:PORT!"
	     "/token\"", "", 0);
	EQ(pull(""), -E_PERM);
	EQ(web.served, 3);
	OK(told("not there, or not for everyone"));
	end();
}

TEST(a_login_elsewhere_without_tls_is_refused)
{
	begin();
	step("401 x\r\nWWW-Authenticate: Bearer realm=\"http://h.example/\"",
	     "", 0);
	EQ(pull(""), -EPROTO);
	OK(told("is not safe"));
	end();
}

TEST(a_redirected_server_cannot_ask_for_a_login)
{
	begin();
	step("307 x\r\nLocation: http://localhost:PORT!/elsewhere", "", 0);
	step("401 x\r\nWWW-Authenticate: Bearer realm=\"http://127.0.0.1:PORT!"
	     "/token\"", "", 0);
	EQ(pull(""), -E_PERM);
	EQ(web.served, 2);
	end();
}

TEST(by_digest_only_the_right_manifest_is_taken)
{
	struct oci_blob b;
	char what[80];

	begin();
	oci_blob_of(&b, image_manifest.data, image_manifest.len);
	snprintf(what, sizeof(what), "@%s", b.digest);
	step_buf("200 OK", &image_manifest);
	step_buf("200 OK", &image_config);
	step_blob("200 OK", &image_layers[0]);
	EQ(pull(what), 0);
	OK(asked(0, b.digest));
	nsteps = 1;
	web_content[steps[0].from + 1] = ' ';	/* still JSON? no matter */
	EQ(pull(what), -E_VERIFY);
	end();
}

TEST(an_index_leads_to_its_manifest_checked)
{
	autobuf struct buf index = BUF_INIT;
	struct oci_blob b;

	begin();
	oci_blob_of(&b, image_manifest.data, image_manifest.len);
	buf_str(&index, "{\"schemaVersion\":2,\"manifests\":[");
	add_blob(&index, MANIFEST_TYPE, &b);
	buf_str(&index, "]}");
	step_buf("200 OK", &index);
	step_buf("200 OK", &image_manifest);
	step_buf("200 OK", &image_config);
	step_blob("200 OK", &image_layers[0]);
	EQ(pull(""), 0);
	EQ(judge(), 0);
	OK(asked(1, b.digest));
	nsteps = 2;
	web_content[steps[1].from] = ' ';
	EQ(pull(""), -E_VERIFY);
	end();
}

TEST(a_blob_of_another_size_or_content_makes_no_image)
{
	begin();
	step_buf("200 OK", &image_manifest);
	step_buf("200 OK", &image_config);
	step_blob("200 OK", &image_layers[0]);
	steps[2].to++;
	EQ(pull(""), -E_VERIFY);
	OK(told("has more than"));
	steps[2].to -= 2;
	remove_tree(AT_FDCWD, "to");
	EQ(pull(""), 0);	/* who reads it checks it */
	EQ(judge(), -E_VERIFY);
	steps[2].to++;
	remove_tree(AT_FDCWD, "to");
	web_content[steps[2].from + 700] = 'x';
	EQ(pull(""), 0);
	EQ(judge(), -E_VERIFY);
	end();
}

TEST(a_broken_transfer_goes_on_where_it_ended_with_a_new_token)
{
	static const char token[] = "{\"token\":\"secret\"}";

	begin();
	EQ(image_layers[0].size, 2048);
	step_buf("200 OK", &image_manifest);
	step_buf("200 OK", &image_config);
	step_blob("200 OK\r\nETag: \"e\"\r\nContent-Length: 2048",
		  &image_layers[0]);
	steps[2].to -= 1048;
	step("401 x\r\nWWW-Authenticate: Bearer realm=\"http://127.0.0.1:PORT!"
	     "/token\"", "", 0);
	step("200 OK", token, strlen(token));
	step_blob("206 x\r\nETag: \"e\"\r\n"
		  "Content-Range: bytes 1000-2047/2048", &image_layers[0]);
	steps[5].from += 1000;
	EQ(pull(""), 0);
	OK(asked(3, "\r\nRange: bytes=1000-\r\n"));
	OK(asked(5, "\r\nRange: bytes=1000-\r\n"));
	OK(asked(5, "\r\nAuthorization: Bearer secret\r\n"));
	EQ(judge(), 0);
	end();
}

TEST(what_came_whole_is_not_got_again)
{
	begin();
	step_buf("200 OK", &image_manifest);
	step_buf("200 OK", &image_config);
	step("500 x", "", 0);
	step("500 x", "", 0);
	EQ(pull(""), -E_AGAIN);
	nsteps = used = 0;
	step_buf("200 OK", &image_manifest);
	step_blob("200 OK", &image_layers[0]);
	EQ(pull(""), 0);
	OK(asked(1, image_layers[0].digest));
	EQ(judge(), 0);
	end();
}

TEST(more_than_allowed_is_refused_before_it_comes)
{
	begin();
	image_layers[0].size = 1 << 20;
	make_image();
	step_buf("200 OK", &image_manifest);
	EQ(pull(""), -E_CONFIG);
	image_layers[0].size = INT64_MAX;
	image_layers[1] = image_layers[2] = image_layers[0];
	image_nlayers = 3;
	nsteps = used = 0;
	make_image();
	step_buf("200 OK", &image_manifest);
	EQ(pull(""), -E_CONFIG);
	end();
}

TEST(what_is_not_there_or_no_manifest_is_said)
{
	begin();
	step("404 x", "", 0);
	EQ(pull(""), -ENOENT);
	nsteps = used = 0;
	step("200 OK", "<html>", 6);
	EQ(pull(""), -E_VERIFY);
	end();
}

TESTS(T(an_image_comes_as_a_layout),
      T(a_token_is_got_where_one_is_wanted_and_told_to_no_other_server),
      T(a_token_that_is_of_no_use_is_not_asked_for_again_and_again),
      T(a_login_elsewhere_without_tls_is_refused),
      T(a_redirected_server_cannot_ask_for_a_login),
      T(by_digest_only_the_right_manifest_is_taken),
      T(an_index_leads_to_its_manifest_checked),
      T(a_blob_of_another_size_or_content_makes_no_image),
      T(a_broken_transfer_goes_on_where_it_ended_with_a_new_token),
      T(what_came_whole_is_not_got_again),
      T(more_than_allowed_is_refused_before_it_comes),
      T(what_is_not_there_or_no_manifest_is_said))
