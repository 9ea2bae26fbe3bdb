#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Snapshots from one state directory to another: whole and as differences, cut,
# changed, in the wrong order, where there is no room, by a killed vm-recv.
# shellcheck disable=SC2154	# bats sets $stderr

bats_require_minimum_version 1.5.0
load lib

setup() {
	scratch
	HERE=$VM_STATE THERE=$PWD/there
}

# there COMMAND... : with the other state directory
there() { VM_STATE=$THERE "$@"; }

freeze() { "$VM_BIN/tests/cli/freeze" "$@"; }

# top VM : the path of the file its disk is written to
top() {
	local path
	path=$(sed -n 's/^disk0=\([^,]*\).*/\1/p' "$VM_STATE/vms/$1/config")
	echo "$VM_STATE/vms/$1/$path"
}

# frozen VM SNAP [STATE] : the same of a snapshot
frozen() {
	local dir=$VM_STATE/vms/$1
	echo "$dir/$(sed -n 's/^disk0=\([^,]*\).*/\1/p' "$dir/snap/$2/config")"
}

# format FILE
format() { [[ $1 = *.raw ]] && echo raw || echo qcow2; }

# change VM NUMBER KIB OFFSET_KIB : writes a pattern into its disk
change() {
	local file
	file=$(top "$1")
	qemu-io -f "$(format "$file")" -c "write -P $2 ${4}k ${3}k" "$file" >/dev/null
}

# same SNAP : it is the same here and there
same() {
	local a b
	a=$(frozen web1 "$1")
	b=$(there frozen web1 "$1")
	qemu-img compare -f "$(format "$a")" -F qcow2 "$a" "$b" >compare.out || {
		cat compare.out
		return 1
	}
	qemu-img check -q "$b"
}

# no_partial STATE : nothing waits to be gone on with
no_partial() { [ -z "$(ls -A "$1/partial" 2>/dev/null)" ]; }

# vm : web1 with a disk of 10M and the snapshot s0
vm() {
	vm-create web1 --disk 10M -c 2 -m 256M >/dev/null
	change web1 17 3000 100
	change web1 18 64 8000
	freeze web1 s0 1795000000
}

@test "a snapshot becomes a VM elsewhere, whose state it is, with what --size said" {
	vm
	run vm-send --size web1@s0
	size=$output
	vm-send web1@s0 >s0.vms
	[ "$(stat -c %s s0.vms)" = "$size" ]
	run there vm-recv <s0.vms
	[ "$status" = 0 ]
	[ "$output" = web1@s0 ]
	same s0
	[ "$(there vm-ls -q)" = web1 ]
	[ "$(there col web1 memory)" = $((256 << 20)) ]
	qemu-img compare -q "$(there top web1)" "$(frozen web1 s0)"
	no_partial "$THERE"
	run there vm-recv <s0.vms
	[ "$status" = 12 ]
	there vm-recv web2 <s0.vms
	[ "$(there vm-ls -q | tail -n 1)" = web2 ]
}

@test "tar and bsdtar list and extract a stream, and sha256sum finds its sums right" {
	vm
	vm-send web1@ >s0.vms
	tar -tf s0.vms >list
	grep -qx web1@s0/vm-stream list
	grep -qx 'web1@s0/disk0/0000000000019000' list
	tar -xf s0.vms
	(cd web1@s0 && sha256sum --quiet --strict -c sums/*)
	if command -v bsdtar; then bsdtar -tf s0.vms | cmp - list; fi
}

@test "a whole one and ten differences are the same elsewhere; each is as large as what changed" {
	vm
	vm-send web1@s0 | there vm-recv
	for i in {1..10}; do
		change web1 "$((30 + i))" 128 $((i * 640))
		[ $((i % 3)) != 0 ] || qemu-io -c "write -z 3200k 64k" "$(top web1)" >/dev/null
		freeze web1 "s$i" $((1795000000 + i))
		run vm-send --size -i "@s$((i - 1))" "web1@s$i"
		echo "$i: $output"
		((output <= 110 * 1310 || output <= (128 + 64) * 1024 * 11 / 10))
		vm-send -i "@s$((i - 1))" "web1@s$i" | there vm-recv
		same "s$i"
	done
	for i in {0..10}; do same "s$i"; done
	# the present state went along, with one layer over the last
	qemu-img compare -q "$(there top web1)" "$(there frozen web1 s10)"
	grep -qx parent=s10 "$THERE/vms/web1/config"
	qemu-img check -q "$(there top web1)"
	no_partial "$THERE"
}

@test "a difference goes over several snapshots, and all may be in one stream" {
	vm
	for i in 1 2 3; do
		change web1 "$i" 64 $((i * 64))
		freeze web1 "s$i" $((1795000000 + i))
	done
	{ vm-send web1@s0; vm-send -i @s0 web1@s2; vm-send -i web1@s2 web1@; } | there vm-recv
	same s0
	same s2
	same s3
	run there vm-recv <<<"x"
	[ "$status" = 13 ]
}

@test "several VMs go in one stream, by names on standard input too" {
	vm
	vm-create web2 --disk 1M >/dev/null
	freeze web2 s0 1795000000
	printf 'web1@s0\nweb2@s0\n' | vm-send | there vm-recv >out
	[ "$(<out)" = "$(in_lines web1@s0 web2@s0)" ]
	vm-send web1@ web2@ >both.vms
	run there vm-recv --verify <both.vms
	[ "$output" = "$(in_lines web1@s0 web2@s0)" ]
	run there vm-recv other <both.vms
	[ "$status" = 2 ]
}

@test "in the wrong order, or onto another base, it is 13 and changes nothing" {
	vm
	change web1 1 64 0
	freeze web1 s1 1795000001
	change web1 2 64 64
	freeze web1 s2 1795000002
	vm-send web1@s0 | there vm-recv
	find "$THERE" -type f -exec sha256sum {} + | sort >before
	run there vm-recv < <(vm-send -i @s1 web1@s2)
	[ "$status" = 13 ]
	[[ $output = *web1@s1* ]]
	# another snapshot of that name and that second
	vm-create web2 --disk 10M >/dev/null
	freeze web2 s0 1795000000
	freeze web2 s1 1795000001
	run there vm-recv web1 < <(vm-send -i @s0 web2@s1)
	[ "$status" = 13 ]
	[[ $output = *"another snapshot"* ]]
	run there vm-recv < <(vm-send -i @s0 web2@s1)
	[ "$status" = 13 ]
	no_partial "$THERE"
	find "$THERE" -type f -exec sha256sum {} + | sort | cmp - before
}

@test "a VM that was changed since keeps its state when a difference comes" {
	vm
	change web1 1 64 0
	freeze web1 s1 1795000001
	vm-send web1@s0 | there vm-recv
	VM_STATE=$THERE change web1 99 64 512
	there vm-send -n web1@s0
	cp "$THERE/vms/web1/config" before
	vm-send -i @s0 web1@s1 | there vm-recv
	same s1
	cmp "$THERE/vms/web1/config" before
	qemu-io -r -c 'read -P 99 512k 64k' "$(there top web1)"
}

@test "a difference that is there already is no error" {
	vm
	change web1 1 64 0
	freeze web1 s1 1795000001
	vm-send web1@s0 | there vm-recv
	vm-send -i @s0 web1@s1 >s1.vms
	there vm-recv <s1.vms
	run there vm-recv <s1.vms
	[ "$status" = 0 ]
	[ "$output" = web1@s1 ]
	same s1
}

@test "what was cut off is kept, and gone on with by a token" {
	vm
	vm-send web1@s0 >s0.vms
	size=$(stat -c %s s0.vms)
	for cut in 1 512 1000 1536 4000 20000 $((size / 2)) $((size - 2000)) $((size - 1025)) $((size - 1024)) $((size - 1)); do
		rm -rf "$THERE"
		run there vm-recv < <(head -c "$cut" s0.vms)
		echo "$cut: $output"
		[ "$status" = 13 ]
		if [[ $cut -ge $((size - 1024)) ]]; then	# all had come
			same s0
			continue
		fi
		[ -z "$(there vm-ls -q)" ]
		token=$(there vm-recv --token web1 2>/dev/null) || { ((cut < 2048)) && continue; }
		[[ $output = *"--resume $token"* ]]
		vm-send --resume "$token" >rest.vms
		[ "$(stat -c %s rest.vms)" -lt "$size" ]
		[ "$(there vm-recv <rest.vms)" = web1@s0 ]
		same s0
		no_partial "$THERE"
	done
}

@test "a token goes on with a difference, and with the VMs that come after" {
	vm
	vm-create web2 --disk 1M >/dev/null
	freeze web2 s0 1795000000
	vm-send web1@s0 | there vm-recv
	change web1 1 640 0
	freeze web1 s1 1795000001
	vm-send -i @s0 web1@s1 >s1.vms
	run there vm-recv < <(head -c 100000 s1.vms)
	[ "$status" = 13 ]
	vm-send --resume "$(there vm-recv --token web1)" | there vm-recv
	same s1
	vm-send web1@s0 web1@s1 web2@s0 >all.vms
	rm -rf "$THERE"
	run there vm-recv < <(head -c 100000 all.vms)
	token=$(there vm-recv --token web1)
	run there vm-recv < <(vm-send --resume "$token" web1@s0 web2@s0)
	[ "$output" = "$(in_lines web1@s0 web2@s0)" ]
	run vm-send --resume "$token" web2@s0
	[ "$status" = 2 ]
	run vm-send --resume "${token%?}0x" web1@s0
	[ "$status" = 2 ]
}

@test "a byte that is changed anywhere is 13, and there is no VM" {
	vm-create web1 --disk 64K >/dev/null
	change web1 7 1 4
	freeze web1 s0 1795000000
	vm-send web1@s0 >s0.vms
	size=$(stat -c %s s0.vms)
	for ((i = 3; i < size; i += 397)); do
		cp s0.vms bad.vms
		byte=$(od -An -tu1 -j "$i" -N 1 bad.vms)
		put bad.vms "$i" "\\$(printf %o $((byte ^ 1 << (i % 8))))"
		run there vm-recv <bad.vms
		[ "$status" = 13 ] || { echo "byte $i: $status $output"; false; }
		((i < size - 1024)) || rm -rf "$THERE"
	done
	[ -z "$(there vm-ls -q)" ]
}

@test "kernel and initrd go along, and no path of the sender" {
	head -c 5000000 /dev/urandom >initrd
	cp "$(kernel)" kernel
	vm-create web1 --disk 1M --kernel kernel --initrd initrd >/dev/null
	freeze web1 s0 1795000000
	vm-send web1@s0 | there vm-recv
	cmp kernel "$THERE/vms/web1/kernel"
	cmp initrd "$THERE/vms/web1/initrd"
	run grep -r "$PWD" "$THERE/vms/web1/config" "$THERE/vms/web1/snap/s0/config"
	[ "$status" = 1 ]
	grep -qx kernel=kernel "$THERE/vms/web1/config"
}

@test "kernels are in a difference if they changed; read-only disks are sent once" {
	cp "$(kernel)" kernel
	truncate -s 1M ro.raw
	put ro.raw 1000 hello
	touch -d '2020-01-01' kernel ro.raw
	vm-create web1 --disk 1M --disk "$PWD/ro.raw,ro" --kernel kernel >/dev/null
	freeze web1 s0 "$(($(date +%s) + 10))"
	vm-send web1@s0 | there vm-recv
	qemu-img compare -q -F raw "$THERE/vms/web1/disk/disk1.qcow2" ro.raw
	freeze web1 s1 "$(($(date +%s) + 11))"
	vm-send -i @s0 web1@s1 >s1.vms
	tar -tf s1.vms >list
	run grep -E 'kernel/|disk1/' list
	[ "$status" = 1 ]
	there vm-recv <s1.vms
	grep '^disk1=disk/disk1.qcow2,' "$THERE/vms/web1/snap/s1/config"
	cat kernel "$(kernel)" >other
	sed -i "s,^kernel=.*,kernel=$PWD/other," "$VM_STATE/vms/web1/config"
	freeze web1 s2 "$(($(date +%s) + 12))"
	vm-send -i @s1 web1@s2 | there vm-recv
	cmp other "$THERE/vms/web1/kernel.s2"
	cmp kernel "$THERE/vms/web1/kernel"
	grep -qx kernel=kernel.s2 "$THERE/vms/web1/config"
	grep -qx kernel=kernel "$THERE/vms/web1/snap/s1/config"
}

@test "a live snapshot goes along with its memory, and what changed of that" {
	vm
	truncate -s 8M mem
	put mem 5000000 hello
	printf 'state' >dev
	freeze web1 live1 1795000001 dev mem
	put mem 6000000 again
	put mem 5000000 '\0\0\0\0\0'
	printf 'other' >dev
	freeze web1 live2 1795000002 dev mem
	vm-send web1@live1 | there vm-recv
	grep -qx restore=live1 "$THERE/vms/web1/config"
	run vm-send -n -i @live1 web1@live2
	((output < 20000))
	vm-send -i @live1 web1@live2 | there vm-recv
	for s in live1 live2; do
		cmp "$HERE/vms/web1/snap/$s/mem" "$THERE/vms/web1/snap/$s/mem"
		cmp "$HERE/vms/web1/snap/$s/dev" "$THERE/vms/web1/snap/$s/dev"
	done
	grep -qx restore=live2 "$THERE/vms/web1/config"
	(($(stat -c %b "$THERE/vms/web1/snap/live1/mem") < 100))
}

@test "a disk over an image, or over one elsewhere, is sent with all that shows" {
	vm
	qemu-img convert -O qcow2 "$(frozen web1 s0)" image.qcow2
	vm-image import image.qcow2 --name img >/dev/null
	vm-create over --image img >/dev/null
	change over 3 64 0
	freeze over s0 1795000000
	vm-send over@ | there vm-recv
	qemu-img convert -O raw "$(frozen over s0)" want.raw
	qemu-img compare -q "$(there frozen over s0)" want.raw
	truncate -s 4M "$BATS_TEST_TMPDIR/out.raw"
	vm-create out --disk "$BATS_TEST_TMPDIR/out.raw" >/dev/null
	qemu-io -f raw -c 'write -P 5 0 64k' out.raw >/dev/null
	freeze out s0 1795000000
	change out 6 64 64
	freeze out s1 1795000001
	{ vm-send out@s0; vm-send -i @s0 out@s1; } | there vm-recv
	qemu-io -r -c 'read -P 5 0 64k' -c 'read -P 6 64k 64k' "$(there top out)"
	run grep -r base= "$THERE/vms"
	[ "$status" = 1 ]
}

@test "a difference goes onto a clone in the same state, and rests on what that does" {
	vm
	truncate -s 4M "$BATS_TEST_TMPDIR/out.raw"
	vm-create out --disk "$BATS_TEST_TMPDIR/out.raw" >/dev/null
	freeze out s0 1795000000
	change out 6 64 64
	freeze out s1 1795000001
	vm-send -i @s0 out@s1 >s1.vms
	cp -a "$VM_STATE/vms/out" "$VM_STATE/vms/copy"
	rm -r "$VM_STATE/vms/copy/snap/s1"
	vm-recv copy <s1.vms
	grep -q base= "$VM_STATE/vms/copy/snap/s1/config"
	qemu-img compare -q "$(frozen copy s1)" "$(frozen out s1)"
}

@test "while the VM's snapshots are in use what came waits, and is soon done then" {
	vm
	change web1 1 640 0
	freeze web1 s1 1795000001
	vm-send web1@s0 | there vm-recv
	exec {lock}<>"$THERE/vms/web1/snap/.lock"
	python3 -c 'import fcntl, struct, sys
fcntl.fcntl(int(sys.argv[1]), 37, struct.pack("hhqqi", 1, 0, 0, 0, 0))' "$lock"
	run there vm-recv < <(vm-send -i @s0 web1@s1)
	echo "$output"
	[ "$status" = 11 ]
	exec {lock}>&-
	vm-send --resume "$(there vm-recv --token web1)" >rest.vms
	[ "$(stat -c %s rest.vms)" -lt 4000 ]
	there vm-recv <rest.vms
	same s1
}

@test "no snapshot, no VM, a terminal, a full disk, a reader that left: said, each with its code" {
	vm
	vm-create web2 >/dev/null
	run vm-send web2
	[ "$status" = 10 ]
	[[ $output = *vm-snap* ]]
	run vm-send web1@x
	[ "$status" = 10 ]
	[ "$output" = "vm-send: web1@x: no such snapshot" ]
	run vm-send web3
	[ "$status" = 10 ]
	run script -qec 'vm-send web1' /dev/null
	[ "$status" = 2 ]
	run -1 --separate-stderr bash -c 'vm-send web1@s0 >/dev/full'
	[ "$stderr" = "vm-send: web1@s0: standard output: No space left on device" ]
	run bash -c 'vm-send web1@s0 | head -c 1 >/dev/null; exit "${PIPESTATUS[0]}"'
	[ "$status" = 141 ]
	run vm-recv --token web1
	[ "$status" = 10 ]
	run vm-recv --token
	[ "$status" = 2 ]
}

# forge SCRIPT : the stream s0.vms with its config changed by sed, and all sums
# right (forge.c)
forge() {
	tar -xOf s0.vms web1@s0/config | sed "$1" >forged.config
	"$VM_BIN/tests/cli/forge" forged.config <s0.vms >forged.vms
}

@test "a config that names files of the host names ours when it has come" {
	vm
	vm-send web1@s0 >s0.vms
	forge 's,^disk0=[^\,]*,disk0=/etc/passwd,; $a kernel=/etc/shadow\ninitrd=image:x\nhook=/bin/sh\nrestore=s0'
	there vm-recv --verify <forged.vms
	there vm-recv <forged.vms
	run grep -rE 'etc|image|hook|restore' "$THERE/vms/web1/config" "$THERE/vms/web1/snap/s0/config"
	[ "$status" = 1 ]
	same s0
	for wrong in '$a disk1=disk/disk0.qcow2' '/^disk0/d' 's/^cpus=.*/cpus=9999/'; do
		forge "$wrong"
		run there vm-recv web2 <forged.vms
		echo "$wrong: $status $output"
		[[ $status = 13 || $status = 6 || $status = 2 ]]
		no_partial "$THERE"
	done
	[ "$(there vm-ls -q)" = web1 ]
}

@test "vm-recv that is killed at any time leaves nothing that is half, and works again" {
	vm
	head -c 5M /dev/urandom >noise
	qemu-io -f qcow2 -c "write -s noise 4M 5M" "$(top web1)" >/dev/null
	freeze web1 s1 1795000001
	vm-send web1@s0 >s0.vms
	vm-send -i @s0 web1@s1 >s1.vms
	there vm-recv <s0.vms
	for ms in 001 005 010 015 020 030 050; do
		timeout -s KILL "0.$ms" env VM_STATE="$THERE" vm-recv <s1.vms || :
		if [[ -d $THERE/vms/web1/snap/s1 ]]; then same s1; fi
		same s0
		qemu-img check -q "$(there top web1)"
	done
	there vm-recv <s1.vms
	same s1
	no_partial "$THERE"
}

# -- no room --

inside() {
	run unshare -m bash -euc "$(declare -f); $1"
	echo "$output"
	[ "$status" = 0 ]
}

sweep() {
	local room=100 failed=0 good=0 rc
	for ((; good < 2; room += 400)); do
		((room < 9000))
		umount full 2>/dev/null || :
		mount -t tmpfs -o size=${room}k none full
		rc=0
		vm-recv <s0.vms >out 2>err || rc=$?
		if [[ $rc = 0 ]]; then
			good=$((good + 1))
			continue
		fi
		failed=$((failed + 1))
		[ "$rc" = 1 ]
		grep -q 'No space left on device' err
		[ ! -s out ]
		[ -z "$(vm-ls -q)" ]
		[ -z "$(ls -A "$VM_STATE/vms" 2>/dev/null)" ]
		mount -o remount,size=64m full
		vm-recv <s0.vms >out
		qemu-img compare -q "$VM_STATE/vms/web1/disk/disk0.qcow2" "$FROM"
	done
	((failed >= 2))
}

@test "where there is no room it is 1, there is no VM, and with room it works" {
	need_mounts
	vm
	vm-send web1@s0 >s0.vms
	mkdir full
	FROM=$(frozen web1 s0) VM_STATE=$PWD/full/state
	export FROM VM_STATE
	inside sweep
}

@test "a stream of format 1, as it was made at first, is read" {
	there vm-recv <"$BATS_TEST_DIRNAME/../golden/stream-1.vms"
	[ "$(there vm-ls -q)" = golden ]
	qemu-io -r -c 'read -P 17 64k 8k' -c 'read -P 0 0 64k' "$(there top golden)"
	there vm-recv <"$BATS_TEST_DIRNAME/../golden/stream-1-from.vms"
	qemu-io -r -c 'read -P 18 64k 4k' -c 'read -P 0 68k 4k' "$(there top golden)"
}
