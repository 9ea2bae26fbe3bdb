/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a list of sums, and as what a server says of itself: what is
 * found stands in the list, and what is told of a part fits together.
 */
#include <strings.h>

#include "image/reply.h"
#include "image/sums.h"
#include "input.h"

/* Whether the hex digits of SUM stand in TEXT, in whatever case. */
static bool stands_in(const struct sum *sum, const char *text, size_t len)
{
	char hex[SUM_TEXT];
	const char *digits = strchr(sum_format(hex, sum), ':') + 1;
	const size_t n = strlen(digits);

	for (size_t i = 0; i + n <= len; i++)
		if (!strncasecmp(text + i, digits, n))
			return true;
	return false;
}

static void check_sums(const char *text, size_t len)
{
	static const char *const names[] = { "x", "", "./x", "x y" };
	char again[SUM_TEXT];
	struct sum sum, back;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(names); i++) {
		if (sums_find(text, len, names[i / 2], i % 2, &sum) < 0)
			continue;
		MUST(sum.kind == SUM_SHA256 || sum.kind == SUM_SHA512);
		MUST(stands_in(&sum, text, len));
		MUST(sum_parse(sum_format(again, &sum), &back) == 0);
		MUST(sum_same(&sum, &back));
	}
}

static void check_reply(const char *text, size_t len)
{
	struct reply r = { 0 };

	while (len) {
		const char *nl = memchr(text, '\n', len);
		size_t n = nl ? (size_t)(nl - text) + 1 : len;

		reply_line(&r, text, n);
		text += n;
		len -= n;
		MUST(r.status >= 0 && r.status <= 999);
		MUST(!r.has_range || r.first <= r.last);
		MUST(!r.has_range || !r.has_total || r.last < r.total);
		MUST(strlen(reply_validator(&r)) < VALIDATOR_BYTES);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	check_sums((const char *)data, len);
	check_reply((const char *)data, len);
	return 0;
}
