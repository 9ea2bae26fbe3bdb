/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu.c - QEMU as an engine: where there is no KVM it emulates the CPU.
 *
 * Theory. Our process stays the VM's: it holds the locks, serves ctl and keeps
 * the console. One machine is one process of QEMU, its child, from `enter` to
 * `leave`; a reset is a new one. Between the two go
 *
 *	qmp	commands and events (qmp.h)
 *	link	a socket for each serial device: what the guest says, and
 *		what is typed
 *	says	what QEMU itself prints, which goes to the VM's log
 *	pidfd	its end, which we did not ask for
 *
 * Kernel and initrd were tried with our own loader before QEMU sees them, so
 * that what cannot be booted has the same words and codes on each engine.
 *
 * A guest's own end (reset, power-off) leaves QEMU standing, so that the event
 * says which it was; then it is killed. Of a raw disk that loses nothing: a
 * write the guest was told of is in the host's page cache. Where a disk is
 * qcow2, QEMU has tables in its own memory, and is asked to quit first.
 */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/log.h"
#include "block/qcow2.h"
#include "engine/qemu_args.h"
#include "engine/qemu_proc.h"
#include "engine/qmp.h"
#include "machine/parts.h"

#define MS 1000000ULL
#define START_NS (30000 * MS)	/* what QEMU's start may take */
#define CALL_NS (4000 * MS)	/* an answer; a command waits five seconds */
#define GLANCE_NS (200 * MS)	/* an answer that can be done without */
#define QUIT_NS (5000 * MS)	/* what writing tables may take */

#define LIMIT_MAX 1000000000000000ULL	/* of a rate, QEMU's */

enum { TRIED_MAJOR = 7, OLDEST_MAJOR = 6 };
enum {
	LINE = 400,
	INPUT_ROOM = 2048,	/* typed, and not yet QEMU's */
	CHUNK = 16384,
	LAST_CHUNKS = 64,	/* more than a socket or a pipe holds */
};

/*
 * Whether the guest handles the power button: PWRBTN_EN in PM1_EN, which lies
 * behind PM1_STS where SeaBIOS puts ICH9's power management (ACPI 6.4, 4.8.3.1).
 */
static const char read_pm1_en[] = "{\"command-line\":\"i /w 0x602\"}";
enum { PWRBTN_EN = 1 << 8 };

struct link {
	struct watch watch;
	struct chr_front front;
	struct console *console;
	int fd;			/* -1: none */
};

struct qemu {
	struct guest *guest;
	struct pv_parts parts;
	bool kvm;
	struct qemu_proc proc;
	struct qmp qmp;
	struct link link[QEMU_LINKS];
	struct watch qmp_watch, says_watch, end_watch;
	bool over;		/* the guest came to its end, by an event */
	bool paused;		/* by us */
	bool late;		/* a STOP of ours that nobody waits for comes */
	bool stalled;		/* by what a disk could not write */
	char line[LINE];	/* what QEMU is saying */
	size_t len;
	char last[LINE];	/* the last line it said */
	char why[ERR_MAX];
	struct log_limit noise;
};

static struct qemu *qemu(struct guest *g)
{
	return g->self;
}

/* -- what QEMU prints -- */

/* It may be the guest who speaks by now: one line of text, whatever it is. */
static void printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = '?';
}

static void end_line(struct qemu *q)
{
	q->line[q->len] = '\0';
	q->len = 0;
	if (!q->line[0])
		return;
	printable(q->line);
	snprintf(q->last, sizeof(q->last), "%s", q->line);
	log_limited(&q->noise, "%s", q->line);
}

/* One chunk, so that who never stops talking holds up nobody; if there was. */
static bool read_says(struct qemu *q)
{
	char chunk[CHUNK];
	ssize_t n = read(q->proc.says, chunk, sizeof(chunk));

	for (ssize_t i = 0; i < n; i++) {
		if (chunk[i] == '\n' || q->len == LINE - 1)
			end_line(q);
		if (chunk[i] != '\n')
			q->line[q->len++] = chunk[i];
	}
	if (n == 0) {
		end_line(q);
		watch_remove(&q->says_watch);
	}
	return n > 0;
}

/* Of one that has ended. */
static void read_last_says(struct qemu *q)
{
	for (int i = 0; i < LAST_CHUNKS && read_says(q); i++)
		;
}

static void on_says(struct watch *w, uint32_t events)
{
	(void)events;
	read_says(container_of(w, struct qemu, says_watch));
}

/* -- the console -- */

/* One chunk, too. */
static bool read_link(struct link *l)
{
	char chunk[CHUNK];
	ssize_t n = recv(l->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (n > 0)
		chr_write(&l->console->chr, chunk, n);
	if (n == 0)
		watch_remove(&l->watch);
	return n > 0;
}

static void on_link(struct watch *w, uint32_t events)
{
	struct link *l = container_of(w, struct link, watch);

	if (events & EPOLLOUT) {
		watch_change(w, EPOLLIN);
		chr_ready(&l->console->chr);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_link(l);
}

static size_t link_input(struct chr_front *f, const void *data, size_t len)
{
	struct link *l = container_of(f, struct link, front);
	ssize_t n = send(l->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	size_t taken = n < 0 ? 0 : n;

	if (taken < len && l->watch.added)
		watch_change(&l->watch, EPOLLIN | EPOLLOUT);
	return taken;
}

/* -- what happens to it -- */

static void PRINTF(2, 3) lost(struct qemu *q, const char *fmt, ...)
{
	va_list ap;

	if (q->over)
		return;
	q->over = true;
	va_start(ap, fmt);
	vsnprintf(q->why, sizeof(q->why), fmt, ap);
	va_end(ap);
	printable(q->why);
	q->guest->event(q->guest, GUEST_LOST);
}

static const struct {
	const char *reason;	/* of SHUTDOWN, QEMU's ShutdownCause */
	enum guest_event event;
} ends[] = {
	{ "guest-shutdown", GUEST_POWEROFF },
	{ "guest-reset", GUEST_RESET },
	{ "subsystem-reset", GUEST_RESET },
};

static void on_shutdown(struct qemu *q, const char *reason)
{
	for (size_t i = 0; i < ARRAY_SIZE(ends) && !q->over; i++)
		if (!strcmp(ends[i].reason, reason)) {
			q->over = true;
			q->guest->event(q->guest, ends[i].event);
		}
	lost(q, "QEMU ended the VM (%.40s)", reason);
}

/* A write that failed, after which QEMU stops the guest and keeps it. */
static void on_io_error(struct qemu *q, const char *reason)
{
	q->stalled = true;
	snprintf(q->why, sizeof(q->why), "a disk: %.100s", reason);
	printable(q->why);
}

static void on_stop(struct qemu *q)
{
	if (q->late) {
		q->late = false;
	} else if (q->stalled) {
		q->guest->event(q->guest, GUEST_STALL);
	} else if (!q->paused && !q->over) {
		q->over = true;
		q->why[0] = '\0';	/* asked for when it is wanted */
		q->guest->event(q->guest, GUEST_CRASH);
	}
}

static void on_event(void *arg, const char *name, const char *reason,
		     const char *action)
{
	struct qemu *q = arg;

	if (!strcmp(name, "SHUTDOWN"))
		on_shutdown(q, reason);
	else if (!strcmp(name, "BLOCK_IO_ERROR") && !strcmp(action, "stop"))
		on_io_error(q, reason);
	else if (!strcmp(name, "STOP"))
		on_stop(q);
}

static void on_qmp(struct watch *w, uint32_t events)
{
	struct qemu *q = container_of(w, struct qemu, qmp_watch);
	int rc = qmp_read(&q->qmp);

	(void)events;
	if (rc == 0)
		return;
	watch_remove(w);
	if (rc != -E_STOPPED)	/* else its end comes by `pidfd` */
		lost(q, "%s", err_text());
}

/* It ended by itself, or someone ended it. */
static void explain(struct qemu *q, int status, char *why, size_t size)
{
	const char *colon = q->last[0] ? ": " : "";

	if (WIFSIGNALED(status))
		snprintf(why, size, "QEMU was killed by signal %d%s%s",
			 WTERMSIG(status), colon, q->last);
	else
		snprintf(why, size, "QEMU ended with status %d%s%s",
			 WEXITSTATUS(status), colon, q->last);
}

static void on_end(struct watch *w, uint32_t events)
{
	struct qemu *q = container_of(w, struct qemu, end_watch);
	char why[ERR_MAX];
	int status;

	(void)events;
	watch_remove(w);
	qmp_read(&q->qmp);	/* whether it was the guest's end */
	status = qemu_proc_end(&q->proc);
	read_last_says(q);
	explain(q, status, why, sizeof(why));
	lost(q, "%s", why);
}

/* -- entering and leaving -- */

static void close_links(struct qemu *q)
{
	q->guest->console->chr.front = NULL;
	for (int i = 0; i < QEMU_LINKS; i++) {
		struct link *l = &q->link[i];

		if (l->fd < 0)
			continue;
		for (int n = 0; n < LAST_CHUNKS && l->watch.added; n++)
			if (!read_link(l))	/* what was said last */
				break;
		watch_remove(&l->watch);
		close(l->fd);
		l->fd = -1;
	}
}

static bool has_tables(const struct vmconf *vc)
{
	for (int i = 0; i < VMCONF_DISKS; i++)
		if (vc->disk[i].path && vc->disk[i].format != FORMAT_RAW)
			return true;
	return false;
}

/* Lets QEMU write what it has of disks, if it still listens. */
static void quit(struct qemu *q)
{
	struct pollfd p = { .fd = q->proc.pidfd, .events = POLLIN };

	if (q->proc.pid > 0 && has_tables(q->guest->conf) &&
	    qmp_call(&q->qmp, "quit", NULL, NULL, GLANCE_NS) == 0)
		poll(&p, 1, QUIT_NS / MS);
}

static void qemu_leave(struct guest *g)
{
	struct qemu *q = qemu(g);

	if (!q)
		return;
	q->over = true;
	watch_remove(&q->end_watch);
	watch_remove(&q->qmp_watch);
	quit(q);
	qemu_proc_end(&q->proc);
	close_links(q);
	if (q->says_watch.added)
		read_last_says(q);
	watch_remove(&q->says_watch);
	qmp_close(&q->qmp);
	qemu_proc_close(&q->proc);
}

/*
 * A stream socket pair: *OURS, and the end that becomes QEMU's. ROOM is what
 * may be under way to it (at least; the kernel's measure), 0: the usual.
 */
static int make_pair(int *ours, int room)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return fail_sys("socket");
	if (room)
		setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	*ours = fds[0];
	return fds[1];
}

/* Of the disks, with all that lies below them. */
static size_t count_files(const struct qemu *q)
{
	size_t n = 0;

	for (int i = 0; i < VMCONF_DISKS; i++)
		for (const struct block *b = q->parts.disk[i]; b; b = b->backing)
			n++;
	return n;
}

/* Starts QEMU with FDS, its ends; OURS is the monitor's other one. */
static int start(struct qemu *q, const struct qemu_fds *fds)
{
	/* the VM's lock too: what still runs it, holds it */
	const int others[] = {
		fds->qmp, fds->link[QEMU_COM], fds->link[QEMU_HVC],
		q->parts.kernel, q->parts.initrd, q->guest->vm->lock,
	};
	size_t n = ARRAY_SIZE(others);
	autofree int *keep = malloc(sizeof(others) +
				    count_files(q) * sizeof(*keep));
	struct qemu_args args;
	int rc;

	if (!keep)
		return fail(ENOMEM, "out of memory");
	memcpy(keep, others, sizeof(others));
	for (int i = 0; i < VMCONF_DISKS; i++)
		for (const struct block *b = q->parts.disk[i]; b; b = b->backing)
			keep[n++] = block_fd(b);
	rc = qemu_args_make(&args, &q->parts, fds, q->kvm);
	if (rc == 0)
		rc = qemu_proc_start(&q->proc, args.v, keep, n);
	qemu_args_release(&args);
	return rc;
}

static int spawn(struct qemu *q, int *monitor)
{
	bool hvc = q->guest->conf->console == CONSOLE_VIRTIO;
	struct qemu_fds fds = { .qmp = make_pair(monitor, 0), .link = { -1, -1 } };
	int rc = fds.qmp;

	for (int i = 0; i < (hvc ? 2 : 1) && rc >= 0; i++)
		rc = fds.link[i] = make_pair(&q->link[i].fd, INPUT_ROOM);
	if (rc >= 0)
		rc = start(q, &fds);
	close_fd(&fds.qmp);
	for (int i = 0; i < QEMU_LINKS; i++)
		close_fd(&fds.link[i]);
	return rc;
}

/* QEMU did not get as far as its monitor: its own words say why. */
static int never_came(struct qemu *q, int rc)
{
	char why[ERR_MAX];
	int status;

	if (rc != -E_STOPPED)
		return rc;
	status = qemu_proc_end(&q->proc);
	read_last_says(q);
	explain(q, status, why, sizeof(why));
	return fail(status == 127 << 8 ? E_HOST : EIO, "%s", why);
}

static int greet(struct qemu *q, int monitor)
{
	int major = 0, minor = 0;
	int rc = qmp_open(&q->qmp, monitor, START_NS, &major, &minor);

	if (rc < 0)
		return never_came(q, rc);
	if (major < OLDEST_MAJOR)
		return fail(E_HOST, "QEMU %d.%d is too old: %d.0 or later "
			    "is needed", major, minor, OLDEST_MAJOR);
	if (major != TRIED_MAJOR)
		log_line("QEMU %d.%d: not a version this was tried with (%d)",
			 major, minor, TRIED_MAJOR);
	return 0;
}

static int watch_all(struct qemu *q)
{
	struct loop *l = q->guest->loop;
	int rc = watch_add(l, &q->qmp_watch, q->qmp.fd, EPOLLIN, on_qmp);

	if (rc == 0)
		rc = watch_add(l, &q->says_watch, q->proc.says, EPOLLIN,
			       on_says);
	if (rc == 0)
		rc = watch_add(l, &q->end_watch, q->proc.pidfd, EPOLLIN,
			       on_end);
	for (int i = 0; i < QEMU_LINKS && rc == 0; i++)
		if (q->link[i].fd >= 0)
			rc = watch_add(l, &q->link[i].watch, q->link[i].fd,
				       EPOLLIN, on_link);
	return rc;
}

/* The limits of disk I. A PCI device's disk is its virtio part's. */
static int limit(struct qemu *q, unsigned i, const struct disk_conf *d)
{
	char args[400];
	uint64_t bps = min_u64(d->bps.per_second, LIMIT_MAX),
		 iops = min_u64(d->iops.per_second, LIMIT_MAX);
	/* A burst below the rate is one that QEMU does not know. */
	uint64_t bps_max = d->bps.burst < bps ? 0 :
			   min_u64(d->bps.burst, LIMIT_MAX);
	uint64_t iops_max = d->iops.burst < iops ? 0 :
			    min_u64(d->iops.burst, LIMIT_MAX);

	snprintf(args, sizeof(args), "{\"id\":"
		 "\"/machine/peripheral/disk%u/virtio-backend\",\"bps\":%" PRIu64
		 ",\"bps_rd\":0,\"bps_wr\":0,\"iops\":%" PRIu64
		 ",\"iops_rd\":0,\"iops_wr\":0,\"bps_max\":%" PRIu64
		 ",\"iops_max\":%" PRIu64 "}", i, bps, iops, bps_max,
		 iops_max);
	return qmp_call(&q->qmp, "block_set_io_throttle", args, NULL, CALL_NS);
}

static int limit_all(struct qemu *q)
{
	int rc = 0;

	for (int i = 0; i < VMCONF_DISKS && rc == 0; i++) {
		const struct disk_conf *d = &q->guest->conf->disk[i];

		if (q->parts.disk[i] && (d->iops.per_second ||
					 d->bps.per_second))
			rc = limit(q, i, d);
	}
	return rc;
}

static int go(struct qemu *q)
{
	int rc;

	q->stalled = false;
	rc = qmp_call(&q->qmp, "cont", NULL, NULL, CALL_NS);

	if (rc == 0)
		q->paused = false;
	return rc;
}

/*
 * The first time QEMU was told is enough: a guest that does nothing but ask
 * ports can hold up its answers from the first instruction on.
 */
static int first_go(struct qemu *q)
{
	int rc = go(q);

	if (rc != -E_TIMEOUT)
		return rc;
	q->paused = false;
	return 0;
}

static int qemu_enter(struct guest *g, bool paused)
{
	struct qemu *q = qemu(g);
	int monitor = -1, rc;

	q->over = q->late = q->stalled = false;
	q->paused = true;
	q->len = 0;
	q->last[0] = '\0';
	q->noise = (struct log_limit){ 0 };
	rc = spawn(q, &monitor);
	if (rc < 0)
		close_fd(&monitor);
	else
		rc = greet(q, monitor);
	if (rc == 0)
		rc = limit_all(q);
	if (rc == 0)
		rc = watch_all(q);
	if (rc == 0) {
		g->console->chr.front = &q->link[g->conf->console ==
			CONSOLE_VIRTIO ? QEMU_HVC : QEMU_COM].front;
		rc = paused ? 0 : first_go(q);
	}
	if (rc < 0)
		qemu_leave(g);
	return rc;
}

/* -- requests -- */

static int qemu_pause(struct guest *g)
{
	struct qemu *q = qemu(g);
	bool was = q->paused;
	int rc;

	q->paused = true;	/* its STOP is ours */
	rc = qmp_call(&q->qmp, "stop", NULL, NULL, CALL_NS);
	if (rc < 0)
		q->paused = was;
	if (rc == -E_TIMEOUT && !was) {	/* should it do so yet: on it goes */
		q->late = true;
		qmp_call(&q->qmp, "cont", NULL, NULL, 0);
		return fail(E_TIMEOUT, "QEMU does not answer");
	}
	return rc;
}

static int qemu_resume(struct guest *g)
{
	return go(qemu(g));
}

static int find_disk(struct qemu *q, unsigned i)
{
	return i < VMCONF_DISKS && q->parts.disk[i] ? 0 :
		fail(E_CONFIG, "disk%u: the running VM has none", i);
}

/* How large disk I is to the guest. */
static int disk_bytes(const struct qemu *q, unsigned i, uint64_t *size)
{
	const struct block *b = q->parts.disk[i];
	struct qcow2_info info;
	int rc;

	*size = block_bytes(b);
	if (q->guest->conf->disk[i].format == FORMAT_RAW)
		return 0;
	rc = qcow2_info(block_fd(b), &info);
	*size = info.size;
	qcow2_info_release(&info);
	return rc;
}

static int qemu_resize_disk(struct guest *g, unsigned i, uint64_t size)
{
	struct qemu *q = qemu(g);
	uint64_t is = 0;
	char args[80];
	int rc = find_disk(q, i);

	if (rc == 0)
		rc = disk_bytes(q, i, &is);
	if (rc == 0 && size < is)
		rc = fail(E_CONFIG, "disk%u: a running VM's disk only grows",
			  i);
	if (rc < 0)
		return rc;
	snprintf(args, sizeof(args), "{\"node-name\":\"node%d\",\"size\":%"
		 PRIu64 "}", qemu_args_node(i), size);
	rc = qmp_call(&q->qmp, "block_resize", args, NULL, CALL_NS);
	/* the next machine is to have it, too */
	if (rc == 0 && q->guest->conf->disk[i].format == FORMAT_RAW)
		block_set_bytes(q->parts.disk[i], size);
	return rc;
}

static int qemu_limit_disk(struct guest *g, unsigned i,
			   const struct disk_conf *conf)
{
	int rc = find_disk(qemu(g), i);

	return rc < 0 ? rc : limit(qemu(g), i, conf);
}

static int qemu_press(struct guest *g)
{
	return qmp_call(&qemu(g)->qmp, "system_powerdown", NULL, NULL, CALL_NS);
}

static bool qemu_listens(struct guest *g)
{
	autobuf struct buf text = BUF_INIT;
	unsigned value = 0;
	const char *is;

	if (qmp_call(&qemu(g)->qmp, "human-monitor-command", read_pm1_en,
		     &text, GLANCE_NS) < 0)
		return false;
	is = strchr(text.data, '=');
	return is && sscanf(is, "= %x", &value) == 1 && value & PWRBTN_EN;
}

static void qemu_status(struct guest *g, struct buf *lines)
{
	struct qemu *q = qemu(g);

	buf_printf(lines, "qemu_pid=%d\naccel=%s\n", (int)q->proc.pid,
		   q->kvm ? "kvm" : "tcg");
}

static const char *qemu_why(struct guest *g)
{
	autobuf struct buf status = BUF_INIT;
	struct qemu *q = qemu(g);

	if (!q->over)
		return q->stalled ? q->why : "";
	if (q->why[0])
		return q->why;
	qmp_call(&q->qmp, "query-status", NULL, &status, GLANCE_NS);
	snprintf(q->why, sizeof(q->why), "QEMU stopped the guest (%.40s)%s%s",
		 status.data, q->last[0] ? ": " : "", q->last);
	printable(q->why);
	return q->why;
}

/* -- opening -- */

static int qemu_open(struct guest *g)
{
	struct qemu *q = g->self = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return fail(ENOMEM, "out of memory");
	q->guest = g;
	q->proc = (struct qemu_proc){ .pidfd = -1, .says = -1 };
	q->qmp = (struct qmp){ .fd = -1, .event = on_event, .arg = q };
	buf_init(&q->qmp.in);
	for (int i = 0; i < QEMU_LINKS; i++)
		q->link[i] = (struct link){
			.fd = -1, .console = g->console,
			.front.input = link_input,
		};
	q->kvm = parts_probe_kvm(true) == 0;
	rc = parts_open(&q->parts, g->vm, g->conf, true);
	return rc == 0 ? parts_try(&q->parts) : rc;
}

static void qemu_close(struct guest *g)
{
	if (g->self)
		parts_close(&qemu(g)->parts);
	free(take_ptr(g->self));
}

const struct engine engine_qemu = {
	.name = "qemu",
	.probe = qemu_proc_probe,
	.open = qemu_open,
	.close = qemu_close,
	.enter = qemu_enter,
	.leave = qemu_leave,
	.pause = qemu_pause,
	.resume = qemu_resume,
	.resize_disk = qemu_resize_disk,
	.limit_disk = qemu_limit_disk,
	.press = qemu_press,
	.listens = qemu_listens,
	.status = qemu_status,
	.why = qemu_why,
};
