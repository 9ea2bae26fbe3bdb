#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vm-create: what it makes, and what it refuses before it makes anything.
# shellcheck disable=SC2012,SC2086,SC2154	# names are plain; some words are to be split; bats sets output

load lib

setup() { scratch; }

conf() { cat "$VM_STATE/vms/$1/config"; }
nothing() { [ -z "$(vm-ls -q)" ] && [ -z "$(ls -A "$VM_STATE/vms" 2>/dev/null)" ]; }

@test "the config is the defaults and what was chosen, in order" {
	run -0 vm-create web1
	[ "$output" = web1 ]
	[ "$(conf web1)" = "$(in_lines '# web1' cpus=1 memory=512M machine=pv)" ]
	echo x >initrd
	vm-create web2 -c 2 -m 1.5G --kernel "$(kernel)" --initrd ./initrd --append 'quiet a=b' \
		--console virtio --disk 1G --set note='a b' --set cpus=3
	[ "$(conf web2)" = "$(in_lines '# web2' cpus=3 memory=1.5G machine=pv "kernel=$(kernel)" \
		"initrd=$PWD/initrd" 'append=quiet a=b' console=virtio \
		'disk0=disk/disk0.raw,format=raw' 'note=a b')" ]
}

@test "a size makes a sparse disk in the VM's directory, a file stays where it is" {
	truncate -s 1M data
	vm-create a --disk 10G --disk ./data,ro,serial=x --disk data --disk 512
	[ "$(stat -c %s "$VM_STATE/vms/a/disk/disk0.raw")" = $((10 << 30)) ]
	[ "$(stat -c %b "$VM_STATE/vms/a/disk/disk0.raw")" = 0 ]
	[ "$(grep ^disk <<<"$(conf a)")" = "$(in_lines 'disk0=disk/disk0.raw,format=raw' \
		"disk1=$PWD/data,ro,serial=x,format=raw" "disk2=$PWD/data,format=raw" \
		'disk3=disk/disk3.raw,format=raw')" ]
	[ "$(col a disk)" = $(((10 << 30) + (2 << 20) + 512)) ]
}

@test "a file whose name could be a size is written with a slash" {
	truncate -s 1M 1G
	vm-create a --disk ./1G
	[ "$(col a disk)" = 1048576 ]
}

@test "an existing name is 12, others are made; --if-missing changes nothing" {
	vm-create a -m 1G
	run -12 vm-create a
	[ "$output" = "vm-create: a: already exists" ]
	run -3 --separate-stderr vm-create a b
	[ "$output" = b ]
	run -0 vm-create --if-missing a b c -m 2G
	[ "$output" = "$(in_lines a b c)" ]
	[ "$(col a memory)" = $((1 << 30)) ]
	[ "$(col c memory)" = $((2 << 30)) ]
	run -3 vm-create d d
}

@test "--dry-run checks everything and makes nothing" {
	run -0 vm-create --dry-run a b --disk 1G --kernel "$(kernel)"
	[ "$output" = "$(in_lines a b)" ]
	[ ! -e "$VM_STATE" ]
	run -6 vm-create --dry-run a -m 0
	run -2 vm-create --dry-run A
	vm-create a
	run -12 vm-create --dry-run a
	run -0 vm-create --dry-run --if-missing a
}

@test "what cannot be read is 2 and makes nothing" {
	for bad in "a/b" "A" ".a" "-- -a" "$(printf %064d 0)" "ä" "ok a/b" \
		"a -m 12x" "a -m -1" "a -c two" "a -c 1.5" "a -m" "a --console tty" \
		"a --set memroy=1G" "a --set memory" "a --set =1" "a --set Key=1" \
		"a --disk ,ro" "a --disk 1G,rw" "a --kernel=" "a --set cpus=x"; do
		run -2 vm-create $bad
		nothing
	done
	run -2 vm-create ''
	run -2 vm-create a --append $'x\ny'
	run -2 vm-create a --set disk0.iosp=5 --disk 1G
	run -6 vm-create a --set disk1.iops=5 --disk 1G
	run -0 vm-create w --set disk0.iops=5 --disk 1G,serial=S
	grep -qx 'disk0=disk/disk0.raw,serial=S,format=raw,iops=5' "$VM_STATE/vms/w/config"
	vm-rm w
	run -2 vm-create a --set memroy=1G
	[ "$output" = "vm-create: unknown key 'memroy' (memory?)" ]
	run -2 vm-create a -m 12x
	[ "$output" = "vm-create: memory '12x': not a size (try 512M or 2G)" ]
	nothing
}

@test "what reads well and cannot be is 6 and makes nothing" {
	echo 'not a kernel' >text
	bzimage cut 4096
	: >empty
	mkdir dir
	mkfifo fifo
	for bad in "-m 0" "-m 1P" "-m 1M" "-m 1025K" "-c 0" "-c 255" \
		"--kernel text" "--kernel cut" "--kernel empty" "--kernel dir" "--kernel none" \
		"--kernel /dev/zero" "--kernel fifo" \
		"--initrd dir" "--initrd none" "--initrd /dev/null" "--initrd fifo" \
		"--disk dir" "--disk none" "--disk ./none" "--disk empty" "--disk /dev/null" \
		"--disk fifo" "--disk 0" "--disk 513" "--disk text,format=qcow2" \
		"--disk text,serial=123456789012345678901" \
		"--set disk16=/x" "--set console_log=1G" \
		"$(printf -- '--disk 1G %.0s' {1..17})"; do
		run -6 timeout 10 vm-create a $bad
		nothing
	done
	run -6 vm-create a --kernel text
	[ "$output" = "vm-create: kernel $PWD/text: not a kernel (neither ELF nor bzImage)" ]
	run -6 vm-create a -m 1P
	[ "$output" = "vm-create: memory 1P: at most 1T" ]
}

@test "a disk larger than the file system allows fails and leaves nothing" {
	run vm-create a --disk 8000P
	[ "$status" != 0 ]
	nothing
}

@test "a path with a comma cannot be a disk" {
	truncate -s 1M 'a,b'
	run -2 vm-create a --disk ./a,b
	nothing
}

@test "relative paths begin where the command was called" {
	mkdir -p sub
	truncate -s 1M data
	(cd sub && vm-create a --disk ../data)
	[ "$(col a disk)" = 1048576 ]
	[[ $(conf a) == *"disk0=$PWD/sub/../data,format=raw"* ]]
}

@test "what a maker that died left is swept, what another makes is not" {
	vm-create a
	mkdir "$VM_STATE/vms/.b.new.1-0"
	: >"$VM_STATE/vms/.b.new.1-0/lock"
	vm-create b
	[ "$(ls -A "$VM_STATE/vms" | tr '\n' ' ')" = "a b " ]
}

@test "a thousand VMs in one call" {
	run -0 bash -c "seq -f 'v%g' 1000 | vm-create"
	[ "${#lines[@]}" = 1000 ]
	[ "${lines[999]}" = v1000 ]
	[ "$(vm-ls -q | tail -n 1)" = v1000 ]
}

@test "two that make the same names at once make each once" {
	(seq -f 'v%g' 200 | vm-create 2>/dev/null >one || :) &
	(seq -f 'v%g' 200 | vm-create 2>/dev/null >two || :)
	wait
	[ "$(sort one two | uniq -d | wc -l)" = 0 ]
	[ "$(cat one two | wc -l)" = 200 ]
	[ "$(vm-ls -q | wc -l)" = 200 ]
}
