#!/usr/bin/env bats
# Guests that misbehave (tests/guest/hostile.c, rampage.c) on any /dev/kvm: the
# VM is reset, its device breaks, or it stops with a message. The process
# neither crashes nor hangs nor grows.
# shellcheck disable=SC2034,SC2154	# bats sets and reads some

bats_require_minimum_version 1.5.0
load lib

# What a VM's process may grow by: memory beside the guest's own (KiB; a
# sanitizer keeps more), descriptors (one for each MSI-X vector in use).
GROWTH=${VM_GROWTH_KB:-2048}
FDS=12
# Most bytes of a VM's log and of its console's, which keeps 1M.
LOG_MAX=$((320 << 10))
CONSOLE_MAX=$((1100 << 10))

setup() {
	scratch
	need_kvm
}

teardown() {
	[[ ! -d ${VM_STATE:-} ]] || vm-ls -q 2>/dev/null | vm-rm --force - >/dev/null 2>&1 || :
}

# own PID : its descriptors, and its KiB beside the guest's memory, which
# alone is left out of core dumps ("dd")
own() {
	local fds=("/proc/$1/fd/"*)
	echo "${#fds[@]} $(awk '$1 == "Rss:" { kb = $2 }
		$1 == "VmFlags:" && !/ dd( |$)/ { sum += kb }
		END { print sum }' "/proc/$1/smaps")"
}

# guest NAME KERNEL ORDER [OPTION...] : boots it, its size at the start noted
guest() {
	local name=$1 kernel=$VM_BIN/tests/guest/$2 order=$3
	shift 3
	printf host >"$name.img"
	truncate -s 1M "$name.img"
	vm-create "$name" -m 16M --kernel "$kernel" --append "hostile=$order" \
		--disk "$PWD/$name.img" --set console=virtio "$@" >/dev/null
	vm-boot --paused "$name" >/dev/null
	col "$name" pid >"$name.pid"
	own "$(<"$name.pid")" >"$name.own"
	vm-resume "$name" >/dev/null
}

# bytes FILE... : of those that are there
bytes() { cat "$@" 2>/dev/null | wc -c; }

# intact NAME STATE... : one process since it was booted, which answers at
# once, is in one of these states, and has grown by nothing
intact() {
	local name=$1 fds kb fds_now kb_now pid state dir=$VM_STATE/vms/$1
	shift
	read -r state pid < <(timeout 5 vm-ls -H -p -o state,pid "$name")
	# on an emulated host half a second may not do
	[[ $pid != - ]] ||
		read -r state pid < <(timeout 5 vm-ls -H -p -o state,pid "$name")
	echo "# $name: $state, process $pid, was $(<"$name.pid")"
	[[ " $* " == *" $state "* && $pid == "$(<"$name.pid")" ]] || return 1
	read -r fds kb <"$name.own"
	read -r fds_now kb_now < <(own "$pid")
	echo "# $name: descriptors $fds, now $fds_now; KiB $kb, now $kb_now;" \
		"log $(bytes "$dir/log") bytes, console $(bytes "$dir"/console.log{,.1})"
	((fds_now <= fds + FDS && kb_now <= kb + GROWTH)) || return 1
	(($(bytes "$dir/log") <= LOG_MAX)) || return 1
	(($(bytes "$dir"/console.log{,.1}) <= CONSOLE_MAX)) || return 1
	! grep -aE 'ERROR: |runtime error: |WARNING: ' "$dir/log"
}

# unplug NAME... : ends at once
unplug() {
	timeout 5 vm-stop --now "$@" >/dev/null
	[ "$(vm-ls -q -f state=stopped "$@" | wc -l)" = $# ]
}

# tried NAME... : every crime was committed and came to what it was to
tried() {
	local name
	for name; do
		vm-wait "$name" --for 'console:hostile: end' -t 120 >/dev/null
		vm-console --log "$name" | tr -d '.\r' | grep -aE '^(not ok|hostile:)' || :
		vm-console --log "$name" | grep -aqE 'hostile: end, [1-9][0-9]* ok, 0 not ok'
		[ "$(col "$name" boots)" = 1 ]
		intact "$name" running
	done
	unplug "$@"
}

# boots_beyond N NAME : waits until it was booted more often
boots_beyond() {
	local boots
	for _ in {1..200}; do
		boots=$(col "$2" boots)
		[[ $boots == - || $boots -le $1 ]] || return 0
		sleep 0.1
	done
	return 1
}

# stormy NAME... : all at once, two processors each, while others are served
stormy() {
	local name
	for name; do guest "$name" rampage "$name" -c 2; done
	sleep 2
	for name; do intact "$name" running crashed; done
	unplug "$@"
}

@test "a ring that loops, jumps or points outside RAM breaks its device, no other" {
	guest h hostile ring-
	tried h
}

@test "so does an indirect table that loops, nests, is too long or not RAM" {
	guest h hostile indirect-
	tried h
}

@test "a queue out of bounds is refused; one in use cannot be changed" {
	guest h hostile queue-
	tried h
}

@test "steps out of order are not taken; a reset amid requests is one" {
	guest h hostile step-
	tried h
}

@test "doorbells flooded, rung too early and for no queue do no harm" {
	guest h hostile kick-
	tried h
}

@test "MSI-X vectors that are not there and messages to anywhere do no harm" {
	guest h hostile msix-
	tried h
}

@test "requests beyond the disk, without a status or of 1 GiB are answered or break it" {
	guest h hostile request-
	tried h
	[ "$(stat -c %s h.img)" = $((1 << 20)) ]
}

@test "every register, port and width of an access is answered" {
	guest s rampage sweep-
	guest r rampage ports-r
	guest w rampage ports-w
	guest p rampage ports-p
	guest i rampage ports-s
	guest c rampage serial-
	tried s r w p i c
}

@test "BARs laid over each other, RAM and chips, and used there, can be put back" {
	guest h rampage bar-
	tried h
}

@test "two processors fight over every device, which can be used afterwards" {
	guest h rampage smp- -c 2
	tried h
}

@test "resets without end, by any door: process, log and descriptors stay small, a neighbour stays" {
	guest neighbour rampage halt
	for door in reset-{fault,control,keyboard,system,broken,busy} wild-segments nmi-self; do
		guest "$door" rampage "$door"
		# all but full, so that it need not complain for minutes
		head -c 300K /dev/zero | tr '\0' '\n' >>"$VM_STATE/vms/$door/log"
		boots_beyond 20 "$door"
		intact "$door" running
		unplug "$door"
	done
	intact neighbour running
	unplug neighbour
}

@test "a jump into nothing or a device, an INIT: stopped with a message, or reset" {
	local ways=(jump-nowhere jump-bar jump-ecam jump-top init-self)
	for w in "${ways[@]}"; do guest "$w" rampage "$w"; done
	for w in "${ways[@]}"; do
		for _ in {1..100}; do
			[[ $(col "$w" state) == running && $(col "$w" boots) == 1 ]] || break
			sleep 0.05
		done
		intact "$w" crashed running
		[[ $(col "$w" boots) -gt 1 ]] || grep -q 'crashed: ' "$VM_STATE/vms/$w/log"
	done
	unplug "${ways[@]}"
}

@test "storms of interrupts between processors hold up no one, nor their own end" {
	stormy storm-ipi storm-astray storm-fight storm-apic
}

@test "storms of kicks and requests hold up no one, nor their own end" {
	stormy storm-kick storm-queue wild-stack wild-paging halt
}

@test "output without end is kept in part and holds up no one, nor its own end" {
	stormy storm-console storm-serial
}

@test "what turns itself off is off" {
	guest h rampage off
	run -0 vm-wait h --for stopped -t 20
	[ "$(col h state)" = stopped ]
	[ ! -s "$VM_STATE/vms/h/log" ]
}
