#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# One VM on one engine and then on the other, where there are both: on a host
# with VT-x or SVM, or the lab.
# shellcheck disable=SC2154	# bats sets stderr

load lib

setup_file() { guest_setup_file; }
teardown_file() { guest_teardown_file; }
setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

# on ENGINE COMMAND REGEX : boots k there, types COMMAND, sees REGEX, stops
on() {
	run -0 vm-boot --engine "$1" k
	[ "$(col k engine)" = "$1" ]
	see k 'guest# ' 180
	tell k "$2"
	see k "$3" 60
	run -0 vm-stop -t 200 k
}

@test "what a VM wrote on one engine it reads on the other, raw and in a layer" {
	yes vmutils | head -c 16M >base.img
	truncate -s 16M raw.img
	vm-image import base.img --format raw
	vm-create k -m 256M --image base --disk "$PWD/raw.img" --kernel "$G/vmlinux-cloud" \
		--initrd "$G/initrd-cloud.img" --append quiet
	on kvm 'for d in vda vdb; do echo from-kvm | dd of=/dev/$d seek=100 conv=fsync; done; echo "done $((40 + 2))"' 'done 42'
	on qemu 'for d in vda vdb; do dd if=/dev/$d skip=100 count=1 | head -n 1; done | uniq -c; for d in vda vdb; do echo from-qemu | dd of=/dev/$d seek=200 conv=fsync; done' '2 from-kvm'
	on kvm 'for d in vda vdb; do dd if=/dev/$d skip=200 count=1 | head -n 1; done | uniq -c' '2 from-qemu'
	run -0 qemu-img check "$VM_STATE/vms/k/disk/disk0.qcow2"
}

@test "the config is the same under both, and so are the locks" {
	truncate -s 1M d.img
	vm-create t1 t2 --kernel "$VM_BIN/tests/guest/tiny" --disk "$PWD/d.img" --set note="as it was"
	cp "$VM_STATE/vms/t1/config" before
	for engines in "kvm qemu" "qemu kvm"; do
		read -r mine other <<<"$engines"
		run -0 vm-boot --engine "$mine" t1
		run -0 vm-wait t1 --for login -t 200
		[ "$(col t1 engine)" = "$mine" ]
		run -11 --separate-stderr vm-boot --engine "$other" t2
		[[ $stderr == *"d.img"* ]]
		run -0 vm-stop -t 200 t1
	done
	cmp before "$VM_STATE/vms/t1/config"
}
