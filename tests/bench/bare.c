/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bare.c - the floor that a hypervisor's start is measured against: a VM of
 * one vCPU with the parts ours has (memory slot, interrupt chips and routes,
 * CPUID, MSRs, local APIC), made by nothing but the system calls it takes. At
 * the guest's first port write it prints a byte and ends with status 0.
 *
 * usage: bare [MEGABYTES]	default: 256
 *
 * Build it statically, and compare whole processes, alternating.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PORT = 0xf4, ENTRY = 0x1000, CPUID_ENTRIES = 256, PINS = 24 };

/* out %al, $0xf4; hlt */
static const uint8_t guest[] = { 0xe6, PORT, 0xf4 };

/* Each pin of the I/O APIC, and no 8259. */
static int set_routes(int vm)
{
	static union {
		struct kvm_irq_routing head;
		uint8_t room[sizeof(struct kvm_irq_routing) +
			     PINS * sizeof(struct kvm_irq_routing_entry)];
	} routes = { .head.nr = PINS };

	for (uint32_t i = 0; i < PINS; i++)
		routes.head.entries[i] = (struct kvm_irq_routing_entry){
			.gsi = i, .type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = { KVM_IRQCHIP_IOAPIC, i },
		};
	return ioctl(vm, KVM_SET_GSI_ROUTING, &routes);
}

static int make_vm(int dev, uint64_t bytes)
{
	int vm = ioctl(dev, KVM_CREATE_VM, 0);
	uint8_t *ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct kvm_userspace_memory_region slot = {
		.memory_size = bytes, .userspace_addr = (uintptr_t)ram,
	};
	uint64_t identity = 0xfffbc000;

	if (vm < 0 || ram == MAP_FAILED)
		exit(1);
	memcpy(ram + ENTRY, guest, sizeof(guest));
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ||
	    ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ||
	    ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0 || set_routes(vm) < 0)
		exit(1);
	return vm;
}

static void set_cpuid(int dev, int vcpu)
{
	static union {
		struct kvm_cpuid2 head;
		uint8_t room[sizeof(struct kvm_cpuid2) + CPUID_ENTRIES *
			     sizeof(struct kvm_cpuid_entry2)];
	} cpuid = { .head.nent = CPUID_ENTRIES };

	if (ioctl(dev, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0 ||
	    ioctl(vcpu, KVM_SET_CPUID2, &cpuid) < 0)
		exit(1);
}

/* IA32_MISC_ENABLE, and the local APIC as it is. */
static void set_rest(int vcpu)
{
	union {
		struct kvm_msrs head;
		uint8_t room[sizeof(struct kvm_msrs) +
			     sizeof(struct kvm_msr_entry)];
	} msrs = { .head.nmsrs = 1 };
	struct kvm_lapic_state apic;

	msrs.head.entries[0] = (struct kvm_msr_entry){ .index = 0x1a0 };
	if (ioctl(vcpu, KVM_SET_MSRS, &msrs) < 0 ||
	    ioctl(vcpu, KVM_GET_LAPIC, &apic) < 0 ||
	    ioctl(vcpu, KVM_SET_LAPIC, &apic) < 0)
		exit(1);
}

static void set_entry(int vcpu)
{
	struct kvm_regs regs = { .rip = ENTRY, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		exit(1);
	sregs.cs.base = sregs.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		exit(1);
}

int main(int argc, char **argv)
{
	uint64_t bytes = (argc > 1 ? strtoull(argv[1], NULL, 10) : 256) << 20;
	int dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = make_vm(dev, bytes);
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	int size = ioctl(dev, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_run *run = mmap(NULL, size, PROT_READ | PROT_WRITE,
				   MAP_SHARED, vcpu, 0);

	if (vcpu < 0 || run == MAP_FAILED)
		return 1;
	set_cpuid(dev, vcpu);
	set_rest(vcpu);
	set_entry(vcpu);
	if (ioctl(vcpu, KVM_RUN, 0) < 0 || run->exit_reason != KVM_EXIT_IO ||
	    run->io.port != PORT)
		return 1;
	return write(STDOUT_FILENO, "!", 1) != 1;
}
