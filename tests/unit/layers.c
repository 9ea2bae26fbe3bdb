/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "image/layers.h"

#include "history.h"
#include "test.h"

static int count_shots(void)
{
	int n = 0;

	for (int i = 0; i < SNAPS; i++)
		n += shots[i].name[0] != '\0';
	return n;
}

static int one_step(void)
{
	struct shot *s;
	int rc = 0;

	switch (any(6)) {
	case 0: case 1:
		write_some();
		break;
	case 2:
		s = any_shot(false);
		if (!s)
			break;
		*s = now;
		next_name(s->name);
		rc = take_snap(s->name);
		break;
	case 3:
		s = any_shot(true);
		if (!s)
			break;
		rc = drop_snap(s->name);
		s->name[0] = '\0';
		if (rc == 0 && any(2))
			rc = layers_tidy(&snaps, NULL, NULL);
		break;
	case 4:
		s = any_shot(true);
		if (!s)
			break;
		rc = push_over(s->name);
		now = *s;
		break;
	case 5:
		rc = layers_tidy(&snaps, NULL, NULL);
		/* bounded: each file is named, or two rest on it */
		if (rc == 0 && files_in_disk() > 2 * DISKS * (count_shots() + 1)) {
			printf("# %d files, %d snapshots\n", files_in_disk(),
			       count_shots());
			rc = -1;
		}
	}
	return rc;
}

TEST(every_snapshot_of_a_random_history_shows_what_it_did)
{
	for (int seed = 1; seed <= 3; seed++) {
		random_state = seed * 0x9e3779b97f4a7c15ULL;
		begin_history();
		for (int i = 0; i < 60; i++) {
			int rc = one_step();

			if (rc < 0 || !all_show())
				printf("# seed %d, step %d: %s\n", seed, i,
				       err_text());
			EQ(rc, 0);
			OK(all_show());
		}
		for (struct shot *s; (s = any_shot(true)); s->name[0] = '\0')
			EQ(drop_snap(s->name), 0);
		EQ(layers_tidy(&snaps, NULL, NULL), 0);
		OK(all_show());
		EQ(files_in_disk(), DISKS);
		end_history();
	}
}

TESTS(T(every_snapshot_of_a_random_history_shows_what_it_did))
