/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/kvm.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/text.h"

enum {
	API_VERSION = 12,
	FD_TABLE = 4096,	/* descriptors made room for */
	PIC_PINS = 16,		/* GSIs that may lead to an 8259, too */
	ROUTES = PIC_PINS + IRQ_GSIS,
	IOREDTBL_MASKED = 1 << 16,
};

/* What KVM must have; all of it since Linux 4.12. */
static const struct {
	int cap;
	const char *name;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, "memory slots" },
	{ KVM_CAP_SET_TSS_ADDR, "KVM_SET_TSS_ADDR" },
	{ KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR" },
	{ KVM_CAP_EXT_CPUID, "KVM_GET_SUPPORTED_CPUID" },
	{ KVM_CAP_IRQCHIP, "interrupt chips" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routing" },
	{ KVM_CAP_IRQFD, "irqfd" },
	{ KVM_CAP_IOEVENTFD, "ioeventfd" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate_exit" },
};

/* By the instruction: /proc/cpuinfo takes milliseconds on large hosts. */
static bool has_hardware(void)
{
	unsigned a, b, c, d;
	bool vmx = __get_cpuid(1, &a, &b, &c, &d) && c & 1 << 5;
	bool svm = __get_cpuid(0x80000001, &a, &b, &c, &d) && c & 1 << 2;

	return vmx || svm;
}

static int fail_open(void)
{
	switch (errno) {
	case EACCES:
	case EPERM:
		return fail(E_PERM, "/dev/kvm: Permission denied (join the "
			    "group kvm)");
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return fail(E_HOST, "/dev/kvm: this host has no KVM (switch "
			    "on virtualization in its firmware, load the "
			    "module kvm_intel or kvm_amd)");
	}
	return fail_sys("/dev/kvm");
}

int kvm_open(bool hardware)
{
	autoclose int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return fail_open();
	if (hardware && !has_hardware())
		return fail(E_HOST, "/dev/kvm: this CPU has no VT-x or SVM");
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version < 0)
		return fail(E_HOST, "/dev/kvm: this is not KVM");
	if (version != API_VERSION)
		return fail(E_HOST, "/dev/kvm: KVM of API version %d, we know "
			    "%d", version, API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return fail(E_HOST, "/dev/kvm: this KVM lacks %s "
				    "(Linux 4.12 or later has it)",
				    needed[i].name);
	return take_fd(&fd);
}

int kvm_probe(bool hardware)
{
	autoclose int fd = kvm_open(hardware);

	return fd < 0 ? fd : 0;
}

/*
 * Growing the table of descriptors waits for all processors once the process
 * has threads; now it has one. Nothing is lost where the limit forbids it.
 */
static void grow_fd_table(int fd)
{
	struct rlimit lim;
	int last;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	if (lim.rlim_cur < FD_TABLE && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = min_u64(FD_TABLE, lim.rlim_max);
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	last = fcntl(fd, F_DUPFD_CLOEXEC,
		     (int)min_u64(FD_TABLE, lim.rlim_cur) - 1);
	close_fd(&last);
}

static int create_vm(int dev)
{
	int fd;

	do
		fd = ioctl(dev, KVM_CREATE_VM, 0);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? fail_sys("/dev/kvm: new VM") : fd;
}

static int add_slots(struct kvm *k, const struct mem *m)
{
	for (int i = 0; i < m->n; i++) {
		const struct mem_range *r = &m->range[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = r->base,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)r->host,
		};
		char text[16];

		if (ioctl(k->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return fail_sys("/dev/kvm: %s of guest memory",
					format_size(text, r->size));
	}
	return 0;
}

/* The message GSI's entry in the table: pins first, then messages. */
static struct kvm_irq_routing_entry *find_route(struct kvm_irq_routing *t,
						unsigned gsi)
{
	for (unsigned i = 0; i < t->nr; i++)
		if (t->entries[i].gsi == gsi)
			return &t->entries[i];
	return NULL;
}

static void add_pin(struct kvm_irq_routing *t, unsigned gsi, unsigned chip,
		    unsigned pin)
{
	t->entries[t->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

/*
 * The chips and the pins' routes. KVM's own routes lead to the 8259s as well;
 * a guest that believes there are none would get interrupts it cannot name.
 */
static int add_chips(struct kvm *k)
{
	struct kvm_irq_routing *t =
		calloc(1, sizeof(*t) + ROUTES * sizeof(t->entries[0]));

	k->routes = t;
	if (!t)
		return fail(ENOMEM, "/dev/kvm: out of memory");
	for (unsigned pin = 0; k->pic && pin < PIC_PINS; pin++)
		add_pin(t, pin, pin < 8 ? KVM_IRQCHIP_PIC_MASTER :
			KVM_IRQCHIP_PIC_SLAVE, pin % 8);
	for (unsigned pin = 0; pin < IRQ_PINS; pin++)
		add_pin(t, pin, KVM_IRQCHIP_IOAPIC, pin);
	if (ioctl(k->vm, KVM_CREATE_IRQCHIP, 0) < 0 ||
	    ioctl(k->vm, KVM_SET_GSI_ROUTING, t) < 0)
		return fail_sys("/dev/kvm: interrupt chips");
	return 0;
}

static void chip_line(struct irqchip *c, unsigned gsi, bool level)
{
	struct kvm *k = container_of(c, struct kvm, chip);
	struct kvm_irq_level l = { .irq = gsi, .level = level };

	ioctl(k->vm, KVM_IRQ_LINE, &l);
}

static int bind_fd(struct kvm *k, unsigned gsi, int fd, uint32_t flags)
{
	struct kvm_irqfd irqfd = { .fd = fd, .gsi = gsi, .flags = flags };

	return ioctl(k->vm, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

static void drop_route(struct kvm_irq_routing *t, unsigned gsi)
{
	struct kvm_irq_routing_entry *e = find_route(t, gsi);

	if (e)
		*e = t->entries[--t->nr];
}

/* Under the lock. */
static int set_route(struct kvm *k, unsigned gsi, uint64_t addr,
		     uint32_t data, int fd)
{
	struct kvm_irq_routing *t = k->routes;
	struct kvm_irq_routing_entry *e = find_route(t, gsi), old;
	bool bound = e;
	int rc;

	if (!e) {
		e = &t->entries[t->nr++];
		*e = (struct kvm_irq_routing_entry){
			.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI,
		};
	}
	old = *e;
	e->u.msi.address_lo = (uint32_t)addr;
	e->u.msi.address_hi = addr >> 32;
	e->u.msi.data = data;
	rc = ioctl(k->vm, KVM_SET_GSI_ROUTING, t) < 0 ? -errno : 0;
	if (rc == 0 && !bound)
		rc = bind_fd(k, gsi, fd, 0);
	if (rc < 0 && bound)
		*e = old;
	else if (rc < 0)
		t->nr--;
	return rc;
}

static int chip_route_msi(struct irqchip *c, unsigned gsi, uint64_t addr,
			  uint32_t data, int fd)
{
	struct kvm *k = container_of(c, struct kvm, chip);
	int rc;

	pthread_mutex_lock(&k->lock);
	rc = set_route(k, gsi, addr, data, fd);
	pthread_mutex_unlock(&k->lock);
	return rc;
}

/* KVM learns of it with the next route; until then nobody fires the GSI. */
static void chip_unroute_msi(struct irqchip *c, unsigned gsi, int fd)
{
	struct kvm *k = container_of(c, struct kvm, chip);

	pthread_mutex_lock(&k->lock);
	bind_fd(k, gsi, fd, KVM_IRQFD_FLAG_DEASSIGN);
	drop_route(k->routes, gsi);
	pthread_mutex_unlock(&k->lock);
}

static const struct irqchip_ops chip_ops = {
	.line = chip_line,
	.route_msi = chip_route_msi,
	.unroute_msi = chip_unroute_msi,
};

/*
 * A length of 0 matches writes of any size, and is found faster; else 2 bytes,
 * what virtio's drivers write.
 */
static int host_doorbell(struct bus_host *h, uint64_t addr, int fd, bool on)
{
	struct kvm_bus_host *bus = container_of(h, struct kvm_bus_host, host);
	struct kvm_ioeventfd bell = {
		.addr = addr,
		.len = bus->kvm->any_length ? 0 : 2,
		.fd = fd,
		.flags = bus->flags | (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return ioctl(bus->kvm->vm, KVM_IOEVENTFD, &bell) < 0 ? -errno : 0;
}

static void init_hosts(struct kvm *k)
{
	k->ports = (struct kvm_bus_host){
		.host.doorbell = host_doorbell, .kvm = k,
		.flags = KVM_IOEVENTFD_FLAG_PIO,
	};
	k->memory = (struct kvm_bus_host){
		.host.doorbell = host_doorbell, .kvm = k,
	};
}

/* In the order KVM is quickest: slots before the chips. */
static int fill_vm(struct kvm *k, const struct mem *m)
{
	uint64_t identity = KVM_IDENTITY_GPA;
	int bytes, rc;

	k->vm = create_vm(k->dev);
	if (k->vm < 0)
		return k->vm;
	rc = add_slots(k, m);
	if (rc < 0)
		return rc;
	if (ioctl(k->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(k->vm, KVM_SET_TSS_ADDR, KVM_TSS_GPA) < 0)
		return fail_sys("/dev/kvm: pages of its own");
	bytes = ioctl(k->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (bytes < 0)
		return fail_sys("/dev/kvm: vCPU size");
	k->run_bytes = bytes;
	return add_chips(k);
}

int kvm_init(struct kvm *k, int dev, const struct mem *m, bool pic)
{
	int rc;

	*k = (struct kvm){
		.dev = dev, .vm = -1, .mem = m, .pic = pic,
		.software = !has_hardware(), .chip.ops = &chip_ops,
	};
	pthread_mutex_init(&k->lock, NULL);
	k->any_length = ioctl(dev, KVM_CHECK_EXTENSION,
			      KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
	init_hosts(k);
	grow_fd_table(dev);
	rc = fill_vm(k, m);
	if (rc < 0)
		kvm_release(k);
	return rc;
}

void kvm_release(struct kvm *k)
{
	close_fd(&k->vm);
	k->vm = -1;
	free(take_ptr(k->routes));
	pthread_mutex_destroy(&k->lock);
}

bool kvm_pin_unmasked(const struct kvm *k, unsigned pin)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

	if (pin >= IRQ_PINS || ioctl(k->vm, KVM_GET_IRQCHIP, &chip) < 0)
		return false;
	return !(chip.chip.ioapic.redirtbl[pin].bits & IOREDTBL_MASKED);
}
