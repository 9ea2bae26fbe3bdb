/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_pci.h - a virtio device as a PCI function (virtio 1.2, section 4.1),
 * modern only.
 *
 * Theory: one 32-bit memory BAR holds the four structures and MSI-X:
 *
 *	0x0000 common configuration	0x2000 notification, 4 bytes a queue
 *	0x0800 ISR			0x3000 MSI-X table
 *	0x1000 device configuration	0x3800 MSI-X pending bits
 *
 * Registers are read from an image of the structure made at the time, and a
 * write is laid over such an image before each register it touched is set: so
 * accesses of any width at any offset mean what they say. Notifications are
 * doorbells of the bus while the BAR is mapped, the kick of queue i at i * 4.
 * The capability for access through configuration space does the same without
 * a mapped BAR.
 *
 * Interrupts: MSI-X with one vector for each queue and one for configuration
 * changes; the pin with the ISR register as long as MSI-X is disabled.
 *
 * Threads: registers hold the device's `lock`. The functions of the transport
 * are called by any thread, with or without it, and take only `isr_lock` and
 * that of msix.
 */
#ifndef DEV_VIRTIO_PCI_H
#define DEV_VIRTIO_PCI_H

#include <assert.h>

#include "dev/msix.h"
#include "dev/virtio.h"

enum {
	VIRTIO_PCI_VENDOR = 0x1af4,
	VIRTIO_PCI_DEVICE = 0x1040,	/* + the virtio device id */
	VIRTIO_PCI_BAR = 0,
	VIRTIO_PCI_BAR_SIZE = 0x4000,
	VIRTIO_PCI_COMMON = 0x0000,
	VIRTIO_PCI_ISR = 0x0800,
	VIRTIO_PCI_CONFIG = 0x1000,
	VIRTIO_PCI_NOTIFY = 0x2000,
	VIRTIO_PCI_TABLE = 0x3000,
	VIRTIO_PCI_PBA = 0x3800,
	VIRTIO_PCI_NOTIFY_STEP = 4,
};

/* virtio 1.2, 4.1.4: cfg_type of the capabilities. */
enum {
	VIRTIO_PCI_CAP_COMMON = 1,
	VIRTIO_PCI_CAP_NOTIFY = 2,
	VIRTIO_PCI_CAP_ISR = 3,
	VIRTIO_PCI_CAP_CONFIG = 4,
	VIRTIO_PCI_CAP_WINDOW = 5,	/* access through configuration space */
};

/* virtio 1.2, 4.1.4.3; without the two fields of features not offered. */
struct virtio_pci_common {
	le32 device_feature_select, device_feature;
	le32 driver_feature_select, driver_feature;
	le16 config_vector, num_queues;
	uint8_t status, generation;
	le16 queue_select, queue_size, queue_vector, queue_enable, notify_off;
	le64 queue_desc, queue_driver, queue_device;
};
static_assert(sizeof(struct virtio_pci_common) == 0x38, "virtio 1.2, 4.1.4.3");

/* A queue's registers until it is enabled. */
struct virtio_pci_queue {
	uint16_t size;
	uint64_t desc, driver, device;
};

struct virtio_pci {
	struct pci_dev pci;
	struct virtio *dev;
	struct virtio_transport transport;
	struct msix msix;
	unsigned window;		/* offset of that capability */

	/* Registers, under dev->lock. */
	uint32_t device_select, driver_select;
	uint64_t driver_features;
	uint16_t queue_select;
	struct virtio_pci_queue queue[VIRTIO_QUEUES];

	uint16_t config_vector;		/* atomic, as each queue's vector */
	pthread_mutex_t isr_lock;	/* leaf: isr and the pin together */
	uint8_t isr;
	struct doorbell bell[VIRTIO_QUEUES];
};

/*
 * Makes V, initialised, a PCI function, to be added by pci_bus_add(&p->pci).
 * V must stay until virtio_pci_release().
 */
void virtio_pci_init(struct virtio_pci *p, struct virtio *v,
		     struct irqchip *chip);
/* Stops the device; takes the function off its bus. */
void virtio_pci_release(struct virtio_pci *p);

/*
 * The sections NAME.pci, NAME.virtio and, of a device that has more, NAME: all
 * that the function, MSI-X and the device are. The device is at rest.
 */
void virtio_pci_save(struct virtio_pci *p, struct buf *b);
/*
 * Into a function on its bus as after power-on; no vCPU runs. The device is not
 * started: virtio_go_on() does that, once all else is loaded. 0; -E_VERIFY
 * damaged, -E_CONFIG another device, -ENOENT not there, with a sentence: then
 * the device is as after a reset.
 */
int virtio_pci_load(struct virtio_pci *p, struct sections *all);

#endif
