#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vm-set: changes the config, whole or not at all.
# shellcheck disable=SC2154	# bats sets output, stderr, lines

load lib

setup() {
	scratch
	vm-create a b
}
teardown() { unfake; }

conf() { cat "$VM_STATE/vms/$1/config"; }

@test "values change in place, comments and order survive" {
	in_lines '# mine' '' 'cpus=1' '# why' 'memory=1G' >"$VM_STATE/vms/a/config"
	run -0 --separate-stderr vm-set a cpus=2 note='x = y' memory=
	[ "$output" = a ]
	[ -z "$stderr" ]
	[ "$(conf a)" = "$(in_lines '# mine' '' cpus=2 '# why' 'note=x = y')" ]
}

@test "several VMs, and names from a pipe" {
	run -0 vm-set a memory=1G b
	[ "$(sort <<<"$output")" = "$(in_lines a b)" ]
	[ "$(col b memory)" = $((1 << 30)) ]
	run -0 bash -c 'vm-ls -q | vm-set memory=2G'
	[ "$(col b memory)" = $((2 << 30)) ]
	run -0 bash -c 'echo b | vm-set - memory=3G'
	[ "$(col b memory)" = $((3 << 30)) ]
	[ "$(col a memory)" = $((2 << 30)) ]
}

@test "the whole result is checked; a bad value changes nothing" {
	old=$(conf a)
	for bad in memory=0 memory=1P cpus=255 kernel=/none disk0=/ disk16=/x; do
		run -6 vm-set a note=new $bad
		[ "$(conf a)" = "$old" ]
	done
	for bad in memory=12x cpus=two console=tty =x; do
		run -2 vm-set a note=new $bad
		[ "$(conf a)" = "$old" ]
	done
	run -6 vm-set a memory=0
	[ "$output" = "vm-set: a: memory 0: at least 2M" ]
}

@test "an unknown key is refused unless it is there already, and kept" {
	run -2 vm-set a memroy=1G
	[ "$output" = "vm-set: a: unknown key 'memroy' (memory?)" ]
	echo 'future=1' >>"$VM_STATE/vms/a/config"
	run -0 --separate-stderr vm-set a future=2 cpus=2
	[ "$stderr" = "vm-set: a: unknown key 'future' is kept" ]
	[[ $(conf a) == *future=2 ]]
	run -0 vm-set a future=
	[[ $(conf a) != *future* ]]
}

@test "nothing to set is a usage error, nothing to change is none" {
	run -2 vm-set a
	run -2 vm-set
	ino=$(stat -c %i "$VM_STATE/vms/a/config")
	run -0 vm-set a memory=512M note=
	[ "$(stat -c %i "$VM_STATE/vms/a/config")" = "$ino" ]
}

@test "--dry-run checks and changes nothing" {
	run -0 vm-set --dry-run a memory=1G
	[ "$output" = a ]
	[ "$(col a memory)" = $((512 << 20)) ]
	run -6 vm-set --dry-run a memory=0
}

@test "a running VM's config changes from the next boot, and that is said" {
	fake a run
	run -0 --separate-stderr vm-set a memory=1G cpus=1 note=x
	[ "$output" = a ]
	[[ $stderr == *"vm-set: a: memory: from the next boot"* ]]
	[[ $stderr != *cpus* ]]
	[ "$(col a memory)" = $((1 << 30)) ]
}

@test "one word of a disk is set, replaced, taken out; the rest stays" {
	truncate -s 1M d.img
	vm-set a "disk0=$PWD/d.img,serial=S"
	run -0 --separate-stderr vm-set a disk0.iops=500/1000 disk0.ro=yes
	[ -z "$stderr" ]
	[[ $(conf a) == *"disk0=$PWD/d.img,serial=S,iops=500/1000,ro" ]]
	run -0 vm-set a disk0.iops=7 disk0.serial=
	[[ $(conf a) == *"disk0=$PWD/d.img,ro,iops=7" ]]
	run -0 vm-set a disk0.ro=no disk0.iops=
	[[ $(conf a) == *"disk0=$PWD/d.img" ]]
	run -2 vm-set a disk0.iosp=5
	[ "$output" = "vm-set: a: unknown key 'disk0.iosp'" ]
	run -6 vm-set a disk0.cache=none
	[[ $output == "vm-set: a: disk0: cache 'none': not writeback or"* ]]
	run -6 vm-set a disk1.iops=5
	[ "$output" = "vm-set: a: disk1: there is no such disk" ]
	run -2 vm-set a disk0.ro=perhaps
	run -2 vm-set a diskx.ro=yes
	run -6 vm-set a disk0.block_size=1024
	vm-set a disk0=
	[[ $(conf a) != *disk0* ]]
}

@test "the disk of a VM at rest grows, and only grows" {
	truncate -s 1M d.img
	qemu-img create -q -f qcow2 q.img 1M
	vm-set a "disk0=$PWD/d.img" "disk1=$PWD/q.img,format=qcow2"
	run -0 --separate-stderr vm-set a disk0.size=3M disk1.size=1G
	[ "$output" = a ]
	[ -z "$stderr" ]
	[ "$(stat -c %s d.img)" = $((3 << 20)) ]
	[ "$(qemu-img info --output json q.img | jq '."virtual-size"')" = $((1 << 30)) ]
	run -0 qemu-img check q.img
	run -0 vm-set a disk0.size=3M
	run -6 vm-set a disk0.size=2M
	[ "$output" = "vm-set: a: disk0: a disk only grows, and it has 3145728 bytes" ]
	[ "$(stat -c %s d.img)" = $((3 << 20)) ]
	run -6 vm-set a disk0.size=$(((3 << 20) + 1))
	run -2 vm-set a disk0.size=big
	run -2 vm-set a disk0.size=
	run -6 vm-set a disk0.size=0
	run -0 vm-set --dry-run a disk0.size=4M
	[ "$(stat -c %s d.img)" = $((3 << 20)) ]
	[[ $(conf a) != *size* ]]
	vm-set a disk0.ro=yes
	run -4 vm-set a disk0.size=4M
	[[ $output == "vm-set: a: disk0: "*"read-only" ]]
}

@test "a VM another command has is busy; --lock-wait waits" {
	fake a busy
	run -11 vm-set a memory=1G
	(sleep 0.3; unfake) 3>&- &
	run -0 vm-set a memory=1G --lock-wait 10
}

@test "a value that cannot be can be repaired" {
	echo 'memory=lots' >"$VM_STATE/vms/a/config"
	run -0 vm-set a memory=1G
	[ "$(conf a)" = memory=1G ]
}

@test "many at once lose no change" {
	for i in 1 2 3 4 5 6 7 8; do
		vm-set a "disk$i=/dev/null" --lock-wait 20 2>/dev/null 3>&- || :
	done
	for i in 1 2 3 4 5 6 7 8; do
		echo "k$i=0"
	done >>"$VM_STATE/vms/a/config"
	pids=()
	for i in 1 2 3 4 5 6 7 8; do
		vm-set a "k$i=1" --lock-wait 20 >/dev/null 2>&1 3>&- &
		pids+=($!)
	done
	wait "${pids[@]}"
	[ "$(grep -c '^k.=1' "$VM_STATE/vms/a/config")" = 8 ]
}

@test "a snapshot's note and protection can be set, and nothing else of it" {
	dir=$VM_STATE/vms/a/snap/s1
	mkdir -p "$dir"
	cp "$VM_STATE/vms/a/config" "$dir"
	echo created=5 >"$dir/meta"
	run -0 vm-set a@s1 note='a line, with = and ,' protected=yes
	[ "$output" = a@s1 ]
	[ "$(vm-ls -t snap -H -p -o created,note,protected a@s1)" = $'5\ta line, with = and ,\tyes' ]
	run -0 vm-set a@ protected=no note=
	[ "$(vm-ls -t snap -H -p -o created,note,protected a@s1)" = $'5\t-\t-' ]
	run -2 vm-set a@s1 memory=1G
	[[ $output == "vm-set: a@s1: unknown key 'memory' of a snapshot; "* ]]
	run -2 vm-set a@s1 protected=maybe
	run -2 vm-set a@s1 note=$'two\nlines'
	run -10 vm-set a@x note=x
	run -10 vm-set x@s1 note=x
	run -0 vm-set --dry-run a@s1 note=x
	[ "$(vm-ls -t snap -H -o note)" = - ]
}
