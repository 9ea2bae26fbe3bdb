/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/kvm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "base/section.h"

enum { STATE_VERSION = 1 };

/* A VM without 8259s has the first alone. */
static const uint32_t chips[] = {
	KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
};

static unsigned count_chips(const struct kvm *k)
{
	return k->pic ? ARRAY_SIZE(chips) : 1;
}

int kvm_save(const struct kvm *k, struct buf *b)
{
	struct kvm_clock_data clock = { 0 };
	struct section_out s;

	section_begin(&s, b, "kvm", STATE_VERSION);
	put_u8(&s, count_chips(k));
	for (unsigned i = 0; i < count_chips(k); i++) {
		struct kvm_irqchip chip = { .chip_id = chips[i] };

		if (ioctl(k->vm, KVM_GET_IRQCHIP, &chip) < 0)
			return fail_sys("/dev/kvm: state of the interrupt chips");
		put_blob(&s, &chip, sizeof(chip));
	}
	if (ioctl(k->vm, KVM_GET_CLOCK, &clock) < 0)
		return fail_sys("/dev/kvm: state of the clock");
	put_u64(&s, clock.clock);
	section_end(&s);
	return b->failed ? fail(ENOMEM, "saved state: out of memory") : 0;
}

/* SAVED over what the chip has now; where it stands is not the file's to say. */
static int set_chip(const struct kvm *k, uint32_t id,
		    const struct kvm_irqchip *saved)
{
	struct kvm_irqchip chip = { .chip_id = id };
	uint64_t base;

	if (ioctl(k->vm, KVM_GET_IRQCHIP, &chip) < 0)
		return fail_sys("/dev/kvm: state of the interrupt chips");
	base = chip.chip.ioapic.base_address;
	chip.chip = saved->chip;
	if (id == KVM_IRQCHIP_IOAPIC)
		chip.chip.ioapic.base_address = base;
	if (ioctl(k->vm, KVM_SET_IRQCHIP, &chip) < 0)
		return fail(E_HOST, "kvm: this host's KVM does not take the "
			    "saved interrupt chips: %s", strerror(errno));
	return 0;
}

static int set_state(const struct kvm *k, const struct kvm_irqchip *chip,
		     uint64_t clock)
{
	struct kvm_clock_data data = { .clock = clock };
	int rc = 0;

	for (unsigned i = 0; i < count_chips(k) && rc == 0; i++)
		rc = set_chip(k, chips[i], &chip[i]);
	if (rc == 0 && ioctl(k->vm, KVM_SET_CLOCK, &data) < 0)
		rc = fail(E_HOST, "kvm: this host's KVM does not take the "
			  "saved clock: %s", strerror(errno));
	return rc;
}

int kvm_load(struct kvm *k, struct sections *all)
{
	struct kvm_irqchip chip[ARRAY_SIZE(chips)];
	bool wrong = false;
	struct section s;
	uint64_t clock;
	unsigned n;
	int rc = section_take(all, "kvm", STATE_VERSION, &s);

	if (rc < 0)
		return rc;
	n = get_u8(&s);
	if (!s.failed && n != count_chips(k))
		return fail(E_CONFIG, "kvm: saved with %u interrupt chips, "
			    "this VM has %u", n, count_chips(k));
	for (unsigned i = 0; i < count_chips(k); i++)
		wrong |= get_blob(&s, &chip[i], sizeof(chip[i])) !=
			 sizeof(chip[i]);
	clock = get_u64(&s);
	rc = section_done(&s, wrong);
	return rc < 0 ? rc : set_state(k, chip, clock);
}
