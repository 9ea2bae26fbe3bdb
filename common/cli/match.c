/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/match.h"

#include <string.h>

static const char prompt[] = "login: ";

void match_init(struct match *m, const regex_t *regex)
{
	m->regex = regex;
	m->plain = (struct plain){ 0 };
	m->found = false;
	m->len = 0;
}

/* Whether the line so far matches. */
static bool matches(struct match *m)
{
	m->line[m->len] = '\0';
	return m->regex && regexec(m->regex, m->line, 0, NULL, 0) == 0;
}

static bool at_prompt(const struct match *m)
{
	size_t n = sizeof(prompt) - 1;

	return !m->regex && m->len >= n &&
	       !memcmp(m->line + m->len - n, prompt, n);
}

static void add(struct match *m, char c)
{
	if (m->len == MATCH_LINE) {
		m->found = matches(m);
		m->len /= 2;
		memmove(m->line, m->line + m->len, m->len);
	}
	m->line[m->len++] = c;
	/* The kernel may go on in the line of the prompt. */
	m->found |= c == ' ' && at_prompt(m);
}

bool match_feed(struct match *m, char *data, size_t len)
{
	len = plain_filter(&m->plain, data, len);
	for (size_t i = 0; i < len && !m->found; i++) {
		if (data[i] != '\n') {
			add(m, data[i]);
			continue;
		}
		m->found = matches(m);
		m->len = 0;
	}
	m->found = m->found || (m->len && matches(m));
	return m->found;
}
