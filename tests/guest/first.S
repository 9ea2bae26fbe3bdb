/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * first.S - a guest that says one byte on COM1 as soon as it runs, and halts:
 * for measuring how long a start takes. Entered by PVH.
 */
	.section .note.pvh, "a", @note
	.long	4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	_start

	.text
	.code32
	.globl	_start
_start:
	mov	$0x3f8, %dx
	mov	$'!', %al
	out	%al, %dx
1:	hlt
	jmp	1b
