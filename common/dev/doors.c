/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/doors.h"

#include <string.h>

#include "base/err.h"
#include "base/section.h"

enum {
	KEYBOARD_STATUS = 0xfd,	/* all ones but "input buffer full" */
	KEYBOARD_PULSE_RESET = 0xfe,

	SYSTEM_RESET = 1 << 0,
	SYSTEM_A20 = 1 << 1,

	RESET_CPU = 1 << 2,
	RESET_KEPT = 1 << 1 | 1 << 3,	/* which kind of reset */

	SLEEP_TYPE_SHIFT = 2,
	SLEEP_TYPE = 7 << SLEEP_TYPE_SHIFT,
	SLEEP_ENABLE = 1 << 5,
	WAKE_STATUS = 1 << 7,

	EVENTS = DOORS_EVENT_POWER | DOORS_EVENT_GENERATION,
};

static uint64_t keyboard_read(void *dev, uint64_t off, unsigned size)
{
	(void)dev, (void)off, (void)size;
	return KEYBOARD_STATUS;
}

static void keyboard_write(void *dev, uint64_t off, unsigned size,
			   uint64_t val)
{
	struct doors *d = dev;

	(void)off, (void)size;
	if (val == KEYBOARD_PULSE_RESET)
		d->event(d->ctx, DOOR_RESET);
}

static uint64_t system_read(void *dev, uint64_t off, unsigned size)
{
	struct doors *d = dev;

	(void)off, (void)size;
	return d->system_val;
}

static void system_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct doors *d = dev;

	(void)off, (void)size;
	d->system_val = val & SYSTEM_A20;
	if (val & SYSTEM_RESET)
		d->event(d->ctx, DOOR_RESET);
}

static uint64_t reset_read(void *dev, uint64_t off, unsigned size)
{
	struct doors *d = dev;

	(void)off, (void)size;
	return d->reset_val;
}

static void reset_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct doors *d = dev;

	(void)off, (void)size;
	d->reset_val = val & RESET_KEPT;
	if (val & RESET_CPU)
		d->event(d->ctx, DOOR_RESET);
}

static uint8_t acpi_read_byte(struct doors *d, unsigned reg)
{
	uint8_t val;

	switch (reg) {
	case DOORS_SLEEP_CONTROL:
		return d->sleep_control;
	case DOORS_SLEEP_STATUS:
		return d->sleep_status;
	case DOORS_EVENTS:
		val = d->events;
		d->events = 0;
		return val;
	}
	return 0;
}

/* Whether the guest turned itself off. */
static bool acpi_write_byte(struct doors *d, unsigned reg, uint8_t val)
{
	if (reg == DOORS_SLEEP_STATUS)
		d->sleep_status &= ~(val & WAKE_STATUS);
	if (reg != DOORS_SLEEP_CONTROL)
		return false;
	d->sleep_control = val & SLEEP_TYPE;
	if (!(val & SLEEP_ENABLE))
		return false;
	if ((val & SLEEP_TYPE) == DOORS_SLEEP_S5 << SLEEP_TYPE_SHIFT)
		return true;
	d->sleep_status |= WAKE_STATUS;
	return false;
}

static uint64_t acpi_read(void *dev, uint64_t off, unsigned size)
{
	struct doors *d = dev;
	uint64_t val = 0;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)acpi_read_byte(d, off + i) << 8 * i;
	pthread_mutex_unlock(&d->lock);
	return val;
}

static void acpi_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct doors *d = dev;
	bool is_off = false;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < size; i++)
		is_off |= acpi_write_byte(d, off + i, val >> 8 * i);
	pthread_mutex_unlock(&d->lock);
	if (is_off)
		d->event(d->ctx, DOOR_POWEROFF);
}

/*
 * Each press is an edge of its own: one that met a masked pin is lost, and
 * the event it was for may never have been read.
 */
static void happen(struct doors *d, uint8_t event)
{
	pthread_mutex_lock(&d->lock);
	d->events |= event;
	pthread_mutex_unlock(&d->lock);
	irq_pulse(d->line);
}

void doors_press_power(struct doors *d)
{
	happen(d, DOORS_EVENT_POWER);
}

void doors_new_generation(struct doors *d)
{
	happen(d, DOORS_EVENT_GENERATION);
}

void doors_save(struct doors *d, struct buf *b)
{
	struct section_out s;

	pthread_mutex_lock(&d->lock);
	section_begin(&s, b, "doors", 1);
	put_u8(&s, d->system_val);
	put_u8(&s, d->reset_val);
	put_u8(&s, d->sleep_control);
	put_u8(&s, d->sleep_status);
	put_u8(&s, d->events);
	section_end(&s);
	pthread_mutex_unlock(&d->lock);
}

int doors_load(struct doors *d, struct sections *all)
{
	uint8_t system, reset, control, status, events;
	struct section s;
	int rc = section_take(all, "doors", 1, &s);

	if (rc < 0)
		return rc;
	system = get_u8(&s);
	reset = get_u8(&s);
	control = get_u8(&s);
	status = get_u8(&s);
	events = get_u8(&s);
	rc = section_done(&s, system & ~SYSTEM_A20 || reset & ~RESET_KEPT ||
			  control & ~SLEEP_TYPE || status & ~WAKE_STATUS ||
			  events & ~EVENTS);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&d->lock);
	d->system_val = system;
	d->reset_val = reset;
	d->sleep_control = control;
	d->sleep_status = status;
	d->events = events;
	pthread_mutex_unlock(&d->lock);
	if (events)
		irq_pulse(d->line);
	return 0;
}

static const struct bus_ops keyboard_ops = { keyboard_read, keyboard_write };
static const struct bus_ops system_ops = { system_read, system_write };
static const struct bus_ops reset_ops = { reset_read, reset_write };
static const struct bus_ops acpi_ops = { acpi_read, acpi_write };

static struct region door(struct doors *d, uint16_t base, unsigned size,
			  const char *name, const struct bus_ops *ops)
{
	return (struct region){ .base = base, .size = size, .ops = ops,
				.dev = d, .name = name };
}

int doors_init(struct doors *d, struct bus *ports, uint16_t acpi,
	       struct irq_line *line,
	       void (*event)(void *ctx, enum door_event e), void *ctx)
{
	struct region *region[] = { &d->keyboard, &d->system, &d->acpi };

	*d = (struct doors){
		.event = event,
		.ctx = ctx,
		.line = line,
		.ports = ports,
		.keyboard = door(d, DOORS_KEYBOARD, 1, "keyboard controller",
				 &keyboard_ops),
		.system = door(d, DOORS_SYSTEM, 1, "system control",
			       &system_ops),
		.reset = door(d, DOORS_RESET, 1, "reset control", &reset_ops),
		.acpi = door(d, acpi, DOORS_ACPI_PORTS, "ACPI", &acpi_ops),
		.system_val = SYSTEM_A20,
	};
	pthread_mutex_init(&d->lock, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(region); i++) {
		int rc = bus_add(ports, region[i]);

		if (rc == 0)
			continue;
		fail(-rc, "%s at port 0x%x: %s", region[i]->name,
		     (unsigned)region[i]->base, strerror(-rc));
		doors_release(d);
		return rc;
	}
	return 0;
}

void doors_release(struct doors *d)
{
	bus_remove(d->ports, &d->keyboard);
	bus_remove(d->ports, &d->system);
	bus_remove(d->ports, &d->acpi);
	pthread_mutex_destroy(&d->lock);
}
