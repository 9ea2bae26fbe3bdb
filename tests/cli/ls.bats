#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vm-ls: tables, states, and VMs that are not well.
# shellcheck disable=SC2086,SC2154	# some words are to be split; bats sets output

load lib

setup() { scratch; }
teardown() { unfake; }

@test "names sort by the numbers in them" {
	vm-create web10 web2 db
	run -0 vm-ls -q
	[ "$output" = "$(in_lines db web2 web10)" ]
	run -0 vm-ls -q -S name
	[ "$output" = "$(in_lines web10 web2 db)" ]
}

@test "named VMs come in the order given; unknown ones are 10, or 3" {
	vm-create a b c
	run -0 vm-ls -q c a
	[ "$output" = "$(in_lines c a)" ]
	run -10 --separate-stderr vm-ls x
	[ "$stderr" = "vm-ls: x: no such VM" ]
	run -3 --separate-stderr vm-ls -q a x
	[ "$output" = a ]
}

@test "no operand lists all, whatever standard input is" {
	vm-create a
	run -0 vm-ls -q </dev/null
	[ "$output" = a ]
	run -0 vm-ls -q < <(echo x)
	[ "$output" = a ]
	run -0 bash -c 'vm-ls -q <&-'
	[ "$output" = a ]
	run -10 vm-ls -q - < <(echo x)
}

@test "-H -p -o print exact fields, tabs between" {
	vm-create a -m 1.5G -c 2 --disk 1G --set note=$'x\ty'
	run -0 vm-ls -H -p -o name,cpus,memory,disk,uptime,kernel,note
	[ "$output" = $'a\t2\t1610612736\t1073741824\t-\t-\tx?y' ]
	run -0 vm-ls -H
	[ "$output" = $'a\tstopped\t2\t1.5G\t1G\t-' ]
	created=$(col a created)
	[ "$created" = - ] || [ $(($(date +%s) - created)) -lt 100 ]
}

@test "--json is one object a line, numbers as numbers" {
	vm-create a b --set note=$'q"\tx'
	run -0 vm-ls --json -o name,memory,pid,note
	[ "$(jq -c 'map_values(type)' <<<"$output" | sort -u)" = \
		'{"name":"string","memory":"number","pid":"null","note":"string"}' ]
	[ "$(jq -r .note <<<"${lines[0]}")" = $'q"\tx' ]
	[ "${#lines[@]}" = 2 ]
}

@test "-f filters, several at once" {
	vm-create a b -m 1G
	vm-create c -m 2G
	run -0 vm-ls -q -f memory=1G -f name!=a
	[ "$output" = b ]
	run -0 vm-ls -q -f state=running
	[ -z "$output" ]
	run -2 vm-ls -f memory
	run -2 vm-ls -f memroy=1
	[[ $output == *"(memory?)"* ]]
	run -2 vm-ls -o name,none
	run -2 vm-ls -s name -S name
	run -2 vm-ls -q --json
}

@test "states are those of lock and socket" {
	vm-create run busy idle paused
	fake run run
	fake busy busy
	fake paused paused
	run -0 vm-ls -H -o name,state
	[ "$output" = "$(in_lines $'busy\tbusy' $'idle\tstopped' $'paused\tpaused' $'run\trunning')" ]
	[ "$(col run pid)" = "${FAKES[0]}" ]
	uptime=$(col run uptime)
	[ "$uptime" -ge 3600 ] && [ "$uptime" -lt 3700 ]
	run -0 vm-ls -H -o uptime run
	[ "$output" = 1h00m ]
	kill -9 "${FAKES[0]}"
	sleep 0.2
	[ "$(col run state)" = stopped ]
}

@test "a VM that hangs is unresponsive and holds nobody up" {
	vm-create a b c
	fake a hang
	run -0 timeout 5 vm-ls -H -o name,state
	[ "$output" = "$(in_lines $'a\tunresponsive' $'b\tstopped' $'c\tstopped')" ]
	run -0 timeout 1 vm-ls -q
	[ "${#lines[@]}" = 3 ]
}

@test "many hanging VMs share their patience" {
	names=$(seq -f 'v%g' 12)
	vm-create $names
	for v in $names; do
		fake "$v" hang
	done
	run -0 timeout 8 vm-ls -H -o state
	[ "$(sort -u <<<"$output")" = unresponsive ]
}

@test "what a VM answers is not trusted" {
	vm-create a
	fake a garbage
	run vm-ls -H -o name,state,pid,since
	[[ $output != *$'\e'* ]]
	[[ $output == a* ]]
}

@test "a damaged config is a row all the same, a message, and 3" {
	vm-create a b c d
	echo 'memory=lots' >"$VM_STATE/vms/a/config"
	rm "$VM_STATE/vms/b/config"
	printf 'x=\0' >"$VM_STATE/vms/c/config"
	run -3 --separate-stderr vm-ls -H -o name,state,memory
	[ "$output" = "$(in_lines $'a\tdamaged\t-' $'b\tdamaged\t-' $'c\tdamaged\t-' $'d\tstopped\t512M')" ]
	[ "$(wc -l <<<"$stderr")" = 3 ]
	[[ $stderr == "vm-ls: a: config: memory 'lots': "* ]]
	run -0 vm-ls -q
	[ "${#lines[@]}" = 4 ]
}

@test "a config that is a FIFO, a device, a link or huge holds nobody up" {
	vm-create a b c d
	rm "$VM_STATE"/vms/{a,b,c,d}/config
	mkfifo "$VM_STATE/vms/a/config"
	ln -s /dev/zero "$VM_STATE/vms/b/config"
	ln -s /etc/passwd "$VM_STATE/vms/c/config"
	truncate -s 100G "$VM_STATE/vms/d/config"
	run -3 timeout 5 vm-ls
	[[ $output != *root:* ]]
	[ "$(vm-ls -H -o state 2>/dev/null | sort -u)" = damaged ]
}

@test "a disk that is gone leaves its size unknown" {
	truncate -s 1M data
	vm-create a --disk ./data --disk 1M
	rm data
	run -0 vm-ls -H -o disk
	[ "$output" = - ]
}

@test "other things among the VMs are none" {
	vm-create a
	: >"$VM_STATE/vms/file"
	mkdir "$VM_STATE/vms/.hidden" "$VM_STATE/vms/UPPER"
	ln -s a "$VM_STATE/vms/link"
	run -0 vm-ls -q
	[ "$output" = a ]
}

# -- snapshots --

# snapshot VM NAME CREATED [LINE...] : a record of one, with more lines of meta
snapshot() {
	local dir=$VM_STATE/vms/$1/snap/$2
	mkdir -p "$dir"
	cp "$VM_STATE/vms/$1/config" "$dir/config"
	printf '%s\n' "created=$3" "${@:4}" >"$dir/meta"
}

@test "-t snap lists snapshots of all VMs, of those named, or one, oldest first" {
	vm-create a b c
	snapshot a late 300
	snapshot a s10 100
	snapshot a s2 100
	snapshot b x 50
	run -0 vm-ls -t snap -q
	[ "$output" = "$(in_lines a@s2 a@s10 a@late b@x)" ]
	run -0 vm-ls -t snap -q b@ a@s10 c
	[ "$output" = "$(in_lines b@x a@s10)" ]
	run -0 vm-ls -t snap -q - < <(in_lines a@ b)
	[ "$output" = "$(in_lines a@late b@x)" ]
	run -0 vm-ls -t snap -q c
	[ -z "$output" ]
	run -0 vm-ls -t vm -q
	[ "$output" = "$(in_lines a b c)" ]
}

@test "-t snap: what is not there is 10, or 3; what is no name is 2" {
	vm-create a b
	snapshot a s1 1
	run -10 --separate-stderr vm-ls -t snap a@x
	[[ $stderr == "vm-ls: a@x: no such snapshot" ]]
	run -10 vm-ls -t snap b@
	run -10 vm-ls -t snap x@s1
	run -3 --separate-stderr vm-ls -t snap -q a@x a
	[ "$output" = a@s1 ]
	run -2 vm-ls -t snap a@X/y
	run -2 vm-ls -t nonsense
	run -2 vm-ls -t snap -o uptime
	run -2 vm-ls -o parent
}

@test "-t snap: every column, exact, in text and JSON" {
	vm-create a
	snapshot a s1 1769860800 'note=first, and best' protected=yes
	snapshot a s2 1769860801 parent=s1 memory=1073741824 engine=qemu
	run -0 vm-ls -t snap -H -p -o name,created,parent,memory,protected,note,engine
	[ "${lines[0]}" = $'a@s1\t1769860800\t-\t-\tyes\tfirst, and best\t-' ]
	[ "${lines[1]}" = $'a@s2\t1769860801\ts1\t1073741824\t-\t-\tqemu' ]
	run -0 vm-ls -t snap --json -o name,created,memory,protected a@s2
	[ "$output" = '{"name":"a@s2","created":1769860801,"memory":1073741824,"protected":null}' ]
	run -0 vm-ls -t snap -q -f protected=yes
	[ "$output" = a@s1 ]
	run -0 vm-ls -t snap a
	[[ ${lines[0]} == "NAME  CREATED  "*"  PROTECTED  NOTE" ]]
	[[ ${lines[1]} == *"  yes        first, and best" ]]
}

@test "-t snap draws a line flat and branches where the VM went back" {
	vm-create a
	snapshot a s1 1
	snapshot a s2 2 parent=s1
	snapshot a x1 3 parent=s2
	snapshot a x2 4 parent=x1
	snapshot a y1 5 parent=x1
	snapshot a z1 6 parent=s2
	snapshot a s3 7 parent=s2
	snapshot a s4 8 parent=s3
	echo parent=s4 >>"$VM_STATE/vms/a/config"
	names() { vm-ls -t snap "$@" | sed '1d; s/ *1970.*//'; }
	[ "$(names a)" = "$(in_lines a@s1 a@s2 '+ a@x1' '  + a@x2' '  a@y1' '+ a@z1' a@s3 a@s4)" ]
	# having gone back, and nothing new yet
	sed -i s/parent=s4/parent=x1/ "$VM_STATE/vms/a/config"
	[ "$(names a)" = "$(in_lines a@s1 a@s2 '+ a@z1' '+ a@s3' '  a@s4' a@x1 '+ a@x2' '+ a@y1')" ]
	# where it is for machines, or in another order, there is no tree
	for o in -H -q '-o name' '-s created' '-f name!=x' --json; do
		# shellcheck disable=SC2086	# options
		run -0 vm-ls -t snap $o a
		[[ $output != *'+ a@'* && $output != *'  a@'* ]]
	done
}

@test "-t snap: parents that are gone, or make a ring, lose nobody" {
	vm-create a
	snapshot a s1 1 parent=gone
	snapshot a r1 2 parent=r2
	snapshot a r2 3 parent=r1
	snapshot a self 4 parent=self
	echo parent=r1 >>"$VM_STATE/vms/a/config"
	run -0 vm-ls -t snap
	[ "$(grep -c 'a@' <<<"$output")" = 4 ]
}

@test "-t snap: a record that cannot be read is a row all the same, and 3" {
	vm-create a
	snapshot a s1 1
	snapshot a s2 2
	echo created=never >"$VM_STATE/vms/a/snap/s1/meta"
	run -3 --separate-stderr vm-ls -t snap -q -s name
	[ "$output" = "$(in_lines a@s1 a@s2)" ]
	[[ $stderr == *a@s1* ]]
}

# calls VMS ARG... : how many system calls vm-ls makes for so many VMs
calls() {
	strace -f -o trace "$VM_BIN/vm-ls" --state "$PWD/calls$1" "${@:2}" >/dev/null
	wc -l <trace
}

@test "a list of VMs costs few system calls for each, and none for their snapshots" {
	strace -o trace true 2>/dev/null || skip "no strace that works here"
	for n in 10 110; do
		export VM_STATE=$PWD/calls$n
		vm-create $(seq -f 'v%g' $n) >/dev/null
		mkdir many
		for i in {1..50}; do mkdir "many/s$i"; echo created=$i >"many/s$i/meta"; done
		for v in "$VM_STATE"/vms/v*; do cp -r many "$v/snap"; done
		rm -r many
	done
	few=$(calls 10) more=$(calls 110)
	echo "calls of vm-ls: $few, $more"
	run ! grep -q snap trace
	((more - few <= 100 * 12))
	few=$(calls 10 -q) more=$(calls 110 -q)
	echo "of vm-ls -q: $few, $more"
	((more - few <= 100 * 3))
	few=$(calls 10 -t snap -q) more=$(calls 110 -t snap -q)
	echo "of vm-ls -t snap -q: $few, $more"
	((more - few <= 100 * (50 * 8 + 20)))
}
