#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Snapshots with memory of a Linux guest, which goes on where they were taken:
# one VM, the tests in this order. The guest has a nonce in its memory and
# nowhere else, and counts.
#
# shellcheck disable=SC2154	# bats sets output, stderr
#
# SNAP_LOOP	how many snapshots and restores in a row (5)
# SNAP_CLONES	how many clones at once (6)

load lib

PROMISE=${VM_BIN:-$BATS_TEST_DIRNAME/../../build}/tests/block/promise

setup_file() {
	guest_setup_file
	cd "$BATS_FILE_TMPDIR" || return 1
	mkdir extra
	cp "$PROMISE" extra/promise
	(cd extra && find . | cpio -o -H newc -R 0:0 --quiet) >extra.cpio
	cat "$G/initrd-generic.img" extra.cpio >initrd
	yes vmutils | head -c 32M >base.img
	cp base.img raw.img
	vm-image import base.img --format raw
	vm-create k -c 4 -m 256M --image base --disk "$PWD/raw.img" \
		--kernel "$G/vmlinux-generic" --initrd "$PWD/initrd" --append quiet
	vm-boot k
	see k 'guest# ' 240
	tell k 'n=$(cat /proc/sys/kernel/random/uuid); i=0; while :; do i=$((i+1)); echo "tick $n $i"; sleep 1; done &'
	see k 'tick [-0-9a-f]* 2' 60
}

teardown_file() { guest_teardown_file; }

# said WORD... : the guest's last tick: its nonce, its count
tick() { vm-console --log k | tr -d '\r' | grep -a '^tick ' | tail -n 1; }

# goes_on NONCE COUNT : the guest counts on from there, and does as it is told
goes_on() {
	see k "tick $1 $(($2 + 2))" 60
	! vm-console --log k | tr -d '\r' | grep -aq "^tick $1 1\$"
	tell k "echo alive \$((40 + 2)) \$(nproc)"
	see k 'alive 42 4' 60
}

# snap NAME : and sets $nonce and $count as they were by then at least
snap() {
	run -0 vm-snap k -n "$1"
	[ "$output" = "k@$1" ]
	read -r _ nonce count < <(tick)
}

# back NAME : to the snapshot, through a stop
back() {
	run -0 vm-stop --now k
	run -0 vm-rollback --destructive "k@$1"
	run -0 vm-boot k
}

@test "what was only in memory is there, and the count goes on" {
	read -r _ first _ < <(tick)
	snap one
	# it runs on
	see k "tick $first $((count + 2))" 60
	back one
	goes_on "$first" "$count"
	# only once: what is booted next begins with the kernel
	! grep -q ^restore= "$VM_STATE/vms/k/config"
}

@test "a snapshot of what was restored is one like any" {
	snap two
	back two
	goes_on "$nonce" "$count"
	snap three
	back three
	goes_on "$nonce" "$count"
	back one
	goes_on "$nonce" 1
}

@test "again and again" {
	for ((round = 0; round < ${SNAP_LOOP:-5}; round++)); do
		snap "loop$round"
		back "loop$round"
		see k "tick $nonce $((count + 1))" 60
	done
	goes_on "$nonce" "$count"
}

@test "in the midst of writes: each promise is kept, before it and after" {
	tell k '/promise write 7 1 /dev/vda /dev/vdb'
	see k 'promised [0-9]' 60
	snap writes
	sleep 2
	back writes
	# from there on, in the same process
	see k "promised [0-9]*" 60
	sleep 2
	vm-pause k
	last=$(vm-console --log k | tr -d '\r' | sed -n 's/^promised \([0-9]*\)$/\1/p' | tail -n 1)
	((last > 0))
	vm-stop --now k
	layer() { sed -n "s/^disk$1=\([^,]*\).*/\1/p" "$VM_STATE/vms/k/config"; }
	cd "$VM_STATE/vms/k"
	qemu-img check -q "$(layer 0)"
	qemu-img check -q "$(layer 1)"
	qemu-img convert -O raw "$(layer 0)" "$BATS_TEST_TMPDIR/layer.raw"
	qemu-img convert -O raw "$(layer 1)" "$BATS_TEST_TMPDIR/raw.raw"
	run -0 "$PROMISE" check 7 "$BATS_FILE_TMPDIR/base.img" "$BATS_TEST_TMPDIR/layer.raw" "1:$last"
	run -0 "$PROMISE" check 7 "$BATS_FILE_TMPDIR/base.img" "$BATS_TEST_TMPDIR/raw.raw" "1:$last"
}

@test "of a guest that has only begun to boot" {
	vm-stop --now k
	vm-rollback --destructive --disk-only k@one
	vm-boot k
	sleep 0.7
	vm-snap k -n early
	back early
	see k 'guest# ' 240
	tell k "echo alive \$((40 + 2))"
	see k 'alive 42' 60
}

@test "of one that is paused: it stays so, and the restored one runs" {
	back one
	see k "tick " 60
	vm-pause k
	snap paused
	[ "$(col k state)" = paused ]
	back paused
	[ "$(col k state)" = running ]
	goes_on "$nonce" "$count"
}

@test "a restored guest that is reset boots its kernel" {
	vm-reset --hard k
	see k 'guest# ' 240
	! vm-console --log k | grep -aq '^tick '
}

@test "clones go on at once, each with random bytes of its own" {
	back one
	see k "tick " 60
	vm-snap k -n warm
	vm-stop --now k
	mapfile -t names < <(seq -f 'c%g' "${SNAP_CLONES:-6}")
	run -0 bash -c "vm-clone k@warm ${names[*]} | vm-boot"
	[ "$(wc -l <<<"$output")" = "${#names[@]}" ]
	for c in "${names[@]}"; do
		tell "$c" 'echo "random $(head -c 16 /dev/urandom | sha256sum)"'
		see "$c" 'random [0-9a-f]{64}' 120
	done
	for c in "${names[@]}"; do
		vm-console --log "$c" | tr -d '\r' | grep -ao '^random [0-9a-f]*' | tail -n 1
	done | sort -u | wc -l | grep -qx "${#names[@]}"
	# most of their memory is one
	for c in "${names[@]}"; do
		awk '/^Pss:/ { p += $2 } /^Rss:/ { r += $2 } END { print p, r }' \
			"/proc/$(col "$c" pid)/smaps_rollup"
	done | awk '{ p += $1; r += $2 } END { print p, r; exit p > r / 2 }'
	vm-rm --force "${names[@]}"
}

@test "a full host, and a vm-snap that is ended: the VM runs on, and nothing is left" {
	((EUID == 0)) || skip "the full file system is a mount: not root"
	mkdir small
	mount -t tmpfs -o size=40M small small	# less than the guest's memory takes
	export VM_STATE=$PWD/small/state
	vm-create k -m 256M --kernel "$G/vmlinux-cloud" --initrd "$G/initrd-cloud.img" \
		--append quiet --disk 1M
	vm-boot k
	see k 'guest# ' 240
	alone() { [ -z "$(find "$VM_STATE/vms/k/snap" -mindepth 1 -type d)" ]; }
	run -1 --separate-stderr vm-snap k
	[[ $stderr == *"No space left"* ]]
	alone
	tell k 'echo "alive $((40 + 2))"'
	see k 'alive 42' 60
	mount -o remount,size=512M small
	for after in 0.02 0.05 0.1 0.2; do
		timeout -s INT "$after" vm-snap k -n "i$after" || :
		vm-rm "k@i$after" 2>/dev/null || :
	done
	tell k 'echo "still $((40 + 2))"'
	see k 'still 42' 60
	run -0 vm-snap k -n whole
	# what one that was ended early left went with the next
	[ "$(find "$VM_STATE/vms/k/snap" -mindepth 1 -type d -printf %f)" = whole ]
	vm-stop --now k
	umount small || umount -l small
}
