#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vm-console: a terminal, a plain stream, or what was said so far.
# shellcheck disable=SC2154	# bats sets output, stderr, lines

load lib

setup() {
	scratch
	vm-create a b
}
teardown() { unfake; }

# up NAME STEP... : VM NAME runs, its guest follows the steps (puppet.c)
up() { FAKES+=("$("$VM_BIN/tests/cli/puppet" "$@" 3>&-)"); }

console() { timeout 20 vm-console "$@"; }

# typed SECONDS TEXT... : types them slowly
typed() {
	local pause=$1 text
	shift
	for text; do
		sleep "$pause"
		# shellcheck disable=SC2059
		printf "$text"
	done
	sleep "$pause"
}

# on_tty COMMAND : runs it on a terminal that is typed at by standard input
on_tty() { timeout 20 script -qefc "$1" /dev/null; }

@test "one VM is named; nothing else will do" {
	run -2 console
	run -2 console a b
	run -2 console --nonsense a
	run -2 console -t soon a
	run -2 console 'a/b'
	run -10 console x
	run -10 console --log x
}

@test "a VM that does not run has no console, but a log" {
	run -7 --separate-stderr console a
	[ "$stderr" = "vm-console: a: not running" ]
	run -0 console --log a
	[ -z "$output" ]
	up a 'say=last words\r\n' off
	timeout 20 vm-wait a --for stopped
	run -0 console --log a
	[ "$output" = $'last words\r' ]
}

@test "a stream begins at the start of the boot and ends with the VM" {
	up a 'say=one\n' wait=300 'say=two\n' wait=300 off
	run -0 --separate-stderr console a </dev/null
	[ "$output" = $'one\ntwo' ]
	[ -z "$stderr" ]
}

@test "--live prints only what comes" {
	up a 'say=one\n' wait=800 'say=two\n' wait=100 off
	sleep 0.2
	run -0 console --live a </dev/null
	[ "$output" = two ]
}

@test "a stream without input stays, with a closed one too, and with -r" {
	up a 'say=one\n' wait=500 'say=two\n' off
	console a <&- >closed.out &
	console -r a < <(echo off) >readonly.out &
	console a < <(sleep 0.1) >empty.out &
	console a </dev/null >null.out &
	wait
	for f in closed readonly empty null; do
		[ "$(cat $f.out)" = $'one\ntwo' ]
	done
}

@test "a reader that has seen enough ends it, though the guest is silent" {
	up a 'say=one\n' 'say=web1 login: \n'
	[ "$(console a </dev/null | grep -m1 login:)" = "web1 login: " ]
	console a </dev/null | head -c 1 >first
	[ "$(cat first)" = o ]
}

@test "input is delivered and what came of it printed, then it ends" {
	up a 'say=login: '
	run -0 console a < <(printf 'id\n')
	[ "$output" = $'login: id\r\nuid=0(root)\r' ]
	run -0 console --live a < <(typed 0.2 'id\n' 'id\n')
	[ "$output" = $'id\r\nuid=0(root)\r\nid\r\nuid=0(root)\r' ]
}

@test "input that the guest does not take yet is waited for" {
	up a deaf wait=600 hear
	console a >out < <(printf 'id\n')
	[ "$(cat out)" = $'id\r\nuid=0(root)\r' ]
}

@test "input that the guest never took is a failure, with its sentence" {
	up a deaf wait=400 off
	run -7 --separate-stderr console a < <(printf 'id\n')
	[ "$stderr" = "vm-console: a: stopped before it took all input" ]
}

@test "input that ends the VM was delivered" {
	for _ in {1..5}; do
		up a
		run -0 console a < <(printf 'off\n')
		timeout 20 vm-wait a --for stopped
	done
}

@test "a VM that ends while more input could come ends the stream" {
	up a
	run -0 console a < <(printf 'off\n'; sleep 5)
	[ "$output" = $'off\r' ]
}

@test "--linger waits for the answer" {
	up a wait=400 'say=late\n'
	run -0 console a < <(printf 'id\n')
	[[ $output != *late* ]]
	vm-reset --hard a
	run -0 console -t 1 a < <(printf 'id\n')
	[[ $output == *late* ]]
}

@test "much input arrives whole and in order" {
	up a
	seq 20000 >numbers
	console a <numbers >out
	tr -d '\r' <out | cmp - numbers
}

@test "much output is replayed whole to many readers at once" {
	up a lines=20000 wait=1500 off
	for i in 1 2 3 4; do console a </dev/null >"out$i" & done
	wait
	seq -f $'line %.0f\r' 20000 >want
	for i in 1 2 3 4; do cmp "out$i" want; done
}

@test "one writer at a time; a reader is no writer" {
	up a
	console a < <(printf x; sleep 2) >/dev/null &
	writer=$!
	console a </dev/null >/dev/null &
	sleep 0.5
	run -11 --separate-stderr console a < <(printf y)
	[ "$stderr" = "vm-console: a: console has a writer" ]
	wait "$writer"
	run -0 console a < <(printf y)
	vm-stop --now a
	wait
}

@test "--log prints this boot of a live VM, and ends" {
	up a 'say=first\n'
	console a >/dev/null < <(printf 'reset\n')
	run -0 console --log a </dev/null
	[ "$output" = first ]
	vm-stop --now a
	run -0 console --log a
	[ "$output" = $'first\nreset\r\nfirst' ]
}

@test "--log of a VM that does not answer comes from its files" {
	up a 'say=one\n'
	vm-stop --now a
	fake a hang
	run -0 console --log a
	[ "$output" = one ]
}

@test "standard output that is full or closed is an error" {
	up a 'say=one\n'
	run -1 --separate-stderr bash -c 'timeout 20 vm-console a </dev/null >/dev/full'
	[[ $stderr == "vm-console: standard output: No space"* ]]
	run -1 bash -c 'timeout 20 vm-console --log a >/dev/full'
	run -1 bash -c 'timeout 20 vm-console a </dev/null >&-'
}

@test "on a terminal: keys go to the guest, ~. leaves, ~~ is a tilde" {
	up a 'say=login: '
	run -0 on_tty "vm-console a" < <(typed 0.3 'id\r' '~~x\r' '~a\r' '~.')
	[[ $output == *"connected, ~. leaves"* ]]
	[[ $output == *"uid=0(root)"* ]]
	[[ $output == *$'\n~x\r'* ]]
	[[ $output == *$'\n~a\r'* ]]
	[[ $output == *"a: disconnected"* ]]
}

@test "on a terminal: ~? helps; the VM's end is said" {
	up a
	run -0 on_tty "vm-console a" < <(typed 0.3 '~?' 'off\r' '')
	[[ $output == *"~~ sends a tilde"* ]]
	[[ $output == *"a: stopped"* ]]
}

@test "on a terminal: the second one reads only" {
	up a
	console a < <(printf x; sleep 2) >/dev/null &
	sleep 0.3
	run -0 on_tty "vm-console a" < <(typed 0.3 'id\r' '~.')
	[[ $output == *"console has a writer (read only)"* ]]
	[[ $output != *uid* ]]
	wait
}

@test "the terminal is as it was: after ~., the VM's end, a signal" {
	up a
	run -0 on_tty 'stty -g >before; vm-console a; stty -g >after' < <(typed 0.3 '~.')
	cmp before after
	run -143 on_tty 'stty -g >before
		(sleep 0.5; stty -g </dev/tty >during; kill $(pgrep -P $$ -x vm-console)) &
		vm-console a; rc=$?; stty -g >after; exit $rc' < <(typed 1)
	cmp before after
	run ! cmp -s before during
	run -0 on_tty 'stty -g >before; vm-console a; stty -g >after' < <(typed 0.3 'off\r')
	cmp before after
}

@test "a log on a terminal is text: nothing in it controls the terminal" {
	up a 'say=\e[31mred\e[0m \e]0;title\\say\n'
	run -0 on_tty "vm-console --log a" </dev/null
	[[ $output == *"red "* ]]
	[[ $output != *$'\033'* ]]
	run -0 console --log a
	[[ $output == *$'\033[31mred'* ]]
}
