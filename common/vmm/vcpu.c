/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/vcpu.h"

#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "vmm/cpuid.h"
#include "vmm/cpusave.h"
#include "vmm/cpustate.h"

enum {
	/* Room for a device's functions; only what is touched takes memory. */
	STACK_BYTES = 128 << 10,
	KICK_AGAIN_NS = 10 * 1000 * 1000,
	NSEC = 1000000000,
	PIECE = 8,	/* bytes of an access at most */
};

/* Only its arrival matters: it gets the thread out of KVM_RUN. */
static void on_kick(int sig)
{
	(void)sig;
}

/* A counter has one writer; readers only need it whole. */
static void count(uint64_t *n)
{
	__atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
}

/* --- from the guest to the buses --- */

static uint64_t get_piece(const uint8_t *p, unsigned size)
{
	le64 v = { 0 };

	memcpy(&v, p, size);
	return get_le64(v);
}

static void put_piece(uint8_t *p, unsigned size, uint64_t val)
{
	le64 v = to_le64(val);

	memcpy(p, &v, size);
}

static void access_piece(struct bus *b, uint64_t addr, uint8_t *data,
			 unsigned size, bool write)
{
	if (write)
		bus_write(b, addr, size, get_piece(data, size));
	else
		put_piece(data, size, bus_read(b, addr, size));
}

/* A size no device knows (3, 5 ..) goes byte by byte. */
static void access_bus(struct bus *b, uint64_t addr, uint8_t *data,
		       unsigned size, bool write)
{
	if (size <= PIECE && !(size & (size - 1))) {
		access_piece(b, addr, data, size, write);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		access_piece(b, addr + i, data + i, 1, write);
}

static void exit_io(struct vcpu *c)
{
	struct kvm_run *run = c->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	count(&c->exits.io);
	for (uint32_t i = 0; i < run->io.count; i++)
		access_bus(c->set->ports, run->io.port,
			   data + (size_t)i * run->io.size, run->io.size,
			   run->io.direction == KVM_EXIT_IO_OUT);
}

static void exit_mmio(struct vcpu *c)
{
	struct kvm_run *run = c->run;
	unsigned len = min_u64(run->mmio.len, sizeof(run->mmio.data));

	count(&c->exits.mmio);
	access_bus(c->set->memory, run->mmio.phys_addr, run->mmio.data, len,
		   run->mmio.is_write);
}

/* --- the end of a run --- */

static void park_all(struct vcpus *v);

/* Sends E unless an event was sent before; whether it did. */
static void send_event(struct vcpus *v, enum vcpu_event e, const char *crash)
{
	bool first;

	pthread_mutex_lock(&v->lock);
	first = !v->ended;
	if (first) {
		snprintf(v->crash, sizeof(v->crash), "%s", crash);
		__atomic_store_n(&v->ended, true, __ATOMIC_RELEASE);
		park_all(v);
	}
	pthread_mutex_unlock(&v->lock);
	if (first)
		v->event(v->owner, e);
}

void vcpus_request(struct vcpus *v, enum vcpu_event e)
{
	send_event(v, e, "");
}

/* Notes what the vCPU was about, and stops the VM as it is. */
static void crash(struct vcpu *c, const char *why)
{
	struct buf b = BUF_INIT;
	char line[sizeof(c->set->crash)], *rest;

	snprintf(line, sizeof(line), "vcpu%u crashed: %s", c->id, why);
	log_line("%s", line);
	cpustate_describe(c->fd, c->set->kvm->mem, &b);
	rest = b.data;
	while (rest && *rest)
		log_line("vcpu%u: %s", c->id, cut(&rest, '\n'));
	buf_release(&b);
	send_event(c->set, VCPU_CRASH, line);
}

/* A triple fault: what a PC answers with a reset. */
static void exit_shutdown(struct vcpu *c)
{
	count(&c->exits.other);
	send_event(c->set, VCPU_RESET, "");
}

static void exit_system_event(struct vcpu *c)
{
	char why[64];

	count(&c->exits.other);
	if (c->run->system_event.type == KVM_SYSTEM_EVENT_RESET) {
		send_event(c->set, VCPU_RESET, "");
		return;
	}
	snprintf(why, sizeof(why), "the guest reported its end (KVM's event "
		 "%u)", c->run->system_event.type);
	crash(c, why);
}

static void exit_internal_error(struct vcpu *c)
{
	static const char *const what[] = {
		[KVM_INTERNAL_ERROR_EMULATION] =
			"an instruction KVM cannot emulate",
		[KVM_INTERNAL_ERROR_SIMUL_EX] =
			"an exception while delivering another",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] =
			"an exit while delivering an event",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] =
			"an exit KVM did not expect",
	};
	uint32_t e = c->run->internal.suberror;
	char why[80];

	count(&c->exits.other);
	snprintf(why, sizeof(why), "%s (KVM's internal error %u)",
		 e < ARRAY_SIZE(what) && what[e] ? what[e] : "no reason", e);
	crash(c, why);
}

static void exit_fail_entry(struct vcpu *c)
{
	char why[80];

	count(&c->exits.other);
	snprintf(why, sizeof(why), "the processor refuses to enter the guest "
		 "(reason 0x%llx)", (unsigned long long)
		 c->run->fail_entry.hardware_entry_failure_reason);
	crash(c, why);
}

/* Nothing to do: KVM gave us the turn for its own reasons. */
static void exit_again(struct vcpu *c)
{
	count(&c->exits.other);
}

static void (*const exits[])(struct vcpu *) = {
	[KVM_EXIT_IO] = exit_io,
	[KVM_EXIT_MMIO] = exit_mmio,
	[KVM_EXIT_SHUTDOWN] = exit_shutdown,
	[KVM_EXIT_SYSTEM_EVENT] = exit_system_event,
	[KVM_EXIT_INTERNAL_ERROR] = exit_internal_error,
	[KVM_EXIT_FAIL_ENTRY] = exit_fail_entry,
	[KVM_EXIT_INTR] = exit_again,
	[KVM_EXIT_IRQ_WINDOW_OPEN] = exit_again,
	[KVM_EXIT_SET_TPR] = exit_again,
};

static void handle_exit(struct vcpu *c)
{
	uint32_t reason = c->run->exit_reason;
	char why[64];

	if (reason < ARRAY_SIZE(exits) && exits[reason]) {
		exits[reason](c);
		return;
	}
	snprintf(why, sizeof(why), "an exit we do not know (KVM's reason %u)",
		 reason);
	crash(c, why);
}

/*
 * Runs the guest until someone wants the thread to look up. An access that
 * was answered completes only when KVM is entered again: so the one way out is
 * KVM's EINTR, never straight from an exit.
 */
static void run_guest(struct vcpu *c)
{
	char why[80];

	for (;;) {
		if (ioctl(c->fd, KVM_RUN, 0) == 0) {
			handle_exit(c);
			continue;
		}
		if (errno == EINTR)
			return;
		/* EAGAIN: a vCPU that waited was woken, and now may run. */
		if (errno == EAGAIN)
			continue;
		snprintf(why, sizeof(why), "KVM_RUN: %s", strerror(errno));
		crash(c, why);
		return;
	}
}

/* --- threads --- */

/* Parks while the set does; whether to run then (else: to end). */
static bool wait_turn(struct vcpu *c)
{
	struct vcpus *v = c->set;
	bool run, waited = false;

	pthread_mutex_lock(&v->lock);
	c->parked = true;
	if (v->want != VCPUS_RUN)
		pthread_cond_broadcast(&v->changed);
	while (v->want == VCPUS_PARK) {
		waited = true;
		pthread_cond_wait(&v->changed, &v->lock);
	}
	run = v->want == VCPUS_RUN;
	if (run) {
		c->parked = false;
		__atomic_store_n(&c->run->immediate_exit, 0, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&v->lock);
	/* So that the guest's watchdog does not take a pause for a hang. */
	if (run && waited)
		ioctl(c->fd, KVM_KVMCLOCK_CTRL, 0);
	return run;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *c = arg;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", c->id);
	pthread_setname_np(pthread_self(), name);
	while (wait_turn(c))
		run_guest(c);
	return NULL;
}

/*
 * Gets all that run out of KVM. The flag catches a thread that has not
 * entered KVM yet, the signal one that has. Under the lock.
 */
static void kick_all(struct vcpus *v)
{
	for (unsigned i = 0; i < v->n; i++) {
		struct vcpu *c = &v->cpu[i];

		__atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_RELAXED);
		if (c->started && !c->parked &&
		    !pthread_equal(c->thread, pthread_self()))
			pthread_kill(c->thread, SIGRTMIN);
	}
}

static void park_all(struct vcpus *v)
{
	if (v->want != VCPUS_RUN)
		return;
	v->want = VCPUS_PARK;
	kick_all(v);
}

static bool all_parked(const struct vcpus *v)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->cpu[i].started && !v->cpu[i].parked)
			return false;
	return true;
}

/* Under the lock; kicks again those that a kick did not reach. */
static void wait_parked(struct vcpus *v)
{
	while (!all_parked(v)) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += KICK_AGAIN_NS;
		until.tv_sec += until.tv_nsec / NSEC;
		until.tv_nsec %= NSEC;
		if (pthread_cond_clockwait(&v->changed, &v->lock,
					   CLOCK_MONOTONIC, &until) != 0)
			kick_all(v);
	}
}

void vcpus_pause(struct vcpus *v)
{
	pthread_mutex_lock(&v->lock);
	park_all(v);
	wait_parked(v);
	pthread_mutex_unlock(&v->lock);
}

void vcpus_resume(struct vcpus *v)
{
	pthread_mutex_lock(&v->lock);
	if (!v->ended && v->want == VCPUS_PARK) {
		v->want = VCPUS_RUN;
		pthread_cond_broadcast(&v->changed);
	}
	pthread_mutex_unlock(&v->lock);
}

/*
 * Threads that take no signal but the kick: the rest is the owner's. The
 * first vCPU comes last, so all are there when it can cause an event.
 */
static int start_threads(struct vcpus *v, const pthread_attr_t *attr)
{
	sigset_t all, old;
	int rc = 0;

	sigfillset(&all);
	sigdelset(&all, SIGRTMIN);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = v->n; i-- && rc == 0;) {
		struct vcpu *c = &v->cpu[i];

		c->started = true;
		rc = pthread_create(&c->thread, attr, vcpu_thread, c);
		if (rc)
			c->started = false;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

int vcpus_start(struct vcpus *v, const struct cpu_entry *e, bool paused)
{
	pthread_attr_t attr;
	int rc = e ? cpustate_enter(v->cpu[0].fd, e) : 0;

	if (rc < 0)
		return rc;
	v->want = paused ? VCPUS_PARK : VCPUS_RUN;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	rc = start_threads(v, &attr);
	pthread_attr_destroy(&attr);
	if (rc)
		return fail(rc, "vCPU thread: %s", strerror(rc));
	return 0;
}

/* --- saving and restoring --- */

int vcpus_save(struct vcpus *v, struct buf *b)
{
	struct cpusave c;
	int rc = cpusave_init(&c, v->kvm, v->n);

	if (rc < 0)
		return rc;
	assert(all_parked(v));
	for (unsigned i = 0; i < v->n && rc == 0; i++)
		rc = cpusave_save(&c, v->cpu[i].fd, i, b);
	cpusave_release(&c);
	return rc;
}

int vcpus_load(struct vcpus *v, struct sections *all)
{
	struct cpusave c;
	int rc = cpusave_init(&c, v->kvm, v->n);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < v->n && rc == 0; i++)
		rc = cpusave_load(&c, v->cpu[i].fd, i, all);
	cpusave_release(&c);
	return rc;
}

struct vcpu_exits vcpus_exits(const struct vcpus *v)
{
	struct vcpu_exits sum = { 0 };

	for (unsigned i = 0; i < v->n; i++) {
		const struct vcpu_exits *x = &v->cpu[i].exits;

		sum.io += __atomic_load_n(&x->io, __ATOMIC_RELAXED);
		sum.mmio += __atomic_load_n(&x->mmio, __ATOMIC_RELAXED);
		sum.other += __atomic_load_n(&x->other, __ATOMIC_RELAXED);
	}
	return sum;
}

/* --- making and forgetting --- */

static int vcpu_init(struct vcpu *c, struct vcpus *v, unsigned id,
		     struct kvm_cpuid2 *cpuid)
{
	struct kvm *k = v->kvm;
	void *run;

	*c = (struct vcpu){ .set = v, .id = id };
	c->fd = ioctl(k->vm, KVM_CREATE_VCPU, (unsigned long)id);
	if (c->fd < 0)
		return fail_sys("/dev/kvm: vCPU %u", id);
	run = mmap(NULL, k->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		   c->fd, 0);
	if (run == MAP_FAILED)
		return fail_sys("/dev/kvm: vCPU %u", id);
	c->run = run;
	/* It holds the whole VM, which must not outlive us in a child. */
	madvise(run, k->run_bytes, MADV_DONTFORK);
	cpuid_set_id(cpuid, id);
	if (ioctl(c->fd, KVM_SET_CPUID2, cpuid) < 0)
		return fail_sys("/dev/kvm: CPUID of vCPU %u", id);
	return cpustate_init(c->fd);
}

static int make_vcpus(struct vcpus *v, unsigned n)
{
	autofree struct kvm_cpuid2 *cpuid = NULL;
	int rc = cpuid_for_vm(v->kvm, n, &cpuid);

	if (rc < 0)
		return rc;
	v->cpu = calloc(n, sizeof(*v->cpu));
	if (!v->cpu)
		return fail(ENOMEM, "%u vCPUs: out of memory", n);
	while (v->n < n && rc == 0) {
		rc = vcpu_init(&v->cpu[v->n], v, v->n, cpuid);
		v->n++;
	}
	return rc;
}

int vcpus_init(struct vcpus *v, struct kvm *k, struct bus *ports,
	       struct bus *memory, unsigned n,
	       void (*event)(void *owner, enum vcpu_event e), void *owner)
{
	struct sigaction kick = { .sa_handler = on_kick };
	int rc;

	*v = (struct vcpus){ .kvm = k, .ports = ports, .memory = memory,
			     .event = event, .owner = owner };
	if (n < 1 || n > VCPUS_MAX)
		return fail(E_CONFIG, "%u vCPUs: at least 1, at most %d", n,
			    VCPUS_MAX);
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	sigaction(SIGRTMIN, &kick, NULL);
	rc = make_vcpus(v, n);
	if (rc < 0)
		vcpus_release(v);
	return rc;
}

static void end_threads(struct vcpus *v)
{
	pthread_mutex_lock(&v->lock);
	v->want = VCPUS_END;
	kick_all(v);
	pthread_cond_broadcast(&v->changed);
	wait_parked(v);
	pthread_mutex_unlock(&v->lock);
	for (unsigned i = 0; i < v->n; i++)
		if (v->cpu[i].started)
			pthread_join(v->cpu[i].thread, NULL);
}

void vcpus_release(struct vcpus *v)
{
	end_threads(v);
	for (unsigned i = 0; i < v->n; i++) {
		if (v->cpu[i].run)
			munmap(v->cpu[i].run, v->kvm->run_bytes);
		close_fd(&v->cpu[i].fd);
	}
	free(v->cpu);
	v->cpu = NULL;
	v->n = 0;
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
}
