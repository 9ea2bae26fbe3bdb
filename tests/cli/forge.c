/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * forge.c - a stream as one makes it who wants to do harm: that on standard
 * input with the file CONFIG as its config, and all sums right.
 *
 *	forge CONFIG <STREAM >STREAM
 */
#include <fcntl.h>
#include <stdio.h>

#include "base/err.h"
#include "base/file.h"
#include "stream/read.h"
#include "stream/write.h"

struct forger {
	struct stream_reader reader;
	struct stream_writer writer;
	struct buf config;
	unsigned object;
};

static struct forger *of(struct stream_reader *r)
{
	return container_of(r, struct forger, reader);
}

static int put(struct stream_writer *w, const void *data, size_t len)
{
	(void)w;
	return write_all(STDOUT_FILENO, data, len);
}

static int on_begin(struct stream_reader *r)
{
	of(r)->object = STREAM_OBJECTS;
	return stream_begin(&of(r)->writer, &r->head);
}

static int on_resume(struct stream_reader *r, const struct stream_point *p)
{
	(void)r, (void)p;
	return fail(E_VERIFY, "not whole");
}

static int on_text(struct stream_reader *r, enum part_kind kind,
		   const char *text, size_t len)
{
	const struct buf *config = &of(r)->config;

	return kind == PART_META ?
		stream_text(&of(r)->writer, kind, text, len) :
		stream_text(&of(r)->writer, kind, config->data, config->len);
}

static int enter(struct forger *f, unsigned object)
{
	bool same = object == f->object;

	f->object = object;
	return same ? 0 : stream_object(&f->writer, object);
}

static int on_data(struct stream_reader *r, unsigned object, uint64_t off,
		   const void *data, size_t len)
{
	int rc = enter(of(r), object);

	return rc < 0 ? rc : stream_data(&of(r)->writer, off, data, len);
}

static int on_zero(struct stream_reader *r, unsigned object, uint64_t off,
		   uint64_t len)
{
	int rc = enter(of(r), object);

	return rc < 0 ? rc : stream_zero(&of(r)->writer, off, len);
}

static int on_point(struct stream_reader *r)
{
	(void)r;
	return 0;
}

static int on_end(struct stream_reader *r)
{
	return stream_end(&of(r)->writer);
}

static const struct stream_ops ops = {
	on_begin, on_resume, on_text, on_data, on_zero, on_point, on_end,
};

int main(int argc, char **argv)
{
	struct forger f = { .config = BUF_INIT };
	int rc;

	if (argc != 2)
		return EXIT_USAGE;
	stream_init(&f.writer, put);
	rc = file_read(AT_FDCWD, argv[1], &f.config, STREAM_RUN);
	if (rc == 0)
		rc = stream_read(&f.reader, STDIN_FILENO, &ops);
	if (rc == 0)
		rc = stream_close(&f.writer);
	stream_release(&f.writer);
	buf_release(&f.config);
	if (rc < 0)
		fprintf(stderr, "forge: %s\n", err_text());
	return err_exit(rc);
}
