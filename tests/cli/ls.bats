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
