#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vm-prune: what is kept, as a filter and of VMs.
# shellcheck disable=SC2154	# bats sets output, stderr, lines

load lib

setup() {
	scratch
	export TZ=UTC0
}
teardown() { unfake; }

# at 'DATE' : seconds since the epoch, in this test's zone
at() { date -d "$1" +%s; }

# list NAME 'DATE'... : lines of a name, a tab and a time
list() {
	while (($#)); do
		printf '%s\t%s\n' "$1" "$(at "$2")"
		shift 2
	done
}

# snapshot VM NAME 'DATE' [LINE...] : a record of one, with more lines of meta
snapshot() {
	local dir=$VM_STATE/vms/$1/snap/$2
	mkdir -p "$dir"
	cp "$VM_STATE/vms/$1/config" "$dir/config"
	{ echo "created=$(at "$3")"; printf '%s\n' "${@:4}"; } >"$dir/meta"
	sed -i '/^$/d' "$dir/meta"
}

snaps_of() { vm-ls -t snap -q; }

# -- what is never done --

@test "without a rule, or with rules that keep nothing, nothing is dropped: 2" {
	vm-create a
	snapshot a s1 2026-01-01
	for o in '' --dry-run '--keep-last 0' '--keep-daily=0 --keep-yearly 0'; do
		# shellcheck disable=SC2086	# options
		run -2 --separate-stderr vm-prune $o a
		[ "$stderr" = "vm-prune: nothing would be kept: give at least one --keep-..." ]
	done
	[ -d "$VM_STATE/vms/a/snap/s1" ]
}

@test "options of a table are for --explain" {
	run -2 vm-prune --keep-last 1 -q a
	run -2 vm-prune --keep-last 1 --json -
	run -2 vm-prune --keep-last=-1 a
	run -2 vm-prune --keep-last x a
}

# -- the filter --

@test "the filter prints the names that the rules drop, as they came, and changes nothing" {
	run -0 vm-prune --keep-last 2 --keep-monthly 1 - < <(list \
		x3 2026-11-03 'any name, é' 2026-10-02 x1 2026-10-01 x4 2026-11-04)
	[ "$output" = "x1" ]
	run -0 vm-prune --keep-last 1 - < <(list x3 2026-11-03 'any name, é' 2026-10-02 x4 2026-11-04)
	[ "$output" = "$(in_lines x3 'any name, é')" ]
	[ ! -e "$VM_STATE" ]
	run -0 vm-prune --keep-last 1 - </dev/null
	[ -z "$output" ]
}

@test "each VM's snapshots are a list of their own" {
	run -0 vm-prune --keep-last 1 - < <(list web1@a 2026-01-01 db@a 2026-01-02 \
		web1@b 2026-01-03 db@b 2026-01-04 web@c 2025-01-01)
	[ "$output" = "$(in_lines web1@a db@a)" ]
}

@test "a third field says what is protected, as vm-ls prints it" {
	run -0 vm-prune --keep-last 1 - < <(printf 'a\t1\tyes\nb\t2\t-\nc\t3\tyes\nd\t4\tno\n')
	[ "$output" = b ]
	run -2 vm-prune --keep-last 1 - < <(printf 'a\t1\tperhaps\nb\t2\n')
}

@test "what vm-ls prints goes through it to vm-rm" {
	vm-create a b
	for i in 1 2 3; do
		snapshot a "s$i" "2026-01-0$i"
		snapshot b "s$i" "2026-02-0$i"
	done
	snapshot b s0 2026-01-01 protected=yes
	vm-ls -t snap -H -p -o name,created,protected | vm-prune --keep-daily 2 - | vm-rm - >removed
	[ "$(sort removed)" = "$(in_lines a@s1 b@s1)" ]
	[ "$(snaps_of)" = "$(in_lines a@s2 a@s3 b@s0 b@s2 b@s3)" ]
}

@test "a line that makes no sense is 2, with its number, and nothing is printed" {
	for line in 'x\ty' 'x\t' '\t5' 'x\t-5' 'x\t5.5' 'x\t99999999999999999999' 'x\t5\tyes\tz'; do
		# shellcheck disable=SC2059	# a format on purpose
		run -2 --separate-stderr vm-prune --keep-last 1 - < <(printf "a\t1\nb\t2\n$line\n")
		[ -z "$output" ]
		[[ $stderr == "vm-prune: standard input: line 3: "* ]]
	done
	run -2 vm-prune --keep-last 1 - < <(printf 'a\t1\0\n')
	run -0 vm-prune --keep-last 1 - < <(printf 'a\t1\r\n\r\n\nb\t2')
	[ "$output" = a ]
}

@test "names of VMs and names with times do not mix: 2, and nothing is done" {
	vm-create a
	snapshot a s1 2026-01-01
	snapshot a s2 2026-01-02
	run -2 vm-prune --keep-last 1 - < <(printf 'a\nx\t5\n')
	[[ $output == *"line 2: "* ]]
	run -2 vm-prune --keep-last 1 - < <(printf 'x\t5\na\n')
	run -2 vm-prune --keep-last 1 a - < <(printf 'x\t5\n')
	run -2 vm-prune --keep-last 1 - a < <(printf 'x\t5\n')
	[ "$(snaps_of | wc -l)" = 2 ]
}

@test "days are those of TZ" {
	list a '2026-11-24 00:30' b '2026-11-24 23:30' c '2026-11-25 12:00' >list
	run -0 vm-prune --keep-daily 2 - <list
	[ "$output" = a ]
	TZ=XXX-1 run -0 vm-prune --keep-daily 2 - <list
	[ "$output" = b ]
	TZ=Europe/Berlin run -0 vm-prune --keep-daily 2 - <list
	[ "$output" = b ]
}

@test "--explain says of each what becomes of it, and by which rule" {
	printf 'p\t5\tyes\n' >list
	list a 2026-11-23 b '2026-11-24 01:00' c '2026-11-24 02:00' d 2025-01-01 >>list
	run -0 vm-prune --keep-last 1 --keep-daily 2 --keep-yearly 5 --explain -H -o name,verdict,rule - <list
	[ "$output" = "$(in_lines $'p\tkeep\tprotected' $'a\tkeep\tdaily' $'b\tdrop\t-' \
		$'c\tkeep\tlast' $'d\tkeep\tdaily')" ]
	run -0 vm-prune --keep-last 1 --explain - <list
	[ "${lines[0]}" = "NAME  TIME                  VERDICT  RULE" ]
	run -0 vm-prune --keep-last 1 --explain --json -f verdict=drop - <list
	[ "$(jq -r .name <<<"$output" | tr '\n' ' ')" = "a b d " ]
}

@test "a hundred thousand names take no time" {
	seq 100000 | sed 's/.*/n&\t&00/' >list
	run -0 timeout 5 vm-prune --keep-last 10 --keep-hourly 1000 --keep-weekly 99 - <list
	[ "${#lines[@]}" -gt 90000 ]
}

# -- VMs --

@test "of the VMs named the dropped are removed and printed, others stay" {
	vm-create a b c
	for i in 1 2 3; do
		snapshot a "s$i" "2026-01-0$i"
		snapshot b "s$i" "2026-01-0$i"
	done
	run -0 vm-prune --keep-last 2 a c
	[ "$output" = a@s1 ]
	[ "$(snaps_of)" = "$(in_lines a@s2 a@s3 b@s1 b@s2 b@s3)" ]
	run -0 vm-prune --keep-last 1 - < <(echo b)
	[ "$output" = "$(in_lines b@s1 b@s2)" ]
	run -0 vm-prune --keep-last 1 a b
	[ "$output" = a@s2 ]
}

@test "no operand is every VM, whatever standard input is; - that is empty is none" {
	vm-create a b
	for v in a b; do
		snapshot $v s1 2026-01-01
		snapshot $v s2 2026-01-02
	done
	run -0 vm-prune --keep-last 1 - </dev/null
	[ -z "$output" ]
	run -0 vm-prune --keep-last 1 --dry-run < <(:)
	[ "$output" = "$(in_lines a@s1 b@s1)" ]
	run -0 bash -c 'vm-prune --keep-last 1 <&-'
	[ "$(sort <<<"$output")" = "$(in_lines a@s1 b@s1)" ]
	[ "$(snaps_of)" = "$(in_lines a@s2 b@s2)" ]
	run -0 vm-prune --keep-last 1 </dev/null
	[ -z "$output" ]
}

@test "--dry-run and --explain change nothing" {
	vm-create a
	for i in 1 2 3; do snapshot a "s$i" "2026-01-0$i"; done
	before=$(find "$VM_STATE" | sort)
	run -0 vm-prune --keep-last 1 --dry-run
	[ "$output" = "$(in_lines a@s1 a@s2)" ]
	run -0 vm-prune --keep-last 1 --explain -H -o name,verdict a
	[ "$output" = "$(in_lines $'a@s3\tkeep' $'a@s2\tdrop' $'a@s1\tdrop')" ]
	[ "$(find "$VM_STATE" | sort)" = "$before" ]
}

@test "protected ones stay and do not count, nor the one that the next boot goes on from" {
	vm-create a
	snapshot a s1 2026-01-01
	snapshot a s2 2026-01-02 protected=yes
	snapshot a s3 2026-01-03
	snapshot a s4 2026-01-04
	echo restore=s3 >>"$VM_STATE/vms/a/config"
	run -0 vm-prune --keep-last 1 a
	[ "$output" = a@s1 ]
	[ "$(snaps_of)" = "$(in_lines a@s2 a@s3 a@s4)" ]
}

@test "what came after a dropped one comes after the one before it" {
	vm-create a
	snapshot a s1 2026-01-01
	snapshot a s2 2026-01-02 parent=s1
	snapshot a s3 2026-01-03 parent=s2 protected=yes
	snapshot a s4 2026-01-04 parent=s3
	echo parent=s4 >>"$VM_STATE/vms/a/config"
	run -0 vm-rm a@s2
	run -0 vm-rm --force a@s3 a@s4
	grep -qx parent=s1 "$VM_STATE/vms/a/config"
	run -0 vm-rm a@s1
	run -1 grep parent "$VM_STATE/vms/a/config"
}

@test "a VM that is unknown is 10, or 3; a name that is none is 2" {
	vm-create a
	snapshot a s1 2026-01-01
	snapshot a s2 2026-01-02
	run -10 vm-prune --keep-last 1 x
	[ "$output" = "vm-prune: x: no such VM" ]
	run -3 --separate-stderr vm-prune --keep-last 1 x a
	[ "$output" = a@s1 ]
	run -2 vm-prune --keep-last 1 a@s1
	run -10 vm-prune --keep-last 1 --explain x
}

@test "of a VM that runs they are dropped, too" {
	vm-create a
	snapshot a s1 2026-01-01
	snapshot a s2 2026-01-02
	fake a run
	run -0 vm-prune --keep-last 1 a
	[ "$output" = a@s1 ]
}

@test "a snapshot that cannot be read stays, with a word" {
	vm-create a
	for i in 1 2 3; do snapshot a "s$i" "2026-01-0$i"; done
	printf 'created=\0' >"$VM_STATE/vms/a/snap/s1/meta"
	run -0 --separate-stderr vm-prune --keep-last 1 a
	[ "$output" = a@s2 ]
	[ "$stderr" = "vm-prune: a@s1: cannot be read, and stays" ]
	run -0 vm-rm a@s1
	[ "$(snaps_of)" = a@s3 ]
}

# -- vm-rm of snapshots --

@test "vm-rm removes snapshots by name, VM@ the newest, several of a VM at once" {
	vm-create a b
	for i in 1 2 3 4; do snapshot a "s$i" "2026-01-0$i"; done
	snapshot b s1 2026-01-01
	run -0 vm-rm a@
	[ "$output" = a@s4 ]
	run -0 vm-rm a@s1 b@s1 a@s3
	[ "$(sort <<<"$output")" = "$(in_lines a@s1 a@s3 b@s1)" ]
	[ "$(snaps_of)" = a@s2 ]
	run -0 vm-rm - < <(echo a@s2)
	[ "$output" = a@s2 ]
	[ "$(vm-ls -q)" = "$(in_lines a b)" ]
}

@test "vm-rm: what is not there is 10, in part 3, no name 2; protected and awaited ones 11" {
	vm-create a
	for i in 1 2 3; do snapshot a "s$i" "2026-01-0$i"; done
	run -10 vm-rm a@x
	[ "$output" = "vm-rm: a@x: no such snapshot" ]
	run -10 vm-rm x@s1
	run -3 --separate-stderr vm-rm a@s1 a@x
	[ "$output" = a@s1 ]
	run -2 vm-rm a@X/y
	snapshot a s1 2026-01-01 protected=yes
	run -11 vm-rm a@s1
	[ "$output" = "vm-rm: a@s1: is protected" ]
	run -11 vm-rm --dry-run a@s1
	run -0 vm-rm --dry-run --force a@s1
	[ -d "$VM_STATE/vms/a/snap/s1" ]
	run -0 vm-rm --force a@s1
	echo restore=s2 >>"$VM_STATE/vms/a/config"
	run -11 vm-rm a@s2
	run -0 vm-rm --force a@s2
	run -1 grep restore "$VM_STATE/vms/a/config"
}
