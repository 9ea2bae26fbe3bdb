#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vm-wait: each VM's name when it meets the condition.
# shellcheck disable=SC2154	# bats sets output, stderr, lines

load lib

setup() {
	scratch
	vm-create a b c
}
teardown() { unfake; }

# up NAME STEP... : VM NAME runs, its guest follows the steps (puppet.c)
up() { FAKES+=("$("$VM_BIN/tests/cli/puppet" "$@" 3>&-)"); }

await() { timeout 20 vm-wait "$@"; }

@test "the condition is needed, and must be one" {
	run -2 await a
	run -2 await a --for
	run -2 await a --for ready
	run -2 await a --for tcp:22
	run -2 await a --for agent
	run -2 await a --for login -t never
	run -2 await --for login </dev/null
	run -2 --separate-stderr await a --for 'console:(x'
	[[ $stderr == "vm-wait: --for 'console:(x': "* ]]
	vm-wait --help | grep -q 'console:REGEX'
	run ! grep -q 'tcp:\|agent' <(vm-wait --help)
}

@test "no such VM is said at once and others are waited for" {
	up a 'say=login: '
	run -10 await x --for login
	run -3 --separate-stderr await x a --for login
	[ "$output" = a ]
	[ "$stderr" = "vm-wait: x: no such VM" ]
	VM_STATE=$PWD/none run -10 await a --for stopped
}

@test "login: the prompt, also without an end of line, also when more follows" {
	up a 'say=a login: '
	up b wait=300 'say=b \e[1mlogin: [ 12.5] random: crng init done\r\n'
	up c 'say=Last login\r\nlogin:\r\n' wait=600 'say=c login: '
	run -0 await a b c --for login
	[ "$(sort <<<"$output")" = $'a\nb\nc' ]
}

@test "names are printed as they meet it, not as they were given" {
	await a b --for login >said 3>&- &
	up b 'say=login: '
	until [ -s said ]; do sleep 0.05; done
	up a 'say=login: '
	wait $!
	[ "$(cat said)" = $'b\na' ]
}

@test "console: a POSIX extended expression, on lines and on the last one" {
	up a 'say=x[  OK  ] Started \e[0;32mcron\e[0m.\r\n' 'say=partial'
	run -0 await a --for 'console:OK +\] Started cron\.$'
	run -0 await a --for 'console:^partial$'
	run -124 await a --for 'console:^OK' -t 0.3
	run -124 await a --for 'console:ron.partial' -t 0.3
	run -0 await a --for 'console:' -t 5
}

@test "what an earlier boot said does not count" {
	up a 'say=up\n' wait=300 'say=done\n'
	await a --for console:done
	vm-console a >/dev/null < <(printf 'say reset\nreset\n')
	run -124 await a --for 'console:say reset' -t 0.2
	run -0 await a --for console:done
}

@test "a reset while waiting: the new boot is listened to" {
	up a wait=1500 'say=login' wait=1500 'say=: \n'
	await a --for login >out &
	sleep 0.4
	vm-reset --hard a
	run -124 await a --for login -t 0.2
	wait
	[ "$(cat out)" = a ]
}

@test "last words count" {
	up a wait=1500 'say=reboot: Power down\n' off
	run -0 await a --for 'console:Power down'
}

@test "a VM that stops or crashes before it is ready fails at once with 7" {
	up a wait=1500 'say=panic\n' off
	run -7 --separate-stderr await a --for login
	[ "$stderr" = "vm-wait: a: stopped before it was ready" ]
	up b wait=1500 crash
	run -7 --separate-stderr await b --for login
	[ "$stderr" = "vm-wait: b: has crashed" ]
	up c
	await c --for login 2>err &
	sleep 0.3
	kill -9 "${FAKES[-1]}"
	wait $! || rc=$?
	[ "$rc" = 7 ]
}

@test "running, paused: now or when it becomes so" {
	up a
	run -0 await a --for running
	await a --for paused >out &
	sleep 0.3
	vm-pause a
	wait
	[ "$(cat out)" = a ]
	await a --for running >out &
	sleep 0.3
	[ ! -s out.2 ]
	vm-resume a
	wait
	run -0 await a --for running
}

@test "a VM that does not run yet is waited for" {
	await a b --for running >out1 &
	await a --for login >out2 &
	sleep 0.5
	up a wait=100 'say=login: '
	up b
	wait
	[ "$(cat out1)" = $'a\nb' ]
	[ "$(cat out2)" = a ]
}

@test "a VM that ended is waited for again where only the state counts" {
	up a
	vm-pause a
	await a --for running >out &
	sleep 0.3
	vm-stop --now a
	sleep 0.2
	up a
	wait
	[ "$(cat out)" = a ]
}

@test "stopped: at once, when it stops, and only when its lock is free" {
	run -0 await a --for stopped
	up a wait=400 off
	up b
	run -0 await a --for stopped
	up a			# takes the lock
	await b --for stopped >out &
	sleep 0.3
	kill -9 "${FAKES[1]}"
	wait
	[ "$(cat out)" = b ]
	up b
	fake c busy
	run -124 await c --for stopped -t 0.3
	await c --for stopped >out &
	sleep 0.3
	unfake
	wait
	[ "$(cat out)" = c ]
}

@test "-t: 124 and a sentence each; 3 when some were in time" {
	up a
	up b 'say=login: '
	run -124 --separate-stderr await a --for login -t 0.3
	[ "$stderr" = "vm-wait: a: timed out waiting for login" ]
	run -124 await a c --for login -t 0.3
	run -3 --separate-stderr await a b --for login -t 0.3
	[ "$output" = b ]
	run -124 await --for login -t 0.3 < <(sleep 1)
}

@test "--any: the first one is enough" {
	up a
	up b wait=300 'say=login: '
	run -0 await a b c --for login --any
	[ "$output" = b ]
	run -0 await x b --for login --any
	run -124 await a c --for login --any -t 0.3
}

@test "--any prints one name, though many meet it" {
	up a 'say=login: '
	up b 'say=login: '
	run -0 await a b --for login --any
	[ "${#lines[@]}" = 1 ]
}

@test "a VM that is removed is waited for no more" {
	await a --for login 2>err &
	await a --for stopped >out &
	sleep 0.4
	vm-rm a
	wait %1 || rc=$?
	[ "$rc" = 10 ]
	[ "$(cat err)" = "vm-wait: a: was removed" ]
	wait
	[ "$(cat out)" = a ]
}

@test "names come from a pipe while others are waited for" {
	up a 'say=login: '
	up b 'say=login: '
	{ echo a; sleep 1; echo "  b "; echo; } | await --for login >out &
	sleep 0.5
	[ "$(cat out)" = a ]
	wait
	[ "$(cat out)" = $'a\nb' ]
	printf 'a\nb\n' >names
	[ "$(await --for login <names | sort)" = $'a\nb' ]
	[ "$(printf 'b' | await a - --for login | sort)" = $'a\nb' ]
}

@test "a VM that does not answer is an error, the others are waited for" {
	up a 'say=login: '
	fake b hang
	run -3 --separate-stderr await a b --for login -t 15
	[ "$output" = a ]
	[[ $stderr == "vm-wait: b: does not answer" ]]
}

@test "standard output that is full is an error, a reader that left is not waited for" {
	up a 'say=login: '
	run -1 bash -c 'timeout 20 vm-wait a --for login >/dev/full'
	timeout 20 vm-wait a --for login | true
}

@test "forty VMs at once" {
	vm-create v{1..40}
	for ((i = 1; i <= 40; i++)); do echo "v$i"; done | await --for login >out &
	for ((i = 1; i <= 40; i++)); do up "v$i" 'say=login: '; done
	wait
	[ "$(sort -V out)" = "$(printf 'v%d\n' {1..40})" ]
}
