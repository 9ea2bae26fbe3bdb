# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lib.bash - for tests with real guests, which run where KVM is real: in the
# lab, or on this host (tests/lab/run decides)

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034	# G: the inputs that tests/guest/inputs made
G=$BATS_TEST_DIRNAME/../../build/guest

# One state directory and one place for disks for a whole file of tests.
guest_setup_file() {
	export VM_BIN=${VM_BIN:-$BATS_TEST_DIRNAME/../../build}
	export PATH=$VM_BIN:$PATH VM_STATE=$BATS_FILE_TMPDIR/state LC_ALL=C
	export DISKS=$BATS_FILE_TMPDIR/disks
	mkdir -p "$DISKS"
}

# What a failed test leaves behind: the VMs, and what their consoles showed last.
teardown() {
	local vm
	[[ ! ${BATS_ERROR_STATUS:-} || $BATS_ERROR_STATUS = 0 ]] && return
	vm-ls -o name,state,boots,uptime,exits; sleep 2; vm-ls -o name,exits
	vm-ls -q -f state=running | while read -r vm; do
		echo "== the end of $vm's console"
		vm-console --log "$vm" | tail -n 15 | tr -d '\r'
	done
}

guest_teardown_file() {
	vm-ls -q | vm-rm --force - >/dev/null
}

# tell VM LINE : types it; returns when the guest has taken it
tell() { printf '%s\n' "$2" | timeout 30 vm-console --live "$1" >/dev/null; }

# How much longer than on a machine of one's own anything may take: guests are
# emulated here, and not alone.
PATIENCE=4

# see VM REGEX SECONDS : until the console of this boot shows it
see() { vm-wait "$1" --for "console:$2" -t $((PATIENCE * ${3:-30})) >/dev/null; }

col() { vm-ls -H -p -o "$2" "$1"; }

# log_in VM : root, on a Debian of tests/guest/rootfs
log_in() {
	vm-wait "$1" --for login -t $((PATIENCE * 120)) >/dev/null
	tell "$1" root
	see "$1" 'Password: $' 60
	tell "$1" root
	see "$1" 'root@debian:~# ' 60
}
