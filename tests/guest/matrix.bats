#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Every kernel in every form with every number of vCPUs and size of memory,
# and a Debian that is reset in the middle of writing.

load lib

setup_file() { guest_setup_file; }
teardown_file() { guest_teardown_file; }

# Three at a time: one size of memory each.
boot_sizes() {
	local image=$1 flavour=$2 cpus=$3 m
	for m in 128M 1G 5G; do
		vm-create "m-${m,,}" -c "$cpus" -m "$m" --kernel "$G/$image" \
			--initrd "$G/initrd-$flavour.img" --append quiet
	done | vm-boot | vm-wait --for 'console:guest# ' -t 900 >names
	[ "$(wc -l <names)" = 3 ]
	for m in 128 1024 5120; do
		case $m in 128) vm='m-128m' ;; 1024) vm='m-1g' ;; *) vm='m-5g' ;; esac
		read -r seen mem < <(vm-console --log $vm |
			sed -n 's/.*cpus=\([0-9]*\) mem=\([0-9]*\) .*/\1 \2/p')
		[ "$seen" = "$cpus" ]
		((mem > m * 1024 * 3 / 4 - 65536 && mem <= m * 1024))
	done
	vm-stop -t 300 - <names
	vm-rm - <names
}

setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

@test "vmlinuz-cloud with 1 vCPU: 128 MiB, 1 GiB, 5 GiB" { boot_sizes vmlinuz-cloud cloud 1; }
@test "vmlinuz-cloud with 4 vCPUs: 128 MiB, 1 GiB, 5 GiB" { boot_sizes vmlinuz-cloud cloud 4; }
@test "vmlinux-cloud with 1 vCPU: 128 MiB, 1 GiB, 5 GiB" { boot_sizes vmlinux-cloud cloud 1; }
@test "vmlinux-cloud with 4 vCPUs: 128 MiB, 1 GiB, 5 GiB" { boot_sizes vmlinux-cloud cloud 4; }
@test "vmlinuz-generic with 1 vCPU: 128 MiB, 1 GiB, 5 GiB" { boot_sizes vmlinuz-generic generic 1; }
@test "vmlinuz-generic with 4 vCPUs: 128 MiB, 1 GiB, 5 GiB" { boot_sizes vmlinuz-generic generic 4; }
@test "vmlinux-generic with 1 vCPU: 128 MiB, 1 GiB, 5 GiB" { boot_sizes vmlinux-generic generic 1; }
@test "vmlinux-generic with 4 vCPUs: 128 MiB, 1 GiB, 5 GiB" { boot_sizes vmlinux-generic generic 4; }

@test "a Debian that is reset in the middle of writing boots again and kept what it synced" {
	cp --sparse=always "$G/debian.img" "$DISKS/debian.img"
	vm-create deb -m 1G --kernel "$G/debian.vmlinuz" --initrd "$G/debian.initrd" \
		--disk "$DISKS/debian.img" --append 'root=/dev/vda rw quiet'
	vm-boot deb
	log_in deb
	tell deb 'echo kept >/root/kept; sync; echo "synced $((6 * 7))"'
	see deb 'synced 42' 60
	tell deb 'while :; do cp /bin/bash /root/noise; sync; done &'
	sleep 2
	run -0 vm-reset --hard deb
	[ "$(col deb boots)" = 2 ]
	log_in deb
	tell deb 'cat /root/kept && echo "still $((6 * 7))"'
	see deb 'still 42' 60
	run -0 vm-stop -t 400 deb
	run -0 e2fsck -fn "$DISKS/debian.img"
}
