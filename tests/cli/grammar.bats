#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# What is the same for every command: options, names, output, exit status.
# shellcheck disable=SC2016,SC2086,SC2154	# inner shells expand; some words are to be split; bats sets output

load lib

setup() { scratch; }
teardown() { unfake; }

# Every command that was built.
commands() {
	local c
	for c in "$BATS_TEST_DIRNAME"/../../cmd/*.c; do
		c=${c##*/}
		echo "${c%.c}"
	done
}

@test "--help says usage, summary and options on standard output" {
	for c in $(commands); do
		run -0 --separate-stderr "$c" --help
		[ "${lines[0]%%]*}" = "usage: $c [OPTION" ]
		[ -z "$stderr" ]
		[[ $output == *"  -h, --help  "* ]]
		run -0 "$c" -h
	done
}

@test "--version names the command" {
	for c in $(commands); do
		run -0 "$c" --version
		[ "$output" = "$c (vmutils) 0.1" ]
	done
}

@test "vm lists each command with its own summary" {
	run -0 vm
	want=$(for c in $(commands); do
		[ "$c" = vm ] || "$c" --help | sed -n "2s/^/${c#vm-} /p"
	done | sort)
	[ "$(tr -s ' ' <<<"$output" | sort)" = "$want" ]
}

@test "vm runs vm-COMMAND, its words untouched, from its own directory" {
	vm create a -m 1G
	PATH=/usr/bin:/bin run -0 "$VM_BIN/vm" ls -H -o name,memory
	[ "$output" = $'a\t1G' ]
	run -0 vm --state "$PWD/other" --lock-wait 1.5 -v create -- b
	VM_STATE=$PWD/other run -0 vm ls -q
	[ "$output" = b ]
	run -2 vm ls --nonsense
}

@test "vm finds commands of others in PATH" {
	mkdir bin
	printf '#!/bin/sh\necho "mine: $*"\n' >bin/vm-mine
	chmod +x bin/vm-mine
	PATH=$PWD/bin:$PATH run -0 vm mine -x y
	[ "$output" = "mine: -x y" ]
}

@test "an unknown command is 2, with what may have been meant" {
	run -2 vm crate
	[ "$output" = "vm: crate: no such command (create?)" ]
	run -2 vm ../ls
	run -2 vm ''
}

@test "an unknown option is 2 for every command" {
	for c in $(commands); do
		run -2 --separate-stderr "$c" --no-such-option x
		[[ $stderr == "$c: unknown option --no-such-option" ]]
		[ -z "$output" ]
	done
}

@test "messages go to standard error, data to standard output" {
	vm-create a
	run -3 --separate-stderr vm-create a b
	[ "$output" = b ]
	[ "$stderr" = "vm-create: a: already exists" ]
}

@test "operands and options mix, -- ends options" {
	run -0 vm-create a -m 1G b --cpus=2 -- c
	[ "$output" = "$(in_lines a b c)" ]
	[ "$(col c memory)" = 1073741824 ]
	run -2 vm-create -- -m
	[[ $output == *"'-m': not a VM name"* ]]
}

@test "names come from a pipe, with - or without operands" {
	run -0 vm-create < <(in_lines ' a ' '' b)
	[ "$output" = "$(in_lines a b)" ]
	run -0 bash -c 'printf "c\nd" | vm-create x - y'
	[ "$output" = "$(in_lines x c d y)" ]
	run -0 bash -c 'vm-ls -q | vm-ls -q -s name -'
	[ "$output" = "$(in_lines a b c d x y)" ]
}

@test "no names at all is a usage error, from /dev/null, nothing and a terminal" {
	for c in vm-create vm-rm "vm-set memory=1G"; do
		run -2 timeout 5 bash -c "$c </dev/null"
		[[ $output == *"no names"* ]]
		run -2 timeout 5 bash -c "$c <&-"
		run -2 timeout 5 setsid -w bash -c "$c </dev/null"
		run -2 timeout 5 script -qec "$c" /dev/null </dev/null
	done
}

@test "what destroys takes names from a pipe only for -" {
	vm-create a b
	run -2 vm-rm < <(echo a)
	[ "$(vm-ls -q | wc -l)" = 2 ]
	run -0 vm-rm - < <(echo a)
	[ "$(vm-ls -q)" = b ]
}

@test "an empty pipe is nothing to do" {
	run -0 vm-create < <(:)
	run -0 vm-rm - </dev/null
	run -0 vm-set memory=1G - </dev/null
	[ -z "$output" ]
}

@test "a name is printed once it is done, while the pipe's writer goes on" {
	(echo a; sleep 3; echo b) | vm-create | {
		read -r -t 2.5 name
		[ "$name" = a ]
		[ -d "$VM_STATE/vms/a" ]
	}
}

@test "the exit status is that of all, or partial" {
	vm-create a
	run -10 vm-rm x
	run -10 vm-rm x y
	run -3 vm-rm a x
	[[ ${lines[*]} == *"vm-rm: x: no such VM"* ]]
	run -3 vm-rm x x/y
}

@test "messages name the VM once" {
	run -10 vm-rm x
	[ "$output" = "vm-rm: x: no such VM" ]
	run -2 vm-rm 'X/y'
	[[ $output == "vm-rm: 'X/y': not a VM name"* ]]
}

@test "control characters of a name never reach the terminal" {
	run vm-ls $'\e[31mred'
	[[ $output != *$'\e'* ]]
	run bash -c "printf 'a\0b\n' | vm-ls -"
	[[ $output == *"a?b"* ]]
}

@test "a full disk under standard output is an error" {
	vm-create a
	for c in "vm-ls" "vm-ls --json" "vm-ls -q" "vm-ls --help" "vm --version" vm; do
		run -1 --separate-stderr bash -c "$c >/dev/full"
		[ "$stderr" = "${c%% *}: standard output: No space left on device" ]
	done
	run -1 --separate-stderr bash -c 'vm-create b c >/dev/full'
	[ "$stderr" = "vm-create: standard output: No space left on device" ]
	[ "$(vm-ls -q | tr '\n' ' ')" = "a b c " ]
}

@test "a closed standard output is an error if there is something to print" {
	vm-create a
	run -1 bash -c 'vm-ls >&-'
	[[ $output == "vm-ls: standard output: "* ]]
	run -0 bash -c 'vm-ls -q -f name=none >&-'
	run -1 bash -c 'vm-create b >&-'
	run -0 vm-ls -q b
}

@test "closed descriptors are not taken by other files" {
	run -0 bash -c 'vm-create a >names 0<&- 2>&-'
	[ "$(cat names)" = a ]
	run bash -c 'vm-create b 0<&- 1>&- 2>&-'
	[ "$(head -n 1 "$VM_STATE/vms/b/config")" = "# b" ]
}

@test "a reader that left does not stop the work, and ends the command quietly" {
	names=$(seq -f 'v%g' 600)
	run -141 --separate-stderr bash -c 'trap - PIPE
		vm-create '"${names//$'\n'/ }"' | head -n 1 >first
		exit "${PIPESTATUS[0]}"'
	[ -z "$stderr" ]
	[ "$(vm-ls -q | wc -l)" = 600 ]
	run bash -c 'vm-ls -q | vm-rm - | head -n 1 >first
		exit "${PIPESTATUS[1]}"'
	[ -z "$(vm-ls -q)" ]
}

@test "listing ends at once when its reader left" {
	run -141 bash -c 'exec 3> >(:); wait $!; vm-create a >/dev/null; vm-ls >&3'
}

@test "--state goes over VM_STATE" {
	vm-create --state other a
	run -0 vm-ls -q
	[ -z "$output" ]
	run -0 vm-ls -q --state=other
	[ "$output" = a ]
}

@test "without a state directory there are no VMs, and listing makes none" {
	run -0 vm-ls -q
	[ ! -e "$VM_STATE" ]
	run -10 vm-rm a
	run -10 vm-set a memory=1G
	[ ! -e "$VM_STATE" ]
}

@test "a state of a newer format is refused by all" {
	vm-create a
	echo 7 >"$VM_STATE/format"
	for c in vm-ls "vm-create b" "vm-rm a" "vm-set a memory=1G"; do
		run -6 $c
		[[ $output == *"format 7"* ]]
	done
}

@test "a read-only state can be listed, not changed" {
	need_mounts
	vm-create a
	run -0 unshare -m bash -c 'mount --bind state state && mount -o remount,ro,bind state &&
		vm-ls -q
		for c in "vm-create b" "vm-rm a" "vm-set a memory=1G"; do
			$c
			[ $? = 4 ] || echo "$c: not 4"
		done 2>messages
		cat messages'
	[ "${lines[0]}" = a ]
	[[ $output != *"not 4"* ]]
	[[ $output == *"Read-only file system"* ]]
}

@test "someone else's state is a matter of permission" {
	[ "$(id -u)" = 0 ] || skip "not root"
	vm-create a
	other="setpriv --reuid=65534 --regid=65534 --clear-groups"
	mkdir bin	# the build itself may be nobody else's to read
	cp "$VM_BIN"/vm-{ls,create,rm} bin
	chmod 755 . bin "$BATS_RUN_TMPDIR" "$BATS_TEST_TMPDIR"
	for c in vm-ls "vm-create b" "vm-rm a"; do
		run -4 $other bin/$c
	done
}

@test "a full file system fails what did not fit and leaves nothing of it" {
	need_mounts
	mkdir full
	run -0 unshare -m bash -c 'mount -t tmpfs -o size=256k none full
		export VM_STATE=$PWD/full
		vm-create ok >/dev/null || exit 1
		head -c 300k /dev/zero >full/filler 2>/dev/null
		vm-create a b c
		echo "status $?"
		rm full/filler
		vm-ls -q
		ls -A full/vms'
	[[ $output == *"No space left on device"* ]]
	[ "$(tail -n 3 <<<"$output")" = "$(in_lines 'status 1' ok ok)" ]
}
