#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The commands that change snapshots are killed before each system call that
# changes the disk, one after the other (killat.c). Each time every snapshot
# that was there still shows what it did, no layer has an error, and the same
# command succeeds when it is run again.
#
# KILL_STEP	every so manieth call only (4)
# shellcheck disable=SC2154	# bats sets output, stderr, lines

load lib

setup() {
	scratch
	KILLAT=$VM_BIN/tests/cli/killat
	V=$VM_STATE/vms
}

# put VM BYTE AT : 64 KiB of BYTE into its disk, at AT KiB
put() {
	local disk
	disk=$(top "$V/$1/config")
	qemu-io -f "${disk##*.}" -c "write -q -P $2 ${3}k 64k" "$disk" >/dev/null
}

# top CONFIG : the disk that it names
top() {
	local d=${1%/*}
	[[ $d = */snap/* ]] && d=${d%/snap/*}
	echo "$d/$(sed -n 's/^disk0=\([^,]*\).*/\1/p' "$1")"
}

# sums : of what each config's disk shows, and whether each layer is sound
sums() {
	local c disk
	for c in "$V"/*/config "$V"/*/snap/*/config; do
		[[ -e $c ]] || continue
		disk=$(top "$c")
		if [[ $disk = *.qcow2 ]]; then
			qemu-img check -q "$disk" || [[ $? = 3 ]] || echo "$c: an error in $disk"
		fi
		qemu-img convert -O raw "$disk" sum.raw
		echo "${c#"$V"/} $(sha256sum <sum.raw)"
	done
}

# killed ALLOWED COMMAND... : at each point in turn, beginning with the same
# state. What sums() says after a kill is what it said before, but for lines
# that match ALLOWED; the command then succeeds.
killed() {
	local allowed=$1 step=${KILL_STEP:-4} n=0 rc=137
	((n -= RANDOM % step))	|| :	# where it begins
	shift
	rm -rf whole
	cp -a "$VM_STATE" whole
	sums | grep -Ev "$allowed" >before
	while ((rc == 137)); do
		rm -rf "$VM_STATE"
		cp -a whole "$VM_STATE"
		rc=0
		# who looks for leaks stops a process as we do
		ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 "$KILLAT" $((n += step, n > 0 ? n : 1)) "$@" >/dev/null 2>said || rc=$?
		((rc == 137 || rc == 0)) || cat said
		sums | grep -Ev "$allowed" >after
		diff before after
		((rc == 137)) || break
		"$@" >/dev/null || [[ $? = "${also:-0}" ]]
		((n % 3)) || { sums | grep -Ev "$allowed" >after; diff before after; }
	done
	echo "$n points"
	((rc == 0 && n > 5))
}

@test "vm-snap" {
	vm-create a --disk 1M
	put a 1 0
	vm-snap a -n one
	put a 2 64
	also=12		# it was there by then
	killed '^a/snap/two/' vm-snap a -n two
}

@test "vm-rollback" {
	vm-create a --disk 1M
	put a 1 0
	vm-snap a -n one
	put a 2 0
	# what the VM itself shows changes, at some point, to the snapshot's
	killed '^a/config|^a/snap/20' vm-rollback a@one
	[ "$(sums | grep -c "$(sums | grep ^a/snap/one | cut -d ' ' -f 2)")" = 2 ]
}

@test "vm-clone" {
	vm-create a --disk 1M
	put a 1 0
	vm-snap a -n one
	put a 2 0
	killed '^b/' vm-clone --if-missing a b
	killed '^c/' vm-clone --if-missing a@one c
}

@test "vm-rm of a snapshot: the oldest, one between, the newest" {
	for s in one two three; do
		vm-create $s --disk 1M
		put $s 1 0
		vm-snap $s -n one
		put $s 2 64
		vm-snap $s -n two
		put $s 3 0
		vm-snap $s -n three
		put $s 4 128
	done
	also=10		# it is gone already
	for s in one two three; do
		killed "^$s/snap/$s/" vm-rm "$s@$s"
	done
}
