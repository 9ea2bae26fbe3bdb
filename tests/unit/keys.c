/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/keys.h"

#include "test.h"

/* What goes to the guest of what is typed in one go. */
static char sent[64];

static enum keys_order type(struct keys *k, const char *text)
{
	size_t n;
	enum keys_order order = keys_filter(k, text, strlen(text), sent, &n);

	sent[n] = '\0';
	return order;
}

TEST(tilde_dot_at_the_start_of_a_line_leaves)
{
	struct keys k = { 0 };

	EQ(type(&k, "~."), KEYS_LEAVE);
	k = (struct keys){ 0 };
	EQ(type(&k, "id\r~.x"), KEYS_LEAVE);
	STR(sent, "id\r");
	k = (struct keys){ 0 };
	EQ(type(&k, "\n"), KEYS_NONE);
	EQ(type(&k, "~"), KEYS_NONE);
	STR(sent, "");
	EQ(type(&k, "."), KEYS_LEAVE);
}

TEST(inside_a_line_a_tilde_is_one)
{
	struct keys k = { 0 };

	EQ(type(&k, "a~."), KEYS_NONE);
	STR(sent, "a~.");
	EQ(type(&k, " ~/x ~?\r"), KEYS_NONE);
	STR(sent, " ~/x ~?\r");
}

TEST(two_tildes_send_one_and_others_pass)
{
	struct keys k = { 0 };

	EQ(type(&k, "~~."), KEYS_NONE);
	STR(sent, "~.");
	EQ(type(&k, "\r~a"), KEYS_NONE);
	STR(sent, "\r~a");
	EQ(type(&k, "\r~\r~."), KEYS_LEAVE);
	STR(sent, "\r~\r");
}

TEST(help_is_asked_for_and_the_line_begins_again)
{
	struct keys k = { 0 };

	EQ(type(&k, "~?"), KEYS_HELP);
	STR(sent, "");
	EQ(type(&k, "~."), KEYS_LEAVE);
}

TESTS(T(tilde_dot_at_the_start_of_a_line_leaves),
      T(inside_a_line_a_tilde_is_one),
      T(two_tildes_send_one_and_others_pass),
      T(help_is_asked_for_and_the_line_begins_again))
