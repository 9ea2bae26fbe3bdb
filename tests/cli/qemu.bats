#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# QEMU as the engine, and all that can go wrong with it: killed, stopped,
# missing, of another version, talking nonsense or without end.
# shellcheck disable=SC2030,SC2031,SC2034,SC2154	# bats sets and reads some

load lib

setup() {
	scratch
	REAL_PATH=$PATH
	export VM_ENGINE=qemu
	command -v qemu-system-x86_64 >/dev/null || skip "no qemu-system-x86_64"
	tiny=$VM_BIN/tests/guest/tiny
}

teardown() {
	PATH=${REAL_PATH:-$PATH}
	[[ ! -d ${VM_STATE:-} ]] || vm-ls -q 2>/dev/null | vm-rm --force - >/dev/null 2>&1 || :
	# of what no VM knows any more, those at home in one of this test's
	while read -r pid; do
		[[ $(readlink "/proc/$pid/cwd") != "$VM_STATE"/* ]] || kill -9 "$pid" || :
	done 2>/dev/null < <(sort -u pids 2>/dev/null)
}

make() { vm-create "$@" -m 16M --kernel "$tiny" >/dev/null; }

# up NAME [OPTION...] : its guest says login
up() {
	make "$@"
	vm-boot "$1" | vm-wait --for login -t 20 >/dev/null
}

# QEMU's process
qemu_of() { pgrep -P "$(col "$1" pid)" | tee -a pids; }

# gone PID... : soon, or dead and only not yet asked for
gone() {
	local pid
	for pid; do
		for _ in {1..60}; do
			grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$pid/status" || continue 2
			sleep 0.05
		done
		echo "# process $pid is still there"
		return 1
	done
}

# soon COMMAND... : becomes true within some seconds
soon() {
	for _ in {1..100}; do
		"$@" && return 0
		sleep 0.05
	done
	echo "# never: $*"
	return 1
}

is() { [[ $(col "$1" "$2") == "$3" ]]; }

# says NAME TEXT : its console does, on lines of their own or not
says() { [[ $(vm-console --log "$1" | tr -d '\r\n') == *"$2"* ]]; }

# logged NAME TEXT
logged() { grep -q -- "$2" "$VM_STATE/vms/$1/log"; }

# pretend VERSION SCRIPT : a qemu-system-x86_64 that greets as that version
# (none: not at all), answers all before "cont" and then does what SCRIPT says,
# where $qmp and $com1 are descriptors and `answer` does that
pretend() {
	mkdir -p fake
	cat >fake/qemu-system-x86_64 <<-EOF
		#!/bin/bash
		echo \$\$ >>"$PWD/pids"
		for a; do
			case \$a in
			socket,id=qmp,fd=*) qmp=\${a##*=} ;;
			socket,id=com1,fd=*) com1=\${a##*=} ;;
			esac
		done
		answer() {
			id=\${line##*\\"id\\":}
			printf '{"return":%s,"id":%s}\\r\\n' "\${1:-{\\}}" "\${id%%[,\\}]*}" >&\$qmp
		}
		serve() { while read -r line <&\$qmp; do answer; done; }
		version=$1
		if [[ \$version ]]; then
			printf '{"QMP":{"version":{"qemu":{"micro":0,"minor":2,"major":%s},"package":""},"capabilities":[]}}\\r\\n' \$version >&\$qmp
			while read -r line <&\$qmp && [[ \$line != *'"cont"'* ]]; do answer; done
		fi
		$2
	EOF
	chmod +x fake/qemu-system-x86_64
	PATH=$PWD/fake:$REAL_PATH
}

# The pretended one's process
pretended() { tail -n 1 pids; }

# without_kvm COMMAND... : where /dev/kvm is none
without_kvm() {
	[[ -e /dev/kvm ]] || { "$@"; return; }
	# shellcheck disable=SC2016	# the inner shell's
	unshare -m sh -c 'mount --bind /dev/null /dev/kvm && exec "$@"' sh "$@"
}

# -- its end --

@test "QEMU killed: its VM ends and says why, nothing is left, its disk is free" {
	truncate -s 1M d.img
	up t1 --disk "$PWD/d.img"
	make t2 --disk "$PWD/d.img"
	run -11 vm-boot t2
	vm=$(col t1 pid) qemu=$(qemu_of t1)
	kill -9 "$qemu"
	run -0 vm-wait t1 --for stopped -t 5
	[ "$(col t1 state)" = stopped ]
	gone "$vm" "$qemu"
	logged t1 'QEMU was killed by signal 9'
	run -0 vm-boot t2
	[ "$(col t2 state)" = running ]
}

@test "QEMU killed in the foreground: 1, with the sentence" {
	make t1
	mkfifo in
	exec 7<>in
	vm-boot -f t1 <&7 >out 2>err 3>&- &
	boot=$!
	soon is t1 state running
	qemu=$(qemu_of t1)
	kill -9 "$qemu"
	status=0
	wait "$boot" || status=$?
	[ "$status" = 1 ]
	[ "$(<err)" = "vm-boot: t1: QEMU was killed by signal 9" ]
	[ "$(col t1 state)" = stopped ]
	gone "$qemu"
}

@test "the VM's process killed: QEMU goes with it, lock and disk are free, it boots again" {
	truncate -s 1M d.img
	up t1 --disk "$PWD/d.img"
	vm=$(col t1 pid) qemu=$(qemu_of t1)
	kill -9 "$vm"
	gone "$vm" "$qemu"
	[ "$(col t1 state)" = stopped ]
	make t2 --disk "$PWD/d.img"
	run -0 vm-boot t2
	vm-stop --now t2
	run -0 vm-boot t1
	run -0 vm-wait t1 --for login -t 20
	[ "$(qemu_of t1)" != "$qemu" ]
}

@test "both killed at once, in either order: stopped, and it boots again" {
	up t1
	for order in "vm qemu" "qemu vm"; do
		vm=$(col t1 pid) qemu=$(qemu_of t1)
		for p in $order; do kill -9 "${!p}" 2>/dev/null || :; done
		gone "$vm" "$qemu"
		[ "$(col t1 state)" = stopped ]
		run -0 vm-boot t1
		run -0 vm-wait t1 --for login -t 20
	done
}

@test "SIGTERM to QEMU is no guest's end: the VM ends with a sentence" {
	up t1
	vm=$(col t1 pid) qemu=$(qemu_of t1)
	kill -TERM "$qemu"
	run -0 vm-wait t1 --for stopped -t 5
	[ "$(col t1 state)" = stopped ]
	gone "$vm" "$qemu"
	logged t1 'QEMU ended'
	run -0 vm-boot t1
}

@test "a stopped QEMU holds up no list and no stop --now, and leaves nothing" {
	up t1
	up t2
	vm=$(col t1 pid) qemu=$(qemu_of t1)
	kill -STOP "$qemu"
	run -0 timeout 2 vm-ls -H -p -o name,state
	[ "$output" = $'t1\trunning\nt2\trunning' ]
	run -0 timeout 2 vm-stop --now t1
	[ "$(col t1 state)" = stopped ]
	gone "$vm" "$qemu"
	is t2 state running
}

@test "a stopped QEMU refuses a pause in time, and runs on when it goes on" {
	up t1
	qemu=$(qemu_of t1)
	kill -STOP "$qemu"
	run -124 timeout 6 vm-pause t1
	[[ $output == *"QEMU does not answer"* ]]
	[ "$(col t1 state)" = running ]
	kill -CONT "$qemu"
	printf 123 | vm-console t1 >/dev/null
	soon says t1 'login: 123'
	[ "$(col t1 state)" = running ]
	run -0 vm-pause t1
	[ "$(col t1 state)" = paused ]
	run -0 vm-resume t1
	[ "$(col t1 state)" = running ]
}

@test "a reset, by us or the guest, and a stop leave no QEMU behind" {
	up t1
	one=$(qemu_of t1)
	run -0 vm-reset --hard t1
	two=$(qemu_of t1)
	[ "$(wc -w <<<"$two")" = 1 ]
	[ "$one" != "$two" ]
	gone "$one"
	vm-wait t1 --for login -t 20
	printf r | vm-console t1 >/dev/null
	soon is t1 boots 3
	gone "$two"
	vm-wait t1 --for login -t 20
	three=$(qemu_of t1)
	run -0 vm-stop -t 20 t1
	gone "$three"
}

# -- what it is --

@test "QEMU has no capability, no new privileges, and a system call filter" {
	up t1
	qemu=$(qemu_of t1)
	field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$qemu/status"; }
	[ "$(field Seccomp)" = 2 ]
	[ "$(field NoNewPrivs)" = 1 ]
	for set in Inh Prm Eff Amb; do
		[ "$(field Cap$set)" = 0000000000000000 ]
	done
	[[ $(id -u) != 0 ]] || [ "$(field CapBnd)" = 0000000000000000 ]
	[ "$(ps -o sid= -p "$qemu" | tr -d ' ')" = "$qemu" ]
}

@test "it has none from its first instruction on, before its own sandbox" {
	make t1
	pretend 7 'answer; grep -E "^(Cap|NoNewPrivs)" /proc/$$/status >status; serve'
	sed -i "s|>status|>'$PWD/status'|" fake/qemu-system-x86_64
	run -0 vm-boot t1
	soon test -s status
	[ "$(grep -c '^Cap.*:.0000000000000000$' status)" -ge 4 ]
	[[ $(id -u) != 0 ]] || grep -q '^CapBnd:.0000000000000000$' status
	grep -q '^NoNewPrivs:.1$' status
}

# held PID : what it has open, each once; r for what it cannot write
held() {
	local fd to
	for fd in "/proc/$1/fd/"*; do
		to=$(readlink "$fd")
		case $to in
		anon_inode:*) continue ;;	# its own
		socket:* | pipe:*) to=${to%%:*} ;;
		esac
		# the lock's name, whatever the state directory's
		[[ $to != "$VM_STATE"/* ]] || to=${to##*/}
		[[ $(stat -c %A "$fd") == l?w* ]] || to="$to r"
		echo "$to"
	done | sort | uniq -c | sed 's/^ *//'
}

# files PID : those of them that are files, without how often
files() { held "$1" | grep -vE 'socket|pipe|/dev/kvm' | cut -d' ' -f2-; }

@test "QEMU holds its sockets, the VM's lock, its kernel and disks, and nothing else" {
	truncate -s 1M d.img e.img
	up t1 --disk "$PWD/d.img" --disk "$PWD/e.img,ro" --set console=virtio
	qemu=$(qemu_of t1)
	held "$qemu"
	[ "$(files "$qemu")" = "$(in_lines "$PWD/d.img" "$PWD/e.img r" /dev/null lock "$tiny r" | sort)" ]
	[ "$(held "$qemu" | grep socket)" = "3 socket" ]
	[ "$(held "$qemu" | grep pipe)" = "2 pipe" ]
}

@test "in the foreground, too, QEMU gets nothing that its caller left open" {
	make t1
	mkfifo in
	echo secret >secret
	exec 7<>in 8<secret 9>>secret
	vm-boot -f t1 <&7 >out 2>err &
	boot=$!
	soon is t1 state running
	qemu=$(qemu_of t1)
	held "$qemu"
	[ "$(files "$qemu")" = "$(in_lines /dev/null lock "$tiny r" | sort)" ]
	[ "$(held "$qemu" | grep socket)" = "2 socket" ]
	[ "$(held "$qemu" | grep pipe)" = "2 pipe" ]
	vm-stop --now t1
	wait "$boot"
}

# -- another QEMU, or none --

@test "no QEMU: 5, with the package to install" {
	make t1
	run -5 --separate-stderr env PATH="$VM_BIN" "$VM_BIN/vm-boot" --engine qemu t1
	[ "$stderr" = "vm-boot: t1: there is no qemu-system-x86_64 (install qemu-system-x86)" ]
	[ "$(col t1 state)" = stopped ]
}

@test "neither KVM nor QEMU: 5, with both reasons" {
	need_mounts
	make t1
	run -5 --separate-stderr without_kvm env PATH="$VM_BIN" "$VM_BIN/vm-boot" --engine auto t1
	[[ $stderr == "vm-boot: t1: /dev/kvm: "*", and: there is no qemu-system-x86_64"* ]]
	[ "${#stderr_lines[@]}" = 1 ]
}

@test "a QEMU too old is 5 and says so; nothing is left" {
	make t1
	pretend 5 serve
	run -5 --separate-stderr vm-boot t1
	[ "$stderr" = "vm-boot: t1: QEMU 5.2 is too old: 6.0 or later is needed" ]
	[ "$(col t1 state)" = stopped ]
	gone "$(pretended)"
}

@test "a newer QEMU runs VMs, with a note in their log" {
	make t1
	pretend 12 'answer; serve'
	run -0 vm-boot t1
	[ "$(col t1 state)" = running ]
	[ "$(col t1 engine)" = qemu ]
	logged t1 'QEMU 12.2: not a version this was tried with'
	qemu=$(qemu_of t1)
	[ "$qemu" = "$(pretended)" ]
	run -0 vm-stop --now t1
	gone "$qemu"
}

@test "what QEMU says when it cannot start is the sentence" {
	make t1
	pretend '' 'echo first >&2; printf "\033[31munsupported option\n" >&2; exit 1'
	run -1 --separate-stderr vm-boot t1
	[ "$stderr" = "vm-boot: t1: QEMU ended with status 1: ?[31munsupported option" ]
	[ "$(col t1 state)" = stopped ]
	gone "$(pretended)"
	pretend '' 'exit 0'
	run -1 --separate-stderr vm-boot t1
	[ "$stderr" = "vm-boot: t1: QEMU ended with status 0" ]
	pretend '' 'echo "nonsense" >&$qmp; exec 2>&1; printf "no end of line"; kill -SEGV $$'
	run -1 --separate-stderr vm-boot t1
	[ "$stderr" = "vm-boot: t1: QEMU was killed by signal 11: no end of line" ]
	[ "$(col t1 state)" = stopped ]
}

@test "a QEMU that cannot be executed is 5" {
	make t1
	mkdir fake
	printf '#!/nonexistent/interpreter\n' >fake/qemu-system-x86_64
	chmod +x fake/qemu-system-x86_64
	run -5 --separate-stderr env PATH="$PWD/fake" "$VM_BIN/vm-boot" t1
	[[ $stderr == "vm-boot: t1: "*"qemu-system-x86_64: No such file or directory" ]]
	[ "$(col t1 state)" = stopped ]
}

@test "a QEMU that will not run the guest: its own sentence" {
	make t1
	pretend 7 'id=${line##*\"id\":}
		printf "{\"id\":%s,\"error\":{\"class\":\"GenericError\",\"desc\":\"out of luck\"}}\r\n" ${id%\}} >&$qmp
		serve'
	run -1 --separate-stderr vm-boot t1
	[ "$stderr" = "vm-boot: t1: QEMU: out of luck" ]
	[ "$(col t1 state)" = stopped ]
	gone "$(pretended)"
}

@test "while QEMU says nothing its start can be ended from either side" {
	make t1 t2
	pretend '' 'exec sleep 60'
	vm-boot t1 2>err 3>&- &
	boot=$!
	soon test -s pids
	kill -9 "$(pretended)"
	status=0
	wait "$boot" || status=$?
	[ "$status" = 1 ]
	[ "$(<err)" = "vm-boot: t1: QEMU was killed by signal 9" ]
	[ "$(col t1 state)" = stopped ]

	: >pids
	vm-boot t2 2>err 3>&- &
	boot=$!
	soon test -s pids
	vm=$(ps -o ppid= -p "$(pretended)" | tr -d ' ')
	kill -9 "$vm"
	gone "$(pretended)" "$vm"
	status=0
	wait "$boot" || status=$?
	[ "$status" = 1 ]
	[ "$(col t2 state)" = stopped ]
}

@test "a QEMU that talks without end, by any way, holds up nobody" {
	for way in '2' '$qmp' '$com1'; do
		name=t${#way}
		make "$name"
		pretend 7 "answer
			for i in 1 2 3; do yes '{\"event\": \"NOISE\"}' >&$way & done
			exec yes '{\"event\": \"NOISE\"}' >&$way"
		run -0 vm-boot "$name"
		qemu=$(pretended)
		sleep 0.5
		run -0 timeout 3 vm-ls -H -p -o state "$name"
		[ "$output" = running ]
		run -0 timeout 3 vm-stop --now "$name"
		[ "$(col "$name" state)" = stopped ]
		gone "$qemu"
		[ "$(stat -c %s "$VM_STATE/vms/$name/log")" -lt 100000 ]
		vm-rm "$name"
	done
}

@test "a monitor that makes no sense any more is the VM's end, and QEMU's" {
	make t1
	pretend 7 "answer; exec tr '\\0' '{' </dev/zero >&\$qmp"
	run -0 vm-boot t1
	run -0 vm-wait t1 --for stopped -t 5
	[ "$(col t1 state)" = stopped ]
	gone "$(pretended)"
	logged t1 "QEMU's monitor: a line without end"
}

# -- a full disk --

@test "a full file system stops no VM; lists stay right, and it ends as it should" {
	need_mounts
	mkdir full
	cat >steps <<-'EOF'
		mount -t tmpfs -o size=256k none full
		export VM_STATE=$PWD/full
		trap 'vm-ls -q | vm-rm --force - >/dev/null' EXIT
		vm-create t1 -m 16M --kernel "$1" >/dev/null
		vm-boot t1 | vm-wait --for login -t 20 >/dev/null
		head -c 300k /dev/zero >full/filler 2>/dev/null
		printf c | vm-console t1 >/dev/null
		sleep 1
		echo "$(vm-ls -H -p -o state t1) $(df --output=avail full | tail -n 1)"
		before=$(vm-console --log t1 | wc -c)
		vm-reset --hard t1 && vm-wait t1 --for login -t 20
		echo "$(vm-ls -H -p -o state,boots t1)"
		vm-stop -t 20 t1
		echo "$(vm-ls -H -p -o state t1)"
		vm-boot t1 && vm-ls -H -p -o state t1
		vm-stop --now t1
		rm full/filler
		vm-boot t1 | vm-wait --for login -t 20
		vm-stop --now t1
		vm-ls -H -p -o state t1
	EOF
	run -0 timeout 60 unshare -m bash steps "$tiny"
	echo "$output"
	[ "$output" = "$(in_lines 'running     0' t1 t1 $'running\t2' t1 stopped t1 running t1 t1 t1 stopped)" ]
}

# -- which engine --

@test "an engine that is none is 2, wherever it is said" {
	make t1
	run -2 --separate-stderr vm-boot --engine nonsense t1
	[[ $stderr == "vm-boot: --engine 'nonsense': not an engine"* ]]
	VM_ENGINE=nonsense run -2 --separate-stderr vm-boot t1
	[[ $stderr == "vm-boot: VM_ENGINE 'nonsense': not an engine"* ]]
	run -2 vm-set t1 engine=nonsense
	run -2 vm-create t3 --set engine=nonsense
	[ "$(col t1 state)" = stopped ]
}

@test "the option is above the config, which is above the environment" {
	make t1
	export VM_ENGINE=kvm
	run -0 vm-set t1 engine=qemu
	[ "$(vm-ls -H -p -o name,engine)" = $'t1\tqemu' ]
	run -0 --separate-stderr vm-boot t1
	[ -z "$stderr" ]
	[ "$(vm-ls -H -p -o name,engine)" = $'t1\tqemu' ]
	vm-stop --now t1
	vm-set t1 engine=kvm
	[ "$(col t1 engine)" = kvm ]
	run -0 --separate-stderr vm-boot --engine qemu t1
	[ -z "$stderr" ]
	[ "$(col t1 engine)" = qemu ]
	vm-stop --now t1
	[ "$(col t1 engine)" = kvm ]
	vm-set t1 engine=
	run -0 env VM_ENGINE=qemu vm-boot t1
	[ "$(col t1 engine)" = qemu ]
}

@test "auto without VT-x and SVM is QEMU, and says so once for three VMs" {
	need_mounts
	unset VM_ENGINE
	make a b c
	run -0 --separate-stderr without_kvm vm-boot a b c
	[ "$(sort <<<"$output")" = "$(in_lines a b c)" ]
	[[ $stderr == "vm-boot: /dev/kvm: "*": QEMU emulates the CPU, some ten times slower" ]]
	[ "${#stderr_lines[@]}" = 1 ]
	[ "$(vm-ls -H -p -o name,state,engine)" = \
		"$(in_lines $'a\trunning\tqemu' $'b\trunning\tqemu' $'c\trunning\tqemu')" ]
}

# -- the console --

@test "what is typed arrives whole, however much it is" {
	up t1
	digits=$(seq 1000 2249 | tr -d '\n')
	[ "${#digits}" = 5000 ]
	printf %s "$digits" | timeout 20 vm-console t1 >/dev/null
	soon says t1 "login: $digits"
	printf 77 | vm-console t1 >/dev/null
	soon says t1 "login: ${digits}77"
}

@test "in the foreground a pipe of input and one of output lose nothing" {
	make t1
	digits=$(seq 1000 2249 | tr -d '\n')
	printf %sq "$digits" | timeout 20 vm-boot -f t1 2>err | tr -d '\r\n' >out
	[ "$(<out)" = "tiny: uplogin: ${digits}q" ]
	[ ! -s err ]
	[ "$(col t1 state)" = stopped ]
}

# -- snapshots --

# dots NAME : it counts by them, which no guest does from its beginning on
dots() { [[ $(vm-console --log "$1" | tail -c 40 | tr -d .) == '' ]] && more "$1"; }

# more NAME : it says more, soon
more() {
	local said
	said=$(vm-console --log "$1" | wc -c)
	sleep 0.2
	[[ $(vm-console --log "$1" | wc -c) -gt $said ]]
}

# back NAME SNAP : to it, through a stop
back() {
	vm-stop --now "$1"
	vm-rollback --destructive "$1@$2"
	vm-boot "$1"
} >/dev/null

# layer NAME : the file its first disk is written to
layer() { sed -n 's/^disk0=\([^,]*\).*/\1/p' "$VM_STATE/vms/$1/config"; }

@test "a snapshot: the guest runs on, and goes on from there after a rollback, again and again" {
	truncate -s 1M d.img
	up t1 --disk 1M --disk "$PWD/d.img"
	printf c | vm-console t1 >/dev/null
	soon dots t1
	run -0 vm-snap t1 -n one
	[ "$output" = t1@one ]
	dots t1
	[ "$(vm-ls -t snap -H -p -o memory,engine t1@one)" = $'16777216\tqemu' ]
	vm-reset --hard t1
	vm-wait --for login -t 20 t1
	back t1 one
	[ "$(col t1 state)" = running ]
	soon dots t1
	run ! says t1 tiny
	run -0 vm-snap t1 -n two
	back t1 two
	soon dots t1
	back t1 one
	soon dots t1
	# only once: the next is a boot
	vm-stop --now t1
	vm-boot t1 | vm-wait --for login -t 20
}

@test "all disks go on in new layers, those below are read only, also by the QEMU after a reset" {
	truncate -s 1M d.img
	up t1 --disk 1M --disk "$PWD/d.img"
	for layer in 1 2; do
		run -0 vm-snap --disk-only t1 -n "s$layer"
		echo "$output: $(layer t1)"
		[ "$(layer t1)" = "disk/disk0.$layer.qcow2" ]
	done
	printf 1 | vm-console t1 >/dev/null
	soon says t1 'login: 1'
	# it grows, and has limits, where it is now
	vm-set t1 disk0.size=2M disk1.iops=100
	qemu-img info -U --output=json "$VM_STATE/vms/t1/$(layer t1)" | jq -e '."virtual-size" == 2097152'
	vm-reset --hard t1
	vm-wait --for login -t 20 t1
	qemu=$(qemu_of t1)
	files "$qemu"
	[ "$(files "$qemu" | grep -E '^(disk|/.*d.img)')" = "$(in_lines "$PWD/d.img r" \
		'disk0.1.qcow2 r' disk0.2.qcow2 'disk0.raw r' 'disk1.1.qcow2 r' disk1.2.qcow2 | sort)" ]
	vm-stop --now t1
	qemu-img check -q "$VM_STATE/vms/t1/$(layer t1)"
}

@test "snapshots removed under a running QEMU leave its disk what it is" {
	up t1 --disk 1M
	for i in 1 2 3 4; do vm-snap t1 -n "s$i" --disk-only; done
	run -0 vm-rm t1@s1 t1@s2 t1@s3
	printf 2 | vm-console t1 >/dev/null
	soon says t1 'login: 2'
	vm-reset --hard t1
	vm-wait --for login -t 20 t1
	vm-stop --now t1
	qemu-img check -q "$VM_STATE/vms/t1/$(layer t1)"
	vm-boot t1 | vm-wait --for login -t 20
	run -0 vm-rm t1@s4
}

@test "a paused VM stays so; a second snapshot of its memory waits for vm-resume: 11" {
	up t1 --disk 1M
	printf c | vm-console t1 >/dev/null
	soon dots t1
	vm-pause t1
	run -0 vm-snap t1 -n one
	[ "$(col t1 state)" = paused ]
	run ! more t1
	run -11 --separate-stderr vm-snap t1 -n two
	[[ $stderr == *"vm-resume"* ]]
	[ "$(vm-ls -t snap -q)" = t1@one ]
	vm-resume t1
	dots t1
	run -0 vm-snap t1 -n two
	vm-stop --now t1
	vm-rollback --destructive t1@one
	run -0 vm-boot --paused t1
	[ "$(col t1 state)" = paused ]
	run ! more t1
	vm-resume t1
	dots t1
}

@test "memory of the other engine is 5, and the sentence says what to do" {
	up t1
	vm-snap t1 -n one
	vm-stop --now t1
	vm-rollback --destructive t1@one
	sed -i s/engine=qemu/engine=kvm/ "$VM_STATE/vms/t1/snap/one/meta"
	run -5 --separate-stderr vm-boot t1
	[ "$stderr" = "vm-boot: t1: go on from the snapshot one: its memory was taken by the engine kvm, and this is qemu (vm-boot --engine kvm); or vm-set t1 restore=, to boot from its disks" ]
	run -0 vm-set t1 restore=
	run -0 vm-boot t1
	vm-wait --for login -t 20 t1
}

@test "a damaged snapshot is not gone on from, and a sentence says why; nothing is left" {
	up t1
	vm-snap t1 -n one
	vm-stop --now t1
	dir=$VM_STATE/vms/t1/snap/one
	cp "$dir/mem" mem
	cp "$dir/dev" dev
	for damage in 'head -c 100000 mem >"$dir/mem"' ': >"$dir/mem"' 'rm "$dir/mem"' \
		'echo nonsense >"$dir/mem"' ': >"$dir/dev"' 'echo qemu=99.1 >"$dir/dev"' \
		'printf "qemu=99.1\naccel=tcg\n" >"$dir/dev"' 'rm "$dir/dev"'; do
		vm-rollback --destructive t1@one >/dev/null
		eval "$damage"
		run timeout 40 vm-boot t1
		echo "$damage: $status $output"
		[ "$status" != 0 ] && [ "$status" -lt 100 ]
		[[ ${lines[0]} == "vm-boot: t1: go on from the snapshot one: "* ]]
		[ "$(col t1 state)" = stopped ]
		run ! pgrep -f "$VM_STATE" >/dev/null
		cp mem dev "$dir"
	done
	run -0 vm-boot t1
	printf 5 | vm-console t1 >/dev/null
	soon says t1 5
}

@test "no room for the memory: vm-snap fails, the guest runs on, no debris" {
	need_mounts
	mkdir full
	cat >steps <<-'EOF'
		mount -t tmpfs -o size=1M none full
		export VM_STATE=$PWD/full
		trap 'vm-ls -q | vm-rm --force - >/dev/null' EXIT
		vm-create t1 -m 16M --kernel "$1" >/dev/null
		vm-boot t1 | vm-wait --for login -t 20 >/dev/null
		head -c 500k /dev/zero >full/filler
		vm-snap t1 -n one 2>err && echo taken
		head -c 60 err >&2
		ls -A full/vms/t1/snap 2>/dev/null | grep -v lock
		vm-ls -H -p -o state t1
		rm full/filler
		vm-snap t1 -n two
		vm-stop --now t1
	EOF
	run -0 timeout 90 unshare -m bash steps "$tiny"
	echo "$output"
	[[ ${lines[0]} == "vm-snap: t1: "* ]]
	[ "$(tail -n 3 <<<"$output")" = "$(in_lines running t1@two t1)" ]
	[ "${#lines[@]}" = 4 ]
}
