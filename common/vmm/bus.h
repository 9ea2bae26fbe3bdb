/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bus.h - who answers at an address: one bus for ports, one for memory.
 *
 * Theory: a region is a range of addresses with a device's two functions
 * behind it; it lives inside its device. Regions of a bus never overlap:
 * adding one that would is refused, so what a guest writes into a BAR cannot
 * steal another device's addresses. An access that crosses the end of a
 * region, or meets none, is answered as on a PC: all ones read, writes lost.
 *
 * A doorbell is an address whose writing means nothing but "signal this
 * eventfd". The bus does so itself; a host that can do it without leaving the
 * kernel (KVM's ioeventfd) is asked to, through `host`, when the doorbell is
 * added. The effect is the same.
 *
 * Threads: bus_read() and bus_write() come from any vCPU thread, at once. A
 * device locks itself. Regions may be added and removed at any time by any
 * thread, from within a region's own functions too (a BAR that moves): the
 * bus holds no lock while it calls a device. A region that was removed may
 * still be called by an access already under way; devices live as long as
 * their machine, so that is harmless.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <pthread.h>

#include "base/types.h"

/*
 * OFF is relative to the region; SIZE is 1, 2, 4 or 8 and OFF + SIZE lies
 * within the region; VAL holds SIZE bytes, the rest zero. A device must take
 * every size at every offset.
 */
struct bus_ops {
	uint64_t (*read)(void *dev, uint64_t off, unsigned size);
	void (*write)(void *dev, uint64_t off, unsigned size, uint64_t val);
};

struct region {
	uint64_t base, size;
	const struct bus_ops *ops;
	void *dev;
	const char *name;	/* "serial", for messages */
	bool mapped;
};

struct doorbell {
	uint64_t addr;
	int fd;			/* eventfd, borrowed */
	bool mapped;
};

/* What the hypervisor may do for a bus; all may fail, the bus copes. */
struct bus_host {
	int (*doorbell)(struct bus_host *h, uint64_t addr, int fd, bool on);
};

enum { BUS_REGIONS = 128, BUS_DOORBELLS = 512 };

struct bus {
	const char *name;		/* "port" or "memory" */
	struct bus_host *host;		/* NULL: none */
	pthread_rwlock_t lock;		/* of the two tables */
	struct region *region[BUS_REGIONS];	/* sorted by base */
	int nregions;
	struct doorbell *bell[BUS_DOORBELLS];
	int nbells;
	uint64_t unclaimed;		/* accesses nobody answered */
};

void bus_init(struct bus *b, const char *name, struct bus_host *host);
void bus_release(struct bus *b);

/*
 * R's fields are set by the caller; R must stay. 0, or -EBUSY (overlaps), or
 * -ENOSPC (too many), or -EINVAL (empty, or wraps). No sentence.
 */
int bus_add(struct bus *b, struct region *r);
void bus_remove(struct bus *b, struct region *r);

/* The same for a doorbell, anywhere within a region or outside all. */
int bus_add_doorbell(struct bus *b, struct doorbell *d);
void bus_remove_doorbell(struct bus *b, struct doorbell *d);

/* SIZE 1, 2, 4 or 8. */
uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size);
void bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t val);

#endif
