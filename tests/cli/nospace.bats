#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The disk of the state directory fills up at every point of an import, a pull
# and the making of a VM: a small tmpfs, of one size after the other.
# shellcheck disable=SC2154	# bats sets $stderr

bats_require_minimum_version 1.5.0
load lib

setup() {
	scratch
	need_mounts
	mkdir full
	export VM_STATE=$PWD/full/state
}

teardown() {
	[[ -z ${HTTPD:-} ]] || kill "$HTTPD" 2>/dev/null || :
}

# content : what does not compress to nothing, nor is zeros
content() { seq 1 12000; }

# disk : d.raw and d.qcow2, 4 MiB with content in two places
disk() {
	truncate -s 4M d.raw
	put d.raw 510 '\125\252'
	content | dd of=d.raw bs=4K seek=100 conv=notrunc status=none
	content | dd of=d.raw bs=4K seek=500 conv=notrunc status=none
	qemu-img convert -O qcow2 d.raw d.qcow2
}

# tree : t.tar, files small and large, and a kernel
tree() {
	mkdir -p root/boot root/many
	content >root/content
	cp "$(kernel)" root/boot/vmlinuz-1
	content | head -c 60000 >root/boot/initrd.img-1
	(cd root/many && content | head -n 20 | split -l 1)
	tar -C root -cf t.tar .
}

# -- what is there in the end --

same_raw() { cmp "$VM_STATE/images/x/disk" d.raw; }
same_qcow2() { cmp "$VM_STATE/images/x/disk" d.qcow2; }

same_tree() {
	local img=$VM_STATE/images/x
	e2fsck -fn "$img/disk" >e2fsck.out 2>&1 || { cat e2fsck.out; return 1; }
	debugfs -R 'cat /content' "$img/disk" 2>/dev/null | cmp - root/content
	debugfs -R 'cat /many/xas' "$img/disk" 2>/dev/null | cmp - root/many/xas
	cmp "$img/kernel" root/boot/vmlinuz-1
	cmp "$img/initrd" root/boot/initrd.img-1
}

same_vm() {
	local disk=$VM_STATE/vms/w1/disk
	[ "$(vm-ls -q)" = w1 ]
	qemu-img compare -q "$VM_STATE/images/x/disk" "$disk/disk0.qcow2"
	[ "$(blkid -o value -s LABEL "$disk/seed.iso")" = CIDATA ]
	[ "$(stat -c %s "$disk/disk1.raw")" = $((1 << 20)) ]
}

same_out() { qemu-img compare -q full/out d.raw; }

# -- what is left of what failed --

no_out() { [ ! -e full/out ]; }

no_image() {
	[ -z "$(vm-image ls -q)" ]
	[ -z "$(ls -A "$VM_STATE/images" 2>/dev/null)" ]
}

# what a pull can go on with is no image, but stays
part() {
	[ -z "$(vm-image ls -q)" ]
	[ -z "$(find "$VM_STATE/images" -mindepth 1 ! -name .x.part ! -name .x.note)" ]
	[ ! -s "$VM_STATE/images/.x.part" ] || parts=$((parts + 1))
}

no_vm() {
	[ -z "$(vm-ls -q)" ]
	[ -z "$(ls -A "$VM_STATE/vms" 2>/dev/null)" ]
	[ "$(ls "$VM_STATE/images")" = x ]
}

# -- all sizes --

before() { :; }

# fresh LIMIT MORE : an empty state, but for what before() makes, on a disk
# that has room for MORE more: KiB (size) or files (nr_inodes)
fresh() {
	local have
	umount full 2>/dev/null || :
	mount -t tmpfs -o size=64m,nr_inodes=1000 none full
	before >/dev/null
	if [[ $1 = size ]]; then
		have=$(df --output=used -k full | tail -n 1)
		mount -o "remount,size=$((have + $2))k" full
	else
		have=$(df --output=iused full | tail -n 1)
		mount -o "remount,nr_inodes=$((have + $2))" full
	fi
}

# sweep LIMIT STEP NAMED LEFT SAME COMMAND... : COMMAND on disks larger by STEP
# each time, until it succeeds twice. Where it does not, it says that NAMED (a
# pattern) had no room; there is what LEFT allows, and it succeeds once there
# is room. What SAME says is true in the end.
sweep() {
	local limit=$1 step=$2 named=$3 left=$4 same=$5 room=$2 good=0 failed=0 rc
	shift 5
	parts=0
	for ((; good < 2; room += step)); do
		((room < 16000))
		fresh "$limit" "$room"
		rc=0
		"$@" >out 2>err || rc=$?
		if [[ $rc = 0 ]]; then
			good=$((good + 1))
			$same
			continue
		fi
		failed=$((failed + 1))
		echo "# $limit=$room: $rc $(<err)"
		[ $rc = 1 ]
		# shellcheck disable=SC2053	# a pattern
		[[ $(<err) == $named"No space left on device" ]]
		[ ! -s out ]
		$left
		mount -o remount,size=64m,nr_inodes=1000 full
		"$@" >out 2>err
		$same
	done
	echo "it failed $failed times, $parts of them with a part left"
	((failed >= 2))
}

# inside COMMAND : with mounts that end with it
inside() {
	run unshare -m bash -euc "$(declare -f); $1"
	echo "$output"
	[ "$status" = 0 ]
}

# piped FILE COMMAND...
piped() { "${@:2}" < <(cat "$1"); }

@test "an import of a tree that finds no room is 1 and leaves nothing; with room it works" {
	tree
	inside 'sweep size 132 "vm-image: *" no_image same_tree vm-image import t.tar --name x'
}

@test "so is one of a raw disk, of a qcow2, and from standard input" {
	disk
	inside 'sweep size 28 "vm-image: *" no_image same_raw vm-image import d.raw --name x'
	inside 'sweep size 60 "vm-image: *" no_image same_qcow2 vm-image import d.qcow2 --name x'
	inside 'sweep size 28 "vm-image: *" no_image same_raw piped d.raw vm-image import - --name x'
}

@test "a pull that finds no room goes on where it was, once there is room" {
	disk
	mkdir www
	truncate -s 2M d.raw	# its holes are no holes on the way
	cp d.raw www
	(cd www && sha256sum d.raw >SHA256SUMS)
	touch -d '1 hour ago' www/d.raw
	serve
	inside "sweep size 500 'vm-image: x: *' part same_raw vm-image pull $URL/d.raw --name x"
	[[ $output != *" 0 of them with a part left"* ]]
}

@test "a VM that finds no room for its layer, its seed and its disk is none" {
	disk
	inside 'before() { vm-image import d.raw --name x; }
		sweep size 56 "vm-create: w1: *" no_vm same_vm \
			vm-create w1 --image x --hostname h --disk 8M --disk 1M'
}

@test "an export that finds no room leaves no file" {
	disk
	VM_STATE=$PWD/elsewhere
	vm-image import d.raw --name x
	inside 'sweep size 48 "vm-image: x: *" no_out same_out vm-image export x --output full/out'
	inside 'sweep size 128 "vm-image: x: *" no_out same_out vm-image export x --format qcow2 --output full/out'
}

@test "the same where there is no room for another file" {
	disk
	tree
	inside 'sweep nr_inodes 1 "vm-image: *" no_image same_tree vm-image import t.tar --name x'
	inside 'before() { vm-image import d.raw --name x; }
		sweep nr_inodes 1 "vm-create: *" no_vm same_vm \
			vm-create w1 --image x --hostname h --disk 8M --disk 1M'
}
