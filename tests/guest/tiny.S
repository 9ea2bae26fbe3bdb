/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tiny.S - a guest of one page that behaves: enough of an operating system to
 * take every step of a VM's life on any /dev/kvm, within milliseconds.
 *
 * Entered by PVH. It says "tiny: up" and "login: " on COM1, listens to the
 * power button and powers off when it is pressed. ACPI is at port 0x600 on
 * both machines it knows, told apart by their host bridge: ours (I/O APIC pin 9
 * unmasked, an events port; sleep control) and QEMU's q35 (PM1_EN, PM1_STS;
 * PM1_CNT). What is typed comes back; and these keys do something:
 *
 *	q  power off		r  reset by port 0xcf9	k  reset by port 0x64
 *	f  reset by port 0x92	t  triple fault		j  jump into nowhere
 *	v  reset by ffff:0000, in real mode
 *	s  stop listening to the power button		c  count up for ever: "."
 *	h  halt without interrupts
 *
 * Linked at 1 MiB, the note behind it (see the Makefile).
 */
#define COM1	0x3f8
#define ACPI	0x600
#define IOAPIC	0xfec00000

	.section .note.pvh, "a", @note
	.long	4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	_start

	.text
	.code32
	.globl	_start
_start:
	mov	$stack_end, %esp
	mov	$0x80000000, %eax	/* the host bridge's vendor: Intel's? */
	mov	$0xcf8, %dx
	out	%eax, %dx
	mov	$0xcfc, %dx
	in	%dx, %ax
	cmp	$0x8086, %ax
	sete	q35
	mov	$0x31, %eax		/* pin 9: vector 0x31, edge, unmasked */
	mov	$0x100, %ecx		/* PWRBTN_EN */
	call	button
	mov	$hello, %esi
	call	print
loop:
	mov	$50, %ecx		/* QEMU does little else while it is asked */
1:	pause
	dec	%ecx
	jnz	1b
	mov	$COM1 + 5, %dx
	in	%dx, %al
	test	$1, %al
	jnz	key
	cmpb	$1, q35
	je	status
	mov	$ACPI + 2, %dx
	in	%dx, %al
	test	$1, %al
	jz	loop
	jmp	pressed
status:
	mov	$ACPI, %dx
	in	%dx, %ax
	test	$0x100, %ax		/* PWRBTN_STS */
	jz	loop
pressed:
	mov	$bye, %esi
	call	print
off:
	cmpb	$1, q35
	je	off_q35
	mov	$ACPI, %dx
	mov	$0x34, %al		/* S5, SLP_EN */
	out	%al, %dx
	jmp	.
off_q35:
	mov	$ACPI + 4, %dx
	mov	$0x2000, %ax		/* S5, SLP_EN */
	out	%ax, %dx
	jmp	.

key:
	mov	$COM1, %dx
	in	%dx, %al
	call	put
	cmp	$'q', %al
	je	off
	cmp	$'r', %al
	je	reset_cf9
	cmp	$'k', %al
	je	reset_kbd
	cmp	$'f', %al
	je	reset_fast
	cmp	$'t', %al
	je	fault
	cmp	$'j', %al
	je	nowhere
	cmp	$'v', %al
	je	vector
	cmp	$'s', %al
	je	deaf
	cmp	$'c', %al
	je	count
	cmp	$'h', %al
	jne	loop
	cli
	hlt
	jmp	.

reset_cf9:
	mov	$0xcf9, %dx
	mov	$6, %al
	out	%al, %dx
	jmp	.
reset_kbd:
	mov	$0xfe, %al
	out	%al, $0x64
	jmp	.
reset_fast:
	in	$0x92, %al
	or	$1, %al
	out	%al, $0x92
	jmp	.
/* To 16-bit segments, below 1 MiB, out of protected mode, to the vector. */
vector:
	lgdt	gdt_16
	mov	$real, %esi
	mov	$0x8000, %edi
	mov	$real_end - real, %ecx
	rep movsb
	ljmp	$8, $0x8000
	.code16
real:
	mov	$16, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	%cr0, %eax
	and	$~1, %al
	mov	%eax, %cr0
	ljmp	$0xffff, $0
real_end:
	.code32

fault:
	lidt	no_idt
	ud2
nowhere:
	mov	$0xd0000000, %eax
	jmp	*%eax
deaf:
	mov	$0x10031, %eax		/* masked */
	xor	%ecx, %ecx
	call	button
	jmp	loop
count:
	mov	$'.', %al
	call	put
	mov	$2000, %ecx
1:	dec	%ecx
	jnz	1b
	jmp	count

/* Low half of pin 9's redirection entry = EAX; PM1_EN = CX. */
button:
	cmpb	$1, q35
	je	1f
	mov	$IOAPIC, %ebx
	movl	$0x10 + 2 * 9, (%ebx)
	mov	%eax, 0x10(%ebx)
	ret
1:	mov	$ACPI + 2, %dx
	mov	%cx, %ax
	out	%ax, %dx
	ret

/* The string at ESI. */
print:
	lodsb
	test	%al, %al
	jz	1f
	call	put
	jmp	print
1:	ret

/* AL, when there is room for it. */
put:
	mov	%al, %ah
	mov	$COM1 + 5, %dx
1:	in	%dx, %al
	test	$0x20, %al
	jz	1b
	mov	%ah, %al
	mov	$COM1, %dx
	out	%al, %dx
	ret

q35:	.byte	0
hello:	.asciz	"tiny: up\r\nlogin: "
bye:	.asciz	"\r\ntiny: button\r\n"
	.balign	8
gdt:	.quad	0, 0x00009b000000ffff, 0x000093000000ffff
gdt_16:	.word	23
	.long	gdt
	.balign	8
no_idt:	.word	0
	.long	0
	.balign	16
	.space	256
stack_end:
