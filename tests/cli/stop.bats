#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vm-stop, vm-reset, vm-pause, vm-resume.
# shellcheck disable=SC2154	# bats sets output, stderr, lines

load lib

setup() {
	scratch
	vm-create a b c
}
teardown() { unfake; }

# up NAME STEP... : VM NAME runs, its guest follows the steps (puppet.c)
up() { FAKES+=("$("$VM_BIN/tests/cli/puppet" "$@" 3>&-)"); }

stop() { timeout 20 vm-stop "$@"; }
reset() { timeout 20 vm-reset "$@"; }

state() { vm-ls -H -o state "$1"; }

@test "names are needed, known and well formed" {
	for c in vm-stop vm-reset vm-pause vm-resume; do
		run -2 timeout 5 $c </dev/null
		run -2 timeout 5 $c 'a/b'
		run -2 timeout 5 $c --nonsense a
		run -10 timeout 5 $c x
	done
	run -2 stop -t long a
	run -2 reset --soft --hard a
}

@test "a VM that does not run is stopped; the others cannot do their work" {
	run -0 stop a b
	[ "$(sort <<<"$output")" = $'a\nb' ]
	for c in vm-reset vm-pause vm-resume; do
		run -7 --separate-stderr timeout 5 $c a
		[ "$stderr" = "$c: a: not running" ]
	done
}

@test "the button stops a guest that listens; its lock is free then" {
	up a listen
	run -0 stop a
	[ "$output" = a ]
	up a listen		# would fail if the lock were held
	vm-console --log a >/dev/null
	echo a | stop | grep -x a
}

@test "a guest that is still starting is waited for, then the button pressed" {
	up a wait=500 listen
	run -0 stop a
	vm-console --log a | grep -q button
}

@test "a guest that does not go is 124, and --force pulls the plug" {
	up a listen ignore
	up b
	run -124 --separate-stderr stop a -t 0.3
	[ "$stderr" = "vm-stop: a: still running after its power button was pressed" ]
	run -124 --separate-stderr stop b -t 0.3
	[ "$stderr" = "vm-stop: b: the guest does not listen to its power button" ]
	run -0 stop a b -t 0.3 --force
	[ "$(sort <<<"$output")" = $'a\nb' ]
	[ "$(state a)" = stopped ]
}

@test "--now asks nobody" {
	up a listen
	run -0 stop --now a
	run ! grep -q button <(vm-console --log a)
}

@test "a paused VM is not stopped by its button, a crashed one is stopped" {
	up a listen
	vm-pause a
	run -1 --separate-stderr stop a
	[ "$stderr" = "vm-stop: a: is paused (vm-resume it first)" ]
	run -0 stop --force a
	up b crash
	run -0 stop b
	up c listen
	vm-pause c
	run -0 stop --now c
}

@test "what holds the lock without running is busy, unless it lets go" {
	fake a busy
	stop a >out &
	sleep 0.5
	unfake
	wait
	[ "$(cat out)" = a ]
}

@test "a VM that does not answer is killed by --now, not by the button" {
	fake a hang
	run -124 --separate-stderr timeout 20 vm-stop -t 1 a
	[ "$stderr" = "vm-stop: a: does not answer" ]
	run -0 stop --now a
	run -0 stop a
}

@test "many are stopped at the same time" {
	vm-create v{1..20}
	for ((i = 1; i <= 20; i++)); do up "v$i" listen ignore; done
	SECONDS=0
	run -124 stop -t 2 v{1..20}
	[ "$SECONDS" -lt 12 ]
	run -0 stop --now v{1..20}
	[ "${#lines[@]}" = 20 ]
}

@test "reset is by the button where the guest listens, else by the line" {
	up a listen 'say=up\n'
	run -0 reset a
	[ "$output" = a ]
	[ "$(vm-ls -H -o state a)" = running ]
	vm-stop --now a
	[ "$(vm-console --log a | tr -d '\r')" = $'up\nbutton\nup' ]
	up b 'say=up\n'
	run -0 reset b
	vm-stop --now b
	[ "$(vm-console --log b)" = $'up\nup' ]
}

@test "--hard never presses the button; --soft waits for it" {
	up a listen 'say=up\n'
	run -0 reset --hard a
	vm-stop --now a
	[ "$(vm-console --log a)" = $'up\nup' ]
	up b wait=400 listen
	run -0 reset --soft b
	up c
	run -124 reset --soft -t 0.3 c
	[ "$(state c)" = running ]
}

@test "a crashed or a paused VM is reset by the line" {
	up a wait=100 crash
	timeout 20 vm-wait a --for login || true
	run -0 reset a
	up b listen
	vm-pause b
	run -1 reset --soft b
	run -0 reset b
}

@test "pause and resume are idempotent, and refuse a crashed VM" {
	up a
	run -0 vm-pause a
	run -0 vm-pause a
	[ "$(state a)" = paused ]
	run -0 vm-resume a
	run -0 vm-resume a
	[ "$(state a)" = running ]
	up b crash
	run -11 vm-pause b
	run -11 vm-resume b
	run -3 --separate-stderr vm-pause a b x
	[ "$output" = a ]
}

@test "standard output that is full or closed is an error; the work is done" {
	up a listen
	run -1 bash -c 'timeout 20 vm-stop a >/dev/full'
	[ "$(state a)" = stopped ]
	up b listen
	timeout 20 vm-stop b | true
	timeout 20 vm-wait b --for stopped
}
