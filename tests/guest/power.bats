#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A VM is killed while its guest writes, at any instant: what the guest was
# told is on its disks is there, and the layer has no error but leaks. Its
# disks are a raw one and a layer over an image; tests/block/promise.c writes
# and judges.
#
# VM_KILLS	how often (4)
# VM_SEED	of places and instants, to repeat what a run printed

load lib

PROMISE=${VM_BIN:-$BATS_TEST_DIRNAME/../../build}/tests/block/promise

setup_file() { guest_setup_file; }
teardown_file() { guest_teardown_file; }

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
	seed=${VM_SEED:-$(od -An -tu4 -N4 /dev/urandom | tr -d ' ')}
	# as $RANDOM is not the same in each subshell
	RANDOM=$((seed % 32768))
	echo "VM_SEED=$seed"
}

# guest : k, whose initrd has the writer, on raw.img and a layer over `base`
guest() {
	mkdir extra
	cp "$PROMISE" extra/promise
	(cd extra && find . | cpio -o -H newc -R 0:0 --quiet) >extra.cpio
	cat "$G/initrd-cloud.img" extra.cpio >initrd
	yes vmutils | head -c 32M >base.img
	cp base.img raw.img
	vm-image import base.img --format raw
	vm-create k -m 256M --image base --disk "$PWD/raw.img" --kernel "$G/vmlinux-cloud" \
		--initrd "$PWD/initrd" --append quiet
}

# kill_vm : any one of its processes; the others do not go on without it
kill_vm() {
	local pids
	pids=("$(col k pid)")
	mapfile -t -O 1 pids < <(pgrep -P "${pids[0]}")
	kill -9 "${pids[RANDOM % ${#pids[@]}]}"
	vm-wait k --for stopped -t 80 >/dev/null
}

# life FIRST : the guest writes from number FIRST on and is killed after a
# while. $last is what it was promised.
life() {
	vm-boot k
	see k 'guest# ' 180
	tell k "/promise write $seed $1 /dev/vda /dev/vdb"
	see k 'promised [0-9]' 60
	sleep "$((RANDOM % 3)).$((RANDOM % 10))$((RANDOM % 10))"
	kill_vm
	# a line that was cut tells less than it could, which is no harm
	last=$(vm-console --log k | tr -d '\r' | sed -n 's/^promised \([0-9]*\)$/\1/p' | tail -n 1)
}

@test "kill -9 at any instant: what was promised is there, raw and in a layer" {
	guest
	layer=$VM_STATE/vms/k/disk/disk0.qcow2
	first=1 runs=()
	while ((${#runs[@]} < ${VM_KILLS:-4})); do
		life $first
		((last >= first))
		runs+=("$first:$last")
		echo "${runs[*]}"
		run qemu-img check "$layer"
		[[ $status = 0 || $status = 3 ]]
		run -0 "$PROMISE" check "$seed" base.img raw.img "${runs[@]}"
		qemu-img convert -O raw "$layer" layer.raw
		run -0 "$PROMISE" check "$seed" base.img layer.raw "${runs[@]}"
		first=$((last + 200000))
	done
	# it judges: a promise that was not kept, and a byte that changed
	run -1 "$PROMISE" check "$seed" base.img raw.img "${runs[@]}" "$first:$((first + 9))"
	printf x | dd of=raw.img bs=1 seek=8192 conv=notrunc status=none
	run -1 "$PROMISE" check "$seed" base.img raw.img "${runs[@]}"
}
