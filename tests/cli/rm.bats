#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vm-rm: removes what is not in use.
# shellcheck disable=SC2154	# bats sets output, stderr, lines

load lib

setup() {
	scratch
	vm-create a b --disk 1M
}
teardown() { unfake; }

@test "a removed VM is gone with all that was its own, and only that" {
	truncate -s 1M data
	vm-create c --disk ./data
	ln -s "$PWD/data" "$VM_STATE/vms/c/disk-link"
	run -0 vm-rm c a
	[ "$(sort <<<"$output")" = "$(in_lines a c)" ]
	[ -e data ]
	[ "$(ls -A "$VM_STATE/vms")" = b ]
	run -10 vm-rm a
}

@test "--dry-run removes nothing" {
	run -0 vm-rm --dry-run a
	[ "$output" = a ]
	run -10 vm-rm --dry-run x
	fake b run
	run -11 vm-rm --dry-run b
	run -0 vm-rm --dry-run --force b
	[ "$(vm-ls -q | wc -l)" = 2 ]
}

@test "what runs is refused without --force, with it stopped and removed" {
	fake a run
	run -11 vm-rm a
	[ "$output" = "vm-rm: a: is running" ]
	run -3 vm-rm a b
	run -0 vm-rm --force a
	[ "$output" = a ]
	[ -z "$(vm-ls -q)" ]
}

@test "--force kills what does not answer" {
	fake a hang
	run -0 timeout 20 vm-rm --force a
	[ "$(vm-ls -q)" = b ]
}

@test "a VM another command has is busy; --lock-wait waits" {
	fake a busy
	run -11 vm-rm a
	[ "$output" = "vm-rm: a: in use by another command" ]
	(sleep 0.3; unfake) 3>&- &
	run -0 vm-rm a --lock-wait 10
}

@test "a damaged VM can be removed" {
	printf 'x\0y' >"$VM_STATE/vms/a/config"
	run -0 vm-rm a
	rm "$VM_STATE/vms/b/config"
	run -0 vm-rm b
}
