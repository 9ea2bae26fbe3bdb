/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snap.h - the record of a snapshot of a VM (vm-state.7).
 *
 *	vms/NAME/snap/SNAP/meta		what it is: KEY=VALUE lines, see below
 *	vms/NAME/snap/SNAP/config	the VM's config as it was
 *	vms/NAME/snap/SNAP/dev, mem	of a live one: devices, guest memory
 *	vms/NAME/snap/SNAP/lock		OFD lock: of who reads it, shared, of
 *					who removes it, alone
 *	vms/NAME/snap/.lock		OFD lock: of whoever changes snapshots
 *					or layers, also while the VM runs
 *
 * A snapshot is a record (record.h): there whole or not at all. Its config
 * names its disks: layers that nobody writes any more (image/layers.h).
 *
 * Of two locks that of the VM is taken first, then that of its snapshots.
 */
#ifndef STATE_SNAP_H
#define STATE_SNAP_H

#include "state/record.h"
#include "state/vm.h"

/*
 * What an operand names: "web1@nightly", "web1@" (the newest), "web1" (no
 * snapshot; SNAP is ""). -E_USAGE.
 */
struct snap_name {
	char vm[NAME_MAX_LEN + 1], snap[NAME_MAX_LEN + 1];
	bool named;		/* there is an '@'; SNAP "": the newest */
};
int snap_name_parse(struct snap_name *n, const char *text);

/* The snapshots of one VM. */
struct snaps {
	const struct vm *vm;	/* borrowed */
	int dir;		/* vms/NAME/snap; -1: there is none */
	int lock;		/* -1: not held */
};

/*
 * 0 or negative with a sentence that names the VM. CREATE makes snap/ durably;
 * without, a missing one has no snapshots and is no error.
 */
int snaps_open(struct snaps *s, const struct vm *vm, bool create);
/*
 * Takes the lock, waiting up to WAIT_NS (-E_BUSY); snap/ must be there. 0 or
 * negative with a sentence.
 */
int snaps_lock(struct snaps *s, uint64_t wait_ns);
void snaps_close(struct snaps *s);	/* frees the lock */

/* One of them. */
struct snap {
	int parent;		/* vms/NAME/snap, this struct's own */
	int dir;		/* vms/NAME/snap/SNAP */
	int lock;		/* -1: not held */
	char vm[NAME_MAX_LEN + 1], name[NAME_MAX_LEN + 1];
	char label[2 * NAME_MAX_LEN + 2];	/* "web1@nightly" */
};

/*
 * Opens the one of that NAME, or ("") the newest. -E_USAGE; -E_NOENT
 * "web1@x: no such snapshot", "web1: has no snapshot"; -errno.
 */
int snap_open(struct snap *sn, const struct snaps *s, const char *name);
void snap_close(struct snap *sn);	/* frees the lock */
/*
 * Takes the lock of SN: shared by who reads its disks or memory for long and
 * without the lock of its VM's snapshots; alone to remove it. -E_BUSY;
 * -E_NOENT: it was removed meanwhile; -errno.
 */
int snap_lock(struct snap *sn, bool shared);

/* What `meta` says. */
enum { SNAP_ID = 33 };			/* 32 hexadecimal digits and a NUL */

struct snap_meta {
	uint64_t created;		/* created=SECONDS since the epoch */
	char id[SNAP_ID];		/* id=HEX: this one, wherever it is */
	char parent[NAME_MAX_LEN + 1];	/* parent=SNAP; "": none */
	char *note;			/* note=TEXT; NULL: none */
	bool is_protected;		/* protected=yes */
	char engine[16];		/* engine=kvm: live; "": disks alone */
	uint64_t memory;		/* memory=BYTES, of a live one */
};

/* 0; -E_CONFIG "web1@x: meta: ..."; -errno. Release it after. */
int snap_meta(const struct snap *sn, struct snap_meta *m);
int snap_set_meta(const struct snap *sn, const struct snap_meta *m); /* durably */
void snap_meta_release(struct snap_meta *m);
/* Its text, and the text's meaning (-E_CONFIG, -ENOMEM). */
void snap_meta_format(const struct snap_meta *m, struct buf *text);
int snap_meta_parse(struct snap_meta *m, const char *text, size_t len);

/* As vm_config() and vm_set_config(). */
int snap_config(const struct snap *sn, struct config *c);
int snap_set_config(const struct snap *sn, const struct config *c);

/*
 * A new one: fill st->dir (snap_stage_config(); dev, mem), then publish, then
 * stage_close(). The lock of S is held from before its layers are made until
 * it is published. Publishing takes over nothing: S must outlive ST. 0;
 * -E_EXISTS "web1@x: already exists"; -E_USAGE; -errno.
 */
int snap_stage(struct stage *st, const struct snaps *s, const char *name);
int snap_stage_config(struct stage *st, const struct config *c);
int snap_publish(struct stage *st, const struct snap_meta *m);
/* The id of a new one, which snap_publish() gives one that has none. */
int snap_new_id(char id[static SNAP_ID]);

/*
 * Copies the record SN (memory is linked, where that can be) into STAGE_DIR,
 * the directory of a VM that is not there yet, with META (NULL: its own). Its
 * layers are for layers_link().
 */
int snap_link(const struct snap *sn, const struct snap_meta *meta,
	      int stage_dir);

/*
 * Removes the record, not its layers, which layers_tidy() does. Both locks
 * are held: that of the VM's snapshots, and that of SN, alone. Children get
 * its parent as theirs. Whether it is protected is the caller's to ask.
 */
int snap_remove(struct snap *sn, const struct snaps *s);

/*
 * All, oldest first (by `created`, then as `ls -v` would). Reads the meta of
 * each and nothing else; one that cannot be read has BAD set. 0 or negative.
 */
struct snap_entry {
	char name[NAME_MAX_LEN + 1];
	bool bad;
	struct snap_meta meta;
};
int snaps_list(const struct snaps *s, struct snap_entry **e, size_t *n);
void snaps_list_free(struct snap_entry *e, size_t n);

/*
 * A name that is free, of the time T (seconds since the epoch) in UTC:
 * "20261125-021500", then with "-2" and so on.
 */
int snap_new_name(const struct snaps *s, uint64_t t, char name[NAME_MAX_LEN + 1]);

#endif
