#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Where an image's kernel, initrd and command line come from. Nothing is
# booted here; tests/guest/images.bats does.
# shellcheck disable=SC2154	# bats sets $stderr

bats_require_minimum_version 1.5.0
load lib

# module NAME NEEDS : what a module says of itself, and nothing else
module() {
	printf 'const char i[] __attribute__((section(".modinfo"))) = "depends=%s";\n' "$2" |
		gcc -c -x c -o "$BATS_FILE_TMPDIR/$1.ko" -
}

setup_file() {
	module virtio ''
	module virtio_pci virtio
	module virtio-blk virtio
}

setup() {
	scratch
	PATH=$PATH:/usr/sbin:/sbin
	img=$VM_STATE/images
}

# linux FILE VERSION : what begins like a bzImage of that version, of a boot
# protocol that does not tell where the payload is
linux() {
	head -c 4096 /dev/zero >"$1"
	put "$1" $((0x1fe)) '\125\252'
	put "$1" $((0x202)) 'HdrS\007\002'
	put "$1" $((0x20e)) '\000\003'
	put "$1" $((0x500)) "$2 (somebody) #1"
}

# package VERSION : the tree pack/ of a kernel package, with virtio as modules
package() {
	local m=pack/lib/modules/$1
	mkdir -p pack/boot "$m/kernel"
	linux "pack/boot/vmlinuz-$1" "$1"
	cp "$BATS_FILE_TMPDIR"/*.ko "$m/kernel"
	printf 'kernel/%s.ko\n' virtio_pci virtio-blk virtio >"$m/modules.order"
	echo kernel/ext4.ko >"$m/modules.builtin"
}

# deb : pack/ as pack.deb
deb() {
	tar -C pack -cJf data.tar.xz .
	tar -cf control.tar -T /dev/null
	echo 2.0 >debian-binary
	ar rc pack.deb debian-binary control.tar data.tar.xz
}

# system : the tree sys/ of a system without a kernel, and sys.tar
system() {
	mkdir -p sys/sbin sys/etc
	echo '#!/bin/sh' >sys/sbin/init
	tar -C sys -cf sys.tar .
}

# ext4 TREE FILE : a file system of 16 MiB
ext4() {
	truncate -s 16M "$2"
	mke2fs -q -t ext4 -d "$1" "$2"
}

# le32 N : as bytes of a printf format
le32() {
	printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24))
}

# disk FILE EXT4... : with an MBR and these in partitions of 16 MiB, the first at 1 MiB
disk() {
	local file=$1 i=0 fs
	shift
	truncate -s $((1 + 16 * $#))M "$file"
	put "$file" 510 '\125\252'
	put "$file" 440 "$(le32 0xcafe1234)"
	for fs; do
		put "$file" $((446 + 16 * i + 4)) '\203'
		put "$file" $((446 + 16 * i + 8)) "$(le32 $((2048 + 32768 * i)))$(le32 32768)"
		dd if="$fs" of="$file" bs=1M seek=$((1 + 16 * i)) conv=notrunc,sparse status=none
		i=$((i + 1))
	done
}

append() { vm-image ls -H -o append "$1"; }

@test "a package's kernel boots a tree, which gets its modules, by an initrd made for it" {
	package 6.1.0-9-test
	deb
	system
	run -0 --separate-stderr vm-image import sys.tar --kernel-from pack.deb
	[ "$output" = sys ]
	[ -z "$stderr" ]
	cmp pack/boot/vmlinuz-6.1.0-9-test "$img/sys/kernel"
	[ "$(append sys)" = 'root=/dev/vda rw vm.grow' ]
	[ "$(cpio --quiet -i --to-stdout modules/list <"$img/sys/initrd")" = "$(in_lines virtio virtio_pci virtio_blk)" ]
	cpio --quiet -i --to-stdout modules/virtio_blk <"$img/sys/initrd" |
		cmp - pack/lib/modules/6.1.0-9-test/kernel/virtio-blk.ko
	run -0 e2fsck -fn "$img/sys/disk"
	debugfs -R 'cat /lib/modules/6.1.0-9-test/modules.order' "$img/sys/disk" 2>/dev/null |
		cmp - pack/lib/modules/6.1.0-9-test/modules.order
	[ "$(ls -A "$img/sys")" = "$(in_lines disk initrd kernel lock meta)" ]
}

@test "another image's kernel, initrd and modules go into a tree in the same way" {
	package 6.1.0-9-test
	system
	echo theirs >pack/boot/initrd.img-6.1.0-9-test
	cp -r sys/* pack
	tar -C pack -cf whole.tar .
	vm-image import whole.tar
	run -0 --separate-stderr vm-image import sys.tar --kernel-from whole
	[ -z "$stderr" ]
	cmp "$img/whole/kernel" "$img/sys/kernel"
	[ "$(cat "$img/sys/initrd")" = theirs ]
	[ "$(append sys)" = 'root=/dev/vda rw' ]
	debugfs -R 'cat /lib/modules/6.1.0-9-test/modules.builtin' "$img/sys/disk" 2>/dev/null |
		grep -q ext4
	# a file of that name is meant by a slash
	cp whole.tar whole
	echo other >pack/boot/initrd.img-6.1.0-9-test
	tar -C pack -cf whole .
	vm-image import sys.tar --name t --kernel-from ./whole
	[ "$(cat "$img/t/initrd")" = other ]
	vm-image rm whole
}

@test "a partitioned disk, raw or qcow2, boots by its own kernel" {
	package 6.1.0-9-test
	system
	cp -r sys/* pack
	ext4 pack root.fs
	disk d.raw root.fs
	qemu-img convert -O qcow2 d.raw q.qcow2
	vm-image import d.raw
	vm-image import q.qcow2
	for name in d q; do
		cmp pack/boot/vmlinuz-6.1.0-9-test "$img/$name/kernel"
		[ "$(append $name)" = 'root=PARTUUID=cafe1234-01 rw vm.grow' ]
		cpio --quiet -t <"$img/$name/initrd" | grep -qx modules/virtio_pci
	done
	vm-image import q.qcow2 --name a --append 'root=/dev/vda1 ro'
	[ "$(append a)" = 'root=/dev/vda1 ro' ]
	echo mine >initrd
	vm-image import q.qcow2 --name i --initrd initrd
	[ "$(cat "$img/i/initrd")" = mine ]
}

@test "/boot may be a partition of its own; its initrd finds the root by UUID" {
	package 6.1.0-9-test
	system
	echo theirs >pack/boot/initrd.img-6.1.0-9-test
	ext4 pack/boot boot.fs
	ext4 sys root.fs
	disk d.raw boot.fs root.fs
	vm-image import d.raw
	cmp pack/boot/vmlinuz-6.1.0-9-test "$img/d/kernel"
	[ "$(cat "$img/d/initrd")" = theirs ]
	[ "$(append d)" = "root=UUID=$(blkid -o value -s UUID root.fs) rw" ]
}

@test "a kernel with all of it built in needs no initrd, and finds its partition itself" {
	package 6.1.0-9-test
	system
	cp -r sys/* pack
	echo kernel/virtio_{pci,blk}.ko kernel/ext4.ko | tr ' ' '\n' >pack/lib/modules/6.1.0-9-test/modules.builtin
	ext4 pack root.fs
	disk d.raw root.fs
	vm-image import d.raw
	[ "$(append d)" = 'root=PARTUUID=cafe1234-01 rw' ]
	[ ! -e "$img/d/initrd" ]
}

@test "what has no kernel for us is an image without one, and is told what to do" {
	system
	run -0 --separate-stderr vm-image import sys.tar
	[ "$stderr" = 'vm-image: sys: has no kernel (--kernel or --kernel-from gives one)' ]
	truncate -s 16M xfs.fs
	printf XFSB | dd of=xfs.fs conv=notrunc status=none
	disk d.raw xfs.fs
	run -0 --separate-stderr vm-image import d.raw
	[ "$output" = d ]
	[[ $stderr == "vm-image: d: holds xfs, which is not read here, so it has no kernel"* ]]
	[ "$(vm-image ls -H -o kernel d)" = no ]
	package 6.1.0-9-test
	deb
	run -0 --separate-stderr vm-image import d.raw --name e --kernel-from pack.deb
	[[ $stderr == *"nothing says where its root is (--append root=... does)" ]]
	run -0 --separate-stderr vm-image import d.raw --name f --kernel-from pack.deb --append root=/dev/vda1
	[ -z "$stderr" ]
	# a disk of data is nobody's mistake
	truncate -s 4M data.raw
	put data.raw 510 '\125\252'
	run -0 --separate-stderr vm-image import data.raw
	[ -z "$stderr" ]
}

@test "--kernel-from what is no kernel: one sentence, its own status, and no image" {
	system
	run -2 vm-image import sys.tar --kernel-from x --kernel y
	run -2 vm-image ls --kernel-from x
	run -10 vm-image import sys.tar --kernel-from nonesuch
	[[ $output == *"--kernel-from: nonesuch: neither an image nor a file" ]]
	run -6 vm-image import sys.tar --kernel-from sys.tar
	[[ $output == *"holds no kernel (boot/vmlinuz-VERSION)" ]]
	echo text >text
	run -13 vm-image import sys.tar --kernel-from text
	package 6.1.0-9-test
	deb
	head -c 3000 pack.deb >cut.deb
	run -13 vm-image import sys.tar --kernel-from cut.deb
	echo text >pack/boot/vmlinuz-6.1.0-9-test
	deb
	run -6 vm-image import sys.tar --kernel-from pack.deb
	[[ $output == *"not a kernel"* ]]
	package 6.1.0-9-test
	echo text >pack/lib/modules/6.1.0-9-test/kernel/virtio.ko
	deb
	run -13 vm-image import sys.tar --kernel-from pack.deb
	[[ $output == *"virtio: damaged: not a module" ]]
	vm-image import sys.tar --name without 2>/dev/null
	run -6 vm-image import sys.tar --kernel-from without
	[ "$(ls -A "$img")" = without ]
}
