/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * initrd_init.h - the program that the initrds we make begin with: a static
 * one, made of common/image/init/ by the Makefile and put in here as it is.
 */
#ifndef IMAGE_INITRD_INIT_H
#define IMAGE_INITRD_INIT_H

#include "base/types.h"

extern const uint8_t initrd_init[], initrd_init_end[];

#endif
