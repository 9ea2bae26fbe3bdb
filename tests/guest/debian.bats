#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A stock Debian 12 with systemd takes every step of its life: one VM, one
# disk, the tests in this order.

load lib

setup_file() {
	guest_setup_file
	cp --sparse=always "$BATS_TEST_DIRNAME/../../build/guest/debian.img" "$DISKS/debian.img"
}

teardown_file() { guest_teardown_file; }

@test "Debian with systemd, 2 vCPUs, 1 GiB, its own kernel and initrd, reaches login" {
	vm-create deb -c 2 -m 1G --kernel "$G/debian.vmlinuz" --initrd "$G/debian.initrd" \
		--disk "$DISKS/debian.img" --append 'root=/dev/vda rw quiet'
	run -0 vm-boot deb
	[ "$output" = deb ]
	run -0 vm-wait deb --for login -t 480
}

@test "a script logs in on the console, writes a file and syncs" {
	log_in deb
	tell deb 'echo kept-1 >/root/kept && sync && echo "synced $((40 + 2))"'
	see deb 'synced 42' 30
	tell deb 'nproc; free -m | awk "/Mem/ { print \"mem\", \$2 }"'
	see deb $'^2\r?$' 30
	see deb 'mem 9[0-9][0-9]' 30
}

@test "vm-reset presses the button, Debian shuts down cleanly and comes back with the file" {
	run -0 vm-reset -t 300 deb
	[ "$(col deb boots)" = 2 ]
	log_in deb
	tell deb 'cat /root/kept && echo "again $((6 * 7))"'
	see deb 'kept-1' 30
	see deb 'again 42' 30
}

@test "vm-stop is a clean power-off by the button" {
	run -0 vm-stop -t 300 deb
	[ "$output" = deb ]
	[ "$(col deb state)" = stopped ]
	vm-console --log deb | grep -q 'Power down'
	run -0 e2fsck -fn "$DISKS/debian.img"
}

@test "after vm-stop and vm-boot the file is there" {
	run -0 vm-boot deb
	log_in deb
	tell deb 'cat /root/kept && echo "after $((6 * 7))"'
	see deb 'kept-1' 30
	see deb 'after 42' 30
	run -0 vm-stop -t 300 deb
}
