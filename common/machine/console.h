/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * console.h - the VM's console: what the guest says is logged and goes to
 * any number of readers; one writer at a time types.
 *
 * Theory. The guest's device calls chr_write() from vCPU threads. The bytes
 * go into a ring in memory (CONSOLE_RING), which the event loop empties into
 * the log (conlog.h): at once when it was idle, else CONSOLE_TICK_NS later, so
 * that a guest that writes byte by byte costs one write a tick; after a
 * kill -9 only what came within the last tick is missing. Every byte has an
 * offset; a reader is an offset and a socket, fed from the ring, or from the
 * log when it is further behind. So a reader that does not read costs no
 * memory and never holds up the guest; when the log has dropped what it
 * needs, it is told "[... N bytes dropped ...]" and goes on behind. A guest
 * that fills the ring faster than the loop empties it writes the log itself,
 * at the speed of the page cache, and loses nothing.
 *
 * Clients get their ends of socket pairs through ctl (vm-ctl.7):
 *
 *	console [live]	output: from the start of this boot, or from now on.
 *			Half-closing it asks for its end: what was said up to
 *			then is sent, and the console closes it.
 *	console write	input. One at a time, the next gets "fail 11 console
 *			has a writer". What the guest's device does not take
 *			waits in the socket. After half-closing it the console
 *			closes it when the device has taken the last byte.
 *			Whenever it closes it, it says "N\n" before: so many
 *			bytes were taken. At the VM's end that comes before
 *			the end of the output.
 *
 * How the machine uses it:
 *
 *	console_init(&c, &loop, vm.dir, conf.console_log);
 *	uart_init(..., &c.chr); c.chr.front = &uart.front;
 *	... { "console", 1, verb } calling console_verb(&c, ...)
 *	console_new_boot(&c);		at every reset, vCPUs stopped
 *	console_release(&c);		vCPUs gone, before loop_release()
 *
 * Threads: chr_write() and chr_ready() from any thread; all else belongs to
 * the loop's thread. Lock order: the device's, `disk`, `lock`; the console
 * calls input() with neither of its own held.
 *
 * System calls after console_init(): eventfd's and sockets' read, write,
 * recvfrom, sendto, close, socketpair, epoll_ctl, timerfd_settime; for the
 * log pwritev, pread64, and in the VM's directory openat (create), renameat, unlinkat.
 */
#ifndef MACHINE_CONSOLE_H
#define MACHINE_CONSOLE_H

#include <pthread.h>

#include "base/buf.h"
#include "base/loop.h"
#include "dev/chr.h"
#include "machine/conlog.h"

enum {
	CONSOLE_RING = 64 * 1024,	/* a power of two */
	CONSOLE_READERS = 32,
	CONSOLE_CHUNK = 16 * 1024,	/* most bytes in one send */
	CONSOLE_INPUT = 4096,		/* bytes read ahead from the writer */
	CONSOLE_TICK_NS = 4000000,
};

struct console_reader {
	struct watch watch;
	struct console *console;
	int fd;			/* -1: free slot */
	bool socket;		/* else a terminal, pipe or file */
	bool blocking;		/* one that could not be made not to */
	bool ending;		/* half-closed: ends at `last` */
	uint64_t off;		/* the next byte to send */
	uint64_t last;
	char note[CONLOG_NOTE];	/* about dropped bytes, to be sent first */
	unsigned note_off, note_len;
};

struct console_writer {
	struct watch watch;
	struct console *console;
	int fd;			/* -1: none */
	bool socket;
	bool eof;		/* nothing comes behind data[] */
	unsigned off, len;	/* of data: not yet taken by the device */
	uint64_t taken;		/* by the device, in all */
	char data[CONSOLE_INPUT];
	size_t (*filter)(void *arg, char *data, size_t len);
	void *arg;
};

struct console {
	struct chr chr;		/* what the device writes to */
	struct loop *loop;	/* NULL: not open */
	struct watch watch;	/* of `kick` */
	struct timer timer;
	int kick;		/* eventfd: bytes came, or ready() */
	uint64_t flushed_ns;	/* when the loop last emptied the ring */
	uint64_t boot;		/* offset at which this boot began */
	struct console_reader reader[CONSOLE_READERS];
	struct console_writer writer;
	char chunk[CONSOLE_CHUNK];

	pthread_mutex_t disk;	/* the log, and emptying the ring into it */
	struct conlog log;

	pthread_mutex_t lock;	/* from here on */
	uint64_t logged, end;	/* offsets: in the log; written so far */
	bool kicked;		/* bytes came that the loop has not spread */
	bool ready;		/* the device can take input again */
	char ring[CONSOLE_RING];
};

/*
 * The console of the VM whose directory is DIR (borrowed), keeping KEEP bytes
 * of log; an earlier log is put aside. 0 or -errno with a sentence; a log
 * that cannot be written is noted and no failure.
 */
int console_init(struct console *c, struct loop *l, int dir, uint64_t keep);

/*
 * Logs what is left, gives readers what they take without waiting, closes.
 * Idempotent; harmless on a zeroed console.
 */
void console_release(struct console *c);

/* What comes from here on belongs to a new boot: replay begins here. */
void console_new_boot(struct console *c);

/*
 * The ctl verb "console" (most arguments: 1) as above. Called through the
 * machine's own verb, which knows the console.
 */
int console_verb(struct console *c, int argc, char **argv, struct buf *answer,
		 int *fd);

/*
 * Attaches descriptors of this process (vm-boot -f): output to OUT, input
 * from IN; -1: not that one. Both are borrowed, stay open until
 * console_release(), and are left as they are (O_NONBLOCK would change them
 * for the shell too). SIGPIPE must be ignored. FILTER (may be NULL) sees
 * input first and returns how many of the LEN bytes, rewritten in place, go
 * to the guest. 0; -E_BUSY; -errno with a sentence.
 */
int console_attach(struct console *c, int in, int out,
		   size_t (*filter)(void *arg, char *data, size_t len),
		   void *arg);

#endif
