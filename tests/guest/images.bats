#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Root file systems without a kernel of their own, or without an initrd, boot
# Debian's kernel by the initrd that vm-image makes.

load lib

setup_file() {
	guest_setup_file
	export VERSION
	VERSION=$(ls "$G/kernel-cloud/lib/modules")
	cd "$BATS_FILE_TMPDIR" || return 1
	system
	package
}

teardown_file() { guest_teardown_file; }

setup() {
	cd "$BATS_FILE_TMPDIR" || return 1
	PATH=$PATH:/usr/sbin:/sbin
}

teardown() { vm-rm --force k >/dev/null 2>&1 || :; }

# system : a root of busybox, whose init says what it finds, as sys/ and sys.tar
system() {
	mkdir -p sys/{bin,sbin,lib,proc}
	cp "$(command -v busybox)" sys/bin
	cat >sys/sbin/init <<-'END'
		#!/bin/busybox sh
		export PATH=/bin
		busybox echo "reached $1 $(busybox uname -r) $(busybox ls /lib/modules)"
		busybox echo "size $(busybox df -k / | busybox awk 'END { print $2 }')"
		busybox grep ' / ' /proc/mounts
		busybox touch /written && busybox sync
		busybox poweroff -f
	END
	chmod +x sys/sbin/init
	tar -C sys -cf sys.tar .
}

# package : Debian's kernel, as it came unpacked, as a package again
package() {
	tar -C "$G/kernel-cloud" --exclude 'modules.*.bin' --exclude modules.dep -cf data.tar ./boot ./lib
	tar -cf control.tar -T /dev/null
	echo 2.0 >debian-binary
	ar rc linux.deb debian-binary control.tar data.tar
}

# boots ARG... : VM k, made with these, to its end; what it said is in `log`
boots() {
	vm-create k -m 256M --append "$(vm-image ls -H -o append "$2") quiet init=/sbin/init -- word" "$@"
	vm-boot k | vm-wait --for stopped -t 600
	vm-console --log k | tr -d '\r' >log
	cat log
}

@test "a tree with the kernel of a .deb boots to its init, on a disk that grew" {
	vm-image import sys.tar --kernel-from linux.deb
	boots --image sys --disk 3G
	grep -qx "reached word $VERSION $VERSION" log
	# of 3 GiB more than 2.5 are for files
	(($(sed -n 's/^size //p' log) > 2500000))
	grep -q '^/dev/.* / ext4 rw' log
}

@test "a partition of a qcow2 disk, with a kernel and no initrd, is found by PARTUUID" {
	cp -r sys part
	cp -r "$G/kernel-cloud/boot" part
	mkdir -p part/lib/modules
	cp -r "$G/kernel-cloud/lib/modules/$VERSION" part/lib/modules
	truncate -s 200M fs
	mke2fs -q -t ext4 -d part fs
	# an MBR: signature, one partition of 200 MiB at 1 MiB
	truncate -s 202M d.raw
	printf '\064\022\376\312\0\0\0\0\0\0\203\0\0\0\0\010\0\0\0\100\006\0' |
		dd of=d.raw bs=1 seek=440 conv=notrunc status=none
	printf '\125\252' | dd of=d.raw bs=1 seek=510 conv=notrunc status=none
	dd if=fs of=d.raw bs=1M seek=1 conv=notrunc,sparse status=none
	qemu-img convert -O qcow2 d.raw d.qcow2
	vm-image import d.qcow2
	[ "$(vm-image ls -H -o append d)" = 'root=PARTUUID=cafe1234-01 rw vm.grow' ]
	boots --image d
	grep -qx "reached word $VERSION $VERSION" log
	# and by the file system's UUID, read-only
	vm-rm k
	vm-create k -m 256M --image d --append "root=UUID=$(blkid -o value -s UUID fs) quiet"
	vm-boot k | vm-wait --for stopped -t 600
	vm-console --log k | grep -q ' / ext4 ro'
}

@test "a root without the init that is wanted: said, and the VM is off" {
	vm-image import sys.tar --name lost --kernel-from linux.deb
	vm-create k -m 256M --image lost --append 'root=/dev/vda quiet init=/sbin/none'
	vm-boot k | vm-wait --for stopped -t 600
	vm-console --log k | tr -d '\r' >log
	grep -qx 'initrd: /sbin/none: No such file or directory' log
	grep -qx 'initrd: there is no way on from here: switching off' log
}
