# SPDX-License-Identifier: GPL-2.0-or-later
#
# qcow2.bats - our qcow2 and QEMU's, against each other
#
# HISTORIES=N and LOSSES=N say how many random lives and power losses are
# tried, SEED=N where they begin; a failure names its seed.

bats_require_minimum_version 1.5.0

VM_BIN=${VM_BIN:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)/build}
SEED=${SEED:-1}

setup() {
	# the lives of images, not the disk below, are what takes time
	[[ ! -w /dev/shm ]] || export TMPDIR=/dev/shm
	work=$(mktemp -d)
	cd "$work" || return 1
	command -v qemu-img qemu-io >/dev/null || skip 'no qemu-img'
}

teardown() { rm -rf "$work"; }

# (the shell has a command of the name history itself)
live() { "$VM_BIN/tests/block/history" "$@"; }

# fails SEED WHAT... : says which seed it was
fails() { echo "SEED=$1: ${*:2}"; return 1; }

# The image on top of the chain that history made.
top() { find . -name '*.qcow2' -printf '%f\n' | sort -n | tail -n 1; }

# random_raw FILE MIB : random pieces and holes, their places by the seed
random_raw() {
	local i blocks=$(($2 * 256 - 20))
	truncate -s "$2M" "$1"
	for i in 1 2 3 4 5 6; do
		head -c 70000 /dev/urandom | dd of="$1" bs=4096 conv=notrunc status=none \
			seek=$((RANDOM % blocks))
		head -c 50000 /dev/zero | tr '\0' "$i" | dd of="$1" bs=4096 conv=notrunc \
			status=none seek=$((RANDOM % blocks))
	done
}

@test "what our images went through, QEMU finds sound and reads alike" {
	for ((s = SEED; s < SEED + ${HISTORIES:-40}; s++)); do
		rm -f ./*
		live make "$s" || fails "$s" history
		for i in *.qcow2; do
			qemu-img check -q "$i" || fails "$s" check "$i"
		done
		qemu-img compare -q -f qcow2 -F raw "$(top)" model.raw || fails "$s" compare
	done
}

@test "what QEMU's images went through, we read alike and go on with" {
	# shellcheck disable=SC2054	# the commas are qemu-img's
	# shellcheck disable=SC2054	# the commas are qcow2's
	local -a options=(
		compat=1.1
		compat=1.1,lazy_refcounts=on
		compat=1.1,refcount_bits=1
		compat=1.1,refcount_bits=2,cluster_size=512
		compat=1.1,refcount_bits=4,cluster_size=1k
		compat=1.1,refcount_bits=8
		compat=1.1,refcount_bits=32,cluster_size=2M
		compat=1.1,refcount_bits=64,cluster_size=4k
		compat=1.1,preallocation=metadata
		compat=1.1,preallocation=full,cluster_size=8k
		compat=1.1,compression_type=zstd
	)
	local s=$SEED o
	for o in "${options[@]}"; do
		RANDOM=$s
		random_raw model.raw 6
		qemu-img convert -q -f raw -O qcow2 -o "$o" model.raw a.qcow2
		for i in 1 2 3 4 5 6 7 8; do
			printf 'write -q -P %d %dk %dk\n' $((RANDOM % 256)) \
				$((RANDOM % 5800)) $((RANDOM % 200 + 1))
			printf 'write -q -z %s%dk %dk\n' "$([[ $((RANDOM % 2)) = 0 ]] && echo -u\ )" \
				$((RANDOM % 5800)) $((RANDOM % 200 + 1))
			printf 'discard -q %dk %dk\n' $((RANDOM % 5800)) $((RANDOM % 200 + 1))
		done >commands
		qemu-io -d unmap -f qcow2 a.qcow2 <commands >/dev/null
		qemu-img convert -q -f qcow2 -O raw a.qcow2 model.raw
		live same a.qcow2 model.raw || fails "$s" "same $o"
		live more "$s" a.qcow2 model.raw || fails "$s" "more $o"
		qemu-img check -q a.qcow2 || fails "$s" "check $o"
		qemu-img compare -q -f qcow2 -F raw a.qcow2 model.raw || fails "$s" "compare $o"
		s=$((s + 1))
	done
}

@test "compressed clusters, zlib and zstd, are read, and written over" {
	for o in compression_type=zlib compression_type=zstd \
		compression_type=zlib,cluster_size=512 compression_type=zstd,cluster_size=2M; do
		RANDOM=$SEED
		random_raw model.raw 6
		qemu-img convert -q -c -f raw -O qcow2 -o "$o" model.raw a.qcow2
		live same a.qcow2 model.raw || fails "$SEED" "same $o"
		live more "$SEED" a.qcow2 model.raw || fails "$SEED" "more $o"
		qemu-img check -q a.qcow2 || fails "$SEED" "check $o"
		qemu-img compare -q -f qcow2 -F raw a.qcow2 model.raw || fails "$SEED" "compare $o"
	done
}

@test "version 2 is read, with backing file and compressed, and not written" {
	random_raw base.raw 6
	qemu-img convert -q -c -f raw -O qcow2 -o compat=0.10 base.raw below.qcow2
	qemu-img create -q -f qcow2 -o compat=0.10 -b below.qcow2 -F qcow2 a.qcow2 7M
	qemu-io -f qcow2 -c 'write -q -P 7 100k 300k' -c 'write -q -P 9 6100k 100k' a.qcow2
	qemu-img convert -q -f qcow2 -O raw a.qcow2 model.raw
	live same a.qcow2 model.raw
	run live more 1 a.qcow2 model.raw
	[ "$status" -eq 1 ]
	[[ $output = *'version 2, which can only be read'* ]]
}

@test "an internal snapshot stays what it is while the disk goes on" {
	for ((s = SEED; s < SEED + 6; s++)); do
		rm -f ./*
		RANDOM=$s
		live make "$s" || fails "$s" history
		i=$(top)
		qemu-img snapshot -c one "$i"
		cp model.raw one.raw
		live more "$s" "$i" model.raw || fails "$s" more
		qemu-img check -q "$i" || fails "$s" check
		qemu-img compare -q -f qcow2 -F raw "$i" model.raw || fails "$s" compare
		qemu-img snapshot -c two "$i"
		cp model.raw two.raw
		live more "$((s + 1000))" "$i" model.raw || fails "$s" more again
		qemu-img check -q "$i" || fails "$s" check again
		qemu-img compare -q -f qcow2 -F raw "$i" model.raw || fails "$s" compare again
		for snapshot in two one; do
			qemu-img convert -q -l "snapshot.name=$snapshot" -O raw "$i" was.raw
			# (a snapshot is read with the size the disk has now)
			cmp -n "$(stat -c %s $snapshot.raw)" was.raw "$snapshot.raw" ||
				fails "$s" "snapshot $snapshot"
		done
	done
}

@test "an image that QEMU left dirty is repaired before it is written" {
	qemu-img create -q -f qcow2 -o lazy_refcounts=on a.qcow2 6M
	# killed before it could count
	qemu-io -f qcow2 -c 'write -q -P 5 0 3M' -c flush -c 'sigraise 9' a.qcow2 || :
	qemu-img info a.qcow2 | grep -q 'dirty\|lazy'
	head -c 3M /dev/zero | tr '\0' '\005' >model.raw
	truncate -s 6M model.raw
	live same a.qcow2 model.raw
	live more "$SEED" a.qcow2 model.raw
	qemu-img check -q a.qcow2
	qemu-img compare -q -f qcow2 -F raw a.qcow2 model.raw
}

@test "power loss costs clusters at most, never what was flushed" {
	for ((s = SEED; s < SEED + ${LOSSES:-16}; s++)); do
		rm -f ./*
		"$VM_BIN/tests/block/power" "$s" || fails "$s" power
		# 3: nothing but leaks
		run qemu-img check -q crash.qcow2
		((status == 0 || status == 3)) || fails "$s" "check: $output"
	done
}

@test "layers that were frozen and merged at random show what they showed, to QEMU too" {
	local s name format
	for ((s = SEED; s < SEED + ${LAYERS:-8}; s++)); do
		rm -f ./*
		"$VM_BIN/tests/block/layers" "$s" || fails "$s" layers
		while read -r name; do
			format=${name##*.}
			[[ $format = raw ]] || qemu-img check -q "$name" || fails "$s" check "$name"
			[[ ! -e $name.model ]] ||
				qemu-img compare -q -f "$format" -F raw "$name" "$name.model" ||
				fails "$s" compare "$name"
		done <names
	done
}

@test "power loss during a merge changes nothing of what its layers show" {
	local s
	for ((s = SEED; s < SEED + ${LOSSES:-16}; s++)); do
		rm -f ./*
		"$VM_BIN/tests/block/power" "$s" merge || fails "$s" power merge
		run qemu-img check -q crash.qcow2
		((status == 0 || status == 3)) || fails "$s" "check: $output"
	done
}

@test "a merger disturbs nobody who reads, QEMU neither, and suffers no writer and no other merger" {
	local hold=("$VM_BIN/tests/block/layers" hold)
	qemu-img create -q -f qcow2 a.qcow2 1M
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
	"${hold[@]}" merge a.qcow2 qemu-io -r -f qcow2 -c 'read -q 0 64k' a.qcow2
	"${hold[@]}" merge a.qcow2 qemu-io -f qcow2 -c 'write -q 0 64k' b.qcow2
	"${hold[@]}" merge a.qcow2 "${hold[@]}" read a.qcow2 true
	"${hold[@]}" read a.qcow2 "${hold[@]}" merge a.qcow2 true
	run "${hold[@]}" merge a.qcow2 qemu-io -f qcow2 -c 'write -q 0 64k' a.qcow2
	[ "$status" -ne 0 ]
	[[ $output = *lock* ]]
	for pair in 'merge merge' 'merge write' 'write merge' 'write read' 'read write'; do
		run "${hold[@]}" "${pair% *}" a.qcow2 "${hold[@]}" "${pair#* }" a.qcow2 true
		[ "$status" -eq 1 ]
		[[ $output = *'in use by another process'* ]]
	done
	# qemu-io has b.qcow2 open to write, and a.qcow2 as its backing file
	mkfifo commands
	qemu-io -f qcow2 b.qcow2 <commands >answers &
	local pid=$!
	exec 7>commands
	echo 'write -q 0 64k' >&7
	until "${hold[@]}" read b.qcow2 true | grep -q 'in use'; do sleep 0.05; done
	"${hold[@]}" merge a.qcow2 true
	run "${hold[@]}" write a.qcow2 true
	[[ $output = *'in use by another process'* ]]
	exec 7>&-
	wait "$pid"
}
