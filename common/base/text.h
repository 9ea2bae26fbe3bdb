/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * text.h - numbers, sizes, durations and names as people write them; one
 * meaning everywhere.
 *
 * Sizes: K M G T P are powers of 1024 ("512M", "1.5G", "4096"); a bare number
 * is bytes; a trailing "iB" or "B" is accepted ("512MiB"). Durations: a bare
 * number is seconds; s m h d ("90", "1.5s", "2h").
 *
 * Parsers read the whole string or fail with -E_USAGE and a sentence that
 * quotes it ("memory '12x': not a size (try 512M, 2G)" with WHAT = "memory").
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/buf.h"

int parse_u64(const char *what, const char *s, uint64_t *out);
int parse_size(const char *what, const char *s, uint64_t *bytes);
int parse_duration(const char *what, const char *s, uint64_t *ns);
/* yes no on off true false 1 0 */
int parse_bool(const char *what, const char *s, bool *out);

/* "1.5G", "512M", "0"; at most 8 bytes. BUF of 16. Returns BUF. */
char *format_size(char *buf, uint64_t bytes);
/* The shortest exact form parse_size() reads back: "1536M". BUF of 24. */
char *format_size_exact(char *buf, uint64_t bytes);
/* "3s", "5m12s", "2h03m", "4d07h". BUF of 24. */
char *format_duration(char *buf, uint64_t seconds);

/*
 * Whether S is a name: [a-z0-9][a-z0-9._-]{0,62}. Safe as one path component.
 */
enum { NAME_MAX_LEN = 63 };
bool name_ok(const char *s);
/* 0, or -E_USAGE: "'a/b': not a VM name (a-z 0-9 . _ -, at most 63)". */
int name_check(const char *kind, const char *s);

/* Which of WORDS, which end with NULL, is WORD; -1: none. */
int find_word(const char *const *words, const char *word);

/* Cuts *S at the first SEP; returns the part before, *S goes behind or NULL. */
char *cut(char **s, char sep);

/* Whether S begins with PREFIX; if so and REST, *REST is what follows. */
bool starts_with(const char *s, const char *prefix, const char **rest);

#endif
